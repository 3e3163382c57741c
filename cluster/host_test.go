package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"holdfast/storage"
)

// writer is a state machine whose commands say how much to write: the first byte
// is the number of values, the rest the value.
type writer struct {
	mu     sync.Mutex
	resets []ShardID
}

func (w *writer) Apply(tx storage.Tx, c Command) any {
	for i := range int(c.Data[0]) {
		key := fmt.Appendf(nil, "%02d-%08d-%03d-%03d", c.Shard, c.Index, c.Sub, i)
		if err := tx.Set(key, c.Data[1:]); err != nil {
			return err
		}
	}
	return "done"
}

func (w *writer) Committed([]ShardID) {}

func (w *writer) Reset(s ShardID) {
	w.mu.Lock()
	w.resets = append(w.resets, s)
	w.mu.Unlock()
}

func TestPropose_ACommandBeyondTheLimitsLeavesNothing(t *testing.T) {
	sm := &writer{}
	cfg := testConfig(t.TempDir())
	cfg.SM = sm
	h := open(t, cfg)
	huge := append([]byte{5}, make([]byte, 900_000)...)
	res, err := propose(h, 9, huge)
	if !errors.Is(err, storage.ErrTxFull) || res != nil {
		t.Fatal(res, err)
	}
	if len(dump(t, h)) != 0 {
		t.Fatal("part of it was written")
	}
	if sm.mu.Lock(); len(sm.resets) != 1 || sm.resets[0] != 9 {
		t.Fatal("caches were not reset:", sm.resets)
	}
	sm.mu.Unlock()
	if res, err := propose(h, 9, append([]byte{2}, "ok"...)); res != "done" || err != nil {
		t.Fatal(res, err)
	}
	if _, err := propose(h, 9, make([]byte, MaxCommand+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if _, err := propose(h, 9, make([]byte, MaxCommand)); err != nil { // writes nothing: its first byte is 0
		t.Fatal("longest command:", err)
	}
	if _, err := propose(h, Meta+1, []byte{0}); err == nil {
		t.Fatal("a shard that does not exist")
	}
}

// Commands that together exceed one transaction, in one entry and over several, all
// arrive, now and after a crash.
func TestPropose_LargeTurnsAreSplit(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig(dir)
	cfg.SM = &writer{}
	h := open(t, cfg)
	var wg sync.WaitGroup
	const n = 40
	for i := range n {
		wg.Add(1)
		// Short commands with much to write: several fit an entry.
		data := append([]byte{200}, bytes.Repeat([]byte{byte(i)}, 10_000)...)
		h.Propose(ShardID(i%2), data, func(res any, err error) {
			if res != "done" || err != nil {
				t.Error(res, err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	want := dump(t, h)
	if len(want) != n*200 {
		t.Fatalf("%d keys", len(want))
	}
	cfg.Dir = copyDir(t, dir)
	h2 := open(t, cfg)
	if !maps.Equal(dump(t, h2), want) {
		t.Fatal("replay makes another state")
	}
}

func TestPropose_QueueIsBounded(t *testing.T) {
	sm := &gate{open: make(chan struct{}), entered: make(chan struct{}, 1)}
	cfg := testConfig(t.TempDir())
	cfg.SM = sm
	h := open(t, cfg)
	results := make(chan error, 1000)
	h.Propose(1, []byte{1}, func(_ any, err error) { results <- err })
	<-sm.entered
	const n = 100
	for range n {
		h.Propose(1, make([]byte, 1_000_000), func(_ any, err error) { results <- err })
	}
	busy := 0
	for range n - maxShardQueued/1_000_000 {
		if err := <-results; !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		busy++
	}
	close(sm.open)
	for range n + 1 - busy {
		if err := <-results; err != nil && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
	}
	if _, err := propose(h, 1, []byte{1}); err != nil {
		t.Fatal("room was not given back:", err)
	}
	if q := h.Status().Queued; q != 0 {
		t.Fatalf("%d bytes still counted", q)
	}
}

// gate holds the applier until it is opened.
type gate struct {
	open, entered chan struct{}
}

func (g *gate) Apply(storage.Tx, Command) any {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	return nil
}
func (g *gate) Committed([]ShardID) {}
func (g *gate) Reset(ShardID)       {}

type panicky struct{}

func (panicky) Apply(storage.Tx, Command) any { panic("rule broken") }
func (panicky) Committed([]ShardID)           {}
func (panicky) Reset(ShardID)                 {}

func TestApply_APanicStopsTheHost(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.SM = panicky{}
	h := open(t, cfg)
	if _, err := propose(h, 1, []byte("x")); !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	<-h.Failed()
	if st := h.Status(); st.Failure == "" || st.Writable {
		t.Fatalf("%+v", st)
	}
}

func TestRoles_EveryShardIsLedAfterOpen(t *testing.T) {
	h := open(t, testConfig(t.TempDir()))
	led := map[ShardID]uint64{}
	h.OnRole(func(s ShardID, leader bool, term uint64) {
		if !leader {
			t.Error("not leader of", s)
		}
		led[s] = term
	})
	if len(led) != Shards+1 {
		t.Fatalf("%d shards led", len(led))
	}
	for s, term := range led {
		if got, leader := h.Term(s); !leader || got != term {
			t.Fatal(s, got, leader)
		}
		if err := h.ReadBarrier(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.ReadBarrier(gone, 1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := json.Marshal(h.Status()); err != nil {
		t.Fatal(err)
	}
	if _, leader := h.Term(200); leader {
		t.Fatal("leads a shard that does not exist")
	}
}

func TestClose_LaterCallsFail(t *testing.T) {
	h := open(t, testConfig(t.TempDir()))
	put(t, h, 1, 1, "one")
	for range 2 {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := propose(h, 1, kvCommand(2, nil)); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if err := h.View(func(storage.Reader) error { return nil }); err == nil {
		t.Fatal("a view of a closed host")
	}
	if err := h.Compact(); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

func TestShardOf_IsTheTopSixBits(t *testing.T) {
	for b := range 256 {
		if got := ShardOf([16]byte{byte(b), 0xff}); got != ShardID(b/4) || got >= Shards {
			t.Fatal(b, got)
		}
	}
}
