package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/actors/pds/verify"
	"holdfast/cmd/internal/memberclient"
	"holdfast/storage/seal"
)

// How far an act of a member got.
const (
	notAsked     = iota
	asked        // sent; what became of it is not known
	acknowledged // the server said so
)

// person is a member with one agreement, and what was acknowledged of it.
type person struct {
	mydexid, password, private    string
	uid                           uint32
	conID                         string
	registered, approved, revoked int
	written                       int
	street                        string
}

// consents is a load of members who register, write, approve and revoke.
type consents struct {
	t      *testing.T
	url    string // of the present child
	org    string // token of the organisation
	sub    *subscriber
	hook   *httptest.Server
	acks   atomic.Int64
	client *http.Client

	mu     sync.Mutex
	people []*person
	keys   map[string]string // by con_id, as callbacks brought them
	nids   []pds.NID
}

func (s *consents) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	if k := r.PostForm.Get("key"); k != "" {
		s.mu.Lock()
		s.keys[r.PostForm.Get("connection_id")] = k
		s.mu.Unlock()
	}
}

func (s *consents) key(conID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[conID]
}

func (s *consents) manage(ctx context.Context, path, bearer string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", s.url+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if b, err = io.ReadAll(res.Body); err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &status{res.StatusCode, string(b)}
	}
	return json.Unmarshal(b, out)
}

// offer makes a connection with a template.
func (s *consents) offer(ctx context.Context, name string) (*madeConnection, error) {
	var c madeConnection
	in := map[string]any{"name": name, "purpose": "Read <& write>", "callback": s.hook.URL + "/" + name}
	if s.sub != nil {
		in["client_id"] = s.sub.id
	}
	if err := s.manage(ctx, "/manage/v1/connections", s.org, in, &c); err != nil {
		return nil, err
	}
	gdpr := map[string]bool{}
	for _, g := range pds.Confirmations {
		gdpr[g] = true
	}
	t := pds.Template{Roles: "Controller & processor", UseCases: []pds.TemplateUse{{Category: "core_function", Mandatory: true}}, Gdpr: gdpr,
		TermsVersion: "1", DeclaredBy: "A. Person", Retention: "one year",
		Datasets: []pds.TemplateData{{Dataset: "ds_home", Methods: []string{"read"}, Fields: []pds.TemplateField{{Field: "field_home_street"}}}}}
	var made struct {
		State string `json:"state"`
	}
	return &c, s.manage(ctx, fmt.Sprintf("/manage/v1/connections/%d/templates", c.NID), s.org, t, &made)
}

// open signs in and unlocks.
func (s *consents) open(ctx context.Context, p *person) (*memberclient.Client, *memberclient.Key, error) {
	c := memberclient.New(s.url, seal.Sandbox, s.client)
	if err := c.SignIn(ctx, p.mydexid, p.password); err != nil {
		return nil, nil, fmt.Errorf("sign in: %w", err)
	}
	k, err := c.Unlock(ctx, p.private)
	if err != nil {
		return nil, nil, fmt.Errorf("unlock: %w", err)
	}
	return c, k, nil
}

// step does f between noting that it was asked and that it was acknowledged.
func (s *consents) step(at *int, f func() error) error {
	*at = asked
	if err := f(); err != nil {
		return err
	}
	*at = acknowledged
	s.acks.Add(1)
	return nil
}

// live takes one member through everything. The error is that of the first
// request that failed, as most do when the program is killed.
func (s *consents) live(ctx context.Context, rng *rand.Rand, p *person) error {
	c := memberclient.New(s.url, seal.Sandbox, s.client)
	err := s.step(&p.registered, func() (err error) {
		p.uid, err = c.Register(ctx, p.mydexid, p.mydexid+"@example.org", p.password, p.private)
		return err
	})
	if err != nil {
		return err
	}
	c, k, err := s.open(ctx, p)
	if err != nil {
		return err
	}
	defer k.Wipe()
	if err := s.step(&p.written, func() error {
		_, _, err := c.Write(ctx, "ds_home", 0, []map[string]string{{"field_home_street": p.street}})
		return err
	}); err != nil {
		return err
	}
	s.mu.Lock()
	nid := s.nids[rng.IntN(len(s.nids))]
	s.mu.Unlock()
	var inv struct {
		Code string `json:"code"`
	}
	if err := s.manage(ctx, fmt.Sprintf("/manage/v1/connections/%d/invites", nid), s.org, map[string]string{"mydexid": p.mydexid}, &inv); err != nil {
		return err
	}
	o, err := c.Offer(ctx, inv.Code)
	if err != nil {
		return err
	}
	t, err := pds.DecodeTemplate(o.Canonical)
	if err != nil {
		return err
	}
	d, err := memberclient.NewDraft(o, memberclient.Everything(t, nil), schema.Default())
	if err != nil {
		return err
	}
	p.conID = fmt.Sprintf("%d-%d", p.uid, nid)
	if err := s.step(&p.approved, func() error { _, err := c.Approve(ctx, k, d); return err }); err != nil {
		return err
	}
	if rng.IntN(3) == 0 {
		return nil // stays approved
	}
	return s.step(&p.revoked, func() error { _, err := c.Revoke(ctx, k, uint32(nid)); return err })
}

// check compares one member with what was acknowledged.
func (s *consents) check(ctx context.Context, ch *child, x *pdx, p *person) error {
	if p.registered == notAsked {
		return nil
	}
	c, k, err := s.open(ctx, p)
	if err != nil {
		if pr := (*memberclient.Problem)(nil); p.registered == asked && errors.As(err, &pr) && pr.Status/100 == 4 {
			return nil // it did not happen
		}
		return err
	}
	defer k.Wipe()
	if p.uid == 0 {
		p.uid = c.Session().UID
	}
	p.registered = acknowledged
	rows, err := c.Rows(ctx, "ds_home", 0, memberclient.ReadOptions{})
	if err != nil && !(p.written != acknowledged && memberclient.IsStatus(err, 404)) {
		return err
	}
	if len(rows) > 1 || p.written == acknowledged && len(rows) != 1 || len(rows) == 1 && *rows[0].Values["field_home_street"] != p.street {
		return fmt.Errorf("%d rows after one write (%d)", len(rows), p.written)
	}
	all, err := c.Agreements(ctx)
	if err != nil {
		return err
	}
	state := ""
	for _, a := range all {
		if a.ConID == p.conID {
			state = a.State
		}
	}
	switch {
	case p.revoked == acknowledged && state != "revoked":
		return fmt.Errorf("revoked and acknowledged, found %q", state)
	case p.revoked == notAsked && p.approved == acknowledged && state != "active":
		return fmt.Errorf("approved and acknowledged, found %q", state)
	case p.approved == acknowledged && state == "":
		return errors.New("the agreement is missing")
	case p.approved == notAsked && state != "":
		return fmt.Errorf("never approved, found %q", state)
	}
	if state == "" {
		return nil
	}
	if state == "active" {
		if err := ch.poll("told of an approval", 90*time.Second, func() bool { return s.key(p.conID) != "" }); err != nil {
			return err
		}
	}
	key := s.key(p.conID)
	if key == "" {
		return nil // revoked before its callback
	}
	code, b, err := x.home(ctx, &account{p.uid, p.conID, key})
	switch {
	case err != nil:
		return err
	case state == "active" && (code != 200 || len(rows) == 1 && !bytes.Contains(b, []byte(p.street))):
		return fmt.Errorf("approved, but its key reads %d", code)
	case state == "revoked" && code/100 != 4:
		return fmt.Errorf("revoked, but its key reads %d", code)
	}
	var e bytes.Buffer
	if _, err := c.Export(ctx, "json", &e); err != nil {
		return err
	}
	if r := verify.Check(e.Bytes(), verify.Options{}); !r.OK() {
		return fmt.Errorf("the export does not verify: %v", r.Faults)
	}
	return nil
}

// home reads the dataset that is granted.
func (p *pdx) home(ctx context.Context, a *account) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/api/pds/pds/%d.json?con_id=%s&source_type=connection&dataset=ds_home&instance=0", p.url, a.uid, a.conID), nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Connection-Token", a.key)
	b, err := p.answer(req)
	if st := (*status)(nil); errors.As(err, &st) {
		return st.code, nil, nil
	}
	return 200, b, err
}

// Consent survives kill -9 as data does: what was approved works and its key
// arrives, what was revoked stays dead, and every history verifies.
func TestKill_Consent(t *testing.T) {
	bin := holdfast(t)
	seed := newSeed(t)
	dir := scratch(t)
	l := &launcher{t: t, bin: bin, dir: dir, data: filepath.Join(dir, "data"), args: []string{"--idle", "1s"}}
	c := l.start()
	w, err := c.awaitWorld()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	s := &consents{t: t, url: c.url, keys: map[string]string{}, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	s.hook = httptest.NewServer(s)
	defer s.hook.Close()
	var org struct {
		Token string `json:"token"`
	}
	if err := s.manage(ctx, "/manage/v1/organisations", w.OperatorToken, map[string]string{"name": "Märker & Söhne"}, &org); err != nil {
		t.Fatal(err)
	}
	s.org = org.Token
	for n := range 3 {
		con, err := s.offer(ctx, fmt.Sprintf("c%d", n))
		if err != nil {
			t.Fatal(err)
		}
		if s.sub == nil {
			s.sub = &subscriber{id: con.ClientID, secret: con.ClientSecret}
		}
		s.nids = append(s.nids, con.NID)
	}
	rng := rand.New(rand.NewPCG(seed, 6))
	rounds := max(2, *killRounds/2)
	var checked, revoked, approved, unknown int
	for round := range rounds {
		killed := make(chan struct{})
		acks, moment := int64(15+rng.IntN(60)), time.Duration(rng.IntN(10_000))*time.Microsecond
		kctx, over := context.WithCancel(ctx)
		go func() { c.killAfter(kctx, &s.acks, acks, moment); close(killed) }()
		var wg sync.WaitGroup
		from := len(s.people)
		for worker := range loadWorkers {
			wrng := rand.New(rand.NewPCG(seed, uint64(round)<<16|uint64(worker)|1<<40))
			wg.Go(func() {
				for n := 0; ; n++ {
					p := &person{mydexid: fmt.Sprintf("p%dx%dx%d", round, worker, n), password: "password of a person", private: fmt.Sprintf("private key %d %d %d", round, worker, n), street: string(text(wrng, nil, 20))}
					s.mu.Lock()
					s.people = append(s.people, p)
					s.mu.Unlock()
					if err := s.live(ctx, wrng, p); err != nil {
						select {
						case <-c.exited:
						default:
							if pr, st := (*memberclient.Problem)(nil), (*status)(nil); errors.As(err, &pr) && pr.Status != 503 || errors.As(err, &st) && st.code != 503 {
								t.Errorf("round %d: %s: %v", round, p.mydexid, err)
							}
						}
						return
					}
				}
			})
		}
		wg.Wait()
		over()
		<-killed
		c.kill()
		if t.Failed() {
			t.FailNow()
		}
		if !c.wasKilled() || c.crashed() {
			t.Fatalf("round %d: the program ended by itself: %s", round, c.said())
		}
		s.client.CloseIdleConnections()
		c = l.start()
		s.url = c.url
		x, err := s.sub.login(ctx, c.url)
		if err != nil {
			t.Fatal(err)
		}
		if round == rounds-1 {
			from = 0
		}
		for _, p := range s.people[from:] {
			if err := s.check(ctx, c, x, p); err != nil {
				t.Errorf("round %d: %s (registered %d, written %d, approved %d, revoked %d): %v: %s", round, p.mydexid, p.registered, p.written, p.approved, p.revoked, err, c.said())
			}
			checked++
		}
		x.close()
	}
	for _, p := range s.people {
		switch {
		case p.revoked == acknowledged:
			revoked++
		case p.approved == acknowledged && p.revoked == notAsked:
			approved++
		case p.approved == asked || p.revoked == asked:
			unknown++
		}
	}
	if revoked == 0 || approved+unknown == 0 {
		t.Error("nothing was revoked, or nothing left: the run says nothing")
	}
	t.Logf("kill, consent: %d rounds, %d acts acknowledged by %d members, %d left approved, %d revoked, %d caught in the act, %d checks", rounds, s.acks.Load(), len(s.people), approved, revoked, unknown, checked)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}
