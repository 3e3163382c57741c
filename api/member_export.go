package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/actors/pds/verify"
	"holdfast/storage/seal"
)

func hexOf(h [32]byte) string { return hex.EncodeToString(h[:]) }

// exportNoter is a store that can name an export in its journal.
type exportNoter interface {
	NoteExport(ctx context.Context, s actors.Session, digest [32]byte) (actors.AuditEntry, *actors.LogProof, error)
}

// consentHistory is a store that keeps the documents of former consents.
type consentHistory interface {
	Statements(ctx context.Context, s actors.Session) ([]actors.AgreementState, error)
}

// export streams everything of the member: every record, hidden ones too,
// every agreement with text and rules, and the whole journal. Package verify
// describes the file. A failure in the middle cuts the connection.
func (m *members) export(ctx *fasthttp.RequestCtx, s *session) error {
	q, err := query(ctx)
	if err != nil {
		return err
	}
	fm, contentType, err := form(q)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	who, err := m.fileMember(c, s)
	if err != nil {
		return err
	}
	var acc AccountRecord
	if err := getRecord(c, m.s.reg, KindAccount, foldID(s.Mydexid), &acc); err != nil {
		return notFoundAs(err, errToken)
	}
	who.Email = acc.Email
	instances, err := m.store.Instances(c, s.at())
	if err != nil {
		return err
	}
	name := "holdfast-export.json"
	if q.Get("format") == "xml" {
		name = "holdfast-export.xml"
	}
	ctx.Response.Header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	m.stream(ctx, contentType, func(out *streamWriter) error {
		c, cancel := context.WithCancel(m.s.base)
		defer cancel()
		w := verify.NewWriter(out, fm)
		m.header(w, verify.FormatExport, s, who)
		if err := m.exportRecords(c, s, w, instances); err != nil {
			return err
		}
		if err := m.exportAgreements(c, s, w); err != nil {
			return err
		}
		if err := m.exportJournal(c, s, w); err != nil {
			return err
		}
		return w.End()
	})
	return nil
}

func (m *members) exportRecords(c context.Context, s *session, w *verify.Writer, instances map[string][]uint32) error {
	var counts []verify.Count
	w.Open("records")
	for _, ds := range m.s.cat.Datasets() {
		for _, i := range slices.Sorted(slices.Values(instances[ds.Name])) {
			n, err := m.exportInstance(c, s, w, ds, i)
			if err != nil {
				return err
			}
			counts = append(counts, verify.Count{Dataset: ds.Name, Instance: verify.Num(i), Records: verify.Num(n), SHA256: w.Part()})
		}
	}
	w.Close()
	w.Open("counts")
	for i := range counts {
		if err := w.Item(&counts[i]); err != nil {
			return err
		}
	}
	w.Close()
	return nil
}

func (m *members) exportInstance(c context.Context, s *session, w *verify.Writer, ds *schema.Dataset, instance uint32) (n int, err error) {
	var cur *actors.Cursor
	for {
		chunk, err := m.store.MemberRead(c, s.at(), ds, int(instance), nil, true, cur)
		if err != nil {
			return n, err
		}
		for i := range chunk.Rows {
			doc, err := recordDoc(ds, chunk.Fields, &chunk.Rows[i])
			if err != nil {
				return n, err
			}
			if err := w.Raw(doc); err != nil {
				return n, err
			}
			n++
		}
		if cur = chunk.Next; cur == nil {
			return n, nil
		}
	}
}

// recordDoc is a verify.Record with its fields in the dataset's order.
func recordDoc(ds *schema.Dataset, fields []*schema.Field, r *pds.Row) ([]byte, error) {
	head, err := json.Marshal(struct {
		Dataset  string `json:"dataset"`
		Instance uint32 `json:"instance"`
		ID       uint64 `json:"id"`
		Source   string `json:"source"`
		Origin   string `json:"origin"`
		Created  int64  `json:"created"`
		Updated  int64  `json:"updated"`
		Version  uint32 `json:"version"`
		Deleted  bool   `json:"deleted"`
	}{ds.Name, r.Instance, r.ID, r.Source, r.Origin.String(), r.Created, r.Updated, r.Version, r.Deleted})
	if err != nil {
		return nil, err
	}
	vals, err := rowValues(fields, r)
	if err != nil {
		return nil, err
	}
	b := append(head[:len(head)-1], `,"values":`...)
	return append(append(b, vals...), '}'), nil
}

// exportAgreements writes every consent that the store still has documents
// of, oldest first.
func (m *members) exportAgreements(c context.Context, s *session, w *verify.Writer) error {
	var states []actors.AgreementState
	var err error
	if h, ok := m.store.(consentHistory); ok {
		states, err = h.Statements(c, s.at())
	} else {
		states, err = m.store.Agreements(c, s.at())
	}
	if err != nil {
		return err
	}
	w.Open("agreements")
	for i := range states {
		a, _, err := m.signedAgreement(s, &states[i], states[i].Salt[:])
		if err != nil {
			return err
		}
		if err := w.Item(a); err != nil {
			return err
		}
	}
	w.Close()
	return nil
}

// signedAgreement is a consent in a file's form, with the text and the rules
// that follow from its document.
func (m *members) signedAgreement(s *session, st *actors.AgreementState, salt []byte) (*verify.Agreement, *seal.Statement, error) {
	stmt, err := seal.DecodeStatement(st.Statement)
	if err != nil {
		return nil, nil, err
	}
	a := &verify.Agreement{
		NID: verify.Num(st.NID), ConID: st.ConID, State: st.State, Version: verify.Num(stmt.Version), Consent: verify.Num(stmt.Number),
		NotAfter: verify.Num(stmt.NotAfter), Since: verify.Num(st.Since), Rules: []verify.Rule{},
		Document: st.Document, Template: st.Template, Salt: salt, Statement: st.Statement, Signature: st.Signature,
	}
	if len(st.Document) == 0 {
		return a, stmt, nil
	}
	t, err := pds.DecodeTemplate(st.Template)
	if err != nil {
		return nil, nil, err
	}
	doc, err := pds.DecodeDoc(st.Document)
	if err != nil {
		return nil, nil, err
	}
	a.Name, a.Text = t.Name, pds.Text(t, &doc.Choices, m.s.cat)
	if a.Rules, err = verify.Rules(t, &doc.Choices, m.s.cat); err != nil {
		return nil, nil, err
	}
	return a, stmt, nil
}

// exportJournal writes the journal as it is now, then has the store journal
// the digest of everything so far, and closes the file with that entry.
func (m *members) exportJournal(c context.Context, s *session, w *verify.Writer) error {
	w.Open("journal")
	write := func(e *actors.AuditEntry) error {
		x, err := m.entryOf(s, e)
		if err != nil {
			return err
		}
		return w.Item(x)
	}
	last, err := m.entries(c, s, actors.AuditQuery{}, write)
	if err != nil {
		return err
	}
	w.Close()
	noter, ok := m.store.(exportNoter)
	if !ok {
		proof, err := m.store.Proof(c, s.at())
		if err != nil {
			return err
		}
		if proof != nil && proof.Sequence > last {
			proof = nil // of a record that came after those written
		}
		return w.Member("seal", sealOf(w, proof))
	}
	_, sum := w.Content()
	_, proof, err := noter.NoteExport(c, s.at(), sum)
	if err != nil {
		return err
	}
	x := sealOf(w, proof)
	// Others may have written in between; the chain needs their records too.
	_, err = m.entries(c, s, actors.AuditQuery{From: last + 1}, func(e *actors.AuditEntry) error {
		if n := len(x.Entries); n > 0 && x.Entries[n-1].Shown != nil && x.Entries[n-1].Shown.Purpose == "sha256:"+hexOf(sum) {
			return nil
		}
		y, err := m.entryOf(s, e)
		if err != nil {
			return err
		}
		x.Entries = append(x.Entries, *y)
		return nil
	})
	if err != nil {
		return err
	}
	if x.Proof != nil && len(x.Entries) > 0 && x.Proof.Sequence > x.Entries[len(x.Entries)-1].Sequence {
		x.Proof = nil
	}
	return w.Member("seal", x)
}
