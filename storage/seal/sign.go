package seal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
)

func signKey(seed *Secret) ed25519.PrivateKey {
	if seed.n != KeySize {
		panic("seal: signing seed is not 32 bytes")
	}
	return ed25519.NewKeyFromSeed(seed.Bytes())
}

// SignKeyPublic returns the Ed25519 public key of a seed of 32 bytes.
func SignKeyPublic(seed *Secret) (pub [32]byte) {
	k := signKey(seed)
	copy(pub[:], k[ed25519.SeedSize:])
	wipe(k)
	return pub
}

// KeyID names a public key: the first 8 bytes of its SHA-256.
func KeyID(pub [32]byte) [8]byte {
	h := sha256.Sum256(pub[:])
	return [8]byte(h[:])
}

// CheckSignKey refuses, with ErrSignature, public keys of small order. Under
// such a key one signature holds for many messages, so its owner could sign
// one statement and later claim another.
func CheckSignKey(pub [32]byte) error {
	pub[31] &= 0x7f // the sign of x does not change the order
	if slices.Contains(smallOrder, pub) {
		return ErrSignature
	}
	return nil
}

// smallOrder lists every encoding of a point of order 1, 2, 4 or 8, sign bit
// cleared, with the encodings that are not reduced.
var smallOrder = func() (list [][32]byte) {
	for _, h := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", // order 4
		"0100000000000000000000000000000000000000000000000000000000000000", // order 1
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 4, not reduced
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 1, not reduced
	} {
		b, err := hex.DecodeString(h)
		if err != nil {
			panic("seal: small order table")
		}
		list = append(list, [32]byte(b))
	}
	return list
}()

// Signer signs checkpoints of the audit log with Ed25519. It has the shape of
// note.Signer (golang.org/x/mod/sumdb/note).
type Signer struct {
	Redacted
	name string
	hash uint32
	key  *[ed25519.PrivateKeySize]byte
}

// NewSigner makes a signer from a seed of 32 bytes. name must be a note name:
// not empty, without spaces or '+'.
func NewSigner(name string, seed *Secret) *Signer {
	k := signKey(seed)
	s := &Signer{name: name, key: (*[ed25519.PrivateKeySize]byte)(k)}
	s.hash = noteHash(name, s.Public())
	return s
}

// Name returns the signer's name.
func (s *Signer) Name() string { return s.name }

// KeyHash returns the note key hash.
func (s *Signer) KeyHash() uint32 { return s.hash }

// Sign returns the Ed25519 signature of msg. It never fails.
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	return ed25519.Sign(s.key[:], msg), nil
}

// Public returns the public key.
func (s *Signer) Public() [32]byte { return [32]byte(s.key[ed25519.SeedSize:]) }

// Verifier returns the other half.
func (s *Signer) Verifier() *Verifier { return NewVerifier(s.name, s.Public()) }

// Wipe overwrites the key; the signer must not be used afterwards.
func (s *Signer) Wipe() { wipe(s.key[:]) }

// Verifier checks what a Signer signed. It has the shape of note.Verifier.
type Verifier struct {
	name string
	hash uint32
	pub  [32]byte
}

// NewVerifier makes a verifier.
func NewVerifier(name string, pub [32]byte) *Verifier {
	return &Verifier{name: name, hash: noteHash(name, pub), pub: pub}
}

// Name returns the signer's name.
func (v *Verifier) Name() string { return v.name }

// KeyHash returns the note key hash.
func (v *Verifier) KeyHash() uint32 { return v.hash }

// Verify reports whether sig is the signer's over msg.
func (v *Verifier) Verify(msg, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize && CheckSignKey(v.pub) == nil && ed25519.Verify(v.pub[:], msg, sig)
}

// String returns the note verifier key, name+hash+base64, fit to be published.
func (v *Verifier) String() string {
	return fmt.Sprintf("%s+%08x+%s", v.name, v.hash, base64.StdEncoding.EncodeToString(append([]byte{noteEd25519}, v.pub[:]...)))
}

const noteEd25519 = 1

// noteHash is the first 4 bytes of SHA-256(name, newline, algorithm, key).
func noteHash(name string, pub [32]byte) uint32 {
	b := append([]byte(name), '\n', noteEd25519)
	h := sha256.Sum256(append(b, pub[:]...))
	return binary.BigEndian.Uint32(h[:])
}
