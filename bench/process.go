package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Launch says how a scenario's servers are started.
type Launch struct {
	Program    string   // the holdfast binary; this very program if empty
	Args       []string // after the ones that bench gives
	World      string   // directory of a seeded world to use, or to make and leave there; empty: a temporary one
	Dir        string   // where temporary directories are made; the system's if empty
	Members    int      // generated members; 10,000 if 0
	Subscriber string   // whom they are connected to; "Bench" if empty
	Reseed     bool     // make a new world for each run instead of copying the first
	Keep       bool     // leave the directories behind
	Log        io.Writer

	rest time.Duration // how long a server must be quiet; 1 s if 0
}

func (l *Launch) fill() error {
	if l.Program == "" {
		p, err := os.Executable()
		if err != nil {
			return err
		}
		l.Program = p
	}
	if l.Members == 0 {
		l.Members = 10_000
	}
	if l.Subscriber == "" {
		l.Subscriber = "Bench"
	}
	if l.rest == 0 {
		l.rest = time.Second
	}
	if l.Log == nil {
		l.Log = io.Discard
	}
	return nil
}

func (l *Launch) logf(format string, args ...any) { fmt.Fprintf(l.Log, format+"\n", args...) }

// A server is a child process and the world it serves.
type server struct {
	World    *World
	Sub      *Subscriber
	Accounts []Account
	rest     time.Duration
	dir      string // holds data, world, keys, log
	ready    time.Duration

	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

const (
	startPatience = 10 * time.Minute // seeding many members takes its time
	stopPatience  = 60 * time.Second
)

func (s *server) data() string { return filepath.Join(s.dir, "data") }

// start runs `holdfast dev` on dir/data and returns when its world file is
// complete. With seeded set the directory holds a world already, whose
// credentials are taken from the files of the first start; only the addresses
// are new.
func (l *Launch) start(ctx context.Context, dir string, seeded bool) (*server, error) {
	s := &server{dir: dir, rest: l.rest, exited: make(chan struct{})}
	world, keys := filepath.Join(dir, "world.json"), filepath.Join(dir, "keys.ndjson")
	here := world
	args := []string{"dev", "--data", s.data(), "--http", "127.0.0.1:0"}
	if seeded {
		here = filepath.Join(dir, "world-again.json")
		if err := os.Remove(here); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	} else {
		args = append(args, "--members", strconv.Itoa(l.Members), "--connect", l.Subscriber, "--keys", keys)
	}
	args = append(append(args, "--world", here), l.Args...)
	log, err := os.OpenFile(filepath.Join(dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.CommandContext(ctx, l.Program, args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(os.Interrupt) }
	s.cmd.WaitDelay = stopPatience
	dieWithParent(s.cmd)
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	if err := s.awaitFile(ctx, here); err != nil {
		s.kill()
		return nil, fmt.Errorf("server did not get ready: %w (its log: %s)", err, log.Name())
	}
	s.ready = time.Since(begin)
	if err := s.readFiles(l, world, here, keys); err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

func (s *server) readFiles(l *Launch, world, here, keys string) error {
	var err error
	if s.World, err = readWorld(here); err != nil {
		return err
	}
	first := s.World
	if world != here {
		if first, err = readWorld(world); err != nil {
			return err
		}
	}
	if s.Sub, err = first.subscriber(l.Subscriber); err != nil {
		return err
	}
	if s.Accounts, err = readAccounts(keys, s.Sub); err != nil {
		return err
	}
	if len(s.Accounts) == 0 {
		return errors.New("keys file has no generated member connected to the subscriber")
	}
	if len(s.Accounts) < l.Members {
		return fmt.Errorf("keys file has %d generated members, %d were asked for", len(s.Accounts), l.Members)
	}
	s.Accounts = s.Accounts[:l.Members]
	return nil
}

func (s *server) awaitFile(ctx context.Context, path string) error {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	limit := time.NewTimer(startPatience)
	defer limit.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-t.C:
		case <-limit.C:
			return errors.New("too slow")
		case <-s.exited:
			return fmt.Errorf("it ended: %v", s.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop asks the server to end and waits for it.
func (s *server) stop() error {
	select {
	case <-s.exited:
		return fmt.Errorf("server had ended by itself: %v", s.err)
	default:
	}
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	t := time.NewTimer(stopPatience)
	defer t.Stop()
	select {
	case <-s.exited:
		return nil
	case <-t.C:
		s.kill()
		return errors.New("server did not stop when asked")
	}
}

// kill ends the server as kill -9 does.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// settle waits until the server uses less than 3 % of a core for Launch.rest, at
// most patience. It reports the CPU seconds used meanwhile and whether the
// server came to rest.
func (s *server) settle(ctx context.Context, patience time.Duration) (cpu float64, idle bool, err error) {
	step := s.rest / 4
	t := time.NewTicker(step)
	defer t.Stop()
	begin := s.cpu()
	last, quiet := begin, 0
	for waited := time.Duration(0); waited < patience; waited += step {
		select {
		case <-t.C:
		case <-s.exited:
			return 0, false, fmt.Errorf("server ended: %v", s.err)
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
		now := s.cpu()
		if now-last <= 0.03*step.Seconds()+0.01 { // one clock tick of 10 ms is noise
			quiet++
		} else {
			quiet = 0
		}
		if last = now; quiet == 4 {
			return now - begin, true, nil
		}
	}
	return last - begin, false, nil
}

func (s *server) cpu() float64      { return treeCPU(s.cmd.Process.Pid) }
func (s *server) resident() float64 { return treeResident(s.cmd.Process.Pid) }

// operate posts to or gets from the operator's listener; a missing route is not
// an error but ok is false.
func (s *server) operate(ctx context.Context, method, path string) (body []byte, ok bool, err error) {
	c, err := dialer(s.World.Operator, 5*time.Minute)
	if err != nil {
		return nil, false, err
	}
	defer c.close()
	h := ""
	if s.World.OperatorToken != "" {
		h = "Authorization: Bearer " + s.World.OperatorToken + "\r\n"
	}
	a, err := c.do(ctx, method, path, h, nil)
	if err != nil {
		return nil, false, err
	}
	return a.body, a.status/100 == 2, nil
}
