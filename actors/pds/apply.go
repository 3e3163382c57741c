package pds

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/storage/seal"
)

// KV is what Apply reads and writes: one state transaction. storage.Tx fits.
// Get's value is borrowed until the transaction ends.
type KV interface {
	KVReader
	Set(key, val []byte) error
	Delete(key []byte) error
}

// KVReader is the reading half of KV.
type KVReader interface {
	Get(key []byte) (val []byte, ok bool, err error)
	Scan(prefix, from []byte, reverse bool, f func(key, val []byte) (more bool, err error)) error
}

// Outcome is what Apply decided about a member command.
type Outcome struct {
	Code    Code // CodeNone: applied; CodeNotNewest: reload and decide again
	Head    uint64
	Chain   [32]byte
	Control *Control // as it is now; the same pointer while nothing changes
	Changed bool     // Control is new
}

// Stored is the outcome of a registry command.
type RegistryOutcome struct {
	Code    Code
	Version uint64 // of the value now, or the counter
}

// Machine is the deterministic state machine of all shards of a node. Apply
// reads only state, command and format version: no clock, no randomness, no
// map order. What it keeps in memory mirrors the state and may be dropped at
// any time; a Machine without memory decides the same.
type Machine struct {
	env    seal.Env
	shards [65]machineShard
	once   [65]command // scratch of the apply goroutine, by shard
	failed error       // set by the first storage error; the host stops
	erase  []uint64    // slots to overwrite, collected since the last TakeErased
	turn   atomic.Uint64
}

type machineShard struct {
	mu       sync.Mutex
	members  map[MemberID]*live
	forgot   uint64 // members forgotten so far
	reset    uint64 // turn of the last Reset
	time     int64  // stored floor of command times, Unix milliseconds
	floor    atomic.Int64
	timeRead bool
	verified map[[32]byte]struct{}
}

type live struct {
	head  uint64
	chain [32]byte
	ctl   *Control
	turn  uint64 // of the last command applied here
}

// NewMachine makes a machine with empty memory.
func NewMachine(env seal.Env) *Machine {
	m := &Machine{env: env}
	m.turn.Store(1)
	for i := range m.shards {
		m.shards[i].members = map[MemberID]*live{}
		m.shards[i].verified = map[[32]byte]struct{}{}
	}
	return m
}

// State keys. Every key begins with a space byte and the shard:
//
//	m shard member                     control record
//	d shard member 1 sequence          journal record
//	d shard member 2 tag sequence      data record (block.Header ...)
//	s shard member number              sealed consent document
//	w shard member compartment epoch   epoch link
//	i shard request                    idempotency record
//	o shard member sequence            outbox item
//	e shard slot                       slot erased
//	k shard kind hash                  registry value: 8 version · bytes
//	c shard hash                       counter: 8
//	t shard                            floor of command times: 8
//	h shard index                      transparency log: 32-byte node hash
//	n shard                            transparency log size: 8
//	l shard member                     last leaf: 8 sequence · 8 index
//	p shard                            signed checkpoint
//
// Numbers are big endian. A member's journal and data stand side by side, so
// that the two keys of an operation are near each other wherever they lie.
func memberKey(space byte, shard uint8, m MemberID, extra int) []byte {
	k := make([]byte, 18, 18+extra)
	k[0], k[1] = space, shard
	copy(k[2:], m[:])
	return k
}

// ControlKey is the key of a member's control record.
func ControlKey(shard uint8, m MemberID) []byte { return memberKey('m', shard, m, 0) }

// ControlPrefix is the prefix of a shard's control records; MemberOf reads
// whose a member key is.
func ControlPrefix(shard uint8) []byte { return []byte{'m', shard} }

func MemberOf(key []byte) (m MemberID) {
	if len(key) >= 18 {
		copy(m[:], key[2:])
	}
	return
}

const (
	ofJournal = 1
	ofData    = 2
)

// JournalKey is the key of a journal record; seq 0 gives the prefix of all.
func JournalKey(shard uint8, m MemberID, seq uint64) []byte {
	k := append(memberKey('d', shard, m, 9), ofJournal)
	if seq == 0 {
		return k
	}
	return binary.BigEndian.AppendUint64(k, seq)
}

// DataKey is the key of a data record; seq 0 gives the prefix of the tag.
func DataKey(shard uint8, m MemberID, t Tag, seq uint64) []byte {
	k := append(memberKey('d', shard, m, 25), ofData)
	k = append(k, t[:]...)
	if seq == 0 {
		return k
	}
	return binary.BigEndian.AppendUint64(k, seq)
}

// DocumentKey is the key of a sealed consent document.
func DocumentKey(shard uint8, m MemberID, number uint64) []byte {
	return binary.BigEndian.AppendUint64(memberKey('s', shard, m, 8), number)
}

// EpochKey is the key of an epoch link.
func EpochKey(shard uint8, m MemberID, comp, epoch uint32) []byte {
	k := memberKey('w', shard, m, 8)
	k = binary.BigEndian.AppendUint32(k, comp)
	return binary.BigEndian.AppendUint32(k, epoch)
}

// OutboxPrefix is the prefix of a shard's outbox items.
func OutboxPrefix(shard uint8) []byte { return []byte{'o', shard} }

// OutboxMember takes member and sequence out of an outbox key.
func OutboxMember(key []byte) (m MemberID, seq uint64) {
	if len(key) == 26 {
		copy(m[:], key[2:])
		seq = binary.BigEndian.Uint64(key[18:])
	}
	return
}

// ErasedPrefix is the prefix of a shard's erased slots; SlotOf reads the id.
func ErasedPrefix(shard uint8) []byte { return []byte{'e', shard} }

func SlotOf(key []byte) uint64 {
	if len(key) != 10 {
		return 0
	}
	return binary.BigEndian.Uint64(key[2:])
}

// RegistryKey is the key of a registry value.
func RegistryKey(shard uint8, kind [4]byte, hash [16]byte) []byte {
	k := append([]byte{'k', shard}, kind[:]...)
	return append(k, hash[:]...)
}

// RegistryPrefix is the prefix of a kind.
func RegistryPrefix(shard uint8, kind [4]byte) []byte {
	return append([]byte{'k', shard}, kind[:]...)
}

func idemKey(shard uint8, req [16]byte) []byte { return append([]byte{'i', shard}, req[:]...) }

// IdemKey is the key of a request's idempotency record in a shard.
func IdemKey(shard uint8, req [16]byte) []byte { return idemKey(shard, req) }

// IdemPrefix is the prefix of a shard's idempotency records.
func IdemPrefix(shard uint8) []byte { return []byte{'i', shard} }

// Idem is one remembered section of a request.
type Idem struct {
	Section  uint32
	Command  [16]byte
	Member   MemberID
	Sequence uint64
}

// FindIdem looks a section up in an idempotency record: 8 time ms of the
// newest part, then n × (4 section · 16 command · 16 member · 8 sequence).
func FindIdem(rec []byte, section uint32) (x Idem, ok bool) {
	for p := 8; p+44 <= len(rec); p += 44 {
		if binary.BigEndian.Uint32(rec[p:]) == section {
			x.Section = section
			copy(x.Command[:], rec[p+4:])
			copy(x.Member[:], rec[p+20:])
			x.Sequence = binary.BigEndian.Uint64(rec[p+36:])
			return x, true
		}
	}
	return x, false
}

// Load reads a member's head, chain and control state; head 0 and a nil
// control mean that there is no such store.
func Load(kv KVReader, shard uint8, id MemberID) (head uint64, chain [32]byte, ctl *Control, err error) {
	v, ok, err := kv.Get(ControlKey(shard, id))
	if err != nil || !ok {
		return 0, chain, nil, err
	}
	if ctl, err = DecodeControl(v); err != nil {
		return 0, chain, nil, err
	}
	head, chain, err = Head(kv, shard, id)
	return head, chain, ctl, err
}

// Err is the first storage error, after which Apply does nothing until Reset.
func (m *Machine) Err() error { return m.failed }

// Floor is the time, Unix milliseconds, that commands of a shard must not be
// before, as far as it is known in memory.
func (m *Machine) Floor(shard uint8) int64 { return m.shards[shard].floor.Load() }

// TakeErased hands over the slots that applied commands have condemned.
func (m *Machine) TakeErased() []uint64 {
	e := m.erase
	m.erase = nil
	return e
}

// Forget drops what is remembered of a member (passivation), unless a command
// of the present turn, which readers cannot see yet, has moved it.
func (m *Machine) Forget(shard uint8, id MemberID) {
	s := &m.shards[shard]
	s.mu.Lock()
	if l := s.members[id]; l != nil && l.turn < m.turn.Load() {
		delete(s.members, id)
		s.forgot++
	}
	s.mu.Unlock()
}

// Committed says that everything applied so far can be seen by readers.
func (m *Machine) Committed() { m.turn.Add(1) }

// Open reads a member's state for an activation and remembers it, so that the
// first command finds it: view reads the newest committed state. What is
// remembered already is as new or newer and is returned instead, once readers
// can see it too.
func (m *Machine) Open(shard uint8, id MemberID, view func(func(KVReader) error) error) (head uint64, chain [32]byte, ctl *Control, err error) {
	s := &m.shards[shard]
	for range 10_000 {
		s.mu.Lock()
		l, forgot := s.members[id], s.forgot
		now := m.turn.Load()
		visible := s.reset < now && (l == nil || l.turn == 0 || l.turn < now)
		if l != nil {
			head, chain, ctl = l.head, l.chain, l.ctl
		}
		s.mu.Unlock()
		if !visible {
			time.Sleep(50 * time.Microsecond) // its transaction is being written
			continue
		}
		if l != nil {
			return head, chain, ctl, nil
		}
		err = view(func(r KVReader) error {
			head, chain, ctl, err = Load(r, shard, id)
			return err
		})
		if err != nil {
			return 0, chain, nil, err
		}
		s.mu.Lock()
		l = s.members[id]
		switch {
		case l != nil:
			l = nil // came meanwhile: take it up as above
		case s.forgot == forgot:
			s.members[id] = &live{head: head, chain: chain, ctl: ctl}
			l = s.members[id]
		}
		s.mu.Unlock()
		if l != nil {
			return head, chain, ctl, nil
		}
		// Something was forgotten meanwhile: it may have been this member,
		// moved after the view began. Read again.
	}
	return 0, chain, nil, errBusyOpen
}

var errBusyOpen = errors.New("pds: the member's state did not come to rest")

// Reset forgets a whole shard, and an error that came of a write which the
// transaction refused: the host has dropped that command, and every replica
// has dropped it alike. After an error of the disk no Reset follows.
func (m *Machine) Reset(shard uint8) {
	s := &m.shards[shard]
	s.mu.Lock()
	clear(s.members)
	clear(s.verified)
	s.reset = m.turn.Load() // earlier commands of this turn are not in the state yet
	s.timeRead = false
	s.mu.Unlock()
	m.failed = nil
}

// Apply applies one command. The result is *Outcome or *RegistryOutcome, or
// an error after a storage failure; an undecodable command is refused.
func (m *Machine) Apply(kv KV, shard uint8, index, term uint64, data []byte) any {
	if m.failed != nil {
		return m.failed
	}
	if len(data) < 2 || data[0] != commandVersion || int(shard) >= len(m.shards) {
		return &RegistryOutcome{Code: CodeMalformed}
	}
	var res any
	var err error
	condemned := len(m.erase)
	if data[1] == cmdMember {
		res, err = m.applyMember(kv, shard, index, term, data[2:])
	} else {
		res, err = m.applyRegistry(kv, shard, index, data[1], data[2:])
	}
	if err != nil {
		m.failed = err
		m.erase = m.erase[:condemned]
		return err
	}
	return res
}

func (m *Machine) applyMember(kv KV, shard uint8, index, term uint64, b []byte) (*Outcome, error) {
	c := &m.once[shard]
	if !c.decode(b) {
		return &Outcome{Code: CodeMalformed}, nil
	}
	s := &m.shards[shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	mem := s.members[c.member]
	if mem == nil {
		head, chain, ctl, err := Load(kv, shard, c.member)
		if err != nil {
			return nil, err
		}
		mem = &live{head: head, chain: chain, ctl: ctl}
		s.members[c.member] = mem
	}
	if c.expected != mem.head || c.term != term {
		return &Outcome{Code: CodeNotNewest, Head: mem.head}, nil
	}
	if !s.timeRead {
		v, ok, err := kv.Get([]byte{'t', shard})
		if err != nil {
			return nil, err
		}
		s.time = 0
		if ok && len(v) == 8 {
			s.time = int64(binary.BigEndian.Uint64(v))
		}
		s.timeRead = true
		s.floor.Store(s.time)
	}
	if c.time < s.time {
		return &Outcome{Code: CodeNotNewest, Head: mem.head}, nil
	}

	// Decide everything before anything is written.
	ctl := mem.ctl
	var muts [maxOps]*Mutation
	for i := range c.ops {
		o := &c.ops[i]
		if o.flags&flagMutate != 0 {
			mu, err := DecodeMutation(o.Mutation)
			if err != nil {
				return &Outcome{Code: CodeMalformed}, nil
			}
			next, code := mu.apply(ctl, m.env, c.time,
				func(h [32]byte) bool { _, ok := s.verified[h]; return ok },
				func(h [32]byte) {
					if len(s.verified) >= 4096 {
						clear(s.verified)
					}
					s.verified[h] = struct{}{}
				})
			if code != CodeNone {
				return &Outcome{Code: code, Head: mem.head}, nil
			}
			ctl, muts[i] = next, mu
		}
		if ctl == nil {
			return &Outcome{Code: CodeNoConnection, Head: mem.head}, nil
		}
		if o.Active {
			l := ctl.Link(o.Link)
			switch {
			case l == nil:
				return &Outcome{Code: CodeNoConnection, Head: mem.head}, nil
			case l.State == LinkSuspended:
				return &Outcome{Code: CodeSuspended, Head: mem.head}, nil
			case l.State != LinkActive:
				return &Outcome{Code: CodeRevoked, Head: mem.head}, nil
			case l.Consent != o.Consent || l.Generation != o.Generation:
				return &Outcome{Code: CodeNotNewest, Head: mem.head}, nil
			case ended(l.NotAfter, c.time):
				return &Outcome{Code: CodeExpired, Head: mem.head}, nil
			}
		}
	}

	// A section that was stored before must not be stored again.
	for i := range c.ops {
		o := &c.ops[i]
		if o.flags&flagIdem == 0 {
			continue
		}
		v, ok, err := kv.Get(idemKey(shard, o.Request))
		if err != nil {
			return nil, err
		}
		if ok {
			if _, dup := FindIdem(v, o.Section); dup {
				return &Outcome{Code: CodeReplayed, Head: mem.head}, nil
			}
		}
		for k := range i {
			if p := &c.ops[k]; p.flags&flagIdem != 0 && p.Request == o.Request && p.Section == o.Section {
				return &Outcome{Code: CodeReplayed, Head: mem.head}, nil
			}
		}
	}

	// Write.
	mem.turn = m.turn.Load()
	if c.time >= s.time+1000 {
		s.time = c.time
		s.floor.Store(c.time)
		if err := kv.Set([]byte{'t', shard}, binary.BigEndian.AppendUint64(nil, uint64(c.time))); err != nil {
			return nil, err
		}
	}
	for i := range c.ops {
		o := &c.ops[i]
		mem.head++
		if err := m.writeOp(kv, shard, index, c, o, muts[i], mem); err != nil {
			return nil, err
		}
	}
	out := &Outcome{Head: mem.head, Chain: mem.chain, Control: ctl}
	if ctl != mem.ctl {
		mem.ctl = ctl
		out.Changed = true
		if err := kv.Set(ControlKey(shard, c.member), ctl.Encode()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (m *Machine) writeOp(kv KV, shard uint8, index uint64, c *command, o *decodedOp, mu *Mutation, mem *live) error {
	j := Journal{Index: index, Command: o.Command, Time: c.time, Link: o.Link, Consent: o.Consent, Result: o.Result,
		KeyKind: o.KeyKind, KeyNumber: o.KeyNumber, Commitment: o.Commitment, Entry: o.entry}
	for p := 0; p < len(o.digests); p += 32 {
		j.Digests = append(j.Digests, [32]byte(o.digests[p:]))
	}
	size := 190 + len(o.entry) + len(o.digests)
	if mu != nil && mu.Statement != nil {
		j.Statement, j.Signature = mu.Statement, mu.Signature
		size += len(mu.Statement) + len(mu.Signature)
	}
	rec := appendJournal(make([]byte, 0, size), &j)
	mem.chain = ChainNext(mem.chain, rec)
	rec = append(rec, mem.chain[:]...)
	if err := kv.Set(JournalKey(shard, c.member, mem.head), rec); err != nil {
		return err
	}
	for i, t := range o.tags {
		if err := kv.Set(DataKey(shard, c.member, t, mem.head), o.recs[i]); err != nil {
			return err
		}
	}
	if mu != nil {
		for i := range mu.Stored {
			k := append(memberKey(mu.Stored[i].Space, shard, c.member, 8), mu.Stored[i].Key...)
			if err := kv.Set(k, mu.Stored[i].Value); err != nil {
				return err
			}
		}
		for _, id := range mu.Erase {
			if err := m.condemn(kv, shard, id); err != nil {
				return err
			}
		}
	}
	if o.flags&flagOutbox != 0 {
		k := binary.BigEndian.AppendUint64(memberKey('o', shard, c.member, 8), mem.head)
		v := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(o.Outbox)), o.OutboxSlot)
		if err := kv.Set(k, append(v, o.Outbox...)); err != nil {
			return err
		}
	}
	if o.flags&flagIdem != 0 {
		k := idemKey(shard, o.Request)
		old, _, err := kv.Get(k)
		if err != nil {
			return err
		}
		v := make([]byte, 0, len(old)+52)
		v = binary.BigEndian.AppendUint64(v, uint64(c.time))
		if len(old) > 8 {
			v = append(v, old[8:]...)
		}
		v = binary.BigEndian.AppendUint32(v, o.Section)
		v = append(v, o.Command[:]...)
		v = append(v, c.member[:]...)
		v = binary.BigEndian.AppendUint64(v, mem.head)
		if err := kv.Set(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) condemn(kv KV, shard uint8, id uint64) error {
	m.erase = append(m.erase, id)
	return kv.Set(binary.BigEndian.AppendUint64([]byte{'e', shard}, id), []byte{1})
}
