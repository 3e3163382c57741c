package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// Manager is the subscriber's half of the registry: organisations, their
// clients, connections, templates and invites. The manager routes are a thin
// layer over it; seeding and tests use it directly. Secrets are returned once,
// by the call that makes them, and stored hashed.
type Manager struct {
	Registry  Registry
	Catalogue *schema.Catalogue
	Env       seal.Env
	Now       func() time.Time
}

const (
	bootstrapLife = 30 * 24 * time.Hour
	inviteLife    = 30 * 24 * time.Hour
	maxInviteLife = 365 * 24 * time.Hour
)

// Credentials are an OAuth 2 client and its secret.
type Credentials struct {
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	Scopes       []string `json:"scopes"`
}

// NewOrganisation is what an operator hands to a subscriber: a bearer token
// with which it can begin at once, and a client for later.
type NewOrganisation struct {
	OrganisationRecord
	Token   string `json:"token"`
	Expires int64  `json:"token_expires"` // Unix seconds
	Credentials
}

// CreateOrganisation registers a subscriber. Its client has the scope manage.
func (m *Manager) CreateOrganisation(ctx context.Context, name string) (*NewOrganisation, error) {
	name = strings.TrimSpace(name)
	if err := checkText("name", name, 1, 120); err != nil {
		return nil, err
	}
	n := &NewOrganisation{OrganisationRecord: OrganisationRecord{ID: "org-" + randomCode(10), Name: name, Created: m.Now().Unix()}}
	if err := putRecord(ctx, m.Registry, KindOrganisation, n.ID, n.OrganisationRecord, 0); err != nil {
		return nil, err
	}
	c, err := m.CreateClient(ctx, n.ID, []string{ScopeManage}, nil)
	if err != nil {
		return nil, err
	}
	n.Credentials = *c
	t := newTokens(m.Registry, m.Env, m.Now)
	token, expires, err := t.issue(ctx, "", n.ID, []string{ScopeManage}, bootstrapLife)
	if err != nil {
		return nil, err
	}
	n.Token, n.Expires = token, expires.Unix()
	return n, nil
}

// Organisations lists the subscribers, by name.
func (m *Manager) Organisations(ctx context.Context) ([]OrganisationRecord, error) {
	return listRecords(ctx, m.Registry, KindOrganisation, func(a, b OrganisationRecord) int { return strings.Compare(a.Name, b.Name) }, nil)
}

// CreateClient makes an OAuth 2 client of an organisation.
func (m *Manager) CreateClient(ctx context.Context, org string, scopes []string, nids []pds.NID) (*Credentials, error) {
	known := Scopes()
	for _, s := range scopes {
		if !slices.Contains(known, s) {
			return nil, problem(400, "scope", "unknown scope")
		}
	}
	c := &Credentials{ClientID: "client-" + randomCode(10), ClientSecret: secretText("hfs_", m.Env), Scopes: scopes}
	h := sha256.Sum256([]byte(c.ClientSecret))
	r := ClientRecord{ID: c.ClientID, Org: org, Secret: hex.EncodeToString(h[:]), Scopes: scopes, NIDs: nids, Created: m.Now().Unix()}
	return c, putRecord(ctx, m.Registry, KindClient, r.ID, r, 0)
}

// ConnectionInput is what a subscriber says of a new connection.
type ConnectionInput struct {
	Name        string    `json:"name"`
	Purpose     string    `json:"purpose"`
	Description string    `json:"description,omitempty"`
	Logo        string    `json:"logo,omitempty"`
	Callback    string    `json:"callback"`
	Contacts    []Contact `json:"contacts,omitempty"`
	// ClientID adds the connection to a client that the organisation has. Empty:
	// the connection gets a client of its own.
	ClientID string `json:"client_id,omitempty"`
	// Scopes of the new client; empty: mydex:pdx and all route scopes.
	Scopes []string `json:"scopes,omitempty"`
}

// NewConnection is a connection with its secrets, which are shown once.
type NewConnection struct {
	NID   pds.NID `json:"nid"`
	Token string  `json:"connection_token"`
	Credentials
}

// CreateConnection registers one application of a subscriber.
func (m *Manager) CreateConnection(ctx context.Context, org string, in ConnectionInput) (*NewConnection, error) {
	var o OrganisationRecord
	if err := getRecord(ctx, m.Registry, KindOrganisation, org, &o); err != nil {
		return nil, notFoundAs(err, errNotFound)
	}
	if err := errors.Join(checkText("name", in.Name, 1, 120), checkText("purpose", in.Purpose, 1, 2000), checkText("description", in.Description, 0, 4000)); err != nil {
		return nil, problemOf(err)
	}
	if err := m.checkURL("callback", in.Callback); err != nil {
		return nil, err
	}
	if len(in.Contacts) > 20 {
		return nil, errMalformed.with("contacts: at most 20")
	}
	var client ClientRecord
	var clientVersion uint64
	if in.ClientID != "" {
		var err error
		if clientVersion, err = getVersion(ctx, m.Registry, KindClient, in.ClientID, &client); err != nil {
			return nil, notFoundAs(err, errNotFound)
		}
		if client.Org != org {
			return nil, errNotFound
		}
	}
	n, err := m.Registry.Next(ctx, "connection")
	if err != nil {
		return nil, err
	}
	nid := pds.NID(1000 + n)
	out := &NewConnection{NID: nid, Token: secretText("hfc_", m.Env)}
	if in.ClientID == "" {
		scopes := in.Scopes
		if len(scopes) == 0 {
			scopes = append([]string{ScopePDX}, routeScopes...)
		}
		c, err := m.CreateClient(ctx, org, scopes, []pds.NID{nid})
		if err != nil {
			return nil, err
		}
		out.Credentials = *c
	} else {
		client.NIDs = append(client.NIDs, nid)
		if err := putRecord(ctx, m.Registry, KindClient, client.ID, client, clientVersion); err != nil {
			return nil, err
		}
		out.Credentials = Credentials{ClientID: client.ID, Scopes: client.Scopes}
	}
	r := ConnectionRecord{NID: nid, Org: org, OrgName: o.Name, Name: in.Name, Purpose: in.Purpose, Description: in.Description, Logo: in.Logo, Callback: in.Callback,
		Contacts: in.Contacts, TokenHash: ConnectionTokenHash(out.Token), ClientIDs: []string{out.ClientID}, Created: m.Now().Unix()}
	return out, putRecord(ctx, m.Registry, KindConnection, ConnectionName(nid), r, 0)
}

// Connection reads one connection; errNotFound if it is not org's. Empty org:
// anybody's.
func (m *Manager) Connection(ctx context.Context, org string, nid pds.NID) (*ConnectionRecord, error) {
	r, _, err := m.connection(ctx, org, nid)
	return r, err
}

func (m *Manager) connection(ctx context.Context, org string, nid pds.NID) (*ConnectionRecord, uint64, error) {
	var r ConnectionRecord
	v, err := getVersion(ctx, m.Registry, KindConnection, ConnectionName(nid), &r)
	if err != nil {
		return nil, 0, notFoundAs(err, errNotFound)
	}
	if org != "" && r.Org != org {
		return nil, 0, errNotFound
	}
	return &r, v, nil
}

// Connections lists an organisation's connections, by number.
func (m *Manager) Connections(ctx context.Context, org string) ([]ConnectionRecord, error) {
	return listRecords(ctx, m.Registry, KindConnection, func(a, b ConnectionRecord) int { return int(a.NID) - int(b.NID) },
		func(r ConnectionRecord) bool { return r.Org == org })
}

// AddTemplate stores the next version of a connection's offer. The server sets
// nid, version, environment and subscriber; where t has them they must fit. In
// the sandbox the version is offered at once, else it is a draft until the
// operator activates it. Earlier versions stay as they are.
func (m *Manager) AddTemplate(ctx context.Context, org string, nid pds.NID, t pds.Template) (*TemplateRecord, error) {
	for range 4 {
		r, err := m.addTemplate(ctx, org, nid, t)
		if !isConflict(err) {
			return r, err
		}
	}
	return nil, errExists
}

func (m *Manager) addTemplate(ctx context.Context, org string, nid pds.NID, t pds.Template) (*TemplateRecord, error) {
	con, version, err := m.connection(ctx, org, nid)
	if err != nil {
		return nil, err
	}
	next := con.LastVersion + 1
	switch {
	case t.NID != 0 && t.NID != nid:
		return nil, errMalformed.with("template: nid is another connection's")
	case t.Version != 0 && t.Version != next:
		return nil, errMalformed.with("template: version must be the next one, or left out")
	case t.Environment != "" && t.Environment != m.Env.String():
		return nil, errMalformed.with("template: environment is not this node's")
	case t.Subscriber != "" && t.Subscriber != con.OrgName:
		return nil, errMalformed.with("template: subscriber is not this organisation")
	}
	t.NID, t.Version, t.Environment, t.Subscriber = nid, next, m.Env.String(), con.OrgName
	if t.Name == "" {
		t.Name = con.Name
	}
	if t.Purpose == "" {
		t.Purpose = con.Purpose
	}
	if t.Law == "" {
		t.Law = "English law"
	}
	if t.DeclaredAt == 0 {
		t.DeclaredAt = m.Now().Unix()
	}
	if err := t.Check(m.Catalogue); err != nil {
		return nil, problem(400, "template", "template not accepted").with(err.Error())
	}
	canonical, err := t.Canonical()
	if err != nil {
		return nil, errMalformed.with("template: no canonical form")
	}
	h := sha256.Sum256(canonical)
	r := &TemplateRecord{NID: nid, Version: next, State: "draft", Canonical: canonical, Hash: hex.EncodeToString(h[:]), Created: m.Now().Unix()}
	con.LastVersion = next
	if m.Env == seal.Sandbox {
		r.State, con.ActiveVersion = "active", next
	}
	// The template first: a connection never names a version that is not there.
	// If the connection moved on, the same name is written again by the retry.
	_, old, err := m.Registry.Get(ctx, KindTemplate, TemplateName(nid, next))
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	if err := putRecord(ctx, m.Registry, KindTemplate, TemplateName(nid, next), r, old); err != nil {
		return nil, err
	}
	if err := putRecord(ctx, m.Registry, KindConnection, ConnectionName(nid), con, version); err != nil {
		return nil, err
	}
	return r, nil
}

// Template reads one version of a connection's offer.
func (m *Manager) Template(ctx context.Context, org string, nid pds.NID, version uint32) (*TemplateRecord, error) {
	con, err := m.Connection(ctx, org, nid)
	if err != nil {
		return nil, err
	}
	if version == 0 || version > con.LastVersion {
		return nil, errNotFound
	}
	var r TemplateRecord
	if err := getRecord(ctx, m.Registry, KindTemplate, TemplateName(nid, version), &r); err != nil {
		return nil, notFoundAs(err, errNotFound)
	}
	return &r, nil
}

// Activate makes a draft what members are offered. It is the operator's act.
func (m *Manager) Activate(ctx context.Context, nid pds.NID, version uint32) error {
	r, err := m.Template(ctx, "", nid, version)
	if err != nil {
		return err
	}
	con, v, err := m.connection(ctx, "", nid)
	if err != nil {
		return err
	}
	if version < con.ActiveVersion {
		return problem(409, "not-the-newest-version", "not the newest version")
	}
	_, old, err := m.Registry.Get(ctx, KindTemplate, TemplateName(nid, version))
	if err != nil {
		return err
	}
	r.State, con.ActiveVersion = "active", version
	if err := putRecord(ctx, m.Registry, KindTemplate, TemplateName(nid, version), r, old); err != nil {
		return err
	}
	return putRecord(ctx, m.Registry, KindConnection, ConnectionName(nid), con, v)
}

// InviteInput is what a subscriber says of an invite; all of it is optional.
type InviteInput struct {
	Version      uint32 `json:"version,omitempty"`       // 0: the active one
	MydexID      string `json:"mydexid,omitempty"`       // only this member may take it
	LinkingToken string `json:"linking_token,omitempty"` // echoed in the callback
	ReturnTo     string `json:"return_to,omitempty"`     // where the browser goes afterwards
	ExpiresIn    int64  `json:"expires_in,omitempty"`    // seconds; 0: 30 days
}

// NewInvite is an invite's code, which is shown once.
type NewInvite struct {
	Code    string  `json:"code"`
	URL     string  `json:"url,omitempty"`
	NID     pds.NID `json:"nid"`
	Version uint32  `json:"version"`
	Expires int64   `json:"expires"`
}

// CreateInvite offers a connection's active version to whoever holds the code.
func (m *Manager) CreateInvite(ctx context.Context, org string, nid pds.NID, in InviteInput) (*NewInvite, error) {
	con, err := m.Connection(ctx, org, nid)
	if err != nil {
		return nil, err
	}
	if in.Version == 0 {
		in.Version = con.ActiveVersion
	}
	if in.Version == 0 || in.Version != con.ActiveVersion {
		return nil, problem(409, "not-the-newest-version", "only the active version can be offered")
	}
	if err := errors.Join(checkText("mydexid", in.MydexID, 0, 64), checkText("linking_token", in.LinkingToken, 0, 256)); err != nil {
		return nil, problemOf(err)
	}
	if in.ReturnTo != "" {
		if err := m.checkURL("return_to", in.ReturnTo); err != nil {
			return nil, err
		}
	}
	life := inviteLife
	if in.ExpiresIn != 0 {
		if in.ExpiresIn < 60 || in.ExpiresIn > int64(maxInviteLife/time.Second) {
			return nil, errMalformed.with("expires_in: 60 seconds to a year")
		}
		life = time.Duration(in.ExpiresIn) * time.Second
	}
	code := randomCode(20)
	now := m.Now()
	r := InviteRecord{NID: nid, Version: in.Version, MydexID: in.MydexID, LinkingToken: in.LinkingToken, ReturnTo: in.ReturnTo, Created: now.Unix(), Expires: now.Add(life).Unix()}
	if err := putRecord(ctx, m.Registry, KindInvite, Digest(code), r, 0); err != nil {
		return nil, err
	}
	return &NewInvite{Code: code, NID: nid, Version: r.Version, Expires: r.Expires}, nil
}

// Invite finds an invite by its code. Expired and unknown ones are errNotFound;
// whether it is used stands in the record.
func (m *Manager) Invite(ctx context.Context, code string) (*InviteRecord, uint64, error) {
	var r InviteRecord
	v, err := getVersion(ctx, m.Registry, KindInvite, Digest(code), &r)
	if err != nil {
		return nil, 0, notFoundAs(err, errNotFound)
	}
	if r.Expires <= m.Now().Unix() {
		return nil, 0, errNotFound
	}
	return &r, v, nil
}

// UseInvite marks an invite used; errExists if somebody was first.
func (m *Manager) UseInvite(ctx context.Context, code string) error {
	r, v, err := m.Invite(ctx, code)
	if err != nil {
		return err
	}
	if r.Used != 0 {
		return errExists
	}
	r.Used = m.Now().Unix()
	err = putRecord(ctx, m.Registry, KindInvite, Digest(code), r, v)
	if isConflict(err) {
		return errExists
	}
	return err
}

// checkURL accepts absolute http and https URLs without credentials; in the live
// environment https only.
func (m *Manager) checkURL(name, s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > 2000 || u.Host == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || m.Env != seal.Sandbox) {
		return errMalformed.with(name + ": an absolute https URL is required (http in the sandbox)")
	}
	return nil
}

func checkText(name, s string, least, most int) error {
	if n := utf8.RuneCountInString(s); !utf8.ValidString(s) || n < least || n > most || strings.ContainsAny(s, "\x00\r") {
		return errMalformed.with(fmt.Sprintf("%s: %d to %d characters", name, least, most))
	}
	return nil
}

// randomCode is n random bytes as lower-case base32.
func randomCode(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// listRecords decodes and sorts the entries of a kind that keep accepts.
func listRecords[T any](ctx context.Context, reg Registry, kind string, cmp func(a, b T) int, keep func(T) bool) ([]T, error) {
	out := []T{}
	err := reg.List(ctx, kind, func(_ string, value []byte, _ uint64) error {
		var r T
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		if keep == nil || keep(r) {
			out = append(out, r)
		}
		return nil
	})
	slices.SortFunc(out, cmp)
	return out, err
}
