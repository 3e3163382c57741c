package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// StateDir is the directory of the state inside a node's directory.
const StateDir = "state"

// Limits of keys and values, and of what one command may write.
const (
	MaxKey   = 1 << 10
	MaxValue = 1<<20 - 1

	MaxCommandKeys  = 16 << 10
	MaxCommandBytes = 3 << 20

	maxTurnKeys  = 36 << 10
	maxTurnBytes = 2816 << 10
)

// stateMemTable is the size of a memory table. Each has a sparse mapped file of twice
// that size; when blocks for it run out the process is killed by the kernel, so
// the files are allocated as soon as they appear and the disk reserve covers
// what is left. See MinReserve.
const stateMemTable = 24 << 20

// MinReserve is the least free space a node may be told to keep: what the
// memory tables' files, their tables and the log need to come to rest.
const MinReserve = 4*2*stateMemTable + 64<<20

// Keys that begin with a zero byte are the store's own.
const ownSpace = 0

var keyApplied = []byte{ownSpace, 'a'}

func keyConf(group int) []byte { return []byte{ownSpace, 'c', byte(group)} }

// StateConfig says how to open the state.
type StateConfig struct {
	Dir   string // the node's directory
	ID    Identity
	Found bool
	Start AppliedAt // of every group, when nothing was applied yet
	Fault *Fault
	Log   *slog.Logger
}

// State holds what the committed commands have made of the keys. It can be
// rebuilt: nothing in it is synced as it is written, and at every open only
// its finished tables count. They are an exact prefix of what was applied, and the
// log is kept from there on.
type State struct {
	cfg StateConfig
	dir string

	mu sync.RWMutex // held for reading by whoever uses db; Flush replaces it
	db *badger.DB

	versions versions

	// Of the applying goroutine.
	applied Applied
	floors  []floor // of the memory tables whose files remain, oldest first
	nextMem int

	floor  atomic.Pointer[Applied]
	closed bool
}

// floor is the applied position when a memory table was begun: everything up to it is in
// older memory tables, and in tables once their files are gone.
type floor struct {
	fid     int
	applied Applied
}

// OpenState checks the tables, drops what was not finished, and opens the state.
// Applied then says from where the log has to be replayed; check, when not nil,
// judges it before anything on disk is given up.
func OpenState(cfg StateConfig, check func(*Applied) error) (*State, error) {
	s := &State{cfg: cfg, dir: filepath.Join(cfg.Dir, StateDir)}
	if cfg.Found {
		if err := os.Mkdir(s.dir, 0o700); err != nil {
			return nil, fmt.Errorf("found state: %w", err)
		}
		if err := syncDir(cfg.Dir); err != nil {
			return nil, fmt.Errorf("found state: %w", err)
		}
	}
	if err := s.open(check); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return s, nil
}

func (s *State) open(check func(*Applied) error) error {
	aside, err := inspectState(s.dir)
	if err != nil {
		return err
	}
	lg := &stateLogger{s: s, opening: true}
	db, err := openBadger(s.options(lg))
	if err == nil {
		err = lg.complaint()
	}
	if err == nil {
		s.db = db
		s.versions.reset(db.MaxVersion())
		err = s.load()
	}
	if err == nil && check != nil {
		err = check(&s.applied)
	}
	if err != nil {
		if db != nil {
			_ = db.Close()
		}
		if rerr := aside.restore(); rerr != nil {
			return fmt.Errorf("%w (and putting files back: %v)", err, rerr)
		}
		return err
	}
	lg.opened()
	if err := aside.discard(); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	if db.MaxBatchSize() < maxTurnBytes+MaxCommandBytes/4 || db.MaxBatchCount() < maxTurnKeys {
		return errors.New("transaction limits of the state's engine are too small")
	}
	s.floors = []floor{{fid: 1, applied: s.applied}}
	s.nextMem = 2
	a := s.applied
	s.floor.Store(&a)
	return s.reserveMem(1)
}

func (s *State) options(lg badger.Logger) badger.Options {
	return badger.DefaultOptions(s.dir).
		WithSyncWrites(false).
		WithMemTableSize(stateMemTable).
		WithBaseTableSize(8 << 20).
		WithValueLogFileSize(4 << 20).
		WithNumMemtables(3).
		WithValueThreshold(1 << 20).
		WithChecksumVerificationMode(options.OnTableAndBlockRead).
		WithDetectConflicts(false).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithNumVersionsToKeep(1).
		// Rewriting a level costs more than looking into a few more tables, whose filters
		// say no.
		WithNumLevelZeroTables(8).
		WithNumLevelZeroTablesStall(20).
		WithBaseLevelSize(128 << 20).
		WithNumCompactors(2).
		WithCompactL0OnClose(false).
		WithMetricsEnabled(false).
		WithLogger(lg)
}

// openBadger turns a panic into an error; the engine panics on some damage.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, damage(panicked(r))
		}
	}()
	db, err = badger.OpenManaged(o)
	if err != nil {
		return nil, damage(err)
	}
	return db, nil
}

func (s *State) load() error {
	txn := s.db.NewTransactionAt(s.db.MaxVersion(), false)
	defer txn.Discard()
	item, err := txn.Get(keyApplied)
	if errors.Is(err, badger.ErrKeyNotFound) {
		for g := range s.applied {
			s.applied[g] = s.cfg.Start
		}
		return nil
	}
	if err != nil {
		return err
	}
	return item.Value(func(val []byte) error {
		a, id, err := parseApplied(val)
		if err == nil && id != s.cfg.ID {
			err = fmt.Errorf("state of another directory: %w", ErrDamaged)
		}
		s.applied = a
		return err
	})
}

// Applied returns the position of the last committed turn. Only for the
// goroutine that applies.
func (s *State) Applied() *Applied { return &s.applied }

// Floor returns positions that are in finished tables for certain, whatever happens to
// this process or machine. The log may be cut there. Safe for concurrent use.
func (s *State) Floor() *Applied { return s.floor.Load() }

// Conf returns what SetConf stored for group, or nil.
func (s *State) Conf(group int) (conf []byte, err error) {
	err = s.View(func(r Reader) error {
		val, _, err := r.(*view).get(keyConf(group))
		conf = val
		return err
	})
	return conf, err
}

// noteMem looks for memory tables begun and finished during the last commit, which
// started at before.
func (s *State) noteMem(before *Applied) error {
	if _, err := os.Lstat(s.memPath(s.nextMem)); err == nil {
		if err := s.reserveMem(s.nextMem); err != nil {
			return err
		}
		s.floors = append(s.floors, floor{fid: s.nextMem, applied: *before})
		s.nextMem++
	}
	gone := 0
	for gone < len(s.floors)-1 {
		if _, err := os.Lstat(s.memPath(s.floors[gone].fid)); !os.IsNotExist(err) {
			break
		}
		gone++
	}
	if gone == 0 {
		return nil
	}
	// The table's file and its line in the manifest are synced by the engine before the
	// memory table's file goes; its name in the directory is synced here.
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	s.floors = append(s.floors[:0], s.floors[gone:]...)
	a := s.floors[0].applied
	s.floor.Store(&a)
	return nil
}

func (s *State) memPath(fid int) string {
	return filepath.Join(s.dir, fmt.Sprintf("%05d.mem", fid))
}

// reserveMem allocates the blocks of a memory table's file, so that a full disk shows
// here as an error and not later as a signal.
func (s *State) reserveMem(fid int) error {
	f, err := os.OpenFile(s.memPath(fid), os.O_RDWR, 0)
	if err != nil {
		if os.IsNotExist(err) {
			return nil // already flushed
		}
		return fmt.Errorf("memory table: %w", err)
	}
	defer f.Close()
	const keepSize = 1
	err = syscall.Fallocate(int(f.Fd()), keepSize, 0, 2*stateMemTable)
	if err != nil && !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.ENOSYS) {
		return fmt.Errorf("memory table: %w", err)
	}
	return nil
}

// Rotate begins a new memory table, so that the present one becomes a finished
// table soon and the log can be cut. The engine does this only when a table is full; so it is filled,
// with keys that are deleted again. For a log that grows faster than the state.
// Only for the goroutine that applies.
func (s *State) Rotate() error {
	const keys = 3 // of nearly MaxValue each, as many as fit one transaction
	var filler [MaxValue]byte
	t := s.NewTurn()
	for next := s.nextMem; next == s.nextMem; {
		t.Begin()
		for k := byte(0); k < keys; k++ {
			t.add([]byte{ownSpace, 'f', k}, filler[:], false)
		}
		if err := t.Commit(&s.applied); err != nil {
			return err
		}
	}
	t.Begin()
	for k := byte(0); k < keys; k++ {
		t.add([]byte{ownSpace, 'f', k}, nil, true)
	}
	return t.Commit(&s.applied)
}

// Flush finishes all memory tables. Readers wait meanwhile. Only for the
// goroutine that applies.
func (s *State) Flush() error {
	if err := s.cfg.Fault.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.db.Close(); err != nil {
		return s.cfg.Fault.Set(fmt.Errorf("close state: %w", err))
	}
	want := s.applied
	if err := s.open(func(a *Applied) error {
		if *a != want {
			return fmt.Errorf("flushed state is not what was applied: %w", ErrDamaged)
		}
		return nil
	}); err != nil {
		return s.cfg.Fault.Set(err)
	}
	return nil
}

// DiskBytes returns what the state takes on disk.
func (s *State) DiskBytes() int64 { return dirBytes(s.dir) }

// Close finishes the memory tables and closes the state. After a failure it
// leaves the engine alone, which would otherwise try for ever.
func (s *State) Close() error {
	if s.cfg.Fault.Err() != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// stateLogger keeps the engine quiet. What the engine logs as an error it has
// often not returned to anybody, so an error is a fault.
