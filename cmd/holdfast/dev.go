package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"holdfast/api"
	"holdfast/cmd/internal/node"
	"holdfast/cmd/internal/push"
	"holdfast/cmd/internal/sandbox"
	"holdfast/storage/seal"
)

// DevCmd is `holdfast dev`: one sandbox node on loopback with a seeded world.
// A second start on the same directory finds the same world.
type DevCmd struct {
	Data     string        `default:".holdfast-dev" placeholder:"DIR" help:"Directory of the sandbox; it holds the barrier key too, so its disk is not protected."`
	HTTP     string        `name:"http" default:"127.0.0.1:8080" help:"Public listener."`
	Members  int           `default:"0" help:"Generated members m0000000 ..., each connected to the demo subscribers."`
	Connect  []string      `help:"Connect generated members to these subscribers only (default: all but Bench)."`
	Keys     string        `placeholder:"FILE" help:"Write every agreement with its Member Key: NDJSON, mode 0600."`
	World    string        `placeholder:"FILE" help:"Write the world as JSON, mode 0600; complete when it exists."`
	Push     int           `default:"0" placeholder:"N" help:"Push N generated readings through the PDX when ready."`
	Idle     time.Duration `default:"30s" help:"Put a member's actor away after this."`
	Reserve  int64         `default:"512" help:"Free disk space in MiB below which writes are refused."`
	Datasets string        `placeholder:"DIR" help:"Further dataset files."`
	LogFile  string        `placeholder:"FILE" help:"Write the log there instead of to standard error."`
	Debug    string        `placeholder:"ADDR" help:"Serve profiles (pprof) on this loopback address."`
	Quiet    bool          `help:"Print nothing but the log."`
}

// Run serves the sandbox until it is stopped.
func (c *DevCmd) Run() error {
	if err := debugListener(c.Debug); err != nil {
		return err
	}
	out := os.Stderr
	if c.LogFile != "" {
		f, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	level := slog.LevelWarn
	if c.LogFile != "" {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))
	b, err := devBarrier(c.Data)
	if err != nil {
		return err
	}
	w, err := sandbox.Load(c.Data, &b)
	if err != nil && !sandbox.Missing(err) {
		return err
	}
	if w == nil {
		w = &sandbox.World{}
	}
	token := b.Key("dev-operator-token")
	cfg := node.Config{Data: filepath.Join(c.Data, "node"), Barrier: b, HTTP: c.HTTP, Operator: "127.0.0.1:0", OperatorToken: fmt.Sprintf("op-%x", token.Bytes()[:16]),
		Reserve: c.Reserve << 20, Datasets: c.Datasets, Idle: c.Idle, Log: log, Exposed: true, Limits: api.Limits{Rate: 1e6, RateBurst: 1e6, TokenRate: 1e4, TokenBurst: 1e5, ConnsPerIP: 8192}}
	catcher, err := sandbox.NewCatcher("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer catcher.Close()
	return serve(cfg, log, func(ctx context.Context, n *node.Node) error {
		changed, err := sandbox.Build(ctx, n, catcher, w, b.Env, sandbox.Options{Members: c.Members, Connect: c.Connect, Progress: c.progress()})
		if err != nil {
			return err
		}
		if changed {
			if err := w.Save(c.Data, &b); err != nil {
				return err
			}
		}
		w.PDX, w.OP, w.App = n.URL(), n.URL(), n.URL()
		w.Operator, w.OperatorToken = "http://"+n.Operator.String(), cfg.OperatorToken
		w.Callbacks, w.Mail = catcher.URL()+"/callbacks", catcher.URL()+"/mail"
		if c.Keys != "" {
			if err := w.WriteKeys(c.Keys); err != nil {
				return err
			}
		}
		if c.Push > 0 {
			if err := c.push(ctx, n, w); err != nil {
				return err
			}
		}
		if !c.Quiet {
			c.print(w)
		}
		if c.World != "" {
			j, err := json.MarshalIndent(w, "", "  ")
			if err != nil {
				return err
			}
			return sandbox.WriteFile(c.World, append(j, '\n'))
		}
		return nil
	})
}

// devBarrier reads or makes the sandbox's barrier key.
func devBarrier(dir string) (seal.Barrier, error) {
	if _, err := os.Stat(filepath.Join(dir, "FORMAT")); err == nil {
		return seal.Barrier{}, fmt.Errorf("%s is the data directory of a node, not a sandbox of `holdfast dev`", dir)
	}
	name := filepath.Join(dir, "barrier.key")
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "node")); err == nil {
			return seal.Barrier{}, fmt.Errorf("%s holds data but no barrier key: it is not a sandbox of `holdfast dev`", dir)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return seal.Barrier{}, err
		}
		b := seal.NewBarrier(seal.Sandbox)
		return b, sandbox.WriteFile(name, b.Encode())
	}
	if err != nil {
		return seal.Barrier{}, err
	}
	b, err := seal.ParseBarrier(text)
	if err != nil {
		return b, fmt.Errorf("barrier key: %w", err)
	}
	if b.Env != seal.Sandbox {
		return b, errors.New("dev refuses a live data directory")
	}
	return b, nil
}

func (c *DevCmd) progress() func(done, all int) {
	if c.Quiet || c.Members == 0 {
		return nil
	}
	return func(done, all int) {
		if done%500 == 0 || done == all {
			fmt.Printf("members %d of %d\n", done, all)
		}
	}
}

func (c *DevCmd) print(w *sandbox.World) {
	fmt.Printf("\nHoldfast sandbox: no real personal data in here.\n\n")
	fmt.Printf("  PDX and member API   %s\n  documentation        %s/docs\n  operator             %s   (token %s)\n  callbacks caught     %s\n\n", w.PDX, w.PDX, w.Operator, w.OperatorToken, w.Callbacks)
	for _, m := range w.Members {
		fmt.Printf("  member     %-18s uid %-11d password %s   Private Key %q\n", m.MydexID, m.UID, m.Password, m.PrivateKey)
	}
	for _, s := range w.Subscribers {
		fmt.Printf("  subscriber %-18s client %s   secret %s\n", s.Name, s.ClientID, s.ClientSecret)
		for _, con := range s.Connections {
			for _, a := range con.Agreements {
				fmt.Printf("      agreement %s   Member Key %s\n", a.ConID, a.Key)
			}
		}
	}
	fmt.Println("\nServing; stop with Ctrl-C.")
}

// push sends generated readings as the demo subscriber would.
func (c *DevCmd) push(ctx context.Context, n *node.Node, w *sandbox.World) error {
	return push.Demo(ctx, push.DemoOptions{PDX: w.PDX, Client: w.Subscribers[0].ClientID, Secret: w.Subscribers[0].ClientSecret,
		Dir: c.Data, Rows: c.Push, Members: demoMembers(w), Out: os.Stdout})
}

func demoMembers(w *sandbox.World) []push.DemoMember {
	var out []push.DemoMember
	for _, a := range w.Subscribers[0].Connections[0].Agreements {
		out = append(out, push.DemoMember{UID: a.UID, ConID: a.ConID, Key: a.Key})
	}
	nid := w.Subscribers[0].Connections[0].NID
	for _, g := range w.Generated {
		if g.ConID == fmt.Sprintf("%d-%d", g.UID, nid) {
			out = append(out, push.DemoMember{UID: g.UID, ConID: g.ConID, Key: g.Key})
		}
	}
	return out
}
