package memberclient

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// OfferLine is an offer in a list: an invitation by code, or a new version of
// a connection that is already approved, which has no code.
type OfferLine struct {
	Code       string `json:"code,omitempty"`
	NID        uint32 `json:"nid"`
	Version    uint32 `json:"version"`
	Name       string `json:"name"`
	Subscriber string `json:"subscriber"`
	Purpose    string `json:"purpose"`
	Expires    int64  `json:"expires,omitempty"`
	Update     bool   `json:"update"` // approved in an older version
}

// Offer is what a member decides on. Canonical is the RFC 8785 form of the
// template, Link what a statement's Conn must hold.
type Offer struct {
	Code      string          `json:"code,omitempty"`
	NID       uint32          `json:"nid"`
	Version   uint32          `json:"version"`
	Template  json.RawMessage `json:"template"`
	Canonical Bytes           `json:"canonical"`
	Link      Bytes           `json:"link"`
	Text      string          `json:"text"` // as shown with nothing optional switched on
	TextHash  string          `json:"text_sha256"`
	ReturnTo  string          `json:"return_to,omitempty"`
	Head      *Head           `json:"head"` // while unlocked
	Choices   *pds.Choices    `json:"choices,omitempty"`
}

// Head is the member's last statement: the next names it.
type Head struct {
	Store    Bytes  `json:"store"`
	Number   uint64 `json:"number"`
	Previous Bytes  `json:"previous"`
	KeyID    Bytes  `json:"key_id"`
}

// Offers lists what waits for the member's decision.
func (c *Client) Offers(ctx context.Context) ([]OfferLine, error) {
	var out struct {
		Offers []OfferLine `json:"offers"`
	}
	err := c.do(ctx, http.MethodGet, "/offers", nil, &out)
	return out.Offers, err
}

// Offer fetches one offer by its code.
func (c *Client) Offer(ctx context.Context, code string) (*Offer, error) {
	var o Offer
	return &o, c.do(ctx, http.MethodGet, "/offers/"+escape(code), nil, &o)
}

// OfferOf fetches the newest version of a connection that is approved
// already, or version if it is not 0; its Choices are the present ones.
func (c *Client) OfferOf(ctx context.Context, nid uint32, version uint32) (*Offer, error) {
	p := "/agreements/" + strconv.FormatUint(uint64(nid), 10) + "/offer"
	if version > 0 {
		p += "?version=" + strconv.FormatUint(uint64(version), 10)
	}
	var o Offer
	return &o, c.do(ctx, http.MethodGet, p, nil, &o)
}

// Reject declines an offer for good.
func (c *Client) Reject(ctx context.Context, code string) error {
	return c.do(ctx, http.MethodPost, "/offers/"+escape(code)+"/reject", nil, nil)
}

// Everything switches every optional part of an offer on, for the instances
// given (none: instance 0).
func Everything(t *pds.Template, instances map[string][]uint32) pds.Choices {
	c := pds.Choices{UseCases: []string{}, Fields: map[string][]string{}, Instances: instances}
	for _, u := range t.UseCases {
		if !u.Mandatory {
			c.UseCases = append(c.UseCases, u.Category)
		}
	}
	for _, d := range t.Datasets {
		for _, f := range d.Fields {
			if !f.Mandatory {
				c.Fields[d.Dataset] = append(c.Fields[d.Dataset], f.Field)
			}
		}
	}
	return c
}

// Draft is a consent before it is signed: what the member is shown and what
// the signature will cover.
type Draft struct {
	Offer    *Offer
	Template *pds.Template
	Choices  pds.Choices
	Text     string
	document []byte
	salt     [32]byte
}

// NewDraft renders the text from the template and the choices in this
// process, so that what is shown and what is signed cannot differ, whatever
// the server sent as text. It refuses an offer whose canonical template is
// not canonical or is for another connection, and choices outside the offer.
func NewDraft(o *Offer, choices pds.Choices, cat *schema.Catalogue) (*Draft, error) {
	t, err := pds.DecodeTemplate(o.Canonical)
	if err != nil {
		return nil, err
	}
	canon, err := seal.Canonical(o.Canonical)
	if err != nil || !slices.Equal(canon, o.Canonical) || uint32(t.NID) != o.NID || t.Version != o.Version {
		return nil, errAnswer
	}
	if _, refused := pds.Compile(t, &choices, cat); refused != nil {
		return nil, refused
	}
	d := &Draft{Offer: o, Template: t, Choices: choices, Text: pds.Text(t, &choices, cat)}
	text := sha256.Sum256([]byte(d.Text))
	tmpl := sha256.Sum256(canon)
	doc := pds.AgreementDoc{
		Template: hex.EncodeToString(tmpl[:]), Choices: choices, Text: hex.EncodeToString(text[:]),
		NID: t.NID, Version: t.Version,
	}
	b, err := json.Marshal(&doc)
	if err != nil {
		return nil, err
	}
	if d.document, err = seal.Canonical(b); err != nil {
		return nil, err
	}
	rand.Read(d.salt[:])
	return d, nil
}

type consentBody struct {
	Code      string `json:"code,omitempty"`
	NID       uint32 `json:"nid,omitempty"`
	Statement Bytes  `json:"statement"`
	Signature Bytes  `json:"signature"`
	Document  Bytes  `json:"document,omitempty"`
	Salt      Bytes  `json:"salt,omitempty"`
	Template  Bytes  `json:"template,omitempty"`
}

// Approved is the outcome of a signed act. The Member Key is not in it: it
// goes to the subscriber.
type Approved struct {
	ConID    string `json:"con_id"`
	Consent  uint64 `json:"consent"`
	ReturnTo string `json:"return_to,omitempty"`
	Receipt  string `json:"receipt"` // a file that holdfast verify checks
}

// Approve signs a draft as the first approval of its connection.
func (c *Client) Approve(ctx context.Context, k *Key, d *Draft) (*Approved, error) {
	in, err := c.consent(ctx, k, seal.Approve, d.Offer.NID, d)
	if err != nil {
		return nil, err
	}
	in.Code, in.NID = d.Offer.Code, d.Offer.NID
	var out Approved
	return &out, c.do(ctx, http.MethodPost, "/agreements", in, &out)
}

// Change signs a draft for a connection that is approved: other choices or a
// newer version.
func (c *Client) Change(ctx context.Context, k *Key, d *Draft) (*Approved, error) {
	in, err := c.consent(ctx, k, seal.Change, d.Offer.NID, d)
	if err != nil {
		return nil, err
	}
	var out Approved
	return &out, c.do(ctx, http.MethodPost, agreementPath(d.Offer.NID)+"/change", in, &out)
}

// Revoke ends a connection at once.
func (c *Client) Revoke(ctx context.Context, k *Key, nid uint32) (*Approved, error) {
	return c.signed(ctx, k, seal.Revoke, nid, "/revoke")
}

// Lift ends a suspension.
func (c *Client) Lift(ctx context.Context, k *Key, nid uint32) (*Approved, error) {
	return c.signed(ctx, k, seal.Lift, nid, "/lift")
}

// Suspend stops a connection until it is lifted; it needs no Private Key.
func (c *Client) Suspend(ctx context.Context, nid uint32) error {
	return c.do(ctx, http.MethodPost, agreementPath(nid)+"/suspend", nil, nil)
}

func (c *Client) signed(ctx context.Context, k *Key, kind seal.StatementKind, nid uint32, path string) (*Approved, error) {
	in, err := c.consent(ctx, k, kind, nid, nil)
	if err != nil {
		return nil, err
	}
	var out Approved
	return &out, c.do(ctx, http.MethodPost, agreementPath(nid)+path, in, &out)
}

// consent builds and signs the next statement over d, which is nil for acts
// without a document.
func (c *Client) consent(ctx context.Context, k *Key, kind seal.StatementKind, nid uint32, d *Draft) (*consentBody, error) {
	var h struct {
		Head
		Link    Bytes  `json:"link"`
		Version uint32 `json:"version"` // in force
	}
	if err := c.do(ctx, http.MethodGet, "/statement-head?nid="+strconv.FormatUint(uint64(nid), 10), nil, &h); err != nil {
		return nil, err
	}
	store, err := fixed16(h.Store)
	if err != nil {
		return nil, err
	}
	link, err := fixed16(h.Link)
	if err != nil || len(h.Previous) != 32 {
		return nil, errAnswer
	}
	now := time.Now()
	st := &seal.Statement{
		Kind: kind, Store: store, Conn: link, Number: h.Number + 1,
		Previous: [32]byte(h.Previous), Version: h.Version, Time: now.Unix(),
	}
	in := &consentBody{}
	if d != nil {
		st.Version = d.Template.Version
		if d.Template.NotAfterDays > 0 {
			st.NotAfter = now.AddDate(0, 0, d.Template.NotAfterDays).Unix()
		}
		st.Commitment = seal.Commitment(d.salt, d.document)
		in.Document, in.Salt, in.Template = d.document, d.salt[:], d.Offer.Canonical
	}
	in.Signature = client.Sign(st, &k.seed, k.env)
	in.Statement = st.Encode()
	return in, nil
}

// Agreement is one connection as the member sees it.
type Agreement struct {
	NID       uint32           `json:"nid"`
	ConID     string           `json:"con_id"`
	Name      string           `json:"name"`
	State     string           `json:"state"`
	Version   uint32           `json:"version"`
	Consent   uint64           `json:"consent"`
	NotAfter  int64            `json:"not_after,omitempty"`
	Since     int64            `json:"since"`
	EpochOwed bool             `json:"epoch_owed"`
	Template  json.RawMessage  `json:"template"`
	Document  pds.AgreementDoc `json:"document"`
	Text      string           `json:"text"`
}

// Agreements lists the member's connections, revoked ones too.
func (c *Client) Agreements(ctx context.Context) ([]Agreement, error) {
	var out struct {
		Agreements []Agreement `json:"agreements"`
	}
	err := c.do(ctx, http.MethodGet, "/agreements", nil, &out)
	return out.Agreements, err
}

// Receipt fetches the receipt of a connection's present consent, as JSON that
// `holdfast verify` checks.
func (c *Client) Receipt(ctx context.Context, nid uint32) ([]byte, error) {
	return c.fetch(ctx, agreementPath(nid)+"/receipt")
}

// AuditQuery selects entries; zero values select all.
type AuditQuery struct {
	Connection uint32
	Dataset    string
	Since      time.Time
	Until      time.Time
	From       uint64 // first sequence
	Format     string // json or xml
}

// Audit fetches entries as a document in q.Format.
func (c *Client) Audit(ctx context.Context, q AuditQuery) ([]byte, error) {
	v := url.Values{}
	if q.Connection > 0 {
		v.Set("connection", strconv.FormatUint(uint64(q.Connection), 10))
	}
	if q.Dataset != "" {
		v.Set("dataset", q.Dataset)
	}
	if !q.Since.IsZero() {
		v.Set("since", strconv.FormatInt(q.Since.UnixMilli(), 10))
	}
	if !q.Until.IsZero() {
		v.Set("until", strconv.FormatInt(q.Until.UnixMilli(), 10))
	}
	if q.From > 0 {
		v.Set("from", strconv.FormatUint(q.From, 10))
	}
	if q.Format != "" {
		v.Set("format", q.Format)
	}
	return c.fetch(ctx, "/audit?"+v.Encode())
}

// Export copies everything of the member to w, as json or xml. The answer is
// complete only if it returns nil.
func (c *Client) Export(ctx context.Context, format string, w io.Writer) (int64, error) {
	res, err := c.send(ctx, http.MethodGet, "/export?format="+escape(format), nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := io.Copy(w, res.Body)
	if err != nil {
		return n, fmt.Errorf("memberclient: export cut off: %w", err)
	}
	return n, nil
}

func (c *Client) fetch(ctx context.Context, path string) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("memberclient: answer cut off: %w", err)
	}
	return b, nil
}

func agreementPath(nid uint32) string {
	return "/agreements/" + strconv.FormatUint(uint64(nid), 10)
}
