package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"reflect"
	"slices"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// Options say what the reader trusts. The zero value checks everything that
// needs no trusted key.
type Options struct {
	Catalogue *schema.Catalogue // nil: the embedded one
	LogKey    string            // note verifier key of the cluster's log
	SignKey   []byte            // the member's Ed25519 public key
	Split     Splitter          // nil: Split
	XML       bool              // the file is XML; Split must be set
}

// Fault is one thing that is wrong.
type Fault struct {
	Part string `json:"part"` // which part of the file, such as "journal record 17"
	What string `json:"what"`
}

func (f Fault) Error() string { return f.Part + ": " + f.What }

// maxFaults bounds a report; the first ones matter.
const maxFaults = 50

// Report is the outcome.
type Report struct {
	Format      string   `json:"format"`
	Environment string   `json:"environment"`
	UID         int64    `json:"uid"`
	Records     int      `json:"records"`
	Agreements  int      `json:"agreements"`
	Entries     int      `json:"entries"`
	Opened      int      `json:"opened"`
	Statements  int      `json:"statements"`
	Anchored    bool     `json:"anchored"` // the log's signed root covers the last record
	LogSize     int64    `json:"log_size,omitempty"`
	LogKey      string   `json:"log_key,omitempty"`
	SignKey     string   `json:"sign_key,omitempty"` // hex
	Notes       []string `json:"notes"`
	Faults      []Fault  `json:"faults"`
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Faults) == 0 }

type checker struct {
	Report
	o    Options
	cat  *schema.Catalogue
	file []byte
	env  seal.Env

	step   int // place in order of the member before
	seen   map[string]bool
	member Member

	part     string
	partHash hash.Hash
	counts   []Count
	counted  int

	agreements []Agreement

	first  uint64 // sequence of the first record
	last   uint64
	chains [][32]byte // after each record, from first on
	lead   []byte     // the first record of a receipt
	entry  pds.AuditEntry

	signKey    [32]byte
	haveKey    bool
	stNumber   uint64
	stPrevious [32]byte
	acts       []act // statements in the journal, in order
	seal       *Seal
}

// act is one statement as it was found in the journal.
type act struct {
	raw []byte
	st  *seal.Statement
}

// order is the order of members. Lists may be empty.
var order = []string{"format", "environment", "made", "member", "records", "counts", "agreements", "journal", "seal"}

// Check checks a file of any of the three kinds. It never fails: what it
// cannot read is a fault.
func Check(file []byte, o Options) *Report {
	c := &checker{o: o, cat: o.Catalogue, file: file, partHash: sha256.New(), seen: map[string]bool{}}
	c.Notes, c.Faults = []string{}, []Fault{}
	if c.cat == nil {
		c.cat = schema.Default()
	}
	if c.o.Split == nil {
		c.o.Split = Split
	}
	c.digest()
	if err := c.o.Split(file, c.take); err != nil {
		c.fault("file", "cannot be read to its end: %v", err)
	}
	c.finish()
	return &c.Report
}

func (c *checker) fault(part, format string, args ...any) {
	if len(c.Faults) < maxFaults {
		c.Faults = append(c.Faults, Fault{part, fmt.Sprintf(format, args...)})
	}
}

func (c *checker) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// digest checks the last member against all bytes before it.
func (c *checker) digest() {
	head, tail := `"sha256":"`, "\"}\n"
	if c.o.XML {
		head, tail = "<sha256>", "</sha256></response>\n"
	}
	n := len(head) + 64 + len(tail)
	if len(c.file) < n {
		c.fault("file", "ends before its digest: it was cut off")
		return
	}
	body, end := c.file[:len(c.file)-n], string(c.file[len(c.file)-n:])
	sum := sha256.Sum256(body)
	switch {
	case end[:len(head)] != head || end[len(head)+64:] != tail:
		c.fault("file", "does not end with its digest: it was cut off or something was added")
	case end[len(head):len(head)+64] != hex.EncodeToString(sum[:]):
		c.fault("file", "the bytes differ from those that were written (SHA-256)")
	}
}

// take receives the members in order.
func (c *checker) take(name string, raw, doc []byte) error {
	at := slices.Index(order, name)
	switch {
	case at < 0:
		c.fault("file", "unknown member")
		return errForm
	case at < c.step || at == c.step && c.seen[name] && !Lists[name]:
		c.fault("file", "member %s is out of order or stands twice", name)
		return errForm
	}
	c.step, c.seen[name] = at, true
	var err error
	switch name {
	case "format":
		err = strict(doc, &c.Format)
		if err == nil && c.Format != FormatExport && c.Format != FormatReceipt && c.Format != FormatAudit {
			c.fault("file", "unknown format")
			return errForm
		}
	case "environment":
		err = strict(doc, &c.Environment)
		if err == nil {
			c.env, err = seal.ParseEnv(c.Environment)
		}
	case "made":
		var made Num
		err = strict(doc, &made)
	case "member":
		if err = strict(doc, &c.member); err == nil {
			c.who()
		}
	case "records":
		err = c.record(raw, doc)
	case "counts":
		err = c.count(doc)
	case "agreements":
		var a Agreement
		if err = strict(doc, &a); err == nil {
			c.agreements = append(c.agreements, a)
			c.Agreements++
		}
	case "journal":
		var e Entry
		if err = strict(doc, &e); err == nil {
			c.journal(&e)
		}
	case "seal":
		c.seal = &Seal{}
		err = strict(doc, c.seal)
	}
	if err != nil {
		c.fault(c.where(name), "is not of the documented form")
	}
	return nil
}

// where names the element being read.
func (c *checker) where(name string) string {
	switch name {
	case "records":
		return fmt.Sprintf("record %d of the file", c.Records+1)
	case "journal":
		return fmt.Sprintf("journal record after sequence %d", c.last)
	case "agreements":
		return fmt.Sprintf("agreement %d of the file", c.Agreements+1)
	}
	return name
}

func (c *checker) who() {
	c.UID = int64(c.member.UID)
	if len(c.member.SignKey) == 32 {
		c.signKey, c.haveKey = [32]byte(c.member.SignKey), true
		c.SignKey = hex.EncodeToString(c.member.SignKey)
	}
	switch {
	case len(c.o.SignKey) == 0 && !c.haveKey:
		c.note("the file lacks the member's signing key: no signature was checked")
	case len(c.o.SignKey) == 0:
		c.note("the member's signing key was taken from the file, not from you")
	case !bytes.Equal(c.o.SignKey, c.member.SignKey):
		c.fault("member", "the signing key is not the one you gave")
	}
}

func (c *checker) record(raw, doc []byte) error {
	var r Record
	if err := strict(doc, &r); err != nil {
		return err
	}
	part := fmt.Sprintf("%s instance %d", r.Dataset, r.Instance)
	if part != c.part {
		c.closePart()
		c.part = part
	}
	c.Records++
	c.counted++
	c.partHash.Write(raw)
	return nil
}

// closePart remembers what was found of one dataset and instance, in the form
// of a Count whose dataset is the part's name.
func (c *checker) closePart() {
	if c.part != "" {
		c.counts = append(c.counts, Count{Dataset: c.part, Records: Num(c.counted), SHA256: hex.EncodeToString(c.partHash.Sum(nil))})
	}
	c.partHash.Reset()
	c.counted, c.part = 0, ""
}

func (c *checker) count(doc []byte) error {
	c.closePart()
	var n Count
	if err := strict(doc, &n); err != nil {
		return err
	}
	part := fmt.Sprintf("%s instance %d", n.Dataset, n.Instance)
	i := slices.IndexFunc(c.counts, func(x Count) bool { return x.Dataset == part })
	switch {
	case i < 0 && n.Records == 0:
	case i < 0:
		c.fault(part, "its %d records are missing", n.Records)
	case c.counts[i].Records != n.Records:
		c.fault(part, "has %d records where %d were exported", c.counts[i].Records, n.Records)
	case c.counts[i].SHA256 != n.SHA256:
		c.fault(part, "a record differs from what was exported")
	}
	if i >= 0 {
		c.counts = slices.Delete(c.counts, i, i+1)
	}
	return nil
}

// journal checks one record against the one before it and against its entry.
func (c *checker) journal(e *Entry) {
	part := fmt.Sprintf("journal record %d", e.Sequence)
	var j pds.Journal
	if len(e.Record) < 32 || pds.DecodeJournal(e.Record, &j) != nil {
		c.fault(part, "is not a journal record")
		return
	}
	seq := uint64(e.Sequence)
	if c.Entries == 0 {
		c.first, c.lead = seq, e.Record
		if c.Format == FormatExport && seq != 1 {
			c.fault(part, "the journal does not begin with record 1")
		}
	} else if seq != c.last+1 {
		if seq <= c.last {
			c.fault(part, "is out of order")
		} else if c.Format != FormatAudit {
			c.fault(part, "records %d to %d are missing", c.last+1, seq-1)
		}
		c.broken(seq)
	}
	prev, known := c.chainBefore(seq)
	if known && pds.ChainNext(prev, e.Record[:len(e.Record)-32]) != j.Chain {
		c.fault(part, "does not follow from the record before it: one of them was altered, or one is missing")
	}
	c.chains = append(c.chains, j.Chain)
	c.last = seq
	c.Entries++
	c.opened(part, e, &j)
	if len(j.Statement) > 0 {
		c.statement(part, &j)
	}
}

// broken starts a new run of records after a gap of a filtered log.
func (c *checker) broken(seq uint64) {
	c.first, c.chains = seq, c.chains[:0]
	c.stNumber, c.stPrevious = 0, [32]byte{}
}

// chainBefore is the chain value in front of record seq, if the file has it.
func (c *checker) chainBefore(seq uint64) (prev [32]byte, known bool) {
	switch {
	case len(c.chains) > 0:
		return c.chains[len(c.chains)-1], true
	case seq == 1:
		return prev, true
	}
	return prev, false // a receipt's is checked with its proof
}

func (c *checker) opened(part string, e *Entry, j *pds.Journal) {
	if len(e.Entry) == 0 {
		if e.Shown != nil {
			c.fault(part, "is shown in words without the entry that was committed to")
		}
		return
	}
	if len(e.Salt) != 16 || pds.Commit([16]byte(e.Salt), e.Entry) != j.Commitment {
		c.fault(part, "its entry is not the one that was committed to")
		return
	}
	a, err := pds.DecodeEntry(e.Entry)
	if err != nil {
		c.fault(part, "its entry cannot be read")
		return
	}
	c.entry = a
	c.Opened++
	if a.Result != j.Result {
		c.fault(part, "the result in the entry is not the record's")
	}
	want := Show(pds.UID(c.member.UID), j, &a, c.cat)
	if e.Shown == nil || !reflect.DeepEqual(normal(e.Shown), want) {
		c.fault(part, "what is shown in words is not what the entry says")
	}
}

// normal gives an absent list the form that Show gives it.
func normal(s *Shown) *Shown {
	if s.Fields == nil {
		s.Fields = []string{}
	}
	return s
}
