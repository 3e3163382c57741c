package verify

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
)

var errForm = errors.New("verify: not of the documented form")

// Bytes travels as base64url without padding.
type Bytes []byte

// MarshalText encodes b.
func (b Bytes) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText decodes strictly: one value has one form.
func (b *Bytes) UnmarshalText(t []byte) error {
	if strings.ContainsAny(string(t), "\r\n") {
		return errForm
	}
	out, err := base64.RawURLEncoding.Strict().AppendDecode(nil, t)
	if err != nil {
		return errForm
	}
	*b = out
	return nil
}

// Num is a number that is text in XML.
type Num int64

// UnmarshalJSON takes 5 and "5".
func (n *Num) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseInt(unquote(b), 10, 64)
	if err != nil {
		return errForm
	}
	*n = Num(v)
	return nil
}

// Flag is a truth value that is text in XML.
type Flag bool

// UnmarshalJSON takes true and "true".
func (f *Flag) UnmarshalJSON(b []byte) error {
	switch unquote(b) {
	case "true":
		*f = true
	case "false":
		*f = false
	default:
		return errForm
	}
	return nil
}

func unquote(b []byte) string {
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		b = b[1 : len(b)-1]
	}
	return string(b)
}

// Member says whose file it is. SignKey is the Ed25519 key that statements
// are signed with.
type Member struct {
	UID     Num    `json:"uid"`
	Mydexid string `json:"mydexid,omitempty"`
	Email   string `json:"email,omitempty"`
	Store   Bytes  `json:"store,omitempty"`
	SignKey Bytes  `json:"sign_key,omitempty"`
}

// Record is one record with every field, nil where it is empty.
type Record struct {
	Dataset  string             `json:"dataset"`
	Instance Num                `json:"instance"`
	ID       Num                `json:"id"`
	Source   string             `json:"source"`
	Origin   string             `json:"origin"`
	Created  Num                `json:"created"`
	Updated  Num                `json:"updated"`
	Version  Num                `json:"version"`
	Deleted  Flag               `json:"deleted"`
	Values   map[string]*string `json:"values"`
}

// Count closes the records of one dataset and instance. SHA256 is over their
// elements as they stand in the file, one after another.
type Count struct {
	Dataset  string `json:"dataset"`
	Instance Num    `json:"instance"`
	Records  Num    `json:"records"`
	SHA256   string `json:"sha256"`
}

// Agreement is one consent: what was shown, chosen and signed.
type Agreement struct {
	NID       Num    `json:"nid"`
	ConID     string `json:"con_id"`
	State     string `json:"state"`
	Version   Num    `json:"version"`
	Consent   Num    `json:"consent"`
	NotAfter  Num    `json:"not_after"`
	Since     Num    `json:"since"`
	Name      string `json:"name"`
	Text      string `json:"text"`
	Rules     []Rule `json:"rules"`
	Document  Bytes  `json:"document"`
	Template  Bytes  `json:"template"`
	Salt      Bytes  `json:"salt"`
	Statement Bytes  `json:"statement"`
	Signature Bytes  `json:"signature"`
}

// Rule is what an agreement allows on one dataset and instance, by field.
type Rule struct {
	Dataset  string   `json:"dataset"`
	Instance Num      `json:"instance"`
	Read     []string `json:"read"`
	Create   []string `json:"create"`
	Update   []string `json:"update"`
	Delete   []string `json:"delete"`
}

// Rules puts the compiled grants of an agreement into names.
func Rules(t *pds.Template, c *pds.Choices, cat *schema.Catalogue) ([]Rule, error) {
	grants, refused := pds.Compile(t, c, cat)
	if refused != nil {
		return nil, refused
	}
	out := make([]Rule, len(grants))
	for i := range grants {
		g := &grants[i]
		out[i] = Rule{
			Dataset: g.Dataset, Instance: Num(g.Instance),
			Read: names(cat, g.Dataset, g.Masks[0]), Create: names(cat, g.Dataset, g.Masks[1]),
			Update: names(cat, g.Dataset, g.Masks[2]), Delete: names(cat, g.Dataset, g.Masks[3]),
		}
	}
	return out, nil
}

// names lists the fields of a mask in order of number; one that the catalogue
// does not know is "#number".
func names(cat *schema.Catalogue, dataset string, m pds.Mask) []string {
	out := []string{}
	ds, known := cat.Dataset(dataset)
	for n := uint8(1); n <= schema.MaxFields; n++ {
		if !m.Has(n) {
			continue
		}
		name := "#" + strconv.Itoa(int(n))
		if known {
			if f := ds.ByNumber(n); f != nil {
				name = f.Name
			}
		}
		out = append(out, name)
	}
	return out
}

// Entry is one journal record. Entry and Salt are absent where the key of the
// entry is gone; Shown says in words what they hold.
type Entry struct {
	Sequence Num    `json:"sequence"`
	Record   Bytes  `json:"record"`
	Entry    Bytes  `json:"entry,omitempty"`
	Salt     Bytes  `json:"salt,omitempty"`
	Shown    *Shown `json:"shown,omitempty"`
}

// Shown is an entry in words.
type Shown struct {
	Time       Num      `json:"time"` // Unix milliseconds
	Act        string   `json:"act"`
	Source     string   `json:"source"`     // who acted: a con_id, "user" for the member, "system" for the store itself
	Connection string   `json:"connection"` // con_id of the connection that it is about, or ""
	Version    Num      `json:"version"`
	Behalf     Num      `json:"behalf"`
	Dataset    string   `json:"dataset"`
	Instance   Num      `json:"instance"`
	Fields     []string `json:"fields"`
	Purpose    string   `json:"purpose"`
	Result     string   `json:"result"` // "allowed", or the rule that refused
	Field      string   `json:"field"`
	Row        Num      `json:"row"`
	Rows       Num      `json:"rows"`
	First      Num      `json:"first"`
	Count      Num      `json:"count"`
	Digest     string   `json:"digest"`    // of an export, hex
	Statements string   `json:"statement"` // kind of statement carried, or ""
}

// Show puts an entry into words. It is a pure function: the verifier calls it
// again and compares.
func Show(uid pds.UID, j *pds.Journal, e *pds.AuditEntry, cat *schema.Catalogue) *Shown {
	s := &Shown{
		Time: Num(j.Time), Act: e.Act.String(), Source: "user", Version: Num(e.Version), Behalf: Num(e.Behalf),
		Dataset: e.Dataset, Instance: Num(e.Instance), Fields: names(cat, e.Dataset, e.Fields),
		Purpose: e.Purpose, Result: "allowed", Field: e.Field, Row: Num(e.Row), Rows: Num(e.Rows),
		First: Num(e.First), Count: Num(e.Count), Digest: hex.EncodeToString(e.Digest), Statements: kindOf(j.Statement),
	}
	if e.NID != 0 {
		s.Connection = pds.ConID(uid, e.NID)
	}
	switch e.Act {
	case pds.ActRead, pds.ActCreate, pds.ActUpdate, pds.ActDelete, pds.ActAccess:
		if e.NID != 0 {
			s.Source = s.Connection
		}
	case pds.ActKeys:
		s.Source = "system"
	}
	if e.Result != pds.CodeNone {
		s.Result = e.Result.Title()
	}
	return s
}

// Seal closes a file: Bytes and SHA256 are of everything before it. Entries
// are the journal records after those of the file; the last one is that of
// the export and holds the same digest. Proof places a chain value of the
// journal in the log.
type Seal struct {
	Bytes   Num     `json:"bytes"`
	SHA256  string  `json:"sha256"`
	Entries []Entry `json:"entries,omitempty"`
	Proof   *Proof  `json:"proof,omitempty"`
}

// Proof places the chain value Head, after record Sequence, in the log. Before
// is the chain value in front of the first record of a receipt.
type Proof struct {
	Sequence   Num     `json:"sequence"`
	Head       Bytes   `json:"head"`
	Before     Bytes   `json:"before,omitempty"`
	LeafSalt   Bytes   `json:"leaf_salt"`
	Index      Num     `json:"index"`
	Size       Num     `json:"size"`
	Hashes     []Bytes `json:"hashes"`
	Checkpoint string  `json:"checkpoint"`
	LogKey     string  `json:"log_key"`
}

// strict decodes one element and refuses members it does not know.
func strict(doc []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil || d.More() {
		return errForm
	}
	return nil
}
