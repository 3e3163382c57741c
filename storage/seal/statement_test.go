package seal

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func TestStatement_Layout(t *testing.T) {
	s := goldenStatement()
	b := s.Encode()
	if len(b) != StatementSize || StatementSize != 135 {
		t.Fatalf("%d bytes", len(b))
	}
	for _, f := range []struct {
		name string
		at   int
		want []byte
	}{
		{"format, env, kind", 0, []byte{1, 2, 2}}, {"store", 3, s.Store[:]}, {"conn", 19, s.Conn[:]},
		{"number", 35, []byte{1, 2, 3, 4, 5, 6, 7, 8}}, {"previous", 43, s.Previous[:]},
		{"version", 75, []byte{10, 11, 12, 13}}, {"not after", 79, []byte{0, 0, 0, 0, 0x70, 0xdb, 0xd8, 0x80}},
		{"time", 87, []byte{0, 0, 0, 0, 0x69, 0x55, 0xb9, 0x00}}, {"key id", 95, s.KeyID[:]}, {"commitment", 103, s.Commitment[:]},
	} {
		if got := b[f.at : f.at+len(f.want)]; !bytes.Equal(got, f.want) {
			t.Errorf("%s: %x, want %x", f.name, got, f.want)
		}
	}
}

func TestStatement_DecodeRefuses(t *testing.T) {
	good := goldenStatement().Encode()
	if _, err := DecodeStatement(good); err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "short": good[:StatementSize-1], "long": append(bytes.Clone(good), 0),
		"format 0": change(0, 0), "format 2": change(0, 2), "env 0": change(1, 0), "env 3": change(1, 3),
		"kind 0": change(2, 0), "kind 8": change(2, 8), "negative not after": change(79, 0x80), "negative time": change(87, 0x80),
	} {
		if s, err := DecodeStatement(b); err != ErrStatement || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each bit of a statement is signed and hashed, and the two are apart.
func TestStatement_EveryBitIsBound(t *testing.T) {
	seed := fixedSecret(0x10)
	pub := SignKeyPublic(&seed)
	s := goldenStatement()
	sig, hash, good := s.Sign(&seed), s.Hash(), s.Encode()
	if err := s.Verify(pub, sig); err != nil {
		t.Fatal(err)
	}
	for bit := range len(good) * 8 {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		d, err := DecodeStatement(b)
		if err != nil {
			continue
		}
		if d.Verify(pub, sig) == nil {
			t.Errorf("bit %d is not signed", bit)
		}
		if d.Hash() == hash {
			t.Errorf("bit %d is not hashed", bit)
		}
	}
	for bit := range len(sig) * 8 {
		bad := bytes.Clone(sig)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := s.Verify(pub, bad); err != ErrSignature {
			t.Errorf("bit %d of the signature: %v", bit, err)
		}
	}
	for _, bad := range [][]byte{nil, sig[:63], append(bytes.Clone(sig), 0)} {
		if err := s.Verify(pub, bad); err != ErrSignature {
			t.Errorf("%d bytes of signature: %v", len(bad), err)
		}
	}
}

func TestStatement_IsSignedByItsOwnKeyOnly(t *testing.T) {
	seed, other := fixedSecret(0x10), fixedSecret(0x50)
	s := goldenStatement()
	if err := s.Verify(SignKeyPublic(&seed), s.Sign(&other)); err != ErrSignature {
		t.Errorf("another's signature: %v", err)
	}
	if err := s.Verify(SignKeyPublic(&other), s.Sign(&other)); err != ErrSignature {
		t.Errorf("a key that the statement does not name: %v", err)
	}
	if k := ed25519.NewKeyFromSeed(seed.Bytes()); s.Verify(SignKeyPublic(&seed), ed25519.Sign(k, s.Encode())) != ErrSignature {
		t.Error("a signature without the domain is taken for a statement")
	}
	s.Kind = 9
	if err := s.Verify(SignKeyPublic(&seed), s.Sign(&seed)); err != ErrStatement {
		t.Errorf("malformed but signed: %v", err)
	}
	short := NewSecret(fixed(1, 31))
	mustPanic(t, "short seed", func() { s.Sign(&short) })
}

// Under a key of small order one signature holds for every message.
func TestStatement_RefusesKeysOfSmallOrder(t *testing.T) {
	forged := make([]byte, 64) // R the neutral element, S zero
	forged[0] = 1
	neutral := [32]byte{1}
	if !ed25519.Verify(neutral[:], []byte("anything"), forged) {
		t.Fatal("the standard library refuses the forgery by itself now")
	}
	s := goldenStatement()
	s.KeyID = KeyID(neutral)
	if err := s.Verify(neutral, forged); err != ErrSignature {
		t.Errorf("forgery: %v", err)
	}
	if NewVerifier("log", neutral).Verify([]byte("anything"), forged) {
		t.Error("verifier takes the forgery")
	}
	for _, p := range smallOrder {
		q := p
		q[31] |= 0x80
		if CheckSignKey(p) == nil || CheckSignKey(q) == nil {
			t.Errorf("%x is accepted", p[:4])
		}
	}
	for i := range byte(100) {
		seed := fixedSecret(i)
		if err := CheckSignKey(SignKeyPublic(&seed)); err != nil {
			t.Error("an honest key is refused")
		}
	}
}

func TestStatementKind_Names(t *testing.T) {
	seen := map[string]bool{}
	for k := Register; k <= Close; k++ {
		if n := k.String(); n == "unknown" || seen[n] {
			t.Errorf("kind %d is called %q", k, n)
		} else {
			seen[n] = true
		}
	}
	if StatementKind(0).String() != "unknown" || StatementKind(8).String() != "unknown" {
		t.Error("unknown kinds have names")
	}
}

func FuzzDecodeStatement(f *testing.F) {
	f.Add(goldenStatement().Encode())
	f.Add(make([]byte, StatementSize))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeStatement(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Encode(), b) {
			t.Fatal("two encodings of one statement")
		}
		if s.Verify([32]byte{5}, make([]byte, 64)) == nil {
			t.Fatal("forged")
		}
	})
}

// The log's tools are golang.org/x/mod's; signer and verifier fit them.
func TestSigner_FitsNotes(t *testing.T) {
	seed := RandomSecret()
	s := NewSigner("holdfast.example/log", &seed)
	var _ note.Signer = s
	var _ note.Verifier = s.Verifier()
	msg, err := note.Sign(&note.Note{Text: "holdfast.example/log\n1\nAAAA\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := note.NewVerifier(s.Verifier().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []note.Verifier{s.Verifier(), theirs} {
		if n, err := note.Open(msg, note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
			t.Errorf("%v", err)
		}
	}
	other := RandomSecret()
	if _, err := note.Open(msg, note.VerifierList(NewSigner("holdfast.example/log", &other).Verifier())); err == nil {
		t.Error("opened under another key")
	}
	s.Wipe()
	if *s.key != [64]byte{} {
		t.Error("key remains after Wipe")
	}
}
