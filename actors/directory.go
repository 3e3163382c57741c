package actors

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// Config is what a Directory needs. Now and IdleAfter have defaults.
type Config struct {
	Host      *cluster.Host
	Machine   *pds.Machine
	Barrier   seal.Barrier
	Catalogue *schema.Catalogue
	Log       *slog.Logger
	Now       func() time.Time
	IdleAfter time.Duration // a member's actor is put away after this; default 30 s
	CachesOff bool          // open every bundle anew: a test's way to compare
	SignLog   func(text []byte) ([]byte, error)
	LogKey    string // verifier key of the transparency log
}

// Directory is the only way to a member: it finds the member's actor, or
// wakes it, and hands it one message per request.
type Directory struct {
	seal.Redacted
	cfg    Config
	env    seal.Env
	dk     seal.Secret
	pepper seal.Secret
	cache  seal.Secret // keys the hash that finds opened bundles
	sys    *actor.ActorSystem
	lanes  [lanes]*actor.PID
	names  [nameShards]nameShard
	unlock unlockKey
	stop   chan struct{}
	done   sync.WaitGroup
	closed atomic.Bool
	log    *logger
	outbox *outbox
	fin    *finisher
	Counts Counters
}

// Counters are totals since start, for metrics. None says whose.
type Counters struct {
	Activations, Passivations, Refused, Conflicts, Busy atomic.Uint64
	SectionsStored, RowsStored, RowsRead                atomic.Uint64
}

const (
	lanes      = 16
	nameShards = 64
	maxWaiting = 256 // requests waiting for one member; more are told busy
)

type nameShard struct {
	mu       sync.RWMutex
	m        map[pds.UID]*handle
	retiring map[pds.UID]chan struct{} // closed when the member has gone, or stays
}

// handle leads to an active member. A sender enters, sends and leaves; the
// lane closes it and waits until nobody is inside before it retires the
// actor, so that no message is behind the last one the actor reads.
type handle struct {
	uid      pds.UID
	id       pds.MemberID
	shard    cluster.ShardID
	pid      *actor.PID
	inside   atomic.Int32
	closed   atomic.Bool
	waiting  atomic.Int32
	used     atomic.Int64 // Unix milliseconds
	swept    atomic.Int64 // Unix milliseconds when stale keys were last looked for
	unlogged atomic.Bool  // the transparency log is to take its head
}

func (h *handle) enter() bool {
	h.inside.Add(1)
	if h.closed.Load() {
		h.inside.Add(-1)
		return false
	}
	return true
}

func (h *handle) leave() { h.inside.Add(-1) }

// New starts a Directory on an open host.
func New(cfg Config) *Directory {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.IdleAfter == 0 {
		cfg.IdleAfter = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	d := &Directory{cfg: cfg, env: cfg.Barrier.Env, dk: cfg.Barrier.DK(), pepper: cfg.Barrier.Pepper(),
		cache: seal.RandomSecret(), stop: make(chan struct{}), fin: newFinisher()}
	for i := range d.names {
		d.names[i].m = map[pds.UID]*handle{}
		d.names[i].retiring = map[pds.UID]chan struct{}{}
	}
	d.sys = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		// protoactor prints messages, panic values and identities; none of
		// that may be logged. What matters is logged by our own code.
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
	// Ids count from 1 in every process; a late reply to a former process
	// could reach the wrong member (evidence/actors.md, section 4).
	d.sys.ProcessRegistry.SequenceID = rand.Uint64() >> 1
	for i := range d.lanes {
		d.lanes[i] = d.sys.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
			return &lane{d: d, n: i}
		}))
	}
	d.log = newLogger(d)
	d.outbox = newOutbox(d)
	d.done.Add(1)
	go d.sweep()
	return d
}

// Close puts every member away and stops. The host must still be open.
func (d *Directory) Close() {
	if d.closed.Swap(true) {
		return
	}
	close(d.stop)
	d.done.Wait()
	d.outbox.close()
	d.log.close()
	for _, l := range d.lanes {
		_ = d.sys.Root.StopFuture(l).Wait()
	}
	for i := range d.names {
		s := &d.names[i]
		s.mu.Lock()
		for _, h := range s.m {
			_ = d.sys.Root.StopFuture(h.pid).Wait() // wipes its keys
		}
		clear(s.m)
		s.mu.Unlock()
	}
	d.fin.close()
	d.sys.Shutdown()
	d.unlock.wipe()
	d.dk.Wipe()
	d.pepper.Wipe()
}

// sweep asks the lanes to put idle members away, and forgets old requests.
func (d *Directory) sweep() {
	defer d.done.Done()
	every := min(d.cfg.IdleAfter/4, 2*time.Second)
	t := time.NewTicker(max(every, 10*time.Millisecond))
	defer t.Stop()
	requests := time.NewTicker(requestsEvery)
	defer requests.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-requests.C:
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			d.forgetRequests(ctx)
			cancel()
		case <-t.C:
			d.SweepNow()
		}
	}
}

// SweepNow looks for idle members and stale keys at once.
func (d *Directory) SweepNow() {
	for _, l := range d.lanes {
		d.sys.Root.Send(l, sweep{})
	}
}

// Active is how many members have an actor now.
func (d *Directory) Active() int {
	n := 0
	for i := range d.names {
		s := &d.names[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}

// MemberID is the storage id of a member.
func (d *Directory) MemberID(u pds.UID) pds.MemberID {
	return seal.HMAC16(&d.dk, d.env, "member", be32(uint32(u)))
}

// LinkID is the storage id of a member's link to a connection: what
// Statement.Conn must hold.
func (d *Directory) LinkID(u pds.UID, n pds.NID) pds.LinkID {
	return seal.HMAC16(&d.dk, d.env, "link", be32(uint32(u)), be32(uint32(n)))
}

// Catalogue is the dataset catalogue in force.
func (d *Directory) Catalogue() *schema.Catalogue { return d.cfg.Catalogue }

func (d *Directory) name(u pds.UID) *nameShard { return &d.names[u%nameShards] }

// enter returns the member's handle with the caller inside it.
func (d *Directory) enter(ctx context.Context, u pds.UID) (*handle, error) {
	s := d.name(u)
	for {
		s.mu.RLock()
		h := s.m[u]
		s.mu.RUnlock()
		if h != nil && h.enter() {
			return h, nil
		}
		if d.closed.Load() {
			return nil, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
		}
		if err := d.activate(ctx, s, u); err != nil {
			return nil, err
		}
	}
}

// activate wakes a member unless somebody else has, and waits for one that is
// on its way out.
func (d *Directory) activate(ctx context.Context, s *nameShard, u pds.UID) error {
	id := d.MemberID(u)
	s.mu.Lock()
	if s.m[u] != nil {
		s.mu.Unlock()
		return nil
	}
	if gone := s.retiring[u]; gone != nil {
		s.mu.Unlock()
		select {
		case <-gone:
			return nil
		case <-ctx.Done():
		case <-d.stop:
		}
		return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	h := &handle{uid: u, id: id, shard: cluster.ShardOf(id)}
	h.used.Store(d.cfg.Now().UnixMilli())
	h.swept.Store(h.used.Load())
	h.pid = d.sys.Root.Spawn(memberProps(d, h, d.lanes[int(h.shard)%lanes]))
	s.m[u] = h
	s.mu.Unlock()
	d.Counts.Activations.Add(1)
	return nil
}

// post sends one message to a member's actor, or says busy at once.
func (d *Directory) post(ctx context.Context, u pds.UID, c *call, nowMS int64) error {
	h, err := d.enter(ctx, u)
	if err != nil {
		return err
	}
	defer h.leave()
	if h.waiting.Add(int32(len(c.works))) > maxWaiting && len(c.works) < maxWaiting {
		h.waiting.Add(-int32(len(c.works)))
		d.Counts.Busy.Add(1)
		return pds.Refuse(pds.Busy, pds.CodeBusy)
	}
	h.used.Store(nowMS)
	c.uid = u
	d.sys.Root.Send(h.pid, c)
	return nil
}

// do sends one piece of work and waits for it.
func (d *Directory) do(ctx context.Context, u pds.UID, w waiter) error {
	w.begin()
	if err := d.post(ctx, u, &call{works: []work{w}}, d.cfg.Now().UnixMilli()); err != nil {
		return err
	}
	select {
	case <-w.doneC():
		if e := w.outcome(); e != nil {
			return e
		}
		return nil
	case <-ctx.Done():
		return pds.Refuse(pds.Unknown, pds.CodeUnknownOutcome)
	}
}

// view reads a consistent snapshot.
func (d *Directory) view(f func(storage.Reader) error) error { return d.cfg.Host.View(f) }

// Deliver stores sections, each all or nothing, and returns when every one is
// durable or refused; the outcomes stand in the sections. Sections of one
// member are decided in their order. The error is for the whole request only
// (ctx ended: the outcome of the sections is then unknown and they must not
// be used again).
func (d *Directory) Deliver(ctx context.Context, sections []*Section) error {
	if len(sections) == 0 {
		return nil
	}
	b := &delivery{done: make(chan struct{})}
	b.left.Store(int32(len(sections)))
	works := make([]sectionWork, len(sections))
	// One message per member: gather each member's sections in order.
	var firsts map[pds.UID]*call
	if len(sections) > 1 {
		firsts = make(map[pds.UID]*call, len(sections))
	}
	calls := make([]call, 0, len(sections))
	list := make([]work, len(sections))
	for i, s := range sections {
		works[i] = sectionWork{s: s, b: b}
		if firsts != nil {
			if c := firsts[s.Caller.UID]; c != nil {
				c.works = append(c.works, &works[i])
				continue
			}
		}
		list[i] = &works[i]
		calls = append(calls, call{uid: s.Caller.UID, works: list[i : i+1 : i+1]})
		if firsts != nil {
			firsts[s.Caller.UID] = &calls[len(calls)-1]
		}
	}
	now := d.cfg.Now().UnixMilli()
	k := &cork{host: d.cfg.Host}
	for i := range calls {
		c := &calls[i]
		c.cork = k
		if err := d.post(ctx, c.uid, c, now); err != nil {
			var e *pds.Error
			if !errors.As(err, &e) {
				e = pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
			}
			for _, w := range c.works {
				w.(*sectionWork).finish(e)
			}
		}
	}
	k.pull()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return pds.Refuse(pds.Unknown, pds.CodeUnknownOutcome)
	}
}

// cork gathers what a delivery's members propose while it is being handed
// out, so that it travels in one turn of the host: a turn costs a sync and a
// transaction, whatever it carries.
type cork struct {
	host   *cluster.Host
	mu     sync.Mutex
	ps     []cluster.Proposal
	bytes  int
	pulled bool
}

const (
	corkCommands = 512
	corkBytes    = 1 << 20
)

func (k *cork) add(p cluster.Proposal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ps = append(k.ps, p)
	k.bytes += len(p.Data)
	if k.pulled || len(k.ps) >= corkCommands || k.bytes >= corkBytes {
		k.flush()
	}
}

// pull lets go of what has gathered, and of anything that still comes.
func (k *cork) pull() {
	k.mu.Lock()
	k.pulled = true
	k.flush()
	k.mu.Unlock()
}

func (k *cork) flush() {
	if len(k.ps) > 0 {
		k.host.ProposeAll(k.ps)
		clear(k.ps)
		k.ps, k.bytes = k.ps[:0], 0
	}
}

// delivery counts the sections of a request that are still open.
type delivery struct {
	left atomic.Int32
	done chan struct{}
}

func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
