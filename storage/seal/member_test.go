package seal

import (
	"strings"
	"testing"
)

func TestMemberKey_ExactForm(t *testing.T) {
	good := "abcdefghijklmnopqrstuvwxyz234567"
	k, err := ParseMemberKey([]byte(good))
	if err != nil || k.Reveal() != good {
		t.Fatalf("%v", err)
	}
	for _, bad := range []string{
		"", good[:31], good + "a", strings.ToUpper(good), " " + good[1:], good[:31] + "=", good[:31] + "1",
		good[:31] + "8", good[:31] + "0", good[:31] + "\n", good[:30] + "ä", strings.Repeat("\x00", 32),
	} {
		if got, err := ParseMemberKey([]byte(bad)); err != ErrMemberKey || got != (MemberKey{}) {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestNewMemberKey(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		k := NewMemberKey()
		if _, err := ParseMemberKey([]byte(k.Reveal())); err != nil || seen[k.Reveal()] {
			t.Fatal("malformed or repeated")
		}
		seen[k.Reveal()] = true
		if k.Wipe(); k != (MemberKey{}) {
			t.Fatal("not wiped")
		}
	}
	chars := map[rune]int{}
	for k := range seen {
		for _, c := range k {
			chars[c]++
		}
	}
	if len(chars) != 32 {
		t.Errorf("%d of 32 characters occur in 6,400", len(chars))
	}
}

func TestMemberKey_ConnectionNeedsEverything(t *testing.T) {
	k, other := NewMemberKey(), NewMemberKey()
	slot, slot2 := RandomSecret(), RandomSecret()
	ck, com := k.Connection(Live, &slot, fixed16(1), fixed16(2))
	again, com2 := k.Connection(Live, &slot, fixed16(1), fixed16(2))
	if !ck.Equal(&again) || com != com2 || len(ck.Bytes()) != KeySize {
		t.Fatal("not repeatable")
	}
	if string(ck.Bytes()) == string(com[:]) {
		t.Fatal("the stored commitment is the key")
	}
	for name, try := range map[string]func() (Secret, [32]byte){
		"other member key": func() (Secret, [32]byte) { return other.Connection(Live, &slot, fixed16(1), fixed16(2)) },
		"other slot":       func() (Secret, [32]byte) { return k.Connection(Live, &slot2, fixed16(1), fixed16(2)) },
		"other env":        func() (Secret, [32]byte) { return k.Connection(Sandbox, &slot, fixed16(1), fixed16(2)) },
		"other store":      func() (Secret, [32]byte) { return k.Connection(Live, &slot, fixed16(3), fixed16(2)) },
		"other connection": func() (Secret, [32]byte) { return k.Connection(Live, &slot, fixed16(1), fixed16(3)) },
		"swapped ids":      func() (Secret, [32]byte) { return k.Connection(Live, &slot, fixed16(2), fixed16(1)) },
	} {
		if c, m := try(); c.Equal(&ck) || m == com {
			t.Errorf("%s gives the same key", name)
		}
	}
	mustPanic(t, "erased slot", func() { k.Connection(Live, &Secret{}, fixed16(1), fixed16(2)) })
}

func FuzzParseMemberKey(f *testing.F) {
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz234567"))
	f.Add([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseMemberKey(b)
		if err != nil {
			if k != (MemberKey{}) {
				t.Fatal("refusal gives a key")
			}
			return
		}
		if k.Reveal() != string(b) {
			t.Fatal("accepted another text")
		}
		raw, err := memberEncoding.DecodeString(string(b))
		if err != nil || memberEncoding.EncodeToString(raw) != string(b) {
			t.Fatal("two texts for one key")
		}
	})
}
