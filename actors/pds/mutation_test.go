package pds

import (
	"fmt"
	"math"
	"testing"

	"holdfast/storage/seal"
)

// Only a mutation that condemns both slots of a link's keys revokes it: what
// was revoked must not be opened again with a copy of the disk.
func TestMutation_RevokeCondemnsTheKeys(t *testing.T) {
	w := newWorld()
	w.must(t, "ann", w.mutate("ann", w.register("ann", nil)))
	w.must(t, "ann", w.mutate("ann", w.consent("ann", "acme", seal.Approve, nil)))
	l := w.control("ann").Link(linkOf("ann", "acme"))
	c, g := l.SlotC.ID, l.SlotG.ID
	for _, erase := range [][]uint64{nil, {c}, {g}, {c, c}, {c + 1000, g}} {
		mu := w.consent("ann", "acme", seal.Revoke, nil)
		mu.Erase = erase
		if code := w.outcome(t, "ann", w.mutate("ann", mu)); code != CodeMalformed {
			t.Errorf("revoked while erasing %v: %v", erase, code)
		}
		if w.control("ann").Link(linkOf("ann", "acme")).State != LinkActive {
			t.Fatal("the refused mutation took effect")
		}
	}
	// What the link is replaced by must not say which slots these are.
	mu := w.consent("ann", "acme", seal.Revoke, nil)
	mu.Link.SlotC, mu.Link.SlotG = slotOf(77), slotOf(78)
	mu.Erase = []uint64{mu.Link.SlotC.ID, mu.Link.SlotG.ID}
	if code := w.outcome(t, "ann", w.mutate("ann", mu)); code != CodeMalformed {
		t.Errorf("revoked while erasing other slots: %v", code)
	}
	w.must(t, "ann", w.mutate("ann", w.consent("ann", "acme", seal.Revoke, nil)))
}

// An end that does not fit into milliseconds is refused, not taken for one
// that has passed, nor for one that never comes.
func TestMutation_EndIsBounded(t *testing.T) {
	w := newWorld()
	w.must(t, "ann", w.mutate("ann", w.register("ann", nil)))
	for _, end := range []int64{maxNotAfter + 1, math.MaxInt64 / 1000, math.MaxInt64/1000 + 1, math.MaxInt64} {
		mu := w.consent("ann", "acme", seal.Approve, wrong{"notafter": fmt.Sprint(end)})
		if code := w.outcome(t, "ann", w.mutate("ann", mu)); code != CodeBadStatement {
			t.Errorf("end %d: %v", end, code)
		}
	}
	w.must(t, "ann", w.mutate("ann", w.consent("ann", "acme", seal.Approve, wrong{"notafter": fmt.Sprint(int64(maxNotAfter))})))
	for _, c := range []struct {
		end, now int64
		want     bool
	}{
		{0, math.MaxInt64, false},
		{5, 5000, false},
		{5, 5001, true},
		{maxNotAfter, 1 << 45, false},
		{math.MaxInt64, 1 << 45, false},
	} {
		if got := ended(c.end, c.now); got != c.want {
			t.Errorf("ended(%d, %d) = %v", c.end, c.now, got)
		}
	}
}
