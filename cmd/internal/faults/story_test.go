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
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/cmd/internal/memberclient"
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
