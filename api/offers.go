package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
)

// errOfferOver answers an offer that was used, rejected or has run out.
var errOfferOver = problem(http.StatusGone, "offer-over", "this offer was used or has expired")

// invite is an InviteRecord with its place in the registry.
type invite struct {
	InviteRecord
	digest  string
	version uint64
}

// findInvite finds an invite by its code. A member may also name one that is
// addressed to them by its digest, which is all that the registry has of the
// code; for anybody else that name leads nowhere.
func (m *members) findInvite(c context.Context, s *session, code string) (*invite, error) {
	if code == "" || len(code) > 128 {
		return nil, errNotFound
	}
	in := &invite{digest: Digest(code)}
	var err error
	in.version, err = getVersion(c, m.s.reg, KindInvite, in.digest, &in.InviteRecord)
	if isNotFound(err) {
		in.digest = code
		in.version, err = getVersion(c, m.s.reg, KindInvite, code, &in.InviteRecord)
		if err == nil && in.MydexID == "" {
			return nil, errNotFound
		}
	}
	if err != nil {
		return nil, notFoundAs(err, errNotFound)
	}
	if in.MydexID != "" && foldID(in.MydexID) != foldID(s.Mydexid) {
		return nil, errNotFound
	}
	if in.over(m.s.now().Unix()) {
		return nil, errOfferOver
	}
	return in, nil
}

func (in *InviteRecord) over(now int64) bool { return in.Used != 0 || in.Expires <= now }

// mark sets or clears Used iff nobody else did meanwhile.
func (m *members) mark(c context.Context, in *invite, used int64) error {
	r := in.InviteRecord
	r.Used = used
	b, err := json.Marshal(&r)
	if err != nil {
		return err
	}
	v, err := m.s.reg.Put(c, KindInvite, in.digest, b, in.version)
	if err != nil {
		if isConflict(err) {
			return errOfferOver
		}
		return err
	}
	in.InviteRecord, in.version = r, v
	return nil
}

// template loads one version of a connection's offer.
func (m *members) template(c context.Context, nid pds.NID, version uint32) (*pds.Template, []byte, error) {
	var r TemplateRecord
	if err := getRecord(c, m.s.reg, KindTemplate, TemplateName(nid, version), &r); err != nil {
		return nil, nil, notFoundAs(err, errNotFound)
	}
	t, err := pds.DecodeTemplate(r.Canonical)
	if err != nil {
		return nil, nil, err
	}
	return t, r.Canonical, nil
}

// offers lists invites addressed to the member and, while the store is
// unlocked, newer versions of what they have approved.
func (m *members) offers(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	type line struct {
		Code       string `json:"code,omitempty"`
		NID        uint32 `json:"nid"`
		Version    uint32 `json:"version"`
		Name       string `json:"name"`
		Subscriber string `json:"subscriber"`
		Purpose    string `json:"purpose"`
		Expires    int64  `json:"expires,omitempty"`
		Update     bool   `json:"update"`
	}
	out := []line{}
	add := func(l line) error {
		t, _, err := m.template(c, pds.NID(l.NID), l.Version)
		if err != nil {
			return err
		}
		l.Name, l.Subscriber, l.Purpose = t.Name, t.Subscriber, t.Purpose
		out = append(out, l)
		return nil
	}
	var mine []line
	now := m.s.now().Unix()
	err := m.s.reg.List(c, KindInvite, func(name string, value []byte, _ uint64) error {
		var r InviteRecord
		if json.Unmarshal(value, &r) == nil && r.MydexID != "" && foldID(r.MydexID) == foldID(s.Mydexid) && !r.over(now) {
			mine = append(mine, line{Code: name, NID: uint32(r.NID), Version: r.Version, Expires: r.Expires})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range mine {
		if err := add(l); err != nil {
			return err
		}
	}
	unlocked := m.store.IsUnlocked(c, s.at())
	if unlocked {
		states, err := m.store.Agreements(c, s.at())
		if err != nil {
			return err
		}
		for i := range states {
			a := &states[i]
			var conn ConnectionRecord
			if !inForce(a) || getRecord(c, m.s.reg, KindConnection, ConnectionName(a.NID), &conn) != nil || conn.ActiveVersion <= a.Version {
				continue
			}
			if err := add(line{NID: uint32(a.NID), Version: conn.ActiveVersion, Update: true}); err != nil {
				return err
			}
		}
	}
	return writeJSON(ctx, fasthttp.StatusOK, map[string]any{"offers": out, "unlocked": unlocked})
}

func inForce(a *actors.AgreementState) bool {
	return a.State == pds.LinkActive.String() || a.State == pds.LinkSuspended.String()
}

type headAnswer struct {
	Store    b64    `json:"store"`
	Number   uint64 `json:"number"`
	Previous b64    `json:"previous"`
	KeyID    b64    `json:"key_id"`
}

func headJSON(h *actors.StatementHead) *headAnswer {
	return &headAnswer{h.Store[:], h.Number, h.Previous[:], h.KeyID[:]}
}

type offerAnswer struct {
	Code      string          `json:"code,omitempty"`
	NID       uint32          `json:"nid"`
	Version   uint32          `json:"version"`
	Template  json.RawMessage `json:"template"`
	Canonical b64             `json:"canonical"`
	Link      b64             `json:"link"`
	Choices   pds.Choices     `json:"choices"`
	Text      string          `json:"text"`
	TextHash  string          `json:"text_sha256"`
	ReturnTo  string          `json:"return_to,omitempty"`
	Head      *headAnswer     `json:"head,omitempty"`
}

// offerOf shows a template with choices; the head is there while unlocked.
func (m *members) offerOf(c context.Context, s *session, nid pds.NID, version uint32, choices pds.Choices) (*offerAnswer, error) {
	t, canonical, err := m.template(c, nid, version)
	if err != nil {
		return nil, err
	}
	link := m.store.LinkID(s.UID, nid)
	a := &offerAnswer{NID: uint32(nid), Version: version, Template: canonical, Canonical: canonical, Link: link[:], Choices: choices}
	a.Text, a.TextHash = m.text(t, &choices)
	if m.store.IsUnlocked(c, s.at()) {
		h, err := m.store.StatementHead(c, s.at())
		if err != nil {
			return nil, err
		}
		a.Head = headJSON(&h)
	}
	return a, nil
}

// text is what is shown for these choices, and its hash in hex.
func (m *members) text(t *pds.Template, choices *pds.Choices) (text, hash string) {
	text = pds.Text(t, choices, m.s.cat)
	h := sha256.Sum256([]byte(text))
	return text, hex.EncodeToString(h[:])
}

func noChoices() pds.Choices {
	return pds.Choices{UseCases: []string{}, Fields: map[string][]string{}}
}

// offer shows an invite with nothing optional switched on.
func (m *members) offer(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	code := param(ctx, "code")
	in, err := m.findInvite(c, s, code)
	if err != nil {
		return err
	}
	a, err := m.offerOf(c, s, in.NID, in.Version, noChoices())
	if err != nil {
		return err
	}
	a.Code, a.ReturnTo = code, in.ReturnTo
	return writeJSON(ctx, fasthttp.StatusOK, a)
}

// offerText renders the text for other choices: {"choices":{...}}.
func (m *members) offerText(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	in, err := m.findInvite(c, s, param(ctx, "code"))
	if err != nil {
		return err
	}
	return m.answerText(c, ctx, in.NID, in.Version)
}

func (m *members) answerText(c context.Context, ctx *fasthttp.RequestCtx, nid pds.NID, version uint32) error {
	var body struct {
		Choices pds.Choices `json:"choices"`
	}
	if err := decodeJSON(ctx, 256<<10, &body); err != nil {
		return err
	}
	t, _, err := m.template(c, nid, version)
	if err != nil {
		return err
	}
	if _, refused := pds.Compile(t, &body.Choices, m.s.cat); refused != nil {
		return refused
	}
	text, hash := m.text(t, &body.Choices)
	return writeJSON(ctx, fasthttp.StatusOK, map[string]string{"text": text, "text_sha256": hash})
}

// reject declines an offer for good: nothing was shared and nothing is.
func (m *members) reject(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	in, err := m.findInvite(c, s, param(ctx, "code"))
	if err != nil {
		return err
	}
	if err := m.mark(c, in, m.s.now().Unix()); err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// memberNID reads {nid}: a connection's number or the member's own con_id.
func memberNID(ctx *fasthttp.RequestCtx, s *session) (pds.NID, error) {
	return parseNID(param(ctx, "nid"), s)
}

func parseNID(v string, s *session) (pds.NID, error) {
	if uid, nid, ok := strings.Cut(v, "-"); ok {
		if uid != utoa(uint64(s.UID)) {
			return 0, errNotFound
		}
		v = nid
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 {
		return 0, fieldProblem("nid", "a connection's number")
	}
	return pds.NID(n), nil
}
