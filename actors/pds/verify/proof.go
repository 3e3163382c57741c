package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/actors/pds"
)

// finish checks what needs the whole file.
func (c *checker) finish() {
	c.closePart()
	for _, n := range c.counts {
		c.fault(n.Dataset, "%d records that were not exported", n.Records)
	}
	for _, name := range []string{"format", "environment", "made", "member", "seal"} {
		if !c.seen[name] {
			c.fault("file", "member %s is missing", name)
		}
	}
	if c.seal != nil {
		c.sealed()
	}
	c.consents()
	switch {
	case c.Format == FormatExport && c.Entries == 0:
		c.fault("journal", "is missing")
	case c.Format == FormatReceipt && c.Agreements != 1:
		c.fault("receipt", "does not hold exactly one consent")
	case c.Format == FormatReceipt && c.Entries == 0:
		c.note("the receipt lacks its journal record: its place in the log is not shown")
	}
	if hidden := c.Entries - c.Opened; hidden > 0 {
		c.note("%d journal records are present in sealed form only", hidden)
	}
}

func (c *checker) sealed() {
	if c.Format == FormatExport {
		c.content()
	}
	p := c.seal.Proof
	if p == nil || p.Checkpoint == "" {
		c.note("no proof of the transparency log is in the file: only the chain and the signatures were checked")
		return
	}
	c.proof(p)
}

// content checks that a journal entry names the digest of the content.
func (c *checker) content() {
	s := c.seal
	opens := `"seal":`
	if c.o.XML {
		opens = "<seal>"
	}
	n := int(s.Bytes)
	if n < 0 || n > len(c.file) || !strings.HasPrefix(string(c.file[n:min(len(c.file), n+len(opens))]), opens) {
		c.fault("seal", "does not stand where it says")
		return
	}
	sum := sha256.Sum256(c.file[:n])
	if s.SHA256 != hex.EncodeToString(sum[:]) {
		c.fault("seal", "the content differs from what was exported (SHA-256)")
	}
	if len(s.Entries) == 0 {
		c.note("the journal in the file has no entry that names this export: its records rest on the file's own digest")
		return
	}
	before := len(c.Faults)
	for i := range s.Entries {
		c.entry = pds.AuditEntry{}
		c.journal(&s.Entries[i])
	}
	if len(c.Faults) > before {
		return
	}
	if c.entry.Act != pds.ActExport || !bytes.Equal(c.entry.Digest, sum[:]) {
		c.fault("seal", "the journal names another content for this export")
	}
}

// proof checks that the log's signed root covers a chain value of the file.
func (c *checker) proof(p *Proof) {
	const part = "proof"
	if c.Entries == 0 {
		c.note("no journal record is in the file: the proof is not tied to it")
	} else if !c.tied(p) {
		return
	}
	text, origin, err := c.note1(p)
	if err != nil {
		c.fault(part, "%v", err)
		return
	}
	size, root, err := parseCheckpoint(text, origin)
	if err != nil {
		c.fault(part, "%v", err)
		return
	}
	if int64(p.Size) != size || int64(p.Index) < 0 || int64(p.Index) >= size {
		c.fault(part, "size or index do not fit the checkpoint")
		return
	}
	m := hmac.New(sha256.New, p.LeafSalt)
	m.Write(p.Head)
	hashes := make(tlog.RecordProof, len(p.Hashes))
	for i, h := range p.Hashes {
		if len(h) != len(hashes[i]) {
			c.fault(part, "a hash has the wrong length")
			return
		}
		hashes[i] = tlog.Hash(h)
	}
	if tlog.CheckRecord(hashes, size, root, int64(p.Index), tlog.RecordHash(m.Sum(nil))) != nil {
		c.fault(part, "the member's journal is not in the log that was signed")
		return
	}
	c.LogSize, c.LogKey = size, p.LogKey
	c.Anchored = c.Entries > 0 && uint64(p.Sequence) == c.last
	if !c.Anchored && c.Entries > 0 {
		c.note("records after %d were not yet in the log", p.Sequence)
	}
}

// tied checks that the proof's head is the chain value after its record, and
// for a receipt that the record follows from Before.
func (c *checker) tied(p *Proof) bool {
	seq := uint64(p.Sequence)
	if seq < c.first || seq > c.last || seq-c.first >= uint64(len(c.chains)) {
		if c.Format == FormatAudit {
			c.note("the proof is about record %d, which is not in the file", seq)
			return true
		}
		c.fault("proof", "is about record %d, which is not in the file", seq)
		return false
	}
	if len(p.Head) != 32 || [32]byte(p.Head) != c.chains[seq-c.first] {
		c.fault("proof", "is about another journal")
		return false
	}
	if c.Format == FormatReceipt && (len(p.Before) != 32 || pds.ChainNext([32]byte(p.Before), c.lead[:len(c.lead)-32]) != c.chains[0]) {
		c.fault("proof", "the journal record does not follow from the chain value before it")
		return false
	}
	return true
}

// note1 opens the checkpoint with the key that the reader trusts, or with the
// file's own.
func (c *checker) note1(p *Proof) (text, origin string, err error) {
	key := p.LogKey
	if c.o.LogKey == "" {
		c.note("the log's key was taken from the file, not from you")
	} else if key = c.o.LogKey; key != p.LogKey {
		return "", "", fmt.Errorf("the log's key is not the one you gave")
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		return "", "", fmt.Errorf("the log's key cannot be read")
	}
	n, err := note.Open([]byte(p.Checkpoint), note.VerifierList(v))
	if err != nil {
		return "", "", fmt.Errorf("the log's signature does not hold")
	}
	return n.Text, v.Name(), nil
}

// parseCheckpoint reads origin, size and root (C2SP tlog-checkpoint).
func parseCheckpoint(text, origin string) (size int64, root tlog.Hash, err error) {
	bad := fmt.Errorf("the checkpoint cannot be read")
	f := strings.SplitN(text, "\n", 4)
	if len(f) != 4 || f[0] != origin {
		return 0, root, bad
	}
	size, err = strconv.ParseInt(f[1], 10, 64)
	if err != nil || size < 1 || strconv.FormatInt(size, 10) != f[1] {
		return 0, root, bad
	}
	b, err := base64.StdEncoding.Strict().DecodeString(f[2])
	if err != nil || len(b) != len(root) {
		return 0, root, bad
	}
	return size, tlog.Hash(b), nil
}
