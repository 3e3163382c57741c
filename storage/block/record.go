package block

import (
	"encoding/binary"
	"errors"
)

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

// version is the first byte of every record.
//
//	1  first format
const version = 1

// SuiteAESGCM is the only suite: AES-256-GCM under HKDF-SHA256 unit keys.
// Suites are not negotiated; a reader refuses an unknown one.
const SuiteAESGCM = 1

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

// Header is the clear part of a stored record. Only what the associated data
// binds is authenticated: a reader that needs Last must bind it too.
type Header struct {
	Suite, Env  byte
	Kind        Kind
	Units       uint8 // units that follow
	Comp, Epoch uint32
	First       uint64 // id of the first row
	Rows        uint32
	Last        uint64 // highest record id allotted in the dataset instance when written
	Nonce       [12]byte
}

// Unit is one sealed unit of a record; Sealed aliases the record.
type Unit struct {
	Field  uint8 // 0 is the system unit
	Sealed []byte
}

// MaxHeader bounds what AppendHeader appends.
const MaxHeader = 5 + 12 + 5 + 5 + 10 + 5 + 10

// AppendHeader appends h. Exactly h.Units units must follow.
func AppendHeader(dst []byte, h *Header) []byte {
	dst = append(dst, version, h.Suite, h.Env, byte(h.Kind), h.Units)
	dst = append(dst, h.Nonce[:]...)
	dst = binary.AppendUvarint(dst, uint64(h.Comp))
	dst = binary.AppendUvarint(dst, uint64(h.Epoch))
	dst = binary.AppendUvarint(dst, h.First)
	dst = binary.AppendUvarint(dst, uint64(h.Rows))
	return binary.AppendVarint(dst, int64(h.Last-(h.First+uint64(h.Rows))+1))
}

// AppendUnit appends a unit's directory entry. The caller appends exactly
// sealedLen sealed bytes next, so that a cipher may seal straight into dst.
// A field occurs once in a record; their order is free.
func AppendUnit(dst []byte, field uint8, sealedLen int) []byte {
	return binary.AppendUvarint(append(dst, field), uint64(sealedLen))
}

// ParseHeader reads only the header; what follows it is not looked at.
func ParseHeader(rec []byte, h *Header) error {
	_, err := parseHeader(rec, h)
	return err
}

func parseHeader(rec []byte, h *Header) ([]byte, error) {
	if len(rec) < 22 || rec[0] != version || rec[1] != SuiteAESGCM ||
		rec[2] < 1 || rec[2] > 2 || rec[3] < byte(Block) || rec[3] > byte(Wrap) || rec[4] > MaxUnits {
		return nil, ErrCorrupt
	}
	h.Suite, h.Env, h.Kind, h.Units = rec[1], rec[2], Kind(rec[3]), rec[4]
	copy(h.Nonce[:], rec[5:])
	r := reader{b: rec[17:]}
	comp, epoch := r.uvarint(), r.uvarint()
	h.First = r.uvarint()
	rows := r.uvarint()
	last := r.uvarint()
	if r.bad || comp > 1<<32-1 || epoch > 1<<32-1 || rows > MaxRows {
		return nil, ErrCorrupt
	}
	h.Comp, h.Epoch, h.Rows = uint32(comp), uint32(epoch), uint32(rows)
	h.Last = h.First + rows - 1 + uint64(unzigzag(last))
	return r.b, nil
}

// Parse reads a whole record into h and returns its units in units[:0]. It
// refuses unknown versions and suites, a wrong number of units, fields that
// occur twice and trailing bytes.
func Parse(rec []byte, h *Header, units []Unit) ([]Unit, error) {
	units = units[:0]
	rest, err := parseHeader(rec, h)
	if err != nil {
		return units, err
	}
	r := reader{b: rest}
	seen := uint64(0)
	for range h.Units {
		f := r.byte()
		sealed := r.bytes(r.uvarint())
		if r.bad || len(sealed) > MaxUnit || f >= MaxUnits || seen>>f&1 != 0 {
			return units[:0], ErrCorrupt
		}
		seen |= 1 << f
		units = append(units, Unit{f, sealed})
	}
	if len(r.b) != 0 {
		return units[:0], ErrCorrupt
	}
	return units, nil
}

// reader takes a prefix of b; after the first failure bad stays set and every
// result is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// uvarint refuses encodings that are longer than needed, so that equal
// headers have equal bytes.
func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		c := r.b[0]
		r.b = r.b[1:]
		return uint64(c)
	}
	x, n := binary.Uvarint(r.b)
	if n <= 0 || r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func zigzag(x int64) uint64   { return uint64(x)<<1 ^ uint64(x>>63) }
func unzigzag(x uint64) int64 { return int64(x>>1) ^ -int64(x&1) }
