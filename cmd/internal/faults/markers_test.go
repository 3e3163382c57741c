package faults

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/actors/pds/verify"
	"holdfast/cmd/internal/memberclient"
	"holdfast/storage/seal"
)

// story plants markers through the real interfaces.
type story struct {
	t      *testing.T
	ctx    context.Context
	rng    *rand.Rand
	marks  markers
	values markers // what no answer to a refused request may repeat
	url    string
	token  string // of the organisation
	keys   chan string
}

// plant makes a marker of a kind and remembers it.
func (s *story) plant(what string) string {
	v := fmt.Sprintf("Mårker %s %s & /+%d", what[:min(4, len(what))], text(s.rng, nil, 14), s.rng.IntN(1000))
	s.keep(what, v)
	return v
}

// word is plant for what must be letters and digits.
func (s *story) word(what string) string {
	v := "Mrk" + strings.Map(func(r rune) rune {
		if r == '+' || r == '-' {
			return 'q'
		}
		return r
	}, string(text(s.rng, nil, 16)))
	s.keep(what, v)
	return v
}

// name is word for what the sender may be told of again.
func (s *story) name(what string) string {
	v := "mrk" + hex.EncodeToString([]byte(text(s.rng, nil, 8)))
	s.marks.add(what, v)
	return v
}

func (s *story) keep(what, v string) {
	s.marks.add(what, v)
	s.values.add(what, v)
}

// call sends JSON and returns status and body.
func (s *story) call(method, address, bearer, contentType string, body []byte, headers ...string) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.ctx, method, address, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := probe.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, b
}

// manage calls a route with JSON and wants it to succeed.
func (s *story) manage(method, path, bearer string, in, out any) {
	s.t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	code, body := s.call(method, s.url+path, bearer, "application/json", b)
	if code/100 != 2 {
		s.t.Fatalf("%s %s: %d %s", method, path, code, body)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			s.t.Fatal(err)
		}
	}
}

// refused wants a refusal that repeats no marker.
func (s *story) refused(what string, code int, body []byte) {
	s.t.Helper()
	if code/100 == 2 && !bytes.Contains(body, []byte(`"status":`)) {
		s.t.Errorf("%s was accepted: %d", what, code)
	}
	s.values.find(body, func(m string, _ int) { s.t.Errorf("the answer to %s repeats %s", what, m) })
}

// ServeHTTP is the subscriber's callback.
func (s *story) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "fail") {
		_ = r.ParseForm()
		if k := r.PostForm.Get("key"); k != "" {
			select {
			case s.keys <- k:
			default: // repeated
			}
		}
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_ = r.ParseForm()
	if k := r.PostForm.Get("key"); k != "" {
		s.keys <- k
	}
}

type madeConnection struct {
	NID          pds.NID `json:"nid"`
	Token        string  `json:"connection_token"`
	ClientID     string  `json:"client_id"`
	ClientSecret string  `json:"client_secret"`
}

// connection makes a connection with a template in which everything is a
// marker that may be.
func (s *story) connection(callback string) *madeConnection {
	s.t.Helper()
	in := map[string]any{"name": s.plant("connection name"), "purpose": s.plant("purpose"), "description": s.plant("description"), "callback": callback,
		"contacts": []map[string]string{{"role": "technical", "name": s.plant("contact name"), "email": s.word("contact mail") + "@example.org"}}}
	s.keep("callback address", callback)
	var c madeConnection
	s.manage("POST", "/manage/v1/connections", s.token, in, &c)
	s.keep("connection token", c.Token)
	s.keep("client secret", c.ClientSecret)
	s.marks.add("client id", c.ClientID)
	h := sha512.Sum512([]byte(c.Token))
	s.marks.add("hash of the connection token", hex.EncodeToString(h[:]))
	gdpr := map[string]bool{}
	for _, g := range pds.Confirmations {
		gdpr[g] = true
	}
	s.manage("POST", fmt.Sprintf("/manage/v1/connections/%d/templates", c.NID), s.token, pds.Template{
		Roles: s.plant("roles"), UseCases: []pds.TemplateUse{{Category: "core_function", Mandatory: true}, {Category: "marketing"}}, Gdpr: gdpr,
		TermsVersion: "3", DeclaredBy: s.plant("declared by"), Retention: s.plant("retention"),
		Datasets: []pds.TemplateData{
			{Dataset: dataset, Methods: []string{"create", "read", "update", "delete"}, SoftDelete: true, Fields: []pds.TemplateField{
				{Field: fieldHome}, {Field: fieldTime}, {Field: fieldValue}, {Field: fieldIndex}, {Field: fieldName}}},
			{Dataset: "ds_home", Methods: []string{"read"}, Fields: []pds.TemplateField{{Field: "field_home_postcode"}}},
		}}, nil)
	return &c
}

// connect lets the member approve and returns the Member Key from the callback.
func (s *story) connect(c *memberclient.Client, k *memberclient.Key, con *madeConnection, mydexid string) account {
	s.t.Helper()
	var inv struct {
		Code string `json:"code"`
	}
	s.manage("POST", fmt.Sprintf("/manage/v1/connections/%d/invites", con.NID), s.token,
		map[string]any{"mydexid": mydexid, "linking_token": s.plant("linking token"), "return_to": "https://example.org/" + s.word("return address")}, &inv)
	s.keep("invite code", inv.Code)
	o, err := c.Offer(s.ctx, inv.Code)
	if err != nil {
		s.t.Fatal(err)
	}
	tmpl, err := pds.DecodeTemplate(o.Canonical)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := memberclient.NewDraft(o, memberclient.Everything(tmpl, nil), schema.Default())
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := c.Approve(s.ctx, k, d)
	if err != nil {
		s.t.Fatal(err)
	}
	select {
	case key := <-s.keys:
		s.keep("Member Key", key)
		s.marks.add("connection id", a.ConID)
		uid := c.Session().UID
		s.marks.pattern("uid and connection number", binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uid), uint32(con.NID)))
		s.marks.pattern("uid and connection number", binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uid), uint32(con.NID)))
		return account{uid: uid, conID: a.ConID, key: key}
	case <-time.After(30 * time.Second):
		s.t.Fatal("no callback came")
	}
	return account{}
}

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

// traffic is what succeeds: every way in and out.
func (s *story) traffic(p *pdx, a *account, postcode string) {
	s.t.Helper()
	js := "application/json"
	base := func(path, key string) string {
		q := url.Values{"con_id": {a.conID}, "source_type": {"connection"}, "dataset": {dataset}, "instance": {"0"}, "uid": {fmt.Sprint(a.uid)}}
		if key != "" {
			q.Set("key", key)
		}
		return p.url + path + "?" + q.Encode()
	}
	ok := func(what string, code int, body []byte, holds ...string) {
		s.t.Helper()
		if code/100 != 2 {
			s.t.Fatalf("%s: %d %s", what, code, body)
		}
		for _, h := range holds {
			if !bytes.Contains(body, []byte(text0(h))) {
				s.t.Errorf("%s: the answer lacks what was written", what)
			}
		}
	}
	one, two, three := s.plant("posted value"), s.plant("bulk value"), s.plant("updated value")
	code, b := s.call("POST", base("/api/pds/transaction.json", a.key), p.token, js, fmt.Appendf(nil, `{%q:[{%q:%q,%q:"4.5"}]}`, dataset, fieldName, one, fieldValue))
	ok("POST with the key in the query", code, b)
	body := fmt.Appendf(nil, `{"con_id":%q,"key":%q,"dataset":%q,"instance":0}`+"\n"+`{%q:%q,%q:%q}`+"\n", a.conID, a.key, dataset, fieldName, two, fieldIndex, s.plant("index value"))
	code, b = s.call("POST", p.url+"/pdx/v1/bulk", p.token, "application/x-ndjson", body, "Idempotency-Key", s.word("idempotency key"))
	ok("bulk", code, b)
	code, b = s.call("PUT", base("/api/pds/transaction/"+fmt.Sprint(a.uid)+".json", "")+"&id=1", p.token, js, fmt.Appendf(nil, `{%q:%q}`, fieldName, three), "Connection-Token", a.key)
	ok("PUT", code, b)
	for _, ext := range []string{".json", ".xml"} {
		code, b = s.call("GET", base("/api/pds/transaction/"+fmt.Sprint(a.uid)+ext, a.key), p.token, "", nil)
		ok("GET "+ext, code, b, two, three)
	}
	q := url.Values{"filters[" + fieldName + "][operator]": {"="}, "filters[" + fieldName + "][value]": {two}}
	code, b = s.call("GET", base("/api/pds/transaction/"+fmt.Sprint(a.uid)+".json", a.key)+"&"+q.Encode(), p.token, "", nil)
	ok("GET with a filter", code, b, two)
	home := strings.Replace(base("/api/pds/pds/"+fmt.Sprint(a.uid)+".json", a.key), dataset, "ds_home", 1)
	code, b = s.call("GET", home, p.token, "", nil)
	ok("GET of a home", code, b, postcode)
}

// refusals are requests that fail, with markers wherever one may stand.
func (s *story) refusals(p *pdx, a, other *account, con *madeConnection, mc *memberclient.Client, mydexid string) {
	s.t.Helper()
	js, nd := "application/json", "application/x-ndjson"
	read := func(conID, key, ds string, extra ...string) string {
		q := url.Values{"con_id": {conID}, "source_type": {"connection"}, "dataset": {ds}, "instance": {"0"}, "key": {key}}
		for i := 0; i+1 < len(extra); i += 2 {
			q.Set(extra[i], extra[i+1])
		}
		return fmt.Sprintf("%s/api/pds/transaction/%d.json?%s", p.url, a.uid, q.Encode())
	}
	wrong := s.word("wrong key") + "xxxxxxxxxxxxx"
	for _, r := range []struct{ what, method, url, bearer, kind, body string }{
		{"a wrong key", "GET", read(a.conID, wrong, dataset), p.token, "", ""},
		{"another's key", "GET", read(a.conID, other.key, dataset), p.token, "", ""},
		{"another's connection", "GET", read(other.conID, a.key, dataset), p.token, "", ""},
		{"an unknown connection", "GET", read(fmt.Sprintf("%d-99999", a.uid), a.key, dataset), p.token, "", ""},
		{"a strange con_id", "GET", read(s.plant("con_id"), a.key, dataset), p.token, "", ""},
		{"a wrong token", "GET", read(a.conID, a.key, dataset), s.word("bearer"), "", ""},
		{"no token", "GET", read(a.conID, a.key, dataset), "", "", ""},
		{"a dataset not granted", "GET", read(a.conID, a.key, "ds_bank_account_transactions"), p.token, "", ""},
		{"an unknown dataset", "GET", read(a.conID, a.key, s.plant("dataset")), p.token, "", ""},
		{"a filter on a field not granted", "GET", read(a.conID, a.key, dataset, "filters["+fieldType+"][operator]", "=", "filters["+fieldType+"][value]", s.plant("filter value")), p.token, "", ""},
		{"a filter of the wrong type", "GET", read(a.conID, a.key, dataset, "filters["+fieldValue+"][operator]", "=", "filters["+fieldValue+"][value]", s.plant("filter value")), p.token, "", ""},
		{"an unknown filter", "GET", read(a.conID, a.key, dataset, "filters["+s.word("filter name")+"][operator]", s.plant("operator"), "filters[x][value]", s.plant("filter value")), p.token, "", ""},
		{"an unknown route", "GET", p.url + "/api/" + s.word("route") + "?key=" + a.key, p.token, "", ""},
		{"a value of the wrong type", "POST", read(a.conID, a.key, dataset), p.token, js, fmt.Sprintf(`{%q:[{%q:%q}]}`, dataset, fieldValue, s.plant("refused value"))},
		{"a field not granted", "POST", read(a.conID, a.key, dataset), p.token, js, fmt.Sprintf(`{%q:[{%q:%q}]}`, dataset, fieldType, s.plant("refused value"))},
		{"an unknown field", "POST", read(a.conID, a.key, dataset), p.token, js, fmt.Sprintf(`{%q:[{%q:%q}]}`, dataset, s.word("field name"), s.plant("refused value"))},
		{"broken JSON", "POST", read(a.conID, a.key, dataset), p.token, js, fmt.Sprintf(`{%q:[{%q:%q,,}]}`, dataset, fieldName, s.plant("refused value"))},
		{"a strange body", "POST", read(a.conID, a.key, dataset), p.token, "text/" + s.word("media type"), s.plant("body")},
		{"bulk of the wrong type", "POST", p.url + "/pdx/v1/bulk", p.token, nd, fmt.Sprintf("{\"con_id\":%q,\"key\":%q,\"dataset\":%q,\"instance\":0}\n{%q:%q}\n", a.conID, a.key, dataset, fieldValue, s.plant("bulk value"))},
		{"bulk with a wrong key", "POST", p.url + "/pdx/v1/bulk", p.token, nd, fmt.Sprintf("{\"con_id\":%q,\"key\":%q,\"dataset\":%q,\"instance\":0}\n{%q:%q}\n", a.conID, wrong, dataset, fieldName, s.plant("bulk value"))},
		{"bulk with broken lines", "POST", p.url + "/pdx/v1/bulk", p.token, nd, fmt.Sprintf("{\"con_id\":%q,\"key\":%q,\"dataset\":%q,\"instance\":0}\n{%q:%q\n%s\n", a.conID, a.key, dataset, fieldName, s.plant("bulk value"), s.plant("bulk line"))},
		{"bulk with a broken header", "POST", p.url + "/pdx/v1/bulk", p.token, nd, fmt.Sprintf("{\"con_id\":%q,\"key\":%q,\"colour\":%q}\n{%q:%q}\n", a.conID, a.key, s.plant("bulk header"), fieldName, s.plant("bulk value"))},
		{"no invite", "GET", p.url + "/member/v1/offers/" + s.word("invite"), mc.Session().Token, "", ""},
		{"a member's broken JSON", "POST", p.url + "/member/v1/data/ds_home/0", mc.Session().Token, js, `{"rows":[{"field_home_street":"` + s.plant("refused value") + `",]}`},
		{"a member's unknown field", "POST", p.url + "/member/v1/data/ds_home/0", mc.Session().Token, js, fmt.Sprintf(`{"rows":[{%q:%q}]}`, s.name("field name"), s.plant("refused value"))},
		{"a sign-in with a wrong password", "POST", p.url + "/member/v1/sign-in", "", js, fmt.Sprintf(`{"mydexid":%q,"password":%q}`, mydexid, s.plant("wrong password"))},
		{"a sign-in of nobody", "POST", p.url + "/member/v1/sign-in", "", js, fmt.Sprintf(`{"mydexid":%q,"password":%q}`, s.word("nobody"), s.plant("wrong password"))},
		{"a broken registration", "POST", p.url + "/member/v1/register", "", js, fmt.Sprintf(`{"mydexid":%q,"email":%q,"password":%q}`, s.word("nobody"), s.word("mail")+"@example.org", s.plant("password"))},
		{"a broken template", "POST", fmt.Sprintf("%s/manage/v1/connections/%d/templates", p.url, con.NID), s.token, js, fmt.Sprintf(`{"purpose":%q,"colour":%q}`, s.plant("purpose"), s.plant("colour"))},
		{"a token for a wrong secret", "POST", p.url + "/oauth2/token", "", "application/x-www-form-urlencoded", url.Values{"grant_type": {"client_credentials"}, "client_id": {con.ClientID}, "client_secret": {s.word("wrong secret")}, "scope": {s.word("scope")}}.Encode()},
	} {
		code, b := s.call(r.method, r.url, r.bearer, r.kind, []byte(r.body))
		s.refused(r.what, code, b)
	}
	// What is no HTTP, or too much of it.
	host := strings.TrimPrefix(p.url, "http://")
	for what, raw := range map[string]string{
		"a broken request line": "GET /" + s.word("raw path") + "?key=" + a.key + "\r\n\r\n",
		"a broken header":       "GET / HTTP/1.1\r\nHost: x\r\n" + s.word("raw header") + " no colon\r\n\r\n",
		"a header too long":     "GET /" + s.word("raw path") + " HTTP/1.1\r\nHost: x\r\nConnection-Token: " + a.key + strings.Repeat(s.word("raw header"), 2000) + "\r\n\r\n",
		"a broken length":       "POST /pdx/v1/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + p.token + "\r\nContent-Length: " + s.word("raw length") + "\r\n\r\n" + s.plant("raw body"),
		"a body cut off":        "POST /pdx/v1/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + p.token + "\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100000\r\n\r\n" + s.plant("raw body"),
	} {
		s.values.find(s.raw(host, raw), func(m string, _ int) { s.t.Errorf("the answer to %s repeats %s", what, m) })
	}
}

// raw sends bytes, ends its side and returns the answer.
func (s *story) raw(host, bytes string) []byte {
	s.t.Helper()
	conn, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, bytes); err != nil {
		return nil // it was cut while sending
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(conn)
	return b
}
