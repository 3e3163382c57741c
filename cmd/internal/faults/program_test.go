package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/cmd/internal/sandbox"
)

var (
	killRounds  = flag.Int("rounds.kill", 3, "rounds of TestKill")
	powerRounds = flag.Int("rounds.power", 2, "rounds of TestPowerCut")
	flipRounds  = flag.Int("rounds.flip", 4, "rounds of TestBitFlip")
	seedFlag    = flag.Uint64("seed", 0, "seed of the plan; 0: a new one")
	binFlag     = flag.String("holdfast", "", "the program, already built")
	keepFlag    = flag.Bool("keep", false, "leave the directories behind")
)

// Patience with a child; the limits that are promises stand in the tests.
const (
	startPatience = 60 * time.Second
	stopPatience  = 30 * time.Second
)

var program struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if program.path != "" && *binFlag == "" {
		_ = os.RemoveAll(filepath.Dir(program.path))
	}
	os.Exit(code)
}

// holdfast builds the program once a run.
func holdfast(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("drives real processes")
	}
	program.once.Do(func() {
		if program.path = *binFlag; program.path != "" {
			return
		}
		dir, err := os.MkdirTemp("", "holdfast-faults-")
		if err != nil {
			program.err = err
			return
		}
		program.path = filepath.Join(dir, "holdfast")
		out, err := exec.Command("go", "build", "-o", program.path, "holdfast/cmd/holdfast").CombinedOutput()
		if err != nil {
			program.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// newSeed names the plan of a test.
func newSeed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d", s)
	return s
}

// scratch is a directory that stays if the test failed or -keep is set.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if *keepFlag || t.Failed() {
			t.Logf("left behind: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// launcher starts the program again and again on one data directory.
type launcher struct {
	t    *testing.T
	bin  string
	dir  string // logs, keys and worlds; never the damaged file system
	data string
	args []string
	n    int
}

// child is one run of the program.
type child struct {
	url        string
	log        string // file with what it wrote to its standard streams
	world      string
	cmd        *exec.Cmd
	begin      time.Time
	readyAfter time.Duration // from begin until ready
	readyCPU   time.Duration // used by then
	exited     chan struct{}
	err        error // after exited
}

// freePort finds a port below those that outgoing connections take.
func freePort() (string, error) {
	for range 200 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, ln.Close()
		}
	}
	return "", errors.New("no free port")
}

// spawn starts a child and does not wait for it.
func (l *launcher) spawn(more ...string) (*child, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	l.n++
	c := &child{url: "http://" + addr, log: filepath.Join(l.dir, fmt.Sprintf("log-%04d", l.n)), world: filepath.Join(l.dir, fmt.Sprintf("world-%04d.json", l.n)), exited: make(chan struct{})}
	f, err := os.OpenFile(c.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	args := append([]string{"dev", "--data", l.data, "--http", addr, "--quiet", "--world", c.world}, l.args...)
	c.cmd = exec.Command(l.bin, append(args, more...)...)
	c.cmd.Stdout, c.cmd.Stderr = f, f
	// Should this process be killed its children go too.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.begin = time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	l.t.Cleanup(c.kill)
	return c, nil
}

// start spawns a child and waits until it is ready.
func (l *launcher) start(more ...string) *child {
	l.t.Helper()
	c, err := l.spawn(more...)
	if err == nil {
		err = c.awaitReady()
	}
	if err != nil {
		l.t.Fatalf("start %d: %v", l.n, err)
	}
	return c
}

// errEnded: the child ended before it was ready.
var errEnded = errors.New("the program ended")

// poll calls f until it is true, the child has ended, or patience is over.
func (c *child) poll(what string, patience time.Duration, f func() bool) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-c.exited:
			return fmt.Errorf("%w: %v: %s", errEnded, c.err, c.said())
		case <-limit.C:
			return fmt.Errorf("not %s after %v: %s", what, patience, c.said())
		}
	}
	return nil
}

var probe = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (c *child) ready() (body string, ok bool) {
	res, err := probe.Get(c.url + "/readyz")
	if err != nil {
		return "", false
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b), res.StatusCode == http.StatusOK
}

func (c *child) awaitReady() error {
	err := c.poll("ready", startPatience, func() bool { _, ok := c.ready(); return ok })
	c.readyAfter, c.readyCPU = time.Since(c.begin), c.cpu()
	return err
}

// cpu is the processor time that the child has used, 0 if that is not known.
func (c *child) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from field 3 on
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// slow judges how long a restart took: wall clock, but for a machine so busy
// with others that the child got less than a fifth of a processor.
func (c *child) slow(t *testing.T, round int, took time.Duration) {
	t.Helper()
	if took <= firstAnswer {
		return
	}
	report := t.Errorf
	if c.readyCPU > 0 && c.readyCPU < took/5 {
		report = t.Logf
	}
	report("round %d: first answer %v after the restart, ready after %v with %v of processor time", round, took, c.readyAfter, c.readyCPU)
}

// awaitWorld waits until the sandbox is complete and reads what it holds.
func (c *child) awaitWorld() (*sandbox.World, error) {
	if err := c.poll("seeded", 5*time.Minute, func() bool { _, err := os.Stat(c.world); return err == nil }); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(c.world)
	if err != nil {
		return nil, err
	}
	var w sandbox.World
	return &w, json.Unmarshal(b, &w)
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// wasKilled reports that the child ended by kill and not by itself.
func (c *child) wasKilled() bool {
	<-c.exited
	ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// stop asks the child to end, as an operator would, when its sandbox is done:
// before, being stopped is an error.
func (c *child) stop() error {
	if _, err := c.awaitWorld(); err != nil {
		return err
	}
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("%w: %v: %s", errEnded, c.err, c.said())
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	select {
	case <-c.exited:
		if c.err != nil {
			return fmt.Errorf("stopped with %w: %s", c.err, c.said())
		}
		return nil
	case <-ctx.Done():
		c.kill()
		return errors.New("did not stop when asked")
	}
}

// said is the end of what the child wrote.
func (c *child) said() string {
	b, _ := os.ReadFile(c.log)
	s := strings.TrimSpace(string(b))
	if len(s) > 1500 {
		s = s[:700] + "\n...\n" + s[len(s)-700:]
	}
	return s
}

// crashed reports a Go crash in the log: a panic or a runtime's fatal error.
func (c *child) crashed() bool {
	b, _ := os.ReadFile(c.log)
	s := string(b)
	return strings.Contains(s, "\ngoroutine ") || strings.Contains(s, "panic: ") || strings.Contains(s, "fatal error: ") || strings.Contains(s, "SIGBUS")
}
