package block

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func record(h *Header, units []Unit) []byte {
	h.Units = uint8(len(units))
	rec := AppendHeader(nil, h)
	for _, u := range units {
		rec = append(AppendUnit(rec, u.Field, len(u.Sealed)), u.Sealed...)
	}
	return rec
}

func drawHeader(t *rapid.T) Header {
	h := Header{
		Suite: SuiteAESGCM, Env: rapid.SampledFrom([]byte{1, 2}).Draw(t, "env"), Kind: Kind(rapid.IntRange(1, 8).Draw(t, "kind")),
		Comp: rapid.Uint32().Draw(t, "comp"), Epoch: rapid.Uint32().Draw(t, "epoch"), First: rapid.Uint64().Draw(t, "first"),
		Rows: rapid.Uint32Range(0, MaxRows).Draw(t, "rows"), Last: rapid.Uint64().Draw(t, "last"),
	}
	copy(h.Nonce[:], rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "nonce"))
	return h
}

func TestParse_ReturnsWhatWasAppended(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		var units []Unit
		for _, f := range rapid.SliceOfNDistinct(rapid.Uint8Range(0, 63), 0, 64, rapid.ID[uint8]).Draw(t, "fields") {
			units = append(units, Unit{f, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "sealed")})
		}
		rec := record(&h, units)
		if n := len(AppendHeader(nil, &h)); n > MaxHeader {
			t.Fatalf("header of %d bytes", n)
		}
		var g Header
		got, err := Parse(rec, &g, nil)
		if err != nil || g != h || len(got) != len(units) {
			t.Fatalf("%v: %+v became %+v with %d of %d units", err, h, g, len(got), len(units))
		}
		for i, u := range units {
			if got[i].Field != u.Field || !bytes.Equal(got[i].Sealed, u.Sealed) {
				t.Fatalf("unit %d differs", i)
			}
		}
		if err := ParseHeader(rec, &g); err != nil || g != h {
			t.Fatal(err)
		}
		cut := rapid.IntRange(0, len(rec)-1).Draw(t, "cut")
		if _, err := Parse(rec[:cut], &g, nil); err == nil {
			t.Fatalf("cut to %d of %d accepted", cut, len(rec))
		}
		if _, err := Parse(append(rec, 0), &g, nil); err == nil {
			t.Fatal("trailing byte accepted")
		}
	})
}

func TestParse_Refuses(t *testing.T) {
	h := Header{Suite: SuiteAESGCM, Env: 1, Kind: Block, Comp: 5, Epoch: 1, First: 1, Rows: 20, Last: 20}
	good := record(&h, []Unit{{0, []byte("sys")}, {9, []byte("nine")}, {3, []byte("three")}})
	var g Header
	if _, err := Parse(good, &g, nil); err != nil {
		t.Fatal(err)
	}
	change := func(name string, f func(b []byte) []byte) {
		b := f(bytes.Clone(good))
		if units, err := Parse(b, &g, nil); err != ErrCorrupt || len(units) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	set := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] = v; return b }
	}
	change("nothing", func([]byte) []byte { return nil })
	change("version", set(0, 2))
	change("suite 0", set(1, 0))
	change("suite 2", set(1, 2))
	change("environment 0", set(2, 0))
	change("environment 3", set(2, 3))
	change("kind 0", set(3, 0))
	change("kind 9", set(3, 9))
	change("one unit less", set(4, 2))
	change("one unit more", set(4, 4))
	change("too many units", set(4, 65))
	change("long compartment", func(b []byte) []byte {
		return append(append(bytes.Clone(b[:17]), 0x85, 0), b[18:]...)
	})
	change("wide compartment", func(b []byte) []byte {
		return append(append(bytes.Clone(b[:17]), 0x80, 0x80, 0x80, 0x80, 0x10), b[18:]...)
	})
	change("too many rows", func(b []byte) []byte {
		return append(append(bytes.Clone(b[:20]), 0x81, 0x80, 0x40), b[21:]...)
	})
	at := bytes.Index(good, []byte("three")) - 2
	change("field twice", set(at, 9))
	change("field 64", set(at, 64))
	change("unit too long", set(at+1, 6))
	change("unit too short", set(at+1, 4))
}

func TestSystem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := System{Created: rapid.Int64().Draw(t, "created"), Version: rapid.OneOf(rapid.Uint32(), rapid.Just(uint32(1))).Draw(t, "version"),
			Deleted: rapid.Bool().Draw(t, "deleted"), Origin: rapid.Byte().Draw(t, "origin")}
		s.Updated = rapid.OneOf(rapid.Int64(), rapid.Just(s.Created)).Draw(t, "updated")
		b := AppendSystem(nil, &s)
		var g System
		if err := DecodeSystem(b, &g); err != nil || g != s {
			t.Fatalf("%v: %+v became %+v", err, s, g)
		}
		for i := range b {
			if DecodeSystem(b[:i], &g) == nil || g != (System{}) {
				t.Fatalf("cut to %d accepted", i)
			}
		}
		if DecodeSystem(append(b, 0), &g) == nil {
			t.Fatal("trailing byte accepted")
		}
	})
	now := System{Created: 1767225600, Updated: 1767225600, Version: 1, Origin: 2}
	if n := len(AppendSystem(nil, &now)); n > 6 {
		t.Errorf("%d bytes for a new record", n)
	}
}

func FuzzParse(f *testing.F) {
	h := Header{Suite: SuiteAESGCM, Env: 1, Kind: Update, Comp: 5, Epoch: 300, First: 1 << 40, Rows: 20, Last: 1 << 41}
	f.Add(record(&h, []Unit{{0, []byte("sys")}, {9, []byte("nine")}, {3, nil}}))
	f.Fuzz(func(t *testing.T, rec []byte) {
		var h Header
		units, err := Parse(rec, &h, nil)
		if err == nil && !bytes.Equal(record(&h, units), rec) {
			t.Fatal("two records read as the same")
		}
		var s System
		if DecodeSystem(rec, &s) == nil && !bytes.Equal(AppendSystem(nil, &s), rec) {
			t.Fatal("two system units read as the same")
		}
	})
}
