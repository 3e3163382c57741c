package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// fakeStore stands in for the actors where only parsing, shapes and limits are
// tested. It keeps rows in memory and asks of no agreement; a key other than
// want is refused.
type fakeStore struct {
	mu       sync.Mutex
	want     seal.MemberKey
	rows     map[string][]pds.Row // by uid, dataset, instance
	fields   map[string][]*schema.Field
	refused  []refusal
	sections []actors.Section // what Deliver saw, values copied
	commands map[[16]byte]actors.Section
	deliver  func([]*actors.Section) error // before anything is stored
	readErr  func(call int) error
	reads    int
	chunk    int // rows a chunk; 0: all
	filters  []pds.Filter
	waves    int
	readMask pds.Mask
}

type refusal struct {
	caller   actors.Caller
	method   pds.Method
	dataset  string
	instance uint32
	err      pds.Error
}

func newFakeStore() *fakeStore {
	return &fakeStore{rows: map[string][]pds.Row{}, fields: map[string][]*schema.Field{}, commands: map[[16]byte]actors.Section{}}
}

func place(u pds.UID, ds string, instance uint32) string {
	return fmt.Sprintf("%d/%s/%d", u, ds, instance)
}

func (f *fakeStore) Deliver(_ context.Context, secs []*actors.Section) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waves++
	if f.deliver != nil {
		if err := f.deliver(secs); err != nil {
			return err
		}
	}
	for _, s := range secs {
		c := *s
		c.Fields = slices.Clone(s.Fields)
		c.Vals = cloneVals(s.Vals)
		f.sections = append(f.sections, c)
		key := s.Caller.Key
		s.Caller.Key.Wipe()
		if s.Refused != nil {
			f.refused = append(f.refused, refusal{caller: c.Caller, method: pds.Create, err: *s.Refused})
			continue
		}
		if key != f.want {
			s.Refused = pds.Refuse(pds.Denied, pds.CodeWrongKey)
			continue
		}
		if s.Command != [16]byte{} {
			if old, ok := f.commands[s.Command]; ok {
				s.First, s.Last, s.Replayed = old.First, old.Last, true
				continue
			}
		}
		p := place(s.Caller.UID, s.Dataset.Name, s.Instance)
		s.First = uint64(len(f.rows[p]) + 1)
		all := f.columns(s.Dataset)
		for r := range s.N {
			row := pds.Row{ID: uint64(len(f.rows[p]) + 1), Instance: s.Instance, Source: pds.ConID(s.Caller.UID, s.Caller.NID), Created: 1763000000, Updated: 1763000000, Vals: make([][]byte, len(all))}
			for i, n := range c.Fields {
				for j, fl := range all {
					if fl.Number == n {
						row.Vals[j] = c.Vals[r*len(c.Fields)+i]
					}
				}
			}
			f.rows[p] = append(f.rows[p], row)
		}
		s.Last = uint64(len(f.rows[p]))
		f.commands[s.Command] = *s
	}
	return nil
}

func (f *fakeStore) columns(ds *schema.Dataset) []*schema.Field {
	all := f.fields[ds.Name]
	if all == nil {
		for i := range ds.Fields {
			all = append(all, &ds.Fields[i])
		}
		f.fields[ds.Name] = all
	}
	return all
}

func cloneVals(v [][]byte) [][]byte {
	out := make([][]byte, len(v))
	for i := range v {
		out[i] = bytes.Clone(v[i])
	}
	return out
}

func (f *fakeStore) Read(_ context.Context, r *actors.ReadRequest) (*actors.Chunk, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	key := r.Caller.Key
	r.Caller.Key.Wipe()
	if f.readErr != nil {
		if err := f.readErr(f.reads); err != nil {
			return nil, err
		}
	}
	if key != f.want {
		return nil, pds.Refuse(pds.Denied, pds.CodeWrongKey)
	}
	f.filters = r.Filters
	c := &actors.Chunk{Fields: f.columns(r.Dataset), Masks: [4]pds.Mask{f.readMask}}
	for i := uint32(0); i < 8; i++ {
		if r.Instance < 0 || uint32(r.Instance) == i {
			c.Rows = append(c.Rows, f.rows[place(r.Caller.UID, r.Dataset.Name, i)]...)
		}
	}
	if f.chunk > 0 {
		at := (f.reads - 1) * f.chunk
		end := min(at+f.chunk, len(c.Rows))
		if end < len(c.Rows) {
			c.Next = &actors.Cursor{}
		}
		c.Rows = c.Rows[at:end]
	}
	return c, nil
}

func (f *fakeStore) find(u pds.UID, ds string, instance uint32, id uint64) *pds.Row {
	rows := f.rows[place(u, ds, instance)]
	for i := range rows {
		if rows[i].ID == id {
			return &rows[i]
		}
	}
	return nil
}

func (f *fakeStore) Update(_ context.Context, r *actors.ChangeRequest) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Caller.Key != f.want {
		return false, pds.Refuse(pds.Denied, pds.CodeWrongKey)
	}
	row := f.find(r.Caller.UID, r.Dataset.Name, r.Instance, r.ID)
	if row == nil {
		return false, pds.Refuse(pds.NotFound, pds.CodeNoSuchRecord)
	}
	for i, n := range r.Fields {
		for j, fl := range f.columns(r.Dataset) {
			if fl.Number == n {
				row.Vals[j] = bytes.Clone(r.Vals[i])
			}
		}
	}
	return false, nil
}

func (f *fakeStore) Delete(_ context.Context, r *actors.DeleteRequest) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := place(r.Caller.UID, r.Dataset.Name, r.Instance)
	if f.find(r.Caller.UID, r.Dataset.Name, r.Instance, r.ID) == nil {
		return false, pds.Refuse(pds.NotFound, pds.CodeNoSuchRecord)
	}
	f.rows[p] = slices.DeleteFunc(f.rows[p], func(x pds.Row) bool { return x.ID == r.ID })
	return false, nil
}

func (f *fakeStore) RefuseAccess(_ context.Context, c actors.Caller, m pds.Method, ds string, instance uint32, e *pds.Error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = append(f.refused, refusal{c, m, ds, instance, *e})
	return e
}

// with calls g while no request touches the store.
func (f *fakeStore) with(g func(*fakeStore)) { f.mu.Lock(); defer f.mu.Unlock(); g(f) }

// took returns what was delivered since the last call.
func (f *fakeStore) took() []actors.Section {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sections
	f.sections = nil
	return s
}

// count is how many rows a dataset instance of a member has.
func (f *fakeStore) count(u pds.UID, ds string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.rows[place(u, ds, 0)])
}

func (f *fakeStore) onDeliver(g func([]*actors.Section) error) {
	f.with(func(f *fakeStore) { f.deliver = g })
}

func (f *fakeStore) refusals() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.refused) }

// fakeRegistry keeps entries in memory with the registry's versions.
type fakeRegistry struct {
	mu       sync.Mutex
	m        map[string]fakeEntry
	counters map[string]uint64
	gets     int
	fail     error
}

type fakeEntry struct {
	kind, name string
	value      []byte
	version    uint64
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{m: map[string]fakeEntry{}, counters: map[string]uint64{}}
}

func (r *fakeRegistry) reads() int       { r.mu.Lock(); defer r.mu.Unlock(); return r.gets }
func (r *fakeRegistry) breaks(err error) { r.mu.Lock(); defer r.mu.Unlock(); r.fail = err }

func (r *fakeRegistry) Get(_ context.Context, kind, name string) ([]byte, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gets++
	if r.fail != nil {
		return nil, 0, r.fail
	}
	e, ok := r.m[kind+"\x00"+name]
	if !ok {
		return nil, 0, pds.Refuse(pds.NotFound, pds.CodeNoSuchRecord)
	}
	return e.value, e.version, nil
}

func (r *fakeRegistry) Put(_ context.Context, kind, name string, value []byte, version uint64) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return 0, r.fail
	}
	k := kind + "\x00" + name
	if r.m[k].version != version {
		return 0, pds.Refuse(pds.Conflict, pds.CodeAlreadyExists)
	}
	r.m[k] = fakeEntry{kind, name, bytes.Clone(value), version + 1}
	return version + 1, nil
}

func (r *fakeRegistry) Delete(_ context.Context, kind, name string, _ uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, kind+"\x00"+name)
	return nil
}

func (r *fakeRegistry) List(_ context.Context, kind string, f func(string, []byte, uint64) error) error {
	r.mu.Lock()
	var es []fakeEntry
	for _, e := range r.m {
		if e.kind == kind {
			es = append(es, e)
		}
	}
	r.mu.Unlock()
	for _, e := range es {
		if err := f(e.name, e.value, e.version); err != nil {
			return err
		}
	}
	return nil
}

func (r *fakeRegistry) Next(_ context.Context, counter string) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counters[counter]++
	return r.counters[counter], nil
}

// pdxWorld is a server with one subscriber of one connection.
type pdxWorld struct {
	t     testing.TB
	s     *Server
	store *fakeStore
	reg   *fakeRegistry
	log   *bytes.Buffer
	logMu *sync.Mutex
	key   seal.MemberKey
	org   *NewOrganisation
	con   *NewConnection
	token string
	op    string // operator base URL
	clock *fakeClock
}

type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const operatorToken = "operator-token-of-the-test"

type lockedBuffer struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newPDX(t testing.TB, limits Limits) *pdxWorld {
	t.Helper()
	w := &pdxWorld{t: t, store: newFakeStore(), reg: newFakeRegistry(), log: new(bytes.Buffer), logMu: new(sync.Mutex), key: seal.NewMemberKey(), clock: &fakeClock{t: time.Now()}}
	w.store.want = w.key
	s, err := New(Config{Store: w.store, Registry: w.reg, Catalogue: schema.Default(), Env: seal.Sandbox, Limits: limits, Now: w.clock.now,
		Log: slog.New(slog.NewJSONHandler(lockedBuffer{w.logMu, w.log}, &slog.HandlerOptions{Level: slog.LevelDebug})), OperatorToken: operatorToken})
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	addr, err := s.ListenOperator("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.op = "http://" + addr.String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Close(ctx)
	})
	ctx := context.Background()
	if w.org, err = s.Manager().CreateOrganisation(ctx, "Northgrid Energy"); err != nil {
		t.Fatal(err)
	}
	if w.con, err = s.Manager().CreateConnection(ctx, w.org.ID, ConnectionInput{Name: "Meter", Purpose: "Readings", Callback: "http://127.0.0.1:1/callback"}); err != nil {
		t.Fatal(err)
	}
	w.token, _, err = s.tokens.issue(ctx, w.con.ClientID, w.org.ID, []string{ScopePDX}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *pdxWorld) conID(uid pds.UID) string { return pds.ConID(uid, w.con.NID) }

func (w *pdxWorld) logged() string { w.logMu.Lock(); defer w.logMu.Unlock(); return w.log.String() }

type answer struct {
	status int
	header http.Header
	body   string
}

// call makes one request; header pairs follow.
func (w *pdxWorld) call(method, target string, body io.Reader, header ...string) answer {
	w.t.Helper()
	if !strings.HasPrefix(target, "http") {
		target = w.s.URL() + target
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{resp.StatusCode, resp.Header, "CUT:" + string(b)}
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// pdx calls a dataset route as the world's subscriber; q pairs follow. A value
// of "" leaves the parameter out.
func (w *pdxWorld) pdx(method, path string, body string, q ...string) answer {
	w.t.Helper()
	v := url.Values{"con_id": {w.conID(97)}, "key": {w.key.Reveal()}, "source_type": {"connection"}}
	header := []string{"Authorization", "Bearer " + w.token}
	for i := 0; i+1 < len(q); i += 2 {
		if h, ok := strings.CutPrefix(q[i], "H:"); ok {
			header = append(header, h, q[i+1])
			continue
		}
		v.Set(q[i], q[i+1])
		if q[i+1] == "" {
			v.Del(q[i])
		}
	}
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	return w.call(method, path+"?"+v.Encode(), r, header...)
}

func (w *pdxWorld) bulk(body string, header ...string) answer {
	w.t.Helper()
	return w.call("POST", bulkPath, strings.NewReader(body), append([]string{"Authorization", "Bearer " + w.token, "Content-Type", "application/x-ndjson"}, header...)...)
}

// head is a section's first line.
func (w *pdxWorld) head(uid pds.UID, ds string) string {
	return fmt.Sprintf(`{"con_id":%q,"key":%q,"dataset":%q,"instance":0}`+"\n", w.conID(uid), w.key.Reveal(), ds)
}

// lines decodes an NDJSON answer.
func lines(t testing.TB, a answer) []map[string]any {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	var out []map[string]any
	for l := range strings.Lines(a.body) {
		var m map[string]any
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatalf("line %q: %v", l, err)
		}
		out = append(out, m)
	}
	return out
}

func dial(t testing.TB, w *pdxWorld) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", w.s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
