package actors

import (
	"context"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/block"
	"holdfast/storage/seal"
)

// The member's own reading and writing. It needs an unlocked session; the
// first opening of a dataset in a session has an entry, further reads check
// session and leadership only (design, section 4).

// MemberRead returns one chunk of the member's own rows of a dataset;
// instance -1 means all.
func (d *Directory) MemberRead(ctx context.Context, s Session, ds *schema.Dataset, instance int, filters []pds.Filter, deleted bool, cur *Cursor) (*Chunk, error) {
	w := &ownRead{s: s, ds: ds, instance: instance, filters: filters, deleted: deleted}
	if cur != nil {
		c := *cur
		w.cur = &c
	}
	if err := d.do(ctx, s.UID, w); err != nil {
		return nil, err
	}
	return w.out, nil
}

type ownRead struct {
	waited
	s        Session
	ds       *schema.Dataset
	instance int
	filters  []pds.Filter
	deleted  bool
	cur      *Cursor
	out      *Chunk
}

func (w *ownRead) applied(m *member, _ uint64) {
	if x := m.sessions[w.s.ID]; x != nil {
		x.seen[w.ds.Name] = true
	}
}

func (w *ownRead) prepare(m *member, b *pds.Builder) bool {
	w.out = nil
	k, x, e := m.unlocked(w.s)
	if e == nil {
		e = w.gather(m, k)
	}
	if e != nil {
		m.end(w, e)
		return false
	}
	if x.seen[w.ds.Name] {
		if term, leader := m.d.cfg.Host.Term(m.h.shard); !leader || term != m.term {
			e = pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
		}
		m.end(w, e)
		return false
	}
	m.addOp(b, &pds.Operation{Command: newCommand()}, nil, sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}},
		&pds.AuditEntry{Act: pds.ActOpen, Dataset: w.ds.Name, Rows: uint32(len(w.out.Rows))})
	return true
}

// ownView is a dataset instance as its owner may open it.
func (m *member) ownView(k *memberKeys, ds *schema.Dataset, instance uint32) view1 {
	v := view1{tag: k.tag(m.d.env, ds.Name, instance), instance: instance}
	for i := range k.ring.Comps {
		c := &k.ring.Comps[i]
		if c.Dataset != ds.Name || c.Instance != instance {
			continue
		}
		vc := viewComp{comp: c.Comp, epoch: c.Epoch, writer: m.ctl.Comps[c.Comp].Writer, source: "user"}
		if c.Writer != 0 {
			vc.source = pds.ConID(m.h.uid, c.Writer)
		}
		vc.keys = m.unitKeys(c, pds.Mask(ds.Mask()))
		v.comps = append(v.comps, vc)
	}
	return v
}

func (w *ownRead) gather(m *member, k *memberKeys) *pds.Error {
	out := &Chunk{Fields: fieldsOf(w.ds, pds.Mask(w.ds.Mask()))}
	all := pds.Mask(w.ds.Mask())
	out.Masks = [4]pds.Mask{all, all, all, all}
	max := defaultChunk
	start := Cursor{upto: m.head}
	if w.cur != nil {
		start = *w.cur
	}
	for _, n := range instancesOf(k.ring, w.ds.Name) {
		if w.instance >= 0 && n != uint32(w.instance) || n < start.instance || out.Next != nil {
			continue
		}
		v := m.ownView(k, w.ds, n)
		g := gather{m: m, v: &v, ds: w.ds, fields: out.Fields, filters: w.filters, deleted: w.deleted, max: max, upto: start.upto}
		if n == start.instance {
			g.from = start.id
		}
		next, err := g.run()
		if err != nil {
			return m.readFault(err)
		}
		out.Rows = append(out.Rows, g.rows...)
		max -= g.bytes
		if next != 0 {
			out.Next = &Cursor{n, next, start.upto}
		} else if max <= 0 {
			out.Next = &Cursor{n + 1, 0, start.upto}
		}
	}
	if w.instance >= 0 && !k.ring.HasInstance(w.ds.Name, uint32(w.instance)) {
		return pds.Refuse(pds.NotFound, pds.CodeNoSuchInstance).In(w.ds.Name, "")
	}
	w.out = out
	return nil
}

func instancesOf(r *pds.Keyring, dataset string) []uint32 {
	out := []uint32{0}
	for _, i := range r.Instances {
		if i.Dataset == dataset {
			for n := uint32(1); n < i.N; n++ {
				out = append(out, n)
			}
		}
	}
	return out
}

// ownWrite is what the member creates, changes, deletes or restores.
type ownWrite struct {
	waited
	s        Session
	ds       *schema.Dataset
	instance uint32
	act      pds.Act
	id       uint64
	fields   []uint8
	vals     [][]byte
	n        int
	first    uint64
	last     uint64
	tag      pds.Tag
	kind     block.Kind
}

func (w *ownWrite) size() int {
	n := 200_000 // room for keys, should a first write need a compartment
	for _, v := range w.vals {
		n += len(v) + 2
	}
	return n
}

func (w *ownWrite) prepare(m *member, b *pds.Builder) bool {
	if e := w.decide(m, b); e != nil {
		m.end(w, e)
		return false
	}
	return true
}

func (w *ownWrite) decide(m *member, b *pds.Builder) *pds.Error {
	k, _, e := m.unlocked(w.s)
	if e != nil {
		return e
	}
	if !k.ring.HasInstance(w.ds.Name, w.instance) {
		return pds.Refuse(pds.NotFound, pds.CodeNoSuchInstance).In(w.ds.Name, "")
	}
	w.tag = k.tag(m.d.env, w.ds.Name, w.instance)
	t, e := m.tag(w.tag)
	if e != nil {
		return e
	}
	if w.act != pds.ActCreate && (w.id == 0 || w.id >= t.next) {
		return pds.Refuse(pds.NotFound, pds.CodeNoSuchRecord).In(w.ds.Name, "")
	}
	if w.act == pds.ActCreate && w.n == 0 || w.act == pds.ActUpdate && len(w.fields) == 0 {
		return pds.Refuse(pds.Invalid, pds.CodeEmpty).In(w.ds.Name, "")
	}
	op := pds.Operation{Command: newCommand()}
	var after []reissue
	ring := k.ring
	if ring.Find(w.ds.Name, w.instance, 0) == nil {
		ring = k.ring.Clone()
		comps := append([]pds.Comp(nil), m.ctl.Comps...)
		touched := map[string]bool{}
		m.compartment(k, ring, &comps, w.ds.Name, w.instance, 0, pds.LinkID{}, touched)
		if after, e = m.readersOf(k, ring, comps, touched, pds.LinkID{}); e != nil {
			return e
		}
		mu := &pds.Mutation{Comps: comps, Keyring: sealRing(&k.daily, m.d.env, m.ctl.Store, ring)}
		op.Mutation = mu.Encode()
	}
	c := ring.Find(w.ds.Name, w.instance, 0)
	fresh := map[uint8]*seal.Cipher{}
	cipher := func(f uint8) *seal.Cipher {
		if ring == k.ring {
			return k.unit(m.d.env, c, f)
		}
		if fresh[f] == nil {
			key := unitKey(&c.Key, m.d.env, f)
			fresh[f] = seal.NewCipher(&key)
			key.Wipe()
		}
		return fresh[f]
	}
	w.first, w.last = w.id, w.id
	rows := 1
	switch w.act {
	case pds.ActCreate:
		w.kind, rows = block.Block, w.n
		w.first = t.next
		w.last = t.next + uint64(w.n) - 1
		t.next += uint64(w.n)
		m.addRows(b, &op, w.tag, c, w.first, w.last, w.fields, w.vals, w.n, cipher)
	case pds.ActUpdate:
		w.kind = block.Update
		m.addChange(b, &op, w.tag, pds.LinkID{}, c.Comp, c.Epoch, t, w.id, block.Update, false, pds.SelfAsserted, w.fields, w.vals, cipher)
	default:
		w.kind = block.Tombstone
		m.addChange(b, &op, w.tag, pds.LinkID{}, c.Comp, c.Epoch, t, w.id, block.Tombstone, w.act == pds.ActDelete, pds.SelfAsserted, nil, nil, cipher)
	}
	var mask pds.Mask
	for _, f := range w.fields {
		mask |= 1 << f
	}
	se := sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}}
	cm, entry := m.sealEntry(se, &pds.AuditEntry{Act: w.act, Dataset: w.ds.Name, Instance: w.instance, Fields: mask, Rows: uint32(rows), First: w.first})
	b.EndOp(se.kind, se.number, cm, entry)
	for i := range after {
		m.addReissue(b, k, &after[i])
	}
	return nil
}

// addRows appends the data record of the member's own new rows.
func (m *member) addRows(b *pds.Builder, op *pds.Operation, tag pds.Tag, c *pds.KeyComp, first, last uint64, fields []uint8, vals [][]byte, n int, cipher func(uint8) *seal.Cipher) {
	b.BeginOp(op, 1)
	h := block.Header{Suite: block.SuiteAESGCM, Env: byte(m.d.env), Kind: block.Block, Comp: c.Comp, Epoch: c.Epoch, First: first, Rows: uint32(n), Last: last}
	sys := block.System{Created: m.now / 1000, Updated: m.now / 1000, Version: 1, Origin: uint8(pds.SelfAsserted)}
	rec := b.BeginRecord(tag)
	rec = m.sealRows(rec, &h, tag, pds.LinkID{}, &sys, fields, vals, n, cipher)
	b.EndRecord(rec)
	b.Digests(digest)
}

func (w *ownWrite) applied(m *member, seq uint64) {
	if w.act != pds.ActCreate {
		m.noteOverlay(w.tag, w.id, seq, w.kind)
	} else if t := m.tags[w.tag]; t != nil && t.indexed {
		t.blocks = append(t.blocks, blockRef{seq: seq, first: w.first, rows: uint32(w.n)})
	}
}

// MemberCreate adds rows in the member's own hand.
func (d *Directory) MemberCreate(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, fields []uint8, vals [][]byte, n int) (first, last uint64, err error) {
	w := &ownWrite{s: s, ds: ds, instance: instance, act: pds.ActCreate, fields: fields, vals: vals, n: n}
	err = d.do(ctx, s.UID, w)
	return w.first, w.last, err
}

// MemberUpdate changes fields of a record.
func (d *Directory) MemberUpdate(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, id uint64, fields []uint8, vals [][]byte) error {
	return d.do(ctx, s.UID, &ownWrite{s: s, ds: ds, instance: instance, act: pds.ActUpdate, id: id, fields: fields, vals: vals, n: 1})
}

// MemberDelete hides a record. Erasing it for good needs its block to be
// sealed anew and is refused in this version.
func (d *Directory) MemberDelete(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, id uint64, hard bool) error {
	if hard {
		return pds.Refuse(pds.Invalid, pds.CodeNotOffered).In(ds.Name, "")
	}
	return d.do(ctx, s.UID, &ownWrite{s: s, ds: ds, instance: instance, act: pds.ActDelete, id: id})
}

// MemberRestore brings a hidden record back.
func (d *Directory) MemberRestore(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, id uint64) error {
	return d.do(ctx, s.UID, &ownWrite{s: s, ds: ds, instance: instance, act: pds.ActRestore, id: id})
}

// NewInstance adds an instance of a dataset: a second home, another account.
// Nobody sees it until it is granted (D13).
func (d *Directory) NewInstance(ctx context.Context, s Session, ds *schema.Dataset) (uint32, error) {
	w := &instanceWork{s: s, ds: ds}
	err := d.do(ctx, s.UID, w)
	return w.n, err
}

type instanceWork struct {
	waited
	s  Session
	ds *schema.Dataset
	n  uint32
}

func (w *instanceWork) applied(*member, uint64) {}
func (w *instanceWork) size() int               { return 100_000 }
func (w *instanceWork) prepare(m *member, b *pds.Builder) bool {
	k, _, e := m.unlocked(w.s)
	if e != nil {
		m.end(w, e)
		return false
	}
	ring := k.ring.Clone()
	at := -1
	for i := range ring.Instances {
		if ring.Instances[i].Dataset == w.ds.Name {
			at = i
		}
	}
	if at < 0 {
		ring.Instances = append(ring.Instances, pds.InstanceCount{Dataset: w.ds.Name, N: 1})
		at = len(ring.Instances) - 1
	}
	w.n = ring.Instances[at].N
	ring.Instances[at].N++
	if w.n >= 1000 {
		m.end(w, pds.Refuse(pds.Invalid, pds.CodeTooLarge))
		return false
	}
	m.addOp(b, &pds.Operation{Command: newCommand()}, &pds.Mutation{Keyring: sealRing(&k.daily, m.d.env, m.ctl.Store, ring)},
		sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}}, &pds.AuditEntry{Act: pds.ActInstance, Dataset: w.ds.Name, Instance: w.n})
	return true
}

// Instances lists which dataset instances hold or may hold data.
func (d *Directory) Instances(ctx context.Context, s Session) (map[string][]uint32, error) {
	out := map[string][]uint32{}
	err := d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		k, _, e := m.unlocked(s)
		if e != nil {
			return e
		}
		for i := range k.ring.Comps {
			out[k.ring.Comps[i].Dataset] = nil
		}
		for _, i := range k.ring.Instances {
			out[i.Dataset] = nil
		}
		for ds := range out {
			out[ds] = instancesOf(k.ring, ds)
		}
		return nil
	}})
	return out, err
}

// StatementHead is what the next statement must carry.
func (d *Directory) StatementHead(ctx context.Context, s Session) (StatementHead, error) {
	var h StatementHead
	err := d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		if m.ctl == nil {
			return pds.Refuse(pds.NotFound, pds.CodeNoConnection)
		}
		h = StatementHead{Store: m.ctl.Store, SignKey: m.ctl.SignKey, Number: m.ctl.Number, Previous: m.ctl.Previous, KeyID: m.ctl.KeyID}
		return nil
	}})
	return h, err
}
