package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/storage"
	"holdfast/storage/seal"
)

// ShardID names a shard: 0..63 hold members' data, Meta the rest.
type ShardID uint8

const (
	// Shards is the number of data shards, fixed for ever.
	Shards = 64
	// Meta is the shard of nodes, organisations, connections and number ranges.
	Meta ShardID = 64
)

// ShardOf returns the shard of a stored id: the top 6 of the 16 bits in its
// first two bytes.
func ShardOf(id [16]byte) ShardID { return ShardID(id[0] >> 2) }

// Command is one proposal on its way into the state.
type Command struct {
	Shard ShardID
	Index uint64 // raft index of the entry that carries it
	Term  uint64 // raft term of that entry
	Sub   uint32 // position within the entry
	Data  []byte // immutable; may be handed to Set, not kept longer than the transaction
}

// StateMachine is what committed commands act on. All its methods are called from
// one goroutine.
type StateMachine interface {
	// Apply is a pure function of the state, the command and the format version.
	// Commands of a shard come in order. It must not panic whatever Data holds.
	// The result goes to the proposer's done. When a write was refused
	// (storage.ErrTxFull, ErrKeySize, ErrValueSize) none of the command's
	// writes happen, Reset is called, and the proposer gets that error.
	Apply(tx storage.Tx, c Command) (result any)
	// Committed is called when the transaction of a turn is visible to readers
	// and before its results are delivered.
	Committed(shards []ShardID)
	// Reset is called when a shard's state is not what Apply calls alone would
	// have made it: caches of it must go.
	Reset(shard ShardID)
}

// DefaultReserve is how much free disk space a node keeps unless told otherwise.
const DefaultReserve = 512 << 20

// smallRoom is the part of the reserve that ProposeSmall may use. Files are
// allocated 64 MiB at a time.
const smallRoom = 192 << 20

// Config says what a Host needs.
type Config struct {
	Dir          string // created if it does not exist
	Env          seal.Env
	BarrierCheck [32]byte    // of the barrier key; another one is refused
	SlotKey      seal.Secret // seals the slot file
	SM           StateMachine
	ReserveBytes int64            // 0: DefaultReserve; never less than storage.MinReserve and smallRoom
	Now          func() time.Time // nil: time.Now
	Log          *slog.Logger     // nil: discard
	Peers        Peers            // nil: alone
	Tick         time.Duration    // of the election clock; 0: 100 ms. Unused when alone

	free   func() (int64, error)    // tests: free disk space
	log    func(*storage.LogConfig) // tests: faults in the log
	maxLog int64                    // entries beyond which the state is made to finish a table
}

// Host runs the shards of one node. All methods may be called from any goroutine.
type Host struct {
	cfg    Config
	lock   *storage.Lock
	format *storage.Format
	log    *storage.Log
	state  *storage.State
	slots  *storage.Slots
	fault  *storage.Fault
	core   *core // of the loop

	in    inbox
	apply applier
	roles roles

	stats    [storage.Groups]groupStats
	diskFree atomic.Int64
	low      atomic.Bool

	loopDone  chan struct{}
	applyDone chan struct{}
	closeOnce sync.Once
	closeErr  error
}

type groupStats struct {
	applied, first, last atomic.Uint64
}

// Open opens the node in cfg.Dir, or founds one in an empty directory. It checks
// everything it finds and refuses what is damaged, naming it; the errors wrap
// storage.ErrDamaged, ErrVersion, ErrEnv, ErrBarrier, ErrLocked or ErrForeign.
// It returns when the log is replayed and every shard this node can lead alone is led.
func Open(cfg Config) (*Host, error) {
	if cfg.SM == nil || !cfg.Env.Valid() {
		return nil, errors.New("cluster: configuration without a state machine or environment")
	}
	if cfg.ReserveBytes == 0 {
		cfg.ReserveBytes = DefaultReserve
	}
	cfg.ReserveBytes = max(cfg.ReserveBytes, storage.MinReserve+smallRoom)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Tick == 0 {
		cfg.Tick = 100 * time.Millisecond
	}
	if cfg.maxLog == 0 {
		cfg.maxLog = 512 << 20
	}
	if cfg.free == nil {
		dir := cfg.Dir
		cfg.free = func() (int64, error) { return storage.Free(dir) }
	}
	h := &Host{cfg: cfg, fault: storage.NewFault(), loopDone: make(chan struct{}), applyDone: make(chan struct{})}
	h.in.wake = make(chan struct{}, 1)
	h.apply.init(h)
	h.roles.init()
	if err := h.open(); err != nil {
		h.closeFiles()
		return nil, fmt.Errorf("open node: %w", err)
	}
	h.roles.start()
	go h.loop()
	go h.apply.run()
	select {
	case <-h.roles.ready:
		return h, nil
	case <-h.fault.Failed():
		err := h.fault.Err()
		h.Close()
		return nil, fmt.Errorf("open node: %w", err)
	}
}

func (h *Host) open() error {
	cfg := &h.cfg
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	var err error
	if h.lock, err = storage.LockDir(cfg.Dir); err != nil {
		return err
	}
	f, founding, err := storage.OpenDir(cfg.Dir, cfg.Env, cfg.BarrierCheck)
	if err != nil {
		return err
	}
	h.format = f
	if err := h.checkSpace(); err != nil {
		return err
	}
	start := storage.Position{Index: 1, Term: 1}
	lc := storage.LogConfig{Dir: cfg.Dir, ID: f.ID, Found: founding, Start: start, Fault: h.fault, Log: cfg.Log}
	if cfg.log != nil {
		cfg.log(&lc)
	}
	lg, groups, err := storage.OpenLog(lc)
	if err != nil {
		return err
	}
	h.log = lg
	h.state, err = storage.OpenState(storage.StateConfig{
		Dir: cfg.Dir, ID: f.ID, Found: founding, Fault: h.fault, Log: cfg.Log,
		Start: storage.AppliedAt{Index: start.Index, Term: start.Term},
	}, func(a *storage.Applied) error { return compare(lg, groups, a) })
	if err != nil {
		return err
	}
	h.slots, err = storage.OpenSlots(storage.SlotsConfig{
		Dir: cfg.Dir, Env: cfg.Env, ID: f.ID, Key: &cfg.SlotKey, Found: founding, Fault: h.fault,
	})
	if err != nil {
		return err
	}
	if founding {
		if err := storage.Founded(cfg.Dir, f); err != nil {
			return err
		}
	}
	starts := new([storage.Groups]groupStart)
	applied := h.state.Applied()
	for g := range starts {
		conf, err := h.state.Conf(g)
		if err != nil {
			return err
		}
		cs := &raftpb.ConfState{Voters: []uint64{f.Replica}}
		if conf != nil {
			cs = new(raftpb.ConfState)
			if err := proto.Unmarshal(conf, cs); err != nil {
				return fmt.Errorf("membership of shard %d: %w", g, storage.ErrDamaged)
			}
		}
		starts[g] = groupStart{hard: groups[g].Hard, trunc: groups[g].Trunc, last: groups[g].Last, applied: applied[g], conf: cs}
		h.note(g, applied[g].Index, groups[g].Trunc.Index, groups[g].Last.Index)
	}
	if h.core, err = newCore(f.Replica, lg, starts, raftLogger{cfg.Log}); err != nil {
		return err
	}
	for _, g := range h.core.groups {
		if g.alone(f.Replica) {
			h.roles.expect++
		}
	}
	return h.core.campaign()
}

func (h *Host) note(g int, applied, trunc, last uint64) {
	h.stats[g].applied.Store(applied)
	h.stats[g].first.Store(trunc + 1)
	h.stats[g].last.Store(last)
}

// compare checks that state and log belong together: the state must reach at least to
// where the log begins and not beyond its end.
func compare(lg *storage.Log, groups *[storage.Groups]storage.GroupLog, a *storage.Applied) error {
	for g := range groups {
		at, have := a[g], groups[g]
		reach := at.Index
		if at.Sub > 0 {
			reach++
		}
		switch {
		case at.Index < have.Trunc.Index:
			return fmt.Errorf("state of shard %d ends at index %d, the log begins at %d: %w",
				g, at.Index, have.Trunc.Index+1, storage.ErrDamaged)
		case reach > have.Last.Index:
			return fmt.Errorf("state of shard %d contains index %d, the log ends at %d: %w",
				g, reach, have.Last.Index, storage.ErrDamaged)
		}
		term, err := lg.Term(g, at.Index)
		if err != nil {
			return err
		}
		if term != at.Term {
			return fmt.Errorf("state of shard %d has term %d at index %d, the log has %d: %w",
				g, at.Term, at.Index, term, storage.ErrDamaged)
		}
	}
	return nil
}

// Propose hands data to shard s; the host owns it from now on. done is called
// exactly once, from a goroutine of the host, and must not block: with Apply's result,
// or with ErrNotLeader, ErrBusy, ErrDiskReserve, ErrTooLarge, ErrStopped, ErrUnknown
// or one of Apply's refused writes.
func (h *Host) Propose(s ShardID, data []byte, done func(result any, err error)) {
	h.proposeWaiter(s, waiter{data: data, done: done})
}

// ProposeSmall is Propose for commands that keep a node of use when its disk is
// full: entries of reads, sessions and tokens, and above all what takes a
// right away. They go on below the reserve while smallRoom of it lasts.
func (h *Host) ProposeSmall(s ShardID, data []byte, done func(result any, err error)) {
	h.proposeWaiter(s, waiter{data: data, done: done, small: true})
}

// Writable reports whether Propose would be taken as far as the disk is
// concerned. It looks again while the answer is no.
func (h *Host) Writable() bool {
	if !h.low.Load() {
		return true
	}
	free, err := h.cfg.free()
	return err == nil && free >= h.cfg.ReserveBytes
}

func (h *Host) proposeWaiter(s ShardID, w waiter) {
	data, done := w.data, w.done
	err := error(nil)
	switch {
	case s > Meta:
		err = fmt.Errorf("cluster: no shard %d", s)
	case len(data) > MaxCommand:
		err = ErrTooLarge
	default:
		err = h.in.propose(s, w)
	}
	if err != nil {
		go done(nil, err) // not on the caller's goroutine, which may hold locks
	}
}

// Proposal is a command for ProposeAll; Done is as in Propose.
type Proposal struct {
	Shard ShardID
	Data  []byte
	Done  func(result any, err error)
}

// ProposeAll hands over many commands at once, so that they travel in one turn
// with one sync. Each has its own outcome, as if proposed by itself.
func (h *Host) ProposeAll(ps []Proposal) {
	h.in.proposeAll(ps, func(p *Proposal, err error) {
		go p.Done(nil, err) // not on the caller's goroutine, which may hold locks
	})
}

// Term returns the shard's term and whether this node leads it. Leader is true only
// after an entry of this term is applied.
func (h *Host) Term(s ShardID) (term uint64, leader bool) { return h.roles.get(s) }

// OnRole registers f to be told of each change: leader true after an entry of
// the term is applied, false at once when leadership is lost. f is called from the
// host's goroutines, one call at a time, and must not block. Shards
// already led are reported before OnRole returns.
func (h *Host) OnRole(f func(s ShardID, leader bool, term uint64)) { h.roles.on(f) }

// View calls f with a consistent snapshot of committed state. It runs beside
// writers. f must not wait for a proposal.
func (h *Host) View(f func(storage.Reader) error) error {
	if err := h.fault.Err(); err != nil {
		return stopped(err)
	}
	return h.state.View(f)
}

// ReadBarrier returns nil when a View begun afterwards sees every command that was
// acknowledged before the call, by any node. A node that is alone in the shard knows
// this by itself; leadership is never taken on trust from a clock.
func (h *Host) ReadBarrier(ctx context.Context, s ShardID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.fault.Err(); err != nil {
		return stopped(err)
	}
	if s > Meta {
		return fmt.Errorf("cluster: no shard %d", s)
	}
	if _, leader := h.roles.get(s); !leader {
		return ErrNotLeader{Hint: h.roles.hint(s)}
	}
	return nil
}

// Slots returns the node's slot file.
func (h *Host) Slots() *storage.Slots { return h.slots }

// Failed is closed when the host has stopped because of an error. The process should end and
// start again: Open judges what is on disk.
func (h *Host) Failed() <-chan struct{} { return h.fault.Failed() }

// Err returns why the host failed, or nil.
func (h *Host) Err() error { return h.fault.Err() }

// Close ends the host: commands not yet proposed end with ErrStopped, those under way are
// finished. After a failure it only gives the files up. It waits for Views.
func (h *Host) Close() error {
	h.closeOnce.Do(func() {
		h.in.close()
		select {
		case <-h.loopDone:
		case <-h.fault.Failed():
			// The loop may be held for ever inside an engine that has failed.
		}
		h.apply.close()
		select {
		case <-h.applyDone:
		case <-h.fault.Failed():
		}
		h.closeErr = h.closeFiles()
	})
	return h.closeErr
}

func (h *Host) closeFiles() error {
	var errs []error
	if h.state != nil {
		errs = append(errs, h.state.Close())
	}
	if h.log != nil {
		errs = append(errs, h.log.Close())
	}
	if h.slots != nil {
		errs = append(errs, h.slots.Close())
	}
	// After a failure the engines may still be at work in the directory: the
	// lock stays until the process ends.
	if h.lock != nil && h.fault.Err() == nil {
		errs = append(errs, h.lock.Release())
	}
	return errors.Join(errs...)
}
