package actors

import (
	"context"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/block"
	"holdfast/storage/seal"
)

// Read returns one chunk of rows; its audit entry is durable. Repeat with
// Next until it is nil.
func (d *Directory) Read(ctx context.Context, r *ReadRequest) (*Chunk, error) {
	w := &readWork{r: *r}
	r.Caller.Key.Wipe()
	if err := d.do(ctx, r.Caller.UID, w); err != nil {
		return nil, err
	}
	if w.refuse != nil {
		return nil, w.refuse
	}
	d.Counts.RowsRead.Add(uint64(len(w.out.Rows)))
	return w.out, nil
}

// readWork prepares an answer at the head, proposes its entry and releases it
// when that has applied.
type readWork struct {
	waited
	r      ReadRequest
	out    *Chunk
	refuse *pds.Error
}

func (w *readWork) applied(*member, uint64) {}
func (w *readWork) finish(e *pds.Error)     { w.r.Caller.Key.Wipe(); w.waited.finish(e) }

func (w *readWork) prepare(m *member, b *pds.Builder) bool {
	r := &w.r
	w.refuse, w.out = nil, nil
	l, e := m.open(r.Caller.NID, &r.Caller.Key)
	if e == nil {
		e = m.openRead(l)
	}
	if e == nil {
		e = w.gather(m, l)
	}
	instance := uint32(max(r.Instance, 0))
	if e != nil {
		w.refuse = e.Needing(pds.Read, r.Dataset.Name)
		if e.Kind == pds.Unavailable || e.Kind == pds.Internal {
			m.end(w, nil)
			return false
		}
		if !m.refuse(b, l, r.Caller.NID, pds.ActRead, r.Dataset.Name, instance, e, [16]byte{}) {
			m.end(w, nil)
			return false
		}
		return true
	}
	var mask pds.Mask
	for _, f := range w.out.Fields {
		mask |= 1 << f.Number
	}
	op := pds.Operation{Link: l.id, Active: true, Command: newCommand(), Consent: l.consent, Generation: l.generation}
	if l.rewrap != nil {
		op.Mutation = m.rewrapMutation(l)
	}
	a := pds.AuditEntry{Act: pds.ActRead, NID: l.nid, Version: l.version, Dataset: r.Dataset.Name, Instance: instance,
		Fields: mask, Rows: uint32(len(w.out.Rows))}
	if len(w.out.Rows) > 0 {
		a.First = w.out.Rows[0].ID
	}
	m.addOp(b, &op, nil, m.linkSealer(l), &a)
	return true
}

// gather collects the granted instances in order.
func (w *readWork) gather(m *member, l *openLink) *pds.Error {
	r := &w.r
	out := &Chunk{}
	max := r.MaxBytes
	if max <= 0 || max > defaultChunk {
		max = defaultChunk
	}
	upto := m.head
	start := Cursor{}
	if r.Cursor != nil {
		start = *r.Cursor
		upto = start.upto
	}
	seen := false
	var first *pds.Error
	for i := range l.write.Grants {
		g := &l.write.Grants[i]
		if g.Dataset != r.Dataset.Name || r.Instance >= 0 && g.Instance != uint32(r.Instance) {
			continue
		}
		e := g.Allow(r.Dataset, pds.Read, nil)
		if e == nil {
			e = g.AllowFilters(r.Dataset, r.Filters)
		}
		if e != nil {
			if first == nil {
				first = e
			}
			continue
		}
		if !seen {
			out.Masks = g.Masks
			out.Fields = fieldsOf(r.Dataset, g.Masks[0])
		}
		seen = true
		if g.Instance < start.instance || out.Next != nil {
			continue
		}
		var rg *pds.ReadGrant
		for k := range l.read.Grants {
			if l.read.Grants[k].Tag == g.Tag {
				rg = &l.read.Grants[k]
			}
		}
		if rg == nil {
			continue
		}
		v := m.linkView(rg)
		ga := gather{m: m, v: &v, reader: l.nid, ds: r.Dataset, fields: out.Fields, filters: r.Filters, max: max, upto: upto}
		if g.Instance == start.instance {
			ga.from = start.id
		}
		next, err := ga.run()
		if err != nil {
			return m.readFault(err)
		}
		out.Rows = append(out.Rows, ga.rows...)
		max -= ga.bytes
		if next != 0 {
			out.Next = &Cursor{g.Instance, next, upto}
		} else if max <= 0 {
			out.Next = &Cursor{g.Instance + 1, 0, upto}
		}
	}
	if !seen {
		if first != nil {
			return first
		}
		_, e := l.write.Grant(r.Dataset, uint32(max0(r.Instance)))
		if e == nil {
			e = pds.Refuse(pds.Denied, pds.CodeDatasetNotGranted).In(r.Dataset.Name, "")
		}
		return e
	}
	w.out = out
	return nil
}

func max0(n int) int { return max(n, 0) }

func fieldsOf(ds *schema.Dataset, m pds.Mask) []*schema.Field {
	var out []*schema.Field
	for i := range ds.Fields {
		if m.Has(ds.Fields[i].Number) {
			out = append(out, &ds.Fields[i])
		}
	}
	return out
}

// readFault reports a record that should open and does not: the store is
// damaged there, and no answer is better than a wrong one.
func (m *member) readFault(err error) *pds.Error {
	m.d.cfg.Log.Error("a record could not be read", "shard", m.h.shard, "error", err)
	return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
}

// linkView turns a read grant into a view; a compartment's writer is public
// state, its source a part of the bundle.
func (m *member) linkView(g *pds.ReadGrant) view1 {
	v := view1{tag: g.Tag, instance: g.Instance, comps: make([]viewComp, 0, len(g.Comps))}
	for i := range g.Comps {
		c := &g.Comps[i]
		if int(c.Comp) >= len(m.ctl.Comps) {
			continue
		}
		v.comps = append(v.comps, viewComp{comp: c.Comp, epoch: c.Epoch, writer: m.ctl.Comps[c.Comp].Writer, source: c.Source, keys: c.Keys})
	}
	return v
}

// Update changes fields of one record; replayed reports an idempotent repeat.
func (d *Directory) Update(ctx context.Context, r *ChangeRequest) (replayed bool, err error) {
	w := &changeWork{caller: r.Caller, ds: r.Dataset, instance: r.Instance, id: r.ID, fields: r.Fields, vals: r.Vals,
		request: r.Request, command: r.Command, method: pds.Update, act: pds.ActUpdate}
	r.Caller.Key.Wipe()
	if err := d.do(ctx, w.caller.UID, w); err != nil {
		return false, err
	}
	return w.replayed, errOrNil(w.refuse)
}

// Delete hides one record. Hard, erasing it for good, needs blocks to be sealed
// anew and is refused in this version.
func (d *Directory) Delete(ctx context.Context, r *DeleteRequest) (replayed bool, err error) {
	w := &changeWork{caller: r.Caller, ds: r.Dataset, instance: r.Instance, id: r.ID, hard: r.Hard,
		request: r.Request, command: r.Command, method: pds.Delete, act: pds.ActDelete}
	r.Caller.Key.Wipe()
	if err := d.do(ctx, w.caller.UID, w); err != nil {
		return false, err
	}
	return w.replayed, errOrNil(w.refuse)
}

func errOrNil(e *pds.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// changeWork is an update or a deletion by a subscriber.
type changeWork struct {
	waited
	caller   Caller
	ds       *schema.Dataset
	instance uint32
	id       uint64
	fields   []uint8
	vals     [][]byte
	hard     bool
	request  [16]byte
	command  [16]byte
	method   pds.Method
	act      pds.Act
	lookup   bool
	refuse   *pds.Error
	replayed bool
	tag      pds.Tag
	kind     block.Kind
}

func (w *changeWork) finish(e *pds.Error) { w.caller.Key.Wipe(); w.waited.finish(e) }
func (w *changeWork) size() int {
	n := 4096
	for _, v := range w.vals {
		n += len(v)
	}
	return n
}

func (w *changeWork) prepare(m *member, b *pds.Builder) bool {
	w.refuse = nil
	l, e := m.open(w.caller.NID, &w.caller.Key)
	if e == nil && w.lookup {
		x, rec, err := m.findIdem(w.request, 0)
		switch {
		case err != nil:
			e = pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
		case rec != nil && x.Command == w.command && x.Member == m.h.id:
			w.replayed = true
			m.end(w, nil)
			return false
		case rec != nil:
			e = pds.Refuse(pds.Conflict, pds.CodeIdempotencyMismatch)
		}
	}
	var g *pds.WriteGrant
	gi := -1
	if e == nil {
		if g, e = l.write.Grant(w.ds, w.instance); e == nil {
			gi = l.grantIndex(w.ds.Name, w.instance)
			e = g.Allow(w.ds, w.method, w.fields)
		}
	}
	if e == nil && w.method == pds.Update && len(w.fields) == 0 {
		e = pds.Refuse(pds.Invalid, pds.CodeEmpty).In(w.ds.Name, "")
	}
	if e == nil && w.hard {
		e = pds.Refuse(pds.Invalid, pds.CodeNotOffered).In(w.ds.Name, "")
	}
	var t *tagState
	if e == nil {
		if t, e = m.tag(g.Tag); e == nil && (w.id == 0 || w.id >= t.next) {
			e = pds.Refuse(pds.NotFound, pds.CodeNoSuchRecord).In(w.ds.Name, "")
		}
	}
	if e != nil {
		w.refuse = e.Needing(w.method, w.ds.Name)
		if e.Kind == pds.Unavailable || e.Kind == pds.Internal || !m.refuse(b, l, w.caller.NID, w.act, w.ds.Name, w.instance, e, w.command) {
			m.end(w, nil)
			return false
		}
		return true
	}
	op := pds.Operation{Link: l.id, Active: true, Command: w.command, Consent: l.consent, Generation: l.generation, Request: w.request}
	if op.Command == [16]byte{} {
		op.Command = newCommand()
	}
	if l.rewrap != nil {
		op.Mutation = m.rewrapMutation(l)
	}
	w.tag = g.Tag
	m.addChange(b, &op, g.Tag, l.id, g.Comp, g.Epoch, t, w.id, w.kindOf(), w.method == pds.Delete, pds.Delivered, w.fields, w.vals,
		func(f uint8) *seal.Cipher { return l.unit(gi, f) })
	w.kind = w.kindOf()
	var mask pds.Mask
	for _, f := range w.fields {
		mask |= 1 << f
	}
	se := m.linkSealer(l)
	c, entry := m.sealEntry(se, &pds.AuditEntry{Act: w.act, NID: l.nid, Version: l.version, Dataset: w.ds.Name,
		Instance: w.instance, Fields: mask, Rows: 1, First: w.id})
	b.EndOp(se.kind, se.number, c, entry)
	return true
}

func (w *changeWork) kindOf() block.Kind {
	if w.method == pds.Delete {
		return block.Tombstone
	}
	return block.Update
}

// addChange appends the data record of an update or a tombstone of one row,
// up to its digest.
func (m *member) addChange(b *pds.Builder, op *pds.Operation, tag pds.Tag, writer pds.LinkID, comp, epoch uint32, t *tagState, id uint64, kind block.Kind, deleted bool, origin pds.Origin, fields []uint8, vals [][]byte, cipher func(uint8) *seal.Cipher) {
	b.BeginOp(op, 1)
	h := block.Header{Suite: block.SuiteAESGCM, Env: byte(m.d.env), Kind: kind, Comp: comp, Epoch: epoch, First: id, Rows: 1, Last: t.next - 1}
	sys := block.System{Created: m.now / 1000, Updated: m.now / 1000, Version: 1, Deleted: deleted, Origin: uint8(origin)}
	rec := b.BeginRecord(tag)
	rec = m.sealRows(rec, &h, tag, writer, &sys, fields, vals, 1, cipher)
	b.EndRecord(rec)
	b.Digests(digest)
}

func (w *changeWork) applied(m *member, seq uint64) {
	if w.refuse == nil {
		m.noteOverlay(w.tag, w.id, seq, w.kind)
	}
}

func (m *member) noteOverlay(tag pds.Tag, id, seq uint64, kind block.Kind) {
	if t := m.tags[tag]; t != nil && t.indexed {
		t.note(seq, &block.Header{Kind: kind, First: id, Rows: 1})
	}
}

// RefuseAccess journals a refusal that api found before any of the above
// could be called (malformed body, unknown dataset ...) for an identified
// connection: it returns when the entry is durable. The returned error is
// what to answer: normally the refusal itself, or why the key was not
// accepted.
func (d *Directory) RefuseAccess(ctx context.Context, c Caller, method pds.Method, dataset string, instance uint32, refusal *pds.Error) error {
	act := pds.ActAccess
	switch method {
	case pds.Read:
		act = pds.ActRead
	case pds.Create:
		act = pds.ActCreate
	case pds.Update:
		act = pds.ActUpdate
	case pds.Delete:
		act = pds.ActDelete
	}
	w := &refuseWork{caller: c, act: act, dataset: dataset, instance: instance, refusal: refusal}
	if err := d.do(ctx, c.UID, w); err != nil {
		return err
	}
	return errOrNil(w.refusal)
}

type refuseWork struct {
	waited
	caller   Caller
	act      pds.Act
	dataset  string
	instance uint32
	refusal  *pds.Error
}

func (w *refuseWork) applied(*member, uint64) {}
func (w *refuseWork) finish(e *pds.Error)     { w.caller.Key.Wipe(); w.waited.finish(e) }
func (w *refuseWork) prepare(m *member, b *pds.Builder) bool {
	l, e := m.open(w.caller.NID, &w.caller.Key)
	if e != nil {
		w.refusal = e
	}
	if !m.refuse(b, l, w.caller.NID, w.act, w.dataset, w.instance, w.refusal, [16]byte{}) {
		m.end(w, nil)
		return false
	}
	return true
}
