package push

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// pdx is a server of the bulk route that keeps what it is sent and watches the
// client: order within a member, keys of repeated requests, one request in
// flight a member.
type pdx struct {
	*httptest.Server
	secret string

	mu        sync.Mutex
	stores    map[string][]string // "con_id dataset instance" -> rows
	answers   map[string]answered // "key section" -> what was decided
	inFlight  map[string]int
	broken    []string // promises the client did not keep
	requests  int
	unwatched bool
	tokens    map[string]bool
	issued    int
	headers   map[string]string // con_id -> key

	// fault decides what goes wrong with the n-th request; nil for nothing.
	fault func(n int) fault
	// refuse names sections that are refused.
	refuse func(conID string) *refusal
	// busy names sections that get a 503 of their own.
	busy func(n int, conID string) bool
	// arrived is called when a request was read (done false) and decided.
	arrived func(n int, done bool)
}

type answered struct {
	sum  [32]byte
	line string
}

type fault int

const (
	none           fault = iota
	status503            // before the body is read
	status429            //
	resetEarly           // connection closed unread
	resetLate            // decided, then closed without an answer
	cutAnswer            // decided, last line missing
	halfAnswer           // decided, cut within a line
	expiredToken         // 401
	faultsUpToHere       //
)

func newPDX(t testing.TB) *pdx {
	p := &pdx{
		secret: "s+cret/of the client", stores: map[string][]string{}, answers: map[string]answered{},
		inFlight: map[string]int{}, tokens: map[string]bool{}, headers: map[string]string{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("POST /pdx/v1/bulk", p.bulk)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *pdx) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok || id != "grid" || secret != "s%2Bcret%2Fof+the+client" || r.FormValue("scope") != "mydex:pdx" || r.FormValue("grant_type") != "client_credentials" {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.issued++
	tok := fmt.Sprintf("token-%d", p.issued)
	p.tokens[tok] = true
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, tok)
}

func (p *pdx) breaks(format string, args ...any) {
	p.broken = append(p.broken, fmt.Sprintf(format, args...))
}

func (p *pdx) bulk(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests++
	n := p.requests
	f := none
	if p.fault != nil {
		f = p.fault(n)
	}
	tok := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if f == expiredToken {
		delete(p.tokens, tok)
	}
	good := p.tokens[tok]
	p.mu.Unlock()
	if !good {
		http.Error(w, `{"title":"token"}`, http.StatusUnauthorized)
		return
	}
	switch f {
	case status503:
		w.Header().Set("Retry-After", "0")
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	case status429:
		w.Header().Set("Retry-After", "0")
		http.Error(w, "slow down", http.StatusTooManyRequests)
		return
	case resetEarly:
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // a client that was killed
	}
	if p.arrived != nil {
		p.arrived(n, false)
	}
	out, cons := p.decide(n, r, body)
	defer p.leave(cons)
	if p.arrived != nil {
		p.arrived(n, true)
	}
	if f == resetLate {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	switch f {
	case cutAnswer:
		out = out[:strings.LastIndex(strings.TrimSuffix(out, "\n"), "\n")+1]
	case halfAnswer:
		io.WriteString(w, out[:len(out)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, out)
}

var unzip, _ = zstd.NewReader(nil)

// enter notes that a member has a request in flight; p.mu is held. A client
// that was killed leaves requests behind, so watching can be turned off.
func (p *pdx) enter(n int, con string) {
	if p.inFlight[con]++; p.inFlight[con] > 1 && !p.unwatched {
		p.breaks("request %d: a member is in two requests at once", n)
	}
}

func (p *pdx) leave(cons []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cons {
		p.inFlight[c]--
	}
}

func (p *pdx) set(f func(int) fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

func (p *pdx) decide(n int, r *http.Request, body []byte) (answer string, cons []string) {
	plain, err := body, error(nil)
	if r.Header.Get("Content-Encoding") == "zstd" {
		plain, err = unzip.DecodeAll(body, nil)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(plain) > 1<<20+200*len(body) {
		p.breaks("request %d: %d bytes became %d", n, len(body), len(plain))
	}
	if err != nil || r.Header.Get("Content-Type") != "application/x-ndjson" {
		p.breaks("request %d: not zstd NDJSON", n)
	}
	if len(plain) > maxBody {
		p.breaks("request %d: body of %d bytes", n, len(plain))
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		p.breaks("request %d: no Idempotency-Key", n)
	}
	type sec struct {
		head struct {
			ConID    string `json:"con_id"`
			Key      string `json:"key"`
			Dataset  string `json:"dataset"`
			Instance int    `json:"instance"`
		}
		text []byte
		rows []string
	}
	var secs []*sec
	for _, line := range bytes.SplitAfter(plain, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		if bytes.HasPrefix(line, []byte(`{"con_id":`)) {
			s := new(sec)
			if err := json.Unmarshal(line, &s.head); err != nil {
				p.breaks("request %d: bad section", n)
			}
			secs = append(secs, s)
		} else if len(secs) == 0 || !json.Valid(line) {
			p.breaks("request %d: bad row", n)
			continue
		} else {
			s := secs[len(secs)-1]
			s.rows = append(s.rows, strings.TrimSpace(string(line)))
		}
		s := secs[len(secs)-1]
		s.text = append(s.text, line...)
	}
	var out strings.Builder
	rows, accepted := 0, 0
	seen := map[string]bool{}
	for i, s := range secs {
		at := fmt.Sprintf("%s %d", key, i)
		store := fmt.Sprintf("%s %s %d", s.head.ConID, s.head.Dataset, s.head.Instance)
		if seen[store] {
			p.breaks("request %d: two sections of one store", n)
		}
		seen[store] = true
		p.enter(n, s.head.ConID)
		cons = append(cons, s.head.ConID)
		if len(s.rows) > maxSectionRows || len(s.rows) == 0 {
			p.breaks("request %d: section of %d rows", n, len(s.rows))
		}
		if s.head.Key != p.headers[s.head.ConID] {
			p.breaks("request %d: wrong key", n)
		}
		sum := sha256.Sum256(s.text)
		have, again := p.answers[at]
		switch {
		case again && have.sum != sum:
			p.breaks("request %d: same key, other bytes", n)
			fmt.Fprintf(&out, `{"section":%d,"status":409,"title":"other bytes"}`+"\n", i)
			continue
		case !again && p.busy != nil && p.busy(n, s.head.ConID):
			fmt.Fprintf(&out, `{"section":%d,"con_id":%q,"status":503,"title":"no leader"}`+"\n", i, s.head.ConID)
			continue
		case !again:
			have = answered{sum: sum}
			var no *refusal
			if p.refuse != nil {
				no = p.refuse(s.head.ConID)
			}
			if no != nil {
				have.line = fmt.Sprintf(`{"section":%d,"con_id":%q,"status":%d,"type":"about:blank","title":%q,"field":%q,"row":1}`, i, s.head.ConID, no.Status, no.Title, no.Field)
			} else {
				first := len(p.stores[store]) + 1
				p.stores[store] = append(p.stores[store], s.rows...)
				have.line = fmt.Sprintf(`{"section":%d,"con_id":%q,"rows":%d,"first_id":%d,"last_id":%d}`, i, s.head.ConID, len(s.rows), first, first+len(s.rows)-1)
			}
			p.answers[at] = have
		}
		if !strings.Contains(have.line, `"status"`) {
			accepted++
			rows += len(s.rows)
		}
		out.WriteString(have.line + "\n")
	}
	fmt.Fprintf(&out, `{"sections":%d,"accepted":%d,"refused":%d,"rows":%d}`+"\n", len(secs), accepted, len(secs)-accepted, rows)
	return out.String(), cons
}

// kept fails the test for each promise the client broke.
func (p *pdx) kept(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.broken {
		t.Error(b)
	}
}

// world is a set of members, their keys and client files, and rows for them.
type world struct {
	dir    string
	opts   Options
	stores map[string][]string // what the server must hold in the end
	bad    int                 // rows that cannot be mapped
}

const peopleMap = `{"version":1,"name":"people","source":{"format":"csv","header":true},
"records":[{"dataset":"ds_test","instance":0,"noun":"person","ref":{"column":"who"},
"fields":[{"name":"number","column":"n","type":"int"},{"name":"note","column":"note"}]}]}`

// newWorld writes files of rows for members; one row in 97 has no member, one
// in 89 a member without an agreement, one in 83 a value that is no number.
func newWorld(t testing.TB, p *pdx, files, rows, members int) *world {
	w := &world{dir: t.TempDir(), stores: map[string][]string{}}
	var keys strings.Builder
	for i := range members {
		con := fmt.Sprintf("%d-1545", 1000+i)
		key := fmt.Sprintf("MEMBERKEY%023d", i)
		p.headers[con] = key
		fmt.Fprintf(&keys, `{"ref":"m%d","uid":%d,"con_id":%q,"key":%q,"extra":{"a":[1]}}`+"\n", i, 1000+i, con, key)
	}
	write(t, filepath.Join(w.dir, "keys"), keys.String())
	client, _ := json.Marshal(map[string]string{"client_id": "grid", "client_secret": p.secret, "token_url": p.URL + "/token", "pdx_url": p.URL})
	write(t, filepath.Join(w.dir, "client"), string(client))
	rng := rand.New(rand.NewPCG(1, 2))
	n := 0
	for f := range files {
		var b strings.Builder
		b.WriteString("who,n,note\n")
		for range rows {
			n++
			m := int(rng.ExpFloat64()*float64(members)/4) % members
			note := []string{"", "plain", `with "quotes", comma`, "two\nlines", "ümlaut\t"}[rng.IntN(5)]
			cell := note
			if strings.ContainsAny(note, "\",\n") {
				cell = `"` + strings.ReplaceAll(note, `"`, `""`) + `"`
			}
			switch {
			case n%97 == 0:
				fmt.Fprintf(&b, ",%d,%s\n", n, cell)
				w.bad++
			case n%89 == 0:
				fmt.Fprintf(&b, "stranger,%d,%s\n", n, cell)
				w.bad++
			case n%83 == 0:
				fmt.Fprintf(&b, "m%d,%dx,%s\n", m, n, cell)
				w.bad++
			default:
				fmt.Fprintf(&b, "m%d,%d,%s\n", m, n, cell)
				text, _ := json.Marshal(note)
				store := fmt.Sprintf("%d-1545 ds_test 0", 1000+m)
				w.stores[store] = append(w.stores[store], fmt.Sprintf(`{"number":"%d","note":%s}`, n, text))
			}
		}
		write(t, filepath.Join(w.dir, "data", fmt.Sprintf("%02d.csv", f)), b.String())
	}
	w.opts = Options{
		Map: []byte(peopleMap), Data: []string{filepath.Join(w.dir, "data")}, Keys: filepath.Join(w.dir, "keys"),
		Client: filepath.Join(w.dir, "client"), Rejects: filepath.Join(w.dir, "rejects.ndjson"), Batch: 100, Parallel: 4,
	}
	return w
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// check compares the server's stores with the input, row by row.
func (w *world) check(t testing.TB, p *pdx, without func(store string) bool) {
	t.Helper()
	p.kept(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	for store, want := range w.stores {
		if without != nil && without(store) {
			if len(p.stores[store]) > 0 {
				t.Errorf("%s was refused and holds rows", store)
			}
			continue
		}
		got := p.stores[store]
		if len(got) != len(want) {
			t.Errorf("%s: %d rows, want %d", store, len(got), len(want))
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: row %d is %s, want %s", store, i, got[i], want[i])
				break
			}
		}
	}
	for store := range p.stores {
		if w.stores[store] == nil {
			t.Errorf("%s: rows for nobody", store)
		}
	}
}

type rejectLine struct {
	File   string          `json:"file"`
	Line   int             `json:"line"`
	Reason string          `json:"reason"`
	Raw    *string         `json:"raw"`
	Row    json.RawMessage `json:"row"`
}

func readRejects(t testing.TB, name string) []rejectLine {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []rejectLine
	for _, l := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		if len(l) == 0 {
			continue
		}
		var r rejectLine
		if err := json.Unmarshal(l, &r); err != nil {
			t.Fatalf("rejects: %v", err)
		}
		out = append(out, r)
	}
	return out
}
