package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"holdfast/cmd/internal/memberclient"
)

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
