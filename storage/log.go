package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// LogDir is the directory of the log inside a node's directory.
const LogDir = "log"

// LogFormat is the on-disk format the log's engine writes. Raising it is a one-way step.
const LogFormat = pebble.FormatNewest

// MaxTurnBytes bounds what one Write may carry, so that a batch stays well below the
// size from which the engine treats it as a table of its own.
const MaxTurnBytes = 6 << 20

// logMemTable is the size of one memory table of the log's engine, and about that of a
// WAL file. All tables of an open log are in memory whether they are used or not.
const logMemTable = 16 << 20

var (
	keySeq      = []byte{'s'}
	keyIdentity = []byte{'n'}
)

// LogConfig says how to open a log.
type LogConfig struct {
	Dir   string // the node's directory
	ID    Identity
	FS    vfs.FS // nil: the disk; tests inject faults here
	Found bool   // create it; it must not exist
	Start Position
	Fault *Fault // never nil
	Log   *slog.Logger
}

// GroupLog is what a group's log holds when it is opened.
type GroupLog struct {
	Hard  HardState
	Trunc Position // the entry before the first one kept
	Last  Position // equal to Trunc when the log is empty
}

// Log is the consensus log of all groups of a node. All methods except Bytes
// are called from one goroutine.
//
// When Write returns nil everything in it is on disk. When it returns an error
// the log is unusable: the error is in the Fault and every later call fails.
type Log struct {
	cfg    LogConfig
	db     *pebble.DB
	mark   *mark
	seq    uint64
	trunc  [Groups]link
	last   [Groups]link
	bytes  [Groups]atomic.Int64
	key    []byte
	key2   []byte
	buf    []byte
	closed bool
	armed  atomic.Bool // the engine is open, see stopFS
}

// Write is what one turn of the host writes.
type Write struct {
	Appends []Append
	Hard    []GroupHard
	Truncs  []GroupTrunc
}

// Append replaces a group's log from Entries[0].Index on. Entries are contiguous.
type Append struct {
	Group   int
	Entries []Entry
}

// GroupHard is a group's new hard state.
type GroupHard struct {
	Group int
	Hard  HardState
}

// GroupTrunc drops a group's entries up to and including Index.
type GroupTrunc struct {
	Group int
	Index uint64
}

// Reset empties w and keeps its memory.
func (w *Write) Reset() {
	clear(w.Appends)
	w.Appends, w.Hard, w.Truncs = w.Appends[:0], w.Hard[:0], w.Truncs[:0]
}

// Empty says that w holds nothing to write.
func (w *Write) Empty() bool { return len(w.Appends) == 0 && len(w.Hard) == 0 && len(w.Truncs) == 0 }

// OpenLog opens the log and checks all of it: each entry's checksum, the chain
// from entry to entry, gaps, and its end against the tail mark. Damage is
// reported as an error wrapping ErrDamaged that names group and indices.
func OpenLog(cfg LogConfig) (*Log, *[Groups]GroupLog, error) {
	l := &Log{cfg: cfg}
	if cfg.FS == nil {
		l.cfg.FS = vfs.Default
	}
	db, err := l.openEngine()
	if err != nil {
		return nil, nil, err
	}
	l.db = db
	l.armed.Store(true)
	groups, err := l.load()
	if err == nil {
		err = cfg.Fault.Err()
	}
	if err != nil {
		// Work in the background may have stopped for good on the same damage, and
		// Close waits for it.
		go db.Close()
		return nil, nil, err
	}
	return l, groups, nil
}

// Write makes w durable and then moves the tail mark.
func (l *Log) Write(w *Write) error {
	if err := l.cfg.Fault.Err(); err != nil {
		return err
	}
	size := 64
	for i := range w.Appends {
		for j := range w.Appends[i].Entries {
			size += len(w.Appends[i].Entries[j].Data) + 48
		}
	}
	b := l.db.NewBatchWithSize(size)
	for _, t := range w.Truncs {
		if err := l.truncate(b, t); err != nil {
			return l.fail(err)
		}
	}
	for i := range w.Appends {
		if err := l.append(b, &w.Appends[i]); err != nil {
			return l.fail(err)
		}
	}
	for _, h := range w.Hard {
		l.key = append(l.key[:0], 'h', byte(h.Group))
		l.buf = appendHard(l.buf[:0], h.Hard)
		_ = b.Set(l.key, l.buf, nil)
	}
	l.seq++
	l.buf = appendSeq(l.buf[:0], l.seq)
	_ = b.Set(keySeq, l.buf, nil)
	if err := l.commit(b); err != nil {
		return l.fail(err)
	}
	_ = b.Close()
	for i := range w.Appends {
		g := w.Appends[i].Group
		l.mark.move(g, l.last[g])
	}
	l.mark.publish(l.seq)
	return nil
}

func (l *Log) append(b *pebble.Batch, a *Append) error {
	if len(a.Entries) == 0 {
		return nil
	}
	g, first := a.Group, a.Entries[0].Index
	prev := l.last[g]
	if first <= prev.Index {
		if first <= l.trunc[g].Index {
			return fmt.Errorf("shard %d: append at %d, truncated at %d", g, first, l.trunc[g].Index)
		}
		l.key = entryKey(l.key[:0], g, first)
		l.key2 = entryKey(l.key2[:0], g, prev.Index+1)
		_ = b.DeleteRange(l.key, l.key2, nil)
		var err error
		if prev, err = l.linkAt(g, first-1); err != nil {
			return err
		}
	}
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Index != prev.Index+1 {
			return fmt.Errorf("shard %d: append of %d after %d", g, e.Index, prev.Index)
		}
		op := b.SetDeferred(entryKeySize, entryOverhead+len(e.Data))
		entryKey(op.Key[:0], g, e.Index)
		sum := putEntry(op.Value, op.Key, e, prev.sum)
		if err := op.Finish(); err != nil {
			return err
		}
		prev = link{Position{e.Index, e.Term}, sum}
		l.bytes[g].Add(int64(entryOverhead + len(e.Data)))
	}
	l.last[g] = prev
	return nil
}

func (l *Log) truncate(b *pebble.Batch, t GroupTrunc) error {
	g := t.Group
	if t.Index <= l.trunc[g].Index {
		return nil
	}
	to, err := l.linkAt(g, t.Index)
	if err != nil {
		return err
	}
	l.key = entryKey(l.key[:0], g, 0)
	l.key2 = entryKey(l.key2[:0], g, t.Index+1)
	_ = b.DeleteRange(l.key, l.key2, nil)
	l.key = append(l.key[:0], 'g', byte(g))
	l.buf = appendLink(l.buf[:0], to)
	_ = b.Set(l.key, l.buf, nil)
	// Sizes of single entries are not kept; the share that goes is estimated.
	if n := int64(l.last[g].Index - l.trunc[g].Index); n > 0 {
		l.bytes[g].Add(-l.bytes[g].Load() * int64(t.Index-l.trunc[g].Index) / n)
	}
	l.trunc[g] = to
	return nil
}

// linkAt returns position and checksum of a stored entry.
func (l *Log) linkAt(g int, index uint64) (link, error) {
	switch index {
	case l.trunc[g].Index:
		return l.trunc[g], nil
	case l.last[g].Index:
		return l.last[g], nil
	}
	var at link
	key := entryKey(nil, g, index)
	err := l.get(key, func(val []byte) error {
		e, _, sum, err := parseEntry(key, val)
		at = link{Position{e.Index, e.Term}, sum}
		return err
	})
	return at, err
}

// ErrMissing: an index is outside the log.
var ErrMissing = errors.New("storage: entry is not in the log")

// Read returns the entries of group in [lo, hi), at least one and then as many
// as fit in maxBytes of data. The entries are the caller's.
func (l *Log) Read(group int, lo, hi, maxBytes uint64) ([]Entry, error) {
	if err := l.cfg.Fault.Err(); err != nil {
		return nil, err
	}
	if lo <= l.trunc[group].Index || hi > l.last[group].Index+1 || lo >= hi {
		return nil, ErrMissing
	}
	es, err := l.readEntries(group, lo, hi, maxBytes)
	if err != nil {
		return nil, l.fail(fmt.Errorf("log of shard %d: %w", group, err))
	}
	return es, nil
}

func (l *Log) readEntries(group int, lo, hi, maxBytes uint64) ([]Entry, error) {
	it, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: entryKey(nil, group, lo),
		UpperBound: entryKey(nil, group, hi),
	})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var es []Entry
	var size uint64
	for ok := it.First(); ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		e, _, _, err := parseEntry(it.Key(), val)
		if err != nil {
			return nil, fmt.Errorf("index %d: %w", lo+uint64(len(es)), err)
		}
		if e.Index != lo+uint64(len(es)) {
			return nil, fmt.Errorf("index %d instead of %d: %w", e.Index, lo+uint64(len(es)), ErrDamaged)
		}
		size += uint64(len(e.Data))
		if len(es) > 0 && size > maxBytes {
			return es, nil
		}
		e.Data = bytes.Clone(e.Data)
		es = append(es, e)
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	if len(es) == 0 || (size <= maxBytes && es[len(es)-1].Index+1 != hi) {
		return nil, fmt.Errorf("indices %d to %d are incomplete: %w", lo, hi-1, ErrDamaged)
	}
	return es, nil
}

// Term returns the term of a stored entry or of the truncation point.
func (l *Log) Term(group int, index uint64) (uint64, error) {
	if index < l.trunc[group].Index || index > l.last[group].Index {
		return 0, ErrMissing
	}
	at, err := l.linkAt(group, index)
	if err != nil {
		return 0, l.fail(err)
	}
	return at.Term, nil
}

// Bytes returns about how many bytes of entries the group's log holds. Safe for
// concurrent use.
func (l *Log) Bytes(group int) int64 { return l.bytes[group].Load() }

// TotalBytes returns the sum of Bytes. Safe for concurrent use.
func (l *Log) TotalBytes() int64 {
	var n int64
	for g := range l.bytes {
		n += l.bytes[g].Load()
	}
	return n
}

// DiskBytes returns what the log takes on disk. Safe for concurrent use.
func (l *Log) DiskBytes() int64 { return dirBytes(filepath.Join(l.cfg.Dir, LogDir)) }

// Flush writes what is in memory to tables and drops truncated ones.
func (l *Log) Flush() error {
	if err := l.cfg.Fault.Err(); err != nil {
		return err
	}
	err := l.call("compact log", func() error {
		if err := l.db.Flush(); err != nil {
			return err
		}
		return l.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false)
	})
	if err != nil {
		return l.fail(err)
	}
	return nil
}

// fail makes err the fault, unless there is one, and returns the fault.
func (l *Log) fail(err error) error { return l.cfg.Fault.Set(err) }

// Close closes the log. After a failure the engine is left as it is: closing it
// would wait for work that cannot end.
func (l *Log) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	if l.cfg.Fault.Err() != nil {
		return nil
	}
	err := l.call("close log", l.db.Close)
	if merr := l.mark.close(); err == nil {
		err = merr
	}
	return err
}
