package seal

import (
	"strings"
	"testing"
)

func TestKDF_Floor(t *testing.T) {
	live, err := KDFByVersion(1, Live)
	if err != nil || live != (KDF{Version: 1, T: 3, M: 65536, P: 1}) {
		t.Errorf("floor: %+v, %v", live, err)
	}
	sand, err := KDFByVersion(0x80, Sandbox)
	if err != nil || sand != (KDF{Version: 0x80, T: 1, M: 64, P: 1}) {
		t.Errorf("sandbox: %+v, %v", sand, err)
	}
	for v := range 256 {
		for _, env := range []Env{0, Sandbox, Live, 3} {
			k, err := KDFByVersion(byte(v), env)
			accept := env.Valid() && v == 1 || env == Sandbox && v == 0x80
			if (err == nil) != accept || (!accept && (err != ErrKDF || k != KDF{})) {
				t.Errorf("version %d in %s: %v", v, env, err)
			}
		}
	}
}

func TestKDF_ParametersAreNotTakenOnTrust(t *testing.T) {
	for name, k := range map[string]KDF{
		"fewer passes": {1, 1, 65536, 1}, "less memory": {1, 3, 64, 1}, "more lanes": {1, 3, 65536, 4},
		"a great deal of memory": {1, 3, 1 << 30, 1}, "none": {}, "sandbox's": {0x80, 1, 64, 1}, "sandbox's as floor": {1, 1, 64, 1},
	} {
		if err := k.Accepted(Live); err != ErrKDF {
			t.Errorf("%s: %v", name, err)
		}
	}
	if (KDF{1, 3, 65536, 1}).Accepted(Live) != nil || (KDF{0x80, 1, 64, 1}).Accepted(Sandbox) != nil {
		t.Error("known parameters are refused")
	}
	if (KDF{0x80, 3, 65536, 1}).Accepted(Sandbox) != ErrKDF {
		t.Error("a version stands for other parameters")
	}
}

func TestPassword_LiveParameters(t *testing.T) {
	enc := HashPassword("correct horse", Live)
	if !strings.HasPrefix(enc, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(enc, "horse") {
		t.Errorf("%s", enc)
	}
	if !VerifyPassword("correct horse", enc, Live) || VerifyPassword("correct horsf", enc, Live) {
		t.Error("wrong answer")
	}
}

func TestPassword_RefusesOtherParameters(t *testing.T) {
	good := HashPassword("correct horse", Sandbox)
	if !VerifyPassword("correct horse", good, Sandbox) {
		t.Fatal("own hash refused")
	}
	if VerifyPassword("correct horse", good, Live) {
		t.Error("live takes a sandbox hash")
	}
	f := strings.Split(good, "$")
	swap := func(i int, s string) string {
		g := append([]string(nil), f...)
		g[i] = s
		return strings.Join(g, "$")
	}
	for name, enc := range map[string]string{
		"empty": "", "algorithm": swap(1, "argon2i"), "version": swap(2, "v=16"),
		"exorbitant": swap(3, "m=4294967295,t=1,p=1"), "no salt": swap(4, ""), "short salt": swap(4, f[4][:20]),
		"no hash": swap(5, ""), "short hash": swap(5, f[5][:22]), "more": good + "$x", "newline": good + "\n", "cut": good[:len(good)-1],
	} {
		if VerifyPassword("correct horse", enc, Sandbox) {
			t.Errorf("%s: accepted", name)
		}
	}
	if HashPassword("correct horse", Sandbox) == good {
		t.Error("salt repeats")
	}
	if DummyVerify("correct horse", Sandbox) {
		t.Error("a dummy is accepted")
	}
}

func TestPassword_ComposedAndDecomposedAreOne(t *testing.T) {
	if !VerifyPassword("caf\u00e9 au lait", HashPassword("cafe\u0301 au lait", Sandbox), Sandbox) {
		t.Error("the keyboard matters")
	}
}

func FuzzVerifyPassword(f *testing.F) {
	good := HashPassword("pw", Sandbox)
	f.Add(good)
	f.Add("$argon2id$v=19$m=64,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, enc string) {
		if VerifyPassword("another", enc, Sandbox) {
			t.Fatal("forged")
		}
	})
}
