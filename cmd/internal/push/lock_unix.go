//go:build unix && !solaris && !aix

package push

import (
	"os"
	"syscall"
)

// lock takes the file for this process; it is released when the file is closed
// or the process ends.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
