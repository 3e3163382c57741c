package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"holdfast/storage/seal"
)

const offerJSON = `{"use_cases":[{"category":"core_function","mandatory":true}],"roles":"data controller","retention":"2 years","terms_version":"1","declared_by":"Kim",
"gdpr":{"data_minimisation":true,"informed_consent":true,"transparency":true,"single_use":true,"data_portability":true},
"datasets":[{"dataset":"ds_home","methods":["read"],"soft_delete":true,"fields":[{"field":"field_home_postcode","mandatory":true}]}]}`

func (w *pdxWorld) manage(method, path, body string, token string) (answer, map[string]any) {
	w.t.Helper()
	a := w.call(method, path, strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	var m map[string]any
	_ = json.Unmarshal([]byte(a.body), &m)
	return a, m
}

// A subscriber's whole way: organisation, connection, template, invite.
func TestManage_Journey(t *testing.T) {
	w := newPDX(t, Limits{})
	a, org := w.manage("POST", w.op+"/operator/v1/organisations", `{"name":"Alder Bank"}`, operatorToken)
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	boot := org["token"].(string)
	a, con := w.manage("POST", "/manage/v1/connections", `{"name":"Accounts","purpose":"Statements","callback":"http://127.0.0.1:9/cb","contacts":[{"role":"owner","name":"Kim","email":"k@example.org"}]}`, boot)
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	base := "/manage/v1/connections/" + utoa(uint64(con["nid"].(float64)))
	// What was shown once is not stored.
	for _, e := range w.reg.m {
		for _, name := range []string{"connection_token", "client_secret"} {
			if strings.Contains(string(e.value), con[name].(string)) {
				t.Errorf("%s is stored in %s", name, e.kind)
			}
		}
	}
	a, tpl := w.manage("POST", base+"/templates", offerJSON, boot)
	if a.status != 201 || tpl["version"] != 1.0 || tpl["state"] != "active" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if _, tpl = w.manage("POST", base+"/templates", offerJSON, boot); tpl["version"] != 2.0 {
		t.Errorf("second version: %v", tpl)
	}
	got, _ := w.manage("GET", base+"/templates/1", "", boot)
	if Digest(got.body) != got.header.Get("Holdfast-Template-Hash") || !strings.Contains(got.body, `"subscriber":"Alder Bank"`) || !strings.Contains(got.body, `"environment":"sandbox"`) {
		t.Errorf("canonical: %s", got.body)
	}
	a, inv := w.manage("POST", base+"/invites", `{"linking_token":"L-1","return_to":"http://127.0.0.1/back"}`, boot)
	if a.status != 201 || !strings.HasSuffix(inv["url"].(string), inv["code"].(string)) || inv["version"] != 2.0 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	m := w.s.Manager()
	ctx := context.Background()
	if r, _, err := m.Invite(ctx, inv["code"].(string)); err != nil || r.LinkingToken != "L-1" {
		t.Errorf("%v %v", r, err)
	}
	if err := m.UseInvite(ctx, inv["code"].(string)); err != nil {
		t.Error(err)
	}
	if err := m.UseInvite(ctx, inv["code"].(string)); err != errExists {
		t.Errorf("used twice: %v", err)
	}
	if _, _, err := m.Invite(ctx, "bogus"); err != errNotFound {
		t.Errorf("unknown code: %v", err)
	}
	w.clock.add(inviteLife + time.Second)
	if _, _, err := m.Invite(ctx, inv["code"].(string)); err != errNotFound {
		t.Errorf("expired code: %v", err)
	}
	// The organisation's client gets a token with the scope manage.
	_, tok := w.fetch("grant_type=client_credentials", "Authorization", basic(org["client_id"].(string), org["client_secret"].(string)))
	if a, l := w.manage("GET", "/manage/v1/connections", "", tok["access_token"].(string)); a.status != 200 || len(l["connections"].([]any)) != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a, l := w.manage("GET", "/manage/v1/use-cases", "", tok["access_token"].(string)); len(l["use_cases"].([]any)) != 15 || len(l["confirmations"].([]any)) != 5 {
		t.Errorf("%s", a.body)
	}
	if _, l := w.manage("GET", "/manage/v1/datasets", "", tok["access_token"].(string)); len(l["datasets"].([]any)) < 30 {
		t.Error("few datasets")
	}
	if a, _ := w.manage("GET", base+"/deliveries", "", tok["access_token"].(string)); a.body != `{"deliveries":[]}` {
		t.Errorf("%s", a.body)
	}
}

func TestManage_Refusals(t *testing.T) {
	w := newPDX(t, Limits{})
	mine := "/manage/v1/connections/" + utoa(uint64(w.con.NID))
	other, err := w.s.Manager().CreateOrganisation(context.Background(), "Other")
	if err != nil {
		t.Fatal(err)
	}
	tok := w.org.Token
	for _, c := range []struct {
		name, method, path, body, token string
		status                          int
	}{
		{"no token", "GET", "/manage/v1/connections", "", "", 401},
		{"token of the PDX", "GET", "/manage/v1/connections", "", w.token, 403},
		{"bootstrap token on the PDX", "GET", "/api/pds/pds/97.json?con_id=" + w.conID(97), "", tok, 403},
		{"another's connection", "GET", mine, "", other.Token, 404},
		{"another's templates", "POST", mine + "/templates", offerJSON, other.Token, 404},
		{"another's invites", "POST", mine + "/invites", "{}", other.Token, 404},
		{"another's client", "POST", "/manage/v1/connections", `{"name":"a","purpose":"b","callback":"http://127.0.0.1/","client_id":"` + w.con.ClientID + `"}`, other.Token, 404},
		{"no such connection", "GET", "/manage/v1/connections/0", "", tok, 404},
		{"no number", "GET", "/manage/v1/connections/x", "", tok, 404},
		{"no template yet", "GET", mine + "/templates/1", "", tok, 404},
		{"invite without a template", "POST", mine + "/invites", "{}", tok, 409},
		{"organisation by a subscriber", "POST", "/manage/v1/organisations", `{"name":"x"}`, tok, 401},
		{"name missing", "POST", "/manage/v1/connections", `{"purpose":"b","callback":"http://127.0.0.1/"}`, tok, 400},
		{"unknown member", "POST", "/manage/v1/connections", `{"name":"a","purpose":"b","callback":"http://127.0.0.1/","colour":1}`, tok, 400},
		{"twice", "POST", "/manage/v1/connections", `{"name":"a","name":"c","purpose":"b","callback":"http://127.0.0.1/"}`, tok, 400},
		{"callback scheme", "POST", "/manage/v1/connections", `{"name":"a","purpose":"b","callback":"file:///etc/passwd"}`, tok, 400},
		{"callback with credentials", "POST", "/manage/v1/connections", `{"name":"a","purpose":"b","callback":"https://u:p@example.org/"}`, tok, 400},
		{"unknown scope", "POST", "/manage/v1/connections", `{"name":"a","purpose":"b","callback":"http://127.0.0.1/","scopes":["everything"]}`, tok, 400},
		{"template without confirmations", "POST", mine + "/templates", strings.Replace(offerJSON, `"single_use":true`, `"single_use":false`, 1), tok, 400},
		{"template of another", "POST", mine + "/templates", strings.Replace(offerJSON, "{", `{"nid":5,`, 1), tok, 400},
		{"template of a version", "POST", mine + "/templates", strings.Replace(offerJSON, "{", `{"version":7,`, 1), tok, 400},
		{"live template", "POST", mine + "/templates", strings.Replace(offerJSON, "{", `{"environment":"live",`, 1), tok, 400},
		{"template as another", "POST", mine + "/templates", strings.Replace(offerJSON, "{", `{"subscriber":"Tax office",`, 1), tok, 400},
		{"unknown field", "POST", mine + "/templates", strings.Replace(offerJSON, "field_home_postcode", "field_bogus", 1), tok, 400},
	} {
		a, _ := w.manage(c.method, c.path, c.body, c.token)
		if a.status != c.status {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		if strings.HasPrefix(c.path, "/manage") && a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %q", c.name, a.header.Get("Content-Type"))
		}
	}
	// None of it changed anything.
	if l, err := w.s.Manager().Connections(context.Background(), w.org.ID); err != nil || len(l) != 1 || l[0].LastVersion != 0 {
		t.Errorf("%v %v", l, err)
	}
}

// In the live environment a version is a draft until the operator activates it.
func TestManager_LiveDrafts(t *testing.T) {
	w := newPDX(t, Limits{})
	m := &Manager{Registry: w.reg, Catalogue: w.s.cat, Env: seal.Live, Now: w.clock.now}
	ctx := context.Background()
	if _, err := m.CreateConnection(ctx, w.org.ID, ConnectionInput{Name: "a", Purpose: "b", Callback: "http://example.org/"}); err == nil {
		t.Error("a plain HTTP callback in the live environment")
	}
	con, err := m.CreateConnection(ctx, w.org.ID, ConnectionInput{Name: "a", Purpose: "b", Callback: "https://example.org/"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.AddTemplate(ctx, w.org.ID, con.NID, decodeTemplate(t))
	if err != nil || r.State != "draft" {
		t.Fatalf("%v %v", r, err)
	}
	if _, err := m.CreateInvite(ctx, w.org.ID, con.NID, InviteInput{}); problemOf(err).Status != 409 {
		t.Errorf("invite to a draft: %v", err)
	}
	if err := m.Activate(ctx, con.NID, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CreateInvite(ctx, w.org.ID, con.NID, InviteInput{}); err != nil {
		t.Error(err)
	}
	if _, err := m.AddTemplate(ctx, w.org.ID, con.NID, decodeTemplate(t)); err != nil {
		t.Error(err)
	}
	if c, err := m.Connection(ctx, w.org.ID, con.NID); err != nil || c.ActiveVersion != 1 || c.LastVersion != 2 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestOperator(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/operator/v1/organisations", operatorToken, 200},
		{"GET", "/operator/v1/organisations", operatorToken + "x", 401},
		{"GET", "/operator/v1/organisations", "", 401},
		{"GET", "/operator/v1/organisations", w.org.Token, 401},
		{"GET", "/operator/v1/status", operatorToken, 200},
		{"GET", "/operator/v1/health", operatorToken, 200},
		{"POST", "/operator/v1/compact", operatorToken, 404},
		{"GET", "/livez", "", 200},
		{"GET", "/metrics", "", 200},
		{"GET", "/api/pds/pds/97.json", operatorToken, 404},
	} {
		if a, _ := w.manage(c.method, w.op+c.path, "", c.token); a.status != c.status {
			t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
	}
	// The public listener has no operator routes.
	if a, _ := w.manage("GET", "/operator/v1/organisations", "", operatorToken); a.status != 404 {
		t.Errorf("public: %d", a.status)
	}
	if a, _ := w.manage("POST", w.op+"/operator/v1/clients/"+w.con.ClientID+"/disable", "", operatorToken); a.status != 200 {
		t.Errorf("disable: %d", a.status)
	}
	if a := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home); a.status != 401 {
		t.Errorf("a disabled client: %d", a.status)
	}
	if m := w.call("GET", "/metrics", nil).body; strings.Contains(m, w.con.ClientID) || strings.Contains(m, "/97") || !strings.Contains(m, `holdfast_http_requests_total{route="/api/pds/pds/{doc}",status="4xx"} 1`) {
		t.Errorf("metrics: %s", m)
	}
}
