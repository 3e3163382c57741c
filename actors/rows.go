package actors

import (
	"holdfast/actors/pds"
	"holdfast/storage"
	"holdfast/storage/block"
	"holdfast/storage/seal"
)

// tagState is what an active member knows of one dataset instance.
type tagState struct {
	next    uint64 // next record id
	indexed bool   // blocks and overlays are complete
	blocks  []blockRef
	over    map[uint64][]overlayRef // by record id, ascending sequence
	nover   int
}

type blockRef struct {
	seq   uint64
	first uint64
	rows  uint32
}

type overlayRef struct {
	seq  uint64
	kind block.Kind
}

// tag returns the state of a dataset instance; next comes from the newest
// record, whose header says which id was allotted last.
func (m *member) tag(t pds.Tag) (*tagState, *pds.Error) {
	if s := m.tags[t]; s != nil {
		return s, nil
	}
	s := &tagState{next: 1}
	err := m.d.view(func(r storage.Reader) error {
		// A backward search for what does not exist ends at the journal, whose
		// keys stand just before.
		return r.Scan(pds.DataKey(uint8(m.h.shard), m.h.id, t, 0), nil, true, func(_, v []byte) (bool, error) {
			var h block.Header
			if err := block.ParseHeader(v, &h); err != nil {
				return false, err
			}
			s.next = h.Last + 1
			return false, nil
		})
	})
	if err != nil {
		return nil, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	if m.tags == nil {
		m.tags = map[pds.Tag]*tagState{}
	}
	m.tags[t] = s
	return s, nil
}

// blockAAD is the associated data of every unit of a record, up to the unit:
// format, suite, environment, store, tag, writer, compartment, epoch, kind,
// first id, rows, last id and number of units, length-prefixed. Not shard, node or sequence:
// the store moves with its member.
func blockAAD(dst []byte, env seal.Env, store [16]byte, tag pds.Tag, writer pds.LinkID, h *block.Header) []byte {
	var n [32]byte
	n[0], n[1], n[2] = 1, h.Suite, byte(h.Kind)
	putBE64(n[3:], h.First)
	putBE64(n[11:], h.Last)
	copy(n[19:], be32(h.Rows))
	copy(n[23:], be32(h.Comp))
	copy(n[27:], be32(h.Epoch))
	n[31] = h.Units
	return seal.AppendInfo(dst, env, "block", n[:], store[:], tag[:], writer[:])
}

// unitAAD completes blockAAD with the unit, length-prefixed as the parts
// before it.
func unitAAD(base []byte, unit uint8) []byte { return append(base, 0, 0, 0, 1, unit) }

// sealRows appends a data record: header, system unit, then one unit a field
// in ascending order of field number. cipher gives a unit's key.
func (m *member) sealRows(dst []byte, h *block.Header, tag pds.Tag, writer pds.LinkID, sys *block.System, fields []uint8, vals [][]byte, n int, cipher func(uint8) *seal.Cipher) []byte {
	sc := m.scratch
	h.Nonce = seal.Nonce()
	h.Units = uint8(1 + len(fields))
	dst = block.AppendHeader(dst, h)
	base := blockAAD(sc.aad[:0], m.d.env, m.ctl.Store, tag, writer, h)
	sc.column = block.AppendSystem(sc.column[:0], sys)
	dst = block.AppendUnit(dst, pds.UnitSystem, len(sc.column)+16)
	dst = cipher(pds.UnitSystem).Seal(dst, &h.Nonce, sc.column, unitAAD(base, pds.UnitSystem))
	stride := len(fields)
	last := -1
	for range fields {
		// Fields come in the order in which rows named them; units ascend.
		at := -1
		for i, f := range fields {
			if int(f) > last && (at < 0 || f < fields[at]) {
				at = i
			}
		}
		f := fields[at]
		last = int(f)
		sc.column = block.AppendColumn(sc.column[:0], vals, at, stride, n, nil)
		dst = block.AppendUnit(dst, f, len(sc.column)+16)
		dst = cipher(f).Seal(dst, &h.Nonce, sc.column, unitAAD(base, f))
	}
	sc.aad = base[:0]
	return dst
}
