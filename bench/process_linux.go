package bench

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent keeps a server from outliving a bench that was killed. The
// signal follows the thread that started it, and Go keeps its threads.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// ticks a second in /proc; the kernel's USER_HZ is 100 on every Linux port of Go.
const ticks = 100

type procStat struct {
	pid, parent int
	cpu         float64 // user and system seconds, reaped children included
	resident    float64 // MiB
}

func statOf(pid string) (p procStat, ok bool) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return p, false
	}
	i := bytes.LastIndexByte(b, ')') // the command may hold anything
	if i < 0 {
		return p, false
	}
	f := strings.Fields(string(b[i+1:])) // f[0] is field 3, the state
	if len(f) < 22 {
		return p, false
	}
	n := func(field int) int {
		v, _ := strconv.Atoi(f[field-3])
		return v
	}
	p.pid, _ = strconv.Atoi(pid)
	p.parent = n(4)
	p.cpu = float64(n(14)+n(15)+n(16)+n(17)) / ticks
	p.resident = float64(n(24)) * float64(os.Getpagesize()) / (1 << 20)
	return p, true
}

// tree lists root and all its descendants.
func tree(root int) []procStat {
	es, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]procStat{}
	var out []procStat
	for _, e := range es {
		if c := e.Name()[0]; c < '0' || c > '9' {
			continue
		}
		p, ok := statOf(e.Name())
		switch {
		case !ok:
		case p.pid == root:
			out = append(out, p)
		default:
			children[p.parent] = append(children[p.parent], p)
		}
	}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i].pid]...)
	}
	return out
}

func treeCPU(root int) (s float64) {
	for _, p := range tree(root) {
		s += p.cpu
	}
	return s
}

func treeResident(root int) (mib float64) {
	for _, p := range tree(root) {
		mib += p.resident
	}
	return mib
}

// ownCPU is this process's user and system time in seconds, without children.
func ownCPU() float64 {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	t := func(v syscall.Timeval) float64 { return float64(v.Sec) + float64(v.Usec)/1e6 }
	return t(ru.Utime) + t(ru.Stime)
}

func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// machine describes where a figure was taken: processor, cores, memory, kernel
// and the file system of dir.
func machine(dir string) string {
	model := lineOf("/proc/cpuinfo", "model name")
	mem := lineOf("/proc/meminfo", "MemTotal")
	if kb, err := strconv.Atoi(strings.TrimSuffix(mem, " kB")); err == nil {
		mem = fmt.Sprintf("%.0f GiB", float64(kb)/(1<<20))
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d × %s, %s, Linux %s, %s", runtime.NumCPU(), model, mem,
		strings.TrimSpace(string(release)), fileSystem(dir))
}

func lineOf(file, label string) string {
	b, _ := os.ReadFile(file)
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == label {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func fileSystem(dir string) string {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return "unknown file system"
	}
	switch uint32(st.Type) {
	case 0xef53:
		return "ext4"
	case 0x01021994:
		return "tmpfs (syncing costs nothing here: figures do not count)"
	case 0x58465342:
		return "xfs"
	case 0x9123683e:
		return "btrfs"
	case 0x794c7630:
		return "overlayfs"
	}
	return fmt.Sprintf("file system %#x", uint32(st.Type))
}
