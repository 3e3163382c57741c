package actors

import (
	"runtime"

	"github.com/asynkron/protoactor-go/actor"

	"holdfast/actors/pds"
	"holdfast/cluster"
)

// lane is the parent of the members of some shards: it wakes them, sweeps the
// idle ones and sees to it that at most one actor of a member lives here.
type lane struct {
	d        *Directory
	retiring map[pds.UID]*retirement
}

// retirement is a member on its way out; who asks for it meanwhile waits.
type retirement struct {
	h    *handle
	wait []*activate
}

type activate struct {
	uid   pds.UID
	id    pds.MemberID
	shard cluster.ShardID
	ready chan struct{} // closed when the handle can be looked up
}

type (
	sweep   struct{}
	retire  struct{}
	retired struct{ h *handle } // the actor has wiped itself
	stays   struct{ h *handle } // the actor has work and stays
)

func (l *lane) Receive(ac actor.Context) {
	switch m := ac.Message().(type) {
	case *activate:
		l.activate(ac, m)
	case sweep:
		l.sweep(ac)
	case *retired:
		r := l.retiring[m.h.uid]
		delete(l.retiring, m.h.uid)
		ac.Stop(m.h.pid)
		l.d.cfg.Machine.Forget(uint8(m.h.shard), m.h.id)
		l.d.Counts.Passivations.Add(1)
		if r != nil {
			for _, a := range r.wait {
				l.activate(ac, a)
			}
		}
	case *stays:
		r := l.retiring[m.h.uid]
		delete(l.retiring, m.h.uid)
		m.h.closed.Store(false)
		l.put(m.h)
		if r != nil {
			for _, a := range r.wait {
				close(a.ready)
			}
		}
	}
}

func (l *lane) put(h *handle) {
	s := l.d.name(h.uid)
	s.mu.Lock()
	s.m[h.uid] = h
	s.mu.Unlock()
}

func (l *lane) activate(ac actor.Context, a *activate) {
	if r := l.retiring[a.uid]; r != nil {
		r.wait = append(r.wait, a)
		return
	}
	s := l.d.name(a.uid)
	s.mu.RLock()
	have := s.m[a.uid]
	s.mu.RUnlock()
	if have == nil {
		h := &handle{uid: a.uid, id: a.id, shard: a.shard}
		h.used.Store(l.d.cfg.Now().UnixMilli())
		h.pid = ac.Spawn(memberProps(l.d, h, ac.Self()))
		l.put(h)
		l.d.Counts.Activations.Add(1)
	}
	close(a.ready)
}

// sweep retires members that nobody used for a while and has the others drop
// keys that are past their time.
func (l *lane) sweep(ac actor.Context) {
	now := l.d.cfg.Now().UnixMilli()
	limit := now - l.d.cfg.IdleAfter.Milliseconds()
	self := ac.Self()
	for i := range l.d.names {
		s := &l.d.names[i]
		var idle []*handle
		s.mu.RLock()
		for _, h := range s.m {
			if l.d.lanes[int(h.shard)%lanes] != self {
				continue
			}
			if h.waiting.Load() == 0 && h.used.Load() < limit {
				idle = append(idle, h)
			} else if h.waiting.Load() == 0 {
				ac.Send(h.pid, sweep{})
			}
		}
		s.mu.RUnlock()
		for _, h := range idle {
			l.retire(ac, s, h)
		}
	}
}

func (l *lane) retire(ac actor.Context, s *nameShard, h *handle) {
	h.closed.Store(true)
	s.mu.Lock()
	delete(s.m, h.uid)
	s.mu.Unlock()
	// Senders are inside for the length of one Send; none enters any more.
	for h.inside.Load() != 0 {
		runtime.Gosched()
	}
	l.retiring[h.uid] = &retirement{h: h}
	ac.Send(h.pid, retire{})
}
