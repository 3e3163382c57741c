package actors

import (
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// work is one operation that waits for its turn at a member.
type work interface {
	// prepare decides, and either appends its operations to b and returns
	// true, or has finished the work by itself and returns false.
	prepare(m *member, b *pds.Builder) bool
	// applied is called when its operations are durable, the first as record seq.
	applied(m *member, seq uint64)
	// finish ends the work; nil means done.
	finish(e *pds.Error)
	// size is a rough upper bound of what prepare appends, bytes.
	size() int
}

// waiter is work that somebody waits for.
type waiter interface {
	work
	begin()
	doneC() <-chan struct{}
	outcome() *pds.Error
}

// waited is the waiting half of most works.
type waited struct {
	c   chan struct{}
	err *pds.Error
}

func (w *waited) begin()                 { w.c = make(chan struct{}) }
func (w *waited) doneC() <-chan struct{} { return w.c }
func (w *waited) outcome() *pds.Error    { return w.err }
func (w *waited) finish(e *pds.Error)    { w.err = e; close(w.c) }
func (w *waited) size() int              { return 4096 }

// call is the one message that carries work to a member's actor. The member's
// number is in it, and the actor refuses another's.
type call struct {
	uid   pds.UID
	works []work
	cork  *cork // gathers the proposal; nil: it goes at once
}

// member is the actor of one personal data store. Everything in it is
// touched by its mailbox goroutine only. The order of effects is decide,
// append, apply, reply, publish; one command is in flight at a time and what
// arrives meanwhile goes together into the next.
type member struct {
	d      *Directory
	h      *handle
	parent *actor.PID
	self   *actor.PID
	root   *actor.RootContext
	cork   *cork            // of the delivery whose message is being read
	done   func(any, error) // takes the outcome of the command in flight
	result any              // written by done before the outcome message, read after
	err    error

	loaded bool
	head   uint64
	chain  [32]byte
	term   uint64
	ctl    *pds.Control

	queue   []work
	taken   []work // scratch of pump
	flight  []work
	ops     []int // operations of each work in flight
	busy    bool
	retries int
	single  int   // so many commands take one operation each
	now     int64 // Unix milliseconds, of the command being built
	build   uint64

	links    map[pds.NID]*openLink
	sessions map[[16]byte]*session
	keys     *memberKeys
	tags     map[pds.Tag]*tagState
	entryKey *entryKey
	epochs   map[epochField]*seal.Cipher
	refusals map[refusalKey]*refusalCount
	scratch  *scratch // while a command is being built
}

func memberProps(d *Directory, h *handle, parent *actor.PID) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		m := &member{d: d, h: h, parent: parent, root: d.sys.Root}
		m.done = func(out any, err error) {
			m.result, m.err = out, err
			d.fin.add(m)
		}
		return m
	}, actor.WithDispatcher(inline{}), actor.WithSupervisor(actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })))
}

func (m *member) Receive(ac actor.Context) {
	switch msg := ac.Message().(type) {
	case *actor.Started:
		m.self = ac.Self()
	case *call:
		m.receive(msg)
	case outcome:
		out, err := m.result, m.err
		m.result, m.err = nil, nil
		m.committed(out, err)
	case resume:
		m.pump()
	case sweep:
		m.dropStale()
	case retire:
		if m.busy || len(m.queue) > 0 || m.unlockedNow() {
			ac.Send(m.parent, &stays{m.h})
			return
		}
		m.wipe()
		ac.Send(m.parent, &retired{m.h})
	case *actor.Stopping, *actor.Restarting:
		m.abandon()
		m.wipe()
	}
}

func (m *member) receive(c *call) {
	if c.uid != m.h.uid {
		for _, w := range c.works {
			w.finish(pds.Refuse(pds.Internal, pds.CodeInternal))
		}
		return
	}
	m.queue = append(m.queue, c.works...)
	m.cork = c.cork
	m.pump()
	m.cork = nil
}

// end finishes a work and counts it out.
func (m *member) end(w work, e *pds.Error) {
	m.h.waiting.Add(-1)
	w.finish(e)
}

// pump builds the next command from what waits and proposes it.
func (m *member) pump() {
	if m.busy || len(m.queue) == 0 {
		return
	}
	m.scratch = scratches.Get().(*scratch)
	defer func() {
		scratches.Put(m.scratch)
		m.scratch = nil
	}()
	for !m.busy && len(m.queue) > 0 {
		if !m.loaded {
			if e := m.load(); e != nil {
				m.failAll(e)
				return
			}
		}
		if !m.d.cfg.Host.Writable() {
			if m.refuseGrowth(); len(m.queue) == 0 {
				return
			}
		}
		// A wall clock that was set back must not stop the shard.
		m.now = max(m.d.cfg.Now().UnixMilli(), m.d.cfg.Machine.Floor(uint8(m.h.shard)))
		m.build++
		b := &m.scratch.builder
		hint := 160
		n := 0
		for _, w := range m.queue {
			s := w.size()
			if n > 0 && (m.single > 0 || n >= pds.MaxOps || hint+s > pds.MaxCommandBytes-8192 || repeats(m.queue[:n], w)) {
				break
			}
			hint += s
			n++
		}
		if m.single > 0 {
			m.single--
		}
		b.Begin(m.h.id, m.head, m.term, m.now, hint)
		m.flight, m.ops = m.flight[:0], m.ops[:0]
		taken := append(m.taken[:0], m.queue[:n]...)
		m.queue = append(m.queue[:0], m.queue[n:]...)
		for _, w := range taken {
			before := b.Ops()
			if m.prepare(w, b) {
				m.flight = append(m.flight, w)
				m.ops = append(m.ops, b.Ops()-before)
			}
		}
		clear(taken)
		m.taken = taken[:0]
		if len(m.flight) == 0 {
			continue
		}
		m.busy = true
		switch {
		case !slices.ContainsFunc(m.flight, grows):
			m.d.cfg.Host.ProposeSmall(m.h.shard, b.Bytes(), m.done)
		case m.cork != nil:
			m.cork.add(cluster.Proposal{Shard: m.h.shard, Data: b.Bytes(), Done: m.done})
		default:
			m.d.cfg.Host.Propose(m.h.shard, b.Bytes(), m.done)
		}
	}
}

// grows reports whether a work stores what somebody wants to keep. Reads,
// sessions and consent do not: they go on when the disk's reserve is reached.
func grows(w work) bool {
	switch w.(type) {
	case *sectionWork, *changeWork, *ownWrite, *registerWork:
		return true
	}
	return false
}

// refuseGrowth ends the waiting works that the disk has no room for, so that
// they do not take others with them.
func (m *member) refuseGrowth() {
	keep := m.queue[:0]
	for _, w := range m.queue {
		if grows(w) {
			m.end(w, pds.Refuse(pds.Busy, pds.CodeDiskReserve))
		} else {
			keep = append(keep, w)
		}
	}
	clear(m.queue[len(keep):])
	m.queue = keep
}

// repeats reports whether an earlier work is the same section of the same
// request; the later one must then see the outcome of the earlier.
func repeats(before []work, w work) bool {
	s, ok := w.(*sectionWork)
	if !ok || s.s.Request == [16]byte{} {
		return false
	}
	for _, p := range before {
		if q, ok := p.(*sectionWork); ok && q.s.Request == s.s.Request && q.s.Number == s.s.Number {
			return true
		}
	}
	return false
}

// prepare runs a work's decision; a panic in it is that work's internal error
// and costs nobody else anything.
func (m *member) prepare(w work, b *pds.Builder) (ok bool) {
	mark := *b
	defer func() {
		if r := recover(); r != nil {
			*b = mark
			ok = false
			m.d.cfg.Log.Error("a member's operation failed", "at", panicPlace())
			m.loaded = false
			m.forgetTags()
			if m.entryKey != nil {
				m.entryKey.build = 0 // what stores it may have been taken back
			}
			m.end(w, pds.Refuse(pds.Internal, pds.CodeInternal))
		}
	}()
	return w.prepare(m, b)
}

// load reads the newest state: at activation, and after a conflict.
func (m *member) load() *pds.Error {
	term, leader := m.d.cfg.Host.Term(m.h.shard)
	if !leader {
		return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	head, chain, ctl, err := m.d.cfg.Machine.Open(uint8(m.h.shard), m.h.id, func(f func(pds.KVReader) error) error {
		return m.d.view(func(r storage.Reader) error { return f(r) })
	})
	if err != nil {
		if !errors.Is(err, cluster.ErrStopped) {
			m.d.cfg.Log.Error("a store could not be loaded", "shard", m.h.shard, "error", err)
		}
		return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	m.head, m.chain, m.ctl = head, chain, ctl
	m.term = term
	m.forgetTags()
	m.loaded = true
	return nil
}

func (m *member) forgetTags() { m.tags = nil }

// tooLong is how often a command is decided again before its callers hear of
// it.
const tooLong = 4

func (m *member) committed(result any, err error) {
	flight := m.flight
	m.busy = false
	if err == nil {
		if out, ok := result.(*pds.Outcome); ok {
			if out.Code == pds.CodeNone {
				m.retries = 0
				m.settle(out, flight)
				m.goOn()
				return
			}
			m.again(out.Code, flight)
			return
		}
		if fault, ok := result.(error); ok {
			err = fault
		} else {
			err = cluster.ErrUnknown
		}
	}
	if errors.Is(err, cluster.ErrTooLarge) && len(flight) > 1 {
		// Together they were too much; each alone may well fit.
		m.again(pds.CodeNotNewest, flight)
		return
	}
	e := refusalOf(err)
	m.loaded = false
	m.dropOpen()
	clear(m.refusals) // their entries may not have come into being
	m.flight = nil
	for _, w := range flight {
		m.end(w, e)
	}
	m.pump()
}

// goOn goes on with what waits. Outcomes of many members come on few
// goroutines, so what may take long gets one of its own.
func (m *member) goOn() {
	if len(m.queue) == 0 {
		return
	}
	switch m.queue[0].(type) {
	case *sectionWork, *changeWork, *refuseWork, *noteWork:
		m.pump()
	default:
		go m.root.Send(m.self, resume{})
	}
}

// settle is steps apply, reply and publish.
func (m *member) settle(out *pds.Outcome, flight []work) {
	seq := m.head
	m.d.log.touch(m.h)
	m.head, m.chain = out.Head, out.Chain
	m.ctl = out.Control // shared with the machine: one copy a member
	if out.Changed {
		m.consentChanged()
	}
	for i, w := range flight {
		m.flight = flight[i:] // whose callers still wait, should this one panic
		w.applied(m, seq+1)
		seq += uint64(m.ops[i])
		m.flight = flight[i+1:]
		m.end(w, nil)
	}
	clear(flight)
	m.flight = flight[:0]
}

// again takes a command that apply refused back to its decision. When only
// one operation was in it and the state is unchanged, the code is its answer.
func (m *member) again(code pds.Code, flight []work) {
	m.d.Counts.Conflicts.Add(1)
	m.retries++
	m.loaded = false
	m.dropOpen()
	clear(m.refusals) // none of the command's entries came into being
	m.flight = nil
	if code == pds.CodeReplayed {
		// Some section was stored before: each looks itself up now.
		for _, w := range flight {
			if s, ok := w.(*sectionWork); ok {
				s.lookup = true
			} else if c, ok := w.(*changeWork); ok {
				c.lookup = true
			}
		}
	} else if m.retries > tooLong || code != pds.CodeNotNewest && m.retries > 1 && len(flight) == 1 {
		m.retries = 0
		e := refusalCode(code)
		for _, w := range flight {
			m.end(w, e)
		}
		m.pump()
		return
	}
	// One of several may be to blame: decide each alone.
	m.single = max(m.single, len(flight))
	m.queue = append(flight[:len(flight):len(flight)], m.queue...)
	m.pump()
}

func refusalCode(code pds.Code) *pds.Error {
	switch code {
	case pds.CodeNotNewest, pds.CodeUnavailable, pds.CodeReplayed:
		return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	case pds.CodeAlreadyExists, pds.CodeBadStatement:
		return pds.Refuse(pds.Conflict, code)
	case pds.CodeMalformed:
		return pds.Refuse(pds.Internal, pds.CodeInternal)
	}
	return pds.Refuse(pds.Denied, code)
}

// refusalOf translates the host's errors.
func refusalOf(err error) *pds.Error {
	var nl cluster.ErrNotLeader
	switch {
	case errors.Is(err, cluster.ErrBusy):
		return pds.Refuse(pds.Busy, pds.CodeBusy)
	case errors.Is(err, cluster.ErrDiskReserve):
		return pds.Refuse(pds.Busy, pds.CodeDiskReserve)
	case errors.Is(err, cluster.ErrTooLarge):
		return pds.Refuse(pds.Invalid, pds.CodeTooLarge)
	case errors.As(err, &nl), errors.Is(err, cluster.ErrStopped):
		return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	return pds.Refuse(pds.Unknown, pds.CodeUnknownOutcome)
}

// abandon answers whoever still waits when the actor ends early.
func (m *member) abandon() {
	e := pds.Refuse(pds.Unknown, pds.CodeUnknownOutcome)
	left := m.flight
	m.flight = nil
	for _, w := range left {
		m.end(w, e)
	}
	m.failAll(e)
}

func (m *member) failAll(e *pds.Error) {
	q := m.queue
	m.queue = nil
	for _, w := range q {
		m.end(w, e)
	}
}

// wipe clears every key this actor holds.
func (m *member) wipe() {
	m.dropOpen()
	if m.keys != nil {
		m.keys.wipe()
		m.keys = nil
	}
	m.sessions = nil
	if m.entryKey != nil {
		m.entryKey.wipe()
		m.entryKey = nil
	}
	m.tags = nil
	m.loaded = false
}

// dropOpen forgets opened bundles.
func (m *member) dropOpen() {
	for n, l := range m.links {
		l.wipe()
		delete(m.links, n)
	}
	clear(m.epochs)
}

// consentChanged drops everything that was derived from the former state.
func (m *member) consentChanged() {
	m.dropOpen()
	if m.keys != nil {
		m.keys.stale = true
	}
}

// Times of what may stay opened (design, section 4).
const (
	linkIdle    = 10 * time.Second
	linkMost    = 60 * time.Second
	sessionIdle = 10 * time.Minute
	sessionMost = 60 * time.Minute
)

func (m *member) dropStale() {
	now := m.d.cfg.Now().UnixMilli()
	m.h.swept.Store(now)
	for n, l := range m.links {
		if now-l.used > linkIdle.Milliseconds() || now-l.opened > linkMost.Milliseconds() {
			l.wipe()
			delete(m.links, n)
		}
	}
	m.expireSessions(now)
}
