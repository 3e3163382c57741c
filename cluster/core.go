package cluster

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/storage"
)

// core is the consensus of all shards of a node as a step function: proposals,
// messages, ticks and "it is stored" go in; log writes, messages and committed
// entries come out. It starts no goroutine, reads no clock and does no I/O but
// reading entries back through disk. The host drives it, and so does the simulator.
//
//	c.propose/receive/tick/campaign ...
//	for c.turn(&t) {          // at most one Ready per shard
//		write t.write, sync
//		c.stored(&t)
//		send t.msgs; apply t.committed
//	}
type core struct {
	replica uint64
	groups  [storage.Groups]*group
	dirty   []*group
	cache   cache
	entry   []byte          // scratch for the next proposal
	entries []storage.Entry // scratch for a turn's appends
}

const (
	electionTicks  = 10
	heartbeatTicks = 1
	// maxMessage bounds what one append message carries.
	maxMessage = 1 << 20
	// maxApply bounds the committed entries a shard hands out at once.
	maxApply = 4 << 20
	// maxUncommitted bounds what a leader holds without a quorum.
	maxUncommitted = 64 << 20
)

// groupStart is a shard as found on disk.
type groupStart struct {
	hard    storage.HardState
	trunc   storage.Position
	last    storage.Position
	applied storage.AppliedAt
	conf    *raftpb.ConfState
}

// newCore builds the shards' nodes. The persisted commit index may lag behind the state,
// because it is not synced on its own; raft would refuse to start from that.
func newCore(replica uint64, d disk, start *[storage.Groups]groupStart, lg raft.Logger) (c *core, err error) {
	defer func() {
		if r := recover(); r != nil { // how the library refuses a state that cannot be
			c, err = nil, fmt.Errorf("consensus: %w: %v", storage.ErrDamaged, r)
		}
	}()
	c = &core{replica: replica}
	for i := range start {
		s := &start[i]
		commit := max(s.hard.Commit, s.applied.Index)
		if s.applied.Sub > 0 {
			commit = max(commit, s.applied.Index+1)
		}
		if commit > s.last.Index || s.hard.Term < s.last.Term {
			return nil, fmt.Errorf("shard %d: committed to index %d in term %d, the log ends at index %d in term %d: %w",
				i, commit, s.hard.Term, s.last.Index, s.last.Term, storage.ErrDamaged)
		}
		g := &group{
			id: i, disk: d, cache: &c.cache,
			hard:  &raftpb.HardState{Term: &s.hard.Term, Vote: &s.hard.Vote, Commit: &commit},
			conf:  s.conf,
			trunc: s.trunc,
			last:  s.last,
			term:  s.hard.Term,
		}
		node, err := raft.NewRawNode(&raft.Config{
			ID:                        replica,
			ElectionTick:              electionTicks,
			HeartbeatTick:             heartbeatTicks,
			Storage:                   g,
			Applied:                   s.applied.Index,
			MaxSizePerMsg:             maxMessage,
			MaxCommittedSizePerReady:  maxApply,
			MaxUncommittedEntriesSize: maxUncommitted,
			MaxInflightMsgs:           64,
			MaxInflightBytes:          16 << 20,
			CheckQuorum:               true,
			PreVote:                   true,
			DisableProposalForwarding: true,
			StepDownOnRemoval:         true,
			Logger:                    lg,
		})
		if err != nil {
			return nil, fmt.Errorf("shard %d: %w", i, err)
		}
		g.node = node
		c.groups[i] = g
		c.touch(g)
	}
	return c, nil
}

func (c *core) touch(g *group) {
	if !g.dirty {
		g.dirty = true
		c.dirty = append(c.dirty, g)
	}
}

// campaign makes every shard of which this is the only voter elect itself at once.
func (c *core) campaign() error {
	for _, g := range c.groups {
		if !g.alone(c.replica) {
			continue
		}
		if err := g.node.Campaign(); err != nil {
			return fmt.Errorf("shard %d: %w", g.id, err)
		}
		c.touch(g)
	}
	return nil
}

// alone says that replica decides by itself.
func (g *group) alone(replica uint64) bool {
	return len(g.conf.Voters) == 1 && g.conf.Voters[0] == replica &&
		len(g.conf.VotersOutgoing) == 0 && len(g.conf.Learners) == 0
}

// needsTicks says whether any shard has somebody to hear from. A shard alone is
// silent when idle.
func (c *core) needsTicks() bool {
	for _, g := range c.groups {
		if !g.alone(c.replica) {
			return true
		}
	}
	return false
}

// tick advances the election clocks.
func (c *core) tick() {
	for _, g := range c.groups {
		if !g.alone(c.replica) {
			g.node.Tick()
			c.touch(g)
		}
	}
}

// receive takes a message of a peer. Messages for another incarnation of this
// replica are dropped.
func (c *core) receive(shard ShardID, m *raftpb.Message) {
	if int(shard) >= len(c.groups) || m.GetTo() != c.replica {
		return
	}
	g := c.groups[shard]
	_ = g.node.Step(m) // a refused message is a lost one
	c.touch(g)
}

// batch is one proposed entry and who waits for it.
type batch struct {
	index, term uint64
	waiters     []waiter
	bytes       int
}

type waiter struct {
	data  []byte
	done  func(result any, err error)
	small bool // taken below the disk reserve, see ProposeSmall
}

// propose makes one entry of the commands in b. On an error nothing was
// proposed.
func (c *core) propose(shard ShardID, b *batch) error {
	g := c.groups[shard]
	if g.role != raft.StateLeader {
		return ErrNotLeader{Hint: g.lead}
	}
	c.entry = append(c.entry[:0], frameVersion)
	for i := range b.waiters {
		c.entry = appendFrame(c.entry, b.waiters[i].data)
	}
	// raft copies the entry.
	if err := g.node.Propose(c.entry); err != nil {
		return ErrBusy
	}
	g.proposed = append(g.proposed, b)
	c.touch(g)
	return nil
}

// turn is one round of all shards that have something to do.
type turn struct {
	write     storage.Write
	readies   []groupReady
	committed []committed
	early     []outbound   // a leader's appends; may go before the write
	msgs      []outbound   // the rest; must not
	lost      []lostWaiter // whose outcome is unknown
	roles     []roleChange
}

type lostWaiter struct {
	shard ShardID
	w     waiter
}

type groupReady struct {
	g  *group
	rd raft.Ready
}

// committed is what one shard committed.
type committed struct {
	shard   ShardID
	entries []*raftpb.Entry
	batches []*batch // ascending; a subset of entries
	conf    []byte   // membership after these entries, if it changed
}

type outbound struct {
	shard ShardID
	msg   *raftpb.Message
}

type roleChange struct {
	shard  ShardID
	leader bool
	term   uint64
	lead   uint64
}

// turn collects what the shards want done. It returns false when nothing is to do.
func (c *core) turn(t *turn) bool {
	t.write.Reset()
	clear(t.readies)
	clear(t.committed)
	t.readies, t.committed = t.readies[:0], t.committed[:0]
	t.early, t.msgs, t.lost, t.roles = t.early[:0], t.msgs[:0], t.lost[:0], t.roles[:0]
	clear(c.entries)
	c.entries = c.entries[:0]
	dirty := c.dirty
	c.dirty = c.dirty[len(dirty):]
	for _, g := range dirty {
		g.dirty = false
		if !g.node.HasReady() {
			continue
		}
		rd := g.node.Ready()
		t.readies = append(t.readies, groupReady{g, rd})
		c.collect(t, g, &rd)
	}
	c.dirty = append(dirty[:0], c.dirty...)
	return len(t.readies) > 0
}

func (c *core) collect(t *turn, g *group, rd *raft.Ready) {
	shard := ShardID(g.id)
	// A commit index alone is not written: after a restart the state's applied
	// position and the election restore it.
	if hs := rd.HardState; !raft.IsEmptyHardState(hs) && (hs.GetTerm() != g.hard.GetTerm() || hs.GetVote() != g.hard.GetVote()) {
		t.write.Hard = append(t.write.Hard, storage.GroupHard{Group: g.id,
			Hard: storage.HardState{Term: hs.GetTerm(), Vote: hs.GetVote(), Commit: hs.GetCommit()}})
	}
	if hs := rd.HardState; !raft.IsEmptyHardState(hs) {
		g.hard = hs
	}
	if ss := rd.SoftState; ss != nil || g.hard.GetTerm() != g.term {
		was, wasTerm := g.role, g.term
		if ss != nil {
			g.role, g.lead = ss.RaftState, ss.Lead
		}
		g.term = g.hard.GetTerm()
		if was == raft.StateLeader && (g.role != raft.StateLeader || g.term != wasTerm) {
			t.lost = g.loseAll(t.lost)
		}
		t.roles = append(t.roles, roleChange{shard, g.role == raft.StateLeader, g.term, g.lead})
	}
	if n := len(rd.Entries); n > 0 {
		at := len(c.entries)
		for _, e := range rd.Entries {
			c.entries = append(c.entries, storage.Entry{Index: e.GetIndex(), Term: e.GetTerm(), Kind: byte(e.GetType()), Data: e.Data})
			if len(g.proposed) > 0 && e.GetType() == raftpb.EntryNormal && len(e.Data) > 0 {
				b := g.proposed[0]
				g.proposed = g.proposed[1:]
				b.index, b.term = e.GetIndex(), e.GetTerm()
				g.waiting = append(g.waiting, b)
			}
		}
		t.write.Appends = append(t.write.Appends, storage.Append{Group: g.id, Entries: c.entries[at:len(c.entries):len(c.entries)]})
	}
	if n := len(rd.CommittedEntries); n > 0 {
		t.committed = append(t.committed, c.commit(t, g, rd.CommittedEntries))
		if g.alone(c.replica) { // nobody will ask for them again
			g.forget(&c.cache, rd.CommittedEntries[n-1].GetIndex())
		}
	}
	for _, m := range rd.Messages {
		if m.GetType() == raftpb.MsgApp && g.role == raft.StateLeader {
			t.early = append(t.early, outbound{shard, m})
		} else {
			t.msgs = append(t.msgs, outbound{shard, m})
		}
	}
}

// commit pairs committed entries with who waits for them and applies changes of
// membership to the node.
func (c *core) commit(t *turn, g *group, es []*raftpb.Entry) committed {
	out := committed{shard: ShardID(g.id), entries: es}
	for _, e := range es {
		switch e.GetType() {
		case raftpb.EntryConfChange:
			var cc raftpb.ConfChange
			if err := proto.Unmarshal(e.Data, &cc); err == nil {
				g.conf = g.node.ApplyConfChange(&cc)
			}
			out.conf, _ = proto.Marshal(g.conf)
		case raftpb.EntryConfChangeV2:
			var cc raftpb.ConfChangeV2
			if err := proto.Unmarshal(e.Data, &cc); err == nil {
				g.conf = g.node.ApplyConfChange(&cc)
			}
			out.conf, _ = proto.Marshal(g.conf)
		}
		for len(g.waiting) > 0 && g.waiting[0].index <= e.GetIndex() {
			b := g.waiting[0]
			g.waiting[0] = nil
			g.waiting = g.waiting[1:]
			if b.index == e.GetIndex() && b.term == e.GetTerm() {
				out.batches = append(out.batches, b)
			} else {
				t.lost = g.lose(t.lost, b)
			}
		}
	}
	return out
}

func (g *group) lose(lost []lostWaiter, b *batch) []lostWaiter {
	for _, w := range b.waiters {
		lost = append(lost, lostWaiter{ShardID(g.id), w})
	}
	return lost
}

// loseAll gives up all proposals of a leadership that ended.
func (g *group) loseAll(lost []lostWaiter) []lostWaiter {
	for _, b := range g.waiting {
		lost = g.lose(lost, b)
	}
	for _, b := range g.proposed {
		lost = g.lose(lost, b)
	}
	g.waiting, g.proposed = nil, nil
	return lost
}

// stored says that t.write is on disk.
func (c *core) stored(t *turn) {
	for i := range t.readies {
		r := &t.readies[i]
		r.g.stored(r.rd.Entries)
		r.g.node.Advance(r.rd)
		c.touch(r.g)
	}
}

// truncated says that a shard's log begins after p now.
func (c *core) truncated(group int, p storage.Position) {
	g := c.groups[group]
	g.trunc = p
	g.forget(&c.cache, p.Index)
}
