package api

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/verify"
)

// auditPage is how many journal records are fetched at once.
const auditPage = 500

// auditQuery reads connection, dataset, since, until (Unix milliseconds or
// RFC 3339) and from (a sequence).
func auditQuery(q url.Values, s *session) (a actors.AuditQuery, err error) {
	if v := q.Get("connection"); v != "" {
		if a.NID, err = parseNID(v, s); err != nil {
			return a, err
		}
	}
	a.Dataset = q.Get("dataset")
	if a.Since, err = instant(q, "since"); err != nil {
		return a, err
	}
	if a.Until, err = instant(q, "until"); err != nil {
		return a, err
	}
	if v := q.Get("from"); v != "" {
		if a.From, err = strconv.ParseUint(v, 10, 64); err != nil {
			return a, fieldProblem("from", "a sequence")
		}
	}
	return a, nil
}

func instant(q url.Values, name string) (int64, error) {
	v := q.Get(name)
	if v == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return 0, fieldProblem(name, "Unix milliseconds or RFC 3339")
	}
	return t.UnixMilli(), nil
}

// form is how ?format= asks for a file.
func form(q url.Values) (verify.Form, string, error) {
	switch q.Get("format") {
	case "", "json":
		return verify.JSON{}, "application/json", nil
	case "xml":
		return xmlForm{}, "application/xml; charset=utf-8", nil
	}
	return nil, "", fieldProblem("format", "json or xml")
}

// header writes the members that every file begins with.
func (m *members) header(w *verify.Writer, format string, s *session, who *verify.Member) {
	who.UID, who.Mydexid = verify.Num(s.UID), s.Mydexid
	_ = w.Member("format", format) // the writer keeps its first error
	_ = w.Member("environment", m.s.cfg.Env.String())
	_ = w.Member("made", m.s.now().Unix())
	_ = w.Member("member", who)
}

// entryOf is an opened journal record in a file's form.
func (m *members) entryOf(s *session, e *actors.AuditEntry) (*verify.Entry, error) {
	out := &verify.Entry{Sequence: verify.Num(e.Sequence), Record: e.Record}
	if !e.Openable {
		return out, nil
	}
	var j pds.Journal
	if err := pds.DecodeJournal(e.Record, &j); err != nil {
		return nil, err
	}
	out.Entry, out.Salt = e.Plain, e.Salt[:]
	out.Shown = verify.Show(s.UID, &j, &e.Entry, m.s.cat)
	return out, nil
}

// entries calls f for every entry that q selects and returns the last
// sequence seen.
func (m *members) entries(c context.Context, s *session, q actors.AuditQuery, f func(*actors.AuditEntry) error) (last uint64, err error) {
	q.Max = auditPage
	for {
		page, err := m.store.Audit(c, s.at(), q)
		if err != nil {
			return last, err
		}
		for i := range page {
			if err := f(&page[i]); err != nil {
				return last, err
			}
			last = page[i].Sequence
		}
		if len(page) < auditPage {
			return last, nil
		}
		q.From = last + 1
	}
}

// audit answers the journal, filtered, as a file that holdfast verify checks.
func (m *members) audit(ctx *fasthttp.RequestCtx, s *session) error {
	q, err := query(ctx)
	if err != nil {
		return err
	}
	sel, err := auditQuery(q, s)
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
	m.stream(ctx, contentType, func(out *streamWriter) error {
		c, cancel := context.WithCancel(m.s.base)
		defer cancel()
		w := verify.NewWriter(out, fm)
		m.header(w, verify.FormatAudit, s, who)
		w.Open("journal")
		if _, err := m.entries(c, s, sel, func(e *actors.AuditEntry) error {
			x, err := m.entryOf(s, e)
			if err != nil {
				return err
			}
			return w.Item(x)
		}); err != nil {
			return err
		}
		w.Close()
		proof, err := m.store.Proof(c, s.at())
		if err != nil {
			return err
		}
		if err := w.Member("seal", sealOf(w, proof)); err != nil {
			return err
		}
		return w.End()
	})
	return nil
}

// sealOf closes what w holds so far.
func sealOf(w *verify.Writer, p *actors.LogProof) *verify.Seal {
	n, sum := w.Content()
	return &verify.Seal{Bytes: verify.Num(n), SHA256: hexOf(sum), Proof: proofOf(p)}
}

// proofOf is a log proof in a file's form, nil while the head is not logged.
func proofOf(p *actors.LogProof) *verify.Proof {
	if p == nil || p.Checkpoint == "" {
		return nil
	}
	out := &verify.Proof{
		Sequence: verify.Num(p.Sequence), Head: p.Head, LeafSalt: p.LeafSalt, Index: verify.Num(p.Index),
		Size: verify.Num(p.Size), Hashes: []verify.Bytes{}, Checkpoint: p.Checkpoint, LogKey: p.LogKey,
	}
	for _, h := range p.Hashes {
		out.Hashes = append(out.Hashes, h)
	}
	return out
}

// fileMember is what a file says of its owner. It fails with Locked while the
// store is locked, so that the answer has that status.
func (m *members) fileMember(c context.Context, s *session) (*verify.Member, error) {
	if !m.store.IsUnlocked(c, s.at()) {
		return nil, pds.Refuse(pds.Locked, pds.CodeLocked)
	}
	h, err := m.store.StatementHead(c, s.at())
	if err != nil {
		return nil, err
	}
	var acc AccountRecord
	if err := getRecord(c, m.s.reg, KindAccount, foldID(s.Mydexid), &acc); err != nil {
		return nil, notFoundAs(err, errToken)
	}
	return &verify.Member{Store: h.Store[:], SignKey: h.SignKey[:], Email: acc.Email}, nil
}

// receipt answers the receipt of a connection's present consent.
func (m *members) receipt(ctx *fasthttp.RequestCtx, s *session) error {
	nid, err := memberNID(ctx, s)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	r, err := m.store.ReceiptOf(c, s.at(), nid)
	if err != nil {
		return err
	}
	doc, err := m.receiptDoc(c, s, nid, r)
	if err != nil {
		return err
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(doc)
	return nil
}

// maxReceipt bounds the records between a consent and the logged head that a
// receipt carries; beyond it the receipt has no proof.
const maxReceipt = 5000

// receiptDoc is a receipt as a file that holdfast verify checks: the consent,
// the journal record that carries it, and the records from there to the head
// that the log has. Those are sealed and say nothing to a third party.
func (m *members) receiptDoc(c context.Context, s *session, nid pds.NID, r *actors.Receipt) ([]byte, error) {
	var b bytes.Buffer
	w := verify.NewWriter(&b, verify.JSON{})
	a, st, err := m.signedAgreement(s, r)
	if err != nil {
		return nil, err
	}
	a.NID, a.ConID, a.State = verify.Num(nid), pds.ConID(s.UID, nid), st.Kind.String()
	proof := proofOf(&r.Proof)
	records, before, err := m.recordsOf(c, s, nid, r, proof)
	if err != nil {
		return nil, err
	}
	m.header(w, verify.FormatReceipt, s, &verify.Member{Store: st.Store[:], SignKey: r.SignKey})
	w.Open("agreements")
	_ = w.Item(a)
	w.Close()
	w.Open("journal")
	for i := range records {
		_ = w.Item(&records[i])
	}
	w.Close()
	x := sealOf(w, nil)
	if len(records) > 0 && proof != nil {
		proof.Before, x.Proof = before, proof
	}
	if err := w.Member("seal", x); err != nil {
		return nil, err
	}
	if err := w.End(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// recordsOf finds the journal record that carries a consent and those after
// it up to the proof's, and the chain value before it. It finds none if the
// consent is not logged yet or too far back.
func (m *members) recordsOf(c context.Context, s *session, nid pds.NID, r *actors.Receipt, proof *verify.Proof) (out []verify.Entry, before []byte, err error) {
	if proof == nil {
		return nil, nil, nil
	}
	at, last := uint64(0), uint64(proof.Sequence)
	found := errors.New("found")
	_, err = m.entries(c, s, actors.AuditQuery{NID: nid, From: max(last, maxReceipt) - maxReceipt}, func(e *actors.AuditEntry) error {
		var j pds.Journal
		if pds.DecodeJournal(e.Record, &j) == nil && bytes.Equal(j.Statement, r.Statement) {
			at = e.Sequence
			return found
		}
		return nil
	})
	if err != nil && err != found {
		return nil, nil, err
	}
	if at < 2 || at > last {
		return nil, nil, nil
	}
	_, err = m.entries(c, s, actors.AuditQuery{From: at - 1}, func(e *actors.AuditEntry) error {
		switch {
		case e.Sequence == at-1:
			before = e.Record[len(e.Record)-32:]
		case e.Sequence == at:
			x, err := m.entryOf(s, e)
			if err != nil {
				return err
			}
			out = append(out, *x)
		case e.Sequence <= last:
			out = append(out, verify.Entry{Sequence: verify.Num(e.Sequence), Record: e.Record})
		}
		if e.Sequence >= last {
			return found
		}
		return nil
	})
	if err != nil && err != found {
		return nil, nil, err
	}
	return out, before, nil
}
