package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func logConfig(dir string, found bool) LogConfig {
	return LogConfig{Dir: dir, ID: Identity{1}, Found: found, Start: Position{1, 1},
		Fault: NewFault(), Log: slog.New(slog.DiscardHandler)}
}

func openLog(t testing.TB, dir string, found bool) (*Log, *[Groups]GroupLog) {
	t.Helper()
	l, groups, err := OpenLog(logConfig(dir, found))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, groups
}

func entries(from, to, term uint64) (es []Entry) {
	for i := from; i <= to; i++ {
		es = append(es, Entry{Index: i, Term: term, Data: fmt.Appendf(nil, "entry %d of term %d", i, term)})
	}
	return es
}

func write(t testing.TB, l *Log, w Write) {
	t.Helper()
	if err := l.Write(&w); err != nil {
		t.Fatal(err)
	}
}

// A model of a log: what must be read back after any mixture of appends, replaced tails,
// truncations and reopenings.
func TestLog_AgreesWithAModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	l, _ := openLog(t, dir, true)
	type model struct {
		trunc Position
		terms []uint64 // of entries after trunc
		hard  HardState
	}
	var ms [Groups]model
	for g := range ms {
		ms[g] = model{trunc: Position{1, 1}, hard: HardState{Term: 1, Commit: 1}}
	}
	term := uint64(1)
	for step := range 300 {
		var w Write
		for range rnd.IntN(8) + 1 {
			g := rnd.IntN(Groups)
			m := &ms[g]
			dup := false
			for _, a := range w.Appends {
				dup = dup || a.Group == g
			}
			if dup {
				continue
			}
			next := m.trunc.Index + uint64(len(m.terms)) + 1
			if len(m.terms) > 0 && rnd.IntN(4) == 0 {
				term++
				next -= uint64(rnd.IntN(len(m.terms)) + 1)
			}
			es := entries(next, next+uint64(rnd.IntN(5)), term)
			w.Appends = append(w.Appends, Append{g, es})
			m.terms = m.terms[:next-m.trunc.Index-1]
			for range es {
				m.terms = append(m.terms, term)
			}
			m.hard = HardState{Term: term, Vote: 1, Commit: next - 1}
			w.Hard = append(w.Hard, GroupHard{g, m.hard})
		}
		write(t, l, w)
		if rnd.IntN(5) == 0 {
			g := rnd.IntN(Groups)
			if m := &ms[g]; len(m.terms) > 0 {
				n := rnd.IntN(len(m.terms)) + 1
				write(t, l, Write{Truncs: []GroupTrunc{{g, m.trunc.Index + uint64(n)}}})
				m.trunc = Position{m.trunc.Index + uint64(n), m.terms[n-1]}
				m.terms = m.terms[n:]
			}
		}
		if step%50 == 49 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			var groups *[Groups]GroupLog
			l, groups = openLog(t, dir, false)
			for g, m := range ms {
				last := m.trunc
				if n := len(m.terms); n > 0 {
					last = Position{m.trunc.Index + uint64(n), m.terms[n-1]}
				}
				if got := (GroupLog{Hard: m.hard, Trunc: m.trunc, Last: last}); groups[g] != got {
					t.Fatalf("group %d: %+v instead of %+v", g, groups[g], got)
				}
			}
		}
		for g, m := range ms {
			if n := uint64(len(m.terms)); n > 0 && rnd.IntN(10) == 0 {
				es, err := l.Read(g, m.trunc.Index+1, m.trunc.Index+1+n, 1<<30)
				if err != nil || uint64(len(es)) != n {
					t.Fatal(len(es), err)
				}
				for i, e := range es {
					if e.Term != m.terms[i] || string(e.Data) != fmt.Sprintf("entry %d of term %d", e.Index, e.Term) {
						t.Fatalf("group %d: %+v", g, e)
					}
				}
				if es, err := l.Read(g, m.trunc.Index+1, m.trunc.Index+1+n, 0); err != nil || len(es) != 1 {
					t.Fatal(len(es), err)
				}
			}
		}
	}
	if _, err := l.Read(0, ms[0].trunc.Index, ms[0].trunc.Index+1, 1); !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
}

// The engine opens a log whose newest file is cut as if nothing were missing.
// The tail mark is what objects.
func TestLog_ACutTailIsNoticed(t *testing.T) {
	dir := t.TempDir()
	l, _ := openLog(t, dir, true)
	for i := uint64(2); i < 50; i++ {
		write(t, l, Write{Appends: []Append{{7, entries(i, i, 1)}}})
	}
	saved := t.TempDir()
	if err := os.CopyFS(saved, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	var newest string
	for _, n := range mustGlob(t, filepath.Join(saved, LogDir, "*.log")) {
		newest = max(newest, n)
	}
	b, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, cut := range []int{1, 20, 200, 1000} {
		if err := os.WriteFile(newest, b[:len(b)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		at := t.TempDir()
		if err := os.CopyFS(at, os.DirFS(saved)); err != nil {
			t.Fatal(err)
		}
		l, groups, err := OpenLog(logConfig(at, false))
		if err == nil {
			if groups[7].Last.Index != 49 {
				t.Fatalf("cut by %d: opened with its end at %d", cut, groups[7].Last.Index)
			}
			l.Close()
			continue
		}
		refused++
		if !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		t.Log(err)
	}
	if refused < 3 {
		t.Fatalf("only %d of 4 cuts refused", refused)
	}
}

func mustGlob(t testing.TB, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatal(pattern, err)
	}
	return names
}

// Damage that the engine itself cannot know of: written through it.
func TestLog_AGapOrForeignEntryIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name string
		hurt func(l *Log) error
		want string
	}{
		{"gap", func(l *Log) error { return l.db.Delete(entryKey(nil, 7, 20), nil) }, "index 21 follows 19"},
		{"lost end", func(l *Log) error { return l.db.Delete(entryKey(nil, 7, 49), nil) }, "shard 7 ends at index 48"},
		{"foreign entry", func(l *Log) error {
			e := Entry{Index: 20, Term: 1, Data: []byte("another")}
			key := entryKey(nil, 7, 20)
			val := make([]byte, entryOverhead+len(e.Data))
			putEntry(val, key, &e, 12345)
			return l.db.Set(key, val, nil)
		}, "index 20 does not continue 19"},
		{"lost turn", func(l *Log) error { return l.db.Set(keySeq, appendSeq(nil, l.seq-1), nil) }, "the tail mark says"},
		{"lost record", func(l *Log) error { return l.db.Delete([]byte{'h', 3}, nil) }, "shard 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l, _ := openLog(t, dir, true)
			write(t, l, Write{Appends: []Append{{7, entries(2, 49, 1)}}})
			if err := c.hurt(l); err != nil {
				t.Fatal(err)
			}
			l.Close()
			_, _, err := OpenLog(logConfig(dir, false))
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Fatal(err)
			}
		})
	}
}
