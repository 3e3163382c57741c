package storage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func stateConfig(dir string, found bool) StateConfig {
	return StateConfig{Dir: dir, ID: Identity{1}, Found: found, Start: AppliedAt{Index: 1, Term: 1},
		Fault: NewFault(), Log: slog.New(slog.DiscardHandler)}
}

func openState(t testing.TB, dir string, found bool) *State {
	t.Helper()
	s, err := OpenState(stateConfig(dir, found), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

type pair struct{ k, v string }

func scanAll(t testing.TB, r Reader, prefix, from string, reverse bool) (out []pair) {
	t.Helper()
	var f []byte
	if from != "" {
		f = []byte(from)
	}
	err := r.Scan([]byte(prefix), f, reverse, func(k, v []byte) (bool, error) {
		out = append(out, pair{string(k), string(v)})
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func modelScan(m map[string]string, prefix, from string, reverse bool) (out []pair) {
	for k, v := range m {
		if strings.HasPrefix(k, prefix) && (from == "" || !reverse && k >= from || reverse && k <= from) {
			out = append(out, pair{k, v})
		}
	}
	slices.SortFunc(out, func(a, b pair) int {
		if reverse {
			a, b = b, a
		}
		return strings.Compare(a.k, b.k)
	})
	return out
}

// Reads inside a turn see its writes, commands can be dropped, and what is
// committed is what a map would hold.
func TestTurn_AgreesWithAModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	dir := t.TempDir()
	s := openState(t, dir, true)
	turn := s.NewTurn()
	model := map[string]string{}
	key := func() string {
		alphabet := "ab\xff"
		k := make([]byte, rnd.IntN(4)+1)
		for i := range k {
			k[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return string(k)
	}
	check := func(r Reader, m map[string]string) {
		t.Helper()
		for range 3 {
			k := key()
			v, ok, err := r.Get([]byte(k))
			if want, wok := m[k]; err != nil || ok != wok || string(v) != want {
				t.Fatalf("get %q: %q %v %v instead of %q %v", k, v, ok, err, want, wok)
			}
			prefix, from, reverse := "", "", rnd.IntN(2) == 0
			if rnd.IntN(3) > 0 {
				prefix = k[:rnd.IntN(len(k))]
			}
			if rnd.IntN(2) == 0 {
				from = k
			}
			if got, want := scanAll(t, r, prefix, from, reverse), modelScan(m, prefix, from, reverse); !slices.Equal(got, want) {
				t.Fatalf("scan %q from %q reverse %v: %q instead of %q", prefix, from, reverse, got, want)
			}
		}
	}
	applied := *s.Applied()
	for step := range 400 {
		turn.Begin()
		for range rnd.IntN(5) {
			before := map[string]string{}
			for k, v := range model {
				before[k] = v
			}
			turn.Command()
			for range rnd.IntN(6) {
				k := key()
				if rnd.IntN(3) == 0 {
					if err := turn.Delete([]byte(k)); err != nil {
						t.Fatal(err)
					}
					delete(model, k)
				} else {
					v := fmt.Sprint(step, rnd.IntN(1000))
					if err := turn.Set([]byte(k), []byte(v)); err != nil {
						t.Fatal(err)
					}
					model[k] = v
				}
				check(turn, model)
			}
			switch rnd.IntN(4) {
			case 0:
				turn.Drop()
				model = before
			case 1:
				if err := turn.Split(&applied); err != nil {
					t.Fatal(err)
				}
			}
			check(turn, model)
		}
		applied[3].Index++
		if err := turn.Commit(&applied); err != nil {
			t.Fatal(err)
		}
		if err := s.View(func(r Reader) error { check(r, model); return nil }); err != nil {
			t.Fatal(err)
		}
		if step%100 == 99 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if *s.Floor() != applied {
				t.Fatal("after Flush the log may be cut everywhere")
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openState(t, dir, false)
	if *s.Applied() != applied {
		t.Fatal("applied position is lost")
	}
	if err := s.View(func(r Reader) error {
		if got, want := scanAll(t, r, "", "", false), modelScan(model, "", "", false); !slices.Equal(got, want) {
			t.Fatalf("%d keys instead of %d", len(got), len(want))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestTurn_Limits(t *testing.T) {
	s := openState(t, t.TempDir(), true)
	turn := s.NewTurn()
	applied := *s.Applied()
	big := make([]byte, MaxValue)
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"longest key", func() error { return turn.Set(bytes.Repeat([]byte{1}, MaxKey), nil) }, nil},
		{"key too long", func() error { return turn.Set(bytes.Repeat([]byte{1}, MaxKey+1), nil) }, ErrKeySize},
		{"empty key", func() error { return turn.Set(nil, nil) }, ErrKeySize},
		{"store's own key", func() error { return turn.Set([]byte{0, 'a'}, nil) }, ErrKeySize},
		{"engine's own key", func() error { return turn.Set([]byte("!badger!x"), nil) }, ErrKeySize},
		{"longest value", func() error { return turn.Set([]byte("k"), big) }, nil},
		{"value too long", func() error { return turn.Set([]byte("k"), append(big, 0)) }, ErrValueSize},
		{"most keys", func() error { return manyKeys(turn, MaxCommandKeys) }, nil},
		{"too many keys", func() error { return manyKeys(turn, MaxCommandKeys+1) }, ErrTxFull},
		{"too many bytes", func() error {
			for i := range 4 {
				if err := turn.Set([]byte{byte('a' + i)}, big); err != nil {
					return err
				}
			}
			return nil
		}, ErrTxFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			turn.Begin()
			turn.Command()
			if err := c.do(); !errors.Is(err, c.want) {
				t.Fatal(err)
			}
			if c.want != nil {
				if err := turn.Set([]byte("k"), nil); err == nil {
					t.Fatal("a refused command goes on writing")
				}
				turn.Drop()
			}
			if err := turn.Commit(&applied); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func manyKeys(turn *Turn, n int) error {
	for i := range n {
		if err := turn.Set(fmt.Appendf(nil, "key%d", i), nil); err != nil {
			return err
		}
	}
	return nil
}

// Commands that do not fit one transaction together are split, each staying
// whole.
func TestTurn_SplitsBetweenCommands(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir, true)
	turn := s.NewTurn()
	applied := *s.Applied()
	turn.Begin()
	splits := 0
	for i := range 12 {
		turn.Command()
		for j := range 2 {
			if err := turn.Set(fmt.Appendf(nil, "%02d-%d", i, j), bytes.Repeat([]byte{byte(i)}, MaxValue)); err != nil {
				t.Fatal(err)
			}
		}
		if turn.Full() {
			splits++
			if err := turn.Split(&applied); err != nil {
				t.Fatal(err)
			}
		}
		applied[1].Sub++
	}
	if err := turn.Commit(&applied); err != nil {
		t.Fatal(err)
	}
	if splits == 0 {
		t.Fatal("24 MiB in one transaction")
	}
	if err := s.View(func(r Reader) error {
		if n := len(scanAll(t, r, "", "", false)); n != 24 {
			t.Fatalf("%d keys", n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Only finished tables count at open, and they are an exact prefix: the number of
// records is the applied index, wherever the crash came.
func TestState_TablesAreAnExactPrefix(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir, true)
	turn := s.NewTurn()
	applied := *s.Applied()
	seen := 0
	val := bytes.Repeat([]byte("v"), 100_000)
	for n := uint64(0); n < 1200; n++ {
		turn.Begin()
		turn.Command()
		if err := turn.Set(fmt.Appendf(nil, "r%06d", n), val); err != nil {
			t.Fatal(err)
		}
		applied[0].Index = n + 2
		if err := turn.Commit(&applied); err != nil {
			t.Fatal(err)
		}
		if n%200 != 199 {
			continue
		}
		floor := s.Floor()[0].Index
		copied := t.TempDir()
		copyState(t, dir, copied)
		c := openState(t, copied, false)
		at := c.Applied()[0].Index
		if at < floor {
			t.Fatalf("tables reach to %d, the floor said %d", at, floor)
		}
		if err := c.View(func(r Reader) error {
			if got := len(scanAll(t, r, "r", "", false)); uint64(got) != at-1 {
				t.Fatalf("%d records at applied index %d", got, at)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if at > 1 {
			seen++
		}
		c.Close()
		os.RemoveAll(copied)
	}
	if seen == 0 {
		t.Fatal("no table was ever finished: the test shows nothing")
	}
}

// copyState copies a state in use. The manifest goes first: tables it names are
// complete, unless compaction removes one in between, then it starts again.
func copyState(t testing.TB, from, to string) {
	t.Helper()
	for range 20 {
		os.RemoveAll(filepath.Join(to, StateDir))
		if os.MkdirAll(filepath.Join(to, StateDir), 0o700) != nil {
			t.Fatal("mkdir")
		}
		ok := true
		names, err := os.ReadDir(filepath.Join(from, StateDir))
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(names, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		slices.Reverse(names) // MANIFEST sorts after the digits
		for _, n := range names {
			if !strings.HasSuffix(n.Name(), ".sst") && n.Name() != "MANIFEST" {
				continue
			}
			b, err := os.ReadFile(filepath.Join(from, StateDir, n.Name()))
			ok = ok && err == nil
			if err := os.WriteFile(filepath.Join(to, StateDir, n.Name()), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if named, err := readManifest(filepath.Join(to, StateDir, "MANIFEST")); ok && err == nil {
			for id := range named {
				_, err := os.Stat(filepath.Join(to, StateDir, fmt.Sprintf("%06d.sst", id)))
				ok = ok && err == nil
			}
			if ok {
				return
			}
		}
	}
	t.Fatal("the state never holds still")
}

// When the state is refused, nothing the engine would have deleted is lost.
func TestState_ARefusedStateKeepsItsFiles(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir, true)
	turn := s.NewTurn()
	applied := *s.Applied()
	for i := range 3 {
		turn.Begin()
		turn.Command()
		if err := turn.Set([]byte{'k', byte(i)}, []byte("v")); err != nil {
			t.Fatal(err)
		}
		applied[0].Index++
		if err := turn.Commit(&applied); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	path := filepath.Join(dir, StateDir, "MANIFEST")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	tables := len(mustGlob(t, filepath.Join(dir, StateDir, "*.sst")))
	behind := errors.New("behind")
	_, err = OpenState(stateConfig(dir, false), func(a *Applied) error {
		if a[0].Index < applied[0].Index {
			return behind
		}
		return nil
	})
	if !errors.Is(err, behind) {
		t.Fatal(err)
	}
	if n := len(mustGlob(t, filepath.Join(dir, StateDir, "*.sst"))); n != tables {
		t.Fatalf("%d of %d tables are left", n, tables)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := openState(t, dir, false); *s.Applied() != applied {
		t.Fatal("repaired, and still not what it was")
	}
}
