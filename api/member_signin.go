package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

// errSignIn is the one answer to a sign-in that fails, whatever the cause.
var errSignIn = problem(http.StatusUnauthorized, "sign-in-not-accepted", "MydexID or password not accepted")

// noted is a failed sign-in of an account that exists.
type noted struct{ uid pds.UID }

// noteFailures journals failed sign-ins. The answer does not wait for it: a
// wait would tell by its time which accounts exist.
func (m *members) noteFailures() {
	for {
		select {
		case <-m.s.base.Done():
			return
		case n := <-m.notes:
			c, cancel := m.s.deadline(m.s.limits.Request)
			_ = m.store.NoteSignIn(c, n.uid, false)
			cancel()
		}
	}
}

// signInRate is attempts a second on one name and from one address, with a
// burst. A sandbox has thousands of members behind one address.
func (m *members) signInRate() (name, address float64) {
	if m.sandbox() {
		return 1, 500
	}
	return 1.0 / 6, 2
}

// signIn opens a session. An unknown name costs and answers the same as a
// wrong password.
func (m *members) signIn(ctx *fasthttp.RequestCtx) error {
	var in struct {
		Mydexid  string `json:"mydexid"`
		Password string `json:"password"`
	}
	if err := decodeJSON(ctx, 8<<10, &in); err != nil {
		return err
	}
	byName, byAddress := m.signInRate()
	if err := m.s.limited("sign-in-address "+addressOf(ctx), byAddress, m.burst(100)); err != nil {
		return err
	}
	if err := m.s.limited("sign-in-name "+Digest(foldID(in.Mydexid)), byName, 10); err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	acc, err := m.verifyPassword(c, in.Mydexid, in.Password)
	if err != nil {
		return err
	}
	if err := m.store.NoteSignIn(c, acc.UID, true); err != nil {
		return err
	}
	token, s, err := m.sess.issue(c, acc.UID, acc.Mydexid)
	if err != nil {
		return err
	}
	if err := m.sess.sweep(c); err != nil {
		m.s.log.Warn("expired sessions not swept")
	}
	return writeJSON(ctx, fasthttp.StatusOK, map[string]any{"session": token, "uid": s.UID, "mydexid": s.Mydexid, "expires": s.Expires})
}

// verifyPassword returns the account that a name and password open.
func (m *members) verifyPassword(c context.Context, mydexid, password string) (*AccountRecord, error) {
	var acc AccountRecord
	known := len(mydexid) <= 64 && len(password) <= 1024
	err := getRecord(c, m.s.reg, KindAccount, foldID(mydexid), &acc)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	known = known && err == nil && acc.UID != 0 && acc.Mydexid == mydexid
	if err := m.turn(c); err != nil {
		return nil, err
	}
	defer func() { <-m.hash }()
	if !known {
		seal.DummyVerify(password[:min(len(password), 1024)], m.s.cfg.Env)
		return nil, errSignIn
	}
	if !seal.VerifyPassword(password, acc.Password, m.s.cfg.Env) {
		select {
		case m.notes <- noted{acc.UID}:
		default: // under attack: the limits and counters show it
		}
		return nil, errSignIn
	}
	return &acc, nil
}

// signOut ends the session and locks what it had unlocked.
func (m *members) signOut(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	if err := m.store.Lock(c, s.at()); err != nil {
		return err
	}
	if err := m.sess.end(c, s); err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

func (m *members) unlockParams(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	p, err := m.store.UnlockParams(c, s.at())
	if err != nil {
		return err
	}
	a := m.paramsAnswer(s.ID, &p)
	a.Salt = p.Salt[:]
	return writeJSON(ctx, fasthttp.StatusOK, a)
}

// unlock takes the sealed unlock key. Wrong keys are counted and journalled
// by the store.
func (m *members) unlock(ctx *fasthttp.RequestCtx, s *session) error {
	if err := m.s.limited("unlock "+utoa(uint64(s.UID)), 1, 20); err != nil {
		return err
	}
	var in struct {
		Nonce  b64 `json:"nonce"`
		Sealed b64 `json:"sealed"`
	}
	if err := decodeJSON(ctx, 16<<10, &in); err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	u, err := m.store.Unlock(c, s.at(), in.Nonce, in.Sealed)
	var refused *pds.Error
	if errors.As(err, &refused) && refused.Code == pds.CodeTooManyTries {
		return pds.Refuse(pds.Busy, pds.CodeTooManyTries) // to wait is what helps
	}
	if err != nil {
		return err
	}
	return writeJSON(ctx, fasthttp.StatusOK, struct {
		SignWrap b64   `json:"sign_wrap"`
		Salt     b64   `json:"salt"`
		Expires  int64 `json:"expires"`
	}{u.SignWrap, u.Salt[:], u.Expires.Unix()})
}

func (m *members) lock(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	if err := m.store.Lock(c, s.at()); err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

func (m *members) me(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	var acc AccountRecord
	if err := getRecord(c, m.s.reg, KindAccount, foldID(s.Mydexid), &acc); err != nil {
		return notFoundAs(err, errToken)
	}
	banner := ""
	if m.sandbox() {
		banner = "Sandbox: test data only, no real personal data."
	}
	return writeJSON(ctx, fasthttp.StatusOK, struct {
		Mydexid     string `json:"mydexid"`
		UID         uint32 `json:"uid"`
		Email       string `json:"email"`
		Environment string `json:"environment"`
		Banner      string `json:"banner,omitempty"`
		Unlocked    bool   `json:"unlocked"`
		Expires     int64  `json:"expires"`
		Created     string `json:"created"`
	}{
		s.Mydexid, uint32(s.UID), acc.Email, m.s.cfg.Env.String(), banner, m.store.IsUnlocked(c, s.at()), s.Expires,
		time.Unix(acc.Created, 0).UTC().Format(time.RFC3339),
	})
}
