package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

func (w *pdxWorld) fetch(form string, header ...string) (answer, map[string]any) {
	w.t.Helper()
	a := w.call("POST", "/oauth2/token", strings.NewReader(form), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
	var m map[string]any
	_ = json.Unmarshal([]byte(a.body), &m)
	return a, m
}

func TestToken_ClientCredentials(t *testing.T) {
	w := newPDX(t, Limits{})
	auth := basic(w.con.ClientID, w.con.ClientSecret)
	a, m := w.fetch("grant_type=client_credentials&scope=mydex:pdx+post:/calendar/add-event", "Authorization", auth)
	if a.status != 200 || m["token_type"] != "Bearer" || m["scope"] != "mydex:pdx post:/calendar/add-event" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if e := m["expires_in"].(float64); e < 3590 || e > 3600 {
		t.Errorf("expires in %v", e)
	}
	token := m["access_token"].(string)
	if a := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home, "H:Authorization", "Bearer "+token); a.status != 200 {
		t.Errorf("the token is not accepted: %d", a.status)
	}
	if w.reg.m[KindToken+"\x00"+Digest(token)].value == nil || strings.Contains(string(w.reg.m[KindToken+"\x00"+Digest(token)].value), token[8:]) {
		t.Error("the token is stored as it is, or not at all")
	}
	// Without a scope: all that the client has.
	if _, m := w.fetch("grant_type=client_credentials", "Authorization", auth); len(strings.Fields(m["scope"].(string))) != len(routeScopes)+1 {
		t.Errorf("scope %v", m["scope"])
	}
	// The credentials may stand in the body.
	if a, _ := w.fetch("grant_type=client_credentials&client_id=" + w.con.ClientID + "&client_secret=" + w.con.ClientSecret); a.status != 200 {
		t.Errorf("in the body: %d %s", a.status, a.body)
	}
	for _, c := range []struct {
		name, form, auth string
		status           int
		code             string
	}{
		{"unknown scope", "grant_type=client_credentials&scope=mydex:everything", auth, 400, "invalid_scope"},
		{"scope of others", "grant_type=client_credentials&scope=manage", auth, 400, "invalid_scope"},
		{"wrong secret", "grant_type=client_credentials", basic(w.con.ClientID, w.con.ClientSecret+"x"), 401, "invalid_client"},
		{"no secret", "grant_type=client_credentials", basic(w.con.ClientID, ""), 401, "invalid_client"},
		{"unknown client", "grant_type=client_credentials", basic("client-bogus", w.con.ClientSecret), 401, "invalid_client"},
		{"no client", "grant_type=client_credentials", "", 401, "invalid_client"},
		{"other grant", "grant_type=password&username=a&password=b", auth, 400, "unsupported_grant_type"},
		{"no grant", "scope=mydex:pdx", auth, 400, "invalid_request"},
		{"twice", "grant_type=client_credentials&scope=mydex:pdx&scope=manage", auth, 400, "invalid_request"},
	} {
		a, m := w.fetch(c.form, "Authorization", c.auth)
		if a.status != c.status || m["error"] != c.code || m["access_token"] != nil {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		if strings.Contains(a.body, "bogus") || strings.Contains(a.body, "everything") {
			t.Errorf("%s: the answer repeats the request: %s", c.name, a.body)
		}
	}
	if a := w.call("POST", "/oauth2/token?grant_type=client_credentials", strings.NewReader(""), "Authorization", auth, "Content-Type", "application/x-www-form-urlencoded"); a.status != 400 {
		t.Errorf("query: %d", a.status)
	}
	if a, _ := w.fetch("grant_type=client_credentials&x="+strings.Repeat("y", maxTokenBody), "Authorization", auth); a.status != 413 {
		t.Errorf("long body: %d", a.status)
	}
	if a := w.call("POST", "/oauth2/token", strings.NewReader("{}"), "Authorization", auth, "Content-Type", "application/json"); a.status != 400 {
		t.Errorf("JSON: %d", a.status)
	}
}

func TestToken_Refused(t *testing.T) {
	w := newPDX(t, Limits{})
	ctx := context.Background()
	get := func(token string) int {
		return w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home, "H:Authorization", "Bearer "+token).status
	}
	// A token of a route's scope only does not open the datasets.
	narrow, _, err := w.s.tokens.issue(ctx, w.con.ClientID, w.org.ID, []string{"get:/timeline"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if a := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home, "H:Authorization", "Bearer "+narrow); a.status != 403 || !strings.Contains(a.body, "scope") {
		t.Errorf("narrow token: %d %s", a.status, a.body)
	}
	// One of the other environment.
	live := newTokens(w.reg, seal.Live, w.clock.now)
	other, _, err := live.issue(ctx, w.con.ClientID, w.org.ID, []string{ScopePDX}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if s := get(other); s != 401 {
		t.Errorf("live token in the sandbox: %d", s)
	}
	// The hot path reads no registry.
	before := w.reg.reads()
	get(w.token)
	once := w.reg.reads()
	for range 20 {
		get(w.token)
	}
	if once-before != 2 || w.reg.reads() != once {
		t.Errorf("%d reads for the first, %d for the rest", once-before, w.reg.reads()-once)
	}
	// A disabled client is refused after a minute at most.
	var c ClientRecord
	v, err := getVersion(ctx, w.reg, KindClient, w.con.ClientID, &c)
	if err != nil {
		t.Fatal(err)
	}
	c.Disabled = true
	if err := putRecord(ctx, w.reg, KindClient, c.ID, c, v); err != nil {
		t.Fatal(err)
	}
	if s := get(w.token); s != 200 {
		t.Errorf("still believed: %d", s)
	}
	w.clock.add(61 * time.Second)
	if s := get(w.token); s != 401 {
		t.Errorf("disabled: %d", s)
	}
	if a, _ := w.fetch("grant_type=client_credentials", "Authorization", basic(w.con.ClientID, w.con.ClientSecret)); a.status != 401 {
		t.Errorf("disabled client gets a token: %d", a.status)
	}
	c.Disabled = false
	if err := putRecord(ctx, w.reg, KindClient, c.ID, c, v+1); err != nil {
		t.Fatal(err)
	}
	if s := get(w.token); s != 200 {
		t.Errorf("enabled again: %d", s)
	}
	// Expiry counts also for what is cached.
	w.clock.add(time.Hour - 62*time.Second)
	if s := get(w.token); s != 200 {
		t.Errorf("just before expiry: %d", s)
	}
	w.clock.add(2 * time.Second)
	if s := get(w.token); s != 401 {
		t.Errorf("expired: %d", s)
	}
	if err := w.s.tokens.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if _, there := w.reg.m[KindToken+"\x00"+Digest(w.token)]; there {
		t.Error("an expired token is kept")
	}
	// A registry that does not answer is not a wrong token.
	w.reg.breaks(context.DeadlineExceeded)
	if s := get(narrow + "x"); s != 503 {
		t.Errorf("no registry: %d", s)
	}
	w.reg.breaks(nil)
	for _, bad := range []string{"", "x", strings.Repeat("x", 1000), w.token + "x", w.token[:len(w.token)-1]} {
		if s := get(bad); s != 401 {
			t.Errorf("%.10q: %d", bad, s)
		}
	}
}

func TestToken_Discovery(t *testing.T) {
	w := newPDX(t, Limits{})
	a := w.call("GET", "/.well-known/openid-configuration", nil)
	var d struct {
		Issuer string   `json:"issuer"`
		Token  string   `json:"token_endpoint"`
		JWKS   string   `json:"jwks_uri"`
		Scopes []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || d.Issuer != w.s.URL() || !slices.Contains(d.Scopes, ScopePDX) {
		t.Fatalf("%v %s", err, a.body)
	}
	if a := w.call("GET", d.JWKS, nil); a.body != `{"keys":[]}` {
		t.Errorf("%s", a.body)
	}
	if a := w.call("GET", d.Token, nil); a.status != 405 {
		t.Errorf("GET of the token endpoint: %d", a.status)
	}
}

func TestNew_Refuses(t *testing.T) {
	reg, store := newFakeRegistry(), newFakeStore()
	for name, c := range map[string]Config{
		"registry":    {Store: store, Catalogue: schema.Default(), Env: seal.Sandbox},
		"catalogue":   {Store: store, Registry: reg, Env: seal.Sandbox},
		"environment": {Store: store, Registry: reg, Catalogue: schema.Default()},
		"store":       {Registry: reg, Catalogue: schema.Default(), Env: seal.Sandbox},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}
