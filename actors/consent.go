package actors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"holdfast/actors/pds"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// Approve starts an agreement: the member's signed statement, checked again
// by every replica, creates the connection's Member Key, which goes to the
// subscriber's callback and is kept nowhere else.
func (d *Directory) Approve(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	return d.consent(ctx, s, c, seal.Approve, pds.ActApprove)
}

// Change is Approve on a connection that is already approved: same Member
// Key, new choices or a new version.
func (d *Directory) Change(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	return d.consent(ctx, s, c, seal.Change, pds.ActChange)
}

// Revoke ends an agreement; it is in force on return. Replacing the keys of
// what the connection could read follows in the same session.
func (d *Directory) Revoke(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	return d.consent(ctx, s, c, seal.Revoke, pds.ActRevoke)
}

// Lift ends a suspension.
func (d *Directory) Lift(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	return d.consent(ctx, s, c, seal.Lift, pds.ActLift)
}

func (d *Directory) consent(ctx context.Context, s Session, c *Consent, kind seal.StatementKind, act pds.Act) (*Approved, error) {
	w := &consentWork{s: s, c: c, kind: kind, act: act}
	if err := d.do(ctx, s.UID, w); err != nil {
		return nil, err
	}
	if w.refuse != nil {
		return nil, w.refuse
	}
	d.log.consent(s.UID)
	if w.sends {
		d.outbox.poke()
	}
	r, err := d.ReceiptOf(ctx, s, c.NID)
	if err != nil {
		return nil, err
	}
	return &Approved{ConID: pds.ConID(s.UID, c.NID), Consent: w.number, Receipt: *r}, nil
}

type consentWork struct {
	waited
	s      Session
	c      *Consent
	kind   seal.StatementKind
	act    pds.Act
	refuse *pds.Error
	number uint64
	sends  bool
}

func (w *consentWork) size() int { return 200_000 }

// document is what is kept of a consent, sealed for the member.
type document struct {
	NID       pds.NID `json:"nid"`
	Statement []byte  `json:"statement"`
	Signature []byte  `json:"signature"`
	Document  []byte  `json:"document,omitempty"`
	Template  []byte  `json:"template,omitempty"`
	Salt      []byte  `json:"salt,omitempty"`
}

func documentAAD(env seal.Env, store [16]byte, number uint64) []byte {
	var n [8]byte
	putBE64(n[:], number)
	return seal.Info(env, "document", store[:], n[:])
}

func (m *member) sealDocument(k *memberKeys, number uint64, doc *document) pds.Stored {
	plain, err := json.Marshal(doc)
	if err != nil {
		panic("a document of byte strings has a JSON form")
	}
	dk := seal.Derive(&k.daily, m.d.env, "documents")
	defer dk.Wipe()
	var n [8]byte
	putBE64(n[:], number)
	return pds.Stored{Space: 's', Key: n[:], Value: seal.SealBox(seal.NewCipher(&dk), nil, plain, documentAAD(m.d.env, m.ctl.Store, number))}
}

func (m *member) openDocument(k *memberKeys, r storage.Reader, number uint64) (*document, error) {
	v, ok, err := r.Get(pds.DocumentKey(uint8(m.h.shard), m.h.id, number))
	if err != nil || !ok {
		return nil, err
	}
	dk := seal.Derive(&k.daily, m.d.env, "documents")
	defer dk.Wipe()
	plain, err := seal.OpenBox(seal.NewCipher(&dk), nil, v, documentAAD(m.d.env, m.ctl.Store, number))
	if err != nil {
		return nil, storage.ErrDamaged
	}
	var doc document
	if json.Unmarshal(plain, &doc) != nil {
		return nil, storage.ErrDamaged
	}
	return &doc, nil
}

func (w *consentWork) prepare(m *member, b *pds.Builder) bool {
	w.refuse, w.sends = nil, false
	e := w.decide(m, b)
	if e == nil {
		return true
	}
	if m.ctl == nil || e.Kind == pds.Unavailable || e.Kind == pds.Internal || e.Kind == pds.Locked {
		m.end(w, e)
		return false
	}
	w.refuse = e
	if !m.refuse(b, nil, w.c.NID, w.act, "", 0, e, [16]byte{}) {
		m.end(w, nil)
		return false
	}
	return true
}

// decide checks the statement against what it claims to be about and appends
// the operation. The signature, the number and the previous hash are checked
// by apply as well, on every replica.
func (w *consentWork) decide(m *member, b *pds.Builder) *pds.Error {
	k, _, e := m.unlocked(w.s)
	if e != nil {
		return e
	}
	c := w.c
	bad := func() *pds.Error { return pds.Refuse(pds.Invalid, pds.CodeBadStatement) }
	st, err := seal.DecodeStatement(c.Statement)
	id := m.d.LinkID(m.h.uid, c.NID)
	if err != nil || st.Kind != w.kind || st.Env != m.d.env || st.Store != m.ctl.Store || pds.LinkID(st.Conn) != id {
		return bad()
	}
	if st.Number != m.ctl.Number+1 || st.Previous != m.ctl.Previous || st.KeyID != m.ctl.KeyID {
		return pds.Refuse(pds.Conflict, pds.CodeBadStatement)
	}
	if st.Verify(m.ctl.SignKey, c.Signature) != nil {
		return pds.Refuse(pds.Denied, pds.CodeBadSignature)
	}
	old := m.ctl.Link(id)
	mu := &pds.Mutation{Statement: c.Statement, Signature: c.Signature}
	doc := &document{NID: c.NID, Statement: c.Statement, Signature: c.Signature}
	op := pds.Operation{Command: newCommand()}
	w.number = st.Number
	var after []reissue
	switch w.kind {
	case seal.Approve, seal.Change:
		if (w.kind == seal.Approve) != (old == nil || old.State == pds.LinkRevoked) {
			return pds.Refuse(pds.Conflict, pds.CodeAlreadyExists)
		}
		grants, e := w.checkDocument(m, k, st)
		if e != nil {
			return e
		}
		doc.Document, doc.Template, doc.Salt = c.Document, c.Template, c.Salt[:]
		if after, e = w.issue(m, k, st, id, old, grants, mu, &op); e != nil {
			return e
		}
		if b.Ops()+1+len(after) > pds.MaxOps {
			// More readers than one command can give new keys: say so.
			return pds.Refuse(pds.Invalid, pds.CodeTooLarge)
		}
	case seal.Lift:
		if old == nil || old.State != pds.LinkSuspended {
			return pds.Refuse(pds.Conflict, pds.CodeNotApproved)
		}
		l := *old
		l.State = pds.LinkActive
		mu.Link = &l
	case seal.Revoke:
		if old == nil || old.State == pds.LinkRevoked {
			return pds.Refuse(pds.Conflict, pds.CodeNotApproved)
		}
		l := *old
		l.State, l.Owed = pds.LinkRevoked, true
		l.Wrap, l.Write, l.Read, l.WrapKind = nil, nil, nil, 0
		mu.Link = &l
		mu.Erase = []uint64{old.SlotC.ID, old.SlotG.ID}
	}
	mu.Stored = append(mu.Stored, m.sealDocument(k, st.Number, doc))
	m.addOp(b, &op, mu, sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}},
		&pds.AuditEntry{Act: w.act, NID: c.NID, Version: st.Version})
	for i := range after {
		m.addReissue(b, k, &after[i])
	}
	return nil
}

func (w *consentWork) applied(m *member, seq uint64) {
	if w.refuse == nil && w.kind == seal.Revoke {
		m.owe()
	}
}

// checkDocument holds what was signed against the template, the text as it
// was shown and the catalogue, and compiles it.
func (w *consentWork) checkDocument(m *member, k *memberKeys, st *seal.Statement) ([]pds.Grant, *pds.Error) {
	c := w.c
	bad := pds.Refuse(pds.Invalid, pds.CodeBadStatement)
	canon, err := seal.Canonical(c.Document)
	if err != nil || string(canon) != string(c.Document) {
		return nil, bad
	}
	if seal.Commitment(c.Salt, c.Document) != st.Commitment {
		return nil, bad
	}
	doc, err := pds.DecodeDoc(c.Document)
	if err != nil {
		return nil, bad
	}
	t, err := pds.DecodeTemplate(c.Template)
	if err != nil {
		return nil, bad
	}
	tc, err := t.Canonical()
	if err != nil {
		return nil, bad
	}
	th := sha256.Sum256(tc)
	if doc.Template != hex.EncodeToString(th[:]) || doc.NID != c.NID || t.NID != c.NID || doc.Version != t.Version || st.Version != t.Version {
		return nil, bad
	}
	if t.Environment != m.d.env.String() || t.Check(m.d.cfg.Catalogue) != nil {
		return nil, bad
	}
	text := sha256.Sum256([]byte(pds.Text(t, &doc.Choices, m.d.cfg.Catalogue)))
	if doc.Text != hex.EncodeToString(text[:]) {
		return nil, bad
	}
	grants, e := pds.Compile(t, &doc.Choices, m.d.cfg.Catalogue)
	if e != nil {
		return nil, e
	}
	for i := range grants {
		if !k.ring.HasInstance(grants[i].Dataset, grants[i].Instance) {
			return nil, pds.Refuse(pds.Invalid, pds.CodeNoSuchInstance).In(grants[i].Dataset, "")
		}
	}
	return grants, nil
}

// reissue is a link that gets a new generation under its old consent.
type reissue struct {
	link pds.Link
	nid  pds.NID
	old  uint64 // slot to erase
}

// issue creates compartments and a generation for an approved or changed
// link, and lists the links whose read parts must learn of new compartments.
func (w *consentWork) issue(m *member, k *memberKeys, st *seal.Statement, id pds.LinkID, old *pds.Link, grants []pds.Grant, mu *pds.Mutation, op *pds.Operation) ([]reissue, *pds.Error) {
	c := w.c
	ring := k.ring.Clone()
	comps := append([]pds.Comp(nil), m.ctl.Comps...)
	touched := map[string]bool{}
	for i := range grants {
		g := &grants[i]
		m.compartment(k, ring, &comps, g.Dataset, g.Instance, 0, pds.LinkID{}, touched)
		if g.Masks[1]|g.Masks[2]|g.Masks[3] != 0 {
			m.compartment(k, ring, &comps, g.Dataset, g.Instance, c.NID, id, touched)
		}
	}
	kl := pds.KeyLink{NID: c.NID, Version: st.Version, Grants: grants}
	if x := ring.Link(c.NID); x != nil {
		*x = kl
	} else {
		ring.Links = append(ring.Links, kl)
	}
	l := pds.Link{ID: id, State: pds.LinkActive, Consent: st.Number, Version: st.Version, NotAfter: st.NotAfter, Commitment: st.Commitment}
	var ck seal.Secret
	if w.kind == seal.Approve {
		mk := seal.NewMemberKey()
		defer mk.Wipe()
		slot, ref, e := m.newSlot()
		if e != nil {
			return nil, e
		}
		l.SlotC = ref
		ck, l.KeyCommit = mk.Connection(m.d.env, &slot, m.ctl.Store, id)
		slot.Wipe()
		seed := seal.Derive(&ck, m.d.env, "hpke")
		priv, pub := seal.DeriveKeyPair(&seed)
		seed.Wipe()
		priv.Wipe()
		l.Public = pub
		if old != nil {
			l.Generation = old.Generation
		}
		if e := m.d.outbox.item(m, op, &Callback{UID: m.h.uid, NID: c.NID, Mydexid: c.Mydexid, Key: mk, Version: st.Version, Grants: grants, LinkingToken: c.LinkingToken}); e != nil {
			return nil, e
		}
	} else {
		l.State, l.SlotC, l.KeyCommit, l.Public, l.Generation = old.State, old.SlotC, old.KeyCommit, old.Public, old.Generation
		mu.Erase = append(mu.Erase, old.SlotG.ID)
		if e := m.d.outbox.item(m, op, &Callback{UID: m.h.uid, NID: c.NID, Mydexid: c.Mydexid, Version: st.Version, Grants: grants, Update: true, LinkingToken: c.LinkingToken}); e != nil {
			return nil, e
		}
	}
	w.sends = true
	e := m.generation(k, ring, comps, &kl, &l, &ck)
	ck.Wipe()
	if e != nil {
		return nil, e
	}
	mu.Link, mu.Comps = &l, comps
	mu.Keyring = sealRing(&k.daily, m.d.env, m.ctl.Store, ring)
	return m.readersOf(k, ring, comps, touched, id)
}

// compartment makes sure that a writer's compartment exists.
func (m *member) compartment(k *memberKeys, ring *pds.Keyring, comps *[]pds.Comp, dataset string, instance uint32, nid pds.NID, writer pds.LinkID, touched map[string]bool) {
	if ring.Find(dataset, instance, nid) != nil {
		return
	}
	n := uint32(len(*comps))
	*comps = append(*comps, pds.Comp{Tag: k.tag(m.d.env, dataset, instance), Writer: writer, Epoch: 1})
	ring.Comps = append(ring.Comps, pds.KeyComp{Comp: n, Dataset: dataset, Instance: instance, Writer: nid, Epoch: 1, Key: seal.RandomSecret()})
	touched[place(dataset, instance)] = true
}

func place(dataset string, instance uint32) string { return dataset + "/" + string(be32(instance)) }

// readersOf gives new generations to the other live links that read one of
// the touched dataset instances.
func (m *member) readersOf(k *memberKeys, ring *pds.Keyring, comps []pds.Comp, touched map[string]bool, except pds.LinkID) ([]reissue, *pds.Error) {
	var out []reissue
	for i := range ring.Links {
		kl := &ring.Links[i]
		id := m.d.LinkID(m.h.uid, kl.NID)
		cur := m.ctl.Link(id)
		if id == except || cur == nil || cur.State == pds.LinkRevoked {
			continue
		}
		hit := false
		for g := range kl.Grants {
			hit = hit || touched[place(kl.Grants[g].Dataset, kl.Grants[g].Instance)]
		}
		if !hit {
			continue
		}
		l := *cur
		if e := m.generation(k, ring, comps, kl, &l, nil); e != nil {
			return nil, e
		}
		out = append(out, reissue{link: l, nid: kl.NID, old: cur.SlotG.ID})
	}
	return out, nil
}

func (m *member) addReissue(b *pds.Builder, k *memberKeys, r *reissue) {
	m.addOp(b, &pds.Operation{Command: newCommand()}, &pds.Mutation{Link: &r.link, Erase: []uint64{r.old}},
		sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}}, &pds.AuditEntry{Act: pds.ActKeys, NID: r.nid, Version: r.link.Version})
}

// generation issues the next generation of a link's keys: a fresh X under CK,
// or, where the Member Key is not at hand, HPKE-sealed to the link's public
// key; a fresh slot; the write part and the read part, sealed apart.
func (m *member) generation(k *memberKeys, ring *pds.Keyring, comps []pds.Comp, kl *pds.KeyLink, l *pds.Link, ck *seal.Secret) *pds.Error {
	l.Generation++
	x := seal.RandomSecret()
	defer x.Wipe()
	slot, ref, e := m.newSlot()
	if e != nil {
		return e
	}
	defer slot.Wipe()
	l.SlotG = ref
	aad := m.linkAAD("generation", l.ID, l.Consent, l.Generation, l.Commitment)
	if ck != nil && !ck.Empty() {
		wk := seal.Derive(ck, m.d.env, "generation-wrap")
		l.WrapKind, l.Wrap = pds.WrapCK, seal.Wrap(&wk, aad, x.Bytes())
		wk.Wipe()
	} else {
		box, err := seal.SealTo(l.Public, aad, nil, x.Bytes())
		if err != nil {
			return pds.Refuse(pds.Internal, pds.CodeInternal)
		}
		l.WrapKind, l.Wrap = pds.WrapHPKE, box
	}
	w := &pds.WritePart{Version: l.Version, Audit: k.linkAudit(m.d.env, l.ID, l.Generation)}
	defer w.Wipe()
	r := &pds.ReadPart{}
	defer r.Wipe()
	for i := range kl.Grants {
		g := &kl.Grants[i]
		wg := pds.WriteGrant{Grant: *g, Tag: k.tag(m.d.env, g.Dataset, g.Instance)}
		if c := ring.Find(g.Dataset, g.Instance, kl.NID); c != nil && g.Masks[1]|g.Masks[2]|g.Masks[3] != 0 {
			wg.Owns, wg.Comp, wg.Epoch = true, c.Comp, c.Epoch
			wg.Keys = m.unitKeys(c, g.Masks[1]|g.Masks[2])
		}
		w.Grants = append(w.Grants, wg)
		if g.Masks[0] == 0 {
			continue
		}
		rg := pds.ReadGrant{Dataset: g.Dataset, Instance: g.Instance, Tag: wg.Tag}
		for n := range ring.Comps {
			c := &ring.Comps[n]
			if c.Dataset != g.Dataset || c.Instance != g.Instance {
				continue
			}
			source := "user"
			if c.Writer != 0 {
				source = pds.ConID(m.h.uid, c.Writer)
			}
			rg.Comps = append(rg.Comps, pds.ReadComp{Comp: c.Comp, Epoch: c.Epoch, Source: source, Keys: m.unitKeys(c, g.Masks[0])})
		}
		r.Grants = append(r.Grants, rg)
	}
	parts := seal.Join(&x, &slot)
	defer parts.Wipe()
	l.Write = m.sealPart(&parts, "write-part", l, w.Encode())
	l.Read = nil
	if len(r.Grants) > 0 {
		l.Read = m.sealPart(&parts, "read-part", l, r.Encode())
	}
	return nil
}

func (m *member) sealPart(parts *seal.Secret, purpose string, l *pds.Link, plain []byte) []byte {
	k := seal.Derive(parts, m.d.env, purpose)
	defer k.Wipe()
	defer clear(plain)
	return seal.SealBox(seal.NewCipher(&k), nil, plain, m.linkAAD(purpose, l.ID, l.Consent, l.Generation, l.Commitment))
}

// unitKeys derives the system unit's key and those of the masked fields.
func (m *member) unitKeys(c *pds.KeyComp, mask pds.Mask) []pds.UnitKey {
	out := []pds.UnitKey{{Field: pds.UnitSystem, Key: unitKey(&c.Key, m.d.env, pds.UnitSystem)}}
	for f := uint8(1); f < 64; f++ {
		if mask.Has(f) {
			out = append(out, pds.UnitKey{Field: f, Key: unitKey(&c.Key, m.d.env, f)})
		}
	}
	return out
}

// owe queues the replacement of keys that revoked links could read with.
func (m *member) owe() {
	w := &epochWork{}
	w.begin()
	m.h.waiting.Add(1)
	m.queue = append(m.queue, w)
}

// epochWork bumps the epochs that revocations left owed and gives every other
// reader and writer of those compartments a new generation. It needs the
// member's keys: without them it stays owed until the next unlock.
type epochWork struct{ waited }

func (w *epochWork) applied(*member, uint64) {}
func (w *epochWork) size() int               { return 400_000 }

func (w *epochWork) prepare(m *member, b *pds.Builder) bool {
	var k *memberKeys
	for id := range m.sessions {
		if k, _, _ = m.unlocked(Session{ID: id}); k != nil {
			break
		}
	}
	if k == nil {
		m.end(w, nil)
		return false
	}
	touched := map[string]bool{}
	var owed []pds.Link
	for i := range m.ctl.Links {
		l := m.ctl.Links[i]
		if !l.Owed {
			continue
		}
		for n := range k.ring.Links {
			if kl := &k.ring.Links[n]; m.d.LinkID(m.h.uid, kl.NID) == l.ID {
				for g := range kl.Grants {
					if kl.Grants[g].Masks[0]|kl.Grants[g].Masks[1]|kl.Grants[g].Masks[2] != 0 {
						touched[place(kl.Grants[g].Dataset, kl.Grants[g].Instance)] = true
					}
				}
			}
		}
		l.Owed = false
		owed = append(owed, l)
	}
	if len(owed) == 0 {
		m.end(w, nil)
		return false
	}
	ring := k.ring.Clone()
	comps := append([]pds.Comp(nil), m.ctl.Comps...)
	mu := &pds.Mutation{Link: &owed[0], Comps: comps}
	for i := range ring.Comps {
		c := &ring.Comps[i]
		if !touched[place(c.Dataset, c.Instance)] {
			continue
		}
		ds, ok := m.d.cfg.Catalogue.Dataset(c.Dataset)
		if !ok {
			m.end(w, nil)
			return false
		}
		fields := []uint8{pds.UnitSystem}
		for f := range ds.Fields {
			fields = append(fields, ds.Fields[f].Number)
		}
		fresh := seal.RandomSecret()
		rec := appendEpochLink(nil, &c.Key, &fresh, m.d.env, m.ctl.Store, c.Comp, c.Epoch+1, fields)
		mu.Stored = append(mu.Stored, pds.Stored{Space: 'w', Key: append(be32(c.Comp), be32(c.Epoch+1)...), Value: rec})
		c.Epoch++
		c.Key = fresh
		comps[c.Comp].Epoch = c.Epoch
	}
	again, e := m.readersOf(k, ring, comps, touched, pds.LinkID{})
	if e != nil {
		m.end(w, e)
		return false
	}
	mu.Keyring = sealRing(&k.daily, m.d.env, m.ctl.Store, ring)
	se := sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}}
	m.addOp(b, &pds.Operation{Command: newCommand()}, mu, se, &pds.AuditEntry{Act: pds.ActKeys})
	for i := 1; i < len(owed) && b.Ops() < 20; i++ {
		m.addOp(b, &pds.Operation{Command: newCommand()}, &pds.Mutation{Link: &owed[i]}, se, &pds.AuditEntry{Act: pds.ActKeys})
	}
	for i := range again {
		m.addReissue(b, k, &again[i])
	}
	return true
}

// Suspend stops a connection with no more than a signed-in session: it can
// only deny.
func (d *Directory) Suspend(ctx context.Context, s Session, nid pds.NID) error {
	w := &suspendWork{nid: nid}
	if err := d.do(ctx, s.UID, w); err != nil {
		return err
	}
	d.log.consent(s.UID)
	return nil
}

type suspendWork struct {
	waited
	nid pds.NID
}

func (w *suspendWork) applied(*member, uint64) {}
func (w *suspendWork) prepare(m *member, b *pds.Builder) bool {
	if m.ctl == nil {
		m.end(w, pds.Refuse(pds.NotFound, pds.CodeNoConnection))
		return false
	}
	id := m.d.LinkID(m.h.uid, w.nid)
	l := m.ctl.Link(id)
	if l == nil || l.State != pds.LinkActive {
		m.end(w, pds.Refuse(pds.Conflict, pds.CodeNotApproved))
		return false
	}
	c := *l
	c.State = pds.LinkSuspended
	se, mu := m.ownSealer(&pds.Mutation{Link: &c})
	m.addOp(b, &pds.Operation{Command: newCommand()}, mu, se, &pds.AuditEntry{Act: pds.ActSuspend, NID: w.nid, Version: l.Version})
	return true
}
