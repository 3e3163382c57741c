package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"holdfast/bench"
)

// BenchCmd is `holdfast bench`: it loads a server of its own on a temporary
// directory, measures, checks, and fails if a check fails.
type BenchCmd struct {
	Ingest   benchIngest   `cmd:"" help:"Bulk deliveries: records a second, CPU, latency, disk."`
	Readback benchReadback `cmd:"" help:"Read every record of every member back and compare it."`
	Month    benchMonth    `cmd:"" help:"One member's month, many readers in flight."`
	Idle     benchIdle     `cmd:"" help:"Memory with all members passivated; reopening."`
	Compare  benchCompare  `cmd:"" help:"Ingest beside the straw-man pipeline, runs alternating."`
}

type benchLoad struct {
	Workload    string   `enum:"iot,tx" default:"iot" help:"iot: sensor readings of about 120 bytes; tx: card transactions of about 300."`
	Layout      string   `enum:"single,grouped,uniform" default:"grouped" help:"single: a batch is one member's; grouped: 20 rows a member; uniform: a random member a row."`
	Batch       int      `default:"1000" help:"Rows a request."`
	Records     int      `default:"1000000" help:"Rows in all."`
	Members     int      `default:"10000" help:"Members in the world."`
	InFlight    int      `default:"4" help:"Requests at a time, a connection each."`
	Idempotency bool     `help:"Send an Idempotency-Key with each request."`
	ProbeEvery  int      `default:"50" help:"Batches from one probe to the next while loading; 0 for none."`
	Check       int      `default:"1000" help:"Members whose every value is compared after the load; 0 for all."`
	Dir         string   `type:"existingdir" help:"Where the temporary directories are made."`
	World       string   `placeholder:"DIR" help:"Use the world made there before, or make it there and leave it for the next time."`
	Keep        bool     `help:"Leave them behind."`
	Reseed      bool     `help:"Make a new world for each run instead of copying the first."`
	ServerArg   []string `name:"server-arg" sep:"none" help:"A further argument for the server."`
	JSON        string   `name:"json" type:"path" help:"File for an object a run."`
}

func (b *benchLoad) options(runs int) (bench.Launch, bench.IngestOptions, error) {
	l := bench.Launch{World: b.World, Args: b.ServerArg, Dir: b.Dir, Members: b.Members, Keep: b.Keep, Reseed: b.Reseed, Log: os.Stderr}
	o := bench.IngestOptions{Batch: b.Batch, Records: b.Records, Runs: runs, InFlight: b.InFlight,
		Idempotency: b.Idempotency, ProbeEvery: b.ProbeEvery, Compare: b.Check}
	var err error
	if o.Kind, err = bench.ParseKind(b.Workload); err != nil {
		return l, o, err
	}
	o.Layout, err = bench.ParseLayout(b.Layout)
	return l, o, err
}

// run calls f with what the flags say; an interrupt stops the server too.
func (b *benchLoad) run(runs int, f func(ctx context.Context, l bench.Launch, o bench.IngestOptions, js io.Writer) error) (err error) {
	l, o, err := b.options(runs)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var js io.Writer // stays nil without a file
	if b.JSON != "" {
		file, err := os.Create(b.JSON)
		if err != nil {
			return err
		}
		defer func() {
			if cerr := file.Close(); err == nil {
				err = cerr
			}
		}()
		js = file
	}
	return f(ctx, l, o, js)
}

type benchIngest struct {
	benchLoad
	Runs int `default:"1" help:"Runs, each on a server of its own."`
}

func (b *benchIngest) Run() error {
	return b.run(b.Runs, func(ctx context.Context, l bench.Launch, o bench.IngestOptions, js io.Writer) error {
		return bench.Ingest(ctx, l, o, os.Stdout, js)
	})
}

type benchReadback struct{ benchLoad }

func (b *benchReadback) Run() error {
	return b.run(1, func(ctx context.Context, l bench.Launch, o bench.IngestOptions, js io.Writer) error {
		return bench.Readback(ctx, l, o, os.Stdout, js)
	})
}

type benchMonth struct {
	benchLoad
	Readers    int  `default:"16" help:"Readers in flight; a single one is measured after."`
	Reads      int  `default:"8000" help:"Reads in all; many more meet the server's rate limit."`
	Unfiltered bool `help:"Read without a filter on the time."`
}

func (b *benchMonth) Run() error {
	return b.run(1, func(ctx context.Context, l bench.Launch, o bench.IngestOptions, js io.Writer) error {
		return bench.Month(ctx, l, o, bench.MonthOptions{Readers: b.Readers, Reads: b.Reads, Unfiltered: b.Unfiltered}, os.Stdout, js)
	})
}

type benchIdle struct {
	benchLoad
	Wait time.Duration `default:"90s" help:"How long to wait for passivation."`
	Kill bool          `help:"End the server with SIGKILL before it is opened again."`
}

func (b *benchIdle) Run() error {
	return b.run(1, func(ctx context.Context, l bench.Launch, o bench.IngestOptions, js io.Writer) error {
		return bench.Idle(ctx, l, o, bench.IdleOptions{Wait: b.Wait, Kill: b.Kill}, os.Stdout, js)
	})
}

type benchCompare struct {
	benchLoad
	Runs  int     `default:"5" help:"Runs of each side."`
	Pipe  string  `required:"" type:"existingfile" help:"The straw-man's program, peerbench's pipe."`
	Limit float64 `placeholder:"N" help:"Fail if the server takes more than N times the straw-man's CPU."`
	Mode  string  `enum:"block,segment,record" default:"block" help:"The straw-man's store mode."`
}

func (b *benchCompare) Run() error {
	return b.run(b.Runs, func(ctx context.Context, l bench.Launch, o bench.IngestOptions, js io.Writer) error {
		return bench.Compare(ctx, l, o, bench.CompareOptions{Pipe: b.Pipe, Mode: b.Mode, Limit: b.Limit}, os.Stdout, js)
	})
}
