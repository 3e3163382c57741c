package storage

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// Rest gives back to the system what the process keeps without using it: heap that is
// free, and pages of the state's mapped files, which are read again when somebody
// wants them. It collects garbage once, so it is for a node that has been idle. It may be called from
// any goroutine and changes nothing on disk.
func (s *State) Rest() {
	debug.FreeOSMemory()
	// The engine keeps its mappings to itself and may drop one at any time, whose
	// place something else may have taken by the time of the advice. So the advice
	// is one that never changes what memory holds.
	const pageOut = 21 // MADV_PAGEOUT; older kernels refuse it
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		f := strings.Fields(string(line))
		if len(f) != 6 || !strings.HasPrefix(f[5], s.dir+"/") {
			continue
		}
		a, b, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(a, 16, 64)
		to, err2 := strconv.ParseUint(b, 16, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(to-from), pageOut)
	}
}
