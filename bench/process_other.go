//go:build !linux

package bench

import (
	"io/fs"
	"os/exec"
	"runtime"
)

// Elsewhere than on Linux the scenarios run and check, but CPU and memory read 0.

func dieWithParent(*exec.Cmd) {}

func treeCPU(int) float64 { return 0 }

func treeResident(int) float64 { return 0 }

func ownCPU() float64 { return 0 }

func allocated(info fs.FileInfo) int64 { return info.Size() }

func machine(string) string {
	return runtime.GOOS + "/" + runtime.GOARCH + ": CPU and memory not measured"
}
