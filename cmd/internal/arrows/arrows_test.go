package arrows

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule forbids what a folder imports. A folder stands for itself and all
// below it, an import path for itself and all below it.
type rule struct {
	from string // folder in the module; "" is everything
	to   string // import path; ours begin with "holdfast/"
	why  string
	but  []string // folders that may, each with its reason beside it
}

const ours = "holdfast/"

var rules = []rule{
	// Arrows point down: cmd -> api -> actors -> cluster -> storage.
	{from: "storage", to: ours + "actors", why: "what keeps bytes must not know what they record"},
	{from: "storage", to: ours + "cluster", why: "a disk does not know of other nodes"},
	{from: "storage", to: ours + "api", why: "arrows point down"},
	{from: "storage", to: ours + "transport", why: "a disk does not talk to the network"},
	{from: "cluster", to: ours + "actors", why: "consensus knows commands as bytes; node puts the rules in"},
	{from: "cluster", to: ours + "api", why: "arrows point down"},
	{from: "actors", to: ours + "api", why: "arrows point down: an actor does not know who asked"},
	{from: "api", to: ours + "storage", why: "every access passes through a member's mailbox",
		but: []string{"api>" + ours + "storage/seal"}}, // the types of keys and envelopes
	{from: "api", to: ours + "cluster", why: "placement is the Directory's affair"},
	{from: "", to: ours + "cmd", why: "programs are nobody's library", but: []string{"cmd"}},
	{from: "", to: ours + "bench", why: "a measurement is nobody's library", but: []string{"cmd", "bench"}},
	{from: "", to: ours + "api", why: "only programs stand above the interfaces",
		but: []string{"cmd", "api",
			"bench>" + ours + "api"}}, // as its client
	{from: "", to: ours + "actors", why: "only interfaces and programs stand above the actors",
		but: []string{"cmd", "api", "actors"}},
	{from: "", to: ours + "cluster", why: "only the actors and programs stand above consensus",
		but: []string{"cmd", "actors", "cluster"}},

	// Only node sees all layers.
	{from: "cmd", to: ours + "cluster", why: "a program reaches the layers through node",
		but: []string{"cmd/internal/node",
			"cmd/internal/faults"}}, // breaks what it looks at
	{from: "cmd", to: ours + "storage", why: "a program reaches the layers through node",
		but: []string{"cmd/internal/node",
			"cmd/internal/faults",            // breaks what it looks at
			"cmd>" + ours + "storage/seal"}}, // the member's client half, and the barrier key
	{from: "cmd", to: ours + "actors", why: "a program reaches members through api",
		but: []string{"cmd/internal/node",
			"cmd>" + ours + "actors/pds"}}, // templates and what a member is shown, schema, verify

	// Leaves.
	{from: "storage/seal", to: ours, why: "cryptography depends on nothing of ours", but: []string{"storage/seal>" + ours + "storage/seal"}},
	{from: "storage/block", to: ours, why: "columns depend on nothing of ours", but: []string{"storage/block>" + ours + "storage/block"}},
	{from: "transport/wire", to: ours, why: "generated messages depend on nothing of ours"},
	{from: "actors/pds/schema", to: ours, why: "the catalogue depends on nothing of ours", but: []string{"actors/pds/schema>" + ours + "actors/pds/schema"}},
	{from: "api/ndjson", to: ours, why: "a parser depends on nothing of ours", but: []string{"api/ndjson>" + ours + "api/ndjson"}},
	{from: "api/xmlout", to: ours, why: "a writer depends on nothing of ours", but: []string{"api/xmlout>" + ours + "api/xmlout"}},
	{from: "actors/pds", to: ours, why: "rules must not know where they are kept, nor who asks",
		but: []string{"actors/pds>" + ours + "actors/pds", "actors/pds>" + ours + "storage/seal", "actors/pds>" + ours + "storage/block"}},
	{from: "actors/pds", to: "os", why: "rules do no I/O"},
	{from: "actors/pds", to: "net", why: "rules do no I/O"},
	{from: "actors/pds", to: "math/rand", why: "rules decide the same on every replica"},
	{from: "actors/pds", to: "crypto/rand", why: "rules decide the same on every replica"},
	{from: "actors/pds", to: "log", why: "rules have nothing to tell an operator"},

	// Each library in one place, so that it can be replaced there.
	{from: "", to: "github.com/asynkron/protoactor-go", why: "actors is the only host of actors",
		but: []string{"actors", "cluster/provider", "transport/remoting"}},
	{from: "actors/pds", to: "github.com/asynkron/protoactor-go", why: "rules do not know that they are hosted"},
	{from: "", to: "github.com/dgraph-io", why: "storage is the only user of Badger", but: []string{"storage"}},
	{from: "", to: "github.com/cockroachdb/pebble", why: "storage is the only user of Pebble", but: []string{"storage"}},
	{from: "", to: "go.etcd.io/raft", why: "cluster is the only user of raft", but: []string{"cluster"}},
	{from: "", to: "github.com/hashicorp", why: "cluster is the only user of memberlist", but: []string{"cluster"}},
	{from: "", to: "github.com/valyala/fasthttp", why: "api is the only user of fasthttp", but: []string{"api"}},
	{from: "", to: "github.com/fasthttp", why: "api is the only user of fasthttp", but: []string{"api"}},
	{from: "", to: "github.com/zitadel/oidc", why: "api is the identity provider", but: []string{"api"}},

	// Only seal has a cipher. Tokens' signatures in api, log notes and
	// crypto/tls are the exceptions by name.
	{from: "", to: "crypto/aes", why: "only seal has a cipher", but: []string{"storage/seal"}},
	{from: "", to: "crypto/cipher", why: "only seal has a cipher", but: []string{"storage/seal"}},
	{from: "", to: "crypto/hpke", why: "only seal has a cipher", but: []string{"storage/seal"}},
	{from: "", to: "crypto/hkdf", why: "only seal derives keys", but: []string{"storage/seal"}},
	{from: "", to: "crypto/ecdh", why: "only seal agrees on keys", but: []string{"storage/seal"}},
	{from: "", to: "crypto/ed25519", why: "only seal signs", but: []string{"storage/seal",
		"api"}}, // tokens' signatures
	{from: "", to: "golang.org/x/crypto", why: "only seal has a cipher", but: []string{"storage/seal"}},
	{from: "", to: "crypto/des", why: "broken"},
	{from: "", to: "crypto/rc4", why: "broken"},
	{from: "", to: "crypto/md5", why: "broken"},
	{from: "", to: "math/rand", why: "math/rand/v2 has replaced it", but: []string{">math/rand/v2"}},
	{from: "storage/seal", to: "math/rand", why: "keys come from crypto/rand"},
	{from: "api", to: "math/rand", why: "tokens come from crypto/rand"},
	{from: "storage/seal", to: "log", why: "keys and a log do not meet"},
	{from: "", to: "unsafe", why: "memory is the runtime's", but: []string{"storage"}}, // keys of a map without a copy
}

// pinned lists packages that no program imports: go.mod is kept complete by it.
var skipped = []string{"cmd/depcheck"}

func under(path, root string) bool {
	root = strings.TrimSuffix(root, "/")
	return root == "" || path == root || strings.HasPrefix(path, root+"/")
}

func (r *rule) broken(folder, path string) bool {
	if !under(folder, r.from) || !under(path, r.to) {
		return false
	}
	for _, b := range r.but {
		f, p, narrow := strings.Cut(b, ">")
		if under(folder, f) && (!narrow || under(path, p)) {
			return false
		}
	}
	return true
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

type edge struct{ folder, file, path string }

// imports lists what every file of the module imports; tests are left out:
// they may stand anywhere to look at anything.
func imports(t *testing.T, root string) []edge {
	t.Helper()
	var out []edge
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); p != root && (strings.HasPrefix(n, ".") || n == "testdata" || n == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		folder := rel[:max(strings.LastIndexByte(rel, '/'), 0)]
		if slices.ContainsFunc(skipped, func(s string) bool { return under(folder, s) }) {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return nil // does not compile: the compiler says so
		}
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			out = append(out, edge{folder, rel, path})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestArrows(t *testing.T) {
	es := imports(t, moduleRoot(t))
	if len(es) < 100 {
		t.Fatalf("only %d imports were found", len(es))
	}
	for _, e := range es {
		for i := range rules {
			if r := &rules[i]; r.broken(e.folder, e.path) {
				t.Errorf("%s imports %s: %s", e.file, e.path, r.why)
			}
		}
	}
}

// The rules themselves: what they forbid and what they let pass.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		folder, path string
		forbidden    bool
	}{
		{"storage", "holdfast/actors", true},
		{"storage", "holdfast/storage/seal", false},
		{"storage/seal", "holdfast/storage", true},
		{"storage/seal/client", "holdfast/storage/seal", false},
		{"storage/sealed", "crypto/aes", true},
		{"actors", "holdfast/cluster", false},
		{"actors/pds", "holdfast/cluster", true},
		{"actors/pds", "holdfast/storage", true},
		{"actors/pds", "holdfast/storage/seal", false},
		{"actors/pds/verify", "holdfast/actors/pds", false},
		{"actors/pds/schema", "holdfast/actors/pds", true},
		{"actors/pds", "net/http", true},
		{"actors/pds", "math/rand/v2", true},
		{"actors", "math/rand/v2", false},
		{"actors", "math/rand", true},
		{"api", "holdfast/storage", true},
		{"api", "holdfast/storage/seal", false},
		{"api", "holdfast/storage/block", true},
		{"api", "crypto/ed25519", false},
		{"api", "crypto/cipher", true},
		{"bench", "holdfast/api", false},
		{"bench", "holdfast/actors", true},
		{"bench", "github.com/valyala/fasthttp", true},
		{"cmd/holdfast", "holdfast/cluster", true},
		{"cmd/internal/node", "holdfast/cluster", false},
		{"cmd/holdfast", "holdfast/actors", true},
		{"cmd/holdfast", "holdfast/actors/pds", false},
		{"cluster", "github.com/dgraph-io/badger/v4", true},
		{"cluster", "go.etcd.io/raft/v3/raftpb", false},
	} {
		got := slices.ContainsFunc(rules, func(r rule) bool { return r.broken(c.folder, c.path) })
		if got != c.forbidden {
			t.Errorf("%s -> %s: forbidden %v, want %v", c.folder, c.path, got, c.forbidden)
		}
	}
}
