package cluster

import (
	"errors"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/storage"
)

// disk is what a group reads from the log. *storage.Log is the real one; the
// simulator has its own.
type disk interface {
	Read(group int, lo, hi, maxBytes uint64) ([]storage.Entry, error)
	Term(group int, index uint64) (uint64, error)
}

// cacheBytes bounds what all groups keep in memory of entries that are on disk.
const cacheBytes = 16 << 20

// cache forgets the oldest entries of all groups together. What is forgotten goes
// only from the groups' slices: entries handed out stay as they are.
type cache struct {
	bytes int
	fifo  []cached // from head on
	head  int
}

type cached struct {
	g     *group
	index uint64
}

func (c *cache) add(g *group, e *raftpb.Entry) {
	c.fifo = append(c.fifo, cached{g, e.GetIndex()})
	c.bytes += len(e.Data) + 64
	for c.head < len(c.fifo) {
		old := c.fifo[c.head]
		if old.g.has(old.index) {
			if c.bytes <= cacheBytes {
				break
			}
			old.g.forget(c, old.index)
		}
		c.fifo[c.head] = cached{}
		c.head++
	}
	if c.head > 1024 && c.head > len(c.fifo)/2 {
		c.fifo = append(c.fifo[:0], c.fifo[c.head:]...)
		c.head = 0
	}
}

// group is one shard's consensus: etcd's raft over the shared log. It is the
// raft.Storage of its own node. Everything is owned by the core's caller.
type group struct {
	id    int
	node  *raft.RawNode
	disk  disk
	cache *cache

	hard   *raftpb.HardState // newest, whether written or not
	conf   *raftpb.ConfState
	trunc  storage.Position
	last   storage.Position
	recent []*raftpb.Entry // contiguous, ends at last; may be empty
	dirty  bool            // in core.dirty

	role     raft.StateType
	term     uint64
	lead     uint64
	proposed []*batch // in order, not in the log yet
	waiting  []*batch // in order, in the log and not committed
}

func (g *group) has(index uint64) bool {
	return len(g.recent) > 0 && g.recent[0].GetIndex() <= index
}

// forget drops the cached entries up to index. It must not clear their places: raft
// hands out parts of recent, and the applier reads them later.
func (g *group) forget(c *cache, index uint64) {
	n := 0
	for n < len(g.recent) && g.recent[n].GetIndex() <= index {
		c.bytes -= len(g.recent[n].Data) + 64
		n++
	}
	if g.recent = g.recent[n:]; len(g.recent) == 0 {
		g.recent = nil
	}
}

// stored notes entries that are on disk now.
func (g *group) stored(es []*raftpb.Entry) {
	if len(es) == 0 {
		return
	}
	if es[0].GetIndex() != g.last.Index+1 {
		// A tail was replaced. Cheaper to forget than to be clever.
		for _, e := range g.recent {
			g.cache.bytes -= len(e.Data) + 64
		}
		g.recent = nil
	}
	for _, e := range es {
		g.recent = append(g.recent, e)
		g.cache.add(g, e)
	}
	e := es[len(es)-1]
	g.last = storage.Position{Index: e.GetIndex(), Term: e.GetTerm()}
}

// InitialState implements raft.Storage.
func (g *group) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return g.hard, g.conf, nil
}

// Entries implements raft.Storage.
func (g *group) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= g.trunc.Index {
		return nil, raft.ErrCompacted
	}
	if hi > g.last.Index+1 {
		return nil, raft.ErrUnavailable
	}
	if len(g.recent) > 0 && lo >= g.recent[0].GetIndex() {
		from := lo - g.recent[0].GetIndex()
		es := g.recent[from : from+(hi-lo)]
		var size uint64
		for i, e := range es {
			size += uint64(len(e.Data))
			if i > 0 && size > maxSize {
				es = es[:i]
				break
			}
		}
		return es[:len(es):len(es)], nil
	}
	stored, err := g.disk.Read(g.id, lo, hi, maxSize)
	if err != nil {
		return nil, err
	}
	es := make([]*raftpb.Entry, len(stored))
	for i := range stored {
		es[i] = toRaft(&stored[i])
	}
	return es, nil
}

// Term implements raft.Storage.
func (g *group) Term(i uint64) (uint64, error) {
	switch {
	case i < g.trunc.Index:
		return 0, raft.ErrCompacted
	case i > g.last.Index:
		return 0, raft.ErrUnavailable
	case i == g.trunc.Index:
		return g.trunc.Term, nil
	case i == g.last.Index:
		return g.last.Term, nil
	case len(g.recent) > 0 && i >= g.recent[0].GetIndex():
		return g.recent[i-g.recent[0].GetIndex()].GetTerm(), nil
	}
	term, err := g.disk.Term(g.id, i)
	if errors.Is(err, storage.ErrMissing) {
		return 0, raft.ErrCompacted
	}
	return term, err
}

// LastIndex implements raft.Storage.
func (g *group) LastIndex() (uint64, error) { return g.last.Index, nil }

// FirstIndex implements raft.Storage.
func (g *group) FirstIndex() (uint64, error) { return g.trunc.Index + 1, nil }

// Snapshot implements raft.Storage. Snapshots are streamed from the state's
// tables when a second node joins; until then a replica that would need one waits.
func (g *group) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

func toRaft(e *storage.Entry) *raftpb.Entry {
	kind := raftpb.EntryType(e.Kind)
	return &raftpb.Entry{Term: &e.Term, Index: &e.Index, Type: &kind, Data: e.Data}
}
