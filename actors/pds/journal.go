package pds

import (
	"crypto/sha256"
)

// Journal records. One record stands for one operation on a store: a write, a
// read, a refusal, a consent. It is stored at 'd' ‖ shard ‖ member ‖ 1 ‖ sequence:
//
//	 1 version (1)
//	 8 raft index of the entry that carried it
//	16 command id
//	 8 time, Unix milliseconds
//	16 link id, zero for the member's own acts
//	uv consent number in force, 0 for the member's own acts
//	 1 result code, 0: allowed
//	uv n × 32 SHA-256 of each data record stored with it
//	 1 key kind, uv key number: which key opens the entry
//	32 commitment: SHA-256("holdfast entry 1" ‖ salt ‖ entry)
//	uv length, sealed entry: 12 nonce ‖ ciphertext of salt(16) ‖ entry ‖ 16 tag
//	uv length, statement bytes, uv length, signature; both empty if none
//	32 chain: SHA-256("holdfast chain 1" ‖ previous chain ‖ all bytes above)
//
// The chain of record 1 has 32 zero bytes before it. Everything is big endian.
type Journal struct {
	Index      uint64
	Command    [16]byte
	Time       int64
	Link       LinkID
	Consent    uint64
	Result     Code
	Digests    [][32]byte
	KeyKind    uint8
	KeyNumber  uint64
	Commitment [32]byte
	Entry      []byte
	Statement  []byte
	Signature  []byte
	Chain      [32]byte
}

// Key kinds of a journal entry.
const (
	KeyOfLink   = 1 // the connection's audit key of generation KeyNumber
	KeyOfMember = 2 // derived from the daily root
	KeyOfEntry  = 3 // Control.EntryKeys[KeyNumber], sealed to the audit key pair
)

const journalVersion = 1

// appendJournal appends the record, up to but without the chain.
func appendJournal(dst []byte, j *Journal) []byte {
	e := enc{dst}
	e.u8(journalVersion)
	e.u64(j.Index)
	e.raw(j.Command[:])
	e.u64(uint64(j.Time))
	e.raw(j.Link[:])
	e.uv(j.Consent)
	e.u8(uint8(j.Result))
	e.uv(uint64(len(j.Digests)))
	for i := range j.Digests {
		e.raw(j.Digests[i][:])
	}
	e.u8(j.KeyKind)
	e.uv(j.KeyNumber)
	e.raw(j.Commitment[:])
	e.bytes(j.Entry)
	e.bytes(j.Statement)
	e.bytes(j.Signature)
	return e.b
}

// DecodeJournal reads a whole record. Byte strings alias b.
func DecodeJournal(b []byte, j *Journal) error {
	d := dec{b: b}
	if d.u8() != journalVersion {
		return ErrCorrupt
	}
	j.Index = d.u64()
	j.Command = d.a16()
	j.Time = int64(d.u64())
	j.Link = d.a16()
	j.Consent = d.uv()
	j.Result = Code(d.u8())
	n := d.count(32)
	j.Digests = j.Digests[:0]
	for range n {
		j.Digests = append(j.Digests, d.a32())
	}
	j.KeyKind = d.u8()
	j.KeyNumber = d.uv()
	j.Commitment = d.a32()
	j.Entry = d.bytes()
	j.Statement = d.bytes()
	j.Signature = d.bytes()
	j.Chain = d.a32()
	if !d.done() {
		return ErrCorrupt
	}
	return nil
}

// ChainNext is the chain value of record, given without its last 32 bytes.
func ChainNext(prev [32]byte, record []byte) [32]byte {
	var buf [768]byte
	b := append(buf[:0], "holdfast chain 1"...)
	b = append(b, prev[:]...)
	b = append(b, record...)
	return sha256.Sum256(b)
}

// Commit is the salted commitment to an encoded audit entry.
func Commit(salt [16]byte, plain []byte) [32]byte {
	var buf [384]byte
	b := append(buf[:0], "holdfast entry 1"...)
	b = append(b, salt[:]...)
	b = append(b, plain...)
	return sha256.Sum256(b)
}

const entryVersion = 1

// AppendEntry encodes an audit entry:
//
//	1 version (1) · 1 act · uv nid · uv behalf · uv version · dataset ·
//	uv instance · 8 fields · purpose · 1 result · field · uv row · uv rows ·
//	uv first · uv count · digest (empty or 32 bytes)
//
// where dataset, purpose, field and digest are length-prefixed by a varint.
func AppendEntry(dst []byte, a *AuditEntry) []byte {
	e := enc{dst}
	e.u8(entryVersion)
	e.u8(uint8(a.Act))
	e.uv(uint64(a.NID))
	e.uv(uint64(a.Behalf))
	e.uv(uint64(a.Version))
	e.str(a.Dataset)
	e.uv(uint64(a.Instance))
	e.u64(uint64(a.Fields))
	e.str(a.Purpose)
	e.u8(uint8(a.Result))
	e.str(a.Field)
	e.uv(uint64(a.Row))
	e.uv(uint64(a.Rows))
	e.uv(a.First)
	e.uv(uint64(a.Count))
	e.bytes(a.Digest)
	return e.b
}

// DecodeEntry reads what AppendEntry wrote.
func DecodeEntry(b []byte) (a AuditEntry, err error) {
	d := dec{b: b}
	if d.u8() != entryVersion {
		return a, ErrCorrupt
	}
	a.Act = Act(d.u8())
	a.NID = NID(d.uv32())
	a.Behalf = UID(d.uv32())
	a.Version = d.uv32()
	a.Dataset = d.str()
	a.Instance = d.uv32()
	a.Fields = Mask(d.u64())
	a.Purpose = d.str()
	a.Result = Code(d.u8())
	a.Field = d.str()
	a.Row = d.uv32()
	a.Rows = d.uv32()
	a.First = d.uv()
	a.Count = d.uv32()
	a.Digest = d.bytes()
	if !d.done() {
		return a, ErrCorrupt
	}
	return a, nil
}
