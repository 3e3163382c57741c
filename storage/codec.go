package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Groups is the number of consensus groups of a node: 64 data shards and one
// meta group. It is part of the formats and never changes.
const Groups = 65

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is CRC32C. It finds accidents, not attackers; what must resist an
// attacker is sealed by the layers above.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Entry is one entry of a group's log.
type Entry struct {
	Index, Term uint64
	Kind        byte // the consensus library's entry type
	Data        []byte
}

// Position is the place of an entry in a group's log.
type Position struct {
	Index, Term uint64
}

// HardState is what a group must not forget between votes.
type HardState struct {
	Term, Vote, Commit uint64
}

// link is a position together with the checksum of the entry there, which the
// next entry names as its predecessor.
type link struct {
	Position
	sum uint32
}

const (
	entryVersion  = 1
	entryOverhead = 1 + 1 + 8 + 4 + 4
	linkVersion   = 1
	linkSize      = 1 + 8 + 8 + 4 + 4
	hardVersion   = 1
	hardSize      = 1 + 8 + 8 + 8 + 4
	seqSize       = 8 + 4
	entryKeySize  = 1 + 1 + 8
)

func entryKey(dst []byte, group int, index uint64) []byte {
	dst = append(dst, 'e', byte(group))
	return binary.BigEndian.AppendUint64(dst, index)
}

// putEntry writes the value of e under key into dst, which has exactly
// entryOverhead+len(e.Data) bytes, and returns the entry's checksum. The key
// is part of the checksum, so an entry cannot be served from another place.
func putEntry(dst, key []byte, e *Entry, prev uint32) uint32 {
	dst[0] = entryVersion
	dst[1] = e.Kind
	binary.BigEndian.PutUint64(dst[2:], e.Term)
	binary.BigEndian.PutUint32(dst[10:], prev)
	n := 14 + copy(dst[14:], e.Data)
	sum := crc32.Update(checksum(key), castagnoli, dst[:n])
	binary.BigEndian.PutUint32(dst[n:], sum)
	return sum
}

// parseEntry reads an entry's value. Data aliases val.
func parseEntry(key, val []byte) (e Entry, prev, sum uint32, err error) {
	if len(key) != entryKeySize || key[0] != 'e' || len(val) < entryOverhead {
		return e, 0, 0, fmt.Errorf("entry of %d bytes: %w", len(val), ErrDamaged)
	}
	n := len(val) - 4
	sum = binary.BigEndian.Uint32(val[n:])
	if sum != crc32.Update(checksum(key), castagnoli, val[:n]) {
		return e, 0, 0, fmt.Errorf("entry checksum: %w", ErrDamaged)
	}
	if val[0] != entryVersion {
		return e, 0, 0, fmt.Errorf("entry version %d: %w", val[0], ErrVersion)
	}
	e.Index = binary.BigEndian.Uint64(key[2:])
	e.Kind = val[1]
	e.Term = binary.BigEndian.Uint64(val[2:])
	prev = binary.BigEndian.Uint32(val[10:])
	if n > 14 {
		e.Data = val[14:n:n]
	}
	return e, prev, sum, nil
}

func appendLink(dst []byte, l link) []byte {
	at := len(dst)
	dst = append(dst, linkVersion)
	dst = binary.BigEndian.AppendUint64(dst, l.Index)
	dst = binary.BigEndian.AppendUint64(dst, l.Term)
	dst = binary.BigEndian.AppendUint32(dst, l.sum)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:]))
}

func parseLink(b []byte) (l link, err error) {
	if err := checkRecord(b, linkSize, linkVersion); err != nil {
		return l, fmt.Errorf("truncation record: %w", err)
	}
	l.Index = binary.BigEndian.Uint64(b[1:])
	l.Term = binary.BigEndian.Uint64(b[9:])
	l.sum = binary.BigEndian.Uint32(b[17:])
	return l, nil
}

func appendHard(dst []byte, h HardState) []byte {
	at := len(dst)
	dst = append(dst, hardVersion)
	dst = binary.BigEndian.AppendUint64(dst, h.Term)
	dst = binary.BigEndian.AppendUint64(dst, h.Vote)
	dst = binary.BigEndian.AppendUint64(dst, h.Commit)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:]))
}

func parseHard(b []byte) (h HardState, err error) {
	if err := checkRecord(b, hardSize, hardVersion); err != nil {
		return h, fmt.Errorf("hard state: %w", err)
	}
	h.Term = binary.BigEndian.Uint64(b[1:])
	h.Vote = binary.BigEndian.Uint64(b[9:])
	h.Commit = binary.BigEndian.Uint64(b[17:])
	return h, nil
}

func appendSeq(dst []byte, seq uint64) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, seq)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:]))
}

func parseSeq(b []byte) (uint64, error) {
	if len(b) != seqSize || binary.BigEndian.Uint32(b[8:]) != checksum(b[:8]) {
		return 0, fmt.Errorf("turn number: %w", ErrDamaged)
	}
	return binary.BigEndian.Uint64(b), nil
}

// checkRecord checks a record of fixed size that begins with a version byte and
// ends with its checksum.
func checkRecord(b []byte, size int, version byte) error {
	if len(b) != size {
		return fmt.Errorf("%d bytes instead of %d: %w", len(b), size, ErrDamaged)
	}
	if binary.BigEndian.Uint32(b[size-4:]) != checksum(b[:size-4]) {
		return fmt.Errorf("checksum: %w", ErrDamaged)
	}
	if b[0] != version {
		return fmt.Errorf("version %d: %w", b[0], ErrVersion)
	}
	return nil
}
