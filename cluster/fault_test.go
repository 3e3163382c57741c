package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/storage"
	"holdfast/storage/seal"
)

// brokenFS fails every write and sync of the log's WAL once armed.
type brokenFS struct {
	vfs.FS
	armed *atomic.Bool
}

var errDisk = errors.New("injected disk error")

func (b brokenFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err == nil && strings.HasSuffix(name, ".log") {
		f = brokenFile{f, b.armed}
	}
	return f, err
}

func (b brokenFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := b.FS.Create(name, c)
	return b.wrap(name, f, err)
}

func (b brokenFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := b.FS.ReuseForWrite(old, name, c)
	return b.wrap(name, f, err)
}

type brokenFile struct {
	vfs.File
	armed *atomic.Bool
}

func (f brokenFile) Sync() error {
	if f.armed.Load() {
		return errDisk
	}
	return f.File.Sync()
}

func (f brokenFile) SyncData() error {
	if f.armed.Load() {
		return errDisk
	}
	return f.File.SyncData()
}

func (f brokenFile) SyncTo(n int64) (bool, error) {
	if f.armed.Load() {
		return false, errDisk
	}
	return f.File.SyncTo(n)
}

func TestFault_AFailedSyncStopsTheHost(t *testing.T) {
	dir := t.TempDir()
	var armed atomic.Bool
	cfg := testConfig(dir)
	cfg.log = func(lc *storage.LogConfig) { lc.FS = brokenFS{vfs.Default, &armed} }
	h := open(t, cfg)
	for n := uint64(0); n < 100; n++ {
		put(t, h, ShardID(n%65), n, "before")
	}
	want := dump(t, h)
	armed.Store(true)
	const many = 500
	var wg sync.WaitGroup
	var calls, acked atomic.Int64
	wg.Add(many)
	for n := uint64(0); n < many; n++ {
		h.Propose(ShardID(n%65), kvCommand(1000+n, []byte("after")), func(_ any, err error) {
			calls.Add(1)
			if err == nil {
				acked.Add(1)
			} else if !errors.Is(err, ErrStopped) {
				t.Errorf("outcome %v", err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	<-h.Failed()
	if acked.Load() != 0 || calls.Load() != many {
		t.Fatalf("%d acknowledged, %d answers", acked.Load(), calls.Load())
	}
	if !errors.Is(h.Err(), errDisk) {
		t.Fatal("cause:", h.Err())
	}
	armed.Store(false) // the disk comes back; the host does not
	if _, err := propose(h, 1, kvCommand(1, nil)); !errors.Is(err, ErrStopped) {
		t.Fatal("later proposal:", err)
	}
	if err := h.View(func(storage.Reader) error { return nil }); !errors.Is(err, ErrStopped) {
		t.Fatal("later view:", err)
	}
	h2 := open(t, testConfig(copyDir(t, dir)))
	got := dump(t, h2)
	for k, v := range want {
		if got[k] != v && k[0] == 'd' {
			t.Fatal("an acknowledged command is gone")
		}
	}
}

func TestReserve_RefusesWritesAndServesReads(t *testing.T) {
	cfg := testConfig(t.TempDir())
	var free atomic.Int64
	free.Store(1 << 40)
	cfg.free = func() (int64, error) { return free.Load(), nil }
	now := time.Unix(1_700_000_000, 0)
	var mu sync.Mutex
	cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); now = now.Add(d); mu.Unlock() }
	h := open(t, cfg)
	put(t, h, 1, 1, "one")
	free.Store(DefaultReserve - 1)
	pass(spaceEvery)
	if _, err := propose(h, 1, kvCommand(2, nil)); !errors.Is(err, ErrDiskReserve) {
		t.Fatal(err)
	}
	if len(dump(t, h)) != 2 {
		t.Fatal("reads do not go on")
	}
	if st := h.Status(); st.Writable || st.DiskFree != DefaultReserve-1 {
		t.Fatalf("%+v", st)
	}
	// Slots of records already accepted must still be erasable.
	v := seal.RandomSecret()
	if err := h.Slots().Put(9, &v); err != nil {
		t.Fatal(err)
	}
	if err := h.Slots().Erase(9); err != nil {
		t.Fatal(err)
	}
	free.Store(DefaultReserve)
	put(t, h, 1, 3, "three") // looked at again at once while low
}

func TestOpen_RefusesWhatIsNotItsOwn(t *testing.T) {
	dir := t.TempDir()
	h := open(t, testConfig(dir))
	if _, err := Open(testConfig(dir)); !errors.Is(err, storage.ErrLocked) {
		t.Fatal("second open:", err)
	}
	h.Close()
	cfg := testConfig(dir)
	cfg.Env = seal.Live
	if _, err := Open(cfg); !errors.Is(err, storage.ErrEnv) {
		t.Fatal("other environment:", err)
	}
	cfg = testConfig(dir)
	cfg.BarrierCheck = [32]byte{2}
	if _, err := Open(cfg); !errors.Is(err, storage.ErrBarrier) {
		t.Fatal("other barrier key:", err)
	}
	cfg = testConfig(dir)
	cfg.SlotKey = seal.RandomSecret()
	if _, err := Open(cfg); !errors.Is(err, storage.ErrSlotKey) {
		t.Fatal("other slot key:", err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testConfig(foreign)); !errors.Is(err, storage.ErrForeign) {
		t.Fatal("foreign directory:", err)
	}
	if names, _ := os.ReadDir(foreign); len(names) != 2 { // the lock and the thesis
		t.Fatal("foreign directory was touched")
	}
	open(t, testConfig(dir))
}

func TestOpen_FoundsAgainAfterAnInterruptedFounding(t *testing.T) {
	dir := t.TempDir()
	h := open(t, testConfig(dir))
	h.Close()
	// As if the process had died before the format file.
	if err := os.Remove(filepath.Join(dir, "FORMAT")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testConfig(dir)); !errors.Is(err, storage.ErrForeign) {
		t.Fatal("a lost format file must not look like an empty directory:", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "FOUNDING"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h = open(t, testConfig(dir))
	put(t, h, 1, 1, "one")
}

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	switch os.Getenv("CLUSTER_CHILD") {
	case "":
		os.Exit(m.Run())
	case "write":
		childWrite()
	}
}

// childWrite proposes for ever and prints what was acknowledged.
func childWrite() {
	h, err := Open(testConfig(os.Getenv("CLUSTER_DIR")))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(3)
	}
	from, _ := strconv.Atoi(os.Getenv("CLUSTER_FROM"))
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	room := make(chan struct{}, 100)
	for n := from; ; n++ {
		room <- struct{}{}
		h.Propose(ShardID(n%65), kvCommand(uint64(n), []byte(strings.Repeat(fmt.Sprint(n, "."), 100))), func(_ any, err error) {
			mu.Lock()
			if err == nil {
				fmt.Fprintln(out, "ack", n)
			} else {
				fmt.Fprintln(out, "error", err)
			}
			out.Flush()
			mu.Unlock()
			<-room
		})
	}
}

// child runs the test binary as a writer and kills it after n acknowledgements.
func child(t *testing.T, dir string, from, n int) (acked []int, output string) {
	t.Helper()
	return childThen(t, dir, from, n, func(int) {})
}

// childThen also calls f after each acknowledgement.
func childThen(t *testing.T, dir string, from, n int, f func(acked int)) (acked []int, output string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "CLUSTER_CHILD=write", "CLUSTER_DIR="+dir, "CLUSTER_FROM="+strconv.Itoa(from))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		var i int
		if _, err := fmt.Sscanf(lines.Text(), "ack %d", &i); err == nil {
			if acked = append(acked, i); len(acked) == n {
				_ = cmd.Process.Signal(syscall.SIGKILL)
			}
			f(len(acked))
			continue
		}
		output += lines.Text() + "\n"
		if len(output) > 1000 {
			_ = cmd.Process.Signal(syscall.SIGKILL)
		}
	}
	_ = cmd.Wait()
	return acked, output + stderr.String()
}

func TestKill_NothingAcknowledgedIsLost(t *testing.T) {
	dir := t.TempDir()
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	all := map[int]bool{}
	for r := range rounds {
		acked, output := child(t, dir, r*1_000_000, 500+3000*r)
		if len(acked) < 500 {
			t.Fatal("child:", output)
		}
		for _, n := range acked {
			all[n] = true
		}
	}
	h := open(t, testConfig(dir))
	got := dump(t, h)
	for n := range all {
		if got[string(kvKey(ShardID(n%65), uint64(n)))] != strings.Repeat(fmt.Sprint(n, "."), 100) {
			t.Fatalf("command %d was acknowledged and is not there", n)
		}
	}
	t.Logf("%d acknowledged over %d kills", len(all), rounds)
}

// ownDisk mounts a new file system of the given size at dir until the test
// ends. It returns functions that mount and unmount it in between.
func ownDisk(t *testing.T, dir string, size int64) (mount, unmount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs a file system of its own")
	}
	image := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v %s", err, out)
	}
	unmount = func() { _ = exec.Command("umount", dir).Run() }
	mount = func() {
		if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v %s", err, out)
		}
	}
	t.Cleanup(func() {
		if exec.Command("umount", dir).Run() != nil {
			_ = exec.Command("umount", "-l", dir).Run() // a failed test may hold files open
		}
	})
	return mount, unmount
}

// A killed process leaves its mapped pages behind; a power cut does not. The file
// system is shut down without writing anything back, which loses what was not synced,
// and mounted again.
func TestPowerCut_NothingAcknowledgedIsLost(t *testing.T) {
	dir := t.TempDir()
	mount, unmount := ownDisk(t, dir, 1600<<20)
	all := map[int]bool{}
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for r := range rounds {
		at := 2000 + 20_000*r // the later ones after tables were finished and the log was cut
		acked, output := childThen(t, dir, r*1_000_000, 1<<30, func(n int) {
			if n == at {
				root, err := os.Open(dir)
				if err != nil {
					t.Error(err)
					return
				}
				defer root.Close()
				const shutdown, noLogFlush = 0x8004587d, 2
				flags := uint32(noLogFlush)
				if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, root.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
					t.Error("shutdown:", errno)
				}
			}
		})
		if len(acked) < at {
			t.Fatalf("%d acknowledged: %s", len(acked), output)
		}
		if strings.Contains(output, "goroutine ") {
			t.Fatal("crashed:", output)
		}
		// What is acknowledged after the cut would never have left a machine without
		// power: the kernel of this one goes on, and a sync that meets the aborted journal
		// in the wrong moment returns nil.
		for _, n := range acked[:at] {
			all[n] = true
		}
		unmount()
		mount()
		h := open(t, testConfig(dir))
		got := dump(t, h)
		for n := range all {
			if got[string(kvKey(ShardID(n%65), uint64(n)))] != strings.Repeat(fmt.Sprint(n, "."), 100) {
				t.Fatalf("round %d: command %d was acknowledged and is not there", r, n)
			}
		}
		after := 0
		for _, n := range acked[at:] {
			if got[string(kvKey(ShardID(n%65), uint64(n)))] == "" {
				after++
			}
		}
		t.Logf("%d acknowledged; of %d after the cut %d are gone; log from %d; the child said %q", len(all), len(acked)-at, after, h.Status().Shards[1].First, strings.SplitN(output, "\n", 2)[0])
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDisk_IsAnErrorAndNotACrash(t *testing.T) {
	dir := t.TempDir()
	ownDisk(t, dir, 1600<<20)
	// The reserve is checked by the host; here the disk fills behind its back.
	acked, output := child(t, dir, 0, 2000)
	if len(acked) < 2000 {
		t.Skip("this disk is too small to begin with: ", output)
	}
	ballast, err := os.Create(filepath.Join(dir, "lost+found", "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	free, err := storage.Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, leave := range []int64{storage.MinReserve - 8<<20, 40 << 20, 0} {
		if err := syscall.Fallocate(int(ballast.Fd()), 0, 0, max(free-leave, 1)); err != nil && leave > 0 {
			t.Fatal(err)
		}
		more, output := child(t, dir, 1_000_000, 100)
		if strings.Contains(output, "SIGBUS") || strings.Contains(output, "goroutine ") {
			t.Fatal("crashed:", output)
		}
		if len(more) > 0 {
			t.Fatalf("%d commands accepted below the reserve", len(more))
		}
		t.Logf("%d MiB left: %s", leave>>20, strings.SplitN(output, "\n", 2)[0])
	}
	// And under load, faster than the host looks: it may refuse or stop, but in
	// its own words.
	if err := ballast.Truncate(0); err != nil {
		t.Fatal(err)
	}
	more, output := childThen(t, dir, 2_000_000, 100_000, func(n int) {
		if n == 500 {
			at := int64(0)
			for step := int64(64 << 20); step >= 4096; {
				if syscall.Fallocate(int(ballast.Fd()), 0, at, step) != nil {
					step /= 2
				} else {
					at += step
				}
			}
		}
	})
	if strings.Contains(output, "SIGBUS") || strings.Contains(output, "goroutine ") || !strings.Contains(output, "error") {
		t.Fatal("crashed:", output)
	}
	t.Logf("filled under load: %d acknowledged, then %s", len(more), strings.SplitN(output, "\n", 2)[0])
	acked = append(acked, more...)
	ballast.Close()
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	h := open(t, testConfig(dir))
	got := dump(t, h)
	for _, n := range acked {
		if _, ok := got[string(kvKey(ShardID(n%65), uint64(n)))]; !ok {
			t.Fatalf("command %d was acknowledged and is not there", n)
		}
	}
}
