package cluster

import (
	"sync"
	"sync/atomic"

	"holdfast/storage"
)

// roles publishes which shards this node leads. A shard is led when consensus says so
// (elected) and an entry of that term is applied (served): only then does the
// state hold everything earlier leaders acknowledged.
type roles struct {
	ready  chan struct{} // closed when expect shards have been led
	expect int

	mu     sync.Mutex // also serialises calls of fns
	want   [storage.Groups]uint64
	count  int
	once   [storage.Groups]bool
	fns    []func(ShardID, bool, uint64)
	terms  [storage.Groups]atomic.Uint64
	leads  [storage.Groups]atomic.Uint64 // term in which the shard is led here, or 0
	leader [storage.Groups]atomic.Uint64 // replica that leads, as far as known
}

func (r *roles) init() { r.ready = make(chan struct{}) }

func (r *roles) start() {
	if r.expect == 0 {
		close(r.ready)
	}
}

func (r *roles) get(s ShardID) (term uint64, leader bool) {
	if int(s) >= len(r.leads) {
		return 0, false
	}
	if t := r.leads[s].Load(); t != 0 {
		return t, true
	}
	return r.terms[s].Load(), false
}

func (r *roles) hint(s ShardID) uint64 { return r.leader[s].Load() }

// elected takes what consensus says.
func (r *roles) elected(c roleChange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.terms[c.shard].Store(c.term)
	r.leader[c.shard].Store(c.lead)
	r.want[c.shard] = 0
	if c.leader {
		r.want[c.shard] = c.term
	}
	if old := r.leads[c.shard].Load(); old != 0 && old != r.want[c.shard] {
		r.leads[c.shard].Store(0)
		r.tell(c.shard, false, c.term)
	}
}

// served takes that an entry of term is applied.
func (r *roles) served(s ShardID, term uint64) {
	if r.leads[s].Load() == term {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want[s] != term || r.leads[s].Load() == term {
		return
	}
	r.leads[s].Store(term)
	r.tell(s, true, term)
	if !r.once[s] {
		r.once[s] = true
		if r.count++; r.count == r.expect {
			close(r.ready)
		}
	}
}

func (r *roles) tell(s ShardID, leader bool, term uint64) {
	for _, f := range r.fns {
		f(s, leader, term)
	}
}

func (r *roles) on(f func(ShardID, bool, uint64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.leads {
		if t := r.leads[s].Load(); t != 0 {
			f(ShardID(s), true, t)
		}
	}
	r.fns = append(r.fns, f)
}
