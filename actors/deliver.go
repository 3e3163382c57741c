package actors

import (
	"holdfast/actors/pds"
	"holdfast/storage"
	"holdfast/storage/block"
	"holdfast/storage/seal"
)

// sectionWork is one section on its way through a member's actor.
type sectionWork struct {
	s      *Section
	b      *delivery
	lookup bool       // look for an earlier outcome of the same request first
	refuse *pds.Error // the outcome to be told when the entry is durable
	first  uint64
	last   uint64
	tag    pds.Tag
}

func (w *sectionWork) finish(e *pds.Error) {
	s := w.s
	s.Caller.Key.Wipe()
	switch {
	case e != nil:
		s.Refused, s.First, s.Last = e, 0, 0
	case w.refuse != nil:
		s.Refused = w.refuse
	default:
		s.Refused = nil
		if !s.Replayed {
			s.First, s.Last = w.first, w.last
		}
	}
	if w.b.left.Add(-1) == 0 {
		close(w.b.done)
	}
}

func (w *sectionWork) size() int {
	n := 700
	for _, v := range w.s.Vals {
		n += len(v) + 2
	}
	return n
}

func (w *sectionWork) prepare(m *member, b *pds.Builder) bool {
	s := w.s
	w.refuse = nil
	l, e := m.open(s.Caller.NID, &s.Caller.Key)
	if e == nil && w.lookup {
		done, err := m.replay(w, l)
		if done {
			m.end(w, err)
			return false
		}
		e = err
	}
	if e == nil {
		e = s.Refused
	}
	var gi int
	if e == nil {
		var g *pds.WriteGrant
		if g, e = l.write.Grant(s.Dataset, s.Instance); e == nil {
			gi = l.grantIndex(s.Dataset.Name, s.Instance)
			e = g.Allow(s.Dataset, pds.Create, s.Fields)
		}
	}
	if e == nil && s.N == 0 {
		e = pds.Refuse(pds.Invalid, pds.CodeEmpty).In(s.Dataset.Name, "")
	}
	if e != nil {
		w.refuse = e.Needing(pds.Create, datasetName(s))
		if e.Kind == pds.Unavailable || e.Kind == pds.Internal || !m.refuse(b, l, s.Caller.NID, pds.ActCreate, datasetName(s), s.Instance, e, s.Command) {
			m.end(w, nil)
			return false
		}
		return true
	}
	g := &l.write.Grants[gi]
	t, err := m.tag(g.Tag)
	if err != nil {
		m.end(w, err)
		return false
	}
	w.tag = g.Tag
	w.first = t.next
	w.last = t.next + uint64(s.N) - 1
	t.next += uint64(s.N)

	op := pds.Operation{Link: l.id, Active: true, Command: s.Command, Consent: l.consent, Generation: l.generation,
		Request: s.Request, Section: s.Number}
	if op.Command == [16]byte{} {
		op.Command = newCommand()
	}
	if l.rewrap != nil {
		op.Mutation = m.rewrapMutation(l)
	}
	b.BeginOp(&op, 1)
	h := block.Header{Suite: block.SuiteAESGCM, Env: byte(m.d.env), Kind: block.Block, Comp: g.Comp, Epoch: g.Epoch,
		First: w.first, Rows: uint32(s.N), Last: w.last}
	sys := block.System{Created: m.now / 1000, Updated: m.now / 1000, Version: 1, Origin: uint8(pds.Delivered)}
	rec := b.BeginRecord(g.Tag)
	rec = m.sealRows(rec, &h, g.Tag, l.id, &sys, s.Fields, s.Vals, s.N, func(f uint8) *seal.Cipher { return l.unit(gi, f) })
	b.EndRecord(rec)
	b.Digests(digest)
	var mask pds.Mask
	for _, f := range s.Fields {
		mask |= 1 << f
	}
	se := m.linkSealer(l)
	c, entry := m.sealEntry(se, &pds.AuditEntry{Act: pds.ActCreate, NID: l.nid, Version: l.version, Dataset: s.Dataset.Name,
		Instance: s.Instance, Fields: mask, Rows: uint32(s.N), First: w.first})
	b.EndOp(se.kind, se.number, c, entry)
	return true
}

func datasetName(s *Section) string {
	if s.Dataset == nil {
		return ""
	}
	return s.Dataset.Name
}

func (w *sectionWork) applied(m *member, seq uint64) {
	if w.refuse != nil {
		return
	}
	m.d.Counts.SectionsStored.Add(1)
	m.d.Counts.RowsStored.Add(uint64(w.s.N))
	// The link may be closed again: a re-wrap in the same command does that.
	if l := m.links[w.s.Caller.NID]; l != nil {
		l.rewrap = nil
	}
	if t := m.tags[w.tag]; t != nil && t.indexed {
		t.blocks = append(t.blocks, blockRef{seq: seq, first: w.first, rows: uint32(w.s.N)})
	}
}

// replay answers a section from the journal if the same request stored it
// before. Same key with other bytes is a conflict.
func (m *member) replay(w *sectionWork, l *openLink) (done bool, e *pds.Error) {
	x, rec, err := m.findIdem(w.s.Request, w.s.Number)
	if err != nil {
		return true, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	if rec == nil {
		return false, nil
	}
	if x.Member != m.h.id || x.Command != w.s.Command {
		return false, pds.Refuse(pds.Conflict, pds.CodeIdempotencyMismatch)
	}
	var j pds.Journal
	if pds.DecodeJournal(rec, &j) != nil || j.KeyKind != pds.KeyOfLink || j.KeyNumber != l.generation || j.Link != l.id {
		// Its entry is under a key that this bundle no longer has; the block
		// says in the clear which ids it holds.
		return true, m.replayBlock(w, l, x.Sequence)
	}
	a, ok := openEntry(l.audit, m.d.env, m.ctl.Store, &j)
	if !ok {
		return true, pds.Refuse(pds.Internal, pds.CodeInternal)
	}
	w.s.Replayed = true
	w.s.First, w.s.Last = a.First, a.First+uint64(a.Rows)-1
	return true, nil
}

// replayBlock answers from the header of the block that the section became.
func (m *member) replayBlock(w *sectionWork, l *openLink, seq uint64) *pds.Error {
	g, e := l.write.Grant(w.s.Dataset, w.s.Instance)
	if e != nil {
		return e
	}
	var h block.Header
	err := m.d.view(func(r storage.Reader) error {
		v, ok, err := r.Get(pds.DataKey(uint8(m.h.shard), m.h.id, g.Tag, seq))
		if err == nil && !ok {
			err = storage.ErrDamaged
		}
		if err == nil {
			err = block.ParseHeader(v, &h)
		}
		return err
	})
	if err != nil {
		return m.readFault(err)
	}
	w.s.Replayed = true
	w.s.First, w.s.Last = h.First, h.First+uint64(h.Rows)-1
	return nil
}

// findIdem looks for a section of a request and the journal record that
// answered it.
func (m *member) findIdem(req [16]byte, section uint32) (x pds.Idem, rec []byte, err error) {
	err = m.d.view(func(r storage.Reader) error {
		v, ok, err := r.Get(pds.IdemKey(uint8(m.h.shard), req))
		if err != nil || !ok {
			return err
		}
		if x, ok = pds.FindIdem(v, section); !ok {
			return nil
		}
		rec = []byte{}
		if x.Member != m.h.id {
			return nil
		}
		j, _, err := r.Get(pds.JournalKey(uint8(m.h.shard), m.h.id, x.Sequence))
		rec = append(rec, j...)
		return err
	})
	return x, rec, err
}

func openEntry(c *seal.Cipher, env seal.Env, store [16]byte, j *pds.Journal) (pds.AuditEntry, bool) {
	plain, ok := openEntryPlain(c, env, store, j)
	if !ok {
		return pds.AuditEntry{}, false
	}
	a, err := pds.DecodeEntry(plain[16:])
	return a, err == nil
}

func openEntryPlain(c *seal.Cipher, env seal.Env, store [16]byte, j *pds.Journal) ([]byte, bool) {
	if len(j.Entry) < 12+16+16 {
		return nil, false
	}
	link := pds.LinkID{}
	if j.KeyKind == pds.KeyOfLink {
		link = j.Link
	}
	nonce := [12]byte(j.Entry[:12])
	plain, err := c.Open(nil, &nonce, j.Entry[12:], entryAAD(nil, env, store, j.KeyKind, j.KeyNumber, link))
	if err != nil || len(plain) < 16 || pds.Commit([16]byte(plain[:16]), plain[16:]) != j.Commitment {
		return nil, false
	}
	return plain, true
}

// rewrapMutation stores X_g under CK beside the first operation that used a
// generation whose key came by HPKE.
func (m *member) rewrapMutation(l *openLink) []byte {
	link := *m.ctl.Link(l.id)
	link.WrapKind, link.Wrap = pds.WrapCK, l.rewrap
	return (&pds.Mutation{Link: &link}).Encode()
}
