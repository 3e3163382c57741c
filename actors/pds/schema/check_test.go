package schema

import (
	"strings"
	"testing"
)

func TestField_CheckByType(t *testing.T) {
	long := strings.Repeat("9", 128)
	tests := []struct {
		typ  Type
		ok   []string
		bad  []string
		rule Violation
	}{
		{Int, []string{"0", "-1", "007", "1638375529", long}, []string{"-", "+1", "1.0", " 1", "1 ", "1e3", "٣", "--1"}, NotInteger},
		{Serial, []string{"0", "12"}, []string{"-1", "a", "1.5"}, NotInteger},
		{Number, []string{"0", "-0", "1.5", "0.10", "1e9", "1E-7", "-12.50e+3", "1123.25"},
			[]string{"01", "-01", ".5", "5.", "+5", "1e", "1e+", "NaN", "Infinity", "0x10", "1_0", "1,5", "-", "1.2.3", "1 "}, NotDecimal},
		{Currency, []string{"111.11", "-0.01"}, []string{"£1", "1.1 GBP"}, NotDecimal},
		{Float, []string{"98.6"}, []string{"98,6"}, NotDecimal},
		{Date, []string{"29222", "-365", "1638375529", "2026-03-01", "2024-02-29", "2026-03-01T10:00:00Z", "2026-03-01 10:00",
			"2026-03-01T10:00:00.123+01:00", "2026-03-01T23:59:60-0330", "0001-01-01"},
			[]string{"2026-3-1", "2026-13-01", "2026-00-10", "2026-01-00", "2026-04-31", "2023-02-29", "1900-02-29", "2026-03-01T", "2026-03-01T24:00",
				"2026-03-01T10", "2026-03-01T10:60", "2026-03-01x10:00", "2026-03-01T10:00:00.", "2026-03-01T10:00+1", "2026-03-01T10:00+25:00",
				"2026-03-01T10:00ZZ", "2026-03-01T10:00+01:0", "01/03/2026", "29222.5", "today"}, NotDate},
		{Time, []string{"0.0501", "0", "23:59", "07:45:30", "07:45:30.5"}, []string{"24:00", "7:45", "07:45:30.", "07:45Z", "07-45", "noon", "07:4"}, NotTime},
	}
	for _, tt := range tests {
		f := Field{Type: tt.typ, Length: tt.typ.defaultLength()}
		for _, v := range tt.ok {
			if err := f.Check([]byte(v)); err != nil {
				t.Errorf("%s %q: %v", tt.typ, v, err)
			}
		}
		for _, v := range tt.bad {
			if err := f.Check([]byte(v)); err != tt.rule {
				t.Errorf("%s %q: %v, want %v", tt.typ, v, err, tt.rule)
			}
		}
		if err := f.Check(nil); err != Empty {
			t.Errorf("%s empty: %v", tt.typ, err)
		}
		if err := f.Check([]byte(long + "9")); err != TooLong {
			t.Errorf("%s 129 bytes: %v", tt.typ, err)
		}
	}
}

func TestField_CheckText(t *testing.T) {
	f := Field{Type: Text, Length: 8}
	for _, v := range []string{"", "a", "µ 語\x00", strings.Repeat("x", 8)} {
		if err := f.Check([]byte(v)); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
	for v, want := range map[string]Violation{
		strings.Repeat("x", 9): TooLong,
		"a\xffb":               NotUTF8,
		"\xed\xa0\x80":         NotUTF8, // a lone surrogate
		"\xc0\xaf":             NotUTF8, // overlong
	} {
		if err := f.Check([]byte(v)); err != want {
			t.Errorf("%q: %v, want %v", v, err, want)
		}
	}
	f.NotNull = true
	if err := f.Check(nil); err != Empty {
		t.Errorf("empty with not_null: %v", err)
	}
}

func TestField_CheckLookupIgnoresCase(t *testing.T) {
	l := &lookup{folded: map[string]struct{}{}}
	for _, v := range []string{"Gas & Electricity", "Curaçao", "Oil"} {
		if err := l.add(v); err != nil {
			t.Fatal(err)
		}
	}
	f := Field{Type: Text, Length: 100, lookup: l}
	for _, v := range []string{"Oil", "OIL", "gas & electricity", "CURAÇAO", "curaçao", ""} {
		if err := f.Check([]byte(v)); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
	for _, v := range []string{"Oi", "Oils", "Curacao", strings.Repeat("o", 90), strings.Repeat("ç", 50)} {
		if err := f.Check([]byte(v)); err != NotListed {
			t.Errorf("%q: %v", v, err)
		}
	}
}

// No rule may repeat what was sent.
func TestViolation_NeverEchoesTheValue(t *testing.T) {
	const marker = "zqxj-marker"
	for typ := Text; typ <= Time; typ++ {
		f := Field{Type: typ, Length: 4, Name: "f"}
		if err := f.Check([]byte(marker)); err == nil || strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v", typ, err)
		}
		f.Length = 100
		if err := f.Check([]byte(marker + "\xff")); err == nil || strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

func TestField_CheckAllocatesNothing(t *testing.T) {
	values := map[*Field][]byte{}
	for _, d := range Default().Datasets() {
		for i := range d.Fields {
			values[&d.Fields[i]] = []byte(d.Fields[i].Example)
		}
	}
	bad := []byte("not a number at all")
	num := Field{Type: Number, Length: 64}
	if n := testing.AllocsPerRun(5, func() {
		for f, v := range values {
			if f.Check(v) != nil {
				t.Error("example refused")
			}
		}
		if num.Check(bad) == nil {
			t.Error("accepted")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzField_Check(f *testing.F) {
	for _, v := range []string{"", "1", "-1.5e3", "2026-03-01T10:00:00Z", "07:45", "Female", "\xff"} {
		f.Add([]byte(v))
	}
	c := Default()
	var fields []*Field
	for _, d := range c.Datasets() {
		for i := range d.Fields {
			fields = append(fields, &d.Fields[i])
		}
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		for _, fd := range fields {
			err := fd.Check(v)
			if err == nil && len(v) > fd.Length {
				t.Errorf("%s accepts %d bytes", fd.Name, len(v))
			}
			if err != nil && err.Error() == Violation(0).Error() {
				t.Errorf("%s: a rule without a name", fd.Name)
			}
		}
	})
}

func BenchmarkField_Check(b *testing.B) {
	d, _ := Default().Dataset("ds_energy_consumption")
	var vs [][]byte
	for i := range d.Fields {
		vs = append(vs, []byte(d.Fields[i].Example))
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range d.Fields {
			if d.Fields[i].Check(vs[i]) != nil {
				b.Fatal("refused")
			}
		}
	}
}
