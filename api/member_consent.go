package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

// errText refuses a document whose text is not the one this server shows for
// the template and choices it names.
var errText = problem(http.StatusConflict, "text-differs", "the signed text is not the one that is shown for this offer")

// statementHead says what the next statement must carry; with ?nid= also the
// link and the version in force there.
func (m *members) statementHead(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	h, err := m.store.StatementHead(c, s.at())
	if err != nil {
		return err
	}
	a := struct {
		*headAnswer
		Link    b64    `json:"link,omitempty"`
		Version uint32 `json:"version,omitempty"`
	}{headAnswer: headJSON(&h)}
	if v := string(ctx.QueryArgs().Peek("nid")); v != "" {
		nid, err := parseNID(v, s)
		if err != nil {
			return err
		}
		link := m.store.LinkID(s.UID, nid)
		a.Link = link[:]
		if st, err := m.agreementOf(c, s, nid); err == nil {
			a.Version = st.Version
		} else if !errors.Is(err, errNotFound) {
			return err
		}
	}
	return writeJSON(ctx, fasthttp.StatusOK, a)
}

// agreementOf is the member's present state with one connection.
func (m *members) agreementOf(c context.Context, s *session, nid pds.NID) (*actors.AgreementState, error) {
	all, err := m.store.Agreements(c, s.at())
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].NID == nid {
			return &all[i], nil
		}
	}
	return nil, errNotFound
}

type consentRequest struct {
	Code      string `json:"code,omitempty"`
	NID       uint32 `json:"nid,omitempty"`
	Statement b64    `json:"statement"`
	Signature b64    `json:"signature"`
	Document  b64    `json:"document,omitempty"`
	Salt      b64    `json:"salt,omitempty"`
	Template  b64    `json:"template,omitempty"`
}

// consent reads a signed act and checks what needs no store: kind, link and
// environment.
func (m *members) consent(ctx *fasthttp.RequestCtx) (*consentRequest, *actors.Consent, *seal.Statement, error) {
	var in consentRequest
	if err := decodeJSON(ctx, 2<<20, &in); err != nil {
		return nil, nil, nil, err
	}
	st, err := seal.DecodeStatement(in.Statement)
	if err != nil || st.Env != m.s.cfg.Env {
		return nil, nil, nil, fieldProblem("statement", "not a statement of this environment")
	}
	if len(in.Signature) == 0 {
		return nil, nil, nil, fieldProblem("signature", "missing")
	}
	out := &actors.Consent{Statement: in.Statement, Signature: in.Signature}
	return &in, out, st, nil
}

// document checks that a statement commits to the document, and the document
// to the template, the connection and the text as this server renders it.
func (m *members) document(c context.Context, in *consentRequest, st *seal.Statement, out *actors.Consent, nid pds.NID, version uint32) error {
	var err error
	if out.Salt, err = sized[[32]byte]("salt", in.Salt); err != nil {
		return err
	}
	doc, err := pds.DecodeDoc(in.Document)
	if err != nil {
		return fieldProblem("document", "not of the documented form")
	}
	if canon, err := seal.Canonical(in.Document); err != nil || string(canon) != string(in.Document) {
		return fieldProblem("document", "not in canonical form")
	}
	if seal.Commitment(out.Salt, in.Document) != st.Commitment {
		return pds.Refuse(pds.Invalid, pds.CodeBadStatement)
	}
	if doc.NID != nid || doc.Version != version || st.Version != version {
		return fieldProblem("document", "names another offer")
	}
	t, canonical, err := m.template(c, nid, version)
	if err != nil {
		return err
	}
	if h := sha256.Sum256(canonical); doc.Template != hex.EncodeToString(h[:]) {
		return fieldProblem("document", "names another template")
	}
	if _, refused := pds.Compile(t, &doc.Choices, m.s.cat); refused != nil {
		return refused
	}
	if _, hash := m.text(t, &doc.Choices); doc.Text != hash {
		return errText
	}
	out.NID, out.Document, out.Template = nid, in.Document, canonical
	return nil
}

// approve takes the signed approval of an offer. The offer is claimed first,
// so that of two members with one code only one connects, and given back if
// the approval is refused.
func (m *members) approve(ctx *fasthttp.RequestCtx, s *session) error {
	in, con, st, err := m.consent(ctx)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	offer, err := m.findInvite(c, s, in.Code)
	if err != nil {
		return err
	}
	if st.Kind != seal.Approve || pds.LinkID(st.Conn) != m.store.LinkID(s.UID, offer.NID) {
		return pds.Refuse(pds.Invalid, pds.CodeBadStatement)
	}
	if err := m.document(c, in, st, con, offer.NID, offer.Version); err != nil {
		return err
	}
	if err := m.mark(c, offer, m.s.now().Unix()); err != nil {
		return err
	}
	addressee(con, s.Mydexid, offer.LinkingToken)
	a, err := m.store.Approve(c, s.at(), con)
	if err != nil {
		var e *pds.Error
		if errors.As(err, &e) && e.Kind != pds.Unknown && e.Kind != pds.Internal {
			u, cancel := m.call()
			defer cancel()
			_ = m.mark(u, offer, 0)
		}
		return err
	}
	return m.approved(ctx, c, fasthttp.StatusCreated, s, con, a, offer.ReturnTo)
}

// approved answers a signed act with its receipt.
func (m *members) approved(ctx *fasthttp.RequestCtx, c context.Context, status int, s *session, con *actors.Consent, a *actors.Approved, returnTo string) error {
	r, err := m.receiptDoc(c, s, con.NID, &a.Receipt)
	if err != nil {
		return err
	}
	return writeJSON(ctx, status, struct {
		ConID    string `json:"con_id"`
		Consent  uint64 `json:"consent"`
		ReturnTo string `json:"return_to,omitempty"`
		Receipt  string `json:"receipt"` // the file's text: its bytes count
	}{a.ConID, a.Consent, returnTo, string(r)})
}

// change takes new choices or a newer version of an approved connection. The
// version may be the one in force or the one that is offered now.
func (m *members) change(ctx *fasthttp.RequestCtx, s *session) error {
	nid, err := memberNID(ctx, s)
	if err != nil {
		return err
	}
	in, con, st, err := m.consent(ctx)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	if st.Kind != seal.Change || pds.LinkID(st.Conn) != m.store.LinkID(s.UID, nid) {
		return pds.Refuse(pds.Invalid, pds.CodeBadStatement)
	}
	have, err := m.agreementOf(c, s, nid)
	if err != nil {
		return err
	}
	version, err := m.offered(c, have, st.Version)
	if err != nil {
		return err
	}
	if err := m.document(c, in, st, con, nid, version); err != nil {
		return err
	}
	addressee(con, s.Mydexid, "")
	a, err := m.store.Change(c, s.at(), con)
	if err != nil {
		return err
	}
	return m.approved(ctx, c, fasthttp.StatusOK, s, con, a, "")
}

// offered checks that a version can be agreed to now; 0 asks for the newest.
func (m *members) offered(c context.Context, have *actors.AgreementState, version uint32) (uint32, error) {
	var conn ConnectionRecord
	if err := getRecord(c, m.s.reg, KindConnection, ConnectionName(have.NID), &conn); err != nil {
		return 0, notFoundAs(err, errNotFound)
	}
	newest := max(conn.ActiveVersion, have.Version)
	switch version {
	case 0, newest:
		return newest, nil
	case have.Version:
		return version, nil
	}
	return 0, pds.Refuse(pds.Conflict, pds.CodeNotNewest)
}

func (m *members) revoke(ctx *fasthttp.RequestCtx, s *session) error {
	return m.bare(ctx, s, seal.Revoke, m.store.Revoke)
}

func (m *members) lift(ctx *fasthttp.RequestCtx, s *session) error {
	return m.bare(ctx, s, seal.Lift, m.store.Lift)
}

// bare takes a signed act that has no document.
func (m *members) bare(ctx *fasthttp.RequestCtx, s *session, kind seal.StatementKind, do func(context.Context, actors.Session, *actors.Consent) (*actors.Approved, error)) error {
	nid, err := memberNID(ctx, s)
	if err != nil {
		return err
	}
	in, con, st, err := m.consent(ctx)
	if err != nil {
		return err
	}
	if st.Kind != kind || pds.LinkID(st.Conn) != m.store.LinkID(s.UID, nid) || len(in.Document) > 0 {
		return pds.Refuse(pds.Invalid, pds.CodeBadStatement)
	}
	con.NID = nid
	addressee(con, s.Mydexid, "")
	c, cancel := m.call()
	defer cancel()
	a, err := do(c, s.at(), con)
	if err != nil {
		return err
	}
	return m.approved(ctx, c, fasthttp.StatusOK, s, con, a, "")
}

// suspend stops a connection; it can only deny, so the log-in is enough.
func (m *members) suspend(ctx *fasthttp.RequestCtx, s *session) error {
	nid, err := memberNID(ctx, s)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	if err := m.store.Suspend(c, s.at(), nid); err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// agreements lists the member's connections, with text and choices.
func (m *members) agreements(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	all, err := m.store.Agreements(c, s.at())
	if err != nil {
		return err
	}
	type agreement struct {
		NID       uint32          `json:"nid"`
		ConID     string          `json:"con_id"`
		Name      string          `json:"name"`
		State     string          `json:"state"`
		Version   uint32          `json:"version"`
		Consent   uint64          `json:"consent"`
		NotAfter  int64           `json:"not_after,omitempty"`
		Since     int64           `json:"since"`
		EpochOwed bool            `json:"epoch_owed"`
		Template  json.RawMessage `json:"template"`
		Document  json.RawMessage `json:"document"`
		Text      string          `json:"text"`
	}
	out := []agreement{}
	for i := range all {
		st := &all[i]
		a := agreement{
			NID: uint32(st.NID), ConID: st.ConID, State: st.State, Version: st.Version, Consent: st.Consent,
			NotAfter: st.NotAfter, Since: st.Since, EpochOwed: st.EpochOwed, Template: st.Template, Document: st.Document,
		}
		t, err := pds.DecodeTemplate(st.Template)
		if err != nil {
			return err
		}
		doc, err := pds.DecodeDoc(st.Document)
		if err != nil {
			return err
		}
		a.Name = t.Name
		a.Text, _ = m.text(t, &doc.Choices)
		out = append(out, a)
	}
	return writeJSON(ctx, fasthttp.StatusOK, map[string]any{"agreements": out})
}

// agreementOffer shows what a connection offers now, or ?version=, with the
// choices in force that it still offers.
func (m *members) agreementOffer(ctx *fasthttp.RequestCtx, s *session) error {
	nid, err := memberNID(ctx, s)
	if err != nil {
		return err
	}
	asked := uint64(0)
	if v := string(ctx.QueryArgs().Peek("version")); v != "" {
		if asked, err = strconv.ParseUint(v, 10, 32); err != nil {
			return fieldProblem("version", "a number")
		}
	}
	c, cancel := m.call()
	defer cancel()
	have, err := m.agreementOf(c, s, nid)
	if err != nil {
		return err
	}
	version, err := m.offered(c, have, uint32(asked))
	if err != nil {
		return err
	}
	choices := noChoices()
	if doc, err := pds.DecodeDoc(have.Document); err == nil {
		t, _, err := m.template(c, nid, version)
		if err != nil {
			return err
		}
		choices = stillOffered(t, &doc.Choices)
	}
	a, err := m.offerOf(c, s, nid, version, choices)
	if err != nil {
		return err
	}
	return writeJSON(ctx, fasthttp.StatusOK, a)
}

// stillOffered cuts choices down to what t offers.
func stillOffered(t *pds.Template, old *pds.Choices) pds.Choices {
	c := noChoices()
	for _, u := range t.UseCases {
		for _, o := range old.UseCases {
			if o == u.Category && !u.Mandatory {
				c.UseCases = append(c.UseCases, o)
			}
		}
	}
	for _, d := range t.Datasets {
		for _, f := range d.Fields {
			for _, o := range old.Fields[d.Dataset] {
				if o == f.Field && !f.Mandatory {
					c.Fields[d.Dataset] = append(c.Fields[d.Dataset], o)
				}
			}
		}
		if n := old.Instances[d.Dataset]; len(n) > 0 {
			if c.Instances == nil {
				c.Instances = map[string][]uint32{}
			}
			c.Instances[d.Dataset] = n
		}
	}
	return c
}

// agreementText renders the text of an approved connection's offer for other
// choices: {"choices":{...}}, ?version= as above.
func (m *members) agreementText(ctx *fasthttp.RequestCtx, s *session) error {
	nid, err := memberNID(ctx, s)
	if err != nil {
		return err
	}
	asked, err := strconv.ParseUint("0"+string(ctx.QueryArgs().Peek("version")), 10, 32)
	if err != nil {
		return fieldProblem("version", "a number")
	}
	c, cancel := m.call()
	defer cancel()
	have, err := m.agreementOf(c, s, nid)
	if err != nil {
		return err
	}
	version, err := m.offered(c, have, uint32(asked))
	if err != nil {
		return err
	}
	return m.answerText(c, ctx, nid, version)
}

// addressee names, for the callback, who consented.
func addressee(c *actors.Consent, mydexid, linking string) {
	c.Mydexid, c.LinkingToken = mydexid, linking
}
