package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"

	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

func kindOf(statement []byte) string {
	if len(statement) == 0 {
		return ""
	}
	st, err := seal.DecodeStatement(statement)
	if err != nil {
		return "unreadable"
	}
	return st.Kind.String()
}

// statement checks a statement that a journal record carries: its signature
// and its place in the chain of statements.
func (c *checker) statement(part string, j *pds.Journal) {
	st := c.signed(part, j.Statement, j.Signature)
	if st == nil {
		return
	}
	c.Statements++
	// A record of the member's own act names no link; the statement does.
	if j.Link != (pds.LinkID{}) && pds.LinkID(st.Conn) != j.Link {
		c.fault(part, "its statement is about another connection")
	}
	whole := c.Format == FormatExport || c.Format == FormatAudit && c.first == 1
	switch {
	case c.stNumber == 0 && whole && st.Kind != seal.Register:
		c.fault(part, "the first statement is not the registration")
	case c.stNumber == 0 && whole && (st.Number != 1 || st.Previous != [32]byte{}):
		c.fault(part, "the registration is not statement 1")
	case c.stNumber > 0 && st.Kind == seal.Register:
		c.fault(part, "a second registration")
	case c.stNumber > 0 && st.Number != c.stNumber+1:
		c.fault(part, "statement %d follows statement %d", st.Number, c.stNumber)
	case c.stNumber > 0 && st.Previous != c.stPrevious:
		c.fault(part, "its statement does not name the one before it")
	}
	c.stNumber, c.stPrevious = st.Number, st.Hash()
	c.acts = append(c.acts, act{bytes.Clone(j.Statement), st})
}

// signed decodes a statement and checks its signature, store and environment.
func (c *checker) signed(part string, raw, sig []byte) *seal.Statement {
	st, err := seal.DecodeStatement(raw)
	if err != nil {
		c.fault(part, "its statement cannot be read")
		return nil
	}
	if st.Env != c.env {
		c.fault(part, "its statement is of the other environment")
	}
	if len(c.member.Store) > 0 && !bytes.Equal(st.Store[:], c.member.Store) {
		c.fault(part, "its statement is about another store")
	}
	switch {
	case st.Kind == seal.RotateKey:
		c.fault(part, "a change of the signing key, which this version cannot follow")
	case !c.haveKey: // noted
	case st.Verify(c.signKey, sig) != nil:
		c.fault(part, "the signature of its statement does not hold")
	}
	return st
}

// agreement checks one consent against what it commits to.
func (c *checker) agreement(i int, a *Agreement) {
	part := fmt.Sprintf("agreement %d (connection %d version %d)", i+1, a.NID, a.Version)
	st := c.signed(part, a.Statement, a.Signature)
	if st == nil {
		return
	}
	if uint64(a.Consent) != st.Number || uint32(a.Version) != st.Version || int64(a.NotAfter) != st.NotAfter {
		c.fault(part, "number, version or end are not those of the statement")
	}
	if a.ConID != pds.ConID(pds.UID(c.member.UID), pds.NID(a.NID)) {
		c.fault(part, "its con_id is not that of the member and the connection")
	}
	if st.Kind != seal.Approve && st.Kind != seal.Change {
		if len(a.Document) > 0 || st.Commitment != [32]byte{} {
			c.fault(part, "a document on a statement that has none")
		}
		return
	}
	if len(a.Salt) != 32 || seal.Commitment([32]byte(a.Salt), a.Document) != st.Commitment {
		c.fault(part, "the document is not the one that was signed")
		return
	}
	doc, err := pds.DecodeDoc(a.Document)
	if err != nil {
		c.fault(part, "the document cannot be read")
		return
	}
	t, err := pds.DecodeTemplate(a.Template)
	sum := sha256.Sum256(a.Template)
	if err != nil || hex.EncodeToString(sum[:]) != doc.Template {
		c.fault(part, "the template is not the one that was signed")
		return
	}
	if uint32(doc.NID) != uint32(a.NID) || doc.Version != st.Version || t.NID != doc.NID || t.Version != doc.Version || t.Name != a.Name {
		c.fault(part, "document, template and statement name different agreements")
	}
	c.text(part, a, doc, t)
}

// text checks what the member was shown. Files of this version render to the
// same text; a text that was signed under another wording must at least have
// the signed hash.
func (c *checker) text(part string, a *Agreement, doc *pds.AgreementDoc, t *pds.Template) {
	sum := sha256.Sum256([]byte(a.Text))
	rendered := pds.Text(t, &doc.Choices, c.cat)
	again := sha256.Sum256([]byte(rendered))
	switch {
	case hex.EncodeToString(sum[:]) != doc.Text:
		c.fault(part, "the text is not the one that was shown and signed")
	case hex.EncodeToString(again[:]) != doc.Text:
		c.note("%s: the signed text has another wording than this program renders", part)
	}
	rules, err := Rules(t, &doc.Choices, c.cat)
	if err != nil {
		c.fault(part, "the choices are not ones that the template offers")
		return
	}
	if !sameRules(a.Rules, rules) {
		c.fault(part, "the rules are not what template and choices give")
	}
}

func sameRules(a, b []Rule) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		for _, l := range []*[]string{&a[i].Read, &a[i].Create, &a[i].Update, &a[i].Delete} {
			if *l == nil {
				*l = []string{}
			}
		}
		if !reflect.DeepEqual(a[i], b[i]) {
			return false
		}
	}
	return true
}

// consents compares agreements with the statements that the journal holds.
func (c *checker) consents() {
	for i := range c.agreements {
		c.agreement(i, &c.agreements[i])
	}
	if c.Entries == 0 || c.Format == FormatAudit {
		return
	}
	missing := 0
	for k, x := range c.acts {
		if x.st.Kind != seal.Approve && x.st.Kind != seal.Change {
			continue
		}
		if !c.has(x.raw) {
			missing++
			continue
		}
		c.stateOf(k)
	}
	if missing > 0 && c.Format == FormatExport {
		c.fault("agreements", "%d consents of the journal are missing", missing)
	}
	for i := range c.agreements {
		found := false
		for _, x := range c.acts {
			found = found || bytes.Equal(x.raw, c.agreements[i].Statement)
		}
		if !found {
			c.fault(fmt.Sprintf("agreement %d", i+1), "its statement is not in the journal")
		}
	}
}

func (c *checker) has(statement []byte) bool { return c.find(statement) != nil }

func (c *checker) find(statement []byte) *Agreement {
	for i := range c.agreements {
		if bytes.Equal(c.agreements[i].Statement, statement) {
			return &c.agreements[i]
		}
	}
	return nil
}

// stateOf compares the state of the agreement made by act k with what came
// after it on the same connection. Suspending is unsigned, so active and
// suspended are not told apart here.
func (c *checker) stateOf(k int) {
	if c.Format != FormatExport {
		return
	}
	a := c.find(c.acts[k].raw)
	want := "in force"
	for _, x := range c.acts[k+1:] {
		if x.st.Conn != c.acts[k].st.Conn {
			continue
		}
		switch x.st.Kind {
		case seal.Revoke:
			if want == "in force" {
				want = "revoked"
			}
		case seal.Approve, seal.Change:
			want = "superseded"
		}
	}
	ok := a.State == want || want == "in force" && (a.State == "active" || a.State == "suspended")
	if !ok {
		c.fault(fmt.Sprintf("agreement of connection %d version %d", a.NID, a.Version), "is shown as %.20q but the statements make it %s", a.State, want)
	}
}
