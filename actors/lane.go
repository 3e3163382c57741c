package actors

import (
	"runtime"

	"github.com/asynkron/protoactor-go/actor"
)

// lane looks after a part of the active members: it sweeps them, has the idle
// ones put away, and lets nobody wake one again before its actor is gone.
type lane struct {
	d *Directory
	n int
}

type (
	sweep   struct{}
	retire  struct{}
	resume  struct{}            // go on with what waits
	outcome struct{}            // the command in flight has one
	retired struct{ h *handle } // the actor has wiped itself
	stays   struct{ h *handle } // the actor has work and stays
)

func (l *lane) Receive(ac actor.Context) {
	switch m := ac.Message().(type) {
	case sweep:
		l.sweep(ac)
	case *retired:
		ac.Stop(m.h.pid)
		l.d.cfg.Machine.Forget(uint8(m.h.shard), m.h.id)
		l.d.Counts.Passivations.Add(1)
		l.settled(m.h, false)
	case *stays:
		m.h.closed.Store(false)
		l.settled(m.h, true)
	}
}

// settled lets those in who asked for the member meanwhile.
func (l *lane) settled(h *handle, stays bool) {
	s := l.d.name(h.uid)
	s.mu.Lock()
	if stays {
		s.m[h.uid] = h
	}
	gone := s.retiring[h.uid]
	delete(s.retiring, h.uid)
	s.mu.Unlock()
	if gone != nil {
		close(gone)
	}
}

// sweep retires members that nobody used for a while and has the others drop
// keys that are past their time.
func (l *lane) sweep(ac actor.Context) {
	now := l.d.cfg.Now().UnixMilli()
	limit := now - l.d.cfg.IdleAfter.Milliseconds()
	for i := l.n; i < nameShards; i += lanes {
		s := &l.d.names[i]
		var idle, others []*handle
		s.mu.RLock()
		for _, h := range s.m {
			used := h.used.Load()
			switch {
			case h.waiting.Load() != 0:
			case used < limit:
				idle = append(idle, h)
			case used < now-linkIdle.Milliseconds() || h.swept.Load() < now-linkMost.Milliseconds()/4:
				others = append(others, h)
			}
		}
		s.mu.RUnlock()
		for _, h := range others {
			ac.Send(h.pid, sweep{})
		}
		for _, h := range idle {
			l.retire(ac, s, h)
		}
	}
}

func (l *lane) retire(ac actor.Context, s *nameShard, h *handle) {
	s.mu.Lock()
	if s.m[h.uid] != h || s.retiring[h.uid] != nil {
		s.mu.Unlock()
		return
	}
	h.closed.Store(true)
	delete(s.m, h.uid)
	s.retiring[h.uid] = make(chan struct{})
	s.mu.Unlock()
	// Senders are inside for the length of one Send; none enters any more.
	for h.inside.Load() != 0 {
		runtime.Gosched()
	}
	ac.Send(h.pid, retire{})
}
