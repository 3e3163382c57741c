package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/cmd/internal/sandbox"
)

var (
	full    = flag.Bool("full", false, "the whole data sets")
	binFlag = flag.String("holdfast", "", "the program, already built")
)

var program struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if program.path != "" && *binFlag == "" {
		_ = os.RemoveAll(filepath.Dir(program.path))
	}
	os.Exit(code)
}

// holdfast builds the program once a run.
func holdfast(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("drives real processes")
	}
	program.once.Do(func() {
		if program.path = *binFlag; program.path != "" {
			return
		}
		dir, err := os.MkdirTemp("", "holdfast-acceptance-")
		if err != nil {
			program.err = err
			return
		}
		program.path = filepath.Join(dir, "holdfast")
		if out, err := exec.Command("go", "build", "-o", program.path, "holdfast/cmd/holdfast").CombinedOutput(); err != nil {
			program.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// shared is a folder of the shared data, or the test is skipped.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("HOLDFAST_SHARED")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil || root == filepath.Dir(root) {
				break
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared")
	}
	dir = filepath.Join(dir, "data", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared data absent")
	}
	return dir
}

// node is one run of `holdfast dev`.
type node struct {
	t     *testing.T
	bin   string
	dir   string
	url   string
	world sandbox.World
	cmd   *exec.Cmd
	over  chan struct{}
}

// start runs a sandbox and waits until its world is complete.
func start(t *testing.T, members int, connect ...string) *node {
	t.Helper()
	n := &node{t: t, bin: holdfast(t), dir: t.TempDir(), over: make(chan struct{})}
	addr := freePort(t)
	n.url = "http://" + addr
	world := n.path("world.json")
	args := []string{"dev", "--data", n.path("data"), "--http", addr, "--quiet", "--reserve", "64", "--world", world, "--log-file", n.path("log"), "--members", strconv.Itoa(members)}
	for _, c := range connect {
		args = append(args, "--connect", c)
	}
	n.cmd = exec.Command(n.bin, args...)
	// Should this process be killed its children go too.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	n.cmd.Stdout, n.cmd.Stderr = &said, &said
	begun := time.Now()
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.cmd.Wait(); close(n.over) }()
	t.Cleanup(func() { _ = n.cmd.Process.Kill(); <-n.over })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(10 * time.Minute)
	defer limit.Stop()
	for {
		if b, err := os.ReadFile(world); err == nil {
			if err := json.Unmarshal(b, &n.world); err != nil {
				t.Fatal(err)
			}
			t.Logf("world of %d generated members in %v", members, time.Since(begun).Round(time.Millisecond))
			return n
		}
		select {
		case <-tick.C:
		case <-n.over:
			t.Fatalf("the program ended: %s", said.String())
		case <-limit.C:
			t.Fatal("the world did not get complete")
		}
	}
}

// freePort finds a port below those that outgoing connections take.
func freePort(t *testing.T) string {
	for range 200 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			_ = ln.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) file(name string, b []byte) string {
	if err := os.WriteFile(n.path(name), b, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return n.path(name)
}

// run runs a sub-command and returns what it printed to standard output.
func (n *node) run(args ...string) (string, time.Duration) {
	n.t.Helper()
	var out, errs bytes.Buffer
	c := exec.Command(n.bin, args...)
	c.Dir, c.Stdout, c.Stderr = n.dir, &out, &errs
	begun := time.Now()
	if err := c.Run(); err != nil {
		n.t.Fatalf("holdfast %s: %v\n%s%s", args[0], err, tail(out.String()), tail(errs.String()))
	}
	return out.String(), time.Since(begun)
}

// runTo runs a sub-command with its standard output in a file.
func (n *node) runTo(name string, args ...string) time.Duration {
	n.t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	var errs bytes.Buffer
	c := exec.Command(n.bin, args...)
	c.Dir, c.Stdout, c.Stderr = n.dir, f, &errs
	begun := time.Now()
	if err := c.Run(); err != nil {
		n.t.Fatalf("holdfast %s: %v\n%s", args[0], err, tail(errs.String()))
	}
	return time.Since(begun)
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func (n *node) subscriber(name string) *sandbox.Subscriber {
	for i := range n.world.Subscribers {
		if n.world.Subscribers[i].Name == name {
			return &n.world.Subscribers[i]
		}
	}
	n.t.Fatalf("no subscriber %s", name)
	return nil
}

// agreements are a subscriber's, those of the named members first.
func (n *node) agreements(name string) []sandbox.Agreement {
	c := n.subscriber(name).Connections[0]
	out := append([]sandbox.Agreement(nil), c.Agreements...)
	for _, g := range n.world.Generated {
		if strings.HasSuffix(g.ConID, fmt.Sprintf("-%d", c.NID)) {
			out = append(out, sandbox.Agreement{UID: g.UID, ConID: g.ConID, Key: g.Key})
		}
	}
	return out
}

// client speaks to the node for one subscriber.
type client struct {
	n     *node
	sub   *sandbox.Subscriber
	token string
	http  http.Client
}

func (n *node) client(name string) *client {
	n.t.Helper()
	c := &client{n: n, sub: n.subscriber(name), http: http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8, ExpectContinueTimeout: 10 * time.Second}}}
	n.t.Cleanup(c.http.CloseIdleConnections)
	req, _ := http.NewRequest("POST", n.url+"/oauth2/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "scope": {"mydex:pdx"}}.Encode()))
	req.SetBasicAuth(url.QueryEscape(c.sub.ClientID), url.QueryEscape(c.sub.ClientSecret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := c.http.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Token == "" {
		n.t.Fatalf("token: %d %v", res.StatusCode, err)
	}
	c.token = got.Token
	return c
}

// get opens one read of a member's rows. The caller closes the body.
func (c *client) get(a sandbox.Agreement, dataset, ext, op, id string) io.ReadCloser {
	c.n.t.Helper()
	q := url.Values{"uid": {fmt.Sprint(a.UID)}, "con_id": {a.ConID}, "key": {a.Key}, "source_type": {"connection"}, "dataset": {dataset}, "instance": {"0"}}
	if op != "" {
		q.Set("filters[id][operator]", op)
		q.Set("filters[id][value]", id)
	}
	req, _ := http.NewRequestWithContext(context.Background(), "GET", fmt.Sprintf("%s/api/pds/transaction/%d.%s?%s", c.n.url, a.UID, ext, q.Encode()), nil)
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		c.n.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		res.Body.Close()
		c.n.t.Fatalf("read: %d %s", res.StatusCode, b)
	}
	return res.Body
}

// pushed is what `holdfast push` says of itself.
type pushed struct {
	text                                       string
	read, mapped, delivered, rejected, refused int
	rejects                                    string
	took                                       time.Duration
}

var summaryLine = regexp.MustCompile(`(?m)^  ([a-z ]+?) +([0-9,]+)(?:  .*)?$`)

// push runs `holdfast push` with a shipped map. refs are given agreements in
// their order.
func (n *node) push(mapName, subscriber string, refs map[string]sandbox.Agreement, data string) *pushed {
	n.t.Helper()
	s := n.subscriber(subscriber)
	var keys bytes.Buffer
	enc := json.NewEncoder(&keys)
	for ref, a := range refs {
		_ = enc.Encode(sandbox.Generated{Ref: ref, UID: a.UID, ConID: a.ConID, Key: a.Key})
	}
	creds, _ := json.Marshal(map[string]string{"client_id": s.ClientID, "client_secret": s.ClientSecret, "token_url": n.url + "/oauth2/token", "pdx_url": n.url})
	p := &pushed{rejects: n.path(mapName + ".rejects.ndjson")}
	p.text, p.took = n.run("push", "--map", mapName, "--keys", n.file(mapName+".keys", keys.Bytes()), "--client", n.file(mapName+".client", creds), "--rejects", p.rejects, "-q", data)
	for _, m := range summaryLine.FindAllStringSubmatch(p.text, -1) {
		v, _ := strconv.Atoi(strings.ReplaceAll(m[2], ",", ""))
		switch m[1] {
		case "rows read":
			p.read = v
		case "records mapped":
			p.mapped = v
		case "delivered":
			p.delivered = v
		case "rejected by the map":
			p.rejected = v
		case "refused by the server":
			p.refused = v
		}
	}
	n.t.Logf("%s: %d rows read, %d records, %d rejected, %d refused in %v (%.0f records/s)", mapName, p.read, p.mapped, p.rejected, p.refused, p.took.Round(time.Millisecond), float64(p.delivered)/p.took.Seconds())
	return p
}
