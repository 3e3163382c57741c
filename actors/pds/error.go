package pds

import "fmt"

// Kind says what sort of refusal an Error is. Numbers are fixed: they travel
// between nodes and lie in audit entries.
type Kind uint8

const (
	Invalid     Kind = 1 // the request is wrong in itself: 400
	NotFound    Kind = 2 // no such record, connection or account: 404
	Denied      Kind = 3 // the agreement, the key or the state does not allow it: 403
	Conflict    Kind = 4 // contradicts what is stored: 409
	Unavailable Kind = 5 // no leader, no quorum, stopped: 503
	Internal    Kind = 6 // shown as a fixed text only: 500
	Busy        Kind = 7 // queue full, disk reserve reached, rate limit: 429 or 503, with RetryAfter
	Locked      Kind = 8 // the store is not unlocked in this session: 423
	Unknown     Kind = 9 // outcome unknown, repeat with the same idempotency key: 503
)

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind"
}

var kindNames = [...]string{"none", "invalid", "not found", "denied", "conflict", "unavailable", "internal", "busy", "locked", "unknown"}

// Code names the rule that refused. It is stable, is the last path element of
// a problem type, and stands in audit entries by number.
type Code uint8

// The codes and the titles that people see.
const (
	CodeNone Code = iota
	CodeUnknownDataset
	CodeUnknownField
	CodeFieldNotGranted
	CodeMethodNotGranted
	CodeDatasetNotGranted
	CodeInstanceNotGranted
	CodeWrongKey
	CodeNoConnection
	CodeSuspended
	CodeRevoked
	CodeExpired
	CodeNotApproved
	CodeWrongType
	CodeNoSuchRecord
	CodeTooLarge
	CodeEmpty
	CodeIdempotencyMismatch
	CodeBadStatement
	CodeBadSignature
	CodeMandatoryPart
	CodeLocked
	CodeWrongPassphrase
	CodeTooManyTries
	CodeKeyIsPassword
	CodeAlreadyExists
	CodeBusy
	CodeDiskReserve
	CodeUnavailable
	CodeUnknownOutcome
	CodeInternal
	CodeFilterNotGranted
	CodeMalformed
	CodeNotNewest
	CodeNoSuchInstance
	CodeReplayed
	CodeNotOffered
)

var titles = map[Code]string{
	CodeUnknownDataset:      "unknown dataset",
	CodeUnknownField:        "unknown field",
	CodeFieldNotGranted:     "field not in agreement",
	CodeMethodNotGranted:    "method not in agreement",
	CodeDatasetNotGranted:   "dataset not in agreement",
	CodeInstanceNotGranted:  "instance not in agreement",
	CodeWrongKey:            "connection key not accepted",
	CodeNoConnection:        "no such connection",
	CodeSuspended:           "connection suspended by the member",
	CodeRevoked:             "agreement revoked",
	CodeExpired:             "agreement expired",
	CodeNotApproved:         "agreement not approved",
	CodeWrongType:           "value does not fit the field's type",
	CodeNoSuchRecord:        "no such record",
	CodeTooLarge:            "too large",
	CodeEmpty:               "nothing to store",
	CodeIdempotencyMismatch: "same idempotency key, other content",
	CodeBadStatement:        "statement does not fit the member's history",
	CodeBadSignature:        "signature not accepted",
	CodeMandatoryPart:       "a mandatory part was left out",
	CodeLocked:              "store is locked",
	CodeWrongPassphrase:     "Private Key not accepted",
	CodeTooManyTries:        "too many tries, wait an hour",
	CodeKeyIsPassword:       "Private Key must differ from the password",
	CodeAlreadyExists:       "already in use",
	CodeBusy:                "busy, try again",
	CodeDiskReserve:         "storage reserve reached, writing is paused",
	CodeUnavailable:         "not available now",
	CodeUnknownOutcome:      "outcome unknown, repeat with the same key",
	CodeInternal:            "internal error",
	CodeFilterNotGranted:    "filter on a field not in agreement",
	CodeMalformed:           "malformed",
	CodeNotNewest:           "not the newest version",
	CodeNoSuchInstance:      "no such instance",
	CodeReplayed:            "stored before",
	CodeNotOffered:          "erasing a record for good is not offered yet; hide it instead",
}

// Title is the human sentence of the code, without personal data.
func (c Code) Title() string {
	if t := titles[c]; t != "" {
		return t
	}
	return "refused"
}

// Slug is the code as it stands in a problem type, such as
// "field-not-in-agreement".
func (c Code) Slug() string {
	t := []byte(c.Title())
	out := t[:0]
	for _, b := range t {
		switch {
		case b >= 'a' && b <= 'z' || b >= '0' && b <= '9':
			out = append(out, b)
		case b >= 'A' && b <= 'Z':
			out = append(out, b+'a'-'A')
		case len(out) > 0 && out[len(out)-1] != '-' && (b == ' ' || b == '-'):
			out = append(out, '-')
		}
	}
	return string(out)
}

// Error is a refusal. It names the rule and the dataset or field concerned,
// never a value.
type Error struct {
	Kind    Kind
	Code    Code
	Dataset string
	Field   string
	Row     int    // 1-based row of the section, 0 where it concerns no row
	Method  Method // the grant that was needed, 0 where it was not about one
}

func (e *Error) Error() string {
	s := e.Code.Title()
	if e.Dataset != "" {
		s += ": " + e.Dataset
	}
	if e.Field != "" {
		s += "." + e.Field
	}
	if e.Row > 0 {
		s += fmt.Sprintf(" (row %d)", e.Row)
	}
	return s
}

// Refuse makes an Error.
func Refuse(k Kind, c Code) *Error { return &Error{Kind: k, Code: c} }

// Needing names the grant that was needed, where the refusal is about one.
func (e *Error) Needing(m Method, dataset string) *Error {
	switch e.Code {
	case CodeNotApproved, CodeDatasetNotGranted, CodeInstanceNotGranted, CodeMethodNotGranted, CodeFieldNotGranted:
		e.Method = m
		if e.Dataset == "" {
			e.Dataset = dataset
		}
	}
	return e
}

// In returns the error with the dataset and field named.
func (e *Error) In(dataset, field string) *Error {
	e.Dataset, e.Field = dataset, field
	return e
}
