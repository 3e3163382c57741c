package block

import "encoding/binary"

// System is the content of a record's system unit. It holds for every row of
// the record. Times are in whatever unit the caller keeps them.
type System struct {
	Created, Updated int64
	Version          uint32
	Deleted          bool
	Origin           uint8
}

const (
	sysDeleted = 1 << iota
	sysUpdated // a difference Updated - Created follows
	sysVersion // a version other than 1 follows
	sysOrigin  // an origin byte follows; else bits 4 to 7 are the origin
	sysShift   = 4
)

// AppendSystem appends s: a byte and the creation time for a new record.
func AppendSystem(dst []byte, s *System) []byte {
	var f byte
	if s.Deleted {
		f |= sysDeleted
	}
	if s.Updated != s.Created {
		f |= sysUpdated
	}
	if s.Version != 1 {
		f |= sysVersion
	}
	if s.Origin > 15 {
		f |= sysOrigin
	} else {
		f |= s.Origin << sysShift
	}
	dst = binary.AppendVarint(append(dst, f), s.Created)
	if f&sysUpdated != 0 {
		dst = binary.AppendVarint(dst, s.Updated-s.Created)
	}
	if f&sysVersion != 0 {
		dst = binary.AppendUvarint(dst, uint64(s.Version))
	}
	if f&sysOrigin != 0 {
		dst = append(dst, s.Origin)
	}
	return dst
}

// DecodeSystem reads what AppendSystem wrote and nothing else.
func DecodeSystem(b []byte, s *System) error {
	r := reader{b: b}
	f := r.byte()
	*s = System{Created: unzigzag(r.uvarint()), Version: 1, Deleted: f&sysDeleted != 0, Origin: f >> sysShift}
	s.Updated = s.Created
	if f&sysUpdated != 0 {
		d := r.uvarint()
		r.bad = r.bad || d == 0
		s.Updated = s.Created + unzigzag(d)
	}
	if f&sysVersion != 0 {
		v := r.uvarint()
		r.bad = r.bad || v == 1 || v > 1<<32-1
		s.Version = uint32(v)
	}
	if f&sysOrigin != 0 {
		r.bad = r.bad || s.Origin != 0
		s.Origin = r.byte()
		r.bad = r.bad || s.Origin <= 15
	}
	if r.bad || len(r.b) != 0 {
		*s = System{}
		return ErrCorrupt
	}
	return nil
}
