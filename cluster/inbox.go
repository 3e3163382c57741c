package cluster

import (
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"
)

const (
	// maxQueued and maxShardQueued bound the bytes of commands that wait or are under way.
	maxQueued      = 64 << 20
	maxShardQueued = 16 << 20
	// waiterBytes is what a waiting command costs besides its data.
	waiterBytes = 128
)

// inbox is where everybody leaves work for the loop.
type inbox struct {
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	closed  bool
	shards  [Shards + 1][]waiter
	ready   []ShardID
	msgs    []inbound
	tasks   []func()
	waiting int // commands in shards

	queued      atomic.Int64
	shardQueued [Shards + 1]atomic.Int64
}

type inbound struct {
	shard ShardID
	msg   *raftpb.Message
}

func (q *inbox) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// propose queues a command. The error, if any, is the command's outcome.
func (q *inbox) propose(s ShardID, w waiter) error {
	n := int64(len(w.data) + waiterBytes)
	if q.queued.Add(n) > maxQueued {
		q.queued.Add(-n)
		return ErrBusy
	}
	if q.shardQueued[s].Add(n) > maxShardQueued {
		q.release(s, len(w.data))
		return ErrBusy
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		q.release(s, len(w.data))
		return ErrStopped
	}
	if len(q.shards[s]) == 0 {
		q.ready = append(q.ready, s)
		q.shards[s] = make([]waiter, 0, 8)
	}
	q.shards[s] = append(q.shards[s], w)
	q.waiting++
	first := q.waiting == 1
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return nil
}

// proposeAll queues commands together: the loop sees all or none of them. A
// refused one is told by fail.
func (q *inbox) proposeAll(ps []Proposal, fail func(p *Proposal, err error)) {
	refused := func(p *Proposal) bool {
		switch {
		case p.Shard > Meta:
			fail(p, fmt.Errorf("cluster: no shard %d", p.Shard))
			return true
		case len(p.Data) > MaxCommand:
			fail(p, ErrTooLarge)
			return true
		}
		n := int64(len(p.Data) + waiterBytes)
		if q.queued.Add(n) > maxQueued {
			q.queued.Add(-n)
			fail(p, ErrBusy)
			return true
		}
		if q.shardQueued[p.Shard].Add(n) > maxShardQueued {
			q.release(p.Shard, len(p.Data))
			fail(p, ErrBusy)
			return true
		}
		return false
	}
	q.mu.Lock()
	first := false
	for i := range ps {
		p := &ps[i]
		if refused(p) {
			continue
		}
		if q.closed {
			q.release(p.Shard, len(p.Data))
			fail(p, ErrStopped)
			continue
		}
		s := p.Shard
		if len(q.shards[s]) == 0 {
			q.ready = append(q.ready, s)
			q.shards[s] = make([]waiter, 0, 8)
		}
		q.shards[s] = append(q.shards[s], waiter{data: p.Data, done: p.Done})
		q.waiting++
		first = first || q.waiting == 1
	}
	q.mu.Unlock()
	if first {
		q.signal()
	}
}

// release gives back the room of a finished command.
func (q *inbox) release(s ShardID, data int) {
	n := int64(data + waiterBytes)
	q.queued.Add(-n)
	q.shardQueued[s].Add(-n)
}

func (q *inbox) receive(s ShardID, m *raftpb.Message) {
	q.mu.Lock()
	if !q.closed && len(q.msgs) < 1<<14 {
		q.msgs = append(q.msgs, inbound{s, m})
	}
	q.mu.Unlock()
	q.signal()
}

// do queues f for the loop. It returns false when the loop has ended.
func (q *inbox) do(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.tasks = append(q.tasks, f)
	q.signal()
	return true
}

// shardWork is what waited for one shard.
type shardWork struct {
	shard   ShardID
	waiters []waiter
}

// take empties the inbox, of commands only if commands is set.
func (q *inbox) take(commands bool, work []shardWork, msgs []inbound, tasks []func()) ([]shardWork, []inbound, []func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if commands {
		for _, s := range q.ready {
			work = append(work, shardWork{s, q.shards[s]})
			q.shards[s] = nil
		}
		q.ready = q.ready[:0]
		q.waiting = 0
	}
	msgs = append(msgs, q.msgs...)
	clear(q.msgs)
	q.msgs = q.msgs[:0]
	tasks = append(tasks, q.tasks...)
	clear(q.tasks)
	q.tasks = q.tasks[:0]
	return work, msgs, tasks
}

// close refuses everything from now on.
func (q *inbox) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *inbox) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
