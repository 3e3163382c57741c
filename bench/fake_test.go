package bench

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestMain lets the test binary be the server that a scenario starts: run with
// the argument dev it serves a fake one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "dev" {
		if err := fakeDev(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A fake answers the routes that a bench uses, from memory, and misbehaves on
// demand.
type fake struct {
	fault string
	url   string

	mu    sync.Mutex
	keys  map[string]string           // con_id -> Member Key
	rows  map[string][]map[string]any // con_id/dataset -> rows, id = index+1
	posts int
	seen  map[string]string // idempotency key -> answer
}

func newFake(members int, fault string) *fake {
	f := &fake{fault: fault, keys: map[string]string{}, rows: map[string][]map[string]any{}, seen: map[string]string{}}
	for i := range members {
		f.keys[fmt.Sprintf("%d-77", 5000+i)] = fmt.Sprintf("key-of-%025d", i)
	}
	return f
}

func (f *fake) accounts() []Account {
	var out []Account
	for con, key := range f.keys {
		uid, _, _ := strings.Cut(con, "-")
		n, _ := strconv.Atoi(uid)
		out = append(out, Account{Number: n - 5000, UID: uid, ConID: con, Key: key})
	}
	slices.SortFunc(out, func(a, b Account) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

func (f *fake) world() *World {
	return &World{PDX: f.url, OP: f.url, Operator: f.url, Subscribers: []Subscriber{{Name: "Bench", ClientID: "bench", ClientSecret: "s3cret"}}}
}

func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		if id, secret, ok := r.BasicAuth(); !ok || id != "bench" || secret != "s3cret" || r.FormValue("grant_type") != "client_credentials" {
			w.WriteHeader(401)
			return
		}
		fmt.Fprint(w, `{"access_token":"tok","token_type":"bearer","expires_in":3600}`)
	})
	authed := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer tok" && f.fault != "open" {
				w.WriteHeader(401)
				return
			}
			h(w, r)
		}
	}
	mux.HandleFunc("POST /pdx/v1/bulk", authed(f.bulk))
	mux.HandleFunc("GET /api/pds/transaction/{uid}", authed(f.read))
	mux.HandleFunc("POST /operator/v1/compact", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /operator/v1/status", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"active_members":0}`) })
	return mux
}

func (f *fake) bulk(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts++
	if f.fault == "busy" && f.posts%3 == 1 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(503)
		return
	}
	idem := r.Header.Get("Idempotency-Key")
	if a, ok := f.seen[idem]; ok && idem != "" {
		fmt.Fprint(w, a)
		return
	}
	var out strings.Builder
	var head struct{ Con_id, Key, Dataset string }
	var rows []map[string]any
	section, accepted, total := 0, 0, 0
	flush := func() {
		if head.Con_id == "" {
			return
		}
		if f.keys[head.Con_id] != head.Key && f.fault != "anywriter" || f.fault == "refuse" && section == 0 {
			fmt.Fprintf(&out, `{"section":%d,"con_id":%q,"status":403,"type":"/problems/denied","title":"field not in agreement","field":"quality","row":2}`+"\n", section, head.Con_id)
		} else {
			at := head.Con_id + "/" + head.Dataset
			first := len(f.rows[at]) + 1
			f.rows[at] = append(f.rows[at], rows...)
			accepted++
			total += len(rows)
			fmt.Fprintf(&out, `{"section":%d,"con_id":%q,"rows":%d,"first_id":%d,"last_id":%d}`+"\n", section, head.Con_id, len(rows), first, first+len(rows)-1)
		}
		section++
		rows = nil
	}
	sc := bufio.NewScanner(r.Body)
	for sc.Scan() {
		if strings.HasPrefix(sc.Text(), `{"con_id":`) {
			flush()
			_ = json.Unmarshal(sc.Bytes(), &head)
			continue
		}
		d := json.NewDecoder(strings.NewReader(sc.Text()))
		d.UseNumber()
		m := map[string]any{}
		_ = d.Decode(&m)
		rows = append(rows, m)
	}
	flush()
	fmt.Fprintf(&out, `{"sections":%d,"accepted":%d,"refused":%d,"rows":%d}`+"\n", section, accepted, section-accepted, total)
	f.seen[idem] = out.String()
	if f.fault == "cut" && f.posts%4 == 2 {
		fmt.Fprint(w, out.String()[:out.Len()/2]) // a well-formed answer without its last line
		return
	}
	if f.fault == "break" && f.posts%4 == 2 {
		c, _, _ := w.(http.Hijacker).Hijack()
		c.Close()
		return
	}
	fmt.Fprint(w, out.String())
}

func (f *fake) read(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	con, dataset := q.Get("con_id"), q.Get("dataset")
	uid, _, _ := strings.Cut(con, "-")
	n, _ := strconv.Atoi(uid)
	withhold := (n-5000)%4 == 0
	if f.keys[con] != r.Header.Get("Connection-Token") && f.fault != "anykey" {
		w.WriteHeader(403)
		return
	}
	k := IoT
	if dataset == Tx.Dataset() {
		k = Tx
	} else if dataset != IoT.Dataset() {
		w.WriteHeader(403)
		return
	}
	if withhold && q.Has("filters["+k.Withheld()+"][value]") && f.fault != "filter" {
		w.WriteHeader(403)
		return
	}
	from := 1
	if v := q.Get("filters[id][value]"); v != "" {
		from, _ = strconv.Atoi(v)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprint(w, "{")
	sep := ""
	for i, row := range f.rows[con+"/"+dataset] {
		if i+1 < from || f.fault == "lose" && i == 1 {
			continue
		}
		fmt.Fprintf(w, `%s"%d":{"id":"%d","ds_id":"%d","source":"x"`, sep, i+1, i+1, i+1)
		for name, v := range row {
			if withhold && name == k.Withheld() && f.fault != "leak" {
				continue
			}
			s := fmt.Sprint(v)
			if f.fault == "change" && i == 2 && name == k.Fields()[2] {
				s = "1.0"
			}
			t, _ := json.Marshal(s)
			fmt.Fprintf(w, `,%q:%s`, name, t)
		}
		fmt.Fprint(w, "}")
		sep = ","
		if i == 0 {
			w.(http.Flusher).Flush() // chunked
		}
	}
	fmt.Fprint(w, "}")
}

// fakeDev is `holdfast dev` as far as a scenario can tell. What it holds outlives
// a restart if it was asked to stop, or if the fault is not "forget".
func fakeDev(args []string) error {
	fs := flag.NewFlagSet("dev", flag.ContinueOnError)
	data, addr := fs.String("data", "", ""), fs.String("http", "", "")
	members, keys, world := fs.Int("members", 0, ""), fs.String("keys", "", ""), fs.String("world", "", "")
	fs.String("connect", "", "")
	fault := fs.String("fault", "", "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *fault == "die" {
		return fmt.Errorf("cannot serve")
	}
	if err := os.MkdirAll(filepath.Join(*data, "log"), 0o700); err != nil {
		return err
	}
	state := filepath.Join(*data, "log", "rows.json")
	f := newFake(100, *fault)
	if b, err := os.ReadFile(state); err == nil {
		if err := json.Unmarshal(b, &f.rows); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	f.url = "http://" + ln.Addr().String()
	if *keys != "" {
		var b strings.Builder
		for _, a := range f.accounts()[:*members] {
			fmt.Fprintf(&b, `{"ref":"m%07d","uid":%s,"con_id":%q,"key":%q}`+"\n", a.Number, a.UID, a.ConID, a.Key)
		}
		b.WriteString(`{"ref":"ada","uid":"7","con_id":"7-1","key":"k"}` + "\n")
		if err := os.WriteFile(*keys, []byte(b.String()), 0o600); err != nil {
			return err
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	go http.Serve(ln, f.handler())
	b, _ := json.Marshal(map[string]any{"pdx": f.url, "op": f.url, "subscribers": []any{
		map[string]any{"name": "Alder Bank"},
		map[string]any{"name": "Bench", "client_id": "bench", "client_secret": "s3cret", "connections": []any{map[string]any{"nid": 77}}}}})
	if err := os.WriteFile(*world+".tmp", b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(*world+".tmp", *world); err != nil {
		return err
	}
	<-stop
	f.mu.Lock()
	defer f.mu.Unlock()
	if *fault == "forget" {
		clear(f.rows)
	}
	b, _ = json.Marshal(f.rows)
	return os.WriteFile(state, b, 0o600)
}
