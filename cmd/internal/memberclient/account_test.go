package memberclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/api"
	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// A Private Key outside the rules is refused here: nothing is sent.
func TestRegister_RefusesPassphraseBeforeSending(t *testing.T) {
	sent := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sent++; http.NotFound(w, nil) }))
	defer srv.Close()
	c := New(srv.URL, seal.Sandbox, srv.Client())
	ctx := context.Background()
	for _, x := range []struct {
		key  string
		want error
	}{
		{strings.Repeat("k", 7), client.ErrTooShort},
		{strings.Repeat("é", 7), client.ErrTooShort},
		{strings.Repeat("e\u0301", 7), client.ErrTooShort}, // 14 code points, 7 after NFC
		{strings.Repeat("k", 129), client.ErrTooLong},
		{strings.Repeat("語", 129), client.ErrTooLong},
		{"12345678\xff", client.ErrUTF8},
	} {
		if _, err := c.Register(ctx, "ada", "ada@example.org", password, x.key); !errors.Is(err, x.want) {
			t.Errorf("register with %d bytes: %v", len(x.key), err)
		}
		if _, err := c.Unlock(ctx, x.key); !errors.Is(err, x.want) {
			t.Errorf("unlock with %d bytes: %v", len(x.key), err)
		}
	}
	if _, err := c.Register(ctx, "ada", "ada@example.org", "same words twice", "same words twice"); !errors.Is(err, ErrSamePassword) {
		t.Errorf("key = password: %v", err)
	}
	if sent != 0 {
		t.Errorf("%d requests were sent", sent)
	}
}

func TestRegister_Limits8And128(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	for name, key := range map[string]string{"short": strings.Repeat("語", 8), "long": strings.Repeat("語", 128)} {
		c := New(s.url, seal.Sandbox, nil)
		if _, err := c.Register(ctx, name, name+"@example.org", password, key); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.SignIn(ctx, name, password); err != nil {
			t.Fatal(err)
		}
		k, err := c.Unlock(ctx, key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		k.Wipe()
	}
}

// A client of the live service is not talked into sandbox parameters.
func TestUnlock_RefusesServerOfOtherEnvironment(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	l := New(s.url, seal.Live, nil)
	l.Use(c.Session())
	if _, err := l.Unlock(ctx, privateKey); !errors.Is(err, ErrEnvironment) {
		t.Errorf("unlock: %v", err)
	}
	if _, err := l.Register(ctx, "ben", "ben@example.org", password, privateKey); !errors.Is(err, ErrEnvironment) {
		t.Errorf("register: %v", err)
	}
}

func TestRegister_NamesTheField(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	s.member("Ada1")
	for _, x := range []struct {
		mydexid, email, password string
		status                   int
		field                    string
	}{
		{"ab", "x@example.org", password, 400, "mydexid"},
		{"", "x@example.org", password, 400, "mydexid"},
		{"12345", "x@example.org", password, 400, "mydexid"},
		{"ada lovelace", "x@example.org", password, 400, "mydexid"},
		{"adä", "x@example.org", password, 400, "mydexid"},
		{strings.Repeat("a", 65), "x@example.org", password, 400, "mydexid"},
		{"Ada1", "x@example.org", password, 409, "mydexid"},
		{"aDA1", "x@example.org", password, 409, "mydexid"}, // looks alike
		{"ben", "ada1@example.org", password, 409, "email"},
		{"ben", "ADA1@EXAMPLE.ORG", password, 409, "email"},
		{"ben", "no address", password, 400, "email"},
		{"ben", "Ben <ben@example.org>", password, 400, "email"},
		{"ben", "ben@example.org", "1234567", 400, "password"},
		{"benedict", "ben@example.org", "Benedict", 400, "password"},
	} {
		_, err := New(s.url, seal.Sandbox, nil).Register(ctx, x.mydexid, x.email, x.password, privateKey)
		var p *Problem
		if !errors.As(err, &p) || p.Status != x.status || p.Field != x.field {
			t.Errorf("%q %q: %v, want %d naming %s", x.mydexid, x.email, err, x.status, x.field)
		}
		for _, v := range []string{x.mydexid, x.email, x.password} {
			if err != nil && len(v) > 3 && strings.Contains(err.Error(), v) {
				t.Errorf("the error repeats a value: %v", err)
			}
		}
	}
	// What was refused reserved nothing.
	if _, err := New(s.url, seal.Sandbox, nil).Register(ctx, "ben", "ben@example.org", password, privateKey); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

// The server cannot see a Private Key, yet refuses one that is the password.
func TestRegister_ServerRefusesKeyThatIsThePassword(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := New(s.url, seal.Sandbox, nil)
	// The client's own check is by spelling; the password differs in form only.
	pass, key := "caf\u00e9 au lait", "cafe\u0301 au lait"
	_, err := c.Register(ctx, "ada", "ada@example.org", pass, key)
	if !IsStatus(err, 400) {
		t.Fatalf("key = password: %v", err)
	}
	if _, err := c.Register(ctx, "ada", "ada@example.org", pass, privateKey); err != nil {
		t.Errorf("the name was not given back: %v", err)
	}
}

// An unknown name, a wrong password and a name in another spelling are told
// apart by nothing in the answer, and cost the same.
func TestSignIn_TellsNothingOfAccounts(t *testing.T) {
	s := newServer(t)
	s.member("ada")
	ask := func(name, pw string) (string, time.Duration) {
		start := time.Now()
		res, err := http.Post(s.url+"/member/v1/sign-in", "application/json", strings.NewReader(`{"mydexid":"`+name+`","password":"`+pw+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		id := res.Header.Get("X-Request-Id")
		res.Header.Del("X-Request-Id")
		res.Header.Del("Date")
		var h bytes.Buffer
		_ = res.Header.Write(&h)
		return res.Status + "\n" + h.String() + "\n" + strings.ReplaceAll(string(b), id, "ID"), time.Since(start)
	}
	want, _ := ask("ada", "wrong password")
	if !strings.HasPrefix(want, "401") {
		t.Fatalf("wrong password: %s", want)
	}
	for _, name := range []string{"nobody", "ADA", "", "\u00e4", strings.Repeat("x", 200)} {
		if got, _ := ask(name, "wrong password"); got != want {
			t.Errorf("%q answers otherwise:\n%s\nnot\n%s", name, got, want)
		}
	}
	// Limits apply to names that do not exist as they do to others.
	limited := func(name string) int {
		for n := 1; n < 40; n++ {
			if got, _ := ask(name, "wrong password"); strings.HasPrefix(got, "429") {
				return n
			}
		}
		return 0
	}
	s.member("ben")
	known, unknown := limited("ben"), limited("nobodyelse")
	if known == 0 || unknown == 0 {
		t.Errorf("no limit on guessing: %d, %d", known, unknown)
	}
}

func TestSession_EndsAndIsKeptHashed(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	s.unlock(c)
	token := c.Session().Token
	err := s.dir.Registry().List(ctx, api.KindSession, func(name string, value []byte, _ uint64) error {
		if strings.Contains(name, token) || bytes.Contains(value, []byte(token)) || name != api.Digest(token) {
			t.Error("the registry has the token itself")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	old := c.Session()
	if err := c.SignOut(ctx); err != nil {
		t.Fatal(err)
	}
	c.Use(old)
	if _, err := c.Me(ctx); !IsStatus(err, 401) {
		t.Errorf("after signing out: %v", err)
	}
	if err := c.SignIn(ctx, "ada", password); err != nil {
		t.Fatal(err)
	}
	if me := must[*Me](t)(c.Me(ctx)); me.Unlocked {
		t.Error("a new session begins unlocked")
	}
	// Another session of the same member is not unlocked by the first.
	d := New(s.url, seal.Sandbox, nil)
	if err := d.SignIn(ctx, "ada", password); err != nil {
		t.Fatal(err)
	}
	s.unlock(c)
	if _, err := d.Rows(ctx, "ds_home", 0, ReadOptions{}); !IsStatus(err, 423) {
		t.Errorf("another session reads: %v", err)
	}
}

func TestRoutes_NeedASession(t *testing.T) {
	s := newServer(t)
	for _, r := range []string{
		"POST /sign-out", "GET /unlock", "POST /unlock", "POST /lock", "GET /me", "GET /datasets", "POST /instances",
		"GET /data/ds_home/0", "POST /data/ds_home/0", "PUT /data/ds_home/0/1", "DELETE /data/ds_home/0/1", "POST /data/ds_home/0/1/restore",
		"GET /offers", "GET /offers/x", "POST /offers/x/text", "POST /offers/x/reject", "GET /statement-head", "GET /agreements", "POST /agreements",
		"GET /agreements/1/offer", "POST /agreements/1/text", "POST /agreements/1/change", "POST /agreements/1/revoke", "POST /agreements/1/lift",
		"POST /agreements/1/suspend", "GET /agreements/1/receipt", "GET /audit", "GET /export",
	} {
		method, path, _ := strings.Cut(r, " ")
		for _, token := range []string{"", "hfm_sbx_" + strings.Repeat("A", 43), strings.Repeat("x", 4000)} {
			req, _ := http.NewRequest(method, s.url+"/member/v1"+path, nil)
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 401 || res.Header.Get("Holdfast-Environment") != "sandbox" {
				t.Errorf("%s: %d", r, res.StatusCode)
			}
		}
	}
}

// A wrong Private Key opens nothing and stands in the journal (A8).
func TestUnlock_WrongKeyIsJournalledAndLimited(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	if _, err := c.Unlock(ctx, "wrong horse battery"); !IsStatus(err, 403) {
		t.Fatalf("wrong key: %v", err)
	}
	if me := must[*Me](t)(c.Me(ctx)); me.Unlocked {
		t.Error("a wrong key unlocked")
	}
	s.unlock(c)
	if b := must[[]byte](t)(c.Audit(ctx, AuditQuery{})); !bytes.Contains(b, []byte("Private Key not accepted")) {
		t.Error("the failed attempt is not in the journal")
	}
	if err := c.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	last := 0
	for range 12 {
		var p *Problem
		if _, err := c.Unlock(ctx, "wrong horse battery"); errors.As(err, &p) {
			last = p.Status
		}
	}
	if last != 429 {
		t.Errorf("after many wrong keys: %d", last)
	}
	if _, err := c.Unlock(ctx, privateKey); !IsStatus(err, 429) {
		t.Errorf("the right key while waiting: %v", err)
	}
}

// The sealed unlock key is good once, in one session.
func TestUnlock_EnvelopeIsGoodOnce(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	var p Params
	if err := c.do(ctx, "GET", "/unlock", nil, &p); err != nil {
		t.Fatal(err)
	}
	kdf, _ := seal.KDFByVersion(p.KDF, seal.Sandbox)
	u, err := client.Unlock(privateKey, [16]byte(p.Salt), kdf, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := client.SealUnlock(seal.PublicKey(p.UnlockKey), &u.UK, p.Session, p.Nonce, [16]byte(p.Store), seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]Bytes{"nonce": p.Nonce, "sealed": sealed}
	d := New(s.url, seal.Sandbox, nil)
	if err := d.SignIn(ctx, "ada", password); err != nil {
		t.Fatal(err)
	}
	if err := d.do(ctx, "POST", "/unlock", body, nil); err == nil {
		t.Error("another session used the envelope")
	}
	first := c.do(ctx, "POST", "/unlock", body, nil)
	if err := c.do(ctx, "POST", "/unlock", body, nil); err == nil {
		t.Error("the envelope was good twice")
	}
	_ = first // the nonce may be spent by the other session's attempt
}
