package pds

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/storage/seal"
)

var update = flag.Bool("update", false, "write the outcomes and golden files that are found")

// TestScenarios runs the stories in testdata: blocks of commands, four
// dashes, and what each command came to. A word "a=b" after a command makes
// one thing wrong in an otherwise right command; see wrong and world.sign.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := runScenario(t, string(text))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				g, w := strings.Split(got, "\n"), strings.Split(string(text), "\n")
				for i := range min(len(g), len(w)) {
					if g[i] != w[i] {
						t.Fatalf("line %d: got %q, want %q", i+1, g[i], w[i])
					}
				}
				t.Fatalf("got %d lines, want %d", len(g), len(w))
			}
		})
	}
}

func runScenario(t *testing.T, text string) string {
	w := newWorld()
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		var results []string
		for _, line := range strings.Split(block, "\n") {
			if line == "----" {
				break
			}
			out.WriteString(line + "\n")
			if line == "" || line[0] == '#' {
				continue
			}
			results = append(results, w.run(t, strings.Fields(line)))
		}
		if len(results) > 0 {
			out.WriteString("----\n" + strings.Join(results, "\n") + "\n")
		}
	}
	return out.String()
}

func (w *world) run(t *testing.T, f []string) string {
	verb, args, x := f[0], []string{}, wrong{}
	for _, a := range f[1:] {
		if k, v, ok := strings.Cut(a, "="); ok {
			x[k] = v
		} else {
			args = append(args, a)
		}
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	name, conn := arg(0), arg(1)
	single := func(mu *Mutation) string {
		return w.say(name, w.command(name, x, piece{op: w.op(name, "", x), mu: mu}))
	}
	switch verb {
	case "after": // milliseconds
		var n int64
		fmt.Sscan(name, &n)
		w.now += n
		return "ok"
	case "forget":
		w.m.Forget(shardOf(memberOf(name)), memberOf(name))
		return "ok"
	case "restart":
		w.m = NewMachine(w.env)
		return "ok"
	case "register":
		return single(w.register(name, x))
	case "approve":
		return single(w.consent(name, conn, seal.Approve, x))
	case "change":
		return single(w.consent(name, conn, seal.Change, x))
	case "lift":
		return single(w.consent(name, conn, seal.Lift, x))
	case "revoke":
		return single(w.consent(name, conn, seal.Revoke, x))
	case "suspend":
		if x["l.state"] == "" {
			x["l.state"] = "suspended"
		}
		return single(w.unsigned(name, conn, x))
	case "reissue":
		return single(w.unsigned(name, conn, x))
	case "fail":
		return single(&Mutation{Fail: w.now})
	case "unlock":
		return single(&Mutation{FailsOver: true})
	case "comps":
		mu := &Mutation{Comps: []Comp{}}
		for _, a := range args[1:] {
			var c Comp
			n, e, _ := strings.Cut(a, ":")
			c.Tag = tagOf(name, n)
			fmt.Sscan(e, &c.Epoch)
			mu.Comps = append(mu.Comps, c)
		}
		return single(mu)
	case "write":
		return w.say(name, w.write(name, conn, x))
	case "write-twice": // two operations in one command
		t1 := tagOf(name, "energy")
		y := wrong{"section": "1"}
		for k, v := range x {
			if k != "section" || x["request"] == "" {
				y[k] = v
			}
		}
		if x["section2"] != "" {
			y["section"] = x["section2"]
		}
		return w.say(name, w.command(name, x, piece{op: w.op(name, conn, x), tag: &t1}, piece{op: w.op(name, conn, y), tag: &t1}))
	case "revoke-then-write": // in one command
		t1 := tagOf(name, "energy")
		return w.say(name, w.command(name, x, piece{op: w.op(name, "", nil), mu: w.consent(name, conn, seal.Revoke, x)}, piece{op: w.op(name, conn, nil), tag: &t1}))
	case "mutation": // raw bytes
		b, err := hex.DecodeString(x["hex"])
		if err != nil {
			t.Fatal(err)
		}
		op := w.op(name, "", nil)
		op.Mutation = b
		return w.say(name, w.command(name, x, piece{op: op}))
	case "raw":
		b, err := hex.DecodeString(x["hex"])
		if err != nil {
			t.Fatal(err)
		}
		return w.say(name, b)
	case "cut": // a right command without its last bytes
		b := w.write(name, conn, x)
		return w.say(name, b[:len(b)-int(x.num("bytes", 1))])
	case "longer":
		return w.say(name, append(w.write(name, conn, x), 0))
	case "retype":
		b := w.write(name, conn, x)
		b[1] = byte(x.num("type", 0))
		return w.say(name, b)
	case "reversion":
		b := w.write(name, conn, x)
		b[0] = byte(x.num("version", 0))
		return w.say(name, b)
	case "purge":
		return w.say(name, PurgeCommand(w.now))
	case "sent":
		return w.say(name, SentCommand(memberOf(name), x.num("sequence", w.head(name)), x.num("slot", 99)))
	case "erased":
		return "slots " + fmt.Sprint(w.m.TakeErased())
	case "show":
		return w.show(name)
	}
	t.Fatalf("unknown command %q", verb)
	return ""
}

func (w *world) say(name string, cmd []byte) string {
	before := w.kv.clone()
	var code Code
	switch o := w.apply(name, cmd).(type) {
	case *Outcome:
		if o.Code == CodeNone {
			return fmt.Sprintf("applied, head %d", o.Head)
		}
		code = o.Code
	case *RegistryOutcome:
		if o.Code == CodeNone {
			return "applied"
		}
		code = o.Code
	case error:
		return "error: " + o.Error()
	}
	if !before.equal(w.kv) {
		return code.Slug() + ", BUT THE STATE CHANGED"
	}
	return code.Slug()
}

func (w *world) show(name string) string {
	c := w.control(name)
	if c == nil {
		return "no store"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "statements %d, fails %d, head %d", c.Number, len(c.Fails), w.head(name))
	for i := range c.Links {
		l := &c.Links[i]
		conn := "?"
		for _, n := range []string{"acme", "bank"} {
			if linkOf(name, n) == l.ID {
				conn = n
			}
		}
		fmt.Fprintf(&b, "; %s %s consent %d version %d generation %d", conn, l.State, l.Consent, l.Version, l.Generation)
		if l.Owed {
			b.WriteString(" owed")
		}
		if len(l.Wrap)+len(l.Write)+len(l.Read) == 0 {
			b.WriteString(" no keys")
		}
	}
	return b.String()
}
