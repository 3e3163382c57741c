package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/seal"
)

// kv is a state machine for tests: a command is an 8-byte number, and a value. It
// stores the value under shard and number, and the number of commands of the
// shard under the shard's head. The result is that count.
type kv struct {
	resets, commits int
}

func kvKey(s ShardID, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'d', byte(s)}, n)
}

func kvHead(s ShardID) []byte { return []byte{'h', byte(s)} }

func kvCommand(n uint64, val []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, n), val...)
}

func (m *kv) Apply(tx storage.Tx, c Command) any {
	if len(c.Data) < 8 {
		return fmt.Errorf("short command")
	}
	n := binary.BigEndian.Uint64(c.Data)
	old, ok, err := tx.Get(kvHead(c.Shard))
	if err != nil {
		return err
	}
	count := uint64(1)
	if ok {
		count = binary.BigEndian.Uint64(old) + 1
	}
	if err := tx.Set(kvKey(c.Shard, n), c.Data[8:]); err != nil {
		return err
	}
	if err := tx.Set(kvHead(c.Shard), binary.BigEndian.AppendUint64(nil, count)); err != nil {
		return err
	}
	return count
}

func (m *kv) Committed([]ShardID) { m.commits++ }
func (m *kv) Reset(ShardID)       { m.resets++ }

func testConfig(dir string) Config {
	return Config{Dir: dir, Env: seal.Sandbox, BarrierCheck: [32]byte{1}, SlotKey: seal.NewSecret(make([]byte, 32)), SM: &kv{}}
}

func open(t testing.TB, cfg Config) *Host {
	t.Helper()
	h, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// put proposes and waits.
func put(t testing.TB, h *Host, s ShardID, n uint64, val string) uint64 {
	t.Helper()
	res, err := propose(h, s, kvCommand(n, []byte(val)))
	if err != nil {
		t.Fatal(err)
	}
	return res.(uint64)
}

func propose(h *Host, s ShardID, data []byte) (any, error) {
	type answer struct {
		res any
		err error
	}
	ch := make(chan answer, 1)
	h.Propose(s, data, func(res any, err error) { ch <- answer{res, err} })
	a := <-ch
	return a.res, a.err
}

// state reads everything.
func dump(t testing.TB, h *Host) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := h.View(func(r storage.Reader) error {
		return r.Scan(nil, nil, false, func(k, v []byte) (bool, error) {
			m[string(k)] = string(v)
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// copyDir copies a node's directory as a crash would leave it: without the
// memory tables, and at one moment. Tables come and go in the background, so a
// copy during which the list of files changed is made again.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to, err := os.MkdirTemp("", "holdfast-copy-")
	if err != nil {
		t.Fatal(err)
	}
	// A refused open may still be clearing its files up.
	t.Cleanup(func() { _ = os.RemoveAll(to) })
	for range 50 {
		before := fileList(from)
		if err := copyOnce(from, to); err == nil && fileList(from) == before {
			return to
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the directory did not stand still")
	return ""
}

// fileList names the files of a directory, with the size of what names others.
func fileList(dir string) (list string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".mem" {
			list += path
			if fi, err := d.Info(); err == nil && strings.HasPrefix(d.Name(), "MANIFEST") {
				list += fmt.Sprint(fi.Size())
			}
			list += "\n"
		}
		return nil
	})
	return list
}

func copyOnce(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case filepath.Ext(path) == ".mem" || filepath.Ext(path) == ".vlog":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}

func TestHost_ProposeThenViewThenReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	h := open(t, testConfig(dir))
	for s := ShardID(0); s <= Meta; s++ {
		for n := uint64(0); n < 5; n++ {
			if got := put(t, h, s, n, fmt.Sprint(s, n)); got != n+1 {
				t.Fatalf("shard %d command %d: count %d", s, n, got)
			}
		}
	}
	if err := h.ReadBarrier(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	want := dump(t, h)
	if len(want) != 65*6 {
		t.Fatalf("%d keys", len(want))
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, testConfig(dir))
	if got := dump(t, h); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatal("state differs after reopening")
	}
	if term, leader := h.Term(Meta); !leader || term < 2 {
		t.Fatalf("term %d leader %v", term, leader)
	}
}

func TestHost_StateSurvivesACopyTakenWhileRunning(t *testing.T) {
	dir := t.TempDir()
	h := open(t, testConfig(dir))
	for n := uint64(0); n < 200; n++ {
		put(t, h, ShardID(n%65), n, "value")
	}
	want := dump(t, h)
	h2 := open(t, testConfig(copyDir(t, dir)))
	if got := dump(t, h2); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%d keys after the crash, %d before", len(got), len(want))
	}
}
