package push

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A test that sets childEnv runs this binary as a push of its own.
const childEnv = "HOLDFAST_PUSH_TEST_CHILD"

func TestMain(m *testing.M) {
	configure = func(c *client) {
		c.backoff = func(int) time.Duration { return time.Millisecond }
	}
	if text := os.Getenv(childEnv); text != "" {
		var o Options
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			panic(err)
		}
		s, err := Run(context.Background(), o)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s.Print(os.Stdout)
		os.Exit(s.ExitCode())
	}
	os.Exit(m.Run())
}

func TestPush_DeliversEveryRowInOrder(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 3, 3000, 40)
	var mu sync.Mutex
	flying, most := 0, 0
	p.arrived = func(_ int, done bool) {
		mu.Lock()
		defer mu.Unlock()
		if done {
			flying--
		} else {
			flying++
			most = max(most, flying)
		}
	}
	s, err := Run(t.Context(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, p, nil)
	if s.Read != 9000 || s.Rejected != int64(w.bad) || s.Delivered != 9000-int64(w.bad) || s.ExitCode() != 0 || s.Members != 40 {
		t.Fatalf("summary %+v", s)
	}
	if most > 4 {
		t.Fatalf("%d requests in flight, want at most 4", most)
	}
	if info, _ := os.Stat(w.opts.Rejects); info.Mode().Perm() != 0o600 {
		t.Fatalf("rejects file has mode %v", info.Mode())
	}
	rejects := readRejects(t, w.opts.Rejects)
	if len(rejects) != w.bad {
		t.Fatalf("%d rejects, want %d", len(rejects), w.bad)
	}
	for _, r := range rejects {
		switch r.Reason {
		case "no person: who is empty", "no agreement for ref stranger", "n is not a whole number":
		default:
			t.Fatalf("reason %q", r.Reason)
		}
		if r.Raw == nil || *r.Raw == "" || r.Line == 0 || !strings.HasSuffix(r.File, ".csv") {
			t.Fatalf("reject %+v", r)
		}
	}

	// The same push again sends nothing and says the same.
	before := p.requests
	again, err := Run(t.Context(), w.opts)
	if err != nil || !again.AlreadyDone || p.requests != before {
		t.Fatalf("again: %+v, %v, %d requests", again, err, p.requests-before)
	}
	if again.Delivered != s.Delivered || again.Rejected != s.Rejected || again.Read != s.Read || again.Mapped != s.Mapped {
		t.Fatalf("again: %+v, first %+v", again, s)
	}
}

// The server sees at most one request a member at any time, and a failing
// request is repeated until it is answered.
func TestPush_SurvivesFaults(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 2, 4000, 25)
	rng := rand.New(rand.NewPCG(3, 4))
	p.fault = func(int) fault {
		if rng.IntN(3) == 0 {
			return fault(1 + rng.IntN(int(faultsUpToHere)-1))
		}
		return none
	}
	p.busy = func(n int, con string) bool { return n%5 == 0 && con < "1010" }
	s, err := Run(t.Context(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, p, nil)
	if s.Retries == 0 || s.Delivered != s.Mapped {
		t.Fatalf("summary %+v", s)
	}
}

func TestPush_RefusedSectionsAreReported(t *testing.T) {
	for _, ext := range []string{".ndjson", ".csv"} {
		p := newPDX(t)
		w := newWorld(t, p, 1, 2000, 10)
		w.opts.Rejects = filepath.Join(w.dir, "rejects"+ext)
		p.refuse = func(con string) *refusal {
			if con == "1001-1545" {
				return &refusal{Status: 403, Title: "field not in agreement", Field: "note"}
			}
			return nil
		}
		s, err := Run(t.Context(), w.opts)
		if err != nil {
			t.Fatal(err)
		}
		const lost = "1001-1545 ds_test 0"
		w.check(t, p, func(store string) bool { return store == lost })
		want := int64(len(w.stores[lost]))
		if s.ExitCode() != 3 || s.RefusedRows != want || len(s.RefusedBy) != 1 || s.RefusedBy[0] != (Count{"403 field not in agreement", want}) {
			t.Fatalf("summary %+v", s)
		}
		if ext == ".csv" {
			b, _ := os.ReadFile(w.opts.Rejects)
			if all, err := csv.NewReader(bytes.NewReader(b)).ReadAll(); err != nil || len(all) != 1+w.bad+int(want) {
				t.Fatalf("%d lines, %v", len(all), err)
			}
			if !bytes.HasPrefix(b, []byte("file,line,reason,raw\n")) || bytes.Count(b, []byte("refused by the server: 403")) != int(want) {
				t.Fatalf("csv rejects: %.200s", b)
			}
			continue
		}
		var rows []string
		for _, r := range readRejects(t, w.opts.Rejects) {
			if r.Row != nil {
				rows = append(rows, string(r.Row))
				if r.Reason != "refused by the server: 403 field not in agreement, field note, row 1 of its section" {
					t.Fatalf("reason %q", r.Reason)
				}
			}
		}
		if fmt.Sprint(rows) != fmt.Sprint(w.stores[lost]) {
			t.Fatalf("%d refused rows are kept, want %d in order", len(rows), want)
		}
	}
}

// A push killed at any point and run again loses nothing and repeats nothing,
// neither at the server nor in the rejects file.
func TestPush_ResumesAfterKill(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 2, 5000, 30)
	p.unwatched = true
	p.refuse = func(con string) *refusal {
		if con == "1003-1545" {
			return &refusal{Status: 403, Title: "no agreement"}
		}
		return nil
	}
	text, err := json.Marshal(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var child *exec.Cmd
	killAt, killed := 0, 0
	rng := rand.New(rand.NewPCG(5, 6))
	p.arrived = func(n int, done bool) {
		mu.Lock()
		defer mu.Unlock()
		// Half of the kills hit before the server decides, half after it.
		if child != nil && n >= killAt && done == (killAt%2 == 0) {
			child.Process.Signal(syscall.SIGKILL)
			child = nil
			killed++
		}
	}
	for range 200 {
		mu.Lock()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+string(text))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		p.mu.Lock()
		killAt = p.requests + 1 + rng.IntN(12)
		p.mu.Unlock()
		if killed >= 15 {
			killAt = 1 << 30
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		child = cmd
		mu.Unlock()
		cmd.Wait()
		mu.Lock()
		child = nil
		mu.Unlock()
		switch code := cmd.ProcessState.ExitCode(); code {
		case -1:
			continue
		case 3:
		default:
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		break
	}
	if killed < 10 {
		t.Fatalf("killed %d times only", killed)
	}
	const lost = "1003-1545 ds_test 0"
	w.check(t, p, func(store string) bool { return store == lost })
	seen := map[string]bool{}
	unmapped, refused := 0, 0
	for _, r := range readRejects(t, w.opts.Rejects) {
		at := fmt.Sprintf("%s:%d", r.File, r.Line)
		if seen[at] {
			t.Errorf("%s is rejected twice", at)
		}
		seen[at] = true
		if r.Row != nil {
			refused++
		} else {
			unmapped++
		}
	}
	if unmapped != w.bad || refused != len(w.stores[lost]) {
		t.Errorf("%d rejects and %d refused rows, want %d and %d", unmapped, refused, w.bad, len(w.stores[lost]))
	}
	s, err := Run(t.Context(), w.opts)
	if err != nil || !s.AlreadyDone || s.Rejected != int64(w.bad) || s.RefusedRows != int64(refused) || s.Delivered != s.Read-s.Rejected-s.RefusedRows {
		t.Errorf("afterwards: %+v, %v", s, err)
	}
	t.Logf("killed %d times, %d requests", killed, p.requests)
}

// What decides a batch is refused to change under a push that is under way.
func TestPush_WillNotResumeAnotherPush(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 1, 500, 5)
	p.fault = func(n int) fault {
		if n > 2 {
			return status503
		}
		return none
	}
	w.opts.GiveUp = time.Millisecond
	s, err := Run(t.Context(), w.opts)
	if err == nil || !strings.Contains(err.Error(), "gave up") || s.Delivered == 0 {
		t.Fatalf("%v, %+v", err, s)
	}
	p.set(nil)
	change := func(name string, f func(o *Options), want string) {
		t.Helper()
		o := w.opts
		f(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	change("batch", func(o *Options) { o.Batch = 50 }, "another push")
	change("map", func(o *Options) { o.Map = append(o.Map[:len(o.Map):len(o.Map)], '\n') }, "another push")
	change("state elsewhere", func(o *Options) { o.State = filepath.Join(w.dir, "other") }, "rejects of another push")
	keys, _ := os.ReadFile(w.opts.Keys)
	write(t, filepath.Join(w.dir, "keys2"), string(keys)+`{"ref":"new","uid":1,"con_id":"1-1545","key":"K"}`+"\n")
	change("keys", func(o *Options) { o.Keys = filepath.Join(w.dir, "keys2") }, "another keys file")
	f, err := os.OpenFile(w.opts.Rejects+".state", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(f); err != nil {
		t.Fatal(err)
	}
	change("locked", func(*Options) {}, "another push is using")
	f.Close()
	if os.Rename(w.opts.Rejects, w.opts.Rejects+".gone") == nil {
		change("rejects gone", func(*Options) {}, "put the file back")
		os.Rename(w.opts.Rejects+".gone", w.opts.Rejects)
	}
	// A line of the state that a crash cut off is dropped; one that is whole
	// and wrong is not passed over.
	state, err := os.ReadFile(w.opts.Rejects + ".state")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"{}\n", "x\n", `{"lane":0,"seq":77}` + "\n", `{"lane":9,"seq":0}` + "\n"} {
		write(t, w.opts.Rejects+".state", string(state)+bad)
		change("damaged", func(*Options) {}, "line ")
	}
	write(t, w.opts.Rejects+".state", string(state)+`{"lane":0,"se`)
	// Other parallelism and the same rest is the same push.
	w.opts.Parallel = 1
	if _, err := Run(t.Context(), w.opts); err != nil {
		t.Fatal(err)
	}
	w.check(t, p, nil)
}

func TestPush_CancelStopsAndResumes(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 1, 3000, 20)
	ctx, cancel := context.WithCancel(t.Context())
	p.arrived = func(n int, _ bool) {
		if n == 7 {
			cancel()
		}
	}
	if _, err := Run(ctx, w.opts); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s, err := Run(t.Context(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, p, nil)
	if s.Delivered != s.Mapped {
		t.Fatalf("summary %+v", s)
	}
}

func TestPush_FatalAnswersStop(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 1, 500, 5)
	b, _ := os.ReadFile(w.opts.Client)
	write(t, w.opts.Client, strings.Replace(string(b), "s+cret", "wrong", 1))
	_, err := Run(t.Context(), w.opts)
	if err == nil || !strings.Contains(err.Error(), "token request: 401 invalid_client") {
		t.Fatal(err)
	}
	if p.requests != 0 {
		t.Fatalf("%d bulk requests without a token", p.requests)
	}
	// A server that refuses every token is not asked for ever.
	write(t, w.opts.Client, string(b))
	p.set(func(int) fault { return expiredToken })
	if _, err := Run(t.Context(), w.opts); !errors.Is(err, errUnauthorized) {
		t.Fatal(err)
	}
}

// No secret and no value reaches errors, progress, summary or state file.
func TestPush_SecretsStayInside(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 1, 1000, 5)
	var said bytes.Buffer
	w.opts.Progress = &said
	p.fault = func(n int) fault {
		if n > 5 {
			return halfAnswer
		}
		return none
	}
	w.opts.GiveUp = time.Millisecond
	s, err := Run(t.Context(), w.opts)
	if err == nil {
		t.Fatal("no error")
	}
	s.Print(&said)
	fmt.Fprintln(&said, err)
	fmt.Fprintf(&said, "%v %+v %#v", credentials{Secret: p.secret}, &credentials{Secret: p.secret}, credentials{Secret: p.secret})
	state, _ := os.ReadFile(w.opts.Rejects + ".state")
	said.Write(state)
	for _, secret := range []string{p.secret, "MEMBERKEY", "token-", "stranger", "quotes", "1001-1545"} {
		if strings.Contains(said.String(), secret) {
			t.Errorf("%q is shown", secret)
		}
	}
}

// Rows that are all the same shrink beyond what a server takes from a stranger.
func TestPush_NoBombs(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 1, 10, 2)
	clear(w.stores)
	var b strings.Builder
	b.WriteString("who,n,note\n")
	row := strings.Repeat("all the same ", 20)
	for range 10000 {
		fmt.Fprintf(&b, "m1,7,%s\n", row)
		w.stores["1001-1545 ds_test 0"] = append(w.stores["1001-1545 ds_test 0"], fmt.Sprintf(`{"number":"7","note":"%s"}`, row))
	}
	write(t, filepath.Join(w.dir, "data", "00.csv"), b.String())
	w.opts.Batch = 10000
	s, err := Run(t.Context(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	if w.check(t, p, nil); s.Requests < 2 {
		t.Fatalf("%d requests for %d values of 265 bytes", s.Requests, s.Mapped)
	}
}

// A section that fails inside the server is tried a few times, then reported.
func TestPush_InternalErrorsAreReportedInTheEnd(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 1, 300, 3)
	p.refuse = func(con string) *refusal {
		if con == "1002-1545" {
			return &refusal{Status: 500, Title: "internal error"}
		}
		return nil
	}
	s, err := Run(t.Context(), w.opts)
	if err != nil || s.ExitCode() != 3 || s.Retries < 5 {
		t.Fatalf("%v, %+v", err, s)
	}
	w.check(t, p, func(store string) bool { return strings.HasPrefix(store, "1002-") })
}

func TestPush_Stdin(t *testing.T) {
	p := newPDX(t)
	w := newWorld(t, p, 1, 700, 5)
	b, _ := os.ReadFile(filepath.Join(w.dir, "data", "00.csv"))
	w.opts.Data, w.opts.Stdin = []string{"-"}, bytes.NewReader(b)
	if _, err := Run(t.Context(), w.opts); err != nil {
		t.Fatal(err)
	}
	w.check(t, p, nil)
	w.opts.Stdin = bytes.NewReader(b)
	if s, err := Run(t.Context(), w.opts); err != nil || !s.AlreadyDone {
		t.Fatal(s, err)
	}
}

func TestKeys_Refusals(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct{ text, nid, want string }{
		"empty":     {"", "", "no entries"},
		"bad":       {"{", "", "line 1"},
		"no key":    {`{"ref":"a","con_id":"1-2"}`, "", "missing"},
		"two":       {`{"ref":"a","con_id":"1-2","key":"k"}` + "\n" + `{"ref":"a","con_id":"1-3","key":"k"}`, "", "choose one with --nid"},
		"two keys":  {`{"ref":"a","con_id":"1-2","key":"k"}` + "\n" + `{"ref":"b","con_id":"1-2","key":"l"}`, "", "second key"},
		"picked":    {`{"ref":"a","con_id":"1-2","key":"k"}` + "\n" + `{"ref":"a","con_id":"1-3","key":"k"}`, "3", ""},
		"number":    {`{"ref":17850,"con_id":"1-2","key":"k"}`, "", ""},
		"two refs":  {`{"ref":"a","con_id":"1-2","key":"k"}` + "\n" + `{"ref":"b","con_id":"1-2","key":"k"}`, "", ""},
		"other nid": {`{"ref":"a","con_id":"1-2","key":"k"}`, "9", "no entries"},
	} {
		write(t, filepath.Join(dir, "k"), tt.text)
		_, err := readKeys(filepath.Join(dir, "k"), tt.nid, func(string) {})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	warned := 0
	os.Chmod(filepath.Join(dir, "k"), 0o644)
	readKeys(filepath.Join(dir, "k"), "", func(string) { warned++ })
	if warned != 1 {
		t.Error("no warning of a readable keys file")
	}
	os.Chmod(filepath.Join(dir, "k"), 0o666)
	if _, err := readKeys(filepath.Join(dir, "k"), "", func(string) {}); err == nil || !strings.Contains(err.Error(), "write") {
		t.Error("a keys file that anybody may write was taken")
	}
	for _, u := range []string{"http://example.org", "ftp://localhost", "http://u:p@localhost", "localhost", "https://x/?key=1"} {
		if checkURL(u) == nil {
			t.Errorf("%s was taken", u)
		}
	}
	for _, u := range []string{"http://127.0.0.1:8080", "http://[::1]:1", "http://localhost/x", "https://example.org/pdx"} {
		if err := checkURL(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}
