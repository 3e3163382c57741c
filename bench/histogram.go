package bench

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width is at most 1/64 of their
// value, so a percentile is at most 1.6 % too high. The zero value is empty.
// One goroutine at a time; merge joins those of several.
type histogram struct {
	counts [64 * 60]uint32
	n      uint64
	max    time.Duration
}

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 128 {
		return int(v)
	}
	shift := bits.Len64(v) - 7 // leaves 64..127
	return shift*64 + int(v>>shift)
}

// upper is the largest duration that falls into bucket i.
func upper(i int) time.Duration {
	if i < 128 {
		return time.Duration(i)
	}
	shift := i/64 - 1
	return time.Duration((uint64(i-shift*64)+1)<<shift - 1)
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile gives the duration that a share q (0..1) of the counted ones did not
// exceed; 0 when empty.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q*float64(h.n-1)) + 1
	var seen uint64
	for i, c := range h.counts {
		if seen += uint64(c); seen >= rank {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }
