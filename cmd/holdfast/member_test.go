package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"holdfast/actors/pds/verify"
	"holdfast/cmd/internal/node"
	"holdfast/storage"
	"holdfast/storage/seal"
)

type personCLI struct {
	Member     MemberCmd     `cmd:""`
	Subscriber SubscriberCmd `cmd:""`
	Verify     VerifyCmd     `cmd:""`
}

func parse(args ...string) (*kong.Context, error) {
	var c personCLI
	p, err := kong.New(&c, kong.Name("holdfast"), kong.Exit(func(int) {}), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		return nil, err
	}
	return p.Parse(args)
}

// desk runs commands in a directory of its own.
type desk struct {
	t   *testing.T
	dir string
	url string
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) file(name, text string) string {
	if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.path(name)
}

// try runs a command and returns what it printed.
func (d *desk) try(args ...string) (string, error) {
	d.t.Helper()
	k, err := parse(args...)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	old := out
	out = &b
	defer func() { out = old }()
	err = k.Run()
	return b.String(), err
}

func (d *desk) run(args ...string) string {
	d.t.Helper()
	s, err := d.try(args...)
	if err != nil {
		d.t.Fatalf("holdfast %s: %v", strings.Join(args, " "), err)
	}
	return s
}

func (d *desk) member(args ...string) []string {
	return append(append([]string{"member"}, args...), "--server", d.url, "--session", d.path("session.json"), "--mydexid", "ada",
		"--password-file", d.path("password"), "--key-file", d.path("key"))
}

func (d *desk) subscriber(args ...string) []string {
	return append(append([]string{"subscriber"}, args...), "--server", d.url, "--credentials", d.path("org.json"))
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	n, err := node.Open(node.Config{Data: t.TempDir(), Barrier: seal.NewBarrier(seal.Sandbox), HTTP: "127.0.0.1:0", OperatorToken: "operator token of a test", Reserve: storage.MinReserve})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	d := &desk{t: t, dir: t.TempDir(), url: n.URL()}
	d.file("password", "a password of ada\n")
	d.file("key", "correct horse battery staple\n")
	d.file("operator", "operator token of a test\n")
	return d
}

const offerJSON = `{"nid":0,"version":0,"name":"","purpose":"","subscriber":"","law":"","environment":"","roles":"controller",
"use_cases":[{"category":"core_function","mandatory":true},{"category":"marketing","mandatory":false}],
"gdpr":{"data_minimisation":true,"informed_consent":true,"transparency":true,"single_use":true,"data_portability":true},
"terms_version":"1","declared_by":"DPO","declared_at":0,"retention":"one year",
"datasets":[{"dataset":"ds_home","methods":["read"],"soft_delete":true,"fields":[{"field":"field_home_postcode","mandatory":true},{"field":"field_home_street","mandatory":false}]}]}`

// The way of a member and a subscriber through the commands.
func TestCommands_FromRegistrationToVerifiedExport(t *testing.T) {
	d := newDesk(t)
	callbacks := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer callbacks.Close()
	d.run(d.subscriber("register", "Moor Clinic", "--operator-token-file", d.path("operator"))...)
	if st, err := os.Stat(d.path("org.json")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v %v", st, err)
	}
	if _, err := d.try(d.subscriber("register", "Moor Clinic", "--operator-token-file", d.path("operator"))...); err == nil {
		t.Error("credentials were overwritten")
	}
	shown := d.run(d.subscriber("connection", "create", "--name", "Clinic", "--purpose", "Keep your record", "--callback", callbacks.URL, "-o", d.path("con.json"))...)
	var con struct {
		NID    json.Number `json:"nid"`
		Secret string      `json:"client_secret"`
		Token  string      `json:"connection_token"`
	}
	b, _ := os.ReadFile(d.path("con.json"))
	if json.Unmarshal(b, &con) != nil || con.Secret == "" || con.Token == "" || strings.Contains(shown, con.Secret) {
		t.Fatalf("connection: %s %s", shown, b)
	}
	nid := con.NID.String()
	d.run(d.subscriber("template", "add", nid, d.file("offer.json", offerJSON))...)
	if s := d.run(d.subscriber("connection")...); !strings.Contains(s, "Clinic") {
		t.Errorf("connections: %s", s)
	}
	var inv struct{ Code, URL string }
	if err := json.Unmarshal([]byte(d.run(d.subscriber("invite", nid, "--json")...)), &inv); err != nil || inv.URL == "" {
		t.Fatalf("invite: %v", err)
	}

	d.run(d.member("register", "--email", "ada@example.org")...)
	if st, err := os.Stat(d.path("session.json")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("session: %v %v", st, err)
	}
	d.run(d.member("write", "ds_home", "field_home_street=1 Long Road", "field_home_postcode=SW1A 1AA")...)
	d.run(d.member("write", "ds_home", "--file", d.file("rows.json", `[{"field_home_street":"<&>"},{"field_home_street":"tab\there"}]`))...)
	d.run(d.member("delete", "ds_home", "2")...)
	if s := d.run(d.member("read", "ds_home", "--filter", "id<=2")...); !strings.Contains(s, "1 Long Road") || strings.Contains(s, "<&>") {
		t.Errorf("read: %s", s)
	}
	if s := d.run(d.member("read", "ds_home", "--deleted", "--json")...); strings.Count(s, "\n") != 3 {
		t.Errorf("read as JSON: %s", s)
	}

	if s := d.run(d.member("offers", inv.URL)...); !strings.Contains(s, "English law") {
		t.Errorf("offer: %s", s)
	}
	if _, err := d.try(d.member("approve", inv.URL, "--yes", "--allow", "ds_home.field_home_county")...); err == nil {
		t.Error("a part that is not offered was allowed")
	}
	s := d.run(d.member("approve", inv.URL, "--yes", "--allow", "ds_home.field_home_street", "-o", d.path("receipt.json"))...)
	if !strings.Contains(s, "(field_home_street): the subscriber may read it. You allow it.") || !strings.Contains(s, "Approved: connection") {
		t.Errorf("approve: %s", s)
	}
	if s := d.run("verify", d.path("receipt.json")); !strings.Contains(s, "Verified.") {
		t.Errorf("verify: %s", s)
	}
	if s := d.run(d.member("change", nid, "--yes", "--none")...); !strings.Contains(s, "not shared. You do not allow it.") {
		t.Errorf("change: %s", s)
	}
	d.run(d.member("suspend", nid)...)
	d.run(d.member("lift", nid)...)
	d.run(d.member("revoke", nid)...)
	if s := d.run(d.member("agreements")...); !strings.Contains(s, "revoked") {
		t.Errorf("agreements: %s", s)
	}
	if s := d.run(d.member("audit", "--connection", nid)...); !strings.Contains(s, "revoke") || strings.Contains(s, "register") {
		t.Errorf("audit: %s", s)
	}
	d.run(d.member("audit", "--format", "xml", "-o", d.path("log.xml"))...)
	d.run(d.member("export", "json", "-o", d.path("all.json"))...)
	d.run(d.member("export", "xml", "-o", d.path("all.xml"))...)
	d.compareExports(`tab\there`)
	for _, f := range []string{"log.xml", "all.json", "all.xml"} {
		d.verifiesAndMutationsDoNot(f)
	}
	d.run(d.member("lock")...)
	d.run(d.member("sign-out")...)
	if _, err := os.Stat(d.path("session.json")); err == nil {
		t.Error("the session is still kept")
	}
	d.noSecretIn("all.json", "all.xml", "log.xml", "receipt.json")
}

// compareExports holds the XML export against the JSON one: the same records,
// with this text among them.
func (d *desk) compareExports(holds string) {
	read := func(name string, split verify.Splitter) (recs []verify.Record) {
		b, err := os.ReadFile(d.path(name))
		if err != nil {
			d.t.Fatal(err)
		}
		err = split(b, func(part string, _, doc []byte) error {
			var r verify.Record
			if part != "records" {
				return nil
			}
			recs = append(recs, r)
			return json.Unmarshal(doc, &recs[len(recs)-1])
		})
		if err != nil {
			d.t.Fatalf("%s: %v", name, err)
		}
		return recs
	}
	a, _ := json.Marshal(read("all.json", verify.Split))
	b, _ := json.Marshal(read("all.xml", splitXML))
	if !bytes.Equal(a, b) || !bytes.Contains(a, []byte(holds)) {
		d.t.Errorf("the exports differ:\n%s\n%s", a, b)
	}
	x, _ := os.ReadFile(d.path("all.xml"))
	if err := xml.Unmarshal(x, &struct{}{}); err != nil {
		d.t.Errorf("the XML export is not XML: %v", err)
	}
}

func (d *desk) verifiesAndMutationsDoNot(name string) {
	d.t.Helper()
	d.run("verify", d.path(name))
	b, err := os.ReadFile(d.path(name))
	if err != nil {
		d.t.Fatal(err)
	}
	o := verify.Options{}
	if strings.HasSuffix(name, ".xml") {
		o.XML, o.Split = true, splitXML
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	undetected := 0
	for range 400 {
		c := bytes.Clone(b)
		c[rnd.IntN(len(c))] ^= byte(1 + rnd.IntN(255))
		if verify.Check(c, o).OK() {
			undetected++
		}
	}
	if undetected > 0 {
		d.t.Errorf("%s: %d of 400 changed copies verify", name, undetected)
	}
	b[len(b)/2] ^= 1
	d.file("changed", string(b))
	if s, err := d.try("verify", d.path("changed")); !errors.Is(err, errNotVerified) || !strings.Contains(s, "FAULT: ") {
		d.t.Errorf("%s changed: %v %s", name, err, s)
	}
}

func (d *desk) noSecretIn(names ...string) {
	for _, n := range names {
		b, err := os.ReadFile(d.path(n))
		if err != nil {
			d.t.Fatal(err)
		}
		for _, s := range []string{"a password of ada", "correct horse", "hfm_sbx_"} {
			if bytes.Contains(b, []byte(s)) {
				d.t.Errorf("%s holds a secret", n)
			}
		}
	}
}

// Secrets have no flag that takes them: an argument can be read by every
// process of the machine.
func TestCommands_RefuseSecretsAsArguments(t *testing.T) {
	for _, args := range [][]string{
		{"member", "unlock", "--password", "s3cret"},
		{"member", "unlock", "--password=s3cret"},
		{"member", "unlock", "--key", "s3cret"},
		{"member", "unlock", "--private-key", "s3cret"},
		{"member", "unlock", "s3cret"},
		{"member", "sign-in", "ada", "s3cret"},
		{"member", "register", "--email", "a@example.org", "--passphrase", "s3cret"},
		{"member", "revoke", "1545", "s3cret"},
		{"member", "revoke", "1545", "--key", "s3cret"},
		{"member", "approve", "code", "s3cret", "--yes"},
		{"subscriber", "register", "Org", "--operator-token", "s3cret"},
		{"subscriber", "connection", "list", "--token", "s3cret"},
		{"subscriber", "connection", "list", "--client-secret", "s3cret"},
	} {
		if _, err := parse(args...); err == nil {
			t.Errorf("%s: accepted", strings.Join(args, " "))
		}
	}
	// Nor is there a flag or argument, anywhere, with such a name.
	k, err := kong.New(&personCLI{})
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"password-file", "key-file", "operator-token-file", "log-key", "sign-key", "linking-token"}
	_ = kong.Visit(k.Model, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok && !slices.Contains(allowed, f.Name) {
			for _, word := range []string{"password", "key", "secret", "token", "phrase"} {
				if strings.Contains(f.Name, word) {
					t.Errorf("flag --%s", f.Name)
				}
				for _, e := range f.Envs {
					t.Errorf("flag --%s is read from the environment (%s)", f.Name, e)
				}
			}
		}
		return next(nil)
	})
}

func TestReadSecret_RefusesFilesOthersCanRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte("a secret\r\nnot this\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readSecret(name, "Key"); err == nil || strings.Contains(err.Error(), "a secret") {
		t.Errorf("readable by all: %v", err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := readSecret(name, "Key"); err != nil || s != "a secret" {
		t.Errorf("%q %v", s, err)
	}
	if err := os.WriteFile(name, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readSecret(name, "Key"); err == nil {
		t.Error("an empty secret was read")
	}
}

// A bad Private Key is refused before the server hears anything.
func TestCommands_PrivateKeyRules(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; http.NotFound(w, nil) }))
	defer srv.Close()
	d := &desk{t: t, dir: t.TempDir(), url: srv.URL}
	d.file("password", "a password of ada\n")
	for _, n := range []int{7, 129} {
		d.file("key", strings.Repeat("k", n)+"\n")
		if _, err := d.try(d.member("register", "--email", "ada@example.org")...); err == nil || asked > 0 {
			t.Errorf("%d characters: %v, %d requests", n, err, asked)
		}
	}
}

func TestParseFilter(t *testing.T) {
	for in, want := range map[string]string{"id>=21": "id >= 21", "a=b=c": "a = b=c", "a!=": "a != ", "a<3": "a < 3", "a<=3": "a <= 3", "x>y": "x > y"} {
		f, err := parseFilter(in)
		if err != nil || f.Field+" "+f.Op+" "+f.Value != want {
			t.Errorf("%s: %+v %v", in, f, err)
		}
	}
	for _, in := range []string{"", "a", "=3", "a!3"} {
		if f, err := parseFilter(in); err == nil {
			t.Errorf("%s: %+v", in, f)
		}
	}
}

func TestPrintable(t *testing.T) {
	if s := printable("a\x1b[2Jb\u202ec\n"); strings.ContainsAny(s, "\x1b\u202e\n") {
		t.Errorf("%q", s)
	}
}
