package storage

import (
	"fmt"
	"strings"
	"sync"
)

type stateLogger struct {
	s       *State
	mu      sync.Mutex
	opening bool
	first   error
}

func (g *stateLogger) Errorf(format string, args ...any) {
	g.failed(fmt.Errorf("state engine: %s", strings.TrimSpace(fmt.Sprintf(format, args...))))
}

func (g *stateLogger) Warningf(format string, args ...any) {
	// The engine's name for a failed compaction.
	msg := strings.TrimSpace(fmt.Sprintf(format, args...))
	if strings.Contains(format, "LOG Compact FAILED") || strings.Contains(format, "doCompact") {
		g.failed(fmt.Errorf("state engine: %s", msg))
		return
	}
	g.s.cfg.Log.Warn("state engine", "msg", msg)
}

func (g *stateLogger) Infof(string, ...any)  {}
func (g *stateLogger) Debugf(string, ...any) {}

func (g *stateLogger) failed(err error) {
	g.mu.Lock()
	opening := g.opening
	if opening && g.first == nil {
		g.first = err
	}
	g.mu.Unlock()
	if !opening {
		g.s.cfg.Fault.Set(err)
	}
}

func (g *stateLogger) complaint() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first != nil {
		return damage(g.first)
	}
	return nil
}

func (g *stateLogger) opened() {
	g.mu.Lock()
	g.opening = false
	first := g.first
	g.mu.Unlock()
	if first != nil {
		g.s.cfg.Fault.Set(first)
	}
}
