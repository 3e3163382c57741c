package client

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/storage/seal"
)

var update = flag.Bool("update", false, "rewrite the golden vectors; a change locks every member out")

var (
	sandbox, _ = seal.KDFByVersion(seal.KDFSandbox, seal.Sandbox)
	floor, _   = seal.KDFByVersion(seal.KDFFloor, seal.Live)
)

func TestCheckPassphrase_CountsCodePointsOfNFC(t *testing.T) {
	for _, unit := range []string{"a", " ", "ä", "е", "語", "\U0001F600"} { // 1 to 4 bytes each
		for n, want := range map[int]error{
			0: ErrTooShort, 1: ErrTooShort, 7: ErrTooShort, 8: nil, 9: nil, 127: nil, 128: nil, 129: ErrTooLong, 20000: ErrTooLong,
		} {
			if err := CheckPassphrase(strings.Repeat(unit, n)); err != want {
				t.Errorf("%d times %q: %v, want %v", n, unit, err, want)
			}
		}
	}
	decomposed := "e\u0301" // two code points, one in NFC
	for n, want := range map[int]error{4: ErrTooShort, 7: ErrTooShort, 8: nil, 128: nil, 129: ErrTooLong} {
		if err := CheckPassphrase(strings.Repeat(decomposed, n)); err != want {
			t.Errorf("%d decomposed letters: %v, want %v", n, err, want)
		}
	}
	for _, bad := range []string{"\xff1234567890", "12345678\xc3", "\xed\xa0\x80 surrogate"} {
		if err := CheckPassphrase(bad); err != ErrUTF8 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestUnlock_SamePassphraseHoweverComposed(t *testing.T) {
	salt := [16]byte{1}
	a, err := Unlock("caf\u00e9 au lait", salt, sandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Unlock("cafe\u0301 au lait", salt, sandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	if !a.UK.Equal(&b.UK) || !a.SW.Equal(&b.SW) {
		t.Error("the keyboard matters")
	}
	if a.UK.Equal(&a.SW) {
		t.Error("what the server gets opens the sign wrap")
	}
	for name, try := range map[string]func() (*Unlocked, error){
		"case":  func() (*Unlocked, error) { return Unlock("Caf\u00e9 au lait", salt, sandbox, seal.Sandbox) },
		"space": func() (*Unlocked, error) { return Unlock("caf\u00e9 au lait ", salt, sandbox, seal.Sandbox) },
		"salt":  func() (*Unlocked, error) { return Unlock("caf\u00e9 au lait", [16]byte{2}, sandbox, seal.Sandbox) },
	} {
		if c, err := try(); err != nil || c.UK.Equal(&a.UK) || c.SW.Equal(&a.SW) {
			t.Errorf("%s does not matter (%v)", name, err)
		}
	}
	a.Wipe()
	if !a.UK.Empty() || !a.SW.Empty() {
		t.Error("not wiped")
	}
}

func TestUnlock_KeepsTheFloor(t *testing.T) {
	for name, try := range map[string]struct {
		kdf seal.KDF
		env seal.Env
	}{
		"sandbox version in live": {sandbox, seal.Live}, "weakened floor": {seal.KDF{Version: 1, T: 1, M: 64, P: 1}, seal.Live},
		"weakened in sandbox": {seal.KDF{Version: 1, T: 1, M: 64, P: 1}, seal.Sandbox}, "zero": {seal.KDF{}, seal.Live}, "no env": {floor, 0},
	} {
		if u, err := Unlock("long enough", [16]byte{}, try.kdf, try.env); err != seal.ErrKDF || u != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewRegistration("long enough", seal.KDFSandbox, seal.Live); err != seal.ErrKDF {
		t.Errorf("registration in live: %v", err)
	}
	if _, err := NewRegistration("long enough", 2, seal.Live); err != seal.ErrKDF {
		t.Errorf("unknown version: %v", err)
	}
	for pass, want := range map[string]error{"1234567": ErrTooShort, strings.Repeat("x", 129): ErrTooLong, "\xff2345678": ErrUTF8} {
		if _, err := Unlock(pass, [16]byte{}, sandbox, seal.Sandbox); err != want {
			t.Errorf("%v, want %v", err, want)
		}
		if _, err := NewRegistration(pass, seal.KDFSandbox, seal.Sandbox); err != want {
			t.Errorf("registration: %v, want %v", err, want)
		}
	}
}

// A member registers, comes back with nothing but the passphrase, unlocks on
// the server and signs.
func TestRegistration_ThenUnlockAndSign(t *testing.T) {
	for _, env := range []seal.Env{seal.Sandbox, seal.Live} {
		kdf := sandbox
		if env == seal.Live {
			kdf = floor
		}
		r, err := NewRegistration("correct horse", kdf.Version, env)
		if err != nil {
			t.Fatal(err)
		}
		first := seal.Statement{Kind: seal.Register, Number: 1}
		if err := first.Verify(r.SignPublic, r.Sign(&first)); err != nil {
			t.Errorf("%s: first statement: %v", env, err)
		}

		u, err := Unlock("correct horse", r.Salt, kdf, env)
		if err != nil || !u.UK.Equal(&r.UK) {
			t.Fatalf("%s: unlock key differs: %v", env, err)
		}
		priv, pub := seal.GenerateKeyPair()
		session, nonce, store := []byte("session"), []byte("nonce"), [16]byte{9}
		sealed, err := SealUnlock(pub, &u.UK, session, nonce, store, env)
		if err != nil {
			t.Fatal(err)
		}
		uk, err := seal.OpenUnlock(&priv, sealed, session, nonce, store, env)
		if err != nil || !uk.Equal(&r.UK) {
			t.Errorf("%s: server: %v", env, err)
		}
		if _, err := seal.OpenUnlock(&priv, sealed, session, []byte("later"), store, env); err != seal.ErrOpen {
			t.Errorf("%s: replayed: %v", env, err)
		}

		seed, err := OpenSignWrap(&u.SW, r.SignWrap, env, r.Salt)
		if err != nil || seal.SignKeyPublic(&seed) != r.SignPublic {
			t.Fatalf("%s: sign wrap: %v", env, err)
		}
		second := seal.Statement{Kind: seal.Approve, Number: 2, Previous: first.Hash()}
		if err := second.Verify(r.SignPublic, Sign(&second, &seed, env)); err != nil {
			t.Errorf("%s: second statement: %v", env, err)
		}
	}
}

func TestOpenSignWrap_OnlyWithTheRightKey(t *testing.T) {
	r, err := NewRegistration("correct horse", seal.KDFSandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	u, err := Unlock("correct horse", r.Salt, sandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := Unlock("correct house", r.Salt, sandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() (seal.Secret, error){
		"wrong passphrase": func() (seal.Secret, error) { return OpenSignWrap(&wrong.SW, r.SignWrap, seal.Sandbox, r.Salt) },
		"unlock key":       func() (seal.Secret, error) { return OpenSignWrap(&u.UK, r.SignWrap, seal.Sandbox, r.Salt) },
		"other env":        func() (seal.Secret, error) { return OpenSignWrap(&u.SW, r.SignWrap, seal.Live, r.Salt) },
		"no env":           func() (seal.Secret, error) { return OpenSignWrap(&u.SW, r.SignWrap, 0, r.Salt) },
		"other salt":       func() (seal.Secret, error) { return OpenSignWrap(&u.SW, r.SignWrap, seal.Sandbox, [16]byte{}) },
		"cut":              func() (seal.Secret, error) { return OpenSignWrap(&u.SW, r.SignWrap[:90], seal.Sandbox, r.Salt) },
		"nothing":          func() (seal.Secret, error) { return OpenSignWrap(&u.SW, nil, seal.Sandbox, r.Salt) },
		"wiped key":        func() (seal.Secret, error) { return OpenSignWrap(&seal.Secret{}, r.SignWrap, seal.Sandbox, r.Salt) },
		"short seed": func() (seal.Secret, error) {
			return OpenSignWrap(&u.SW, seal.Wrap(&u.SW, signWrapInfo(seal.Sandbox, r.Salt), make([]byte, 31)), seal.Sandbox, r.Salt)
		},
	} {
		if s, err := try(); !errors.Is(err, seal.ErrOpen) || !s.Empty() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRewrap_KeepsTheSigningKey(t *testing.T) {
	r, err := NewRegistration("correct horse", seal.KDFSandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Rewrap("another horse", seal.KDFSandbox, seal.Sandbox, &r.seed)
	if err != nil {
		t.Fatal(err)
	}
	if n.SignPublic != r.SignPublic || n.Salt == r.Salt || n.UK.Equal(&r.UK) || bytes.Equal(n.SignWrap, r.SignWrap) {
		t.Error("a new passphrase changes too little or too much")
	}
	if r.Wipe(); !r.seed.Empty() || !r.UK.Empty() || n.seed.Empty() {
		t.Error("Wipe reaches too little or too far")
	}
}

func TestSealUnlock_Refuses(t *testing.T) {
	uk := seal.RandomSecret()
	if _, err := SealUnlock(seal.PublicKey("short"), &uk, nil, nil, [16]byte{}, seal.Live); err != seal.ErrOpen {
		t.Errorf("not a key: %v", err)
	}
	_, pub := seal.GenerateKeyPair()
	if _, err := SealUnlock(pub, &uk, nil, nil, [16]byte{}, 0); err != seal.ErrEnv {
		t.Errorf("no environment: %v", err)
	}
}

func TestKeysNeverPrint(t *testing.T) {
	r, err := NewRegistration("correct horse", seal.KDFSandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	u, err := Unlock("correct horse", r.Salt, sandbox, seal.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %d") {
		out := fmt.Sprintf(verb+verb+verb+verb, r, *r, u, *u)
		for _, s := range []*seal.Secret{&u.SW, &u.UK, &r.seed} {
			h := hex.EncodeToString(s.Bytes()[:4])
			d := strings.Trim(fmt.Sprint(s.Bytes()[:4]), "[]")
			if strings.Contains(out, h) || strings.Contains(out, d) {
				t.Errorf("%s prints a key", verb)
			}
		}
	}
	for _, x := range []any{r, u} {
		if out, err := json.Marshal(x); err == nil {
			t.Errorf("%T has a JSON form: %d bytes", x, len(out))
		}
	}
}

func TestGolden(t *testing.T) {
	now := map[string]string{}
	for name, x := range map[string]struct {
		pass string
		kdf  seal.KDF
		env  seal.Env
	}{
		"live": {"correct horse", floor, seal.Live}, "sandbox": {"correct horse", sandbox, seal.Sandbox},
		"decomposed": {"cafe\u0301 au lait", sandbox, seal.Sandbox},
	} {
		u, err := Unlock(x.pass, [16]byte{1, 2, 3}, x.kdf, x.env)
		if err != nil {
			t.Fatal(err)
		}
		now[name+"/sw"], now[name+"/uk"] = hex.EncodeToString(u.SW.Bytes()), hex.EncodeToString(u.UK.Bytes())
	}
	path := filepath.Join("testdata", "vectors.json")
	if *update {
		text, err := json.MarshalIndent(now, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]string
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file) != len(now) {
		t.Errorf("%d vectors, want %d", len(file), len(now))
	}
	for name, v := range now {
		if file[name] != v {
			t.Errorf("%s: now %s, was %s", name, v, file[name])
		}
	}
}

func FuzzCheckPassphrase(f *testing.F) {
	f.Add("correct horse")
	f.Add("e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301")
	f.Add("\xff")
	f.Add(strings.Repeat("\u0300", 40))
	f.Fuzz(func(t *testing.T, p string) {
		n, err := normal(p)
		if err != nil {
			return
		}
		again, err := normal(string(n))
		if err != nil || !bytes.Equal(again, n) {
			t.Fatalf("normal form is not its own: %v", err)
		}
	})
}
