package memberclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/api"
	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// draftOf fetches an offer and drafts its approval.
func (s *server) draftOf(c *Client, code string) *Draft {
	s.t.Helper()
	o := must[*Offer](s.t)(c.Offer(context.Background(), code))
	t, err := pds.DecodeTemplate(o.Canonical)
	if err != nil {
		s.t.Fatal(err)
	}
	return must[*Draft](s.t)(NewDraft(o, Everything(t, nil), schema.Default()))
}

// Statements that are forged, replayed, reordered or about something else are
// refused, and the member's history stays as it was.
func TestApprove_RefusesWhatTheMemberDidNotSign(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c, other := s.member("ada"), s.member("ben")
	k, ok := s.unlock(c), s.unlock(other)
	nid := s.connection("Meter", nil)
	nid2 := s.connection("Clinic", nil)
	code := s.invite(nid, api.InviteInput{})
	d := s.draftOf(c, code)
	post := func(edit func(*consentBody, *seal.Statement)) error {
		in := must[*consentBody](t)(c.consent(ctx, k, seal.Approve, uint32(nid), d))
		in.Code = code
		st, err := seal.DecodeStatement(in.Statement)
		if err != nil {
			t.Fatal(err)
		}
		edit(in, st)
		return c.do(ctx, "POST", "/agreements", in, &Approved{})
	}
	resign := func(in *consentBody, st *seal.Statement) {
		in.Signature = client.Sign(st, &k.seed, seal.Sandbox)
		in.Statement = st.Encode()
	}
	for name, edit := range map[string]func(*consentBody, *seal.Statement){
		"no signature":        func(in *consentBody, _ *seal.Statement) { in.Signature = nil },
		"another's signature": func(in *consentBody, st *seal.Statement) { in.Signature = client.Sign(st, &ok.seed, seal.Sandbox) },
		"another's key": func(in *consentBody, st *seal.Statement) {
			in.Signature = client.Sign(st, &ok.seed, seal.Sandbox)
			in.Statement = st.Encode()
		},
		"altered statement": func(in *consentBody, _ *seal.Statement) { in.Statement[100] ^= 1 },
		"skipped number":    func(in *consentBody, st *seal.Statement) { st.Number++; resign(in, st) },
		"repeated number":   func(in *consentBody, st *seal.Statement) { st.Number--; resign(in, st) },
		"another history":   func(in *consentBody, st *seal.Statement) { st.Previous[0] ^= 1; resign(in, st) },
		"another store":     func(in *consentBody, st *seal.Statement) { st.Store[0] ^= 1; resign(in, st) },
		"another connection": func(in *consentBody, st *seal.Statement) {
			l := s.dir.LinkID(pds.UID(c.Session().UID), nid2)
			st.Conn = l
			resign(in, st)
		},
		"another member's link": func(in *consentBody, st *seal.Statement) {
			l := s.dir.LinkID(pds.UID(other.Session().UID), nid)
			st.Conn = l
			resign(in, st)
		},
		"another kind":          func(in *consentBody, st *seal.Statement) { st.Kind = seal.Change; resign(in, st) },
		"another version":       func(in *consentBody, st *seal.Statement) { st.Version = 2; resign(in, st) },
		"another commitment":    func(in *consentBody, st *seal.Statement) { st.Commitment[0] ^= 1; resign(in, st) },
		"another salt":          func(in *consentBody, _ *seal.Statement) { in.Salt = bytes.Repeat([]byte{1}, 32) },
		"no document":           func(in *consentBody, _ *seal.Statement) { in.Document = nil },
		"document with a space": func(in *consentBody, st *seal.Statement) { recommit(in, st, append(in.Document, ' ')); resign(in, st) },
		"another text": func(in *consentBody, st *seal.Statement) {
			redoc(t, in, st, func(d *pds.AgreementDoc) { d.Text = strings.Repeat("0", 64) })
			resign(in, st)
		},
		"another template": func(in *consentBody, st *seal.Statement) {
			redoc(t, in, st, func(d *pds.AgreementDoc) { d.Template = strings.Repeat("0", 64) })
			resign(in, st)
		},
		"more than is offered": func(in *consentBody, st *seal.Statement) {
			redoc(t, in, st, func(d *pds.AgreementDoc) { d.Choices.Fields["ds_home"] = []string{"field_home_county"} })
			resign(in, st)
		},
		"an unknown use case": func(in *consentBody, st *seal.Statement) {
			redoc(t, in, st, func(d *pds.AgreementDoc) { d.Choices.UseCases = []string{"delivery"} })
			resign(in, st)
		},
		"document of another id": func(in *consentBody, st *seal.Statement) {
			redoc(t, in, st, func(d *pds.AgreementDoc) { d.NID = nid2 })
			resign(in, st)
		},
		"an unknown offer":  func(in *consentBody, _ *seal.Statement) { in.Code = strings.Repeat("a", 32) },
		"a hash for a code": func(in *consentBody, _ *seal.Statement) { in.Code = api.Digest(code) },
	} {
		if err := post(edit); err == nil {
			t.Errorf("%s: accepted", name)
		} else if p := (*Problem)(nil); !errors.As(err, &p) || p.Status >= 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a := must[[]Agreement](t)(c.Agreements(ctx)); len(a) != 0 {
		t.Fatalf("something was approved: %+v", a)
	}
	// The offer is still there for what the member does sign, once.
	var replay *consentBody
	if err := post(func(in *consentBody, _ *seal.Statement) { replay = in }); err != nil {
		t.Fatalf("the honest approval: %v", err)
	}
	if err := c.do(ctx, "POST", "/agreements", replay, nil); !IsStatus(err, 410) {
		t.Errorf("a replay: %v", err)
	}
	replay.Code = s.invite(nid, api.InviteInput{})
	if err := c.do(ctx, "POST", "/agreements", replay, nil); err == nil {
		t.Error("a replay under another offer was accepted")
	}
}

// recommit makes the statement commit to another document.
func recommit(in *consentBody, st *seal.Statement, doc []byte) {
	in.Document = doc
	st.Commitment = seal.Commitment([32]byte(in.Salt), doc)
}

func redoc(t *testing.T, in *consentBody, st *seal.Statement, edit func(*pds.AgreementDoc)) {
	t.Helper()
	d, err := pds.DecodeDoc(in.Document)
	if err != nil {
		t.Fatal(err)
	}
	edit(d)
	b, _ := json.Marshal(d)
	b, err = seal.Canonical(b)
	if err != nil {
		t.Fatal(err)
	}
	recommit(in, st, b)
}

func TestOffer_OfOneMemberIsNobodyElses(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	ada, ben := s.member("ada"), s.member("ben")
	nid := s.connection("Meter", nil)
	code := s.invite(nid, api.InviteInput{MydexID: "ada"})
	if _, err := ben.Offer(ctx, code); !IsStatus(err, 404) {
		t.Errorf("ben sees ada's offer: %v", err)
	}
	if err := ben.Reject(ctx, code); !IsStatus(err, 404) {
		t.Errorf("ben rejects ada's offer: %v", err)
	}
	if l := must[[]OfferLine](t)(ben.Offers(ctx)); len(l) != 0 {
		t.Errorf("ben's list: %+v", l)
	}
	l := must[[]OfferLine](t)(ada.Offers(ctx))
	if len(l) != 1 || l[0].Code == code {
		t.Fatalf("ada's list: %+v", l)
	}
	if _, err := ben.Offer(ctx, l[0].Code); !IsStatus(err, 404) {
		t.Errorf("ben sees it by its hash: %v", err)
	}
	o := must[*Offer](t)(ada.Offer(ctx, l[0].Code))
	if o.NID != uint32(nid) || o.Head != nil {
		t.Errorf("by its hash, while locked: %+v", o)
	}
	if err := ada.Reject(ctx, l[0].Code); err != nil {
		t.Fatal(err)
	}
	if _, err := ada.Offer(ctx, code); !IsStatus(err, 410) {
		t.Errorf("a rejected offer: %v", err)
	}
}

// Two members with one code: one connects.
func TestOffer_ConnectsOneMember(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	ada, ben := s.member("ada"), s.member("ben")
	ka, kb := s.unlock(ada), s.unlock(ben)
	nid := s.connection("Meter", nil)
	code := s.invite(nid, api.InviteInput{})
	da, db := s.draftOf(ada, code), s.draftOf(ben, code)
	errs := make(chan error, 2)
	go func() { errs <- onlyErr(ada.Approve(ctx, ka, da)) }()
	go func() { errs <- onlyErr(ben.Approve(ctx, kb, db)) }()
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) {
		t.Errorf("approvals: %v, %v", a, b)
	}
	for _, err := range []error{a, b} {
		if err != nil && !IsStatus(err, 410) {
			t.Errorf("the second: %v", err)
		}
	}
}

// What only the log-in opens cannot sign, lift or read (A7).
func TestConsent_NeedsThePrivateKey(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	k := s.unlock(c)
	nid := s.connection("Meter", nil)
	code := s.invite(nid, api.InviteInput{})
	d := s.draftOf(c, code)
	ready := must[*consentBody](t)(c.consent(ctx, k, seal.Approve, uint32(nid), d))
	ready.Code = code
	if err := c.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.do(ctx, "POST", "/agreements", ready, nil); !IsStatus(err, 423) {
		t.Errorf("a signed approval while locked: %v", err)
	}
	if _, err := c.Unlock(ctx, "wrong horse battery"); err == nil {
		t.Error("a wrong key unlocked")
	}
	k2 := s.unlock(c)
	must[*Approved](t)(c.Approve(ctx, k2, s.draftOf(c, code)))
	if err := c.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Suspend(ctx, uint32(nid)); err != nil {
		t.Errorf("suspend while locked: %v", err)
	}
	s.unlock(c)
	if a := must[[]Agreement](t)(c.Agreements(ctx)); len(a) != 1 || a[0].State != "suspended" {
		t.Errorf("agreements: %+v", a)
	}
	// Nobody but the member can lift: an unsigned lift is none.
	if err := c.do(ctx, "POST", agreementPath(uint32(nid))+"/lift", &consentBody{}, nil); !IsStatus(err, 400) {
		t.Errorf("an unsigned lift: %v", err)
	}
}

// What is shown is rendered in the client: a server that sends another text,
// template or number cannot have it signed.
func TestNewDraft_DoesNotTrustTheServersWords(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	nid := s.connection("Meter", nil)
	o := must[*Offer](t)(c.Offer(ctx, s.invite(nid, api.InviteInput{})))
	if d := must[*Draft](t)(NewDraft(o, pds.Choices{UseCases: []string{}, Fields: map[string][]string{}}, schema.Default())); d.Text != o.Text {
		t.Error("client and server render different texts")
	}
	lie := *o
	lie.Text = "All is well."
	if d := must[*Draft](t)(NewDraft(&lie, pds.Choices{}, schema.Default())); strings.Contains(d.Text, "All is well") {
		t.Error("the server's words were shown")
	}
	for name, edit := range map[string]func(*Offer){
		"nid":       func(o *Offer) { o.NID++ },
		"version":   func(o *Offer) { o.Version++ },
		"space":     func(o *Offer) { o.Canonical = append(bytes.Clone(o.Canonical), ' ') },
		"not json":  func(o *Offer) { o.Canonical = Bytes("{") },
		"extra key": func(o *Offer) { o.Canonical = bytes.Replace(o.Canonical, []byte("{"), []byte(`{"a":1,`), 1) },
	} {
		x := *o
		edit(&x)
		if _, err := NewDraft(&x, pds.Choices{}, schema.Default()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestData_RefusesWhatDoesNotFit(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	c := s.member("ada")
	s.unlock(c)
	row := func(kv ...string) []map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return []map[string]string{m}
	}
	write := func(ds string, i int, rows []map[string]string) error {
		_, _, err := c.Write(ctx, ds, i, rows)
		return err
	}
	for name, x := range map[string]struct {
		err    error
		status int
		field  string
	}{
		"dataset":   {write("ds_nothing", 0, row("a", "b")), 404, ""},
		"field":     {write("ds_home", 0, row("field_home_moat", "b")), 400, "field_home_moat"},
		"odd field": {write("ds_home", 0, row("<script>", "b")), 400, ""},
		"type":      {write("ds_home", 0, row("field_home_bedrooms", "many")), 400, "field_home_bedrooms"},
		"empty":     {write("ds_home", 0, []map[string]string{}), 400, ""},
		"no values": {write("ds_home", 0, row()), 400, ""},
		"instance":  {write("ds_home", 7, row("field_home_street", "b")), 404, ""},
		"all":       {write("ds_home", -1, row("field_home_street", "b")), 400, "instance"},
		"no record": {c.Update(ctx, "ds_home", 0, 99, map[string]string{"field_home_street": "b"}), 404, ""},
		"record 0":  {c.Update(ctx, "ds_home", 0, 0, map[string]string{"field_home_street": "b"}), 400, "id"},
		"filter":    {onlyErr(c.Rows(ctx, "ds_home", 0, ReadOptions{Filters: []Filter{{"field_home_moat", "=", "1"}}})), 400, "field_home_moat"},
		"operator":  {onlyErr(c.Rows(ctx, "ds_home", 0, ReadOptions{Filters: []Filter{{"id", "~", "1"}}})), 400, "id"},
		"too many":  {write("ds_home", 0, make([]map[string]string, 20_001)), 413, ""},
	} {
		var p *Problem
		if !errors.As(x.err, &p) || p.Status != x.status || x.field != "" && p.Field != x.field {
			t.Errorf("%s: %v, want %d %s", name, x.err, x.status, x.field)
		}
	}
	// All or nothing: the good row before the bad one is not there.
	if err := write("ds_home", 0, append(row("field_home_street", "b"), row("field_home_bedrooms", "many")...)); !IsStatus(err, 400) {
		t.Errorf("a bad row: %v", err)
	}
	if rows := must[[]Row](t)(c.Rows(ctx, "ds_home", 0, ReadOptions{})); len(rows) != 0 {
		t.Errorf("%d rows are there", len(rows))
	}
	if rows := must[[]Row](t)(c.Rows(ctx, "ds_home", -1, ReadOptions{})); len(rows) != 0 {
		t.Errorf("%d rows are there", len(rows))
	}
}
