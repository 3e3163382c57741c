package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// flip inverts one bit of a file where it holds something, and says where.
// Files of one kind count once, however many and large they are.
func flip(rng *rand.Rand, root string) (string, error) {
	kinds := map[string][]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if i, err := e.Info(); err != nil || i.Size() == 0 {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		kind := filepath.Dir(rel) + "/" + strings.TrimRight(strings.SplitN(filepath.Base(rel), "-0", 2)[0], "0123456789")
		if x := filepath.Ext(rel); x != "" {
			kind = filepath.Dir(rel) + "/*" + x
		}
		kinds[kind] = append(kinds[kind], p)
		if kind == "log/*.log" || kind == "log/*.sst" || kind == "state/*.sst" { // where the data is
			kinds[kind+" again"] = append(kinds[kind+" again"], p)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	names := slices.Sorted(maps.Keys(kinds))
	files := kinds[names[rng.IntN(len(names))]]
	slices.Sort(files)
	name := files[rng.IntN(len(files))]
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	used := len(b)
	for used > 1 && b[used-1] == 0 {
		used--
	}
	used = min(len(b), used+16)
	at, bit := rng.IntN(used), rng.IntN(8)
	switch rng.IntN(4) { // ends are where formats keep what they find things by
	case 0:
		at = rng.IntN(min(used, 64))
	case 1:
		at = used - 1 - rng.IntN(min(used, 200))
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{b[at] ^ 1<<bit}, int64(at))
	rel, _ := filepath.Rel(root, name)
	return fmt.Sprintf("%s, bit %d of byte %d of %d", rel, bit, at, len(b)), err
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
}

// flips counts what became of flipped bits.
type flips struct{ harmless, started, answers, ended int }

func TestBitFlip(t *testing.T) {
	bin := holdfast(t)
	seed := newSeed(t)
	dir := scratch(t)
	l := &launcher{t: t, bin: bin, dir: dir, data: filepath.Join(dir, "data")}
	ctx := t.Context()
	c, sub := l.seeded()
	led := newLedger(t, sub, "f")
	fill := func(round int, sections int64) {
		p, err := sub.login(ctx, c.url)
		if err != nil {
			t.Fatal(err)
		}
		lctx, cancel := context.WithCancel(ctx)
		target := led.acks.Load() + sections
		done := make(chan error, 1)
		go func() { done <- led.load(lctx, p, seed, round, loadWorkers) }()
		if err := c.poll("loaded", roundTimeout, func() bool { return led.acks.Load() >= target }); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := led.settle(ctx, p); err != nil {
			t.Fatal(err)
		}
		p.close()
	}
	// Tables, then a log that is the only holder of what came last: as a kill
	// leaves it, and as a clean stop does.
	fill(0, 1500)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	c = l.start()
	fill(1, 1000)
	c.kill()
	killed, stopped := filepath.Join(dir, "killed"), filepath.Join(dir, "stopped")
	copyTree(t, l.data, killed)
	c = l.start()
	fill(2, 300)
	c.kill()
	c = l.start()
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	copyTree(t, l.data, stopped)

	all := led.rows
	var n flips
	rng := rand.New(rand.NewPCG(seed, 2))
	for round := range *flipRounds {
		from := killed
		if round%2 == 1 {
			from = stopped
		}
		copyTree(t, from, l.data)
		// Each base knows what was acknowledged until it was taken.
		led.rows = make([]map[uint64]row, len(all))
		for i := range all {
			led.rows[i] = map[uint64]row{}
			for id, r := range all[i] {
				if from == stopped || !strings.HasPrefix(r.index, "f-2.") {
					led.rows[i][id] = r
				}
			}
		}
		where, err := flip(rng, filepath.Join(l.data, "node"))
		if err != nil {
			t.Fatal(err)
		}
		before := led.counts.wrong()
		what := l.afterFlip(ctx, led, rng, round, &n)
		if led.counts.wrong() > before {
			t.Errorf("round %d: wrong answers after flipping %s", round, where)
		}
		t.Logf("round %d (%s): %s: %s", round, filepath.Base(from), where, what)
	}
	led.rows = all
	led.judge()
	t.Logf("flip: %d rounds: %d refused to start, %d stopped while serving, %d with answers refused, %d harmless; %s",
		*flipRounds, n.started, n.ended, n.answers, n.harmless, led.counts.String())
}

// afterFlip starts the program, reads everything, writes, kills it and reads
// again, and says what became of the flip.
func (l *launcher) afterFlip(ctx context.Context, led *ledger, rng *rand.Rand, round int, n *flips) string {
	l.t.Helper()
	refused := 0
	for try := range 2 {
		c, err := l.spawn()
		if err != nil {
			l.t.Fatal(err)
		}
		bad := func(format string, args ...any) string {
			l.t.Errorf("round %d: "+format, append([]any{round}, args...)...)
			return "WRONG"
		}
		ended := func(when string) string {
			switch {
			case c.crashed():
				return bad("crash %s: %s", when, c.said())
			case c.wasKilled():
				return bad("killed by somebody else %s", when)
			case c.said() == "":
				return bad("ended %s without a word", when)
			}
			return "said " + when + ": " + firstLine(c.said())
		}
		if err := c.awaitReady(); err != nil {
			if !errors.Is(err, errEnded) {
				return bad("neither ready nor ended: %v", err)
			}
			n.started++
			return ended("at start")
		}
		p, err := led.sub.login(ctx, c.url)
		for i := range led.sub.accounts {
			if err == nil {
				err = led.checkOne(ctx, p, i, true)
			}
			st := (*status)(nil)
			switch {
			case err == nil:
				continue
			case errors.As(err, &st) && st.code >= 500:
				refused++ // with a status that says whose fault it is
				err = nil
				if p == nil {
					n.answers++
					return "no token: " + st.Error()
				}
			case errors.As(err, &st):
				return bad("account %d: %v", i, err)
			default:
				if werr := c.poll("ended", 5*time.Second, func() bool { return false }); errors.Is(werr, errEnded) {
					n.ended++
					return ended("while serving")
				}
				return bad("account %d: %v", i, err)
			}
		}
		if try == 0 && refused == 0 {
			q := led.newRequest(rng, fmt.Sprintf("after.%d", round))
			if err := led.send(ctx, p, q); err != nil && !errors.Is(err, errUnknown) {
				return bad("write: %v", err)
			}
		}
		p.close()
		c.kill()
	}
	if refused > 0 {
		n.answers++
		return fmt.Sprintf("%d answers refused", refused)
	}
	n.harmless++
	return "all answers right"
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
