package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogram_BucketsAreContiguousAndNarrow(t *testing.T) {
	last := time.Duration(-1)
	for i := range 64 * 50 {
		u := upper(i)
		if bucket(u) != i || bucket(last+1) != i {
			t.Fatalf("bucket %d: upper %d falls into %d, lower %d into %d", i, u, bucket(u), last+1, bucket(last+1))
		}
		if width := u - last; i >= 128 && float64(width) > float64(u)/64+1 {
			t.Fatalf("bucket %d is %d wide at %d", i, width, u)
		}
		last = u
	}
	if bucket(1<<63-1) >= len(histogram{}.counts) {
		t.Fatal("the longest duration has no bucket")
	}
	if bucket(-5) != 0 {
		t.Fatal("a negative duration should count as 0")
	}
}

func TestHistogram_QuantilesFollowSortedValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, a, b histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(r.ExpFloat64() * 3e6)
		all = append(all, d)
		h.add(d)
		if i%2 == 0 {
			a.add(d)
		} else {
			b.add(d)
		}
	}
	a.merge(&b)
	if a != h {
		t.Fatal("merged histograms differ from one")
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.99, 0.999, 1} {
		want := all[int(q*float64(len(all)-1))]
		got := h.quantile(q)
		if got < want || float64(got) > float64(want)*1.02+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if (&histogram{}).quantile(0.5) != 0 {
		t.Error("an empty histogram has a quantile")
	}
}
