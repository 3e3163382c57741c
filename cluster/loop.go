package cluster

import (
	"fmt"
	"runtime/debug"
	"time"

	"holdfast/storage"
)

// spaceEvery is how often free disk space is looked at while commands come.
const spaceEvery = 250 * time.Millisecond

// loop owns core and log. One round takes everything that waits, makes one entry per
// shard, writes all of them with one sync, and passes what is committed to the applier.
func (h *Host) loop() {
	defer close(h.loopDone)
	defer h.failAll()
	defer func() {
		if r := recover(); r != nil {
			h.fault.Set(fmt.Errorf("consensus: %v", r))
			h.cfg.Log.Error("consensus panic", "stack", string(debug.Stack()))
		}
	}()
	l := looper{h: h, checked: h.cfg.Now(), floor: h.state.Floor()}
	rest := newRest()
	defer rest.timer.Stop()
	var ticks <-chan time.Time
	if h.core.needsTicks() {
		t := time.NewTicker(h.cfg.Tick)
		defer t.Stop()
		ticks = t.C
	}
	for {
		if !l.drain() {
			return
		}
		if h.in.isClosed() {
			l.rejectQueued(ErrStopped)
			l.finish()
			return
		}
		select {
		case <-h.in.wake:
			rest.worked()
		case <-ticks:
			h.core.tick()
		case <-rest.timer.C:
			if rest.due() {
				go h.state.Rest()
			}
			continue
		case <-h.fault.Failed():
			return
		}
		l.round()
	}
}

// looper is the loop's own memory.
type looper struct {
	h       *Host
	t       turn
	work    []shardWork
	msgs    []inbound
	tasks   []func()
	out     []Message
	checked time.Time
	floor   *storage.Applied
}

// round takes in what waits.
func (l *looper) round() {
	h := l.h
	// While the applier is a turn behind, commands gather: it is the one they would
	// wait for, and fewer, longer entries cost less.
	l.work, l.msgs, l.tasks = h.in.take(!h.apply.behind.Load(), l.work[:0], l.msgs[:0], l.tasks[:0])
	for _, m := range l.msgs {
		h.core.receive(m.shard, m.msg)
	}
	if len(l.work) > 0 {
		l.propose()
	}
	for _, f := range l.tasks {
		f()
	}
	clear(l.work)
	clear(l.msgs)
	clear(l.tasks)
}

func (l *looper) propose() {
	h := l.h
	if now := h.cfg.Now(); h.low.Load() || now.Sub(l.checked) >= spaceEvery || now.Before(l.checked) {
		if err := h.checkSpace(); err != nil {
			h.fault.Set(err)
		}
		l.checked = now
	}
	if h.low.Load() {
		small := h.diskFree.Load() >= h.cfg.ReserveBytes-smallRoom
		for i := range l.work {
			w := &l.work[i]
			keep := w.waiters[:0]
			for _, x := range w.waiters {
				if small && x.small {
					keep = append(keep, x)
				} else {
					h.finish(w.shard, []waiter{x}, nil, ErrDiskReserve)
				}
			}
			w.waiters = keep
		}
	}
	total := 0
	for i := range l.work {
		w := &l.work[i]
		for len(w.waiters) > 0 {
			n, size := 0, 1
			for n < len(w.waiters) && size+frameOverhead+len(w.waiters[n].data) <= maxEntry {
				size += frameOverhead + len(w.waiters[n].data)
				n++
			}
			if total += size; total > storage.MaxTurnBytes/2 {
				// Enough for one write; go on after it.
				if !l.drain() {
					h.finish(w.shard, w.waiters, nil, stopped(h.fault.Err()))
					w.waiters = nil
					continue
				}
				total = size
			}
			b := &batch{waiters: w.waiters[:n:n], bytes: size}
			w.waiters = w.waiters[n:]
			if err := h.core.propose(w.shard, b); err != nil {
				h.finish(w.shard, b.waiters, nil, err)
			}
		}
	}
}

// drain runs turns until no shard has anything to do. It returns false when the host has
// failed.
func (l *looper) drain() bool {
	h, t := l.h, &l.t
	for h.core.turn(t) {
		if len(t.early) > 0 {
			l.send(t.early)
		}
		if !t.write.Empty() {
			if err := h.log.Write(&t.write); err != nil {
				h.abandon(t)
				return false
			}
			for i := range t.write.Appends {
				a := &t.write.Appends[i]
				h.stats[a.Group].last.Store(a.Entries[len(a.Entries)-1].Index)
			}
		}
		h.core.stored(t)
		if len(t.msgs) > 0 {
			l.send(t.msgs)
		}
		for _, r := range t.roles {
			h.roles.elected(r)
		}
		h.lose(t.lost, ErrUnknown)
		if len(t.committed) > 0 && !h.apply.add(t.committed) {
			h.abandon(t)
			return false
		}
	}
	if h.fault.Err() != nil {
		return false
	}
	if f := h.state.Floor(); f != l.floor {
		l.floor = f
		return l.truncate(f)
	}
	return true
}

func (l *looper) send(out []outbound) {
	if l.h.cfg.Peers == nil {
		return
	}
	l.out = encodeMessages(l.out[:0], out)
	l.h.cfg.Peers.Send(l.out)
	clear(l.out)
}

// truncate drops what finished tables hold.
func (l *looper) truncate(floor *storage.Applied) bool {
	h := l.h
	var w storage.Write
	var to []storage.Position
	for g := range floor {
		at := storage.Position{Index: floor[g].Index, Term: floor[g].Term}
		if at.Index <= h.core.groups[g].trunc.Index {
			continue
		}
		w.Truncs = append(w.Truncs, storage.GroupTrunc{Group: g, Index: at.Index})
		to = append(to, at)
	}
	if w.Empty() {
		return true
	}
	if err := h.log.Write(&w); err != nil {
		return false
	}
	for i, t := range w.Truncs {
		h.core.truncated(t.Group, to[i])
		h.stats[t.Group].first.Store(t.Index + 1)
	}
	return true
}

// rejectQueued ends commands that were not proposed.
func (l *looper) rejectQueued(err error) {
	l.work, l.msgs, l.tasks = l.h.in.take(true, l.work[:0], l.msgs[:0], l.tasks[:0])
	for _, w := range l.work {
		l.h.finish(w.shard, w.waiters, nil, err)
	}
	for _, f := range l.tasks {
		f()
	}
}

// finish writes the commit indices before a clean end, so that the next open
// has nothing to guess.
func (l *looper) finish() {
	var w storage.Write
	for _, g := range l.h.core.groups {
		w.Hard = append(w.Hard, storage.GroupHard{Group: g.id,
			Hard: storage.HardState{Term: g.hard.GetTerm(), Vote: g.hard.GetVote(), Commit: g.hard.GetCommit()}})
	}
	_ = l.h.log.Write(&w) // the fault has it
}

// checkSpace compares free disk space with the reserve. While it is below, commands are
// refused and nothing else changes.
func (h *Host) checkSpace() error {
	free, err := h.cfg.free()
	if err != nil {
		return err
	}
	h.diskFree.Store(free)
	low := free < h.cfg.ReserveBytes
	if h.low.Swap(low) != low {
		h.cfg.Log.Warn("disk reserve", "refusing_writes", low, "free", free, "reserve", h.cfg.ReserveBytes)
	}
	return nil
}

// finish answers commands and gives their room back.
func (h *Host) finish(s ShardID, ws []waiter, result any, err error) {
	for i := range ws {
		h.in.release(s, len(ws[i].data))
		ws[i].done(result, err)
	}
}

// abandon answers what a failed turn leaves open.
func (h *Host) abandon(t *turn) {
	err := unknown(h.fault.Err())
	for i := range t.committed {
		for _, b := range t.committed[i].batches {
			h.finish(t.committed[i].shard, b.waiters, nil, err)
		}
	}
	h.lose(t.lost, err)
	t.lost = t.lost[:0]
	t.committed = t.committed[:0]
}

func (h *Host) lose(lost []lostWaiter, err error) {
	for _, l := range lost {
		h.in.release(l.shard, len(l.w.data))
		l.w.done(nil, err)
	}
}

// failAll answers every command that has no answer yet, when the loop has ended.
func (h *Host) failAll() {
	h.in.close()
	err := h.fault.Err()
	work, _, tasks := h.in.take(true, nil, nil, nil)
	for _, w := range work {
		h.finish(w.shard, w.waiters, nil, stopped(err))
	}
	for _, f := range tasks {
		f()
	}
	for _, g := range h.core.groups {
		h.lose(g.loseAll(nil), unknown(err))
	}
}
