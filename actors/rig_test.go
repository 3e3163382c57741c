package actors

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// rig is one node without interfaces: a real host on a temporary directory, a
// real Directory, a clock that the test drives, and a receiver of callbacks.
type rig struct {
	t       testing.TB
	dir     string
	bar     seal.Barrier
	clock   *clock
	sm      *rigMachine
	host    *cluster.Host
	machine *pds.Machine
	d       *Directory
	out     *receiver
	verify  note.Verifier
	cfg     Config
}

type clock struct{ ms atomic.Int64 }

func (c *clock) Now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) Advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// rigMachine is the state machine as node has it. fault, if set, decides
// about each member command what its proposer hears instead.
type rigMachine struct {
	m     *pds.Machine
	host  atomic.Pointer[cluster.Host]
	fault atomic.Pointer[func(c cluster.Command) (apply bool, result any)]
}

func (a *rigMachine) Apply(tx storage.Tx, c cluster.Command) any {
	if f := a.fault.Load(); f != nil && len(c.Data) > 1 && c.Data[1] == 1 {
		apply, result := (*f)(c)
		if apply {
			out := a.m.Apply(tx, uint8(c.Shard), c.Index, c.Term, c.Data)
			if result == nil {
				return out
			}
		}
		return result
	}
	return a.m.Apply(tx, uint8(c.Shard), c.Index, c.Term, c.Data)
}

func (a *rigMachine) Committed([]cluster.ShardID) {
	a.m.Committed()
	for _, id := range a.m.TakeErased() {
		if h := a.host.Load(); h != nil {
			if err := h.Slots().Erase(id); err != nil && !errors.Is(err, storage.ErrErased) && !errors.Is(err, storage.ErrNoSlot) {
				panic("a slot could not be erased")
			}
		}
	}
}

func (a *rigMachine) Reset(s cluster.ShardID) { a.m.Reset(uint8(s)) }

// receiver is a subscriber's callback, keeping what it was told.
type receiver struct {
	mu    sync.Mutex
	down  bool
	tries int
	keys  map[string]seal.MemberKey
	told  []Callback
	came  chan struct{} // one token a callback
}

func (r *receiver) Deliver(_ context.Context, c *Callback) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	if r.down {
		select {
		case r.came <- struct{}{}:
		default:
		}
		return errors.New("the receiver is down")
	}
	if !c.Update {
		r.keys[pds.ConID(c.UID, c.NID)] = c.Key
	}
	x := *c
	x.Key = seal.MemberKey{}
	r.told = append(r.told, x)
	select {
	case r.came <- struct{}{}:
	default:
	}
	return nil
}

func (r *receiver) set(down bool) {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
}

func newRig(t testing.TB, edit ...func(*Config)) *rig {
	r := &rig{t: t, dir: t.TempDir(), bar: seal.NewBarrier(seal.Sandbox), clock: &clock{}}
	r.clock.ms.Store(1_800_000_000_000)
	r.out = &receiver{keys: map[string]seal.MemberKey{}, came: make(chan struct{}, 100_000)}
	r.cfg = Config{IdleAfter: time.Hour}
	for _, f := range edit {
		f(&r.cfg)
	}
	r.open(0)
	t.Cleanup(r.close)
	return r
}

func (r *rig) open(reserve int64) {
	r.t.Helper()
	r.machine = pds.NewMachine(r.bar.Env)
	r.sm = &rigMachine{m: r.machine}
	h, err := cluster.Open(cluster.Config{Dir: r.dir, Env: r.bar.Env, BarrierCheck: r.bar.Check(), SlotKey: r.bar.SlotFileKey(), SM: r.sm, Now: r.clock.Now, ReserveBytes: reserve})
	if err != nil {
		r.t.Fatal(err)
	}
	r.host = h
	r.sm.host.Store(h)
	r.d = r.directory()
	r.d.SetDeliverer(r.out)
}

// directory makes one more Directory on the rig's host.
func (r *rig) directory() *Directory {
	seed := r.bar.Key("log-signer")
	signer := seal.NewSigner(pds.CheckpointOrigin(r.bar.Env), &seed)
	r.verify = signer.Verifier()
	cfg := r.cfg
	cfg.Host, cfg.Machine, cfg.Barrier, cfg.Catalogue, cfg.Now = r.host, r.machine, r.bar, schema.Default(), r.clock.Now
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	cfg.LogKey = signer.Verifier().String()
	cfg.SignLog = func(text []byte) ([]byte, error) { return note.Sign(&note.Note{Text: string(text)}, signer) }
	return New(cfg)
}

func (r *rig) close() {
	if r.d != nil {
		r.d.Close()
		r.d = nil
	}
	if r.host != nil {
		if err := r.host.Close(); err != nil {
			r.t.Error(err)
		}
		r.host = nil
	}
}

func (r *rig) restart() {
	r.t.Helper()
	r.close()
	r.open(0)
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

// await waits until f holds; it looks again whenever the machine has time.
func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// person is a member with their client.
type person struct {
	r    *rig
	uid  pds.UID
	pass string
	s    Session
	seed seal.Secret
}

func random16() (b [16]byte) { rand.Read(b[:]); return }

func (r *rig) join(pass string) *person {
	r.t.Helper()
	p, err := r.tryJoin(r.d, pass)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) tryJoin(d *Directory, pass string) (*person, error) {
	p := &person{r: r, pass: pass, s: Session{ID: random16()}}
	u, err := d.NewUnlockParams(r.ctx(), p.s.ID)
	if err != nil {
		return nil, err
	}
	reg, err := client.NewRegistration(pass, seal.KDFSandbox, r.bar.Env)
	if err != nil {
		return nil, err
	}
	st := &seal.Statement{Kind: seal.Register, Store: u.Store, Number: 1, Time: r.clock.Now().Unix()}
	sig := reg.Sign(st)
	box, err := client.SealUnlock(u.UnlockKey, &reg.UK, p.s.ID[:], u.Nonce, u.Store, r.bar.Env)
	if err != nil {
		return nil, err
	}
	p.uid, err = d.Register(r.ctx(), &Registration{SessionID: p.s.ID, Nonce: u.Nonce, Store: u.Store, KDF: reg.KDF, Salt: reg.Salt, SignKey: reg.SignPublic,
		SignWrap: reg.SignWrap, Unlock: box, Password: "another secret", Statement: st.Encode(), Signature: sig})
	p.s.UID = p.uid
	return p, err
}

// unlock unlocks the person's session with a passphrase.
func (p *person) unlock(pass string) error {
	d, env := p.r.d, p.r.bar.Env
	u, err := d.UnlockParams(p.r.ctx(), p.s)
	if err != nil {
		return err
	}
	kdf, err := seal.KDFByVersion(u.KDF, env)
	if err != nil {
		return err
	}
	k, err := client.Unlock(pass, u.Salt, kdf, env)
	if err != nil {
		return err
	}
	box, err := client.SealUnlock(u.UnlockKey, &k.UK, p.s.ID[:], u.Nonce, u.Store, env)
	if err != nil {
		return err
	}
	x, err := d.Unlock(p.r.ctx(), p.s, u.Nonce, box)
	if err != nil {
		return err
	}
	p.seed, err = client.OpenSignWrap(&k.SW, x.SignWrap, env, x.Salt)
	return err
}

func (p *person) mustUnlock() {
	p.r.t.Helper()
	if err := p.unlock(p.pass); err != nil {
		p.r.t.Fatal(err)
	}
}

// member makes a person whose store is unlocked.
func (r *rig) member() *person {
	r.t.Helper()
	p := r.join("a passphrase of some length")
	p.mustUnlock()
	return p
}

// offer makes a template of a connection.
func offer(nid pds.NID, version uint32, data ...pds.TemplateData) *pds.Template {
	gdpr := map[string]bool{}
	for _, c := range pds.Confirmations {
		gdpr[c] = true
	}
	return &pds.Template{NID: nid, Version: version, Name: "Meter", Purpose: "Read the meter", Subscriber: "Northgrid", Law: "English law",
		Environment: "sandbox", UseCases: []pds.TemplateUse{{Category: "core_function", Mandatory: true}}, Gdpr: gdpr,
		TermsVersion: "1", DeclaredBy: "A. Person", DeclaredAt: 1, Datasets: data}
}

// share is one dataset of an offer: fields are mandatory, those with a
// question mark optional; "name:read,create" has methods of its own.
func share(dataset string, methods []string, fields ...string) pds.TemplateData {
	td := pds.TemplateData{Dataset: dataset, Methods: methods, SoftDelete: true}
	for _, f := range fields {
		tf := pds.TemplateField{Field: f, Mandatory: true}
		if f[len(f)-1] == '?' {
			tf.Field, tf.Mandatory = f[:len(f)-1], false
		}
		td.Fields = append(td.Fields, tf)
	}
	return td
}

var (
	all4 = []string{"read", "create", "update", "delete"}
	rw   = []string{"read", "create"}
)

const (
	energy = "ds_energy_consumption"
	value  = "field_energy_reading_value"
	stamp  = "field_energy_reading_timestamp"
	source = "field_energy_source_name"
	home   = "ds_home"
	post   = "field_home_postcode"
	street = "field_home_street"
)

func dataset(name string) *schema.Dataset {
	ds, ok := schema.Default().Dataset(name)
	if !ok {
		panic("no dataset " + name)
	}
	return ds
}

func number(ds, field string) uint8 {
	f, ok := dataset(ds).Field(field)
	if !ok {
		panic("no field " + field)
	}
	return f.Number
}

// consent signs the next statement of a kind. bend may change it before it is
// signed, and what goes with it.
func (p *person) consent(kind seal.StatementKind, nid pds.NID, t *pds.Template, c pds.Choices, bend func(*Consent, *seal.Statement)) *Consent {
	p.r.t.Helper()
	h, err := p.r.d.StatementHead(p.r.ctx(), p.s)
	if err != nil {
		p.r.t.Fatal(err)
	}
	st := &seal.Statement{Kind: kind, Store: h.Store, Conn: p.r.d.LinkID(p.uid, nid), Number: h.Number + 1, Previous: h.Previous, Time: p.r.clock.Now().Unix()}
	in := &Consent{NID: nid}
	if t != nil {
		canon, err := t.Canonical()
		if err != nil {
			p.r.t.Fatal(err)
		}
		if c.UseCases == nil {
			c.UseCases = []string{}
		}
		if c.Fields == nil {
			c.Fields = map[string][]string{}
		}
		th, xh := sha256.Sum256(canon), sha256.Sum256([]byte(pds.Text(t, &c, schema.Default())))
		b, err := json.Marshal(&pds.AgreementDoc{Template: hex.EncodeToString(th[:]), Choices: c, Text: hex.EncodeToString(xh[:]), NID: t.NID, Version: t.Version})
		if err != nil {
			p.r.t.Fatal(err)
		}
		if in.Document, err = seal.Canonical(b); err != nil {
			p.r.t.Fatal(err)
		}
		rand.Read(in.Salt[:])
		in.Template = canon
		st.Version, st.Commitment = t.Version, seal.Commitment(in.Salt, in.Document)
	}
	if bend != nil {
		bend(in, st)
	}
	in.Signature = client.Sign(st, &p.seed, p.r.bar.Env)
	in.Statement = st.Encode()
	return in
}

func (p *person) tryApprove(t *pds.Template, c pds.Choices) error {
	_, err := p.r.d.Approve(p.r.ctx(), p.s, p.consent(seal.Approve, t.NID, t, c, nil))
	return err
}

// approve approves an offer and waits for its key.
func (p *person) approve(t *pds.Template, c pds.Choices) seal.MemberKey {
	p.r.t.Helper()
	con := pds.ConID(p.uid, t.NID)
	p.r.out.mu.Lock()
	delete(p.r.out.keys, con)
	p.r.out.mu.Unlock()
	if err := p.tryApprove(t, c); err != nil {
		p.r.t.Fatal(err)
	}
	var k seal.MemberKey
	await(p.r.t, "the Member Key", func() bool {
		p.r.out.mu.Lock()
		defer p.r.out.mu.Unlock()
		var ok bool
		k, ok = p.r.out.keys[con]
		return ok
	})
	return k
}

func (p *person) act(kind seal.StatementKind, nid pds.NID) error {
	c := p.consent(kind, nid, nil, pds.Choices{}, nil)
	f := p.r.d.Revoke
	if kind == seal.Lift {
		f = p.r.d.Lift
	}
	_, err := f(p.r.ctx(), p.s, c)
	return err
}

func (p *person) mustAct(kind seal.StatementKind, nid pds.NID) {
	p.r.t.Helper()
	if err := p.act(kind, nid); err != nil {
		p.r.t.Fatal(err)
	}
}

// conn is a subscriber's end of a link.
type conn struct {
	d   *Directory
	r   *rig
	uid pds.UID
	nid pds.NID
	key seal.MemberKey
}

func (p *person) conn(nid pds.NID, k seal.MemberKey) conn { return conn{p.r.d, p.r, p.uid, nid, k} }

func (c conn) caller() Caller { return Caller{UID: c.uid, NID: c.nid, Key: c.key} }

// section makes a section of rows, each "field=value ..." of the same fields.
func (c conn) section(ds string, inst uint32, fields []string, rows ...[]string) *Section {
	s := &Section{Caller: c.caller(), Dataset: dataset(ds), Instance: inst, N: len(rows)}
	for _, f := range fields {
		s.Fields = append(s.Fields, number(ds, f))
	}
	for _, r := range rows {
		for _, v := range r {
			var b []byte
			if v != "-" {
				b = []byte(v)
			}
			s.Vals = append(s.Vals, b)
		}
	}
	return s
}

func (c conn) deliver(s ...*Section) {
	c.r.t.Helper()
	if err := c.d.Deliver(c.r.ctx(), s); err != nil {
		c.r.t.Fatal(err)
	}
}

// put delivers one row of one field and returns its id or the refusal.
func (c conn) put(ds string, inst uint32, field, val string) (uint64, *pds.Error) {
	c.r.t.Helper()
	s := c.section(ds, inst, []string{field}, []string{val})
	c.deliver(s)
	return s.First, s.Refused
}

func (c conn) mustPut(ds string, inst uint32, field, val string) uint64 {
	c.r.t.Helper()
	id, e := c.put(ds, inst, field, val)
	if e != nil {
		c.r.t.Fatal(e)
	}
	return id
}

func (c conn) read(ds string, inst int, fs ...pds.Filter) ([]pds.Row, []string, error) {
	var rows []pds.Row
	var names []string
	var cur *Cursor
	for {
		ch, err := c.d.Read(c.r.ctx(), &ReadRequest{Caller: c.caller(), Dataset: dataset(ds), Instance: inst, Filters: fs, Cursor: cur})
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, ch.Rows...)
		if names == nil {
			for _, f := range ch.Fields {
				names = append(names, f.Name)
			}
		}
		if cur = ch.Next; cur == nil {
			return rows, names, nil
		}
	}
}

// see reads and renders rows as "id/instance field=value ...".
func (c conn) see(ds string, inst int, fs ...pds.Filter) []string {
	c.r.t.Helper()
	rows, names, err := c.read(ds, inst, fs...)
	if err != nil {
		c.r.t.Fatal(err)
	}
	return render(rows, names)
}

func render(rows []pds.Row, names []string) []string {
	out := []string{}
	for _, r := range rows {
		s := fmt.Sprintf("%d/%d", r.ID, r.Instance)
		for i, v := range r.Vals {
			if v != nil {
				s += " " + names[i] + "=" + string(v)
			}
		}
		if r.Deleted {
			s += " deleted"
		}
		out = append(out, s)
	}
	return out
}

func (p *person) see(ds string, inst int, deleted bool) []string {
	p.r.t.Helper()
	var out []string
	var cur *Cursor
	for {
		ch, err := p.r.d.MemberRead(p.r.ctx(), p.s, dataset(ds), inst, nil, deleted, cur)
		if err != nil {
			p.r.t.Fatal(err)
		}
		var names []string
		for _, f := range ch.Fields {
			names = append(names, f.Name)
		}
		out = append(out, render(ch.Rows, names)...)
		if cur = ch.Next; cur == nil {
			return out
		}
	}
}

func (p *person) write(ds string, inst uint32, field, val string) uint64 {
	p.r.t.Helper()
	id, _, err := p.r.d.MemberCreate(p.r.ctx(), p.s, dataset(ds), inst, []uint8{number(ds, field)}, [][]byte{[]byte(val)}, 1)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return id
}

func (p *person) audit() []AuditEntry {
	p.r.t.Helper()
	var out []AuditEntry
	for {
		q := AuditQuery{}
		if n := len(out); n > 0 {
			q.From = out[n-1].Sequence + 1
		}
		es, err := p.r.d.Audit(p.r.ctx(), p.s, q)
		if err != nil {
			p.r.t.Fatal(err)
		}
		out = append(out, es...)
		if len(es) < 1000 {
			return out
		}
	}
}

// codeOf is the rule that refused, CodeNone for none.
func codeOf(t testing.TB, err error) pds.Code {
	t.Helper()
	if err == nil {
		return pds.CodeNone
	}
	var e *pds.Error
	if !errors.As(err, &e) {
		t.Fatalf("not a refusal: %v", err)
	}
	return e.Code
}

func wantCode(t testing.TB, what string, err error, want pds.Code) {
	t.Helper()
	if got := codeOf(t, err); got != want {
		t.Fatalf("%s: %s (%d), want %s (%d)", what, got.Title(), got, want.Title(), want)
	}
}

func wantRows(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: row %d is %q, want %q", what, i, got[i], want[i])
		}
	}
}

// asErr keeps a nil *pds.Error from becoming a non-nil error.
func asErr(e *pds.Error) error {
	if e == nil {
		return nil
	}
	return e
}
