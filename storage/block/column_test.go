package block

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// column is a list of values given as text; "\x00nil" is absent.
func column(texts ...string) [][]byte {
	var vals [][]byte
	for _, s := range texts {
		if s == "\x00nil" {
			vals = append(vals, nil)
		} else {
			vals = append(vals, append([]byte{}, s...))
		}
	}
	return vals
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// check decodes col and compares every value with vals.
func check(t fataler, c *Column, col []byte, vals [][]byte) {
	t.Helper()
	if err := c.Decode(col, len(vals)); err != nil {
		t.Fatalf("%v: %q from %q", err, col, vals)
	}
	if c.Len() != len(vals) {
		t.Fatalf("%d values of %d", c.Len(), len(vals))
	}
	for i, want := range vals {
		v, ok := c.Value(i)
		if ok != (want != nil) || ok != (v != nil) || !bytes.Equal(v, want) {
			t.Fatalf("value %d: got %q %v, want %q; column %q", i, v, ok, want, col)
		}
	}
}

func roundTrip(t fataler, vals [][]byte) []byte {
	t.Helper()
	var c Column
	col := AppendColumn([]byte("before"), vals, 0, 1, len(vals), nil)
	if string(col[:6]) != "before" {
		t.Fatalf("earlier bytes changed")
	}
	check(t, &c, col[6:], vals)
	return col[6:]
}

func TestAppendColumn_KindAndSize(t *testing.T) {
	seq := func(n int, f func(i int) string) (s []string) {
		for i := range n {
			s = append(s, f(i))
		}
		return
	}
	for _, c := range []struct {
		name string
		vals []string
		tag  byte
		size int // at most
	}{
		{"nothing", nil, kindNone, 1},
		{"all absent", []string{"\x00nil", "\x00nil"}, kindNone, 1},
		{"one", []string{"hello"}, kindConst, 6},
		{"empty", []string{"", ""}, kindConst, 1},
		{"constant, some absent", []string{"EUR", "\x00nil", "EUR"}, kindConst | flagAbsent, 5},
		{"empty or absent", []string{"", "\x00nil", ""}, kindConst | flagAbsent, 2},
		{"series", seq(20, func(i int) string { return fmt.Sprint(1000 + 5*i) }), kindDecimal, 6},
		{"money", seq(20, func(i int) string { return fmt.Sprintf("%d.%02d", i*37%90, i*13%100) }), kindDecimal, 40},
		{"trimmed", []string{"1", "0.5", "-2.25", "0", "100"}, kindDecimal, 14},
		{"at least one digit", []string{"1.0", "0.5", "-2.25", "0.0", "100.0"}, kindDecimal, 14},
		{"extremes", []string{"999999999999999999", "-999999999999999999", "0"}, kindDecimal, 30},
		{"mixed zeros", []string{"1.50", "2", "1.5"}, kindRaw, 12},
		{"minus zero", []string{"-0", "0", "-0"}, kindDict, 8},
		{"exponents", []string{"1e5", "2e5", "3e5"}, kindDigits | flagAffix, 9},
		{"times", seq(20, func(i int) string { return fmt.Sprintf("2026-01-02T10:%02d:%02dZ", i, i) }), kindTime, 11},
		{"dates", seq(20, func(i int) string { return fmt.Sprintf("2026-02-%02d", 28-i) }), kindTime, 8},
		{"offset", []string{"2026-06-01T10:00:00+01:00", "2026-06-01T10:30:00+01:00"}, kindTime, 17},
		{"milliseconds", []string{"2026-06-01 10:00:00.001", "2026-06-01 10:00:00.999"}, kindTime, 16},
		{"British", []string{"31/01/2026", "01/02/2026"}, kindTime, 8},
		{"American, plain", []string{"4/12/2016 1:00:00 AM", "4/12/2016 12:00:00 PM"}, kindTime, 12},
		{"minutes", []string{"12/1/2010 8:26", "12/11/2010 10:05"}, kindTime, 11},
		{"no such day", []string{"2026-02-29", "2026-02-28"}, kindDigits | flagAffix, 16},
		{"hex", seq(20, func(i int) string { return fmt.Sprintf("%016x", uint64(i+1)*0x9e3779b97f4a7c15) }), kindHex, 163},
		{"HEX", seq(20, func(i int) string { return fmt.Sprintf("%016X", uint64(i+1)*0x9e3779b97f4a7c15) }), kindHex, 163},
		{"uuid", []string{"0e37a9c8-1f00-4a7c-9c15-0123456789ab", "1e37a9c8-1f00-4a7c-9c15-0123456789ab"}, kindHex, 34},
		{"few words", seq(60, func(i int) string { return []string{"good", "uncertain", "bad"}[i*i%3] }), kindDict, 40},
		{"booleans", seq(64, func(i int) string { return fmt.Sprint(i*i%5 == 1) }), kindDict, 22},
		{"readings with NA", seq(40, func(i int) string { return map[bool]string{true: "NA", false: fmt.Sprintf("%d.5", 10+i)}[i%7 == 3] }), kindDecimal | flagOther, 36},
		{"readings with nothing", seq(40, func(i int) string { return map[bool]string{true: "", false: fmt.Sprint(50 + i*i%31)}[i%7 == 0] }), kindDecimal | flagOther, 40},
		{"days with nothing", seq(40, func(i int) string {
			return map[bool]string{true: "", false: fmt.Sprintf("2026-01-%02d", 1+i%28)}[i%7 == 0]
		}), kindTime | flagOther, 36},
		{"leading zeros", []string{"007", "042", "001"}, kindDigits, 8},
		{"numbered", seq(20, func(i int) string { return fmt.Sprintf("DE89370400440%09d", i*7919) }), kindDigits | flagAffix, 24},
		{"numbered unevenly", seq(20, func(i int) string { return fmt.Sprintf("sensor-%d", 5+i) }), kindDecimal | flagAffix, 16},
	} {
		vals := column(c.vals...)
		col := roundTrip(t, vals)
		if col[0]&^flagS2 != c.tag || len(col) > c.size {
			t.Errorf("%s: first byte %#x and %d bytes, want %#x and at most %d: %q", c.name, col[0], len(col), c.tag, c.size, col)
		}
	}
}

func TestAppendColumn_Stride(t *testing.T) {
	rows := column("a", "1", "2026-01-01", "b", "2", "2026-01-02", "\x00nil", "3", "\x00nil")
	var c Column
	for f := range 3 {
		col := AppendColumn(nil, rows, f, 3, 3, nil)
		check(t, &c, col, [][]byte{rows[f], rows[3+f], rows[6+f]})
	}
}

// value draws text of the shapes that columns look for, exact or almost.
func value() *rapid.Generator[string] {
	digits := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{0,17})?`)
	return rapid.OneOf(
		rapid.String(), digits,
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,8})\.[0-9]{2}`),
		rapid.StringMatching(`[0-9]{2}[0-9]{2}-[0-1][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-6][0-9](\.[0-9]{3}|\.[0-9]{6})?)?(Z|[+-]0[0-9]:00)?)?`),
		rapid.StringMatching(`[0-3]?[0-9]/[0-3]?[0-9]/20[0-9]{2}( [0-2]?[0-9]:[0-5][0-9](:[0-6][0-9])?( [AP]M)?)?`),
		rapid.StringMatching(`[0-9a-f]{16}`), rapid.StringMatching(`[0-9A-F]{8}`),
		rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`),
		rapid.StringMatching(`(abc|REF|0x)[0-9]{1,5}(\.|€|z)?`),
		rapid.SampledFrom([]string{"", "\x00nil", "0", "-0", "true", "false", "1e5", "0.0", "999999999999999999", "-999999999999999999", "1000000000000000000", "0.000000000000001", "0001-01-01", "9999-12-31", "2000-02-29", "1900-02-29", "0000-01-01"}),
	)
}

func TestAppendColumn_ReturnsEveryValue(t *testing.T) {
	var h Hint
	var c Column
	rapid.Check(t, func(t *rapid.T) {
		var vals [][]byte
		switch rapid.IntRange(0, 2).Draw(t, "shape") {
		case 0:
			vals = column(rapid.SliceOfN(value(), 0, 300).Draw(t, "any")...)
		case 1: // few distinct ones
			few := rapid.SliceOfN(value(), 1, 4).Draw(t, "few")
			vals = column(rapid.SliceOfN(rapid.SampledFrom(few), 0, 400).Draw(t, "values")...)
		case 2: // one shape
			shape := rapid.SampledFrom([]string{`[1-9][0-9]{0,17}`, `-?[1-9]\.[0-9]{1,15}`, `20[0-9]{2}-0[1-9]-[0-2][1-8]`, `[0-9]{1,18}`, `[0-9a-f]{10}`, `acc[0-9]{6}x`,
				`[1-9]/[1-9]/2010 1?[0-9]:[0-5][0-9]`, `1?[1-9]/1[0-2]/2010 [1-9]:[0-5][0-9]:00 [AP]M`, `20[0-9]{2}-0[1-9]-[0-2][1-8] [01][0-9]:[0-5][0-9]:[0-5][0-9]`, `([1-9]\.[0-9]{1,3}|NA)`, `(|[1-9][0-9]?|[1-9]{2})`, `(-|201[0-9]-01-1[0-9])`}).Draw(t, "pattern")
			vals = column(rapid.SliceOfN(rapid.StringMatching(shape), 1, 260).Draw(t, "values")...)
			if rapid.Bool().Draw(t, "gaps") {
				for i := range vals {
					if rapid.IntRange(0, 3).Draw(t, "gap") == 0 {
						vals[i] = nil
					}
				}
			}
		}
		roundTrip(t, vals)
		// With a hint from whatever came before.
		check(t, &c, AppendColumn(nil, vals, 0, 1, len(vals), &h), vals)
		check(t, &c, AppendColumn(nil, vals, 0, 1, len(vals), &h), vals)
	})
}

func TestInts_EveryWidth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for w := range 64 {
		for _, n := range []int{1, 2, 3, 7, 8, 9, 20, 127, 128} {
			x := make([]int64, n)
			for i := range x {
				x[i] = int64(r.Uint64()>>1&(1<<w-1)) >> 3 // differences must fit
				if r.IntN(2) == 0 {
					x[i] = -x[i]
				}
			}
			got := make([]int64, n)
			b := appendInts(nil, x)
			rd := reader{b: b}
			if rd.ints(got); rd.bad || len(rd.b) != 0 || fmt.Sprint(got) != fmt.Sprint(x) {
				t.Fatalf("width %d, %d values: %v became %v", w, n, x, got)
			}
			for cut := range b {
				if rd = (reader{b: b[:cut]}); true {
					rd.ints(got)
				}
				if !rd.bad {
					t.Fatalf("width %d, %d values: cut to %d of %d accepted", w, n, cut, len(b))
				}
			}
		}
	}
}

func TestDays_EveryDay(t *testing.T) {
	n := int64(firstDay)
	for y := 1; y <= 9999; y++ {
		for m := 1; m <= 12; m++ {
			for d := 1; d <= 31; d++ {
				z, ok := days(y, m, d)
				if !ok {
					continue
				}
				if cy, cm, cd := civil(z); z != n || cy != y || cm != m || cd != d {
					t.Fatalf("%d-%d-%d: day %d, want %d; back %d-%d-%d", y, m, d, z, n, cy, cm, cd)
				}
				n++
			}
		}
	}
	if n != lastDay+1 {
		t.Fatalf("the last day is %d", n-1)
	}
}

func TestDecode_RefusesEveryCutAndExtension(t *testing.T) {
	for _, vals := range [][][]byte{
		column("1.5", "2", "3.25"), column("a", "b", "a", "\x00nil", "c", "a"), column("2026-01-01", "2026-01-03"),
		column("one", "two", "three and more"), column("0011223344556677", "8899aabbccddeeff"), column("x007", "x042"), column("\x00nil", "\x00nil"), column("1", "NA", "5", "\x00nil", "7", "9", "11", "13", "15", "17", "19", "21"),
		column(strings.Repeat("so ", 100), strings.Repeat("long ", 100)),
	} {
		col := AppendColumn(nil, vals, 0, 1, len(vals), nil)
		var c Column
		for i := range col {
			if c.Decode(col[:i], len(vals)) == nil {
				t.Errorf("%q cut to %d accepted", col, i)
			}
			if c.Len() != 0 {
				t.Errorf("refused, but has values")
			}
		}
		if c.Decode(append(col[:len(col):len(col)], 0), len(vals)) == nil {
			t.Errorf("%q and one byte accepted", col)
		}
	}
}

func TestDecode_DoesNotGrowBeyondItsLimit(t *testing.T) {
	n := MaxRows
	for _, col := range [][]byte{
		append([]byte{kindRaw | flagAffix, 200, 1}, make([]byte, 300)...),
		append(append([]byte{kindDecimal | flagAffix, 255, 255, 3}, make([]byte, 65535)...), append([]byte{0}, bytes.Repeat([]byte{0, 0, 0}, n/chunk)...)...),
		append([]byte{kindConst | flagS2}, 0xff, 0xff, 0xff, 0xff, 0x0f, 0),
		append([]byte{kindConst | flagS2}, 0x80, 0x80, 0x80, 0x40, 0), // claims 128 MiB
	} {
		var c Column
		if c.Decode(col, n) == nil {
			t.Errorf("accepted %.20q", col)
		}
		if cap(c.data) > MaxColumn || cap(c.tmp) > MaxColumn {
			t.Errorf("%.20q: holds %d and %d bytes", col, cap(c.data), cap(c.tmp))
		}
	}
	var c Column
	if c.Decode([]byte{kindConst, 'x'}, MaxRows+1) == nil || c.Decode([]byte{kindConst, 'x'}, -1) == nil {
		t.Error("number of rows not limited")
	}
	// A long constant in many rows is one copy.
	long := bytes.Repeat([]byte("x"), 1<<20)
	if err := c.Decode(append([]byte{kindConst}, long...), 20000); err != nil || cap(c.data) > 2<<20 {
		t.Errorf("%v, %d bytes", err, cap(c.data))
	}
}

func TestAppendColumn_Concurrently(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var h Hint
			var c Column
			for i := range 300 {
				n := 1 + (i*7+g)%50
				var vals [][]byte
				for j := range n {
					vals = append(vals, fmt.Appendf(nil, "row %d of goroutine %d, step %d", j*j%11, g, i))
				}
				col := AppendColumn(nil, vals, 0, 1, n, &h)
				if c.Decode(col, n) != nil {
					t.Error("refused")
					return
				}
				for j, want := range vals {
					if v, _ := c.Value(j); !bytes.Equal(v, want) {
						t.Errorf("%q became %q", want, v)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestColumn_Wipe(t *testing.T) {
	vals := column("secret words", "other words here", "third")
	var c Column
	check(t, &c, AppendColumn(nil, vals, 0, 1, 3, nil), vals)
	held := c.data[:cap(c.data)]
	c.Wipe()
	if c.Len() != 0 || len(bytes.Trim(held, "\x00")) != 0 {
		t.Fatalf("left: %q", held)
	}
}

func FuzzDecode(f *testing.F) {
	for _, vals := range [][][]byte{
		column("1.5", "2", "3.25"), column("a", "b", "a", "\x00nil", "c", "a"), column("2026-01-01T10:00:00Z", "2026-01-03T11:00:00Z"), column("1/2/2010 8:26", "12/20/2010 10:05"),
		column("one", "two", "three and more"), column("0011223344556677", "8899aabbccddeeff"), column("x007", "x042"), column("\x00nil"), column("1", "NA", "5", "\x00nil", "7", "9", "11", "13", "15", "17", "19", "21"), column("same", "same"),
		column(strings.Repeat("so ", 100), strings.Repeat("long ", 100)), column("sensor-1", "sensor-12", "sensor-7"), column("-999999999999999999", "999999999999999999", "5"),
	} {
		f.Add(AppendColumn(nil, vals, 0, 1, len(vals), nil), uint16(len(vals)))
	}
	f.Fuzz(func(t *testing.T, src []byte, n uint16) {
		var c Column
		if c.Decode(src, int(n)) != nil {
			return
		}
		vals := make([][]byte, n)
		for i := range vals {
			vals[i], _ = c.Value(i)
		}
		var d Column
		check(t, &d, AppendColumn(nil, vals, 0, 1, int(n), nil), vals)
	})
}

func FuzzAppendColumn(f *testing.F) {
	f.Add("1.50|2.00|3|", uint8(3))
	f.Add("2026-01-01|2026-02-29|01/02/2003|1/2/2003 10:00", uint8(0))
	f.Add("abc001|abc002|abc12", uint8(7))
	f.Fuzz(func(t *testing.T, s string, gaps uint8) {
		var vals [][]byte
		for i, p := range strings.Split(s, "|") {
			vals = append(vals, []byte(p))
			if gaps>>(i%8)&1 != 0 {
				vals[i] = nil
			}
		}
		roundTrip(t, vals)
		h := Hint{}
		AppendColumn(nil, vals[:len(vals)/2], 0, 1, len(vals)/2, &h)
		var c Column
		check(t, &c, AppendColumn(nil, vals, 0, 1, len(vals), &h), vals)
	})
}
