package block

import "errors"

// ErrCorrupt is returned for any bytes that are not what they should be. It
// has no detail: the caller has nothing to branch on.
var ErrCorrupt = errors.New("block: corrupt")

// Limits of what is written and read.
const (
	MaxRows   = 1 << 20  // rows in a record
	MaxColumn = 64 << 20 // bytes of values in a column, decoded
	MaxUnits  = 64       // the system unit and 63 fields
	MaxUnit   = 16 << 20 // bytes of a sealed unit
)

// Kind says what a record holds. Numbers are never reused.
type Kind byte

// Record kinds.
const (
	Block     Kind = 1 // rows as written in one section
	Merged    Kind = 2 // rows of several blocks
	Segment   Kind = 3 // blocks of many members of one shard
	FilePart  Kind = 4
	Tombstone Kind = 5
	Update    Kind = 6 // changed columns
	Statement Kind = 7
	Wrap      Kind = 8
)

// SuiteAESGCM is the only suite: AES-256-GCM under HKDF-SHA256 unit keys.
const SuiteAESGCM = 1

// Header is the clear part of a stored record.
type Header struct {
	Suite, Env  byte
	Kind        Kind
	Units       uint8 // number of units that follow; the caller of AppendHeader knows it
	Comp, Epoch uint32
	First       uint64 // id of the first row
	Rows        uint32
	Last        uint64 // highest record id allotted in the dataset instance when written
	Nonce       [12]byte
}

// AppendHeader appends the header; h.Units calls of AppendUnit must follow.
func AppendHeader(dst []byte, h *Header) []byte { panic("block: not built yet") }

// Unit is one sealed unit of a record; Sealed aliases the record.
type Unit struct {
	Field  uint8 // 0 is the system unit
	Sealed []byte
}

// AppendUnit appends a unit's directory entry; the caller appends exactly
// sealedLen sealed bytes, so that a cipher may seal straight into dst.
func AppendUnit(dst []byte, field uint8, sealedLen int) []byte { panic("block: not built yet") }

// Parse reads a whole record into h and appends its units to units[:0].
func Parse(rec []byte, h *Header, units []Unit) ([]Unit, error) { panic("block: not built yet") }

// ParseHeader reads only the header.
func ParseHeader(rec []byte, h *Header) error { panic("block: not built yet") }

// System is the content of a record's system unit.
type System struct {
	Created, Updated int64
	Version          uint32
	Deleted          bool
	Origin           uint8
}

// AppendSystem appends s in a few bytes.
func AppendSystem(dst []byte, s *System) []byte { panic("block: not built yet") }

// DecodeSystem reads what AppendSystem wrote.
func DecodeSystem(b []byte, s *System) error { panic("block: not built yet") }
