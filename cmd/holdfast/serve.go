package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"holdfast/cmd/internal/node"
	"holdfast/cmd/internal/sandbox"
	"holdfast/storage/seal"
)

// ServeCmd is `holdfast serve`: a live node. The barrier key comes from a
// file on another file system, from a systemd credential or from standard
// input; it is never taken from an argument or the environment.
type ServeCmd struct {
	Data              string `required:"" placeholder:"DIR" help:"Directory of the node's data."`
	BarrierFile       string `placeholder:"FILE" help:"Barrier key file; - is standard input. Default: the systemd credential holdfast-barrier."`
	BarrierBesideData bool   `help:"Accept a barrier key on the data directory's file system. Disks are then not protected."`
	HTTP              string `name:"http" default:"127.0.0.1:8443" help:"Public listener."`
	Operator          string `default:"127.0.0.1:8444" help:"Operator's listener."`
	OperatorTokenFile string `placeholder:"FILE" help:"File with the operator's bearer token; without it the operator's routes refuse."`
	TLSCert           string `placeholder:"FILE" help:"Certificate chain, PEM."`
	TLSKey            string `placeholder:"FILE" help:"Its private key, PEM."`
	Plain             bool   `help:"Serve plain HTTP behind a TLS terminator on this machine."`
	Issuer            string `placeholder:"URL" help:"Base URL under which clients reach this node."`
	Datasets          string `placeholder:"DIR" help:"Further dataset files."`
	Debug             string `placeholder:"ADDR" help:"Serve profiles (pprof) on this loopback address."`
	ReserveGiB        int64  `default:"3" help:"Free disk space below which writes are refused."`
}

// Run serves until it is told to stop or has to.
func (c *ServeCmd) Run() error {
	if err := debugListener(c.Debug); err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	text, beside, err := c.barrier()
	if err != nil {
		return err
	}
	b, err := seal.ParseBarrier(text)
	clear(text)
	if err != nil {
		return fmt.Errorf("barrier key: %w", err)
	}
	if b.Env != seal.Live {
		return errors.New("serve refuses a sandbox barrier key: use `holdfast dev` for a sandbox")
	}
	if beside && !c.BarrierBesideData {
		return errors.New("the barrier key lies on the data directory's file system, so stolen disks would bring it along; move it, or say --barrier-beside-data")
	}
	cfg := node.Config{Data: c.Data, Barrier: b, HTTP: c.HTTP, Operator: c.Operator, Issuer: c.Issuer, Reserve: c.ReserveGiB << 30, Datasets: c.Datasets, Log: log, Exposed: beside}
	if c.OperatorTokenFile != "" {
		t, err := os.ReadFile(c.OperatorTokenFile)
		if err != nil {
			return err
		}
		cfg.OperatorToken = strings.TrimSpace(string(t))
	}
	switch {
	case c.TLSCert != "":
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return fmt.Errorf("TLS certificate: %w", err)
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	case !c.Plain:
		return errors.New("a live node needs --tls-cert and --tls-key, or --plain behind a TLS terminator on this machine")
	}
	return serve(cfg, log, nil)
}

func (c *ServeCmd) barrier() (text []byte, beside bool, err error) {
	name := c.BarrierFile
	switch {
	case name == "-":
		text, err = io.ReadAll(io.LimitReader(os.Stdin, 4096))
		return text, false, err
	case name == "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, false, errors.New("no barrier key: give --barrier-file, or the systemd credential holdfast-barrier")
		}
		text, err = os.ReadFile(filepath.Join(dir, "holdfast-barrier"))
		return text, false, err
	}
	if text, err = os.ReadFile(name); err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, false, err
	}
	beside, err = sameFileSystem(name, c.Data)
	return text, beside, err
}

func sameFileSystem(a, b string) (bool, error) {
	var x, y syscall.Stat_t
	if err := syscall.Stat(a, &x); err != nil {
		return false, err
	}
	if err := syscall.Stat(b, &y); err != nil {
		return false, err
	}
	return x.Dev == y.Dev, nil
}

// serve opens a node and waits until it is stopped or fails. ready is called
// when the listeners are open.
func serve(cfg node.Config, log *slog.Logger, ready func(ctx context.Context, n *node.Node) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	n, err := node.Open(cfg)
	if err != nil {
		return err
	}
	log.Info("ready", "http", n.URL(), "operator", n.Operator.String(), "environment", cfg.Barrier.Env.String())
	if ready != nil {
		if err := ready(ctx, n); err != nil {
			return errors.Join(err, n.Close())
		}
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return n.Close()
	case <-n.Failed():
		err := n.Host.Err()
		_ = n.Close()
		return fmt.Errorf("the node stopped: %w", err)
	}
}

// BarrierCmd is `holdfast barrier FILE`.
type BarrierCmd struct {
	File string `arg:"" placeholder:"FILE" help:"Where to write it; keep it off the data directory's disk and keep a copy."`
}

// Run writes a new live barrier key; it never overwrites one.
func (c *BarrierCmd) Run() error {
	if _, err := os.Stat(c.File); err == nil {
		return errors.New("the file exists; a lost barrier key cannot be replaced, so nothing is overwritten")
	}
	b := seal.NewBarrier(seal.Live)
	return sandbox.WriteFile(c.File, b.Encode())
}
