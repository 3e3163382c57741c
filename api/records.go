package api

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"

	"holdfast/actors/pds"
)

// Kinds of the registry's entries that this package writes. The name of an
// entry is: the organisation's id, the client's id, the connection's number in
// decimal, "<nid>/<version>", Digest of an invite's code, Digest of a token.
const (
	KindOrganisation = "organisation"
	KindClient       = "client"
	KindConnection   = "connection"
	KindTemplate     = "template"
	KindInvite       = "invite"
	KindToken        = "token"
	KindDelivery     = "delivery" // last callback of a connection
)

// OrganisationRecord is a subscriber.
type OrganisationRecord struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Created int64  `json:"created"` // Unix seconds
}

// ClientRecord is an OAuth 2 client of an organisation. Secret is the hex
// SHA-256 of the client secret, which has 256 random bits.
type ClientRecord struct {
	ID       string    `json:"id"`
	Org      string    `json:"org"`
	Secret   string    `json:"secret"`
	Scopes   []string  `json:"scopes"` // what it may ask for
	NIDs     []pds.NID `json:"nids"`   // connections it acts for
	Created  int64     `json:"created"`
	Disabled bool      `json:"disabled,omitempty"`
}

// TokenRecord is an access token, stored under its Digest.
type TokenRecord struct {
	Client  string   `json:"client"` // empty: an organisation's bootstrap token
	Org     string   `json:"org"`
	Scopes  []string `json:"scopes"`
	Env     byte     `json:"env"`
	Expires int64    `json:"expires"` // Unix seconds
}

// Contact is a person or desk at the subscriber.
type Contact struct {
	Role  string `json:"role"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

// ConnectionRecord is one application of a subscriber: what members connect to.
type ConnectionRecord struct {
	NID           pds.NID   `json:"nid"`
	Org           string    `json:"org"`
	OrgName       string    `json:"org_name"`
	Name          string    `json:"name"`
	Purpose       string    `json:"purpose"`
	Description   string    `json:"description,omitempty"`
	Logo          string    `json:"logo,omitempty"`
	Callback      string    `json:"callback"`
	Contacts      []Contact `json:"contacts,omitempty"`
	TokenHash     string    `json:"token_hash"` // lower-case hex SHA-512 of the Connection Token
	ClientIDs     []string  `json:"client_ids"`
	LastVersion   uint32    `json:"last_version"`   // highest template version, 0: none
	ActiveVersion uint32    `json:"active_version"` // offered to members, 0: none
	Created       int64     `json:"created"`
}

// TemplateRecord is one version of a connection's offer.
type TemplateRecord struct {
	NID       pds.NID `json:"nid"`
	Version   uint32  `json:"version"`
	State     string  `json:"state"`     // draft or active
	Canonical []byte  `json:"canonical"` // not RawMessage: encoding/json would rewrite its &, < and >
	Hash      string  `json:"hash"`      // hex SHA-256 of Canonical
	Created   int64   `json:"created"`
}

// InviteRecord offers a connection to whoever holds the code, or to one member
// only. It is stored under Digest(code); the code itself is nowhere.
type InviteRecord struct {
	NID          pds.NID `json:"nid"`
	Version      uint32  `json:"version"`
	MydexID      string  `json:"mydexid,omitempty"`
	LinkingToken string  `json:"linking_token,omitempty"`
	ReturnTo     string  `json:"return_to,omitempty"`
	Created      int64   `json:"created"`
	Expires      int64   `json:"expires"`        // Unix seconds
	Used         int64   `json:"used,omitempty"` // when it was approved or rejected
}

// Digest is how a code or token of full entropy stands in the registry.
func Digest(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// ConnectionTokenHash is the published form of a Connection Token's hash:
// lower-case hex SHA-512. It stands in callbacks' Authentication header.
func ConnectionTokenHash(token string) string {
	h := sha512.Sum512([]byte(token))
	return hex.EncodeToString(h[:])
}

// TemplateName is the registry name of a template.
func TemplateName(nid pds.NID, version uint32) string {
	return utoa(uint64(nid)) + "/" + utoa(uint64(version))
}

// ConnectionName is the registry name of a connection.
func ConnectionName(nid pds.NID) string { return utoa(uint64(nid)) }
