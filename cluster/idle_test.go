package cluster

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/storage"
)

// A host rests a few times after the last command, and then its timer stays still.
func TestRestEnds(t *testing.T) {
	r := newRest()
	defer r.timer.Stop()
	r.worked()
	r.worked()
	if r.due() {
		t.Fatal("rests although there was work since the timer was set")
	}
	for i := range restTimes {
		if !r.armed || !r.due() {
			t.Fatalf("rest %d does not happen", i)
		}
	}
	if r.armed {
		t.Fatal("the timer of an idle host still runs")
	}
	r.worked()
	if !r.armed || r.times != 0 {
		t.Fatal("work after idleness does not begin anew")
	}
}

// What the cache forgets must not change entries that were handed out before: the
// applier reads them on its own goroutine.
func TestCacheLeavesEntriesHandedOut(t *testing.T) {
	var c cache
	g := &group{cache: &c}
	const n = 64
	var es []*raftpb.Entry
	for i := range uint64(n) {
		index, term := i+1, uint64(1)
		es = append(es, &raftpb.Entry{Index: &index, Term: &term, Data: make([]byte, cacheBytes/n)})
	}
	g.stored(es[:n/2])
	out, err := g.Entries(1, 4, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	g.stored(es[n/2:])
	if g.has(1) {
		t.Fatal("the cache did not overflow")
	}
	for i, e := range out {
		if e == nil || e.GetIndex() != uint64(i+1) {
			t.Fatalf("entry %d handed out is gone", i+1)
		}
	}
	g.forget(&c, n)
	if c.bytes != 0 || g.recent != nil {
		t.Fatalf("%d bytes counted in an empty cache", c.bytes)
	}
}

// The list of what is cached stays short when entries are forgotten by their groups.
func TestCacheListStaysShort(t *testing.T) {
	var c cache
	gs := make([]*group, storage.Groups)
	for i := range gs {
		gs[i] = &group{id: i, cache: &c}
	}
	for i := range uint64(10000) {
		index, term := i+1, uint64(1)
		for _, g := range gs {
			g.stored([]*raftpb.Entry{{Index: &index, Term: &term, Data: []byte(fmt.Sprint(i))}})
		}
		for _, g := range gs {
			g.forget(&c, index)
		}
	}
	if n := len(c.fifo) - c.head; n > 2*len(gs) || cap(c.fifo) > 1<<14 {
		t.Fatalf("%d entries listed, room for %d", n, cap(c.fifo))
	}
}
