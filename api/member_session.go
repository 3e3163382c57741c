package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

const (
	sessionLife  = 12 * time.Hour
	sessionCache = 30 * time.Second // how long another node's sign-out may go unseen
	sessionSweep = 10 * time.Minute
)

// KindSession is the registry's kind for sessions, stored under Digest of the
// bearer token.
const KindSession = "session"

// SessionRecord is a signed-in member. ID goes into unlock envelopes; it is
// not the token and does not lead to it.
type SessionRecord struct {
	UID     pds.UID  `json:"uid"`
	ID      [16]byte `json:"id"`
	Mydexid string   `json:"mydexid"`
	Env     byte     `json:"env"`
	Expires int64    `json:"expires"` // Unix seconds
}

// session is a verified session. It is shared and never changed.
type session struct {
	SessionRecord
	digest  string
	checked time.Time
}

// at is the session as the Directory knows it.
func (s *session) at() actors.Session { return actors.Session{UID: s.UID, ID: s.ID} }

// sessions issues and verifies session tokens: opaque, 256 random bits, kept
// as their SHA-256.
type sessions struct {
	reg Registry
	env seal.Env
	now func() time.Time

	mu    sync.Mutex
	cache map[string]*session // by digest
	swept time.Time
}

func newSessions(reg Registry, env seal.Env, now func() time.Time) *sessions {
	return &sessions{reg: reg, env: env, now: now, cache: map[string]*session{}, swept: now()}
}

func (t *sessions) issue(ctx context.Context, uid pds.UID, mydexid string) (token string, s *session, err error) {
	token = secretText("hfm_", t.env)
	s = &session{digest: Digest(token), checked: t.now()}
	s.SessionRecord = SessionRecord{UID: uid, Mydexid: mydexid, Env: byte(t.env), Expires: t.now().Add(sessionLife).Unix()}
	_, _ = rand.Read(s.ID[:])
	if err := putRecord(ctx, t.reg, KindSession, s.digest, &s.SessionRecord, 0); err != nil {
		return "", nil, err
	}
	t.keep(s)
	return token, s, nil
}

func (t *sessions) keep(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cache) >= maxCached {
		clear(t.cache)
	}
	t.cache[s.digest] = s
}

// verify says whose session a token is; errToken if nobody's.
func (t *sessions) verify(ctx context.Context, token string) (*session, error) {
	if token == "" || len(token) > 128 {
		return nil, errToken
	}
	d := Digest(token)
	now := t.now()
	t.mu.Lock()
	s := t.cache[d]
	t.mu.Unlock()
	if s != nil && now.Unix() < s.Expires && now.Sub(s.checked) < sessionCache {
		return s, nil
	}
	s = &session{digest: d, checked: now}
	if err := getRecord(ctx, t.reg, KindSession, d, &s.SessionRecord); err != nil {
		t.drop(d)
		return nil, notFoundAs(err, errToken)
	}
	if s.Env != byte(t.env) || now.Unix() >= s.Expires {
		t.drop(d)
		return nil, errToken
	}
	t.keep(s)
	return s, nil
}

func (t *sessions) drop(digest string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.cache, digest)
}

// end makes a session's token worthless.
func (t *sessions) end(ctx context.Context, s *session) error {
	t.drop(s.digest)
	if err := t.reg.Delete(ctx, KindSession, s.digest, 0); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}

// sweep deletes expired sessions, at most every sessionSweep.
func (t *sessions) sweep(ctx context.Context) error {
	now := t.now()
	t.mu.Lock()
	due := now.Sub(t.swept) >= sessionSweep
	if due {
		t.swept = now
	}
	t.mu.Unlock()
	if !due {
		return nil
	}
	var dead []string
	err := t.reg.List(ctx, KindSession, func(name string, value []byte, _ uint64) error {
		var r SessionRecord
		if json.Unmarshal(value, &r) == nil && r.Expires <= now.Unix() {
			dead = append(dead, name)
		}
		return nil
	})
	for _, name := range dead {
		t.drop(name)
		if e := t.reg.Delete(ctx, KindSession, name, 0); e != nil && !isNotFound(e) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// authenticate says which member calls.
func (m *members) authenticate(ctx *fasthttp.RequestCtx) (*session, error) {
	c, cancel := m.call()
	defer cancel()
	who, err := m.sess.verify(c, bearer(ctx))
	if err != nil {
		m.s.counts.unidentified.Inc()
		if err == errToken {
			if e := m.s.limited("bad-session "+addressOf(ctx), m.s.limits.TokenRate, m.s.limits.TokenBurst); e != nil {
				return nil, e
			}
		}
		return nil, err
	}
	if err := m.s.limited("member "+who.digest, memberRate, memberBurst); err != nil {
		return nil, err
	}
	return who, nil
}

// Limits of one member's session, requests a second and at once.
const (
	memberRate  = 200
	memberBurst = 1000
)

// foldID is how a MydexID or an email is looked up: two spellings that differ
// in case only would look alike to people, so only one of them can be taken.
func foldID(s string) string { return strings.ToLower(s) }
