package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the released version; builds from a checkout say "dev".
var version = "dev"

// VersionCmd is `holdfast version`.
type VersionCmd struct{}

// Run prints version, commit and toolchain.
func (VersionCmd) Run() error {
	commit := "unknown"
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	fmt.Printf("holdfast %s\ncommit   %s\nGo       %s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
