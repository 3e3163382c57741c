package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
)

// ErrTxFull: a command writes more keys or bytes than one command may.
var ErrTxFull = errors.New("storage: command writes too much")

// Turn is one transaction over the state, built of commands. It is a Tx whose
// reads see the writes of all commands so far. Owned by one goroutine and reused.
//
//	t := s.Begin()
//	for each command { t.Command(); Get/Set/...; t.Accept() or t.Drop() }
//	t.Commit(&applied)
type Turn struct {
	s     *State
	txn   *badger.Txn
	at    uint64 // version that txn reads
	ops   []turnOp
	index map[string]int32 // newest op of a key; keys alias ops' keys
	bytes int

	from      int // ops of the current command begin here
	fromBytes int
	err       error // why the current command cannot be accepted

	entries []badger.Entry
	record  []byte
}

type turnOp struct {
	key, val []byte
	prev     int32 // the key's op before this one, or -1
	del      bool
}

// NewTurn returns a Turn that has not begun.
func (s *State) NewTurn() *Turn {
	return &Turn{s: s, index: make(map[string]int32)}
}

// Begin starts a transaction on the newest state.
func (t *Turn) Begin() {
	t.s.mu.RLock()
	t.at = t.s.versions.begin()
	t.txn = t.s.db.NewTransactionAt(t.at, false)
}

// end drops the transaction's reads and keeps the memory.
func (t *Turn) end() {
	t.txn.Discard()
	t.txn = nil
	t.s.versions.end(t.at)
	t.s.mu.RUnlock()
	clear(t.ops)
	clear(t.index)
	t.ops, t.bytes, t.from, t.fromBytes, t.err = t.ops[:0], 0, 0, 0, nil
}

// Cancel ends the transaction without writing.
func (t *Turn) Cancel() {
	if t.txn != nil {
		t.end()
	}
}

// Command begins a command.
func (t *Turn) Command() {
	t.from, t.fromBytes, t.err = len(t.ops), t.bytes, nil
}

// Err returns ErrTxFull, ErrKeySize or ErrValueSize if a write of the current
// command was refused. Such a command must be dropped.
func (t *Turn) Err() error { return t.err }

// Drop undoes the writes of the current command.
func (t *Turn) Drop() {
	for i := len(t.ops) - 1; i >= t.from; i-- {
		op := &t.ops[i]
		delete(t.index, str(op.key))
		if op.prev >= 0 {
			t.index[str(t.ops[op.prev].key)] = op.prev
		}
		*op = turnOp{}
	}
	t.ops, t.bytes, t.err = t.ops[:t.from], t.fromBytes, nil
}

// Full says that the current command does not fit into this transaction any
// more: Split must be called before Accept.
func (t *Turn) Full() bool {
	return t.from > 0 && (len(t.ops) > maxTurnKeys || t.bytes > maxTurnBytes)
}

// Split commits what came before the current command, with the position a, and
// goes on with the current command's writes in a new transaction.
func (t *Turn) Split(a *Applied) error {
	own := slices.Clone(t.ops[t.from:])
	t.Drop()
	if err := t.Commit(a); err != nil {
		return err
	}
	t.Begin()
	t.Command()
	for _, op := range own {
		t.add(op.key, op.val, op.del)
	}
	return nil
}

// str views b as a string without copying. Valid because ops' keys are immutable until
// the index is cleared.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (t *Turn) add(key, val []byte, del bool) {
	prev := int32(-1)
	k := str(key)
	if i, ok := t.index[k]; ok {
		prev = i
		delete(t.index, k) // the old op's key may go before this one's
	}
	t.index[k] = int32(len(t.ops))
	t.ops = append(t.ops, turnOp{key: key, val: val, prev: prev, del: del})
	t.bytes += len(key) + len(val) + 32
}

func (t *Turn) write(key, val []byte, del bool) error {
	if t.err != nil {
		return t.err
	}
	switch {
	case len(key) == 0 || len(key) > MaxKey || key[0] == ownSpace || bytes.HasPrefix(key, badgerSpace):
		t.err = ErrKeySize
	case len(val) > MaxValue:
		t.err = ErrValueSize
	case len(t.ops)-t.from >= MaxCommandKeys || t.bytes-t.fromBytes+len(key)+len(val)+32 > MaxCommandBytes:
		t.err = ErrTxFull
	default:
		t.add(key, val, del)
	}
	return t.err
}

var badgerSpace = []byte("!badger!")

// Set implements Tx.
func (t *Turn) Set(key, val []byte) error { return t.write(key, val, false) }

// Delete implements Tx.
func (t *Turn) Delete(key []byte) error { return t.write(key, nil, true) }

// SetConf stores a group's membership in the same transaction.
func (t *Turn) SetConf(group int, conf []byte) {
	t.add(keyConf(group), conf, false)
	t.from, t.fromBytes = len(t.ops), t.bytes
}

// Get implements Reader.
func (t *Turn) Get(key []byte) ([]byte, bool, error) {
	if len(key) == 0 || len(key) > MaxKey || key[0] == ownSpace {
		return nil, false, ErrKeySize
	}
	if i, ok := t.index[str(key)]; ok {
		op := &t.ops[i]
		if op.del {
			return nil, false, nil
		}
		return op.val, true, nil
	}
	return get(t.txn, key)
}

func get(txn *badger.Txn, key []byte) ([]byte, bool, error) {
	item, err := txn.Get(key)
	if err != nil {
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("read state: %w", err)
	}
	var val []byte
	// The engine has copied the value into memory of the item.
	err = item.Value(func(b []byte) error { val = b; return nil })
	if err != nil {
		return nil, false, fmt.Errorf("read state: %w", err)
	}
	return val, true, nil
}

// Scan implements Reader.
func (t *Turn) Scan(prefix, from []byte, reverse bool, f func(key, val []byte) (bool, error)) error {
	var own []*turnOp
	for i := range t.ops {
		op := &t.ops[i]
		if bytes.HasPrefix(op.key, prefix) && t.index[str(op.key)] == int32(i) && op.key[0] != ownSpace {
			if from != nil && (!reverse && bytes.Compare(op.key, from) < 0 || reverse && bytes.Compare(op.key, from) > 0) {
				continue
			}
			own = append(own, op)
		}
	}
	slices.SortFunc(own, func(a, b *turnOp) int {
		c := bytes.Compare(a.key, b.key)
		if reverse {
			return -c
		}
		return c
	})
	return scan(t.txn, prefix, from, reverse, own, f)
}

// scan merges the stored keys with own, which is sorted in scan order.
func scan(txn *badger.Txn, prefix, from []byte, reverse bool, own []*turnOp, f func(key, val []byte) (bool, error)) error {
	if from != nil && !bytes.HasPrefix(from, prefix) {
		return fmt.Errorf("scan begins outside its prefix: %w", ErrKeySize)
	}
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = prefix
	o.Reverse = reverse
	it := txn.NewIterator(o)
	defer it.Close()
	switch {
	case from != nil:
		it.Seek(from)
	case reverse:
		// The greatest key that can begin with prefix.
		end := bytes.Repeat([]byte{0xff}, MaxKey+1)
		copy(end, prefix)
		it.Seek(end)
	case len(prefix) == 0:
		it.Seek([]byte{ownSpace + 1})
	default:
		it.Seek(prefix)
	}
	for {
		ok := it.Valid()
		if ok && it.Item().Key()[0] == ownSpace {
			if reverse {
				ok = false // everything after is the store's own
			} else {
				it.Next()
				continue
			}
		}
		if ok && bytes.HasPrefix(it.Item().Key(), badgerSpace) {
			it.Next()
			continue
		}
		c := 1 // own comes first
		switch {
		case !ok && len(own) == 0:
			return nil
		case len(own) == 0:
			c = -1
		case ok:
			if c = bytes.Compare(own[0].key, it.Item().Key()); reverse {
				c = -c
			}
			c = -c
		}
		var more bool
		var err error
		switch {
		case c >= 0:
			op := own[0]
			own = own[1:]
			if c == 0 {
				it.Next()
			}
			if op.del {
				continue
			}
			more, err = f(op.key, op.val)
		default:
			item := it.Item()
			err = item.Value(func(val []byte) error {
				more, err = f(item.Key(), val)
				return err
			})
			if more && err == nil {
				it.Next()
			}
		}
		if err != nil || !more {
			return err
		}
	}
}

// Commit writes all accepted commands and the position a in one transaction, and
// ends it. On an error nothing more may be written: the error is in the Fault.
func (t *Turn) Commit(a *Applied) error {
	s := t.s
	if err := s.cfg.Fault.Err(); err != nil {
		t.Cancel()
		return err
	}
	before := s.applied
	w := s.db.NewTransactionAt(t.at, true)
	defer w.Discard()
	t.record = appendApplied(t.record[:0], s.cfg.ID, a)
	t.add(keyApplied, t.record, false)
	if cap(t.entries) < len(t.ops) {
		t.entries = make([]badger.Entry, len(t.ops)+len(t.ops)/2)
	}
	n := 0
	var err error
	for i := range t.ops {
		op := &t.ops[i]
		if t.index[str(op.key)] != int32(i) {
			continue
		}
		if op.del {
			err = w.Delete(op.key)
		} else {
			e := &t.entries[n]
			n++
			*e = badger.Entry{Key: op.key, Value: op.val}
			err = w.SetEntry(e)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = w.CommitAt(t.at+1, nil)
	}
	clear(t.entries[:n])
	version := t.at + 1
	t.end()
	if err == nil {
		s.db.SetDiscardTs(s.versions.wrote(version))
		s.applied = *a
		err = s.noteMem(&before)
	}
	if err != nil {
		return s.cfg.Fault.Set(fmt.Errorf("write state: %w", err))
	}
	return nil
}

// view is a Reader outside a turn.
type view struct{ txn *badger.Txn }

func (v *view) Get(key []byte) ([]byte, bool, error) {
	if len(key) == 0 || len(key) > MaxKey || key[0] == ownSpace {
		return nil, false, ErrKeySize
	}
	return v.get(key)
}

func (v *view) get(key []byte) ([]byte, bool, error) { return get(v.txn, key) }

func (v *view) Scan(prefix, from []byte, reverse bool, f func(key, val []byte) (bool, error)) error {
	return scan(v.txn, prefix, from, reverse, nil, f)
}

// View calls f with a consistent snapshot of everything committed. It may be
// called from any goroutine and runs beside writers. f must not call Flush.
func (s *State) View(f func(Reader) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	at := s.versions.begin()
	defer s.versions.end(at)
	txn := s.db.NewTransactionAt(at, false)
	defer txn.Discard()
	return f(&view{txn: txn})
}
