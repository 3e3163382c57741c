package actors

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"holdfast/actors/pds"
	"holdfast/storage"
	"holdfast/storage/seal"
)

func digest(b []byte) [32]byte { return sha256.Sum256(b) }

// Agreements lists the member's connections with what was signed.
func (d *Directory) Agreements(ctx context.Context, s Session) ([]AgreementState, error) {
	var out []AgreementState
	err := d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		k, _, e := m.unlocked(s)
		if e != nil {
			return e
		}
		err := m.d.view(func(r storage.Reader) error {
			for i := range m.ctl.Links {
				l := &m.ctl.Links[i]
				doc, err := m.openDocument(k, r, l.Consent)
				if err != nil {
					return err
				}
				if doc == nil {
					return storage.ErrDamaged
				}
				a := AgreementState{NID: doc.NID, ConID: pds.ConID(m.h.uid, doc.NID), State: l.State.String(), Version: l.Version,
					Consent: l.Consent, NotAfter: l.NotAfter, Since: l.Since, Document: doc.Document, Template: doc.Template,
					Statement: doc.Statement, Signature: doc.Signature, EpochOwed: l.Owed}
				copy(a.Salt[:], doc.Salt)
				out = append(out, a)
			}
			return nil
		})
		if err != nil {
			return m.readFault(err)
		}
		return nil
	}})
	return out, err
}

// Documents lists every consent document ever signed, oldest first, for the
// export: text and rules of every version.
func (d *Directory) Documents(ctx context.Context, s Session) ([]Receipt, error) {
	var out []Receipt
	err := d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		k, _, e := m.unlocked(s)
		if e != nil {
			return e
		}
		err := m.d.view(func(r storage.Reader) error {
			for n := uint64(2); n <= m.ctl.Number; n++ {
				doc, err := m.openDocument(k, r, n)
				if err != nil {
					return err
				}
				if doc != nil {
					out = append(out, m.receipt(doc))
				}
			}
			return nil
		})
		if err != nil {
			return m.readFault(err)
		}
		return nil
	}})
	return out, err
}

func (m *member) receipt(doc *document) Receipt {
	return Receipt{Statement: doc.Statement, Signature: doc.Signature, SignKey: m.ctl.SignKey[:], Document: doc.Document, Template: doc.Template, Salt: doc.Salt}
}

// ReceiptOf gives the newest consent on a connection with its proof.
func (d *Directory) ReceiptOf(ctx context.Context, s Session, nid pds.NID) (*Receipt, error) {
	var out *Receipt
	err := d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		k, _, e := m.unlocked(s)
		if e != nil {
			return e
		}
		err := m.d.view(func(r storage.Reader) error {
			for n := m.ctl.Number; n > 1; n-- {
				doc, err := m.openDocument(k, r, n)
				if err != nil {
					return err
				}
				if doc != nil && doc.NID == nid {
					x := m.receipt(doc)
					out = &x
					return nil
				}
			}
			return nil
		})
		if err != nil {
			return m.readFault(err)
		}
		if out == nil {
			return pds.Refuse(pds.NotFound, pds.CodeNotApproved)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	p, err := d.Proof(ctx, s)
	if err != nil {
		return nil, err
	}
	out.Proof = *p
	return out, nil
}

// Audit opens journal entries, oldest first. Fewer than asked means the end.
func (d *Directory) Audit(ctx context.Context, s Session, q AuditQuery) ([]AuditEntry, error) {
	var out []AuditEntry
	err := d.do(ctx, s.UID, &quick{f: func(m *member) *pds.Error {
		k, _, e := m.unlocked(s)
		if e != nil {
			return e
		}
		max := q.Max
		if max <= 0 || max > 10_000 {
			max = 1000
		}
		ring := auditKeys{m: m, k: k, links: map[linkGeneration]*seal.Cipher{}, entries: map[uint64]*seal.Cipher{}}
		from := pds.JournalKey(uint8(m.h.shard), m.h.id, 0)
		prefix := from
		if q.From > 0 {
			from = pds.JournalKey(uint8(m.h.shard), m.h.id, q.From)
		}
		err := m.d.view(func(r storage.Reader) error {
			return r.Scan(prefix, from, false, func(key, v []byte) (bool, error) {
				a, err := ring.open(binary.BigEndian.Uint64(key[len(key)-8:]), v)
				if err != nil {
					return false, err
				}
				if q.NID != 0 && a.Entry.NID != q.NID || q.Dataset != "" && a.Entry.Dataset != q.Dataset ||
					q.Since != 0 && a.Time < q.Since || q.Until != 0 && a.Time >= q.Until {
					return true, nil
				}
				out = append(out, a)
				return len(out) < max, nil
			})
		})
		if err != nil {
			return m.readFault(err)
		}
		return nil
	}})
	return out, err
}

// auditKeys finds the key of each entry.
type auditKeys struct {
	m       *member
	k       *memberKeys
	links   map[linkGeneration]*seal.Cipher
	entries map[uint64]*seal.Cipher
	audit   seal.PrivateKey
	opened  bool
}

type linkGeneration struct {
	id pds.LinkID
	n  uint64
}

func (a *auditKeys) cipher(j *pds.Journal) *seal.Cipher {
	switch j.KeyKind {
	case pds.KeyOfMember:
		return a.k.audit
	case pds.KeyOfLink:
		g := linkGeneration{j.Link, j.KeyNumber}
		if c := a.links[g]; c != nil {
			return c
		}
		key := a.k.linkAudit(a.m.d.env, j.Link, j.KeyNumber)
		c := seal.NewCipher(&key)
		key.Wipe()
		a.links[g] = c
		return c
	case pds.KeyOfEntry:
		if c, ok := a.entries[j.KeyNumber]; ok {
			return c
		}
		var c *seal.Cipher
		if j.KeyNumber < uint64(len(a.m.ctl.EntryKeys)) {
			if !a.opened {
				a.audit, _ = seal.DeriveKeyPair(&a.k.ring.Audit)
				a.opened = true
			}
			if b, err := a.audit.Open(a.m.entryKeyInfo(j.KeyNumber), nil, a.m.ctl.EntryKeys[j.KeyNumber]); err == nil {
				key := seal.NewSecret(b)
				clear(b)
				c = seal.NewCipher(&key)
				key.Wipe()
			}
		}
		a.entries[j.KeyNumber] = c
		return c
	}
	return nil
}

func (a *auditKeys) open(seq uint64, v []byte) (AuditEntry, error) {
	rec := append([]byte(nil), v...)
	var j pds.Journal
	if err := pds.DecodeJournal(rec, &j); err != nil {
		return AuditEntry{}, err
	}
	out := AuditEntry{Sequence: seq, Time: j.Time, Record: rec, CommandID: j.Command, ResultCode: j.Result, Source: "user"}
	c := a.cipher(&j)
	if c == nil {
		return out, nil
	}
	plain, ok := openEntryPlain(c, a.m.d.env, a.m.ctl.Store, &j)
	if !ok {
		return out, nil
	}
	e, err := pds.DecodeEntry(plain[16:])
	if err != nil {
		return out, nil
	}
	out.Entry, out.Plain, out.Openable = e, plain[16:], true
	copy(out.Salt[:], plain[:16])
	if e.NID != 0 {
		out.Source = pds.ConID(a.m.h.uid, e.NID)
	}
	return out, nil
}

// NoteExport journals an export with the digest of what it hands out, before
// it is handed out.
func (d *Directory) NoteExport(ctx context.Context, s Session, sum [32]byte, rows uint32) error {
	if err := d.do(ctx, s.UID, &exportWork{s: s, sum: sum, rows: rows}); err != nil {
		return err
	}
	d.log.consent(s.UID) // so that the export can carry its own proof
	return nil
}

type exportWork struct {
	waited
	s    Session
	sum  [32]byte
	rows uint32
}

func (w *exportWork) applied(*member, uint64) {}
func (w *exportWork) prepare(m *member, b *pds.Builder) bool {
	k, _, e := m.unlocked(w.s)
	if e != nil {
		m.end(w, e)
		return false
	}
	m.addOp(b, &pds.Operation{Command: newCommand()}, nil, sealer{pds.KeyOfMember, 0, k.audit, pds.LinkID{}},
		&pds.AuditEntry{Act: pds.ActExport, Rows: w.rows, Digest: w.sum[:]})
	return true
}
