package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/actors/pds/verify"
	"holdfast/storage/seal"
)

func hexOf(h [32]byte) string { return hex.EncodeToString(h[:]) }

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
	if err := m.s.limited("export "+utoa(uint64(s.UID)), 0.5, 10); err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	who, err := m.fileMember(c, s)
	if err != nil {
		return err
	}
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
		rows, err := m.exportRecords(c, s, w, instances)
		if err != nil {
			return err
		}
		if err := m.exportAgreements(c, s, w); err != nil {
			return err
		}
		if err := m.exportJournal(c, s, w, rows); err != nil {
			return err
		}
		return w.End()
	})
	return nil
}

func (m *members) exportRecords(c context.Context, s *session, w *verify.Writer, instances map[string][]uint32) (rows int, err error) {
	var counts []verify.Count
	w.Open("records")
	for _, ds := range m.s.cat.Datasets() {
		for _, i := range slices.Sorted(slices.Values(instances[ds.Name])) {
			n, err := m.exportInstance(c, s, w, ds, i)
			if err != nil {
				return rows, err
			}
			rows += n
			counts = append(counts, verify.Count{Dataset: ds.Name, Instance: verify.Num(i), Records: verify.Num(n), SHA256: w.Part()})
		}
	}
	w.Close()
	w.Open("counts")
	for i := range counts {
		if err := w.Item(&counts[i]); err != nil {
			return rows, err
		}
	}
	w.Close()
	return rows, nil
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

// exportAgreements writes every consent with a document, oldest first.
func (m *members) exportAgreements(c context.Context, s *session, w *verify.Writer) error {
	docs, err := m.store.Documents(c, s.at())
	if err != nil {
		return err
	}
	states, err := m.store.Agreements(c, s.at())
	if err != nil {
		return err
	}
	w.Open("agreements")
	for i := range docs {
		if len(docs[i].Document) == 0 {
			continue // of a revocation or a lifting, whose statement is in the journal
		}
		a, st, err := m.signedAgreement(s, &docs[i])
		if err != nil {
			return err
		}
		a.State = "superseded"
		for k := range states {
			if pds.NID(a.NID) == states[k].NID && st.Number == states[k].Consent {
				a.State, a.Since = states[k].State, verify.Num(states[k].Since)
			}
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
func (m *members) signedAgreement(s *session, r *actors.Receipt) (*verify.Agreement, *seal.Statement, error) {
	st, err := seal.DecodeStatement(r.Statement)
	if err != nil {
		return nil, nil, err
	}
	a := &verify.Agreement{
		Version: verify.Num(st.Version), Consent: verify.Num(st.Number), NotAfter: verify.Num(st.NotAfter), Rules: []verify.Rule{},
		Document: r.Document, Template: r.Template, Salt: r.Salt, Statement: r.Statement, Signature: r.Signature,
	}
	if len(r.Document) == 0 {
		return a, st, nil
	}
	t, err := pds.DecodeTemplate(r.Template)
	if err != nil {
		return nil, nil, err
	}
	doc, err := pds.DecodeDoc(r.Document)
	if err != nil {
		return nil, nil, err
	}
	a.NID, a.ConID = verify.Num(doc.NID), pds.ConID(s.UID, doc.NID)
	a.Name, a.Text = t.Name, pds.Text(t, &doc.Choices, m.s.cat)
	if a.Rules, err = verify.Rules(t, &doc.Choices, m.s.cat); err != nil {
		return nil, nil, err
	}
	return a, st, nil
}

// exportJournal writes the journal as it is now, then has the store journal
// the digest of everything so far, and closes the file with that entry.
func (m *members) exportJournal(c context.Context, s *session, w *verify.Writer, rows int) error {
	w.Open("journal")
	last, err := m.entries(c, s, actors.AuditQuery{}, func(e *actors.AuditEntry) error {
		x, err := m.entryOf(s, e)
		if err != nil {
			return err
		}
		return w.Item(x)
	})
	if err != nil {
		return err
	}
	w.Close()
	_, sum := w.Content()
	if err := m.store.NoteExport(c, s.at(), sum, uint32(min(rows, math.MaxUint32))); err != nil {
		return err
	}
	// Others may have written in between; the chain needs their records too.
	seal := sealOf(w, nil)
	done := errors.New("found")
	_, err = m.entries(c, s, actors.AuditQuery{From: last + 1}, func(e *actors.AuditEntry) error {
		y, err := m.entryOf(s, e)
		if err != nil {
			return err
		}
		seal.Entries = append(seal.Entries, *y)
		last = e.Sequence
		if e.Entry.Act == pds.ActExport && bytes.Equal(e.Entry.Digest, sum[:]) {
			return done
		}
		return nil
	})
	if err != done {
		return cmp.Or(err, errInternalExport)
	}
	proof, err := m.store.Proof(c, s.at())
	if err != nil {
		return err
	}
	if proof.Sequence <= last {
		seal.Proof = proofOf(proof)
	}
	return w.Member("seal", seal)
}

var errInternalExport = errors.New("api: the export's own entry is not in the journal")
