package actors

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"sort"
	"strconv"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage"
	"holdfast/storage/block"
	"holdfast/storage/seal"
)

// defaultChunk is how much one audit entry releases at most, bytes (design,
// section 4).
const defaultChunk = 4 << 20

// view1 is one dataset instance as a reader may open it.
type view1 struct {
	tag      pds.Tag
	instance uint32
	comps    []viewComp
}

// viewComp is a compartment a reader holds unit keys of.
type viewComp struct {
	comp   uint32
	epoch  uint32
	writer pds.LinkID
	source string
	keys   []pds.UnitKey
}

type epochField struct {
	comp, epoch uint32
	field       uint8
	reader      pds.NID // whose keys opened it; 0: the member's
}

// gather reads one chunk of a dataset instance, merged per field: of several
// writers the highest sequence wins. It returns the next cursor or nil.
type gather struct {
	m       *member
	v       *view1
	reader  pds.NID
	ds      *schema.Dataset
	fields  []*schema.Field
	filters []pds.Filter
	deleted bool
	max     int
	from    uint64 // first record id
	upto    uint64 // highest sequence to look at

	rows  []pds.Row
	bytes int
	arena []byte
	cols  []block.Column
	hdr   block.Header
	units []block.Unit
	buf   []byte
	aad   []byte
}

// index makes the list of a tag's records complete.
func (m *member) index(t pds.Tag) (*tagState, error) {
	s, e := m.tag(t)
	if e != nil {
		return nil, e
	}
	if s.indexed {
		return s, nil
	}
	s.blocks, s.over, s.nover = nil, nil, 0
	err := m.d.view(func(r storage.Reader) error {
		return r.Scan(pds.DataKey(uint8(m.h.shard), m.h.id, t, 0), nil, false, func(k, v []byte) (bool, error) {
			var h block.Header
			if err := block.ParseHeader(v, &h); err != nil {
				return false, err
			}
			seq := binary.BigEndian.Uint64(k[len(k)-8:])
			s.note(seq, &h)
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	s.indexed = true
	return s, nil
}

func (s *tagState) note(seq uint64, h *block.Header) {
	if h.Kind == block.Block {
		s.blocks = append(s.blocks, blockRef{seq, h.First, h.Rows})
		return
	}
	if s.over == nil {
		s.over = map[uint64][]overlayRef{}
	}
	s.over[h.First] = append(s.over[h.First], overlayRef{seq, h.Kind})
	s.nover++
}

// run fills rows until max bytes; next is the id to go on from, 0 at the end.
func (g *gather) run() (next uint64, err error) {
	t, err := g.m.index(g.v.tag)
	if err != nil {
		return 0, err
	}
	lo, hi := g.idRange()
	if lo > g.from {
		g.from = lo
	}
	i := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].first+uint64(t.blocks[i].rows) > g.from })
	err = g.m.d.view(func(r storage.Reader) error {
		for ; i < len(t.blocks); i++ {
			b := t.blocks[i]
			if b.seq > g.upto || b.first > hi {
				return nil
			}
			stop, err := g.block(r, t, b, hi)
			if err != nil {
				return err
			}
			if stop != 0 {
				next = stop
				return nil
			}
		}
		return nil
	})
	return next, err
}

// idRange is what the filters on id leave.
func (g *gather) idRange() (lo, hi uint64) {
	lo, hi = 1, ^uint64(0)
	for i := range g.filters {
		f := &g.filters[i]
		if f.Field != 0 || f.Name != "id" {
			continue
		}
		n, err := strconv.ParseUint(string(f.Value), 10, 64)
		if err != nil {
			continue // compared row by row
		}
		switch f.Op {
		case pds.Eq:
			lo, hi = max(lo, n), min(hi, n)
		case pds.Ge:
			lo = max(lo, n)
		case pds.Gt:
			if n < ^uint64(0) {
				lo = max(lo, n+1)
			} else {
				hi = 0
			}
		case pds.Le:
			hi = min(hi, n)
		case pds.Lt:
			if n == 0 {
				hi = 0
			} else {
				hi = min(hi, n-1)
			}
		}
	}
	return lo, hi
}

// block adds the rows of one block; stop is the id where the chunk is full.
func (g *gather) block(r storage.Reader, t *tagState, b blockRef, hi uint64) (stop uint64, err error) {
	rec, ok, err := r.Get(pds.DataKey(uint8(g.m.h.shard), g.m.h.id, g.v.tag, b.seq))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, storage.ErrDamaged
	}
	g.units, err = block.Parse(rec, &g.hdr, g.units[:0])
	if err != nil {
		return 0, err
	}
	c := g.comp(g.hdr.Comp)
	if c == nil {
		return 0, nil // a compartment that this reader holds no key of
	}
	n := int(g.hdr.Rows)
	var sys block.System
	if err := g.system(r, c, &sys); err != nil {
		return 0, err
	}
	if len(g.cols) < len(g.fields) {
		g.cols = make([]block.Column, len(g.fields))
	}
	have := make([]bool, len(g.fields))
	for i, f := range g.fields {
		for k := range g.units {
			if g.units[k].Field != f.Number {
				continue
			}
			plain, err := g.openUnit(r, c, &g.units[k])
			if err != nil {
				return 0, err
			}
			if plain == nil {
				break // no key: not granted in that compartment
			}
			if err := g.cols[i].Decode(plain, n); err != nil {
				return 0, err
			}
			have[i] = true
		}
	}
	nf := len(g.fields)
	from := 0
	if g.from > b.first {
		from = int(g.from - b.first)
	}
	backing := make([][]byte, (n-from)*nf)
	for k := from; k < n; k++ {
		id := b.first + uint64(k)
		if id > hi {
			return 0, nil
		}
		if g.bytes >= g.max {
			return id, nil
		}
		row := pds.Row{ID: id, Instance: g.v.instance, Source: c.source, Origin: pds.Origin(sys.Origin),
			Created: sys.Created, Updated: sys.Updated, Version: 1, Vals: backing[:nf:nf]}
		backing = backing[nf:]
		size := 96
		for i := range g.fields {
			if !have[i] {
				continue
			}
			if v, ok := g.cols[i].Value(k); ok {
				row.Vals[i] = g.keep(v)
				size += len(v) + 8
			}
		}
		if t.nover > 0 {
			if over := t.over[id]; len(over) > 0 {
				if err := g.overlay(r, over, &row); err != nil {
					return 0, err
				}
			}
		}
		if row.Deleted && !g.deleted || !g.match(&row) {
			continue
		}
		g.rows = append(g.rows, row)
		g.bytes += size
	}
	return 0, nil
}

// keep copies a value into the chunk's memory; the reader's is borrowed.
func (g *gather) keep(v []byte) []byte {
	if len(v) == 0 {
		return []byte{}
	}
	if cap(g.arena)-len(g.arena) < len(v) {
		g.arena = make([]byte, 0, max(64<<10, len(v)))
	}
	at := len(g.arena)
	g.arena = append(g.arena, v...)
	return g.arena[at:len(g.arena):len(g.arena)]
}

func (g *gather) comp(n uint32) *viewComp {
	for i := range g.v.comps {
		if g.v.comps[i].comp == n {
			return &g.v.comps[i]
		}
	}
	return nil
}

// overlay applies the updates and deletions of one record in order.
func (g *gather) overlay(r storage.Reader, over []overlayRef, row *pds.Row) error {
	saved, savedUnits := g.hdr, g.units
	defer func() { g.hdr, g.units = saved, savedUnits }()
	g.units = nil
	for _, o := range over {
		if o.seq > g.upto {
			break
		}
		rec, ok, err := r.Get(pds.DataKey(uint8(g.m.h.shard), g.m.h.id, g.v.tag, o.seq))
		if err != nil {
			return err
		}
		if !ok {
			return storage.ErrDamaged
		}
		if g.units, err = block.Parse(rec, &g.hdr, g.units[:0]); err != nil {
			return err
		}
		c := g.comp(g.hdr.Comp)
		if c == nil {
			continue
		}
		var sys block.System
		if err := g.system(r, c, &sys); err != nil {
			return err
		}
		if o.kind == block.Tombstone {
			row.Deleted = sys.Deleted
			row.Updated = sys.Updated
			row.Version++
			continue
		}
		var col block.Column
		for i, f := range g.fields {
			for k := range g.units {
				if g.units[k].Field != f.Number {
					continue
				}
				plain, err := g.openUnit(r, c, &g.units[k])
				if err != nil {
					return err
				}
				if plain == nil {
					break
				}
				if err := col.Decode(plain, 1); err != nil {
					return err
				}
				if v, ok := col.Value(0); ok {
					row.Vals[i] = g.keep(v)
				} else {
					row.Vals[i] = nil
				}
			}
		}
		row.Updated = sys.Updated
		row.Version++
	}
	return nil
}

// system opens the system unit of the record in hdr and units.
func (g *gather) system(r storage.Reader, c *viewComp, sys *block.System) error {
	if len(g.units) == 0 || g.units[0].Field != pds.UnitSystem {
		return storage.ErrDamaged
	}
	plain, err := g.openUnit(r, c, &g.units[0])
	if err != nil {
		return err
	}
	if plain == nil {
		return storage.ErrDamaged
	}
	return block.DecodeSystem(plain, sys)
}

// openUnit opens one unit; nil without an error means that the reader has no
// key for it. The result is valid until the next call.
func (g *gather) openUnit(r storage.Reader, c *viewComp, u *block.Unit) ([]byte, error) {
	ci, err := g.m.unitCipher(r, c, g.reader, u.Field, g.hdr.Epoch)
	if err != nil || ci == nil {
		return nil, err
	}
	base := blockAAD(g.aad[:0], g.m.d.env, g.m.ctl.Store, g.v.tag, c.writer, &g.hdr)
	aad := unitAAD(base, u.Field)
	plain, err := ci.Open(g.buf[:0], &g.hdr.Nonce, u.Sealed, aad)
	g.aad = aad[:0]
	if err != nil {
		return nil, storage.ErrDamaged
	}
	g.buf = plain[:0]
	if plain == nil {
		plain = []byte{}
	}
	return plain, nil
}

// unitCipher returns the cipher of a field in a compartment's epoch. Older
// epochs' keys lie sealed under newer ones, one step at a time.
func (m *member) unitCipher(r storage.Reader, c *viewComp, reader pds.NID, field uint8, epoch uint32) (*seal.Cipher, error) {
	k := epochField{c.comp, epoch, field, reader}
	if ci := m.epochs[k]; ci != nil {
		return ci, nil
	}
	var key seal.Secret
	for i := range c.keys {
		if c.keys[i].Field == field {
			key = c.keys[i].Key
		}
	}
	if key.Empty() {
		return nil, nil
	}
	if epoch > c.epoch {
		return nil, nil
	}
	for e := c.epoch; e > epoch; e-- {
		v, ok, err := r.Get(pds.EpochKey(uint8(m.h.shard), m.h.id, c.comp, e))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, storage.ErrDamaged
		}
		if key, err = openEpochLink(v, &key, m.d.env, m.ctl.Store, c.comp, e, field); err != nil {
			return nil, err
		}
		if key.Empty() {
			return nil, nil // the field did not exist in that epoch
		}
	}
	ci := seal.NewCipher(&key)
	key.Wipe()
	if m.epochs == nil {
		m.epochs = map[epochField]*seal.Cipher{}
	}
	m.epochs[k] = ci
	return ci, nil
}

// An epoch link record holds, for each unit, the former epoch's key sealed
// under the new one: n × (1 field · 2 length · box).
func appendEpochLink(dst []byte, oldKey, newKey *seal.Secret, env seal.Env, store [16]byte, comp, epoch uint32, fields []uint8) []byte {
	for _, f := range fields {
		o, n := unitKey(oldKey, env, f), unitKey(newKey, env, f)
		box := seal.SealBox(seal.NewCipher(&n), nil, o.Bytes(), epochAAD(env, store, comp, epoch, f))
		o.Wipe()
		n.Wipe()
		dst = append(dst, f, byte(len(box)>>8), byte(len(box)))
		dst = append(dst, box...)
	}
	return dst
}

func openEpochLink(rec []byte, key *seal.Secret, env seal.Env, store [16]byte, comp, epoch uint32, field uint8) (seal.Secret, error) {
	for len(rec) >= 3 {
		n := int(rec[1])<<8 | int(rec[2])
		if len(rec) < 3+n {
			return seal.Secret{}, storage.ErrDamaged
		}
		if rec[0] == field {
			b, err := seal.OpenBox(seal.NewCipher(key), nil, rec[3:3+n], epochAAD(env, store, comp, epoch, field))
			if err != nil || len(b) != 32 {
				return seal.Secret{}, storage.ErrDamaged
			}
			s := seal.NewSecret(b)
			clear(b)
			return s, nil
		}
		rec = rec[3+n:]
	}
	return seal.Secret{}, nil
}

func epochAAD(env seal.Env, store [16]byte, comp, epoch uint32, field uint8) []byte {
	return seal.Info(env, "epoch-link", store[:], be32(comp), be32(epoch), []byte{field})
}

// unitKey derives a unit's key from its compartment key.
func unitKey(comp *seal.Secret, env seal.Env, field uint8) seal.Secret {
	if field == pds.UnitSystem {
		return seal.Derive(comp, env, "system")
	}
	return seal.Derive(comp, env, "unit", []byte{field})
}

// match decides the filters on a whole row.
func (g *gather) match(row *pds.Row) bool {
	for i := range g.filters {
		f := &g.filters[i]
		var v []byte
		numeric := true
		switch {
		case f.Field == 0 && f.Name == "id":
			v = strconv.AppendUint(nil, row.ID, 10)
		case f.Field == 0 && f.Name == "created_timestamp":
			v = strconv.AppendInt(nil, row.Created, 10)
		case f.Field == 0:
			v = strconv.AppendInt(nil, row.Updated, 10)
		default:
			numeric = false
			for k, fd := range g.fields {
				if fd.Number == f.Field {
					v = row.Vals[k]
					numeric = isNumeric(fd.Type)
				}
			}
		}
		if v == nil {
			if f.Op == pds.Ne {
				continue
			}
			return false
		}
		c := bytes.Compare(v, f.Value)
		if numeric {
			c = compareDecimal(v, f.Value)
		}
		ok := false
		switch f.Op {
		case pds.Eq:
			ok = c == 0
		case pds.Ne:
			ok = c != 0
		case pds.Lt:
			ok = c < 0
		case pds.Le:
			ok = c <= 0
		case pds.Gt:
			ok = c > 0
		case pds.Ge:
			ok = c >= 0
		}
		if !ok {
			return false
		}
	}
	return true
}

func isNumeric(t schema.Type) bool {
	switch t {
	case schema.Int, schema.Number, schema.Currency, schema.Float, schema.Serial:
		return true
	}
	return false
}

// compareDecimal compares decimal texts by value; what is no number compares
// as bytes.
func compareDecimal(a, b []byte) int {
	x, err1 := strconv.ParseInt(string(a), 10, 64)
	y, err2 := strconv.ParseInt(string(b), 10, 64)
	if err1 == nil && err2 == nil {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if len(a) > 64 || len(b) > 64 || bytes.ContainsAny(a, "eE/") || bytes.ContainsAny(b, "eE/") {
		return bytes.Compare(a, b)
	}
	p, ok1 := new(big.Rat).SetString(string(a))
	q, ok2 := new(big.Rat).SetString(string(b))
	if !ok1 || !ok2 {
		return bytes.Compare(a, b)
	}
	return p.Cmp(q)
}
