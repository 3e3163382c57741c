package faults

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/actors/pds/verify"
	"holdfast/cmd/internal/memberclient"
	"holdfast/storage/seal"
)

func TestMarkers(t *testing.T) {
	bin := holdfast(t)
	seed := newSeed(t)
	dir := scratch(t)
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	l := &launcher{t: t, bin: bin, dir: logs, data: filepath.Join(dir, "data"), args: []string{"--log-file", filepath.Join(logs, "log-of-all"), "--idle", "1s"}}
	c := l.start()
	w, err := c.awaitWorld()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := &story{t: t, ctx: ctx, rng: rand.New(rand.NewPCG(seed, 5)), url: c.url, keys: make(chan string, 16)}
	hook := httptest.NewServer(s)
	defer hook.Close()
	for _, name := range []string{dataset, "ds_home", "ds_personal_details", fieldHome, fieldTime, fieldValue, fieldIndex, fieldName, "field_home_postcode", "field_home_street", "field_personal_fname", "field_personal_faname"} {
		s.marks.add("name "+name, name)
	}
	s.marks.add("operator's token", w.OperatorToken)

	// The subscriber.
	var org struct {
		ID    string `json:"id"`
		Token string `json:"token"`
	}
	s.manage("POST", "/manage/v1/organisations", w.OperatorToken, map[string]string{"name": s.plant("organisation name")}, &org)
	s.token = org.Token
	s.keep("organisation token", org.Token)
	con := s.connection(hook.URL + "/" + s.word("callback path"))
	dead := s.connection(hook.URL + "/fail/" + s.word("failing callback path"))

	// The member.
	mydexid, password, private := s.word("mydexid"), s.plant("password"), s.plant("Private Key")
	mail := s.word("mail") + "@example.org"
	mc := memberclient.New(c.url, seal.Sandbox, nil)
	uid, err := mc.Register(ctx, mydexid, mail, password, private)
	if err != nil {
		t.Fatal(err)
	}
	s.marks.add("uid", fmt.Sprintf("%09d", uid))
	if err := mc.SignIn(ctx, mydexid, password); err != nil {
		t.Fatal(err)
	}
	s.keep("session token", mc.Session().Token)
	if _, err := mc.Unlock(ctx, s.plant("wrong Private Key")); !memberclient.IsStatus(err, 403) && !memberclient.IsStatus(err, 401) {
		t.Errorf("unlock with a wrong Private Key: %v", err)
	}
	k, err := mc.Unlock(ctx, private)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	street, postcode, name := s.plant("street"), s.plant("postcode"), s.plant("first name")
	must(t)(mc.Write(ctx, "ds_home", 0, []map[string]string{{"field_home_street": street, "field_home_postcode": postcode}, {"field_home_street": s.plant("second street")}}))
	must(t)(mc.Write(ctx, "ds_personal_details", 0, []map[string]string{{"field_personal_fname": name}}))
	if err := mc.Update(ctx, "ds_home", 0, 2, map[string]string{"field_home_street": s.plant("changed street")}); err != nil {
		t.Fatal(err)
	}
	if err := mc.Delete(ctx, "ds_home", 0, 2, false); err != nil {
		t.Fatal(err)
	}
	acc := s.connect(mc, k, con, mydexid)
	dacc := s.connect(mc, k, dead, mydexid) // its Member Key stays in the outbox
	if dacc.key == acc.key {
		t.Fatal("two connections have one Member Key")
	}

	// What the subscriber does.
	sub := &subscriber{id: con.ClientID, secret: con.ClientSecret, accounts: []account{acc}}
	p, err := sub.login(ctx, c.url)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s.keep("access token", p.token)
	s.traffic(p, &acc, postcode)
	s.refusals(p, &acc, &dacc, con, mc, mydexid)

	// What the member does with it.
	for _, format := range []string{"json", "xml"} {
		var b bytes.Buffer
		if _, err := mc.Export(ctx, format, &b); err != nil {
			t.Errorf("export as %s: %v", format, err)
		}
		if !bytes.Contains(b.Bytes(), []byte(text0(street))) {
			t.Errorf("the export as %s does not hold what was written", format)
		}
		if format == "json" {
			if r := verify.Check(b.Bytes(), verify.Options{}); !r.OK() || r.Records == 0 {
				t.Errorf("the export does not verify: %v", r.Faults)
			}
		}
	}
	if _, err := mc.Audit(ctx, memberclient.AuditQuery{}); err != nil {
		t.Error(err)
	}
	if err := mc.Suspend(ctx, uint32(con.NID)); err != nil {
		t.Error(err)
	}
	if _, err := mc.Lift(ctx, k, uint32(con.NID)); err != nil {
		t.Error(err)
	}
	if _, err := mc.Revoke(ctx, k, uint32(con.NID)); err != nil {
		t.Error(err)
	}

	// As a kill leaves the directory, and as a clean stop does.
	c.kill()
	if c.crashed() {
		t.Errorf("crashed: %s", c.said())
	}
	_ = os.Remove(c.world) // says everything, to whom asked for it
	f1, n1, h1 := s.marks.scan(t, dir)
	c = l.start()
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	_ = os.Remove(c.world)
	f2, n2, h2 := s.marks.scan(t, dir)
	if log, err := os.ReadFile(filepath.Join(logs, "log-of-all")); f1 < 8 || f2 < 8 || err != nil || bytes.Count(log, []byte(`"route"`)) < 40 {
		t.Errorf("only %d and %d files, or a log without requests, were there to scan", f1, f2)
	}
	t.Logf("markers: %d patterns, %d files of %d MiB scanned, hits %d", s.marks.n, f1+f2, (n1+n2)>>20, h1+h2)
}

// text0 is the part of a marker that no format escapes.
func text0(v string) string { return strings.SplitN(v, " &", 2)[0] }

func must(t *testing.T) func(first, last uint64, err error) {
	return func(_, _ uint64, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}
