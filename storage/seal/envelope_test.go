package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"sync"
	"testing"
)

func TestCipher_OpensOnlyItsPlace(t *testing.T) {
	key, wrong := fixedSecret(1), fixedSecret(2)
	c, nonce := NewCipher(&key), Nonce()
	aad, plain := Info(Live, "block", []byte("a")), []byte("plain text")
	sealed := c.Seal([]byte("head"), &nonce, plain, aad)
	if string(sealed[:4]) != "head" || len(sealed) != 4+len(plain)+Overhead {
		t.Fatal("Seal does not append")
	}
	sealed = sealed[4:]
	got, err := c.Open([]byte("head"), &nonce, sealed, aad)
	if err != nil || string(got) != "headplain text" {
		t.Fatalf("open: %q, %v", got, err)
	}
	other := nonce
	other[11] ^= 1
	for name, try := range map[string]func() ([]byte, error){
		"another place": func() ([]byte, error) { return c.Open(nil, &nonce, sealed, Info(Live, "block", []byte("b"))) },
		"another env":   func() ([]byte, error) { return c.Open(nil, &nonce, sealed, Info(Sandbox, "block", []byte("a"))) },
		"no place":      func() ([]byte, error) { return c.Open(nil, &nonce, sealed, nil) },
		"another nonce": func() ([]byte, error) { return c.Open(nil, &other, sealed, aad) },
		"another key":   func() ([]byte, error) { return NewCipher(&wrong).Open(nil, &nonce, sealed, aad) },
		"nothing":       func() ([]byte, error) { return c.Open(nil, &nonce, nil, aad) },
		"15 bytes":      func() ([]byte, error) { return c.Open(nil, &nonce, sealed[:15], aad) },
		"cut":           func() ([]byte, error) { return c.Open(nil, &nonce, sealed[:len(sealed)-1], aad) },
		"longer":        func() ([]byte, error) { return c.Open(nil, &nonce, append(bytes.Clone(sealed), 0), aad) },
	} {
		if got, err := try(); err != ErrOpen || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x80
		if _, err := c.Open(nil, &nonce, bad, aad); err != ErrOpen {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

func TestCipher_InPlace(t *testing.T) {
	key := fixedSecret(1)
	c, nonce := NewCipher(&key), Nonce()
	buf := append(make([]byte, 0, 64), "plain text"...)
	sealed := c.Seal(buf[:0], &nonce, buf, nil)
	if &sealed[0] != &buf[0] {
		t.Error("moved although there was room")
	}
	plain, err := c.Open(sealed[:0], &nonce, sealed, nil)
	if err != nil || string(plain) != "plain text" {
		t.Errorf("%q, %v", plain, err)
	}
}

func TestCipher_AllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	key := fixedSecret(1)
	c := NewCipher(&key)
	buf, aad, plain := make([]byte, 0, 256), fixed(1, 90), fixed(2, 100)
	back := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		buf = SealBox(c, buf[:0], plain, aad)
		var err error
		if back, err = OpenBox(c, back[:0], buf, aad); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCipher_ConcurrentUse(t *testing.T) {
	key := fixedSecret(1)
	c := NewCipher(&key)
	var wg sync.WaitGroup
	for g := range byte(4) {
		wg.Go(func() {
			plain := bytes.Repeat([]byte{g}, 50)
			for range 200 {
				box := SealBox(c, nil, plain, nil)
				if got, err := OpenBox(c, nil, box, nil); err != nil || !bytes.Equal(got, plain) {
					t.Error("box mixed up")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestNonce_DoesNotRepeat(t *testing.T) {
	const each = 20000
	var mu sync.Mutex
	seen := make(map[[NonceSize]byte]bool, 2*each)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range each {
				n := Nonce()
				mu.Lock()
				if seen[n] {
					t.Error("nonce repeated")
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestBox_Layout(t *testing.T) {
	key := fixedSecret(1)
	c := NewCipher(&key)
	box := SealBox(c, []byte("head"), []byte("plain"), []byte("aad"))
	if string(box[:4]) != "head" || len(box) != 4+5+BoxOverhead || box[4] != 1 || box[5] != 1 {
		t.Fatalf("%x", box)
	}
	box = box[4:]
	b, err := aes.NewCipher(key.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := g.Open(nil, box[2:14], box[14:], []byte("aad")); err != nil || string(got) != "plain" {
		t.Errorf("not format, suite, nonce, ciphertext: %v", err)
	}
}

// Every byte of an envelope is bound: header, commitment, nonce, ciphertext, tag.
func TestEnvelopes_EveryByteIsBound(t *testing.T) {
	key := fixedSecret(1)
	c, aad := NewCipher(&key), Info(Live, "place")
	priv, pub := DeriveKeyPair(&key)
	toPub, err := SealTo(pub, aad, aad, []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]struct {
		sealed []byte
		open   func([]byte) ([]byte, error)
		step   int
	}{
		"box":  {SealBox(c, nil, []byte("plain"), aad), func(b []byte) ([]byte, error) { return OpenBox(c, nil, b, aad) }, 1},
		"wrap": {Wrap(&key, aad, []byte("plain")), func(b []byte) ([]byte, error) { return Unwrap(&key, aad, b) }, 1},
		"hpke": {toPub, func(b []byte) ([]byte, error) { return priv.Open(aad, aad, b) }, 37},
	} {
		if got, err := e.open(e.sealed); err != nil || string(got) != "plain" {
			t.Errorf("%s: %v", name, err)
		}
		for i := 0; i < len(e.sealed); i += e.step {
			bad := bytes.Clone(e.sealed)
			bad[i] ^= 1
			if got, err := e.open(bad); err != ErrOpen || got != nil {
				t.Errorf("%s: byte %d changed: %v", name, i, err)
			}
			if got, err := e.open(e.sealed[:i]); err != ErrOpen || got != nil {
				t.Errorf("%s: cut at %d: %v", name, i, err)
			}
		}
		if _, err := e.open(append(bytes.Clone(e.sealed), 0)); err != ErrOpen {
			t.Errorf("%s: trailing byte: %v", name, err)
		}
	}
}

func TestWrap_OpensOnlyItsPlace(t *testing.T) {
	key, wrong := fixedSecret(1), fixedSecret(2)
	aad := Info(Live, "root", []byte("a"))
	w := Wrap(&key, aad, []byte("root key"))
	if len(w) != WrapOverhead+8 {
		t.Errorf("%d bytes", len(w))
	}
	for name, try := range map[string]func() ([]byte, error){
		"another key":   func() ([]byte, error) { return Unwrap(&wrong, aad, w) },
		"another place": func() ([]byte, error) { return Unwrap(&key, Info(Live, "root", []byte("b")), w) },
		"another env":   func() ([]byte, error) { return Unwrap(&key, Info(Sandbox, "root", []byte("a")), w) },
		"a wiped key":   func() ([]byte, error) { return Unwrap(&Secret{}, aad, w) },
		"a box":         func() ([]byte, error) { return Unwrap(&key, aad, SealBox(NewCipher(&key), nil, make([]byte, 64), aad)) },
	} {
		if got, err := try(); err != ErrOpen || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if bytes.Equal(Wrap(&key, aad, []byte("root key")), w) {
		t.Error("two wraps are the same")
	}
}

// GCM lets a ciphertext be made that opens under two keys. The commitment
// ends that: whatever ciphertext stands behind it, it names one key.
func TestWrap_CommitsToItsKey(t *testing.T) {
	k1, k2 := fixedSecret(1), fixedSecret(2)
	aad := Info(Live, "root")
	w1, w2 := Wrap(&k1, aad, []byte("plain")), Wrap(&k2, aad, []byte("plain"))
	if bytes.Equal(w1[2:34], w2[2:34]) {
		t.Fatal("two keys have one commitment")
	}
	mixed := append(bytes.Clone(w1[:34]), w2[34:]...) // k2's ciphertext behind k1's commitment
	for _, k := range []*Secret{&k1, &k2} {
		if _, err := Unwrap(k, aad, mixed); err != ErrOpen {
			t.Errorf("opened: %v", err)
		}
	}
	again := Wrap(&k1, aad, []byte("other"))
	if !bytes.Equal(w1[2:34], again[2:34]) {
		t.Error("commitment depends on more than key and place")
	}
	if bytes.Contains(w1, k1.Bytes()) {
		t.Error("key inside its wrap")
	}
}

func TestUnwrapSecret_Sizes(t *testing.T) {
	key := fixedSecret(1)
	for n, ok := range map[int]bool{0: false, 1: true, 32: true, 64: true, 65: false} {
		s, err := UnwrapSecret(&key, nil, Wrap(&key, nil, fixed(1, n)))
		if (err == nil) != ok || (ok && !bytes.Equal(s.Bytes(), fixed(1, n))) || (!ok && !s.Empty()) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	key := fixedSecret(1)
	aad := Info(Live, "place")
	// Each fuzzing process makes its own, so the nonce is fixed.
	enc, commit := wrapKeys(&key, aad)
	nonce := [NonceSize]byte{7}
	good := append(append([]byte{1, 1}, commit[:]...), nonce[:]...)
	good = NewCipher(&enc).Seal(good, &nonce, []byte("plain"), aad)
	f.Add(good)
	f.Add(good[:WrapOverhead])
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Unwrap(&key, aad, b)
		if err != nil && (err != ErrOpen || got != nil) {
			t.Fatal("failure gives something out")
		}
		if err == nil && !bytes.Equal(b, good) {
			t.Fatal("forged a wrap")
		}
	})
}

func FuzzOpenBox(f *testing.F) {
	key := fixedSecret(1)
	c, aad := NewCipher(&key), Info(Live, "place")
	nonce := [NonceSize]byte{7}
	good := c.Seal(append([]byte{1, 1}, nonce[:]...), &nonce, []byte("plain"), aad)
	f.Add(good)
	f.Add(good[:BoxOverhead])
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := OpenBox(c, []byte("head"), b, aad)
		if err != nil && (err != ErrOpen || got != nil) {
			t.Fatal("failure gives something out")
		}
		if err == nil && !bytes.Equal(b, good) {
			t.Fatal("forged a box")
		}
	})
}
