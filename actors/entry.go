package actors

import (
	"bytes"
	"runtime"
	"strings"
	"sync"

	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

// entryKey seals audit entries that are made with no bundle and no session
// open: a random key, itself sealed to the member's audit key.
type entryKey struct {
	seal.Redacted
	number uint64
	cipher *seal.Cipher
	key    seal.Secret
	sealed []byte // as stored in the control state
	build  uint64 // of the command that stores it
}

func (k *entryKey) wipe() { k.key.Wipe(); k.cipher = nil }

// scratch holds the buffers that a command is built in. Few are in use at a
// time, so they stay in the caches of the processor, which a member's own would
// not.
type scratch struct {
	builder pds.Builder
	plain   []byte
	aad     []byte
	column  []byte
	entry   []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// sealer says which key seals an entry.
type sealer struct {
	kind   uint8
	number uint64
	cipher *seal.Cipher
	link   pds.LinkID
}

func (m *member) linkSealer(l *openLink) sealer {
	return sealer{pds.KeyOfLink, l.generation, l.audit, l.id}
}

// ownSealer seals entries of the member's own session, or, where the store is
// locked, with an entry key. mu receives a new entry key that must be stored.
func (m *member) ownSealer(mu *pds.Mutation) (sealer, *pds.Mutation) {
	if m.keys != nil {
		return sealer{pds.KeyOfMember, 0, m.keys.audit, pds.LinkID{}}, mu
	}
	have := uint64(len(m.ctl.EntryKeys))
	// Another activation may have taken the number meanwhile.
	if k := m.entryKey; k != nil && (k.number > have || k.number < have && !bytes.Equal(m.ctl.EntryKeys[k.number], k.sealed)) {
		k.wipe()
		m.entryKey = nil
	}
	if m.entryKey == nil {
		k := &entryKey{number: have, key: seal.RandomSecret()}
		k.cipher = seal.NewCipher(&k.key)
		sealed, err := seal.SealTo(m.ctl.AuditKey, m.entryKeyInfo(k.number), nil, k.key.Bytes())
		if err != nil {
			panic("the audit key of a store is not a key")
		}
		k.sealed = sealed
		m.entryKey = k
	}
	k := m.entryKey
	if k.number == have && k.build != m.build {
		k.build = m.build
		if mu == nil {
			mu = &pds.Mutation{}
		}
		mu.EntryKey = k.sealed
	}
	return sealer{pds.KeyOfEntry, k.number, k.cipher, pds.LinkID{}}, mu
}

func (m *member) entryKeyInfo(number uint64) []byte {
	var n [8]byte
	putBE64(n[:], number)
	return seal.Info(m.d.env, "entry-key", m.ctl.Store[:], n[:])
}

func entryAAD(dst []byte, env seal.Env, store [16]byte, kind uint8, number uint64, link pds.LinkID) []byte {
	var n [9]byte
	n[0] = kind
	putBE64(n[1:], number)
	return seal.AppendInfo(dst, env, "audit-entry", store[:], n[:], link[:])
}

// sealEntry seals an audit entry and returns its commitment and bytes, which
// are valid until the next call.
func (m *member) sealEntry(s sealer, a *pds.AuditEntry) (commitment [32]byte, sealed []byte) {
	var salt [16]byte
	n1, n2, nonce := seal.Nonce(), seal.Nonce(), seal.Nonce()
	copy(salt[:], n1[:])
	copy(salt[12:], n2[:])
	sc := m.scratch
	sc.plain = append(sc.plain[:0], salt[:]...)
	sc.plain = pds.AppendEntry(sc.plain, a)
	commitment = pds.Commit(salt, sc.plain[16:])
	sc.aad = entryAAD(sc.aad[:0], m.d.env, m.ctl.Store, s.kind, s.number, s.link)
	sc.entry = append(sc.entry[:0], nonce[:]...)
	sc.entry = s.cipher.Seal(sc.entry, &nonce, sc.plain, sc.aad)
	return commitment, sc.entry
}

// addOp appends an operation without data records.
func (m *member) addOp(b *pds.Builder, op *pds.Operation, mu *pds.Mutation, s sealer, a *pds.AuditEntry) {
	if mu != nil {
		op.Mutation = mu.Encode()
	}
	b.BeginOp(op, 0)
	c, e := m.sealEntry(s, a)
	b.EndOp(s.kind, s.number, c, e)
}

// refusalKey says which refusals are equal: they share one entry a minute.
type refusalKey struct {
	nid      pds.NID
	act      pds.Act
	code     pds.Code
	dataset  string
	instance uint32
	field    string
}

type refusalCount struct {
	at     int64
	folded uint32
	build  uint64 // of the command that carries the entry
}

// refuse adds the entry of a refusal, or reports that an equal one of the
// last minute stands for it. Where that one is in the command being built the
// refusal travels with it, so that no answer goes before its entry.
func (m *member) refuse(b *pds.Builder, l *openLink, nid pds.NID, act pds.Act, dataset string, instance uint32, e *pds.Error, command [16]byte) (added bool) {
	m.d.Counts.Refused.Add(1)
	if m.ctl == nil {
		return false
	}
	k := refusalKey{nid, act, e.Code, dataset, instance, e.Field}
	if m.refusals == nil {
		m.refusals = map[refusalKey]*refusalCount{}
	}
	r := m.refusals[k]
	if r != nil && m.now-r.at < 60_000 {
		r.folded++
		return r.build == m.build
	}
	if r == nil {
		if len(m.refusals) > 1000 {
			clear(m.refusals)
		}
		r = &refusalCount{}
		m.refusals[k] = r
	}
	var mu *pds.Mutation
	var s sealer
	op := pds.Operation{Command: command, Result: e.Code, Link: m.d.LinkID(m.h.uid, nid)}
	version := uint32(0)
	if l != nil {
		s, op.Consent, op.Generation, version = m.linkSealer(l), l.consent, l.generation, l.version
	} else {
		s, mu = m.ownSealer(nil)
		if k := m.ctl.Link(op.Link); k != nil {
			op.Consent, version = k.Consent, k.Version
		}
	}
	if op.Command == [16]byte{} {
		op.Command = newCommand()
	}
	m.addOp(b, &op, mu, s, &pds.AuditEntry{Act: act, NID: nid, Version: version, Dataset: dataset, Instance: instance,
		Result: e.Code, Field: e.Field, Row: uint32(e.Row), Count: r.folded})
	r.at, r.folded, r.build = m.now, 0, m.build
	return true
}

func newCommand() (c [16]byte) {
	a, b := seal.Nonce(), seal.Nonce()
	copy(c[:], a[:])
	copy(c[12:], b[:])
	return
}

// panicPlace names where a panic came from, never what it said.
func panicPlace() string {
	pc := make([]uintptr, 16)
	fs := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		f, more := fs.Next()
		if strings.HasPrefix(f.Function, "holdfast/") {
			return f.Function[strings.LastIndexByte(f.Function, '/')+1:]
		}
		if !more {
			return "unknown place"
		}
	}
}
