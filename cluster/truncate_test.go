package cluster

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
)

// load proposes n commands of size bytes over all shards, from number from on, and waits.
func load(t testing.TB, h *Host, from, n, size int) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	room := make(chan struct{}, 256)
	val := strings.Repeat("x", size)
	for i := from; i < from+n; i++ {
		wg.Add(1)
		room <- struct{}{}
		h.Propose(ShardID(i%65), kvCommand(uint64(i), []byte(fmt.Sprint(i, val))), func(_ any, err error) {
			if err != nil {
				mu.Lock()
				first = err
				mu.Unlock()
			}
			<-room
			wg.Done()
		})
	}
	wg.Wait()
	if first != nil {
		t.Fatal(first)
	}
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for ", what)
		}
		<-tick.C
	}
}

func TestLog_IsCutOnlyBelowFinishedTables(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MB")
	}
	dir := t.TempDir()
	h := open(t, testConfig(dir))
	n := 0
	firstIndex := func() uint64 { return h.Status().Shards[3].First }
	start := firstIndex()
	for firstIndex() == start {
		load(t, h, n, 6500, 1000)
		if n += 6500; n > 200_000 {
			t.Fatal("the log is never cut")
		}
	}
	want := dump(t, h)
	// A crash at this moment: whatever memory tables held is gone.
	crashed := copyDir(t, dir)
	h2 := open(t, testConfig(crashed))
	if got := dump(t, h2); !maps.Equal(got, want) {
		t.Fatalf("%d keys after the crash, %d before", len(got), len(want))
	}
	if h2.Status().Shards[3].First <= start {
		t.Fatal("the copy's log was not cut")
	}
}

func TestCompact_LeavesAlmostNoLogAndAllData(t *testing.T) {
	dir := t.TempDir()
	h := open(t, testConfig(dir))
	load(t, h, 0, 6500, 1000)
	before := h.Status()
	if err := h.Compact(); err != nil {
		t.Fatal(err)
	}
	after := h.Status()
	for s, st := range after.Shards {
		if st.First != st.Last+1 || st.Applied != st.Last {
			t.Fatalf("shard %d: log from %d to %d, applied %d", s, st.First, st.Last, st.Applied)
		}
	}
	t.Logf("log %d KiB -> %d KiB, state %d KiB -> %d KiB", before.LogBytes>>10, after.LogBytes>>10, before.StateBytes>>10, after.StateBytes>>10)
	load(t, h, 6500, 650, 1000)
	want := dump(t, h)
	h2 := open(t, testConfig(copyDir(t, dir)))
	if got := dump(t, h2); !maps.Equal(got, want) {
		t.Fatalf("%d keys after the crash, %d before", len(got), len(want))
	}
}

func TestLog_StaysBoundedWhenTheStateDoesNotGrow(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 60 MB")
	}
	cfg := testConfig(t.TempDir())
	cfg.maxLog = 8 << 20
	h := open(t, cfg)
	load(t, h, 0, 6500, 2000)
	// The next turns notice that the table is finished.
	n := 6500
	waitFor(t, "a cut log", func() bool {
		load(t, h, n, 65, 10)
		n += 65
		return h.Status().Shards[3].First > 10
	})
}
