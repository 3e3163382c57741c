package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"
)

func TestInfo_Layout(t *testing.T) {
	want := append([]byte("holdfast/v1/tag\x02"), 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0)
	if got := Info(Live, "tag", []byte("ab"), nil); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	dst := []byte("x")
	if got := AppendInfo(dst, Live, "tag", []byte("ab"), nil); !bytes.Equal(got, append([]byte("x"), want...)) {
		t.Errorf("append: %q", got)
	}
}

func TestInfo_RefusesMisuse(t *testing.T) {
	key := fixedSecret(1)
	mustPanic(t, "no environment", func() { Info(0, "tag") })
	mustPanic(t, "third environment", func() { Info(3, "tag") })
	mustPanic(t, "derive without environment", func() { Derive(&key, 0, "tag") })
	mustPanic(t, "derive64 without environment", func() { Derive64(&key, 0, "tag") })
	mustPanic(t, "hmac without environment", func() { HMAC16(&key, 0, "tag") })
	for _, p := range []string{"", "Tag", "a b", "a\x01", "a\x00", "ä", "a_b", "a.b"} {
		mustPanic(t, "purpose "+p, func() { Info(Live, p) })
	}
}

func TestInfo_AppendAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	dst, a, b := make([]byte, 0, 128), fixed(1, 16), fixed(2, 8)
	if n := testing.AllocsPerRun(100, func() { dst = AppendInfo(dst[:0], Live, "block/unit", a, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// parseInfo reads Info back; that it can is what makes Info injective.
func parseInfo(b []byte) (env Env, purpose string, parts [][]byte, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte("holdfast/v1/"))
	i := bytes.IndexAny(rest, "\x01\x02")
	if !ok || i < 0 {
		return 0, "", nil, false
	}
	env, purpose, rest = Env(rest[i]), string(rest[:i]), rest[i+1:]
	for len(rest) > 0 {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return 0, "", nil, false
		}
		n := int(binary.BigEndian.Uint32(rest))
		parts, rest = append(parts, rest[4:4+n]), rest[4+n:]
	}
	return env, purpose, parts, true
}

func FuzzInfo_Injective(f *testing.F) {
	f.Add(true, "unit", []byte("ab"), []byte("c"), uint8(2))
	f.Add(false, "a/b", []byte{0, 0, 0, 1}, []byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, live bool, purpose string, a, b []byte, n uint8) {
		if purpose == "" || strings.Trim(purpose, "abcdefghijklmnopqrstuvwxyz0123456789-/") != "" {
			return
		}
		env := Sandbox
		if live {
			env = Live
		}
		parts := [][]byte{a, b}[:n%3]
		got := Info(env, purpose, parts...)
		e, p, ps, ok := parseInfo(got)
		if !ok || e != env || p != purpose || len(ps) != len(parts) {
			t.Fatalf("does not read back: %q", got)
		}
		for i := range ps {
			if !bytes.Equal(ps[i], parts[i]) {
				t.Fatalf("part %d does not read back", i)
			}
		}
		if infoSize(purpose, parts) != len(got) {
			t.Fatal("infoSize is wrong")
		}
	})
}

func TestDerive_IsHKDF(t *testing.T) {
	for _, n := range []int{1, 20, 31, 32, 33, 64} {
		for _, part := range []int{0, 1, 55, 64, 200, 300, 400, 5000} {
			key, p := NewSecret(fixed(3, n)), fixed(9, part)
			want, err := hkdf.Key(sha256.New, key.Bytes(), nil, string(Info(Live, "unit", p)), 64)
			if err != nil {
				t.Fatal(err)
			}
			d, d64 := Derive(&key, Live, "unit", p), Derive64(&key, Live, "unit", p)
			if !bytes.Equal(d.Bytes(), want[:32]) || !bytes.Equal(d64.Bytes(), want) {
				t.Errorf("key of %d, part of %d: not HKDF", n, part)
			}
			m := hmac.New(sha256.New, key.Bytes())
			m.Write(Info(Live, "unit", p))
			if got := HMAC16(&key, Live, "unit", p); !bytes.Equal(got[:], m.Sum(nil)[:16]) {
				t.Errorf("key of %d, part of %d: not HMAC", n, part)
			}
		}
	}
}

func TestDerive_AllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	key, p := fixedSecret(1), fixed(2, 32)
	if n := testing.AllocsPerRun(100, func() {
		k := Derive(&key, Live, "unit", p)
		_ = HMAC16(&k, Live, "unit", p)
		j := Join(&key, &k)
		j.Wipe()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDerive_SeparatesEverything(t *testing.T) {
	k1, k2 := fixedSecret(1), fixedSecret(2)
	seen := map[string]string{}
	for name, s := range map[string]Secret{
		"base":            Derive(&k1, Live, "unit", []byte("ab"), []byte("c")),
		"other key":       Derive(&k2, Live, "unit", []byte("ab"), []byte("c")),
		"other env":       Derive(&k1, Sandbox, "unit", []byte("ab"), []byte("c")),
		"other purpose":   Derive(&k1, Live, "units", []byte("ab"), []byte("c")),
		"moved border":    Derive(&k1, Live, "unit", []byte("a"), []byte("bc")),
		"one part":        Derive(&k1, Live, "unit", []byte("abc")),
		"empty part more": Derive(&k1, Live, "unit", []byte("ab"), []byte("c"), nil),
	} {
		if prev, ok := seen[string(s.Bytes())]; ok {
			t.Errorf("%s equals %s", name, prev)
		}
		seen[string(s.Bytes())] = name
	}
}

func TestDerive_RefusesWipedKeys(t *testing.T) {
	var empty Secret
	key := fixedSecret(1)
	mustPanic(t, "derive", func() { Derive(&empty, Live, "unit") })
	mustPanic(t, "derive64", func() { Derive64(&empty, Live, "unit") })
	mustPanic(t, "hmac", func() { HMAC16(&empty, Live, "unit") })
	mustPanic(t, "join", func() { Join(&key, &empty) })
	mustPanic(t, "cipher", func() { NewCipher(&empty) })
	mustPanic(t, "wrap", func() { Wrap(&empty, nil, nil) })
}

func TestJoin_NeedsEveryPartInOrder(t *testing.T) {
	a, b := NewSecret(fixed(1, 32)), NewSecret(fixed(40, 32))
	ab := Join(&a, &b)
	m := hmac.New(sha256.New, []byte("holdfast/v1/join"))
	for _, s := range []*Secret{&a, &b} {
		m.Write([]byte{0, 0, 0, 32})
		m.Write(s.Bytes())
	}
	if !bytes.Equal(ab.Bytes(), m.Sum(nil)) {
		t.Error("not HKDF-Extract over length-prefixed parts")
	}
	ba, alone := Join(&b, &a), Join(&a)
	left, right := NewSecret(fixed(1, 31)), NewSecret(append(fixed(32, 1), fixed(40, 32)...))
	moved := Join(&left, &right)
	for name, o := range map[string]*Secret{"order": &ba, "a missing part": &alone, "the border": &moved} {
		if ab.Equal(o) {
			t.Errorf("%s does not matter", name)
		}
	}
}

func TestSlotHash(t *testing.T) {
	v, w := fixedSecret(1), fixedSecret(2)
	if SlotHash(Live, &v) == SlotHash(Live, &w) || SlotHash(Live, &v) == SlotHash(Sandbox, &v) {
		t.Error("slot hashes are equal")
	}
	if SlotHash(Live, &v) != sha256.Sum256(Info(Live, "slot", v.Bytes())) {
		t.Error("not SHA-256 over Info")
	}
}
