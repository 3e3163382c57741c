package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A nursery hands out servers with a fresh world each. Making thousands of
// members takes longer than a run, so the first world is kept and copied.
type nursery struct {
	launch *Launch
	root   string
	seeded bool
	n      int
}

func newNursery(l *Launch) (*nursery, error) {
	root, err := os.MkdirTemp(l.Dir, "holdfast-bench-")
	if err != nil {
		return nil, err
	}
	return &nursery{launch: l, root: root}, nil
}

// seed makes the world that the runs copy.
func (n *nursery) seed(ctx context.Context) error {
	dir := n.seedDir()
	if _, err := os.Stat(filepath.Join(dir, "world.json")); err == nil {
		n.launch.logf("using the world in %s", dir)
		n.seeded = true
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	n.launch.logf("making a world of %d members", n.launch.Members)
	s, err := n.launch.start(ctx, dir, false)
	if err != nil {
		n.launch.Keep = true // its log says why
		return err
	}
	n.launch.logf("made in %.1f s", s.ready.Seconds())
	// What making members left to be tidied up is no part of any run.
	if _, _, err := s.operate(ctx, "POST", "/operator/v1/compact"); err != nil {
		return err
	}
	if _, _, err := s.settle(ctx, 2*time.Minute); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	n.seeded = true
	return nil
}

func (n *nursery) seedDir() string {
	if n.launch.World != "" {
		return n.launch.World
	}
	return filepath.Join(n.root, "seed")
}

// server starts the next one.
func (n *nursery) server(ctx context.Context) (*server, error) {
	n.n++
	dir := filepath.Join(n.root, fmt.Sprintf("run%d", n.n))
	if !n.launch.Reseed {
		if !n.seeded {
			if err := n.seed(ctx); err != nil {
				return nil, err
			}
		}
		if err := copyDir(n.seedDir(), dir); err != nil {
			return nil, err
		}
	} else if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := n.launch.start(ctx, dir, !n.launch.Reseed)
	if err != nil {
		n.launch.Keep = true
	}
	return s, err
}

// discard removes a stopped server's directory.
func (n *nursery) discard(s *server) error {
	if n.launch.Keep {
		return nil
	}
	return os.RemoveAll(s.dir)
}

func (n *nursery) close() error {
	if n.launch.Keep {
		n.launch.logf("kept %s", n.root)
		return nil
	}
	return os.RemoveAll(n.root)
}
