package block

import (
	"fmt"
	"testing"
)

// The workload of the straw-man (peerbench/wl): its generator and words, so
// that sizes can be compared. Grouped: 20 rows of a member stand together.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

var (
	sensors = []string{"temp-living", "temp-bedroom", "hum-bath", "power-main", "co2-office", "heart-rate", "steps", "water-main"}
	units   = []string{"Cel", "Cel", "%RH", "W", "ppm", "1/min", "count", "L"}
	quals   = []string{"good", "good", "good", "good", "good", "good", "good", "uncertain"}
	mccs    = []string{"5411", "5812", "5541", "4111", "5912", "5999", "4814", "7832", "5651", "6011"}
	shops   = []string{"Grocer Market", "Corner Cafe", "City Fuel", "Metro Transit", "Green Pharmacy", "Online Store", "Tele Mobile", "Cinema House", "Family Wear", "Cash Machine"}
)

func stamp(sec int64, day bool) string {
	y, m, d := civil(sec / 86400)
	s := fmt.Sprintf("%04d-%02d-%02d", y, m, d)
	if day {
		return s
	}
	sec %= 86400
	return s + fmt.Sprintf("T%02d:%02d:%02dZ", sec/3600, sec/60%60, sec%60)
}

const t0 = 1767225600 // 2026-01-01

func iotRows(n int) (vals [][]byte, stride int) {
	r := rng(12345)
	state := int64(0)
	for i := 1; i <= n; i++ {
		x := r.next()
		s := int(x>>8) & 7
		state += int64((x>>16)%41) - 20
		v := 2100 + state%900
		for _, t := range []string{stamp(t0+int64(i)*2, false), sensors[s], fmt.Sprintf("%d.%02d", v/100, v%100), units[s], quals[x>>40&7]} {
			vals = append(vals, []byte(t))
		}
	}
	return vals, 5
}

func txRows(n int) (vals [][]byte, stride int) {
	r := rng(77 + 12345)
	for i := 1; i <= n; i++ {
		x := r.next()
		cents := r.next() % 25000
		cred := int(x>>20) % 400
		m := cred % 10
		for _, t := range []string{fmt.Sprintf("%016x", x), stamp(t0+int64(i)*26, true), fmt.Sprintf("%d.%02d", cents/100, cents%100), "EUR",
			fmt.Sprintf("%s %d", shops[m], cred), fmt.Sprintf("DE89370400440%09d", cred*7919), "NL91ABNA041000000013", mccs[m],
			fmt.Sprintf("CARD PAYMENT %s REF %d", shops[m], x>>40)} {
			vals = append(vals, []byte(t))
		}
	}
	return vals, 9
}

// What colenc with s2 needs for the same rows, bytes a row (evidence, block encoding).
var strawMan = map[string]float64{"iot 20": 9.7, "iot 1000": 2.4, "tx 20": 53.1, "tx 1000": 35.8}

func BenchmarkAppendColumn(b *testing.B) { // ns/op is a row
	for _, w := range []struct {
		name string
		rows func(int) ([][]byte, int)
	}{{"iot", iotRows}, {"tx", txRows}} {
		vals, stride := w.rows(2000)
		for _, n := range []int{20, 1000} {
			name := fmt.Sprintf("%s %d", w.name, n)
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				hints := make([]Hint, stride)
				var dst []byte
				size, rows := 0, 0
				for i := 0; i < b.N; i += n {
					a := i % 2000
					dst = dst[:0]
					for f := range stride {
						dst = AppendColumn(dst, vals, a*stride+f, stride, n, &hints[f])
					}
					size += len(dst)
					rows += n
				}
				b.ReportMetric(float64(size)/float64(rows), "B/row")
				b.ReportMetric(strawMan[name], "strawman-B/row")
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) { // ns/op is a row
	for _, w := range []struct {
		name string
		rows func(int) ([][]byte, int)
	}{{"iot", iotRows}, {"tx", txRows}} {
		for _, n := range []int{20, 1000} {
			b.Run(fmt.Sprintf("%s %d", w.name, n), func(b *testing.B) {
				vals, stride := w.rows(n)
				var cols [][]byte
				for f := range stride {
					cols = append(cols, AppendColumn(nil, vals, f, stride, n, nil))
				}
				cs := make([]Column, stride)
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += n {
					for f := range stride {
						if err := cs[f].Decode(cols[f], n); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

func TestAppendColumn_DoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	vals, stride := txRows(2000)
	for _, n := range []int{20, 1000} {
		hints := make([]Hint, stride)
		cs := make([]Column, stride)
		var dst []byte
		var ends []int
		run := func() {
			for a := 0; a < 2000; a += n {
				dst, ends = dst[:0], ends[:0]
				for f := range stride {
					dst = AppendColumn(dst, vals, a*stride+f, stride, n, &hints[f])
					ends = append(ends, len(dst))
				}
				at := 0
				for f, e := range ends {
					if err := cs[f].Decode(dst[at:e], n); err != nil {
						t.Fatal(err)
					}
					at = e
				}
			}
		}
		for range 20 { // buffers and hints settle
			run()
		}
		if got := testing.AllocsPerRun(5, run); got > 1 { // the pool may be emptied once
			t.Errorf("%v allocations in 2,000 rows by %d", got, n)
		}
	}
}

func BenchmarkKinds(b *testing.B) { // ns/op is a column of 20
	iot, is := iotRows(20)
	tx, ts := txRows(20)
	for _, c := range []struct {
		name      string
		vals      [][]byte
		f, stride int
	}{{"time", iot, 0, is}, {"words", iot, 1, is}, {"decimal", iot, 2, is}, {"hex", tx, 0, ts}, {"date", tx, 1, ts}, {"const", tx, 3, ts},
		{"name", tx, 4, ts}, {"account", tx, 5, ts}, {"mcc", tx, 7, ts}, {"text", tx, 8, ts}} {
		b.Run(c.name, func(b *testing.B) {
			var h Hint
			var dst []byte
			for range b.N {
				dst = AppendColumn(dst[:0], c.vals, c.f, c.stride, 20, &h)
			}
			b.ReportMetric(float64(len(dst)), "B")
			b.ReportMetric(float64(dst[0]), "tag")
		})
		b.Run(c.name+"-unhinted", func(b *testing.B) {
			var dst []byte
			for range b.N {
				dst = AppendColumn(dst[:0], c.vals, c.f, c.stride, 20, nil)
			}
		})
	}
}
