package actors

import (
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// unlockKey is this process's HPKE key for unlock envelopes: in memory only,
// replaced every hour, the former kept for envelopes on their way.
type unlockKey struct {
	mu     sync.Mutex
	made   time.Time
	priv   seal.PrivateKey
	pub    seal.PublicKey
	former seal.PrivateKey
	has    bool
	hasOld bool
	nonces map[string]nonceOf
}

type nonceOf struct {
	session [16]byte
	store   [16]byte
	until   time.Time
}

const (
	unlockKeyLife = time.Hour
	nonceLife     = 5 * time.Minute
	maxNonces     = 100_000
)

func (u *unlockKey) wipe() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.has {
		u.priv.Wipe()
	}
	if u.hasOld {
		u.former.Wipe()
	}
	u.has, u.hasOld = false, false
}

// challenge gives the present key and a nonce for one use.
func (u *unlockKey) challenge(now time.Time, session, store [16]byte) (pub seal.PublicKey, nonce []byte, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.has || now.Sub(u.made) > unlockKeyLife {
		if u.hasOld {
			u.former.Wipe()
		}
		u.former, u.hasOld = u.priv, u.has
		u.priv, u.pub = seal.GenerateKeyPair()
		u.has, u.made = true, now
	}
	if u.nonces == nil {
		u.nonces = map[string]nonceOf{}
	}
	if len(u.nonces) >= maxNonces {
		for k, n := range u.nonces {
			if now.After(n.until) {
				delete(u.nonces, k)
			}
		}
		if len(u.nonces) >= maxNonces {
			return nil, nil, pds.Refuse(pds.Busy, pds.CodeBusy)
		}
	}
	c := newCommand()
	u.nonces[string(c[:])] = nonceOf{session, store, now.Add(nonceLife)}
	return u.pub, c[:], nil
}

// open takes a nonce out of use and opens the envelope.
func (u *unlockKey) open(now time.Time, session, store [16]byte, nonce, sealed []byte, env seal.Env) (seal.Secret, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n, ok := u.nonces[string(nonce)]
	delete(u.nonces, string(nonce))
	if !ok || n.session != session || n.store != store || now.After(n.until) || !u.has {
		return seal.Secret{}, pds.Refuse(pds.Invalid, pds.CodeMalformed)
	}
	uk, err := seal.OpenUnlock(&u.priv, sealed, session[:], nonce, store, env)
	if err != nil && u.hasOld {
		uk, err = seal.OpenUnlock(&u.former, sealed, session[:], nonce, store, env)
	}
	if err != nil {
		return seal.Secret{}, pds.Refuse(pds.Invalid, pds.CodeMalformed)
	}
	return uk, nil
}

// NewUnlockParams prepares a registration of a new store: KDF and Salt are
// zero, Store is a fresh store id.
func (d *Directory) NewUnlockParams(ctx context.Context, session [16]byte) (UnlockParams, error) {
	store := newCommand()
	pub, nonce, err := d.unlock.challenge(d.cfg.Now(), session, store)
	if err != nil {
		return UnlockParams{}, err
	}
	return UnlockParams{Store: store, UnlockKey: pub, KeyID: keyID(pub), Nonce: nonce}, nil
}

func keyID(pub seal.PublicKey) string {
	if len(pub) < 8 {
		return ""
	}
	return hex.EncodeToString(pub[:8])
}

// control reads a member's control state without waking the actor.
func (d *Directory) control(u pds.UID) (*pds.Control, error) {
	id := d.MemberID(u)
	var ctl *pds.Control
	err := d.view(func(r storage.Reader) error {
		v, ok, err := r.Get(pds.ControlKey(uint8(cluster.ShardOf(id)), id))
		if err != nil || !ok {
			return err
		}
		ctl, err = pds.DecodeControl(v)
		return err
	})
	if err != nil {
		return nil, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	return ctl, nil
}

// UnlockParams is what a signed-in client needs to unlock.
func (d *Directory) UnlockParams(ctx context.Context, s Session) (UnlockParams, error) {
	ctl, err := d.control(s.UID)
	if err != nil {
		return UnlockParams{}, err
	}
	if ctl == nil {
		return UnlockParams{}, pds.Refuse(pds.NotFound, pds.CodeNoConnection)
	}
	pub, nonce, err := d.unlock.challenge(d.cfg.Now(), s.ID, ctl.Store)
	if err != nil {
		return UnlockParams{}, err
	}
	return UnlockParams{Store: ctl.Store, KDF: ctl.KDF, Salt: ctl.Salt, UnlockKey: pub, KeyID: keyID(pub), Nonce: nonce}, nil
}

// Register provisions a store and returns the member's number. Nobody learns
// the Private Key: UK arrives sealed for this process and is only used here.
func (d *Directory) Register(ctx context.Context, r *Registration) (pds.UID, error) {
	kdf, err := seal.KDFByVersion(r.KDF, d.env)
	if err != nil {
		return 0, pds.Refuse(pds.Invalid, pds.CodeMalformed)
	}
	uk, err := d.unlock.open(d.cfg.Now(), r.SessionID, r.Store, r.Nonce, r.Unlock, d.env)
	if err != nil {
		return 0, err
	}
	defer uk.Wipe()
	if same, err := client.Unlock(r.Password, r.Salt, kdf, d.env); err == nil {
		equal := same.UK.Equal(&uk)
		same.Wipe()
		if equal {
			return 0, pds.Refuse(pds.Invalid, pds.CodeKeyIsPassword)
		}
	}
	for range 8 {
		u := r.UID
		if u == 0 {
			u = pds.UID(rand.Uint32() & 0x7fffffff)
		}
		if u == 0 {
			continue
		}
		w := &registerWork{r: r, uk: uk}
		err := d.do(ctx, u, w)
		w.uk.Wipe()
		var e *pds.Error
		if errors.As(err, &e) && e.Code == pds.CodeAlreadyExists && r.UID == 0 {
			continue
		}
		if err != nil {
			return 0, err
		}
		d.log.consent(u)
		return u, nil
	}
	return 0, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
}

type registerWork struct {
	seal.Redacted
	waited
	r  *Registration
	uk seal.Secret
}

func (w *registerWork) applied(m *member, seq uint64) {}
func (w *registerWork) size() int                     { return 8192 + len(w.r.SignWrap) }

func (w *registerWork) prepare(m *member, b *pds.Builder) bool {
	if m.ctl != nil {
		m.end(w, pds.Refuse(pds.Conflict, pds.CodeAlreadyExists))
		return false
	}
	st, err := seal.DecodeStatement(w.r.Statement)
	if err != nil || st.Kind != seal.Register || st.Store != w.r.Store || len(w.r.SignWrap) > 1024 {
		m.end(w, pds.Refuse(pds.Invalid, pds.CodeBadStatement))
		return false
	}
	slot, ref, e := m.newSlot()
	if e != nil {
		m.end(w, e)
		return false
	}
	defer slot.Wipe()
	k := &memberKeys{root: seal.RandomSecret()}
	k.derive(m.d.env)
	defer k.wipe()
	ring := &pds.Keyring{Audit: seal.RandomSecret()}
	defer ring.Wipe()
	priv, pub := seal.DeriveKeyPair(&ring.Audit)
	priv.Wipe()
	c := &pds.Control{Store: w.r.Store, SignKey: w.r.SignKey, KeyID: st.KeyID, KDF: w.r.KDF, Salt: w.r.Salt, Slot: ref, AuditKey: pub}
	kek := seal.Join(&w.uk, &m.d.pepper, &slot)
	c.RootWrap = seal.Wrap(&kek, rootAAD(m.d.env, c.Store), k.root.Bytes())
	kek.Wipe()
	outer := seal.Derive(&k.root, m.d.env, "sign-outer")
	c.SignWrap = seal.Wrap(&outer, seal.Info(m.d.env, "sign-outer", c.Store[:]), w.r.SignWrap)
	outer.Wipe()
	c.Keyring = sealRing(&k.daily, m.d.env, c.Store, ring)
	m.ctl = c // for the entry's sealing only
	op := pds.Operation{Command: newCommand()}
	m.addOp(b, &op, &pds.Mutation{Register: c, Statement: w.r.Statement, Signature: w.r.Signature},
		sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}}, &pds.AuditEntry{Act: pds.ActRegister})
	m.ctl = nil
	return true
}

func rootAAD(env seal.Env, store [16]byte) []byte { return seal.Info(env, "root", store[:]) }

func sealRing(daily *seal.Secret, env seal.Env, store [16]byte, r *pds.Keyring) []byte {
	k := seal.Derive(daily, env, "keyring")
	defer k.Wipe()
	plain := r.Encode()
	defer clear(plain)
	return seal.SealBox(seal.NewCipher(&k), nil, plain, seal.Info(env, "keyring", store[:]))
}

func openRing(daily *seal.Secret, env seal.Env, store [16]byte, b []byte) (*pds.Keyring, error) {
	k := seal.Derive(daily, env, "keyring")
	defer k.Wipe()
	plain, err := seal.OpenBox(seal.NewCipher(&k), nil, b, seal.Info(env, "keyring", store[:]))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return pds.DecodeKeyring(plain)
}

// newSlot makes an erasable half, durable before anything names it.
func (m *member) newSlot() (seal.Secret, pds.SlotRef, *pds.Error) {
	s := seal.RandomSecret()
	id := rand.Uint64() | 1
	if err := m.d.cfg.Host.Slots().Put(id, &s); err != nil {
		s.Wipe()
		return s, pds.SlotRef{}, pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
	}
	return s, pds.SlotRef{ID: id, Hash: seal.SlotHash(m.d.env, &s)}, nil
}

// memberKeys are an unlocked member's keys. They live while some session is
// unlocked.
type memberKeys struct {
	seal.Redacted
	root  seal.Secret // MRK
	daily seal.Secret
	index seal.Secret // IK
	audit *seal.Cipher
	ring  *pds.Keyring
	stale bool // ring must be read again
	units map[compField]*seal.Cipher
}

type compField struct {
	comp  uint32
	field uint8
}

func (k *memberKeys) derive(env seal.Env) {
	k.daily = seal.Derive(&k.root, env, "daily", []byte{0, 0, 0, 1})
	k.index = seal.Derive(&k.daily, env, "index")
	a := seal.Derive(&k.daily, env, "audit-own")
	k.audit = seal.NewCipher(&a)
	a.Wipe()
}

func (k *memberKeys) wipe() {
	k.root.Wipe()
	k.daily.Wipe()
	k.index.Wipe()
	if k.ring != nil {
		k.ring.Wipe()
	}
	k.audit, k.ring, k.units = nil, nil, nil
}

// linkAudit derives the audit key of a connection's generation.
func (k *memberKeys) linkAudit(env seal.Env, id pds.LinkID, generation uint64) seal.Secret {
	var n [8]byte
	putBE64(n[:], generation)
	return seal.Derive(&k.daily, env, "audit-link", id[:], n[:])
}

func (k *memberKeys) tag(env seal.Env, dataset string, instance uint32) pds.Tag {
	return seal.HMAC16(&k.index, env, "tag", []byte(dataset), be32(instance))
}

// unit returns the cipher of a field of one of the member's compartments.
func (k *memberKeys) unit(env seal.Env, c *pds.KeyComp, field uint8) *seal.Cipher {
	f := compField{c.Comp, field}
	if ci := k.units[f]; ci != nil {
		return ci
	}
	key := unitKey(&c.Key, env, field)
	ci := seal.NewCipher(&key)
	key.Wipe()
	if k.units == nil {
		k.units = map[compField]*seal.Cipher{}
	}
	k.units[f] = ci
	return ci
}

// session is one signed-in session that has unlocked the store.
type session struct {
	opened, used int64
	seen         map[string]bool // datasets whose opening has its entry
}

// unlocked returns the keys if the session is unlocked now.
func (m *member) unlocked(s Session) (*memberKeys, *session, *pds.Error) {
	m.expireSessions(m.d.cfg.Now().UnixMilli())
	x := m.sessions[s.ID]
	if x == nil || m.keys == nil || m.ctl == nil {
		return nil, nil, pds.Refuse(pds.Locked, pds.CodeLocked)
	}
	if m.keys.stale || m.keys.ring == nil {
		ring, err := openRing(&m.keys.daily, m.d.env, m.ctl.Store, m.ctl.Keyring)
		if err != nil {
			return nil, nil, pds.Refuse(pds.Internal, pds.CodeInternal)
		}
		if m.keys.ring != nil {
			m.keys.ring.Wipe()
		}
		m.keys.ring, m.keys.stale, m.keys.units = ring, false, nil
	}
	x.used = m.d.cfg.Now().UnixMilli()
	return m.keys, x, nil
}

func (m *member) unlockedNow() bool {
	m.expireSessions(m.d.cfg.Now().UnixMilli())
	return len(m.sessions) > 0
}

func (m *member) expireSessions(now int64) {
	for id, s := range m.sessions {
		if now-s.used > sessionIdle.Milliseconds() || now-s.opened > sessionMost.Milliseconds() {
			delete(m.sessions, id)
		}
	}
	if len(m.sessions) == 0 && m.keys != nil {
		m.keys.wipe()
		m.keys = nil
		clear(m.epochs)
	}
}

// Unlock opens the store for a session with the Private Key's UK. Wrong keys
// are counted in replicated state: ten an hour, then wait.
func (d *Directory) Unlock(ctx context.Context, s Session, nonce, sealed []byte) (*Unlocked, error) {
	ctl, err := d.control(s.UID)
	if err != nil {
		return nil, err
	}
	if ctl == nil {
		return nil, pds.Refuse(pds.NotFound, pds.CodeNoConnection)
	}
	uk, err := d.unlock.open(d.cfg.Now(), s.ID, ctl.Store, nonce, sealed, d.env)
	if err != nil {
		return nil, err
	}
	w := &unlockWork{s: s, uk: uk}
	err = d.do(ctx, s.UID, w)
	w.uk.Wipe()
	uk.Wipe()
	if err != nil {
		return nil, err
	}
	if w.refuse != nil {
		return nil, w.refuse
	}
	return w.out, nil
}

type unlockWork struct {
	seal.Redacted
	waited
	s      Session
	uk     seal.Secret
	keys   *memberKeys
	out    *Unlocked
	refuse *pds.Error
}

func (w *unlockWork) prepare(m *member, b *pds.Builder) bool {
	w.refuse, w.out = nil, nil
	if w.keys != nil {
		w.keys.wipe()
		w.keys = nil
	}
	if m.ctl == nil {
		m.end(w, pds.Refuse(pds.NotFound, pds.CodeNoConnection))
		return false
	}
	fails := 0
	for _, f := range m.ctl.Fails {
		if f > m.now-3600_000 {
			fails++
		}
	}
	op := pds.Operation{Command: newCommand()}
	if fails >= pds.MaxFails {
		w.refuse = pds.Refuse(pds.Denied, pds.CodeTooManyTries)
		if !m.refuse(b, nil, 0, pds.ActUnlock, "", 0, w.refuse, op.Command) {
			m.end(w, nil)
			return false
		}
		return true
	}
	slot, e := m.slot(m.ctl.Slot)
	if e != nil {
		m.end(w, e)
		return false
	}
	kek := seal.Join(&w.uk, &m.d.pepper, &slot)
	slot.Wipe()
	root, err := seal.UnwrapSecret(&kek, rootAAD(m.d.env, m.ctl.Store), m.ctl.RootWrap)
	kek.Wipe()
	if err != nil {
		w.refuse = pds.Refuse(pds.Denied, pds.CodeWrongPassphrase)
		op.Result = w.refuse.Code
		se, mu := m.ownSealer(&pds.Mutation{Fail: m.now})
		m.addOp(b, &op, mu, se, &pds.AuditEntry{Act: pds.ActUnlock, Result: op.Result})
		return true
	}
	k := &memberKeys{root: root}
	k.derive(m.d.env)
	outer := seal.Derive(&k.root, m.d.env, "sign-outer")
	inner, err := seal.Unwrap(&outer, seal.Info(m.d.env, "sign-outer", m.ctl.Store[:]), m.ctl.SignWrap)
	outer.Wipe()
	if err != nil {
		k.wipe()
		m.end(w, pds.Refuse(pds.Internal, pds.CodeInternal))
		return false
	}
	w.keys = k
	w.out = &Unlocked{SignWrap: inner, Salt: m.ctl.Salt, Expires: time.UnixMilli(m.now).Add(sessionIdle)}
	var mu *pds.Mutation
	if len(m.ctl.Fails) > 0 {
		mu = &pds.Mutation{FailsOver: true}
	}
	m.addOp(b, &op, mu, sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}}, &pds.AuditEntry{Act: pds.ActUnlock})
	return true
}

func (w *unlockWork) applied(m *member, _ uint64) {
	if w.refuse != nil {
		return
	}
	if m.keys != nil {
		w.keys.wipe()
	} else {
		m.keys = w.keys
	}
	if m.sessions == nil {
		m.sessions = map[[16]byte]*session{}
	}
	if len(m.sessions) >= 32 {
		clear(m.sessions) // a member has few devices; the oldest must unlock again
	}
	m.sessions[w.s.ID] = &session{opened: m.now, used: m.now, seen: map[string]bool{}}
	for i := range m.ctl.Links {
		if m.ctl.Links[i].Owed {
			m.owe()
			break
		}
	}
}

func (w *unlockWork) finish(e *pds.Error) {
	if e != nil && w.keys != nil {
		w.keys.wipe()
	}
	w.waited.finish(e)
}

// quick is work that needs the actor but no entry.
type quick struct {
	waited
	f func(m *member) *pds.Error
}

func (w *quick) applied(*member, uint64) {}
func (w *quick) prepare(m *member, _ *pds.Builder) bool {
	m.end(w, w.f(m))
	return false
}

// Lock ends what a session unlocked.
func (d *Directory) Lock(ctx context.Context, s Session) error {
	return d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		delete(m.sessions, s.ID)
		m.expireSessions(m.now)
		return nil
	}})
}

// IsUnlocked reports whether the session may read now.
func (d *Directory) IsUnlocked(ctx context.Context, s Session) bool {
	return d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		_, _, e := m.unlocked(s)
		return e
	}}) == nil
}

// NoteSignIn journals a sign-in, good or failed.
func (d *Directory) NoteSignIn(ctx context.Context, uid pds.UID, ok bool) error {
	return d.do(ctx, uid, &noteWork{ok: ok})
}

type noteWork struct {
	waited
	ok bool
}

func (w *noteWork) applied(*member, uint64) {}
func (w *noteWork) prepare(m *member, b *pds.Builder) bool {
	if m.ctl == nil {
		m.end(w, pds.Refuse(pds.NotFound, pds.CodeNoConnection))
		return false
	}
	if !w.ok {
		if !m.refuse(b, nil, 0, pds.ActSignIn, "", 0, pds.Refuse(pds.Denied, pds.CodeWrongPassphrase), [16]byte{}) {
			m.end(w, nil)
			return false
		}
		return true
	}
	se, mu := m.ownSealer(nil)
	m.addOp(b, &pds.Operation{Command: newCommand()}, mu, se, &pds.AuditEntry{Act: pds.ActSignIn})
	return true
}
