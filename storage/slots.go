package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"holdfast/storage/seal"
)

// slotNames are the two copies of the slot file.
var slotNames = [2]string{"slots-a", "slots-b"}

// ErrSlotKey: the slot file was sealed under another key.
var ErrSlotKey = errors.New("storage: slot file is sealed under another key")

// ErrSlotExists: a slot of this id already holds another value, or was erased.
var ErrSlotExists = errors.New("storage: slot exists")

// Slots keeps 32-byte values that must be erasable: they lie in two small files
// of fixed places, are overwritten where they lie, and never enter the log or the
// state. When Put or Erase returns nil both copies are on disk.
//
// An id is used once: after Erase it answers ErrErased for ever.
//
// Methods may be called from any goroutine. Callers that arrive during a
// sync share the next one.
type Slots struct {
	env   seal.Env
	id    Identity
	ciph  *seal.Cipher
	fault *Fault
	files [2]*os.File

	mu    sync.Mutex // guards the fields below
	at    map[uint64]slotPlace
	next  uint32
	queue []*slotWrite

	flush sync.Mutex // held while writing; taken without mu
}

type slotPlace struct {
	n      uint32 // number of the record in both files
	erased bool
	ready  bool // on disk in both copies
}

type slotWrite struct {
	n    uint32
	rec  [slotSize]byte
	done bool // guarded by flush
	err  error
}

// SlotsConfig says how to open the slot file.
type SlotsConfig struct {
	Dir   string
	Env   seal.Env
	ID    Identity
	Key   *seal.Secret
	Found bool
	Fault *Fault
}

// OpenSlots opens both copies, compares them, and finishes what a crash left
// half done: an erasure begun is an erasure, and a value that only one copy has is
// copied.
func OpenSlots(cfg SlotsConfig) (*Slots, error) {
	s := &Slots{env: cfg.Env, id: cfg.ID, ciph: seal.NewCipher(cfg.Key), fault: cfg.Fault, at: map[uint64]slotPlace{}}
	if err := s.open(cfg); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Slots) open(cfg SlotsConfig) error {
	for c, name := range slotNames {
		path := filepath.Join(cfg.Dir, name)
		if cfg.Found {
			if err := writeFileSync(path, appendSlotHeader(nil, s.ciph, s.env, s.id, byte(c))); err != nil {
				return fmt.Errorf("slot file: %w", err)
			}
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("slot file %s: %w: %w", name, ErrDamaged, err)
		}
		s.files[c] = f
	}
	good := 0
	var herr error
	for c := range s.files {
		head := make([]byte, slotHeader)
		if _, err := s.files[c].ReadAt(head, 0); err != nil && err != io.EOF {
			return fmt.Errorf("slot file %s: %w", slotNames[c], err)
		}
		switch err := checkSlotHeader(head, s.ciph, s.env, s.id, byte(c)); {
		case err == nil:
			good++
		case errors.Is(err, ErrSlotKey), errors.Is(err, ErrVersion):
			return err
		default:
			herr = fmt.Errorf("slot file %s: %w", slotNames[c], err)
		}
	}
	if good == 0 {
		return herr
	}
	if herr != nil {
		for c := range s.files {
			if _, err := s.files[c].WriteAt(appendSlotHeader(nil, s.ciph, s.env, s.id, byte(c)), 0); err != nil {
				return err
			}
			if err := s.files[c].Sync(); err != nil {
				return err
			}
		}
	}
	return s.reconcile()
}

// reconcile reads both copies record by record.
func (s *Slots) reconcile() error {
	var size int64
	for c := range s.files {
		fi, err := s.files[c].Stat()
		if err != nil {
			return fmt.Errorf("slot file: %w", err)
		}
		size = max(size, fi.Size())
	}
	count := (size - slotHeader + slotSize - 1) / slotSize
	if size <= slotHeader {
		count = 0
	}
	var bufs [2][]byte
	for c := range bufs {
		bufs[c] = make([]byte, 1<<20)
	}
	const perRead = (1 << 20) / slotSize
	repaired := false
	for from := int64(0); from < count; from += perRead {
		for c := range bufs {
			clear(bufs[c])
			if _, err := s.files[c].ReadAt(bufs[c], slotHeader+from*slotSize); err != nil && err != io.EOF {
				return fmt.Errorf("slot file: %w", err)
			}
		}
		for i := int64(0); i < perRead && from+i < count; i++ {
			n := from + i
			var recs [2][]byte
			for c := range recs {
				recs[c] = bufs[c][i*slotSize : (i+1)*slotSize]
			}
			keep, err := chooseSlot(recs[0], recs[1])
			if err != nil {
				return fmt.Errorf("slot record %d: %w", n, err)
			}
			for c := range recs {
				if string(recs[c]) != string(keep) {
					repaired = true
					if _, err := s.files[c].WriteAt(keep, slotHeader+n*slotSize); err != nil {
						return fmt.Errorf("slot file: %w", err)
					}
				}
			}
			id, state := slotHead(keep)
			switch state {
			case slotFree:
				continue
			case slotLive:
				v, err := openSlot(s.ciph, s.env, s.id, keep)
				if err != nil {
					return fmt.Errorf("slot record %d: %w", n, err)
				}
				v.Wipe()
			}
			if _, double := s.at[id]; double {
				return fmt.Errorf("slot record %d: id twice: %w", n, ErrDamaged)
			}
			s.at[id] = slotPlace{n: uint32(n), erased: state == slotErased, ready: true}
		}
	}
	s.next = uint32(count)
	if repaired {
		for c := range s.files {
			if err := s.files[c].Sync(); err != nil {
				return fmt.Errorf("slot file: %w", err)
			}
		}
	}
	return nil
}

// Put stores v under id. It is on disk, twice, when Put returns nil. Putting an
// id again fails with ErrSlotExists.
func (s *Slots) Put(id uint64, v *seal.Secret) error {
	if len(v.Bytes()) != 32 {
		return fmt.Errorf("storage: slot value of %d bytes", len(v.Bytes()))
	}
	s.mu.Lock()
	if _, ok := s.at[id]; ok {
		s.mu.Unlock()
		return ErrSlotExists
	}
	w := &slotWrite{n: s.next}
	sealSlot(w.rec[:], s.ciph, s.env, s.id, id, v)
	s.next++
	s.at[id] = slotPlace{n: w.n}
	s.queue = append(s.queue, w)
	s.mu.Unlock()
	if err := s.wait(w); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// An Erase may have come in between; it stays erased.
	if p := s.at[id]; !p.erased {
		s.at[id] = slotPlace{n: w.n, ready: true}
	}
	return nil
}

// Get returns the value of slot id, or ErrErased or ErrNoSlot.
func (s *Slots) Get(id uint64) (seal.Secret, error) {
	s.mu.Lock()
	p, ok := s.at[id]
	s.mu.Unlock()
	switch {
	case !ok:
		return seal.Secret{}, ErrNoSlot
	case p.erased:
		return seal.Secret{}, ErrErased
	case !p.ready:
		return seal.Secret{}, ErrNoSlot // its Put has not returned
	}
	var last error
	for c := range s.files {
		var rec [slotSize]byte
		if _, err := s.files[c].ReadAt(rec[:], slotHeader+int64(p.n)*slotSize); err != nil {
			last = fmt.Errorf("slot file: %w", err)
			continue
		}
		got, state, err := parseSlot(rec[:])
		if err == nil && got == id && state == slotErased {
			return seal.Secret{}, ErrErased
		}
		if err == nil && (got != id || state != slotLive) {
			err = fmt.Errorf("slot record: %w", ErrDamaged)
		}
		var v seal.Secret
		if err == nil {
			v, err = openSlot(s.ciph, s.env, s.id, rec[:])
		}
		clear(rec[:])
		if err == nil {
			return v, nil
		}
		last = err
	}
	return seal.Secret{}, last
}

// Erase overwrites slot id in both copies. Erasing again is nil; an id that
// was never put is ErrNoSlot.
func (s *Slots) Erase(id uint64) error {
	s.mu.Lock()
	p, ok := s.at[id]
	if !ok {
		s.mu.Unlock()
		return ErrNoSlot
	}
	if p.erased && p.ready {
		s.mu.Unlock()
		return nil
	}
	w := &slotWrite{n: p.n}
	eraseSlot(w.rec[:], id)
	// Readers stop at once; the answer waits for the disk.
	s.at[id] = slotPlace{n: p.n, erased: true}
	s.queue = append(s.queue, w)
	s.mu.Unlock()
	if err := s.wait(w); err != nil {
		return err
	}
	s.mu.Lock()
	s.at[id] = slotPlace{n: p.n, erased: true, ready: true}
	s.mu.Unlock()
	return nil
}

// Len returns how many live slots there are.
func (s *Slots) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.at {
		if !p.erased {
			n++
		}
	}
	return n
}

// wait writes all queued records, or finds that another caller has done so.
func (s *Slots) wait(w *slotWrite) error {
	s.flush.Lock()
	defer s.flush.Unlock()
	if w.done {
		return w.err
	}
	s.mu.Lock()
	batch := s.queue
	s.queue = nil
	s.mu.Unlock()
	err := s.fault.Err()
	for c := range s.files {
		if err != nil {
			break
		}
		for _, b := range batch {
			if _, err = s.files[c].WriteAt(b.rec[:], slotHeader+int64(b.n)*slotSize); err != nil {
				break
			}
		}
		if err == nil {
			err = s.files[c].Sync()
		}
	}
	if err != nil {
		err = s.fault.Set(fmt.Errorf("slot file: %w", err))
	}
	for _, b := range batch {
		clear(b.rec[:])
		b.done, b.err = true, err
	}
	return w.err
}

// Close closes both copies.
func (s *Slots) Close() error {
	s.flush.Lock()
	defer s.flush.Unlock()
	var err error
	for c := range s.files {
		if s.files[c] != nil {
			if cerr := s.files[c].Close(); err == nil {
				err = cerr
			}
		}
	}
	return err
}
