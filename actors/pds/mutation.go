package pds

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"holdfast/storage/seal"
)

// Mutation is a change of a member's control state. It travels encoded in an
// operation and every replica checks it against the state before it applies.
type Mutation struct {
	Register  *Control // a new store; needs a Register statement
	Link      *Link    // added or replaced; see check
	Keyring   []byte   // replaces the sealed keyring
	Comps     []Comp   // replaces the list: may grow, and epochs may grow
	Fail      int64    // a failed unlock, Unix milliseconds
	FailsOver bool     // a right unlock: forget the failed ones
	EntryKey  []byte   // appended
	Erase     []uint64 // slots
	Statement []byte
	Signature []byte
	Stored    []Stored
}

// Stored is a value kept beside the control record.
type Stored struct {
	Space byte   // 's': sealed consent documents, by number; 'w': epoch links
	Key   []byte // 8-byte number for 's', 4-byte compartment ‖ 4-byte epoch for 'w'
	Value []byte
}

const (
	mutRegister  = 1
	mutLink      = 2
	mutKeyring   = 3
	mutComps     = 4
	mutFail      = 5
	mutFailsOver = 6
	mutEntryKey  = 7
	mutErase     = 8
	mutStatement = 9
	mutStored    = 10
)

// Encode gives the parts that are set, each as 1 number · content, in
// ascending order of number; repeated parts are repeated.
func (m *Mutation) Encode() []byte {
	e := enc{make([]byte, 0, 1024)}
	if m.Register != nil {
		e.u8(mutRegister)
		e.bytes(m.Register.Encode())
	}
	if m.Link != nil {
		e.u8(mutLink)
		e.link(m.Link)
	}
	if m.Keyring != nil {
		e.u8(mutKeyring)
		e.bytes(m.Keyring)
	}
	if m.Comps != nil {
		e.u8(mutComps)
		e.uv(uint64(len(m.Comps)))
		for i := range m.Comps {
			e.comp(&m.Comps[i])
		}
	}
	if m.Fail != 0 {
		e.u8(mutFail)
		e.u64(uint64(m.Fail))
	}
	if m.FailsOver {
		e.u8(mutFailsOver)
	}
	if m.EntryKey != nil {
		e.u8(mutEntryKey)
		e.bytes(m.EntryKey)
	}
	if len(m.Erase) > 0 {
		e.u8(mutErase)
		e.uv(uint64(len(m.Erase)))
		for _, s := range m.Erase {
			e.u64(s)
		}
	}
	if m.Statement != nil {
		e.u8(mutStatement)
		e.bytes(m.Statement)
		e.bytes(m.Signature)
	}
	for i := range m.Stored {
		e.u8(mutStored)
		e.u8(m.Stored[i].Space)
		e.bytes(m.Stored[i].Key)
		e.bytes(m.Stored[i].Value)
	}
	return e.b
}

// DecodeMutation reads what Encode wrote.
func DecodeMutation(b []byte) (*Mutation, error) {
	if len(b) > maxMutation {
		return nil, ErrCorrupt
	}
	d := dec{b: b}
	m := &Mutation{}
	last := uint8(0)
	for !d.bad && len(d.b) > 0 {
		k := d.u8()
		if k < last || k == last && k != mutStored {
			return nil, ErrCorrupt
		}
		last = k
		switch k {
		case mutRegister:
			c, err := DecodeControl(d.bytes())
			if err != nil {
				return nil, err
			}
			m.Register = c
		case mutLink:
			l := d.link()
			m.Link = &l
		case mutKeyring:
			m.Keyring = d.bytes()
		case mutComps:
			n := d.count(33)
			m.Comps = make([]Comp, n)
			for i := range m.Comps {
				m.Comps[i] = d.comp()
			}
		case mutFail:
			if m.Fail = int64(d.u64()); m.Fail == 0 {
				return nil, ErrCorrupt
			}
		case mutFailsOver:
			m.FailsOver = true
		case mutEntryKey:
			m.EntryKey = d.bytes()
		case mutErase:
			n := d.count(8)
			if n == 0 {
				return nil, ErrCorrupt
			}
			for range n {
				m.Erase = append(m.Erase, d.u64())
			}
		case mutStatement:
			m.Statement = d.bytes()
			m.Signature = d.bytes()
		case mutStored:
			s := Stored{Space: d.u8(), Key: d.bytes(), Value: d.bytes()}
			switch {
			case s.Space == 's' && len(s.Key) == 8, s.Space == 'w' && len(s.Key) == 8:
			default:
				return nil, ErrCorrupt
			}
			m.Stored = append(m.Stored, s)
		default:
			return nil, ErrCorrupt
		}
	}
	if !d.done() {
		return nil, ErrCorrupt
	}
	return m, nil
}

// apply checks the mutation against c (nil: no store yet) and returns the new
// state. It is the rule book of who may change what:
//
//   - a store is made once, by a Register statement signed with its own key;
//   - a link gets new consent (number, version, end, commitment) or becomes
//     active only by the member's statement on that very link, whose number
//     is the next, which fits the previous hash and verifies under the
//     member's present key;
//   - a link is revoked only by a Revoke statement, in a mutation that condemns
//     the slots of the link's keys; a revoked link comes back only by a new
//     Approve;
//   - suspending needs no statement; suspending and lifting change nothing else;
//   - keys of a link (generation, wraps, parts) may be reissued under the same
//     consent, with a higher generation or a new wrap of the same one; the
//     Member Key that opens them stays;
//   - after MaxFails failed unlocks within an hour neither a further failure
//     nor a success is accepted until the oldest is an hour old.
func (m *Mutation) apply(c *Control, env seal.Env, timeMS int64, verified func([32]byte) bool, remember func([32]byte)) (*Control, Code) {
	var st *seal.Statement
	if m.Statement != nil {
		s, err := seal.DecodeStatement(m.Statement)
		if err != nil || s.Env != env {
			return nil, CodeBadStatement
		}
		st = s
	}
	if m.Register != nil {
		n := m.Register
		if c != nil {
			return nil, CodeAlreadyExists
		}
		if st == nil || st.Kind != seal.Register || st.Store != n.Store || st.Number != 1 || st.Previous != [32]byte{} || st.KeyID != n.KeyID {
			return nil, CodeBadStatement
		}
		if h := sha256.Sum256(n.SignKey[:]); !bytes.Equal(h[:8], n.KeyID[:]) {
			return nil, CodeBadStatement
		}
		if st.Verify(n.SignKey, m.Signature) != nil {
			return nil, CodeBadSignature
		}
		if len(n.Links) != 0 {
			return nil, CodeBadStatement
		}
		n = n.clone()
		n.Number, n.Previous, n.Created = 1, st.Hash(), timeMS
		return n, CodeNone
	}
	if c == nil {
		return nil, CodeNoConnection
	}
	n := c.clone()
	if st != nil {
		if st.Store != c.Store || st.Number != c.Number+1 || st.Previous != c.Previous || st.KeyID != c.KeyID {
			return nil, CodeBadStatement
		}
		if st.NotAfter > maxNotAfter {
			return nil, CodeBadStatement
		}
		if ended(st.NotAfter, timeMS) {
			return nil, CodeExpired
		}
		h := sha256.Sum256(append(append(append([]byte{}, c.SignKey[:]...), m.Statement...), m.Signature...))
		if !verified(h) {
			if st.Verify(c.SignKey, m.Signature) != nil {
				return nil, CodeBadSignature
			}
			remember(h)
		}
		n.Number, n.Previous = st.Number, st.Hash()
	}
	if m.Link != nil {
		l := m.Link.own()
		old := c.Link(l.ID)
		if code := checkLink(old, &l, st); code != CodeNone {
			return nil, code
		}
		if st != nil && st.Kind == seal.Revoke && !(slices.Contains(m.Erase, old.SlotC.ID) && slices.Contains(m.Erase, old.SlotG.ID)) {
			return nil, CodeMalformed
		}
		if st != nil || old != nil && old.State != l.State {
			l.Since = timeMS
		} else if old != nil {
			l.Since = old.Since
		}
		if old == nil {
			n.Links = append(n.Links, l)
		} else {
			*n.Link(l.ID) = l
		}
	} else if st != nil {
		return nil, CodeBadStatement // no kind but Register acts on no link yet
	}
	if m.Keyring != nil {
		n.Keyring = bytes.Clone(m.Keyring)
		n.KeyringGen++
	}
	if m.Comps != nil {
		if len(m.Comps) < len(c.Comps) {
			return nil, CodeMalformed
		}
		for i := range c.Comps {
			o, x := &c.Comps[i], &m.Comps[i]
			if o.Tag != x.Tag || o.Writer != x.Writer || x.Epoch < o.Epoch {
				return nil, CodeMalformed
			}
		}
		n.Comps = m.Comps
	}
	if m.Fail != 0 || m.FailsOver {
		keep := n.Fails[:0]
		for _, f := range n.Fails {
			if f > timeMS-3600_000 {
				keep = append(keep, f)
			}
		}
		if len(keep) >= MaxFails {
			return nil, CodeTooManyTries
		}
		n.Fails = keep
	}
	if m.Fail != 0 {
		n.Fails = append(n.Fails, timeMS)
	}
	if m.FailsOver {
		n.Fails = nil
	}
	if m.EntryKey != nil {
		n.EntryKeys = append(n.EntryKeys, bytes.Clone(m.EntryKey))
	}
	return n, CodeNone
}

// maxNotAfter bounds the end of an agreement, Unix seconds: some 35 million
// years from now, and in milliseconds still an int64.
const maxNotAfter = 1 << 50

// ended reports whether an agreement's end, Unix seconds, has passed; 0 has
// none, nor has one that no clock reaches.
func ended(notAfter, timeMS int64) bool {
	return notAfter != 0 && notAfter <= maxNotAfter && notAfter*1000 < timeMS
}

// checkLink decides whether old may become l under statement st.
func checkLink(old, l *Link, st *seal.Statement) Code {
	if st != nil && LinkID(st.Conn) != l.ID {
		return CodeBadStatement
	}
	sameConsent := old != nil && old.Consent == l.Consent && old.Version == l.Version && old.NotAfter == l.NotAfter && old.Commitment == l.Commitment
	if st == nil {
		switch {
		case old == nil || !sameConsent:
			return CodeBadStatement
		case old.State == l.State:
			if old.State == LinkRevoked && (l.Generation != old.Generation || len(l.Write)+len(l.Read)+len(l.Wrap) > 0) {
				return CodeRevoked
			}
			if l.KeyCommit != old.KeyCommit || l.SlotC != old.SlotC || !bytes.Equal(l.Public, old.Public) {
				return CodeBadStatement
			}
			if l.Generation < old.Generation || l.Generation == old.Generation &&
				(l.SlotG != old.SlotG || !bytes.Equal(l.Write, old.Write) || !bytes.Equal(l.Read, old.Read)) {
				return CodeMalformed
			}
			return CodeNone
		case old.State == LinkActive && l.State == LinkSuspended && sameButState(old, l):
			return CodeNone
		}
		return CodeBadStatement
	}
	signed := l.Consent == st.Number && l.Version == st.Version && l.NotAfter == st.NotAfter && l.Commitment == st.Commitment
	switch st.Kind {
	case seal.Approve:
		if (old == nil || old.State == LinkRevoked && l.Generation > old.Generation) && l.State == LinkActive && signed {
			return CodeNone
		}
	case seal.Change:
		if old != nil && old.State != LinkRevoked && l.State == old.State && signed && l.Generation > old.Generation {
			return CodeNone
		}
	case seal.Lift:
		if old != nil && old.State == LinkSuspended && l.State == LinkActive && sameButState(old, l) {
			return CodeNone
		}
	case seal.Revoke:
		if old != nil && old.State != LinkRevoked && l.State == LinkRevoked && len(l.Write) == 0 && len(l.Read) == 0 && len(l.Wrap) == 0 {
			return CodeNone
		}
	}
	return CodeBadStatement
}

// own copies a link's byte strings: a decoded mutation aliases its command,
// which must not be kept beyond the transaction.
func (l *Link) own() Link {
	n := *l
	n.Public, n.Wrap = bytes.Clone(l.Public), bytes.Clone(l.Wrap)
	n.Write, n.Read = bytes.Clone(l.Write), bytes.Clone(l.Read)
	return n
}

// sameButState reports whether two links differ in state and time at most.
func sameButState(a, b *Link) bool {
	x := *a
	x.State, x.Since = b.State, b.Since
	var ea, eb enc
	ea.link(&x)
	eb.link(b)
	return bytes.Equal(ea.b, eb.b)
}
