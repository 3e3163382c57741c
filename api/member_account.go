package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

// Kinds of the registry's entries about accounts. The name of an account is
// its MydexID in lower case, that of an email the address in lower case, that
// of a member its uid in decimal.
const (
	KindAccount = "account"
	KindEmail   = "email"
	KindMember  = "member"
)

// AccountRecord is a log-in. It is reserved before the store is made and
// confirmed after: with UID 0 it opens nothing, and after Reserved it may be
// taken by another.
type AccountRecord struct {
	Mydexid  string  `json:"mydexid"` // as the member spells it
	Email    string  `json:"email"`
	Password string  `json:"password"` // PHC string
	UID      pds.UID `json:"uid"`
	SignKey  []byte  `json:"sign_key"`           // Ed25519 public key of the registration
	Created  int64   `json:"created"`            // Unix seconds
	Reserved int64   `json:"reserved,omitempty"` // until then, Unix seconds
}

// MemberRecord leads from a uid to the account.
type MemberRecord struct {
	Mydexid string `json:"mydexid"`
}

// MemberName is the registry name of a member.
func MemberName(u pds.UID) string { return utoa(uint64(u)) }

// reservation is how long a registration may take, in seconds.
const reservation = 600

type paramsAnswer struct {
	Environment string `json:"environment"`
	Session     b64    `json:"session"`
	Store       b64    `json:"store"`
	Nonce       b64    `json:"nonce"`
	UnlockKey   b64    `json:"unlock_key"`
	KeyID       string `json:"key_id"`
	KDF         byte   `json:"kdf"`
	Salt        b64    `json:"salt,omitempty"`
}

func (m *members) paramsAnswer(session [16]byte, p *actors.UnlockParams) *paramsAnswer {
	return &paramsAnswer{
		Environment: m.s.cfg.Env.String(), Session: session[:], Store: p.Store[:], Nonce: p.Nonce,
		UnlockKey: b64(p.UnlockKey), KeyID: p.KeyID, KDF: p.KDF,
	}
}

// params prepares a registration.
func (m *members) params(ctx *fasthttp.RequestCtx) error {
	if err := m.s.limited("register "+addressOf(ctx), m.registerRate(), m.burst(50)); err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	var session [16]byte
	_, _ = rand.Read(session[:])
	p, err := m.store.NewUnlockParams(c, session)
	if err != nil {
		return err
	}
	a := m.paramsAnswer(session, &p)
	a.KDF = seal.KDFFloor
	if m.sandbox() {
		a.KDF = seal.KDFSandbox
	}
	return writeJSON(ctx, fasthttp.StatusOK, a)
}

// registerRate is registrations a second of one address: a sandbox is filled
// with members by the thousand.
func (m *members) registerRate() float64 {
	if m.sandbox() {
		return 500
	}
	return 1
}

// burst is how many at once: a sandbox's members come from one address.
func (m *members) burst(live float64) float64 {
	if m.sandbox() {
		return 5000
	}
	return live
}

type registerRequest struct {
	Mydexid   string `json:"mydexid"`
	Email     string `json:"email"`
	Password  string `json:"password"`
	Session   b64    `json:"session"`
	Store     b64    `json:"store"`
	Nonce     b64    `json:"nonce"`
	KDF       byte   `json:"kdf"`
	Salt      b64    `json:"salt"`
	SignKey   b64    `json:"sign_key"`
	SignWrap  b64    `json:"sign_wrap"`
	Unlock    b64    `json:"unlock"`
	Statement b64    `json:"statement"`
	Signature b64    `json:"signature"`
}

// registration checks what can be checked without the registry.
func (m *members) registration(r *registerRequest) (*actors.Registration, error) {
	r.Mydexid, r.Email = strings.TrimSpace(r.Mydexid), strings.TrimSpace(r.Email)
	if err := checkMydexid(r.Mydexid); err != nil {
		return nil, err
	}
	if err := checkEmail(r.Email); err != nil {
		return nil, err
	}
	switch {
	case !utf8.ValidString(r.Password) || utf8.RuneCountInString(r.Password) < 8:
		return nil, fieldProblem("password", "at least 8 characters")
	case len(r.Password) > 1024:
		return nil, fieldProblem("password", "at most 1024 bytes")
	case strings.EqualFold(r.Password, r.Mydexid):
		return nil, fieldProblem("password", "must differ from the mydexid")
	}
	out := &actors.Registration{
		Nonce: r.Nonce, KDF: r.KDF, SignWrap: r.SignWrap, Unlock: r.Unlock, Password: r.Password,
		Statement: r.Statement, Signature: r.Signature,
	}
	var err [4]error
	out.SessionID, err[0] = sized[[16]byte]("session", r.Session)
	out.Store, err[1] = sized[[16]byte]("store", r.Store)
	out.Salt, err[2] = sized[[16]byte]("salt", r.Salt)
	out.SignKey, err[3] = sized[[32]byte]("sign_key", r.SignKey)
	for _, e := range err {
		if e != nil {
			return nil, e
		}
	}
	if _, err := seal.KDFByVersion(r.KDF, m.s.cfg.Env); err != nil {
		return nil, fieldProblem("kdf", "not accepted in this environment")
	}
	st, e := seal.DecodeStatement(r.Statement)
	if e != nil || st.Kind != seal.Register || st.Env != m.s.cfg.Env || st.Store != out.Store {
		return nil, fieldProblem("statement", "not a registration of this store")
	}
	if st.Verify(out.SignKey, r.Signature) != nil {
		return nil, fieldProblem("signature", "does not hold")
	}
	return out, nil
}

// checkMydexid has the rules of the published API: at least 3 characters,
// letters and digits, not only digits.
func checkMydexid(s string) error {
	letters := 0
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			letters++
		case r >= '0' && r <= '9':
		default:
			return fieldProblem("mydexid", "letters and digits only")
		}
	}
	switch {
	case len(s) < 3:
		return fieldProblem("mydexid", "at least 3 characters")
	case len(s) > 64:
		return fieldProblem("mydexid", "at most 64 characters")
	case letters == 0:
		return fieldProblem("mydexid", "not only digits")
	}
	return nil
}

func checkEmail(s string) error {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 || !strings.Contains(s[strings.LastIndexByte(s, '@')+1:], ".") {
		return fieldProblem("email", "not an email address")
	}
	return nil
}

// register reserves the names, makes the store, and confirms. What was
// reserved is given back if the store is not made, or falls free by time if
// this node stops in between.
func (m *members) register(ctx *fasthttp.RequestCtx) error {
	if err := m.s.limited("register "+addressOf(ctx), m.registerRate(), m.burst(50)); err != nil {
		return err
	}
	var in registerRequest
	if err := decodeJSON(ctx, 64<<10, &in); err != nil {
		return err
	}
	reg, err := m.registration(&in)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	now := m.s.now()
	acc := &AccountRecord{Mydexid: in.Mydexid, Email: in.Email, Created: now.Unix(), Reserved: now.Unix() + reservation}
	if acc.Password, err = m.hashPassword(c, in.Password); err != nil {
		return err
	}
	version, err := m.reserve(c, KindAccount, in.Mydexid, "mydexid", acc, now)
	if err != nil {
		return err
	}
	undo := func(kinds ...string) {
		// The request may have run out of time; giving back must not.
		u, cancel := m.call()
		defer cancel()
		for _, k := range kinds {
			name := in.Mydexid
			if k == KindEmail {
				name = in.Email
			}
			_ = m.s.reg.Delete(u, k, foldID(name), 0)
		}
	}
	eversion, err := m.reserve(c, KindEmail, in.Email, "email", acc, now)
	if err != nil {
		undo(KindAccount)
		return err
	}
	uid, err := m.store.Register(c, reg)
	if err != nil {
		var e *pds.Error
		if !errors.As(err, &e) || e.Kind != pds.Unknown {
			undo(KindAccount, KindEmail)
		}
		return err
	}
	acc.UID, acc.Reserved, acc.SignKey = uid, 0, in.SignKey
	for _, p := range []struct {
		kind, name string
		v          any
		version    uint64
	}{
		{KindMember, MemberName(uid), &MemberRecord{Mydexid: in.Mydexid}, 0},
		{KindEmail, foldID(in.Email), acc.forEmail(), eversion},
		{KindAccount, foldID(in.Mydexid), acc, version},
	} {
		if err := putRecord(c, m.s.reg, p.kind, p.name, p.v, p.version); err != nil {
			return err
		}
	}
	return writeJSON(ctx, fasthttp.StatusCreated, map[string]any{"uid": uid, "mydexid": in.Mydexid})
}

// forEmail is what stands under the email: it must not hold the password.
func (a *AccountRecord) forEmail() *AccountRecord {
	b := *a
	b.Password = ""
	return &b
}

// reserve takes a name that is free, or whose reservation has run out.
func (m *members) reserve(c context.Context, kind, name, field string, acc *AccountRecord, now time.Time) (uint64, error) {
	taken := &Problem{Status: errExists.Status, Slug: errExists.Slug, Title: errExists.Title, Field: field}
	v := acc
	if kind == KindEmail {
		v = acc.forEmail()
	}
	var old AccountRecord
	version, err := getVersion(c, m.s.reg, kind, foldID(name), &old)
	switch {
	case isNotFound(err):
		version = 0
	case err != nil:
		return 0, err
	case old.Reserved > now.Unix():
		return 0, taken
	case old.UID != 0:
		held, err := m.held(c, kind, &old)
		if err != nil || held {
			return 0, cmp.Or[error](err, taken)
		}
	}
	if err := putRecord(c, m.s.reg, kind, foldID(name), v, version); err != nil {
		if isConflict(err) {
			return 0, taken
		}
		return 0, err
	}
	return getVersion(c, m.s.reg, kind, foldID(name), &old)
}

// held reports whether a confirmed name belongs to an account. An email whose
// account was never confirmed, because a node stopped in between, does not.
func (m *members) held(c context.Context, kind string, r *AccountRecord) (bool, error) {
	if kind == KindAccount {
		return true, nil
	}
	var acc AccountRecord
	err := getRecord(c, m.s.reg, KindAccount, foldID(r.Mydexid), &acc)
	if isNotFound(err) {
		return false, nil
	}
	return err != nil || acc.UID == r.UID, err
}

// hashPassword waits for its turn, as verifying does.
func (m *members) hashPassword(c context.Context, pw string) (string, error) {
	if err := m.turn(c); err != nil {
		return "", err
	}
	defer func() { <-m.hash }()
	return seal.HashPassword(pw, m.s.cfg.Env), nil
}

func (m *members) turn(c context.Context) error {
	select {
	case m.hash <- struct{}{}:
		return nil
	case <-c.Done():
		return pds.Refuse(pds.Busy, pds.CodeBusy)
	}
}
