package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/api/ndjson"
	"holdfast/storage/seal"
)

// newQuiet is a server without a listener, for handlers called directly.
func newQuiet(t testing.TB, store Store, limits Limits) *Server {
	t.Helper()
	s, err := New(Config{Store: store, Registry: newFakeRegistry(), Catalogue: schema.Default(), Env: seal.Sandbox, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cancel)
	return s
}

// runBulk sends a body through the bulk path, a few bytes at a time.
func runBulk(s *Server, body []byte, key string) ([]byte, error) {
	var id idempotency
	if key != "" {
		id = newIdempotency("org", []byte(key))
	}
	r := &bodyReader{raw: iotest.HalfReader(bytes.NewReader(body)), length: int64(len(body)), maxSent: 1 << 30, maxOut: 1 << 30}
	b := bulks.Get().(*bulk)
	b.begin(s, &subscriber{org: "org", nids: []pds.NID{1001}}, id, true)
	defer b.release()
	out, err := b.run(r)
	return bytes.Clone(out), err
}

// However a body is framed, every header line gets one line of answer, the
// summary adds up, a section is delivered with its own rows, and the way the
// body is cut into waves changes nothing.
func FuzzBulk(f *testing.F) {
	key := strings.Repeat("a", 32)
	head := `{"con_id":"97-1001","key":"` + key + `","dataset":"ds_iot_readings","instance":0}` + "\n"
	f.Add([]byte(head + iotRow + head + iotRow))
	f.Add([]byte(iotRow + head))
	f.Add([]byte(`{"con_id":"10-1000","` + key + `"`)) // a key where a name should be
	f.Add([]byte(head + "\n\r\n" + strings.TrimSpace(iotRow)))
	f.Add([]byte(`{"con_id":` + "\n" + `{"con_id":"1-1"}` + "\n{}"))
	f.Add([]byte(head + `{"value":1}` + "\n" + `{"unit":"\u0000","value":2}` + "\n" + `{"value":"x"}`))
	one := newQuiet(f, newFakeStore(), Limits{SectionRows: 50})
	many := newQuiet(f, newFakeStore(), Limits{SectionRows: 50, WaveSections: 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		var seen [2][]actors.Section
		var answers [2]string
		for i, s := range []*Server{one, many} {
			store := newFakeStore()
			store.want = seal.MemberKey([]byte(key))
			s.store = store
			out, err := runBulk(s, bytes.Clone(body), "k")
			seen[i], answers[i] = store.sections, string(out)
			if err != nil {
				if p := problemOf(err); p.Status != 400 {
					t.Fatalf("%v", err)
				}
				continue
			}
			if bytes.Contains(out, []byte(key)) {
				t.Fatal("the answer has the key")
			}
			ls := bytes.Split(bytes.TrimSuffix(out, []byte("\n")), []byte("\n"))
			var sum BulkSummary
			if json.Unmarshal(ls[len(ls)-1], &sum) != nil || sum.Sections != len(ls)-1 || sum.Accepted+sum.Refused != sum.Sections {
				t.Fatalf("summary: %s", out)
			}
			heads, lead := 0, false
			for j, l := range bytes.Split(body, []byte("\n")) {
				if ndjson.IsHeader(l) {
					heads++
				} else if heads == 0 && len(bytes.TrimSpace(l)) > 0 {
					lead = true
				}
				_ = j
			}
			if lead {
				heads++
			}
			if heads != sum.Sections {
				t.Fatalf("%d sections for %d headers", sum.Sections, heads)
			}
		}
		if answers[0] != answers[1] || len(seen[0]) != len(seen[1]) {
			t.Fatalf("waves matter:\n%s\n%s", answers[0], answers[1])
		}
		for i := range seen[0] {
			a, b := seen[0][i], seen[1][i]
			if a.Command != b.Command || a.N != b.N || a.Number != b.Number {
				t.Fatal("waves change a section")
			}
			if a.Refused == nil && len(a.Vals) != a.N*len(a.Fields) {
				t.Fatal("rows are not whole")
			}
		}
	})
}

// A query is either refused, or its filters are what was sent.
func FuzzFilters(f *testing.F) {
	for _, s := range []string{"filters[id][operator]=>=&filters[id][value]=21", "filters%5Bid%5D%5Boperator%5D==&filters[id][value]=1", "filters[[]][value]=1", "con_id=1-1&con_id=2-2", "filters[a][operator]=&filters[a][value]="} {
		f.Add(s)
	}
	s := newQuiet(f, newFakeStore(), Limits{})
	f.Fuzz(func(t *testing.T, raw string) {
		var ctx fasthttp.RequestCtx
		var req fasthttp.Request
		req.SetRequestURI("/x?" + strings.ReplaceAll(raw, "#", ""))
		ctx.Init(&req, nil, nil)
		q, err := parseQuery(&ctx)
		if err != nil {
			return
		}
		out, refusal, _ := compileFilters(s.fields[energy], q.filters)
		if refusal != nil {
			return
		}
		if len(out) != len(q.filters) || len(out) > maxFilters {
			t.Fatal("filters got lost")
		}
		for i, o := range out {
			if o.Name != q.filters[i].name || operators[q.filters[i].op] != o.Op || string(o.Value) != q.filters[i].value || (o.Field == 0) != systemFields[o.Name] {
				t.Fatalf("%+v from %+v", o, q.filters[i])
			}
		}
	})
}

// A form is either refused or becomes JSON with the same fields and values.
func FuzzFormBody(f *testing.F) {
	for _, s := range []string{"field_ds_home[0][field_home_town]=a+b", "ds_home[f]=1&ds_home[g]=%22", "a[0][b]=1&a[1][b]=2", "a[0][b]=1&a[c]=2", "a[0][b]=1&a[0][b]=2", "a[b=c", "%zz[a]=1", "a[0][b][c]=1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		doc, ok := formJSON([]byte(body))
		if !ok {
			return
		}
		if ndjson.Strict(doc, maxDepth) != nil {
			// Only what is not UTF-8 may come out so, and the scanner refuses it.
			if v, err := url.QueryUnescape(body); err == nil && strings.ToValidUTF8(v, "") == v {
				t.Fatalf("%q became %q", body, doc)
			}
			return
		}
		var m map[string]map[string]any
		if err := json.Unmarshal(doc, &m); err != nil || len(m) != 1 {
			t.Fatalf("%q became %q", body, doc)
		}
		n := 0
		for _, x := range m {
			for _, v := range x {
				if inner, ok := v.(map[string]any); ok {
					n += len(inner)
				} else {
					n++
				}
			}
		}
		if n != strings.Count(body, "&")+1 {
			t.Fatalf("%d values of %q", n, body)
		}
	})
}

// Any JSON or form body is refused or stored; nothing panics and no refusal
// repeats a value.
func FuzzCreateBody(f *testing.F) {
	for _, s := range []string{`{"ds_home":{"field_home_town":"x"}}`, `{"ds_home":[{"field_home_town":"x"},{}]}`, `{"field_ds_home":{"0":{"field_home_town":"x"}}}`, `{"ds_home":{"00":{}}}`, `[]`, `{"ds_home":null}`, `{"":{}}`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	s := newQuiet(f, newFakeStore(), Limits{SectionRows: 100})
	f.Fuzz(func(t *testing.T, body string, update bool) {
		var ctx fasthttp.RequestCtx
		var req fasthttp.Request
		req.SetRequestURI("/api/pds/pds/97.json")
		ctx.Init(&req, nil, nil)
		a := &access{method: pds.Create, kind: schema.Metadata}
		if update {
			a.method, a.ds, a.dataset = pds.Update, s.fields[home], home
		}
		r := s.scanBody(&ctx, a, []byte(body))
		if r.refusal != nil {
			if st, _ := statusOf(r.refusal); st != 400 && st != 413 {
				t.Fatalf("status %d", st)
			}
			return
		}
		if a.ds == nil || r.n == 0 || len(r.vals) != r.n*len(r.fields) || ndjson.Strict([]byte(body), maxDepth) != nil {
			t.Fatalf("accepted %q", body)
		}
		r.release()
	})
}

func TestClient(t *testing.T) {
	w := newPDX(t, Limits{})
	c := &Client{Base: w.s.URL(), ID: w.con.ClientID, Secret: w.con.ClientSecret}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Authorize(ctx); err != nil {
		t.Fatal(err)
	}
	body := w.head(97, "ds_iot_readings") + iotRow + w.head(97, "ds_iot_readings") + "{}\n"
	var got []BulkLine
	sum, err := c.Bulk(ctx, []byte(encode(t, "zstd", body)), "zstd", "k", func(l *BulkLine) { got = append(got, *l) })
	if err != nil || sum != (BulkSummary{2, 1, 1, 1}) || len(got) != 2 || got[0].LastID != 1 || got[1].Status != 400 {
		t.Errorf("%v %v %v", sum, got, err)
	}
	w.store.onDeliver(func([]*actors.Section) error { return pds.Refuse(pds.Unavailable, pds.CodeUnavailable) })
	if _, err := c.Bulk(ctx, []byte(body), "", "", nil); err == nil || err.(*StatusError).Status != 503 {
		t.Errorf("%v", err)
	}
	c.Secret = "wrong"
	if err := c.Authorize(ctx); err == nil {
		t.Error("authorized with a wrong secret")
	}
}
