package memberclient

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/actors/pds/verify"
	"holdfast/api"
)

// One member's way from registration to an export that verifies.
func TestMember_FromRegistrationToVerifiedExport(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	me := must[*Me](t)(c.Me(ctx))
	if me.Mydexid != "ada" || me.UID == 0 || me.Unlocked || me.Environment != "sandbox" {
		t.Errorf("me: %+v", me)
	}
	// Signed in is not enough to read (A4).
	for name, err := range map[string]error{
		"read":       onlyErr(c.Rows(ctx, "ds_home", 0, ReadOptions{})),
		"agreements": onlyErr(c.Agreements(ctx)),
		"audit":      onlyErr(c.Audit(ctx, AuditQuery{})),
		"export":     onlyErr(c.Export(ctx, "json", &bytes.Buffer{})),
	} {
		if !IsStatus(err, 423) {
			t.Errorf("%s while locked: %v", name, err)
		}
	}
	k := s.unlock(c)

	first, last, err := c.Write(ctx, "ds_home", 0, []map[string]string{
		{"field_home_street": "1 Long Road", "field_home_postcode": "SW1A 1AA"},
		{"field_home_postcode": "N1 9GU"},
	})
	if err != nil || first != 1 || last != 2 {
		t.Fatalf("write: %d %d %v", first, last, err)
	}
	if err := c.Update(ctx, "ds_home", 0, 2, map[string]string{"field_home_street": "2 Short Road"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, "ds_home", 0, 1, false); err != nil {
		t.Fatal(err)
	}
	rows := must[[]Row](t)(c.Rows(ctx, "ds_home", 0, ReadOptions{}))
	if len(rows) != 1 || *rows[0].Values["field_home_street"] != "2 Short Road" || *rows[0].Values["field_home_postcode"] != "N1 9GU" || rows[0].Source != "user" || rows[0].Created == 0 {
		t.Errorf("rows: %+v", rows)
	}
	if rows := must[[]Row](t)(c.Rows(ctx, "ds_home", 0, ReadOptions{Deleted: true})); len(rows) != 2 {
		t.Errorf("with deleted: %d", len(rows))
	}
	if err := c.Restore(ctx, "ds_home", 0, 1); err != nil {
		t.Fatal(err)
	}
	if rows := must[[]Row](t)(c.Rows(ctx, "ds_home", 0, ReadOptions{Filters: []Filter{{"id", "<=", "1"}}})); len(rows) != 1 || rows[0].ID != 1 {
		t.Errorf("filtered: %+v", rows)
	}
	if n := must[uint32](t)(c.NewInstance(ctx, "ds_home")); n != 1 {
		t.Errorf("new instance %d", n)
	}

	nid := s.connection("Meter", nil)
	code := s.invite(nid, api.InviteInput{MydexID: "ada", LinkingToken: "customer-7", ReturnTo: "http://127.0.0.1/done"})
	if offers := must[[]OfferLine](t)(c.Offers(ctx)); len(offers) != 1 || offers[0].Subscriber != "Northgrid Energy" {
		t.Errorf("offers: %+v", offers)
	}
	a := s.approve(c, k, code)
	if a.ConID != conID(c, nid) || a.ReturnTo != "http://127.0.0.1/done" {
		t.Errorf("approved: %+v", a)
	}
	if x := s.callback(); x.Mydexid != "ada" || x.Linking != "customer-7" || len(x.Key) != 32 || x.Update {
		t.Errorf("callback: %+v", x)
	}
	check(t, s, "receipt of the approval", []byte(a.Receipt), true)
	if _, err := c.Offer(ctx, code); !IsStatus(err, 410) {
		t.Errorf("used offer: %v", err)
	}

	s.changeStory(t, c, k, nid)

	for _, state := range must[[]Agreement](t)(c.Agreements(ctx)) {
		if state.State != "revoked" || state.Version != 2 || !strings.Contains(state.Text, "Northgrid Energy") {
			t.Errorf("agreement: %+v", state)
		}
	}
	check(t, s, "receipt of the revocation", must[[]byte](t)(c.Receipt(ctx, uint32(nid))), true)
	check(t, s, "log", must[[]byte](t)(c.Audit(ctx, AuditQuery{})), false)
	check(t, s, "filtered log", must[[]byte](t)(c.Audit(ctx, AuditQuery{Connection: uint32(nid)})), false)
	var b bytes.Buffer
	must[int64](t)(c.Export(ctx, "json", &b))
	r := check(t, s, "export", b.Bytes(), false)
	if r.Records != 2 || r.Agreements != 3 || r.Statements != 6 || r.Opened != r.Entries {
		t.Errorf("export: %+v", r)
	}
	for _, secret := range []string{privateKey, password, c.Session().Token} {
		if strings.Contains(b.String(), secret) {
			t.Error("a secret stands in the export")
		}
	}
}

// changeStory drops an optional part, takes a second version, suspends, lifts
// and revokes.
func (s *server) changeStory(t *testing.T, c *Client, k *Key, nid pds.NID) {
	ctx := context.Background()
	cat := schema.Default()
	o := must[*Offer](t)(c.OfferOf(ctx, uint32(nid), 0))
	if len(o.Choices.UseCases) != 1 {
		t.Errorf("present choices: %+v", o.Choices)
	}
	less := *o.Choices
	less.UseCases = []string{}
	must[*Approved](t)(c.Change(ctx, k, must[*Draft](t)(NewDraft(o, less, cat))))
	if x := s.callback(); !x.Update || x.Key != "" {
		t.Errorf("callback of a change: %+v", x)
	}
	s.version(nid, func(t *pds.Template) { t.Retention = "two years" })
	if offers := must[[]OfferLine](t)(c.Offers(ctx)); len(offers) != 1 || !offers[0].Update || offers[0].Version != 2 {
		t.Errorf("offers: %+v", offers)
	}
	o = must[*Offer](t)(c.OfferOf(ctx, uint32(nid), 0))
	if o.Version != 2 || len(o.Choices.UseCases) != 0 {
		t.Errorf("offer of version 2: %+v", o)
	}
	must[*Approved](t)(c.Change(ctx, k, must[*Draft](t)(NewDraft(o, *o.Choices, cat))))
	s.callback()
	if err := c.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Suspend(ctx, uint32(nid)); err != nil {
		t.Fatalf("suspending needs no Private Key: %v", err)
	}
	if _, err := c.Revoke(ctx, k, uint32(nid)); err == nil {
		t.Error("revoked while locked")
	}
	k2 := s.unlock(c)
	must[*Approved](t)(c.Lift(ctx, k2, uint32(nid)))
	must[*Approved](t)(c.Revoke(ctx, k2, uint32(nid)))
}

func check(t *testing.T, s *server, what string, file []byte, anchored bool) *verify.Report {
	t.Helper()
	r := verify.Check(file, verify.Options{LogKey: s.logKey})
	if !r.OK() {
		t.Errorf("%s: %v", what, r.Faults)
	}
	if anchored && !r.Anchored {
		t.Errorf("%s is not in the log: %v", what, r.Notes)
	}
	return r
}

func onlyErr[T any](_ T, err error) error { return err }
