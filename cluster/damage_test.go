package cluster

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/seal"
)

// damagedNode is a closed node's directory with tables, a truncated log, a log tail
// that is only in the log, and slots.
func damagedNode(t testing.TB) (crashed, closed string, want map[string]string) {
	t.Helper()
	dir := t.TempDir()
	h := open(t, testConfig(dir))
	for n := uint64(0); n < 300; n++ {
		put(t, h, ShardID(n%65), n, strings.Repeat("v", int(n)))
	}
	if err := h.Compact(); err != nil {
		t.Fatal(err)
	}
	for n := uint64(300); n < 600; n++ {
		put(t, h, ShardID(n%65), n, strings.Repeat("w", int(n)))
	}
	for id := uint64(1); id <= 3; id++ {
		v := seal.NewSecret([]byte(strings.Repeat(fmt.Sprint(id), 32)))
		if err := h.Slots().Put(id, &v); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Slots().Erase(3); err != nil {
		t.Fatal(err)
	}
	want = dump(t, h)
	crashed = copyDir(t, dir)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	return crashed, dir, want
}

// judge opens a damaged directory: it must refuse, or be right.
func judge(t *testing.T, dir string, want map[string]string) (refused error) {
	t.Helper()
	h, err := Open(testConfig(dir))
	if err != nil {
		return err
	}
	defer h.Close()
	got := map[string]string{}
	err = h.View(func(r storage.Reader) error {
		return r.Scan(nil, nil, false, func(k, v []byte) (bool, error) {
			got[string(k)] = string(v)
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		t.Errorf("opened with %d keys instead of %d", len(got), len(want))
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("opened with a wrong value")
			break
		}
	}
	for id := uint64(1); id <= 2; id++ {
		v, err := h.Slots().Get(id)
		if err != nil {
			return err
		}
		if string(v.Bytes()) != strings.Repeat(fmt.Sprint(id), 32) {
			t.Errorf("slot %d has another value", id)
		}
	}
	if _, err := h.Slots().Get(3); err != storage.ErrErased {
		t.Errorf("erased slot: %v", err)
	}
	return nil
}

func nodeFiles(t testing.TB, dir string) []string {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if ext := filepath.Ext(path); ext != ".mem" && ext != ".vlog" { // never copied, never read
				rel, _ := filepath.Rel(dir, path)
				files = append(files, rel)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(files)
	return files
}

var damageRounds = flag.Int("damage.rounds", 4, "bits flipped in each file")

func TestDamage_AFlippedBitIsNeverServed(t *testing.T) {
	crashed, closed, want := damagedNode(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	rounds := *damageRounds
	if testing.Short() {
		rounds = 1
	}
	for how, dir := range map[string]string{"crashed": crashed, "closed": closed} {
		if err := judge(t, copyDir(t, dir), want); err != nil {
			t.Fatal("undamaged:", err)
		}
		for _, name := range nodeFiles(t, dir) {
			t.Run(how+"-"+strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
				refused := 0
				for i := range rounds {
					hurt := copyDir(t, dir)
					path := filepath.Join(hurt, name)
					b, err := os.ReadFile(path)
					if err != nil || len(b) == 0 {
						t.Skip("does not count")
					}
					at := rnd.IntN(len(b))
					if i == 0 {
						at = min(len(b)-1, 5)
					}
					b[at] ^= 1 << rnd.IntN(8)
					if err := os.WriteFile(path, b, 0o600); err != nil {
						t.Fatal(err)
					}
					if err := judge(t, hurt, want); err != nil {
						refused++
						t.Logf("byte %d of %d: %v", at, len(b), err)
					}
					os.RemoveAll(hurt)
				}
				t.Logf("%d of %d refused, the others right", refused, rounds)
			})
		}
	}
}

func TestDamage_AMissingOrCutFileIsNeverSilent(t *testing.T) {
	dir, _, want := damagedNode(t)
	for _, name := range nodeFiles(t, dir) {
		for _, cut := range []int{-1, 3, 1000} {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(name, "/", "-"), cut), func(t *testing.T) {
				hurt := copyDir(t, dir)
				defer os.RemoveAll(hurt)
				path := filepath.Join(hurt, name)
				fi, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if cut < 0 {
					err = os.Remove(path)
				} else {
					err = os.Truncate(path, max(0, fi.Size()-int64(cut)))
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := judge(t, hurt, want); err != nil {
					t.Log(err)
				}
			})
		}
	}
}
