package pds

import "errors"

// LinkState is the state of a member's link to a connection. Permission is
// the presence of an active link, never the absence of a denial.
type LinkState uint8

const (
	LinkActive    LinkState = 1
	LinkSuspended LinkState = 2
	LinkRevoked   LinkState = 3
)

func (s LinkState) String() string {
	switch s {
	case LinkActive:
		return "active"
	case LinkSuspended:
		return "suspended"
	case LinkRevoked:
		return "revoked"
	}
	return "unknown"
}

// SlotRef names an erasable slot and the hash of what it holds.
type SlotRef struct {
	ID   uint64
	Hash [32]byte
}

// Comp is a compartment: what one writer keeps of one dataset and instance.
// Its number is its place in Control.Comps and never changes.
type Comp struct {
	Tag    Tag
	Writer LinkID // zero: the member
	Epoch  uint32
}

// Link is the replicated, clear or sealed state of one connection. What may
// be read by whoever holds the disk is state, numbers and sizes.
type Link struct {
	ID         LinkID
	State      LinkState
	Consent    uint64 // number of the statement in force
	Version    uint32
	NotAfter   int64 // Unix seconds, 0: none
	Since      int64 // Unix milliseconds of the last consent change
	Commitment [32]byte
	Generation uint64
	KeyCommit  [32]byte // commitment of CK: tells a wrong Member Key
	Public     []byte   // HPKE public key derived from CK
	SlotC      SlotRef  // mixed into CK
	SlotG      SlotRef  // mixed into the generation's key
	WrapKind   uint8    // 1: X_g under CK, 2: HPKE to Public
	Wrap       []byte
	Write      []byte // sealed write part
	Read       []byte // sealed read part
	Owed       bool   // epochs of what it could read are still to be bumped
}

// Wrap kinds of Link.Wrap.
const (
	WrapCK   = 1
	WrapHPKE = 2
)

// Control is everything about a member except rows, statements and journal.
// It is immutable once published: a change makes a copy.
type Control struct {
	Store      [16]byte
	Created    int64 // Unix milliseconds
	SignKey    [32]byte
	KeyID      [8]byte
	Number     uint64 // of the last statement
	Previous   [32]byte
	KDF        uint8
	Salt       [16]byte
	Slot       SlotRef // mixed into KEK
	RootWrap   []byte  // MRK under KEK
	SignWrap   []byte  // outer wrap of the sign seed
	AuditKey   []byte  // HPKE public
	Keyring    []byte  // sealed under the daily root
	Comps      []Comp
	Links      []Link
	Fails      []int64  // failed unlocks of the last hour, Unix milliseconds
	EntryKeys  [][]byte // entry keys sealed to AuditKey
	KeyringGen uint64
}

// MaxFails is how many failed unlocks an hour allows.
const MaxFails = 10

// ErrCorrupt is returned for bytes that no encoder of this package made.
var ErrCorrupt = errors.New("pds: corrupt encoding")

const controlVersion = 1

// Link returns the link with this id, nil if there is none.
func (c *Control) Link(id LinkID) *Link {
	for i := range c.Links {
		if c.Links[i].ID == id {
			return &c.Links[i]
		}
	}
	return nil
}

// clone makes a copy whose slices may be appended to or have elements
// replaced without touching the original. Byte strings are shared.
func (c *Control) clone() *Control {
	n := *c
	n.Comps = append([]Comp(nil), c.Comps...)
	n.Links = append([]Link(nil), c.Links...)
	n.Fails = append([]int64(nil), c.Fails...)
	n.EntryKeys = append([][]byte(nil), c.EntryKeys...)
	return &n
}

func (e *enc) slot(s SlotRef) { e.u64(s.ID); e.raw(s.Hash[:]) }
func (d *dec) slot() (s SlotRef) {
	s.ID = d.u64()
	s.Hash = d.a32()
	return
}

func (e *enc) link(l *Link) {
	e.raw(l.ID[:])
	e.u8(uint8(l.State))
	e.uv(l.Consent)
	e.uv(uint64(l.Version))
	e.u64(uint64(l.NotAfter))
	e.u64(uint64(l.Since))
	e.raw(l.Commitment[:])
	e.uv(l.Generation)
	e.raw(l.KeyCommit[:])
	e.bytes(l.Public)
	e.slot(l.SlotC)
	e.slot(l.SlotG)
	e.u8(l.WrapKind)
	e.bytes(l.Wrap)
	e.bytes(l.Write)
	e.bytes(l.Read)
	if l.Owed {
		e.u8(1)
	} else {
		e.u8(0)
	}
}

func (d *dec) link() (l Link) {
	l.ID = d.a16()
	l.State = LinkState(d.u8())
	l.Consent = d.uv()
	l.Version = d.uv32()
	l.NotAfter = int64(d.u64())
	l.Since = int64(d.u64())
	l.Commitment = d.a32()
	l.Generation = d.uv()
	l.KeyCommit = d.a32()
	l.Public = d.bytes()
	l.SlotC = d.slot()
	l.SlotG = d.slot()
	l.WrapKind = d.u8()
	l.Wrap = d.bytes()
	l.Write = d.bytes()
	l.Read = d.bytes()
	switch d.u8() {
	case 0:
	case 1:
		l.Owed = true
	default:
		d.bad = true
	}
	if l.State < LinkActive || l.State > LinkRevoked {
		d.bad = true
	}
	return
}

// Encode gives the bytes of the control record:
//
//	1 version (1) · 16 store · 8 created ms · 32 sign key · 8 key id ·
//	uv number · 32 previous · 1 kdf · 16 salt · slot · root wrap · sign wrap ·
//	audit key · keyring · uv keyring generation ·
//	uv n × compartment (16 tag, 16 writer, uv epoch) ·
//	uv n × link · uv n × 8 fail ms · uv n × entry key
//
// slot is 8 id, 32 hash; wraps and keys are length-prefixed by a varint; a
// link is the fields of Link in order.
func (c *Control) Encode() []byte {
	e := enc{make([]byte, 0, 4096)}
	e.u8(controlVersion)
	e.raw(c.Store[:])
	e.u64(uint64(c.Created))
	e.raw(c.SignKey[:])
	e.raw(c.KeyID[:])
	e.uv(c.Number)
	e.raw(c.Previous[:])
	e.u8(c.KDF)
	e.raw(c.Salt[:])
	e.slot(c.Slot)
	e.bytes(c.RootWrap)
	e.bytes(c.SignWrap)
	e.bytes(c.AuditKey)
	e.bytes(c.Keyring)
	e.uv(c.KeyringGen)
	e.uv(uint64(len(c.Comps)))
	for i := range c.Comps {
		e.comp(&c.Comps[i])
	}
	e.uv(uint64(len(c.Links)))
	for i := range c.Links {
		e.link(&c.Links[i])
	}
	e.uv(uint64(len(c.Fails)))
	for _, f := range c.Fails {
		e.u64(uint64(f))
	}
	e.uv(uint64(len(c.EntryKeys)))
	for _, k := range c.EntryKeys {
		e.bytes(k)
	}
	return e.b
}

func (e *enc) comp(c *Comp) {
	e.raw(c.Tag[:])
	e.raw(c.Writer[:])
	e.uv(uint64(c.Epoch))
}

func (d *dec) comp() (c Comp) {
	c.Tag = d.a16()
	c.Writer = d.a16()
	c.Epoch = d.uv32()
	return
}

// DecodeControl reads what Encode wrote. It copies b once.
func DecodeControl(b []byte) (*Control, error) {
	d := dec{b: append([]byte(nil), b...)}
	if d.u8() != controlVersion {
		return nil, ErrCorrupt
	}
	c := &Control{}
	c.Store = d.a16()
	c.Created = int64(d.u64())
	c.SignKey = d.a32()
	copy(c.KeyID[:], d.take(8))
	c.Number = d.uv()
	c.Previous = d.a32()
	c.KDF = d.u8()
	c.Salt = d.a16()
	c.Slot = d.slot()
	c.RootWrap = d.bytes()
	c.SignWrap = d.bytes()
	c.AuditKey = d.bytes()
	c.Keyring = d.bytes()
	c.KeyringGen = d.uv()
	n := d.count(33)
	c.Comps = make([]Comp, n)
	for i := range c.Comps {
		c.Comps[i] = d.comp()
	}
	n = d.count(186)
	c.Links = make([]Link, n)
	for i := range c.Links {
		c.Links[i] = d.link()
	}
	n = d.count(8)
	c.Fails = make([]int64, n)
	for i := range c.Fails {
		c.Fails[i] = int64(d.u64())
	}
	n = d.count(1)
	c.EntryKeys = make([][]byte, n)
	for i := range c.EntryKeys {
		c.EntryKeys[i] = d.bytes()
	}
	if !d.done() {
		return nil, ErrCorrupt
	}
	return c, nil
}
