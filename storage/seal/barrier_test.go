package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestBarrier_TextRoundTrip(t *testing.T) {
	for _, env := range []Env{Sandbox, Live} {
		b := NewBarrier(env)
		text := b.Encode()
		if !bytes.HasPrefix(text, []byte("holdfast-barrier-1 "+env.String()+" ")) || text[len(text)-1] != '\n' {
			t.Errorf("text form is wrong for %s", env)
		}
		for _, form := range [][]byte{text, bytes.TrimSpace(text), []byte("\n " + string(text) + "\r\n")} {
			got, err := ParseBarrier(form)
			if err != nil || got.Env != env || !got.Equal(&b.Secret) {
				t.Errorf("%s: %v", env, err)
			}
		}
	}
	mustPanic(t, "no environment", func() { NewBarrier(0) })
}

func TestBarrier_RefusesOtherTexts(t *testing.T) {
	b := NewBarrier(Live)
	text := string(bytes.TrimSpace(b.Encode()))
	key := strings.Fields(text)[2]
	typo := []byte(text)
	if i := len(text) - 20; typo[i] == 'A' {
		typo[i] = 'B'
	} else {
		typo[i] = 'A'
	}
	for name, bad := range map[string]string{
		"empty": "", "no key": "holdfast-barrier-1 live", "other version": "holdfast-barrier-2 live " + key,
		"no sum":     "holdfast-barrier-1 live " + base64.StdEncoding.EncodeToString(b.Bytes()),
		"mistyped":   string(typo),
		"other env":  "holdfast-barrier-1 sandbox " + key, // the checksum covers the environment
		"no env":     "holdfast-barrier-1 unknown " + key,
		"two spaces": "holdfast-barrier-1 live  " + key, "more": text + " x", "second line": text + "\nx",
		"huge": text + strings.Repeat(" ", 1000), "upper case": strings.ToUpper(text),
	} {
		got, err := ParseBarrier([]byte(bad))
		if !errors.Is(err, ErrBarrierText) || !got.Empty() {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), key[:8]) {
			t.Errorf("%s: the error quotes the key", name)
		}
	}
}

func TestBarrier_WrongKeyIsRecognised(t *testing.T) {
	b, other := NewBarrier(Live), NewBarrier(Live)
	if err := b.Matches(b.Check()); err != nil {
		t.Error(err)
	}
	if err := other.Matches(b.Check()); err != ErrBarrierWrong {
		t.Errorf("another key: %v", err)
	}
	sand := Barrier{Secret: b.Secret, Env: Sandbox}
	if err := sand.Matches(b.Check()); err != ErrBarrierWrong {
		t.Errorf("another environment: %v", err)
	}
}

func TestBarrier_KeysAreApart(t *testing.T) {
	b := NewBarrier(Live)
	sand := Barrier{Secret: b.Secret, Env: Sandbox}
	check := b.Check()
	seen := map[string]bool{string(b.Bytes()): true, string(check[:]): true}
	for _, x := range []*Barrier{&b, &sand} {
		for _, s := range []Secret{x.Pepper(), x.DK(), x.SlotFileKey(), x.NodeKeyWrap(), x.CASeed(), x.Key("pepper"), x.Key("token")} {
			if seen[string(s.Bytes())] {
				t.Error("two purposes share a key")
			}
			seen[string(s.Bytes())] = true
		}
	}
}

func TestBarrier_WrapKeyNamesItsOwner(t *testing.T) {
	b, other := NewBarrier(Live), NewBarrier(Live)
	seed := RandomSecret()
	w := b.WrapKey(&seed, "log", []byte("node 1"))
	if got, err := b.UnwrapKey(w, "log", []byte("node 1")); err != nil || !got.Equal(&seed) {
		t.Fatal(err)
	}
	for name, try := range map[string]func() (Secret, error){
		"another node":    func() (Secret, error) { return b.UnwrapKey(w, "log", []byte("node 2")) },
		"another purpose": func() (Secret, error) { return b.UnwrapKey(w, "tls", []byte("node 1")) },
		"another barrier": func() (Secret, error) { return other.UnwrapKey(w, "log", []byte("node 1")) },
	} {
		if got, err := try(); err != ErrOpen || !got.Empty() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseBarrier(f *testing.F) {
	b := Barrier{Secret: fixedSecret(1), Env: Live}
	f.Add(b.Encode())
	f.Add([]byte("holdfast-barrier-1 sandbox "))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseBarrier(text)
		if err != nil {
			if !got.Empty() {
				t.Fatal("refusal gives a key")
			}
			return
		}
		if !bytes.Equal(bytes.TrimSpace(text), bytes.TrimSpace(got.Encode())) {
			t.Fatal("accepted another text")
		}
	})
}
