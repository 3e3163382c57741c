package cluster

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/storage"
)

// applyBytes is about how much goes into one transaction before its results are
// delivered, when more is waiting.
const applyBytes = 2 << 20

// applier puts committed entries into the state, on its own goroutine: while it
// writes one turn, the loop syncs the next.
type applier struct {
	h    *Host
	wake chan struct{} // capacity 1

	behind atomic.Bool // something is in queue; the loop is woken when it is taken

	mu     sync.Mutex
	closed bool
	queue  []committed
	tasks  []func()

	// Of the applying goroutine.
	turn    *storage.Turn
	applied storage.Applied
	results []delivery
	touched []ShardID
	mark    [Shards + 1]bool
	led     []ledAt
	taken   []committed
	rotated *storage.Applied // floor at the last rotation
}

type delivery struct {
	shard  ShardID
	w      waiter
	result any
	err    error
}

type ledAt struct {
	shard ShardID
	term  uint64
}

func (a *applier) init(h *Host) {
	a.h = h
	a.wake = make(chan struct{}, 1)
}

func (a *applier) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// add queues entries; false when the applier has ended.
func (a *applier) add(cs []committed) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.queue = append(a.queue, cs...)
	a.behind.Store(true)
	a.signal()
	return true
}

// do runs f between transactions; false when the applier has ended.
func (a *applier) do(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.tasks = append(a.tasks, f)
	a.signal()
	return true
}

// close lets the applier end when its queue is empty.
func (a *applier) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.signal()
}

func (a *applier) run() {
	defer close(a.h.applyDone)
	defer a.abandon()
	defer func() {
		if r := recover(); r != nil {
			a.h.fault.Set(fmt.Errorf("state machine: %v", r))
			a.h.cfg.Log.Error("state machine panic", "stack", string(debug.Stack()))
		}
	}()
	a.turn = a.h.state.NewTurn()
	a.applied = *a.h.state.Applied()
	for {
		a.mu.Lock()
		a.taken, a.queue = a.queue, a.taken[:0]
		tasks := a.tasks
		a.tasks = nil
		closed := a.closed
		behind := a.behind.Swap(false)
		a.mu.Unlock()
		if behind {
			a.h.in.signal()
		}
		if err := a.applyAll(a.taken); err != nil {
			a.h.fault.Set(err)
			return
		}
		clear(a.taken)
		for _, f := range tasks {
			f()
		}
		if len(a.taken) > 0 || len(tasks) > 0 {
			continue
		}
		if closed {
			return
		}
		select {
		case <-a.wake:
		case <-a.h.fault.Failed():
			return
		}
	}
}

// applyAll applies in pieces of about applyBytes.
func (a *applier) applyAll(cs []committed) error {
	for len(cs) > 0 {
		a.turn.Begin()
		size := 0
		for len(cs) > 0 && size < applyBytes {
			n, err := a.applyShard(&cs[0])
			if err != nil {
				a.turn.Cancel()
				return err
			}
			size += n
			cs = cs[1:]
		}
		if err := a.turn.Commit(&a.applied); err != nil {
			return err
		}
		a.deliver()
		if a.h.log.TotalBytes() > a.h.cfg.maxLog {
			if floor := a.h.state.Floor(); floor != a.rotated {
				a.rotated = floor
				if err := a.h.state.Rotate(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// applyShard applies the entries of one shard.
func (a *applier) applyShard(c *committed) (size int, err error) {
	at := &a.applied[c.shard]
	if !a.mark[c.shard] {
		a.mark[c.shard] = true
		a.touched = append(a.touched, c.shard)
	}
	for _, e := range c.entries {
		if e.GetIndex() <= at.Index {
			continue
		}
		if e.GetIndex() != at.Index+1 {
			return 0, fmt.Errorf("shard %d: index %d follows %d: %w", c.shard, e.GetIndex(), at.Index, storage.ErrDamaged)
		}
		// Every waiter has its place among the results before its command runs,
		// so that a failure in between forgets nobody.
		from := len(a.results)
		for len(c.batches) > 0 && c.batches[0].index <= e.GetIndex() {
			for _, w := range c.batches[0].waiters {
				a.results = append(a.results, delivery{c.shard, w, nil, errFrame})
			}
			c.batches = c.batches[1:]
		}
		size += len(e.Data)
		if e.GetType() == raftpb.EntryNormal && len(e.Data) > 0 {
			if err := a.applyEntry(c.shard, e, a.results[from:]); err != nil {
				return 0, err
			}
		}
		*at = storage.AppliedAt{Index: e.GetIndex(), Term: e.GetTerm()}
		if n := len(a.led); n == 0 || a.led[n-1] != (ledAt{c.shard, e.GetTerm()}) {
			a.led = append(a.led, ledAt{c.shard, e.GetTerm()})
		}
	}
	if c.conf != nil {
		a.turn.SetConf(int(c.shard), c.conf)
	}
	return size, nil
}

// applyEntry applies the commands of one entry. An entry that cannot be decoded is
// without effect: its checksum says that it was proposed so, and every replica
// decides the same.
func (a *applier) applyEntry(shard ShardID, e *raftpb.Entry, out []delivery) error {
	fs, err := parseFrames(e.Data)
	if err != nil {
		return nil
	}
	at := &a.applied[shard]
	for sub := uint32(0); ; sub++ {
		data, ok := fs.next()
		if !ok {
			return nil
		}
		if sub < at.Sub {
			continue
		}
		t := a.turn
		t.Command()
		result := a.h.cfg.SM.Apply(t, Command{Shard: shard, Index: e.GetIndex(), Term: e.GetTerm(), Sub: sub, Data: data})
		err := t.Err()
		if err != nil {
			t.Drop()
			a.h.cfg.SM.Reset(shard)
			result = nil
		} else if t.Full() {
			if err := t.Split(&a.applied); err != nil {
				return err
			}
		}
		at.Sub = sub + 1
		if int(sub) < len(out) {
			out[sub].result, out[sub].err = result, err
		}
	}
}

// deliver makes a committed transaction known.
func (a *applier) deliver() {
	h := a.h
	h.cfg.SM.Committed(a.touched)
	for _, s := range a.touched {
		a.mark[s] = false
		h.stats[s].applied.Store(a.applied[s].Index)
	}
	a.touched = a.touched[:0]
	for _, l := range a.led {
		h.roles.served(l.shard, l.term)
	}
	a.led = a.led[:0]
	for i := range a.results {
		d := &a.results[i]
		h.in.release(d.shard, len(d.w.data))
		d.w.done(d.result, d.err)
	}
	clear(a.results)
	a.results = a.results[:0]
}

// abandon answers what is left when the applier ends.
func (a *applier) abandon() {
	a.mu.Lock()
	a.closed = true
	left := append(a.taken, a.queue...)
	a.queue = nil
	tasks := a.tasks
	a.tasks = nil
	a.mu.Unlock()
	err := unknown(a.h.fault.Err())
	for i := range a.results {
		d := &a.results[i]
		a.h.in.release(d.shard, len(d.w.data))
		d.w.done(nil, err)
	}
	a.results = nil
	for i := range left {
		for _, b := range left[i].batches {
			a.h.finish(left[i].shard, b.waiters, nil, err)
		}
	}
	for _, f := range tasks {
		f()
	}
}
