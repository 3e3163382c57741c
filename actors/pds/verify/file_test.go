package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// world makes files as a server would, from a journal of its own.
type world struct {
	t      testing.TB
	cat    *schema.Catalogue
	uid    pds.UID
	store  [16]byte
	seed   seal.Secret
	sign   [32]byte
	logKey *seal.Signer

	records [][]byte
	entries []Entry
	chain   [32]byte
	heads   [][32]byte
	number  uint64
	prev    [32]byte
	agreed  []Agreement
}

func newWorld(t testing.TB) *world {
	t.Helper()
	cat := schema.Default()
	seed := seal.NewSecret(bytes.Repeat([]byte{7}, 32))
	logSeed := seal.NewSecret(bytes.Repeat([]byte{9}, 32))
	w := &world{t: t, cat: cat, uid: 97, seed: seed, sign: seal.SignKeyPublic(&seed), logKey: seal.NewSigner("log.example", &logSeed)}
	copy(w.store[:], "store-of-a-member")
	w.act(&pds.AuditEntry{Act: pds.ActRegister}, w.statement(seal.Register, 0, 0, [32]byte{}), 0)
	w.act(&pds.AuditEntry{Act: pds.ActUnlock}, nil, 0)
	w.agree(seal.Approve, 1545, 1)
	w.act(&pds.AuditEntry{Act: pds.ActCreate, NID: 1545, Version: 1, Dataset: "ds_energy_consumption", Fields: 0b1110, Purpose: "meter", Rows: 2, First: 1}, nil, 1545)
	w.act(&pds.AuditEntry{Act: pds.ActRead, NID: 1545, Version: 1, Dataset: "ds_home", Result: pds.CodeFieldNotGranted, Field: "field_home_street"}, nil, 1545)
	w.agree(seal.Approve, 2000, 1)
	w.agree(seal.Change, 1545, 2)
	w.act(&pds.AuditEntry{Act: pds.ActRevoke, NID: 2000}, w.statement(seal.Revoke, 2000, 1, [32]byte{}), 2000)
	return w
}

func link(nid pds.NID) (l [16]byte) {
	binary.BigEndian.PutUint32(l[:], uint32(nid))
	return l
}

type signedStatement struct{ raw, sig []byte }

func (w *world) statement(kind seal.StatementKind, nid pds.NID, version uint32, commitment [32]byte) *signedStatement {
	w.number++
	st := &seal.Statement{
		Format: seal.StatementFormat, Env: seal.Sandbox, Kind: kind, Store: w.store, Number: w.number, Previous: w.prev,
		Version: version, Time: 1_700_000_000 + int64(w.number), KeyID: seal.KeyID(w.sign), Commitment: commitment,
	}
	if nid != 0 {
		st.Conn = link(nid)
	}
	w.prev = st.Hash()
	return &signedStatement{st.Encode(), st.Sign(&w.seed)}
}

// act appends a journal record by the layout that pds documents.
func (w *world) act(e *pds.AuditEntry, st *signedStatement, nid pds.NID) {
	seq := uint64(len(w.records) + 1)
	plain := pds.AppendEntry(nil, e)
	var salt [16]byte
	binary.BigEndian.PutUint64(salt[:], seq*77)
	commit := pds.Commit(salt, plain)
	b := []byte{1}
	b = binary.BigEndian.AppendUint64(b, 100+seq)
	b = append(b, bytes.Repeat([]byte{byte(seq)}, 16)...)
	b = binary.BigEndian.AppendUint64(b, 1_700_000_000_000+seq)
	l := [16]byte{}
	if nid != 0 {
		l = link(nid)
	}
	b = append(b, l[:]...)
	b = append(b, 0, byte(e.Result), 0, pds.KeyOfMember, 0)
	b = append(b, commit[:]...)
	sealed := bytes.Repeat([]byte{0xee}, 40)
	b = append(append(b, byte(len(sealed))), sealed...)
	for _, s := range [][]byte{stOr(st).raw, stOr(st).sig} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	w.chain = pds.ChainNext(w.chain, b)
	b = append(b, w.chain[:]...)
	var j pds.Journal
	if err := pds.DecodeJournal(b, &j); err != nil {
		w.t.Fatalf("the record is not as documented: %v", err)
	}
	w.records = append(w.records, b)
	w.heads = append(w.heads, w.chain)
	w.entries = append(w.entries, Entry{Sequence: Num(seq), Record: b, Entry: plain, Salt: salt[:], Shown: Show(w.uid, &j, e, w.cat)})
}

func stOr(s *signedStatement) *signedStatement {
	if s == nil {
		return &signedStatement{}
	}
	return s
}

func template(nid pds.NID, version uint32) *pds.Template {
	return &pds.Template{
		NID: nid, Version: version, Name: "Meter", Purpose: "Read the meter", Subscriber: "Northgrid Energy",
		Law: "English law", Environment: "sandbox", Roles: "controller",
		UseCases:     []pds.TemplateUse{{Category: "core_function", Mandatory: true}, {Category: "marketing"}},
		Gdpr:         map[string]bool{"data_minimisation": true, "informed_consent": true, "transparency": true, "single_use": true, "data_portability": true},
		TermsVersion: "3", DeclaredBy: "A. Person", DeclaredAt: 1_690_000_000, Retention: "one year",
		Datasets: []pds.TemplateData{
			{Dataset: "ds_energy_consumption", Methods: []string{"read", "create"}, SoftDelete: true, Fields: []pds.TemplateField{{Field: "field_energy_reading_value", Mandatory: true}, {Field: "field_energy_homeid"}}},
			{Dataset: "ds_home", Methods: []string{"read"}, Fields: []pds.TemplateField{{Field: "field_home_postcode"}}},
		},
	}
}

func (w *world) agree(kind seal.StatementKind, nid pds.NID, version uint32) {
	t := template(nid, version)
	if err := t.Check(w.cat); err != nil {
		w.t.Fatalf("template: %v", err)
	}
	canon, err := t.Canonical()
	if err != nil {
		w.t.Fatal(err)
	}
	choices := pds.Choices{UseCases: []string{}, Fields: map[string][]string{"ds_home": {"field_home_postcode"}}}
	text := pds.Text(t, &choices, w.cat)
	doc := pds.AgreementDoc{Template: hexSum(canon), Choices: choices, Text: hexSum([]byte(text)), NID: nid, Version: version}
	raw, _ := json.Marshal(&doc)
	if raw, err = seal.Canonical(raw); err != nil {
		w.t.Fatal(err)
	}
	salt := sha256.Sum256([]byte(fmt.Sprint(nid, version)))
	st := w.statement(kind, nid, version, seal.Commitment(salt, raw))
	act := pds.ActApprove
	if kind == seal.Change {
		act = pds.ActChange
	}
	w.act(&pds.AuditEntry{Act: act, NID: nid, Version: version}, st, nid)
	rules, err := Rules(t, &choices, w.cat)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range w.agreed {
		if w.agreed[i].NID == Num(nid) {
			w.agreed[i].State = "superseded"
		}
	}
	w.agreed = append(w.agreed, Agreement{
		NID: Num(nid), ConID: pds.ConID(w.uid, nid), State: "active", Version: Num(version), Consent: Num(w.number),
		Name: t.Name, Text: text, Rules: rules, Document: raw, Template: canon, Salt: salt[:], Statement: st.raw, Signature: st.sig,
	})
	if nid == 2000 {
		w.agreed[len(w.agreed)-1].State = "revoked" // newWorld revokes it
	}
}

func hexSum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// proof logs the head after record seq among others and proves it.
func (w *world) proof(seq uint64) *Proof {
	head := w.heads[seq-1]
	salt := sha256.Sum256([]byte("leaf salt"))
	m := hmac.New(sha256.New, salt[:])
	m.Write(head[:])
	leaves := [][]byte{[]byte("a"), []byte("b"), m.Sum(nil), []byte("c"), []byte("d")}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range ix {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for i, l := range leaves {
		h, err := tlog.StoredHashes(int64(i), l, reader)
		if err != nil {
			w.t.Fatal(err)
		}
		stored = append(stored, h...)
	}
	n := int64(len(leaves))
	root, err := tlog.TreeHash(n, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	rp, err := tlog.ProveRecord(n, 2, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("log.example\n%d\n%s\n", n, base64.StdEncoding.EncodeToString(root[:]))}, w.logKey)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &Proof{Sequence: Num(seq), Head: head[:], LeafSalt: salt[:], Index: 2, Size: Num(n), Checkpoint: string(signed), LogKey: w.logKey.Verifier().String()}
	for _, h := range rp {
		p.Hashes = append(p.Hashes, h[:])
	}
	return p
}

func (w *world) member() *Member {
	return &Member{UID: Num(w.uid), Mydexid: "ada", Store: w.store[:], SignKey: w.sign[:]}
}

func (w *world) begin(format string) (*Writer, *bytes.Buffer) {
	var b bytes.Buffer
	x := NewWriter(&b, JSON{})
	w.ok(x.Member("format", format))
	w.ok(x.Member("environment", "sandbox"))
	w.ok(x.Member("made", 1_700_000_100))
	w.ok(x.Member("member", w.member()))
	return x, &b
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// export writes an export whose journal names it. edit may spoil the parts
// before they are written: what it does has a digest that fits.
func (w *world) export(edit func(*world)) []byte {
	saved := *w
	w.entries = append([]Entry(nil), w.entries...)
	w.agreed = append([]Agreement(nil), w.agreed...)
	if edit != nil {
		edit(w)
	}
	x, b := w.begin(FormatExport)
	x.Open("records")
	v := "SW1A"
	for i := range 3 {
		w.ok(x.Item(&Record{Dataset: "ds_home", ID: Num(i + 1), Source: "user", Origin: "self-asserted", Version: 1, Values: map[string]*string{"field_home_postcode": &v, "field_home_street": nil}}))
	}
	one := x.Part()
	w.ok(x.Item(&Record{Dataset: "ds_home", Instance: 1, ID: 1, Source: "97-1545", Deleted: true, Values: map[string]*string{}}))
	two := x.Part()
	x.Close()
	x.Open("counts")
	w.ok(x.Item(&Count{Dataset: "ds_home", Records: 3, SHA256: one}))
	w.ok(x.Item(&Count{Dataset: "ds_home", Instance: 1, Records: 1, SHA256: two}))
	x.Close()
	x.Open("agreements")
	for i := range w.agreed {
		w.ok(x.Item(&w.agreed[i]))
	}
	x.Close()
	x.Open("journal")
	for i := range w.entries {
		w.ok(x.Item(&w.entries[i]))
	}
	x.Close()
	n, sum := x.Content()
	before := len(w.entries)
	w.act(&pds.AuditEntry{Act: pds.ActExport, Digest: sum[:]}, nil, 0)
	w.ok(x.Member("seal", &Seal{Bytes: Num(n), SHA256: hex.EncodeToString(sum[:]), Entries: w.entries[before:], Proof: w.proof(uint64(len(w.records)))}))
	w.ok(x.End())
	*w = saved
	return b.Bytes()
}

// receipt writes the receipt of the newest agreement.
func (w *world) receipt() []byte {
	a := w.agreed[len(w.agreed)-1]
	seq := 0
	for i := range w.entries {
		if bytes.Contains(w.entries[i].Record, a.Statement) {
			seq = i + 1
		}
	}
	x, b := w.begin(FormatReceipt)
	x.Open("agreements")
	w.ok(x.Item(&a))
	x.Close()
	x.Open("journal")
	w.ok(x.Item(&w.entries[seq-1]))
	x.Close()
	p := w.proof(uint64(seq))
	p.Before = w.heads[seq-2][:]
	n, sum := x.Content()
	w.ok(x.Member("seal", &Seal{Bytes: Num(n), SHA256: hex.EncodeToString(sum[:]), Proof: p}))
	w.ok(x.End())
	return b.Bytes()
}

// log writes the whole journal, or what keep selects of it.
func (w *world) log(keep func(Entry) bool) []byte {
	x, b := w.begin(FormatAudit)
	x.Open("journal")
	for _, e := range w.entries {
		if keep == nil || keep(e) {
			w.ok(x.Item(&e))
		}
	}
	x.Close()
	n, sum := x.Content()
	w.ok(x.Member("seal", &Seal{Bytes: Num(n), SHA256: hex.EncodeToString(sum[:]), Proof: w.proof(uint64(len(w.records)))}))
	w.ok(x.End())
	return b.Bytes()
}
