package cluster

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/storage"
)

// simDisk is a log as a crash leaves it: a write is there as a whole or not at all.
type simDisk struct {
	groups [storage.Groups]simGroup
}

type simGroup struct {
	trunc   storage.Position
	entries []storage.Entry // after trunc
	hard    storage.HardState
}

func (d *simDisk) Read(g int, lo, hi, maxBytes uint64) ([]storage.Entry, error) {
	sg := &d.groups[g]
	var out []storage.Entry
	size := uint64(0)
	for i := lo; i < hi; i++ {
		e := sg.entries[i-sg.trunc.Index-1]
		size += uint64(len(e.Data))
		if len(out) > 0 && size > maxBytes {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

func (d *simDisk) Term(g int, i uint64) (uint64, error) {
	sg := &d.groups[g]
	if i == sg.trunc.Index {
		return sg.trunc.Term, nil
	}
	if i < sg.trunc.Index || i > sg.trunc.Index+uint64(len(sg.entries)) {
		return 0, storage.ErrMissing
	}
	return sg.entries[i-sg.trunc.Index-1].Term, nil
}

func (d *simDisk) write(w *storage.Write) {
	for _, a := range w.Appends {
		sg := &d.groups[a.Group]
		sg.entries = sg.entries[:a.Entries[0].Index-sg.trunc.Index-1]
		for _, e := range a.Entries {
			e.Data = slices.Clone(e.Data)
			sg.entries = append(sg.entries, e)
		}
	}
	for _, h := range w.Hard {
		d.groups[h.Group].hard = h.Hard
	}
}

// simState is what one group's commands made, and what of it is in finished tables.
type simState struct {
	applied  storage.AppliedAt
	commands []uint64 // numbers in the order applied
}

// sim drives one node's core through random work and crashes.
type sim struct {
	t     *testing.T
	rnd   *rand.Rand
	disk  simDisk
	core  *core
	state [storage.Groups]simState
	table [storage.Groups]simState // survives a crash
	next  uint64
	acked [storage.Groups][]uint64
}

type simCrash struct{}

// maybeCrash is called at every step at which a machine may stop.
func (s *sim) maybeCrash(oneIn int) {
	if s.rnd.IntN(oneIn) == 0 {
		panic(simCrash{})
	}
}

// boot makes a core of what is on disk.
func (s *sim) boot() {
	starts := new([storage.Groups]groupStart)
	for g := range starts {
		s.state[g] = simState{s.table[g].applied, slices.Clone(s.table[g].commands)}
		sg := &s.disk.groups[g]
		last := sg.trunc
		if n := len(sg.entries); n > 0 {
			last = storage.Position{Index: sg.entries[n-1].Index, Term: sg.entries[n-1].Term}
		}
		starts[g] = groupStart{hard: sg.hard, trunc: sg.trunc, last: last, applied: s.state[g].applied,
			conf: &raftpb.ConfState{Voters: []uint64{1}}}
	}
	c, err := newCore(1, &s.disk, starts, raftLogger{slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.core = c
	if err := c.campaign(); err != nil {
		s.t.Fatal(err)
	}
}

// run works until a crash, or for the given number of rounds.
func (s *sim) run(rounds, oneIn int) (crashed bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(simCrash); !ok {
				panic(r)
			}
			crashed = true
		}
	}()
	s.boot()
	s.drain(oneIn)
	for range rounds {
		for range s.rnd.IntN(4) {
			g := s.rnd.IntN(storage.Groups)
			b := &batch{}
			for range s.rnd.IntN(3) + 1 {
				n := s.next
				s.next++
				b.waiters = append(b.waiters, waiter{data: binary.BigEndian.AppendUint64(nil, n), done: func(_ any, err error) {
					if err == nil {
						s.acked[g] = append(s.acked[g], n)
					}
				}})
			}
			if err := s.core.propose(ShardID(g), b); err != nil {
				s.t.Fatalf("shard %d: %v", g, err)
			}
		}
		s.drain(oneIn)
		g := s.rnd.IntN(storage.Groups)
		switch s.rnd.IntN(8) {
		case 0: // a table is finished
			s.table[g] = simState{s.state[g].applied, slices.Clone(s.state[g].commands)}
		case 1: // the log is cut below it
			sg := &s.disk.groups[g]
			if at := s.table[g].applied; at.Index > sg.trunc.Index {
				sg.entries = slices.Clone(sg.entries[at.Index-sg.trunc.Index:])
				sg.trunc = storage.Position{Index: at.Index, Term: at.Term}
				s.core.truncated(g, sg.trunc)
			}
		}
	}
	return false
}

func (s *sim) drain(oneIn int) {
	var t turn
	for s.core.turn(&t) {
		s.maybeCrash(oneIn)
		s.disk.write(&t.write)
		s.maybeCrash(oneIn)
		s.core.stored(&t)
		for _, c := range t.committed {
			s.maybeCrash(oneIn)
			s.apply(c, oneIn)
		}
		if len(t.lost) > 0 || len(t.msgs)+len(t.early) > 0 {
			s.t.Fatal("a node alone loses nothing and writes to nobody")
		}
	}
}

func (s *sim) apply(c committed, oneIn int) {
	st := &s.state[c.shard]
	var acks []waiter
	for _, e := range c.entries {
		if e.GetIndex() != st.applied.Index+1 {
			s.t.Fatalf("shard %d: %d committed after %d", c.shard, e.GetIndex(), st.applied.Index)
		}
		if len(e.Data) > 0 {
			fs, err := parseFrames(e.Data)
			if err != nil {
				s.t.Fatal(err)
			}
			for cmd, ok := fs.next(); ok; cmd, ok = fs.next() {
				st.commands = append(st.commands, binary.BigEndian.Uint64(cmd))
			}
		}
		st.applied = storage.AppliedAt{Index: e.GetIndex(), Term: e.GetTerm()}
	}
	for _, b := range c.batches {
		acks = append(acks, b.waiters...)
	}
	for _, w := range acks {
		s.maybeCrash(oneIn * 4)
		w.done(nil, nil)
	}
}

// check compares what was acknowledged with what is there.
func (s *sim) check(when string) {
	for g := range s.state {
		at := map[uint64]int{}
		for i, n := range s.state[g].commands {
			if _, twice := at[n]; twice {
				s.t.Fatalf("%s: shard %d: command %d applied twice", when, g, n)
			}
			at[n] = i
		}
		last := -1
		for _, n := range s.acked[g] {
			i, ok := at[n]
			if !ok {
				s.t.Fatalf("%s: shard %d: command %d was acknowledged and is gone", when, g, n)
			}
			if i < last {
				s.t.Fatalf("%s: shard %d: command %d was acknowledged out of order", when, g, n)
			}
			last = i
		}
	}
}

func TestSim_OneNodeCrashingAtEveryStep(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	crashes, acked := 0, 0
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			s := &sim{t: t, rnd: rand.New(rand.NewPCG(seed, 1))}
			for g := range s.disk.groups {
				s.disk.groups[g] = simGroup{trunc: storage.Position{Index: 1, Term: 1}, hard: storage.HardState{Term: 1, Commit: 1}}
				s.table[g].applied = storage.AppliedAt{Index: 1, Term: 1}
			}
			for life := range 20 {
				oneIn := []int{20, 100, 400, 2000}[life%4]
				if s.run(60, oneIn) {
					crashes++
				}
			}
			s.run(0, 1<<30) // a last boot that is left in peace
			s.check("at the end")
			for _, a := range s.acked {
				acked += len(a)
			}
		})
	}
	t.Logf("%d crashes, %d commands acknowledged", crashes, acked)
	if crashes < int(seeds) || acked < int(seeds)*100 {
		t.Fatal("too little happened to show anything")
	}
}
