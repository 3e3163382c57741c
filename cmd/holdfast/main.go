// Command holdfast is the whole of Holdfast in one binary: a node, the
// clients of members and subscribers, the offline verifier and the benchmark.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

type cli struct {
	Dev        DevCmd        `cmd:"" help:"A sandbox on this machine: node, demo members, subscribers and agreements."`
	Serve      ServeCmd      `cmd:"" help:"Run a live node."`
	Barrier    BarrierCmd    `cmd:"" help:"Make a barrier key file."`
	Member     MemberCmd     `cmd:"" help:"A member's own store: register, read, approve, revoke, export."`
	Subscriber SubscriberCmd `cmd:"" help:"A subscriber's connections, agreements and invitations."`
	Push       PushCmd       `cmd:"" help:"Deliver files of records in bulk."`
	Bench      BenchCmd      `cmd:"" help:"Measure and check a server on this machine."`
	Verify     VerifyCmd     `cmd:"" help:"Check an export, a receipt or a log offline."`
	Version    VersionCmd    `cmd:"" help:"Print the version."`
}

// exitCode is an error that says how the process ends.
type exitCode interface{ ExitCode() int }

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("holdfast"), kong.Description("A personal data cloud: every person's data under their own keys, shared only as they signed."), kong.UsageOnError())
	err := k.Run()
	if err == nil {
		return
	}
	if s := err.Error(); s != "" {
		fmt.Fprintln(os.Stderr, "holdfast:", s)
	}
	var e exitCode
	if errors.As(err, &e) {
		os.Exit(e.ExitCode())
	}
	os.Exit(1)
}
