package actors

import (
	"crypto/sha256"
	"crypto/subtle"

	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

// openLink is a connection's bundle, opened with its Member Key: the write
// part at once, the read part when first asked for. It is found by a keyed
// hash of the Member Key, compared in constant time, and dropped at any
// consent entry, 10 s after its last use and 60 s after its opening.
type openLink struct {
	seal.Redacted
	nid        pds.NID
	id         pds.LinkID
	mark       [32]byte // keyed hash of the Member Key
	consent    uint64
	generation uint64
	version    uint32
	opened     int64
	used       int64
	parts      seal.Secret // key of the parts
	write      *pds.WritePart
	grants     []openGrant
	audit      *seal.Cipher
	read       *pds.ReadPart
	source     string
	rewrap     []byte // X_g under CK, to be stored by the next operation
}

// openGrant holds the ciphers of a connection's own compartment, made when
// first used.
type openGrant struct {
	units [64]*seal.Cipher
}

func (l *openLink) wipe() {
	l.parts.Wipe()
	if l.write != nil {
		l.write.Wipe()
	}
	if l.read != nil {
		l.read.Wipe()
	}
	l.write, l.grants, l.audit, l.read, l.rewrap = nil, nil, nil, nil, nil
}

// unit returns the cipher of a field in grant i.
func (l *openLink) unit(i int, field uint8) *seal.Cipher {
	g := &l.grants[i]
	if c := g.units[field]; c != nil {
		return c
	}
	for k := range l.write.Grants[i].Keys {
		if u := &l.write.Grants[i].Keys[k]; u.Field == field {
			g.units[field] = seal.NewCipher(&u.Key)
			return g.units[field]
		}
	}
	return nil
}

// grantIndex finds the grant of a dataset instance.
func (l *openLink) grantIndex(dataset string, instance uint32) int {
	for i := range l.write.Grants {
		if g := &l.write.Grants[i]; g.Instance == instance && g.Dataset == dataset {
			return i
		}
	}
	return -1
}

func (m *member) mark(k *seal.MemberKey) [32]byte {
	// 16 bytes of key and the fixed 32 of the Member Key fill one block.
	var b [48]byte
	copy(b[:16], m.d.cache.Bytes())
	copy(b[16:], k[:])
	h := sha256.Sum256(b[:])
	clear(b[:])
	return h
}

// open finds or opens the bundle of a connection. A refusal is decided on the
// newest state of this activation; apply decides again.
func (m *member) open(nid pds.NID, key *seal.MemberKey) (*openLink, *pds.Error) {
	if m.ctl == nil {
		// The same as for a member who has not approved: who is a member is
		// nobody's business.
		return nil, pds.Refuse(pds.Denied, pds.CodeNotApproved)
	}
	mark := m.mark(key)
	if l := m.links[nid]; l != nil && !m.d.cfg.CachesOff {
		if subtle.ConstantTimeCompare(l.mark[:], mark[:]) != 1 {
			return nil, pds.Refuse(pds.Denied, pds.CodeWrongKey)
		}
		if m.now-l.opened <= linkMost.Milliseconds() {
			if e := m.ctl.Link(l.id).Refusal(m.now); e != nil {
				return nil, e
			}
			l.used = m.now
			return l, nil
		}
		l.wipe()
		delete(m.links, nid)
	}
	id := m.d.LinkID(m.h.uid, nid)
	link := m.ctl.Link(id)
	if link == nil {
		return nil, pds.Refuse(pds.Denied, pds.CodeNotApproved)
	}
	if link.State == pds.LinkRevoked {
		return nil, pds.Refuse(pds.Denied, pds.CodeRevoked)
	}
	ck, e := m.connectionKey(id, link, key)
	if e != nil {
		return nil, e
	}
	defer ck.Wipe()
	if e := link.Refusal(m.now); e != nil {
		return nil, e
	}
	l, e := m.openParts(nid, id, link, &ck)
	if e != nil {
		return nil, e
	}
	l.mark = mark
	if m.links == nil {
		m.links = map[pds.NID]*openLink{}
	}
	if old := m.links[nid]; old != nil {
		old.wipe()
	}
	m.links[nid] = l
	return l, nil
}

// connectionKey derives CK and checks it against the stored commitment.
func (m *member) connectionKey(id pds.LinkID, link *pds.Link, key *seal.MemberKey) (seal.Secret, *pds.Error) {
	slot, e := m.slot(link.SlotC)
	if e != nil {
		return seal.Secret{}, e
	}
	defer slot.Wipe()
	ck, commit := key.Connection(m.d.env, &slot, m.ctl.Store, id)
	if subtle.ConstantTimeCompare(commit[:], link.KeyCommit[:]) != 1 {
		ck.Wipe()
		return seal.Secret{}, pds.Refuse(pds.Denied, pds.CodeWrongKey)
	}
	return ck, nil
}

// slot reads an erasable half and checks it against its hash.
func (m *member) slot(r pds.SlotRef) (seal.Secret, *pds.Error) {
	s, err := m.d.cfg.Host.Slots().Get(r.ID)
	if err != nil {
		return seal.Secret{}, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	if seal.SlotHash(m.d.env, &s) != r.Hash {
		s.Wipe()
		return seal.Secret{}, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	return s, nil
}

func (m *member) linkAAD(purpose string, id pds.LinkID, consent, generation uint64, commitment [32]byte) []byte {
	var n [16]byte
	putBE64(n[:8], consent)
	putBE64(n[8:], generation)
	return seal.Info(m.d.env, purpose, m.ctl.Store[:], id[:], n[:], commitment[:])
}

func putBE64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (56 - 8*i))
	}
}

// openParts opens the generation's key and the write part.
func (m *member) openParts(nid pds.NID, id pds.LinkID, link *pds.Link, ck *seal.Secret) (*openLink, *pds.Error) {
	internal := pds.Refuse(pds.Internal, pds.CodeInternal)
	aad := m.linkAAD("generation", id, link.Consent, link.Generation, link.Commitment)
	var x seal.Secret
	var rewrap []byte
	wrapKey := seal.Derive(ck, m.d.env, "generation-wrap")
	defer wrapKey.Wipe()
	switch link.WrapKind {
	case pds.WrapCK:
		s, err := seal.UnwrapSecret(&wrapKey, aad, link.Wrap)
		if err != nil {
			return nil, internal
		}
		x = s
	case pds.WrapHPKE:
		seed := seal.Derive(ck, m.d.env, "hpke")
		priv, _ := seal.DeriveKeyPair(&seed)
		seed.Wipe()
		b, err := priv.Open(aad, nil, link.Wrap)
		priv.Wipe()
		if err != nil {
			return nil, internal
		}
		x = seal.NewSecret(b)
		clear(b)
		rewrap = seal.Wrap(&wrapKey, aad, x.Bytes())
	default:
		return nil, internal
	}
	defer x.Wipe()
	slot, e := m.slot(link.SlotG)
	if e != nil {
		return nil, e
	}
	defer slot.Wipe()
	parts := seal.Join(&x, &slot)
	wk := seal.Derive(&parts, m.d.env, "write-part")
	plain, err := seal.OpenBox(seal.NewCipher(&wk), nil, link.Write, m.linkAAD("write-part", id, link.Consent, link.Generation, link.Commitment))
	wk.Wipe()
	if err != nil {
		parts.Wipe()
		return nil, internal
	}
	w, err := pds.DecodeWritePart(plain)
	clear(plain)
	if err != nil {
		parts.Wipe()
		return nil, internal
	}
	return &openLink{nid: nid, id: id, consent: link.Consent, generation: link.Generation, version: link.Version,
		opened: m.now, used: m.now, parts: parts, write: w, grants: make([]openGrant, len(w.Grants)),
		audit: seal.NewCipher(&w.Audit), source: pds.ConID(m.h.uid, nid), rewrap: rewrap}, nil
}

// openRead opens the read part when it is first needed.
func (m *member) openRead(l *openLink) *pds.Error {
	if l.read != nil {
		return nil
	}
	link := m.ctl.Link(l.id)
	if link == nil || len(link.Read) == 0 {
		l.read = &pds.ReadPart{}
		return nil
	}
	rk := seal.Derive(&l.parts, m.d.env, "read-part")
	plain, err := seal.OpenBox(seal.NewCipher(&rk), nil, link.Read, m.linkAAD("read-part", l.id, link.Consent, link.Generation, link.Commitment))
	rk.Wipe()
	if err != nil {
		return pds.Refuse(pds.Internal, pds.CodeInternal)
	}
	r, err := pds.DecodeReadPart(plain)
	clear(plain)
	if err != nil {
		return pds.Refuse(pds.Internal, pds.CodeInternal)
	}
	l.read = r
	return nil
}
