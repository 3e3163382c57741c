package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"

	"holdfast/cmd/internal/push"
)

// shippedMaps can be named without a path: --map energy-appliance-1s.
//
//go:embed maps/*.json
var shippedMaps embed.FS

// PushCmd delivers files of records to the members' stores. Exit code 0: every
// row was delivered or is in the rejects file; 3: the server refused sections,
// whose rows are there too; 1: incomplete, run it again to resume.
type PushCmd struct {
	Map      string        `required:"" placeholder:"FILE" help:"How rows become records: a map file, or the name of a shipped map (energy-appliance-1s, transactions-retail ...)."`
	Keys     string        `placeholder:"FILE" help:"Agreements, one a line: {\"ref\",\"uid\",\"con_id\",\"key\"}. Needed unless --dry-run."`
	Client   string        `placeholder:"FILE" help:"JSON with client_id, client_secret, token_url and pdx_url. Needed unless --dry-run."`
	URL      string        `name:"url" placeholder:"URL" help:"PDX address, instead of the client file's pdx_url."`
	NID      string        `name:"nid" placeholder:"N" help:"Use only agreements of this connection number (con_id is UID-N). Default: nid in the client file, else all."`
	Rejects  string        `placeholder:"FILE" help:"Where rows go that cannot be delivered, with file, line and reason; CSV if it ends in .csv, else NDJSON. Default: holdfast-push-ID.rejects.ndjson here."`
	State    string        `placeholder:"FILE" help:"What was acknowledged, so that a push can resume. Default: beside the rejects."`
	Batch    int           `default:"10000" help:"Records a request, at most 20000."`
	Parallel int           `default:"4" help:"Requests in flight, at most 8. One member's rows are never in two at once."`
	GiveUp   time.Duration `default:"15m" help:"How long a batch is repeated while the server is away."`
	DryRun   bool          `help:"Map and count only; nothing is sent. Without --keys every ref counts as a member."`
	Quiet    bool          `short:"q" help:"No progress."`
	Data     []string      `arg:"" name:"data" help:"Files and directories, read in sorted order; - is standard input."`
}

// pushExit carries an exit code to kong, which finds it by its method.
type pushExit struct {
	error
	code int
}

func (e pushExit) ExitCode() int { return e.code }
func (e pushExit) Unwrap() error { return e.error }

// Run pushes. Progress goes to standard error, the summary to standard output.
func (c *PushCmd) Run() error {
	if !c.DryRun && (c.Keys == "" || c.Client == "") {
		return errors.New("push needs --keys and --client (or --dry-run)")
	}
	m, err := readMap(c.Map)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	o := push.Options{
		Map: m, Data: c.Data, Stdin: os.Stdin, Keys: c.Keys, Client: c.Client, URL: c.URL, NID: c.NID,
		Rejects: c.Rejects, State: c.State, Batch: c.Batch, Parallel: c.Parallel, DryRun: c.DryRun, GiveUp: c.GiveUp,
		Progress: os.Stderr,
	}
	if c.Quiet {
		o.Progress = nil
	}
	s, err := push.Run(ctx, o)
	if s.Read > 0 || err == nil {
		s.Print(os.Stdout)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("push was interrupted; run the same command again to resume")
	case err != nil && s.Delivered > 0:
		return fmt.Errorf("push is incomplete, run the same command again to resume: %w", err)
	case err != nil:
		return fmt.Errorf("push: %w", err)
	}
	if code := s.ExitCode(); code != 0 {
		return pushExit{errors.New("push: the server refused some sections; their rows are in the rejects file"), code}
	}
	return nil
}

// readMap reads a map file, or else a shipped map of that name.
func readMap(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b, err := shippedMaps.ReadFile(path.Join("maps", strings.TrimSuffix(name, ".json")+".json")); err == nil {
		return b, nil
	}
	var names []string
	if entries, err := shippedMaps.ReadDir("maps"); err == nil {
		for _, e := range entries {
			names = append(names, strings.TrimSuffix(e.Name(), ".json"))
		}
	}
	return nil, fmt.Errorf("%s: no such file and no shipped map; those are %s", name, strings.Join(names, ", "))
}
