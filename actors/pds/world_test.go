package pds

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"

	"holdfast/storage/seal"
)

// memKV is a state of sorted keys in memory, as it is after commit; refuse makes writes of some
// keys fail as a full transaction would.
type memKV struct {
	m      map[string][]byte
	refuse func(key, val []byte) error
}

func newMemKV() *memKV { return &memKV{m: map[string][]byte{}} }

func (k *memKV) Get(key []byte) ([]byte, bool, error) {
	v, ok := k.m[string(key)]
	return v, ok, nil
}

func (k *memKV) Set(key, val []byte) error {
	if k.refuse != nil {
		if err := k.refuse(key, val); err != nil {
			return err
		}
	}
	k.m[string(key)] = bytes.Clone(val)
	return nil
}

func (k *memKV) Delete(key []byte) error {
	delete(k.m, string(key))
	return nil
}

func (k *memKV) Scan(prefix, from []byte, reverse bool, f func(key, val []byte) (bool, error)) error {
	var keys []string
	for s := range k.m {
		if strings.HasPrefix(s, string(prefix)) {
			keys = append(keys, s)
		}
	}
	sort.Strings(keys)
	if reverse {
		slices.Reverse(keys)
	}
	for _, s := range keys {
		if from != nil && (!reverse && s < string(from) || reverse && s > string(from)) {
			continue
		}
		if more, err := f([]byte(s), k.m[s]); err != nil || !more {
			return err
		}
	}
	return nil
}

func (k *memKV) clone() *memKV { return &memKV{m: maps.Clone(k.m)} }

func (k *memKV) equal(o *memKV) bool {
	return maps.EqualFunc(k.m, o.m, bytes.Equal)
}

var errRefusedWrite = errors.New("the transaction is full")

func id16(parts ...string) [16]byte {
	h := sha256.Sum256([]byte(strings.Join(parts, "/")))
	return [16]byte(h[:])
}

func seedOf(name string) seal.Secret {
	h := sha256.Sum256([]byte("seed of " + name))
	return seal.NewSecret(h[:])
}

func pubOf(name string) [32]byte {
	s := seedOf(name)
	return seal.SignKeyPublic(&s)
}

// world drives one Machine with commands that are right unless told otherwise.
type world struct {
	m     *Machine
	kv    *memKV
	env   seal.Env
	index uint64
	term  uint64
	now   int64 // Unix milliseconds
	said  map[string]signed
}

type signed struct{ statement, signature []byte }

func newWorld() *world {
	return &world{m: NewMachine(seal.Sandbox), kv: newMemKV(), env: seal.Sandbox, term: 3, now: 1_800_000_000_000, said: map[string]signed{}}
}

// wrong says what is to be off in a command; the zero value is a right one.
type wrong map[string]string

func (x wrong) num(key string, def uint64) uint64 {
	if v, ok := x[key]; ok {
		var n uint64
		if _, err := fmt.Sscan(v, &n); err != nil {
			panic("not a number: " + v)
		}
		return n
	}
	return def
}

func memberOf(name string) MemberID   { return id16("member", name) }
func linkOf(name, conn string) LinkID { return id16("link", name, conn) }
func shardOf(m MemberID) uint8        { return m[0] >> 2 }
func tagOf(name, dataset string) Tag  { return id16("tag", name, dataset) }
func slotOf(n uint64) SlotRef         { return SlotRef{ID: n, Hash: sha256.Sum256([]byte{byte(n)})} }
func (w *world) control(n string) *Control {
	_, _, c, err := Load(w.kv, shardOf(memberOf(n)), memberOf(n))
	if err != nil {
		panic(err)
	}
	return c
}

func (w *world) head(n string) uint64 {
	h, _, err := Head(w.kv, shardOf(memberOf(n)), memberOf(n))
	if err != nil {
		panic(err)
	}
	return h
}

// sign makes the next statement of a member with whatever is wrong in it.
func (w *world) sign(name, conn string, kind seal.StatementKind, x wrong) signed {
	if l, ok := x["replay"]; ok {
		s, ok := w.said[l]
		if !ok {
			panic("nothing was said as " + l)
		}
		return s
	}
	st := seal.Statement{Format: seal.StatementFormat, Env: w.env, Kind: kind, Store: id16("store", name), Number: 1,
		Version: uint32(x.num("version", 1)), NotAfter: int64(x.num("notafter", 0)), Time: w.now / 1000, KeyID: seal.KeyID(pubOf(name))}
	if conn != "" {
		st.Conn = linkOf(name, conn)
	}
	if c := w.control(name); c != nil {
		st.Number, st.Previous = c.Number+1, c.Previous
	}
	st.Commitment = sha256.Sum256([]byte(x["terms"] + "terms"))
	st.Number = x.num("number", st.Number)
	if v, ok := x["store"]; ok {
		st.Store = id16("store", v)
	}
	if v, ok := x["link"]; ok {
		st.Conn = linkOf(name, v)
	}
	if v, ok := x["linkof"]; ok {
		st.Conn = linkOf(v, conn)
	}
	if x["previous"] == "zero" {
		st.Previous = [32]byte{}
	}
	if x["env"] == "live" {
		st.Env = seal.Live
	}
	switch x["kind"] {
	case "register":
		st.Kind = seal.Register
	case "approve":
		st.Kind = seal.Approve
	case "change":
		st.Kind = seal.Change
	case "lift":
		st.Kind = seal.Lift
	case "revoke":
		st.Kind = seal.Revoke
	case "rotate":
		st.Kind = seal.RotateKey
	case "close":
		st.Kind = seal.Close
	}
	seed := seedOf(name)
	if v, ok := x["key"]; ok { // another key, named honestly
		seed = seedOf(v)
		st.KeyID = seal.KeyID(pubOf(v))
	}
	if v, ok := x["signer"]; ok { // another key under the member's key id
		seed = seedOf(v)
	}
	s := signed{st.Encode(), st.Sign(&seed)}
	switch x["forge"] {
	case "signature":
		s.signature = bytes.Clone(s.signature)
		s.signature[17] ^= 1
	case "statement":
		s.statement = bytes.Clone(s.statement)
		s.statement[len(s.statement)-1] ^= 1
	case "none":
		s.signature = nil
	case "short":
		s.statement = s.statement[:len(s.statement)-1]
	}
	if l, ok := x["as"]; ok {
		w.said[l] = s
	}
	return s
}

func (w *world) register(name string, x wrong) *Mutation {
	s := w.sign(name, "", seal.Register, x)
	k := name
	if v, ok := x["holds"]; ok {
		k = v
	}
	c := &Control{Store: id16("store", name), SignKey: pubOf(k), KeyID: seal.KeyID(pubOf(name)), KDF: seal.KDFSandbox, Slot: slotOf(1),
		RootWrap: []byte("root"), SignWrap: []byte("sign"), AuditKey: []byte("audit"), Keyring: []byte("ring")}
	if x["with"] == "link" {
		c.Links = []Link{{ID: linkOf(name, "acme"), State: LinkActive}}
	}
	return &Mutation{Register: c, Statement: s.statement, Signature: s.signature}
}

// consent makes a signed change of a link.
func (w *world) consent(name, conn string, kind seal.StatementKind, x wrong) *Mutation {
	s := w.sign(name, conn, kind, x)
	id := linkOf(name, conn)
	if v, ok := x["onto"]; ok {
		id = linkOf(name, v)
	}
	var l Link
	if c := w.control(name); c != nil {
		if o := c.Link(id); o != nil {
			l = *o
		}
	}
	gen := l.Generation
	if st, err := seal.DecodeStatement(s.statement); err == nil {
		switch kind {
		case seal.Approve, seal.Change:
			l = Link{ID: id, State: LinkActive, Consent: st.Number, Version: st.Version, NotAfter: st.NotAfter, Commitment: st.Commitment,
				Generation: gen + 1, KeyCommit: id16x2("commit", name, conn), Public: []byte("public"), SlotC: slotOf(10), SlotG: slotOf(20 + gen),
				WrapKind: WrapCK, Wrap: []byte("wrap"), Write: []byte("write"), Read: []byte("read")}
		case seal.Lift:
			l.State = LinkActive
		case seal.Revoke:
			l.State, l.Owed, l.Wrap, l.Write, l.Read, l.WrapKind = LinkRevoked, true, nil, nil, nil, 0
		}
	}
	l.ID = id
	w.bend(&l, x)
	m := &Mutation{Link: &l, Statement: s.statement, Signature: s.signature}
	if kind == seal.Revoke {
		m.Erase = []uint64{l.SlotC.ID, l.SlotG.ID}
	}
	if x["unsigned"] != "" {
		m.Statement, m.Signature = nil, nil
	}
	if x["nolink"] != "" {
		m.Link = nil
	}
	return m
}

func id16x2(parts ...string) [32]byte { return sha256.Sum256([]byte(strings.Join(parts, "/"))) }

// bend changes fields of a link.
func (w *world) bend(l *Link, x wrong) {
	l.Consent = x.num("l.consent", l.Consent)
	l.Version = uint32(x.num("l.version", uint64(l.Version)))
	l.NotAfter = int64(x.num("l.notafter", uint64(l.NotAfter)))
	l.Generation = x.num("l.generation", l.Generation)
	switch x["l.state"] {
	case "active":
		l.State = LinkActive
	case "suspended":
		l.State = LinkSuspended
	case "revoked":
		l.State = LinkRevoked
	}
	if v, ok := x["l.wrap"]; ok {
		l.Wrap = []byte(v)
	}
	if v, ok := x["l.write"]; ok {
		l.Write = []byte(v)
	}
	if v, ok := x["l.read"]; ok {
		l.Read = []byte(v)
	}
	if v, ok := x["l.terms"]; ok {
		l.Commitment = sha256.Sum256([]byte(v))
	}
	if v, ok := x["l.key"]; ok {
		l.KeyCommit = sha256.Sum256([]byte(v))
	}
	if v, ok := x["l.public"]; ok {
		l.Public = []byte(v)
	}
	if n := x.num("l.slot", 0); n != 0 {
		l.SlotC = slotOf(n)
	}
}

// unsigned makes a change of a link that nobody signed.
func (w *world) unsigned(name, conn string, x wrong) *Mutation {
	l := Link{ID: linkOf(name, conn), State: LinkActive, Generation: 1}
	if c := w.control(name); c != nil {
		if o := c.Link(l.ID); o != nil {
			l = *o
		}
	}
	w.bend(&l, x)
	return &Mutation{Link: &l}
}

// op is the clear part of an operation on a link under its present rules.
func (w *world) op(name, conn string, x wrong) Operation {
	op := Operation{Command: id16("command", fmt.Sprint(w.index), x["again"])}
	if conn != "" {
		op.Link, op.Active = linkOf(name, conn), x["passive"] == ""
		if c := w.control(name); c != nil {
			if l := c.Link(op.Link); l != nil {
				op.Consent, op.Generation = l.Consent, l.Generation
			}
		}
	}
	op.Consent = x.num("consent", op.Consent)
	op.Generation = x.num("generation", op.Generation)
	op.Result = Code(x.num("result", 0))
	if v, ok := x["request"]; ok {
		op.Request, op.Section = id16("request", v), uint32(x.num("section", 0))
	}
	if v, ok := x["outbox"]; ok {
		op.Outbox, op.OutboxSlot = []byte(v), 99
	}
	return op
}

type piece struct {
	op  Operation
	mu  *Mutation
	tag *Tag
	rec []byte
}

// command encodes operations on one member.
func (w *world) command(name string, x wrong, ps ...piece) []byte {
	var b Builder
	head := x.num("sequence", w.head(name))
	b.Begin(memberOf(name), head, x.num("term", w.term), int64(x.num("time", uint64(w.now))), 0)
	for _, p := range ps {
		if p.mu != nil {
			p.op.Mutation = p.mu.Encode()
		}
		n := 0
		if p.tag != nil {
			n = 1
		}
		b.BeginOp(&p.op, n)
		if n == 1 {
			b.EndRecord(append(b.BeginRecord(*p.tag), p.rec...))
			b.Digests(func(r []byte) [32]byte { return sha256.Sum256(r) })
		}
		b.EndOp(KeyOfMember, 0, sha256.Sum256([]byte("entry")), []byte("sealed entry"))
	}
	return b.Bytes()
}

func (w *world) apply(name string, cmd []byte) any {
	w.index++
	return w.m.Apply(w.kv, shardOf(memberOf(name)), w.index, w.term, cmd)
}

// outcome applies a member command and gives its code.
func (w *world) outcome(t testing.TB, name string, cmd []byte) Code {
	t.Helper()
	switch o := w.apply(name, cmd).(type) {
	case *Outcome:
		return o.Code
	case *RegistryOutcome:
		return o.Code
	default:
		t.Fatalf("outcome %v", o)
	}
	return 0
}

func (w *world) must(t testing.TB, name string, cmd []byte) {
	t.Helper()
	if c := w.outcome(t, name, cmd); c != CodeNone {
		t.Fatalf("refused: %s", c.Title())
	}
}

func (w *world) mutate(name string, mu *Mutation) []byte {
	return w.command(name, nil, piece{op: w.op(name, "", nil), mu: mu})
}

func (w *world) write(name, conn string, x wrong) []byte {
	t := tagOf(name, "energy")
	return w.command(name, x, piece{op: w.op(name, conn, x), tag: &t, rec: []byte("rows " + x["rows"])})
}
