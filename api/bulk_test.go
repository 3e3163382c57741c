package api

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"holdfast/actors"
	"holdfast/actors/pds"
)

const iotRow = `{"ts":"2026-03-01T00:00:00Z","sensor":"s-1","value":"21.5","unit":"C","quality":"good"}` + "\n"

func TestBulk_StoresSectionsInOrder(t *testing.T) {
	w := newPDX(t, Limits{})
	got := lines(t, w.bulk(w.head(97, "ds_iot_readings")+iotRow+iotRow+w.head(98, "ds_iot_readings")+iotRow+w.head(97, "ds_iot_readings")+iotRow))
	want := []string{
		`map[con_id:97-` + utoa(uint64(w.con.NID)) + ` first_id:1 last_id:2 rows:2 section:0]`,
		`map[con_id:98-` + utoa(uint64(w.con.NID)) + ` first_id:1 last_id:1 rows:1 section:1]`,
		`map[con_id:97-` + utoa(uint64(w.con.NID)) + ` first_id:3 last_id:3 rows:1 section:2]`,
		`map[accepted:3 refused:0 rows:4 sections:3]`,
	}
	for i := range want {
		if i >= len(got) || fmt.Sprint(got[i]) != want[i] {
			t.Fatalf("line %d: %v, want %s", i, got, want[i])
		}
	}
	if v := w.store.took()[0].Vals; len(v) != 10 || string(v[2]) != "21.5" {
		t.Errorf("values: %q", v)
	}
}

// A refusal concerns its section only, and what it says depends on the fault.
func TestBulk_RefusesTheSection(t *testing.T) {
	w := newPDX(t, Limits{SectionRows: 3})
	head, row := w.head(97, "ds_iot_readings"), iotRow
	for _, c := range []struct {
		name, section string
		status        int
		member        string // of the answer's line
		journalled    bool
	}{
		{"duplicate key", head + `{"unit":"a","unit":"b"}` + "\n", 400, `"row":1`, true},
		{"nested", head + row + `{"unit":{"a":1}}` + "\n", 400, `"field":"unit","row":2`, true},
		{"array", head + `{"unit":[1]}` + "\n", 400, `"title":"malformed"`, true},
		{"not an object", head + `["a"]` + "\n", 400, `"row":1`, true},
		{"broken", head + `{"unit":` + "\n", 400, `"row":1`, true},
		{"trailing", head + `{"unit":"a"}x` + "\n", 400, `"row":1`, true},
		{"invalid UTF-8", head + "{\"unit\":\"\xff\"}\n", 400, `"row":1`, true},
		{"lone surrogate", head + `{"unit":"\ud800"}` + "\n", 400, `"row":1`, true},
		{"NUL", head + "{\"unit\":\"a\x00b\"}\n", 400, `"row":1`, true},
		{"leading zero", head + `{"value":01}` + "\n", 400, `"row":1`, true},
		{"NaN", head + `{"value":NaN}` + "\n", 400, `"row":1`, true},
		{"BOM", head + "\xef\xbb\xbf{\"unit\":\"a\"}\n", 400, `"row":1`, true},
		{"unknown field", head + `{"bogus":"a"}` + "\n", 400, `"title":"unknown field","dataset":"ds_iot_readings","field":"bogus","row":1`, true},
		{"wrong type", head + row + row + `{"value":"warm"}` + "\n", 400, `"field":"value","row":3`, true},
		{"no rows", head, 400, `"title":"nothing to store"`, true},
		{"only empty rows", head + "{}\n", 400, `"title":"nothing to store"`, true},
		{"too many rows", head + strings.Repeat(row, 4), 413, `"title":"too large"`, true},
		{"unknown dataset", w.head(97, "ds_bogus") + row, 400, `"title":"unknown dataset"`, true},
		{"key of another form", strings.Replace(head, w.key.Reveal(), "SHORT", 1) + row, 403, `"title":"connection key not accepted"`, true},
		{"wrong key", strings.Replace(head, w.key.Reveal(), strings.Repeat("a", 32), 1) + row, 403, `"title":"connection key not accepted"`, false},
		{"another's connection", `{"con_id":"97-5","key":"` + w.key.Reveal() + `","dataset":"ds_iot_readings"}` + "\n" + row, 403, `"title":"no such connection"`, false},
		{"header without key", `{"con_id":"97-5","dataset":"ds_iot_readings"}` + "\n" + row, 400, `"detail":"section's first line"`, false},
		{"header with two keys", `{"con_id":"97-5","key":"a","key":"b","dataset":"ds_iot_readings"}` + "\n" + row, 400, `"title":"malformed"`, false},
		{"header with more", `{"con_id":"97-5","key":"a","dataset":"d","colour":1}` + "\n" + row, 400, `"field":"colour"`, false},
		{"negative instance", `{"con_id":"97-5","key":"a","dataset":"d","instance":-1}` + "\n" + row, 400, `"title":"malformed"`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.store.refusals()
			a := w.bulk(head + row + c.section + head + row)
			got := lines(t, a)
			if len(got) != 4 || got[0]["rows"] != 1.0 || got[2]["rows"] != 1.0 {
				t.Fatalf("neighbours: %s", a.body)
			}
			l := strings.Split(a.body, "\n")[1]
			if got[1]["status"] != float64(c.status) || !strings.Contains(l, c.member) {
				t.Errorf("refusal: %s", l)
			}
			if got[3]["accepted"] != 2.0 || got[3]["refused"] != 1.0 || got[3]["sections"] != 3.0 || got[3]["rows"] != 2.0 {
				t.Errorf("summary: %v", got[3])
			}
			if (w.store.refusals() > before) != c.journalled {
				t.Errorf("journalled: %v", !c.journalled)
			}
			for _, secret := range []string{w.key.Reveal(), "SHORT", "warm"} {
				if strings.Contains(a.body, secret) || strings.Contains(w.logged(), secret) {
					t.Errorf("%q shows in the answer or the log", secret)
				}
			}
		})
	}
}

func TestBulk_WholeBody(t *testing.T) {
	w := newPDX(t, Limits{BulkBody: 4096, BulkExpanded: 8192})
	sec := w.head(97, "ds_iot_readings") + iotRow
	for _, c := range []struct {
		name   string
		body   string
		header []string
		status int
	}{
		{"empty", "", nil, 400},
		{"blank lines only", "\n\n \n", nil, 400},
		{"no header line", iotRow, nil, 200},
		{"content type", sec, []string{"Content-Type", "application/json"}, 415},
		{"encoding", sec, []string{"Content-Encoding", "br"}, 415},
		{"not gzip", sec, []string{"Content-Encoding", "gzip"}, 400},
		{"not zstd", sec, []string{"Content-Encoding", "zstd"}, 400},
		{"no token", sec, []string{"Authorization", ""}, 401},
		{"wrong token", sec, []string{"Authorization", "Bearer hft_sbx_x"}, 401},
		{"idempotency key with space", sec, []string{"Idempotency-Key", "a b"}, 400},
		{"idempotency key too long", sec, []string{"Idempotency-Key", strings.Repeat("a", 256)}, 400},
		{"over the limit", sec + strings.Repeat("\n", 4096), nil, 413},
		{"CRLF", strings.ReplaceAll(sec, "\n", "\r\n"), nil, 200},
		{"no last newline", strings.TrimSuffix(sec, "\n"), nil, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := w.bulk(c.body, c.header...); a.status != c.status {
				t.Errorf("status %d: %s", a.status, a.body)
			} else if a.status != 200 && a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("content type %q", a.header.Get("Content-Type"))
			}
		})
	}
	if got := lines(t, w.bulk(iotRow+sec)); got[0]["status"] != 400.0 || got[1]["rows"] != 1.0 {
		t.Errorf("row before a header: %v", got)
	}
}

func encode(t testing.TB, kind, s string) string {
	t.Helper()
	var b bytes.Buffer
	var wr io.WriteCloser
	if kind == "gzip" {
		wr = gzip.NewWriter(&b)
	} else {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		wr = z
	}
	if _, err := io.WriteString(wr, s); err != nil {
		t.Fatal(err)
	}
	if err := wr.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBulk_Encodings(t *testing.T) {
	w := newPDX(t, Limits{})
	body := w.head(97, "ds_iot_readings") + strings.Repeat(iotRow, 15_000)
	for _, kind := range []string{"gzip", "zstd"} {
		e := encode(t, kind, body)
		got := lines(t, w.bulk(e, "Content-Encoding", kind))
		if got[0]["rows"] != 15000.0 {
			t.Errorf("%s: %v", kind, got)
		}
		// Cut off inside: the section is refused, whatever was decoded.
		got = lines(t, w.bulk(e[:len(e)-9], "Content-Encoding", kind))
		if got[0]["status"] != 400.0 || got[1]["accepted"] != 0.0 {
			t.Errorf("%s cut off: %v", kind, got)
		}
	}
}

// A body that expands without end is refused early and costs no memory.
func TestBulk_Bombs(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, kind := range []string{"gzip", "zstd"} {
		for name, s := range map[string]string{"spaces": strings.Repeat(" ", 300<<20), "rows": w.head(97, "ds_iot_readings") + strings.Repeat("{}\n", 100<<20)} {
			e := encode(t, kind, s)
			a := w.bulk(e, "Content-Encoding", kind)
			if a.status != 413 && !(a.status == 200 && strings.Contains(a.body, `"status":413`) && strings.Contains(a.body, `"accepted":0`)) {
				t.Errorf("%s of %s: %d %.300s", kind, name, a.status, a.body)
			}
		}
	}
	// gzip in gzip is one layer of noise.
	if a := w.bulk(encode(t, "gzip", encode(t, "gzip", strings.Repeat("\n", 1<<20))), "Content-Encoding", "gzip"); a.status == 500 {
		t.Errorf("nested: %d", a.status)
	}
	// A frame that asks for a window over 8 MiB.
	big, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	frame := big.EncodeAll(bytes.Repeat([]byte("abcdefgh"), 4<<20), nil)
	if a := w.bulk(string(frame), "Content-Encoding", "zstd"); a.status < 400 || a.status > 413 {
		t.Errorf("window: %d %s", a.status, a.body)
	}
}

// A body announced over the limit is refused before it is sent.
func TestBulk_AnnouncedTooLarge(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		c, err := net.Dial("tcp", w.s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1073741824\r\n%s\r\n", bulkPath, w.token, expect)
		if expect == "" {
			_, _ = c.Write(make([]byte, 8<<10)) // what the server reads ahead
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(b), "HTTP/1.1 413") || !strings.Contains(string(b), "Connection: close") {
			t.Errorf("%q: %s", expect, b)
		}
		_ = c.Close()
	}
}

// A connection that ends in the middle refuses the last section; the others
// are stored.
func TestBulk_CutOff(t *testing.T) {
	w := newPDX(t, Limits{WaveSections: 1})
	body := w.head(97, "ds_iot_readings") + iotRow + w.head(98, "ds_iot_readings") + iotRow
	c, err := net.Dial("tcp", w.s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", bulkPath, w.token, 1<<20, body+strings.Repeat(iotRow, 200))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(c)
	if s := string(b); !strings.Contains(s, `"rows":1,"first_id":1`) || !strings.Contains(s, `"sections":2,"accepted":1,"refused":1`) ||
		!strings.Contains(s, `"status":400,"type":"/problems/cut-off","title":"body cut off"`) {
		t.Errorf("%s", s)
	}
	if w.store.count(98, "ds_iot_readings") != 0 || w.store.count(97, "ds_iot_readings") != 1 {
		t.Error("stored what was cut off, or lost what was not")
	}
}

// Waves keep the order, and lines that lie across slabs keep their bytes.
func TestBulk_ManyWaves(t *testing.T) {
	w := newPDX(t, Limits{WaveSections: 7, WaveBytes: 64 << 10})
	var b strings.Builder
	const n = 300
	for i := range n {
		b.WriteString(w.head(pds.UID(i%50+1), "ds_iot_readings"))
		for j := range i % 40 {
			fmt.Fprintf(&b, `{"ts":"t","sensor":"s-%d-%d-%s","value":%d}`+"\n", i, j, strings.Repeat("x", (i*j)%3000), j)
		}
		b.WriteString(`{"sensor":"last"}` + "\n")
	}
	got := lines(t, w.bulk(b.String(), "Idempotency-Key", "k1"))
	if len(got) != n+1 || got[n]["accepted"] != float64(n) {
		t.Fatalf("summary: %v", got[len(got)-1])
	}
	w.store.with(func(f *fakeStore) {
		if f.waves < 10 {
			t.Errorf("%d waves", f.waves)
		}
	})
	first := w.store.took()
	for i, s := range first {
		if s.Number != uint32(i) || s.N != i%40+1 {
			t.Fatalf("section %d is %d with %d rows", i, s.Number, s.N)
		}
		for j := range s.N - 1 {
			want := fmt.Sprintf("s-%d-%d-%s", i, j, strings.Repeat("x", (i*j)%3000))
			if v := string(s.Vals[j*len(s.Fields)+1]); v != want {
				t.Fatalf("section %d row %d: %.40q, want %.40q", i, j, v, want)
			}
		}
	}
	// The same bytes give the same ids, however they were cut into waves.
	// FuzzBulk compares different cuts; here the repeat is known by its ids.
	got = lines(t, w.bulk(b.String(), "Idempotency-Key", "k1"))
	for i, s := range w.store.took() {
		if s.Command != first[i].Command || s.Command == [16]byte{} || s.Request != first[i].Request {
			t.Fatalf("section %d has other ids", i)
		}
		if got[i]["replayed"] != true {
			t.Fatalf("section %d: %v", i, got[i])
		}
	}
	// Another key, or one byte more, gives others.
	w.bulk(b.String(), "Idempotency-Key", "k2")
	w.bulk(b.String()+"\n", "Idempotency-Key", "k1")
	if s := w.store.took(); s[3].Command == first[3].Command || s[2*n-1].Command == first[n-1].Command || s[n+3].Command != first[3].Command {
		t.Error("command ids do not follow key and bytes")
	}
}

func TestBulk_Lines(t *testing.T) {
	w := newPDX(t, Limits{})
	row := func(n int) string { return `{"sensor":"` + strings.Repeat("x", n-len(`{"sensor":""}`)) + `"}` + "\n" }
	head := w.head(97, "ds_iot_readings")
	for _, c := range []struct {
		n      int
		status any
	}{{60 << 10, nil}, {(1 << 20), 400.0}, {(1 << 20) + 1, 413.0}, {3 << 20, 413.0}} {
		a := w.bulk(head + row(c.n) + head + iotRow)
		got := lines(t, a)
		if got[0]["status"] != c.status || got[1]["rows"] != 1.0 {
			t.Errorf("line of %d bytes: %s", c.n, a.body)
		}
	}
	// A header line that is too long does not lend its rows to the one before.
	a := w.bulk(head + iotRow + `{"con_id":"97-1",` + strings.Repeat(" ", 2<<20) + "\n" + iotRow + iotRow + head + iotRow)
	if got := lines(t, a); len(got) != 4 || got[0]["rows"] != 1.0 || got[1]["status"] != 413.0 || got[2]["rows"] != 1.0 {
		t.Errorf("long header: %s", a.body)
	}
}

func TestBulk_WholeFailure(t *testing.T) {
	w := newPDX(t, Limits{WaveSections: 1})
	calls := 0
	w.store.onDeliver(func([]*actors.Section) error {
		if calls++; calls == 2 {
			return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
		}
		return nil
	})
	sec := w.head(97, "ds_iot_readings") + iotRow
	a := w.bulk(sec + sec + sec + sec)
	if a.status != 200 || strings.Contains(a.body, `"sections"`) || strings.Count(a.body, "\n") != 1 {
		t.Errorf("unknown outcome: %d %s", a.status, a.body)
	}
	calls = 0
	w.store.onDeliver(func([]*actors.Section) error { panic("a value of ada") })
	for range 2 {
		if a := w.bulk(sec + sec + sec); a.status != 500 || strings.Contains(a.body+w.logged(), "ada") || !strings.Contains(w.logged(), "WholeFailure") {
			t.Errorf("panic: %d %s", a.status, a.body)
		}
	}
	w.store.onDeliver(func([]*actors.Section) error { return errors.New("disk of ada") })
	if a := w.bulk(sec); a.status != 500 || strings.Contains(a.body+w.logged(), "ada") {
		t.Errorf("internal: %d %s", a.status, a.body)
	}
	w.store.onDeliver(func([]*actors.Section) error { return pds.Refuse(pds.Unavailable, pds.CodeUnavailable) })
	if a := w.bulk(sec); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("unavailable: %d %s", a.status, a.body)
	}
	w.store.onDeliver(func(s []*actors.Section) error {
		for _, x := range s {
			x.Refused = pds.Refuse(pds.Busy, pds.CodeDiskReserve)
		}
		return nil
	})
	if got := lines(t, w.bulk(sec)); got[0]["status"] != 507.0 || got[0]["retry_after"] != 60.0 {
		t.Errorf("reserve: %v", got)
	}
}
