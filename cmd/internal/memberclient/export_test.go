package memberclient

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"holdfast/actors/pds/verify"
	"holdfast/api"
	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// An export made while others write is one consistent file, also where the
// journal is longer than a page.
func TestExport_WhileTheMemberWrites(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := s.member("ada")
	s.unlock(c)
	var wg sync.WaitGroup
	enough := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				if _, _, err := c.Write(ctx, "ds_home", 0, []map[string]string{{"field_home_street": "street " + strconv.Itoa(n)}}); err != nil && ctx.Err() == nil {
					if !IsStatus(err, 429) && !IsStatus(err, 503) {
						t.Error(err)
						return
					}
				}
				if n == 80 {
					enough <- struct{}{}
				}
				if ctx.Err() != nil || n == 110 { // within a session's allowance
					return
				}
			}
		})
	}
	for range 8 {
		<-enough // more than 500 entries are in the journal
	}
	for range 3 {
		var b bytes.Buffer
		must[int64](t)(c.Export(ctx, "json", &b))
		r := check(t, s, "export", b.Bytes(), false)
		if r.Entries < 600 || r.Records < 600 || r.Opened != r.Entries {
			t.Errorf("export: %+v", r)
		}
	}
	cancel()
	wg.Wait()
}

// listener keeps every byte that leaves the client.
type listener struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.sent.WriteString(r.URL.String())
	_ = r.Header.Write(&l.sent)
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		l.sent.Write(b)
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	l.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

// Neither the Private Key nor a key derived from it nor the signing seed ever
// leaves the client, in any spelling (A6).
func TestClient_KeepsItsKeys(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	l := &listener{}
	c := New(s.url, seal.Sandbox, &http.Client{Transport: l})
	must[uint32](t)(c.Register(ctx, "ada", "ada@example.org", password, privateKey))
	if err := c.SignIn(ctx, "ada", password); err != nil {
		t.Fatal(err)
	}
	var p Params
	if err := c.do(ctx, "GET", "/unlock", nil, &p); err != nil {
		t.Fatal(err)
	}
	k := s.unlock(c)
	nid := s.connection("Meter", nil)
	s.approve(c, k, s.invite(nid, api.InviteInput{}))
	must[*Approved](t)(c.Revoke(ctx, k, uint32(nid)))
	kdf, err := seal.KDFByVersion(p.KDF, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	u, err := client.Unlock(privateKey, [16]byte(p.Salt), kdf, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	sent := l.sent.String()
	if !strings.Contains(sent, base64.RawURLEncoding.EncodeToString([]byte(p.Nonce))) && !strings.Contains(sent, `"sealed":`) {
		t.Fatal("the listener heard nothing")
	}
	for name, secret := range map[string][]byte{"Private Key": []byte(privateKey), "UK": u.UK.Bytes(), "SW": u.SW.Bytes(), "seed": k.seed.Bytes()} {
		for _, spelling := range []string{
			string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
		} {
			if strings.Contains(sent, spelling) {
				t.Errorf("the %s was sent", name)
			}
		}
	}
}

// A receipt stays good, and in the log, while the journal grows.
func TestReceipt_AfterLaterEntries(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	k := s.unlock(c)
	first := s.connection("Meter", nil)
	s.approve(c, k, s.invite(first, api.InviteInput{}))
	for range 20 {
		if _, _, err := c.Write(ctx, "ds_home", 0, []map[string]string{{"field_home_street": "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	second := s.connection("Clinic", nil)
	s.approve(c, k, s.invite(second, api.InviteInput{}))
	b := must[[]byte](t)(c.Receipt(ctx, uint32(first)))
	r := check(t, s, "receipt", b, true)
	if r.Entries < 21 || r.Opened != 1 {
		t.Errorf("a receipt opens its own record only: %+v", r)
	}
	if bytes.Contains(b, []byte("ds_home\",\"instance")) && bytes.Contains(b, []byte(`"act":"create"`)) {
		t.Error("the receipt tells of other acts")
	}
	for name, o := range map[string]verify.Options{
		"another log key":  {LogKey: "holdfast/sandbox+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		"another sign key": {SignKey: make([]byte, 32)},
	} {
		if verify.Check(b, o).OK() {
			t.Errorf("%s: accepted", name)
		}
	}
}
