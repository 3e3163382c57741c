package seal

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// fixed returns n bytes that count up from start.
func fixed(start byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = start + byte(i)
	}
	return b
}

func fixedSecret(start byte) Secret { return NewSecret(fixed(start, KeySize)) }

func fixed16(start byte) [16]byte { return [16]byte(fixed(start, 16)) }

// marked is key material that is easy to recognise in any rendering.
func marked() []byte { return bytes.Repeat([]byte{0xA7}, KeySize) }

// leaks reports whether out holds marked() or the marked member key in
// decimal, hexadecimal, octal, binary, base64 or as it is.
func leaks(out string) bool {
	low := strings.ToLower(out)
	for _, m := range []string{"167 167", "a7a7", "a7 a7", "247 247", "10100111", "p6en", "\xa7\xa7", `\xa7`, "777777", "55 55", "3737", "0x37"} {
		if strings.Contains(low, m) {
			return true
		}
	}
	return false
}

type named struct {
	name  string
	value any
}

// secrets returns every type that carries key material, holding marked().
func secrets(t testing.TB) []named {
	t.Helper()
	s := NewSecret(marked())
	mk, err := ParseMemberKey([]byte(strings.Repeat("7", 32)))
	if err != nil {
		t.Fatal(err)
	}
	b := Barrier{Secret: s, Env: Live}
	priv, _ := DeriveKeyPair(&s)
	type holder struct {
		Redacted
		k  Secret
		mk MemberKey
	}
	type open struct{ K Secret }
	return []named{
		{"Secret", s}, {"*Secret", &s}, {"[]Secret", []Secret{s, s}}, {"exported field", open{s}},
		{"map", map[string]Secret{"k": s}},
		{"MemberKey", mk}, {"*MemberKey", &mk},
		{"Barrier", b}, {"*Barrier", &b},
		{"PrivateKey", priv}, {"*PrivateKey", &priv},
		{"Cipher", NewCipher(&s)}, {"Signer", NewSigner("log", &s)},
		{"unexported field beside Redacted", holder{k: s, mk: mk}}, {"pointer to it", &holder{k: s, mk: mk}},
	}
}

func TestSecret_NeverPrints(t *testing.T) {
	for _, x := range secrets(t) {
		for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %o %b %U %c %t %e %g %08x %+q %z") {
			out := fmt.Sprintf(verb, x.value)
			if leaks(out) || !strings.Contains(out, redacted) {
				t.Errorf("%s with %s: %s", x.name, verb, out)
			}
		}
		if out := fmt.Sprintln(x.value); leaks(out) || !strings.Contains(out, redacted) {
			t.Errorf("%s with Sprintln: %s", x.name, out)
		}
		if out := fmt.Sprint(fmt.Errorf("context: %v", x.value)); leaks(out) {
			t.Errorf("%s inside an error: %s", x.name, out)
		}
	}
}

func TestSecret_HasNoSerialForm(t *testing.T) {
	for _, x := range secrets(t) {
		out, err := json.Marshal(x.value)
		if err == nil || leaks(string(out)) || leaks(err.Error()) {
			t.Errorf("%s as JSON: %s, %v", x.name, out, err)
		}
		var buf bytes.Buffer
		if err := gob.NewEncoder(&buf).Encode(x.value); err == nil || leaks(buf.String()) {
			t.Errorf("%s as gob: %v", x.name, err)
		}
	}
}

func TestSecret_NeverReachesALog(t *testing.T) {
	var buf bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil)} {
		for _, x := range secrets(t) {
			slog.New(h).Info("made", "key", x.value)
		}
	}
	if leaks(buf.String()) {
		t.Errorf("log holds key material: %s", buf.String())
	}
}

func TestSecret_IsNotComparable(t *testing.T) {
	for _, x := range []any{Secret{}, Barrier{}, PrivateKey{}, Cipher{}} {
		if reflect.TypeOf(x).Comparable() {
			t.Errorf("%T can be compared with ==", x)
		}
	}
}

func TestSecret_OwnsItsBytes(t *testing.T) {
	in := marked()
	s := NewSecret(in)
	in[0] = 0
	if s.Bytes()[0] != 0xA7 {
		t.Error("secret shares the caller's memory")
	}
	c := s // assignment copies
	s.Wipe()
	if !s.Empty() || len(s.Bytes()) != 0 || s.b != [SecretSize]byte{} {
		t.Error("bytes remain after Wipe")
	}
	if c.Empty() || !bytes.Equal(c.Bytes(), marked()) {
		t.Error("wiping one copy touched another")
	}
	if got := append(c.Bytes(), 1); c.b[KeySize] != 0 || len(got) != KeySize+1 {
		t.Error("append to Bytes reaches into the secret")
	}
}

func TestSecret_Sizes(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 33, 63, 64} {
		s := NewSecret(fixed(1, n))
		if len(s.Bytes()) != n || s.Empty() != (n == 0) {
			t.Errorf("%d bytes: got %d", n, len(s.Bytes()))
		}
	}
	mustPanic(t, "65 bytes", func() { NewSecret(fixed(1, 65)) })
}

func TestSecret_Equal(t *testing.T) {
	a, b, short := fixedSecret(1), fixedSecret(1), NewSecret(fixed(1, 31))
	other := fixedSecret(2)
	if !a.Equal(&b) || a.Equal(&short) || a.Equal(&other) || a.Equal(&Secret{}) {
		t.Error("Equal is wrong")
	}
	r1, r2 := RandomSecret(), RandomSecret()
	if r1.Equal(&r2) || len(r1.Bytes()) != KeySize {
		t.Error("random secrets are equal or short")
	}
}

func TestPrivateKey_WipeReachesEveryCopy(t *testing.T) {
	priv, pub := GenerateKeyPair()
	sealed, err := SealTo(pub, nil, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	c := priv
	inner := priv.k
	priv.Wipe()
	priv.Wipe()
	if !inner.seed.Empty() || inner.key != nil {
		t.Error("seed or key remains")
	}
	if _, err := priv.Open(nil, nil, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("open after wipe: %v", err)
	}
	if _, err := c.Open(nil, nil, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("open by a copy after wipe: %v", err)
	}
	seed, own := c.Seed(), priv.Seed()
	if !seed.Empty() || !own.Empty() || priv.Public() != nil {
		t.Error("a wiped key gives something out")
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: did not panic", what)
		}
	}()
	f()
}
