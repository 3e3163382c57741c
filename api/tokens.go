package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

const (
	tokenLife  = time.Hour        // of an access token
	tokenCache = 60 * time.Second // how long a verified token is believed; so long a disabled client may go on
	tokenSweep = 10 * time.Minute
	maxCached  = 1 << 16
)

// Scopes that a client can be given. A route's own scope is its method and path.
const (
	ScopePDX    = "mydex:pdx"
	ScopeManage = "manage"
)

// routeScopes are the published scopes of single routes.
var routeScopes = []string{
	"post:/calendar/add-event", "post:/calendar/add-appointment", "put:/calendar/update-event",
	"delete:/calendar/delete-event", "get:/calendar/get-events", "get:/calendar/get-appointments",
	"post:/referrals/self-refer", "get:/referrals/read-all", "get:/referrals/read-single", "put:/referrals/update-status",
	"post:/secure-messages/send", "post:/secure-messages/receive", "get:/secure-messages/conversation",
	"get:/timeline", "get:/timeline/single-item", "post:/api/pds/add-measurements",
}

// Scopes lists every scope there is.
func Scopes() []string { return append([]string{ScopePDX, ScopeManage}, routeScopes...) }

// subscriber is who a token speaks for. It is shared and never changed.
type subscriber struct {
	client  string
	org     string
	scopes  []string
	nids    []pds.NID // sorted
	expires time.Time
	checked time.Time
	bucket  string // of its rate limit
}

func (s *subscriber) owns(n pds.NID) bool {
	_, ok := slices.BinarySearch(s.nids, n)
	return ok
}

func (s *subscriber) may(scope string) bool { return slices.Contains(s.scopes, scope) }

// tokens verifies and issues access tokens. A token is opaque: 256 random bits
// after a prefix that names the environment; the registry has its SHA-256.
type tokens struct {
	reg Registry
	env seal.Env
	now func() time.Time

	mu    sync.RWMutex
	cache map[[32]byte]*subscriber
}

func newTokens(reg Registry, env seal.Env, now func() time.Time) *tokens {
	return &tokens{reg: reg, env: env, now: now, cache: map[[32]byte]*subscriber{}}
}

// secretText makes 256 random bits readable, behind a prefix by which people
// and secret scanners know what they found.
func secretText(prefix string, env seal.Env) string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	e := "live_"
	if env == seal.Sandbox {
		e = "sbx_"
	}
	return prefix + e + base64.RawURLEncoding.EncodeToString(b[:])
}

// issue stores a new token and returns it.
func (t *tokens) issue(ctx context.Context, client, org string, scopes []string, life time.Duration) (token string, expires time.Time, err error) {
	token = secretText("hft_", t.env)
	expires = t.now().Add(life).Truncate(time.Second)
	v, err := json.Marshal(TokenRecord{Client: client, Org: org, Scopes: scopes, Env: byte(t.env), Expires: expires.Unix()})
	if err != nil {
		return "", time.Time{}, err
	}
	if _, err := t.reg.Put(ctx, KindToken, Digest(token), v, 0); err != nil {
		return "", time.Time{}, err
	}
	return token, expires, nil
}

// verify says for whom a token speaks; errToken if for nobody. It reads the
// registry, for at most d, only if it has not done so within a minute.
func (t *tokens) verify(ctx context.Context, token string, d time.Duration) (*subscriber, error) {
	if token == "" || len(token) > 128 {
		return nil, errToken
	}
	id := sha256.Sum256([]byte(token))
	now := t.now()
	t.mu.RLock()
	s := t.cache[id]
	t.mu.RUnlock()
	if s != nil && now.Before(s.expires) && now.Sub(s.checked) < tokenCache {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	s, err := t.load(ctx, hex.EncodeToString(id[:]), now)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		delete(t.cache, id)
		return nil, err
	}
	if len(t.cache) >= maxCached {
		clear(t.cache)
	}
	t.cache[id] = s
	return s, nil
}

func (t *tokens) load(ctx context.Context, digest string, now time.Time) (*subscriber, error) {
	var r TokenRecord
	if err := getRecord(ctx, t.reg, KindToken, digest, &r); err != nil {
		return nil, notFoundAs(err, errToken)
	}
	s := &subscriber{bucket: "client " + r.Org + " " + r.Client, client: r.Client, org: r.Org, scopes: r.Scopes, expires: time.Unix(r.Expires, 0), checked: now}
	if r.Env != byte(t.env) || !now.Before(s.expires) {
		return nil, errToken
	}
	if r.Client != "" {
		var c ClientRecord
		if err := getRecord(ctx, t.reg, KindClient, r.Client, &c); err != nil {
			return nil, notFoundAs(err, errToken)
		}
		if c.Disabled || c.Org != r.Org {
			return nil, errToken
		}
		// A scope taken from the client is gone from its tokens too.
		s.scopes = slices.DeleteFunc(slices.Clone(r.Scopes), func(sc string) bool { return !slices.Contains(c.Scopes, sc) })
		s.nids = slices.Sorted(slices.Values(c.NIDs))
	}
	return s, nil
}

// forget drops what is believed about a client's tokens on this node.
func (t *tokens) forget(client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range t.cache {
		if s.client == client {
			delete(t.cache, id)
		}
	}
}

// sweep deletes expired tokens from the registry.
func (t *tokens) sweep(ctx context.Context) error {
	now := t.now().Unix()
	var dead []string
	err := t.reg.List(ctx, KindToken, func(name string, value []byte, _ uint64) error {
		var r TokenRecord
		if json.Unmarshal(value, &r) == nil && r.Expires <= now {
			dead = append(dead, name)
		}
		return nil
	})
	for _, name := range dead {
		if e := t.reg.Delete(ctx, KindToken, name, 0); e != nil && !isNotFound(e) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (s *Server) sweepTokens() {
	tick := time.NewTicker(tokenSweep)
	defer tick.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case <-tick.C:
			if err := s.tokens.sweep(s.base); err != nil && s.base.Err() == nil {
				s.log.Warn("expired tokens not swept")
			}
		}
	}
}

// authenticate says which subscriber calls, and applies its rate limit. scope
// is what the route needs.
func (s *Server) authenticate(ctx *fasthttp.RequestCtx, scope string) (*subscriber, error) {
	who, err := s.tokens.verify(s.base, bearer(ctx), s.limits.Request)
	if err != nil {
		s.counts.unidentified.Inc()
		if err == errToken {
			if e := s.limited("bad-token "+addressOf(ctx), s.limits.TokenRate, s.limits.TokenBurst); e != nil {
				return nil, e
			}
		}
		return nil, err
	}
	if !who.may(scope) {
		s.counts.unidentified.Inc()
		return nil, errScope.with(scope)
	}
	if err := s.limited(who.bucket, s.limits.Rate, s.limits.RateBurst); err != nil {
		return nil, err
	}
	return who, nil
}

// addressOf is the caller's address without its port.
func addressOf(ctx *fasthttp.RequestCtx) string { return ctx.RemoteIP().String() }

// getRecord reads a registry entry into v.
func getRecord(ctx context.Context, reg Registry, kind, name string, v any) error {
	_, err := getVersion(ctx, reg, kind, name, v)
	return err
}

func getVersion(ctx context.Context, reg Registry, kind, name string, v any) (uint64, error) {
	b, version, err := reg.Get(ctx, kind, name)
	if err != nil {
		return 0, err
	}
	return version, json.Unmarshal(b, v)
}

// putRecord stores v iff the present version is version.
func putRecord(ctx context.Context, reg Registry, kind, name string, v any, version uint64) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = reg.Put(ctx, kind, name, b, version)
	return err
}

func isNotFound(err error) bool {
	var e *pds.Error
	return errors.As(err, &e) && e.Kind == pds.NotFound
}

func isConflict(err error) bool {
	var e *pds.Error
	return errors.As(err, &e) && e.Kind == pds.Conflict
}

// notFoundAs replaces a registry's "not found" by what it means here.
func notFoundAs(err, meaning error) error {
	if isNotFound(err) {
		return meaning
	}
	return err
}
