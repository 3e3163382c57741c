package seal

import (
	"bytes"
	"sync"
	"testing"
)

func TestKeyPair_FollowsFromItsSeed(t *testing.T) {
	seed, other := fixedSecret(1), fixedSecret(2)
	priv, pub := DeriveKeyPair(&seed)
	_, again := DeriveKeyPair(&seed)
	_, different := DeriveKeyPair(&other)
	if !bytes.Equal(pub, again) || bytes.Equal(pub, different) || len(pub) != 1216 {
		t.Error("public key does not follow from the seed")
	}
	if got := priv.Seed(); !got.Equal(&seed) || !bytes.Equal(priv.Public(), pub) {
		t.Error("seed or public half differs")
	}
	pub[0] ^= 1
	if !bytes.Equal(priv.Public(), again) {
		t.Error("public key is shared with the caller")
	}
	g1, p1 := GenerateKeyPair()
	_, p2 := GenerateKeyPair()
	if s := g1.Seed(); bytes.Equal(p1, p2) || s.Empty() {
		t.Error("generated keys repeat")
	}
	short := NewSecret(fixed(1, 31))
	mustPanic(t, "short seed", func() { DeriveKeyPair(&short) })
}

func TestSealTo_OpensOnlyForItsPlace(t *testing.T) {
	priv, pub := GenerateKeyPair()
	stranger, _ := GenerateKeyPair()
	info, aad := Info(Live, "bundle", []byte("a")), []byte("aad")
	sealed, err := SealTo(pub, info, aad, []byte("bundle key"))
	if err != nil || len(sealed) != SealToOverhead+10 || sealed[0] != 1 || sealed[1] != 2 {
		t.Fatalf("%d bytes, %v", len(sealed), err)
	}
	if got, err := priv.Open(info, aad, sealed); err != nil || string(got) != "bundle key" {
		t.Fatalf("%q, %v", got, err)
	}
	var zero PrivateKey
	for name, try := range map[string]func() ([]byte, error){
		"a stranger": func() ([]byte, error) { return stranger.Open(info, aad, sealed) },
		"other info": func() ([]byte, error) { return priv.Open(Info(Live, "bundle", []byte("b")), aad, sealed) },
		"other env":  func() ([]byte, error) { return priv.Open(Info(Sandbox, "bundle", []byte("a")), aad, sealed) },
		"other aad":  func() ([]byte, error) { return priv.Open(info, nil, sealed) },
		"zero key":   func() ([]byte, error) { return zero.Open(info, aad, sealed) },
		"nothing":    func() ([]byte, error) { return priv.Open(info, aad, nil) },
	} {
		if got, err := try(); err != ErrOpen || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	empty, err := SealTo(pub, info, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := priv.Open(info, nil, empty); err != nil || len(got) != 0 {
		t.Errorf("empty plaintext: %v", err)
	}
}

func TestSealTo_RefusesBadPublicKeys(t *testing.T) {
	_, pub := GenerateKeyPair()
	lowOrder := bytes.Clone(pub)
	clear(lowOrder[1184:]) // X25519 share of order 4: no shared secret
	notReduced := bytes.Clone(pub)
	notReduced[0], notReduced[1] = 0xff, 0xff // ML-KEM coefficient over the modulus
	for name, k := range map[string]PublicKey{
		"none": nil, "short": pub[:1215], "long": append(bytes.Clone(pub), 0),
		"low order": lowOrder, "not reduced": notReduced,
	} {
		if out, err := SealTo(k, nil, nil, []byte("x")); err != ErrOpen || out != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenUnlock_OneSessionNonceStoreEnv(t *testing.T) {
	priv, pub := GenerateKeyPair()
	uk, session, nonce, store := fixedSecret(1), []byte("session"), []byte("nonce"), fixed16(1)
	sealed, err := SealTo(pub, UnlockInfo(Live, session, nonce, store), nil, uk.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenUnlock(&priv, sealed, session, nonce, store, Live)
	if err != nil || !got.Equal(&uk) {
		t.Fatal(err)
	}
	short, err := SealTo(pub, UnlockInfo(Live, session, nonce, store), nil, uk.Bytes()[:31])
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() (Secret, error){
		"other session": func() (Secret, error) { return OpenUnlock(&priv, sealed, []byte("s"), nonce, store, Live) },
		"other nonce":   func() (Secret, error) { return OpenUnlock(&priv, sealed, session, []byte("n"), store, Live) },
		"other store":   func() (Secret, error) { return OpenUnlock(&priv, sealed, session, nonce, fixed16(2), Live) },
		"other env":     func() (Secret, error) { return OpenUnlock(&priv, sealed, session, nonce, store, Sandbox) },
		"no env":        func() (Secret, error) { return OpenUnlock(&priv, sealed, session, nonce, store, 0) },
		"moved border": func() (Secret, error) {
			return OpenUnlock(&priv, sealed, []byte("sessionn"), []byte("once"), store, Live)
		},
		"31 bytes": func() (Secret, error) { return OpenUnlock(&priv, short, session, nonce, store, Live) },
	} {
		if got, err := try(); err != ErrOpen || !got.Empty() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The unlock key changes hourly while requests are under way.
func TestPrivateKey_WipeDuringUse(t *testing.T) {
	priv, pub := GenerateKeyPair()
	sealed, err := SealTo(pub, nil, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 20 {
				if got, err := priv.Open(nil, nil, sealed); err != nil && (err != ErrOpen || got != nil) {
					t.Error(err)
				}
				_, _ = priv.Seed(), priv.Public()
			}
		})
	}
	wg.Go(priv.Wipe)
	wg.Wait()
}

func FuzzPrivateKeyOpen(f *testing.F) {
	seed := fixedSecret(1)
	priv, pub := DeriveKeyPair(&seed)
	info := Info(Live, "place")
	good, err := SealTo(pub, info, nil, []byte("plain"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:SealToOverhead])
	f.Add([]byte{1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := priv.Open(info, nil, b)
		if err != nil && (err != ErrOpen || got != nil) {
			t.Fatal("failure gives something out")
		}
		if err == nil && !bytes.Equal(b, good) && !bytes.Equal(got, []byte("plain")) {
			t.Fatal("forged") // anybody can seal to a public key, but not by chance
		}
	})
}
