package seal

import (
	"crypto/hpke"
	"slices"
	"sync"
)

// PublicKey is an HPKE public key: ML-KEM-768 and X25519, 1,216 bytes.
type PublicKey []byte

// hpkeEncSize is the length of the encapsulated key: an ML-KEM-768
// ciphertext (1,088 bytes) and an X25519 share (32 bytes).
const hpkeEncSize = 1088 + 32

// SealToOverhead is how much longer SealTo's output is than its input, in bytes.
const SealToOverhead = headSize + hpkeEncSize + Overhead

// PrivateKey opens what was sealed to its public half. Copies share the key;
// wiping one wipes all, also while others are in use. The zero value is a
// wiped key. It prints as "[redacted]" and has no JSON form.
type PrivateKey struct {
	Redacted
	_ [0]func()
	k *privateKey
}

type privateKey struct {
	mu   sync.Mutex
	seed Secret          // empty after Wipe
	key  hpke.PrivateKey // nil after Wipe
	pub  PublicKey
}

// get returns the parts as they are now; nil and empty after Wipe.
func (p *PrivateKey) get() (key hpke.PrivateKey, seed Secret, pub PublicKey) {
	if p.k == nil {
		return nil, Secret{}, nil
	}
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	return p.k.key, p.k.seed, p.k.pub
}

// DeriveKeyPair returns the key pair that belongs to a seed of 32 bytes
// (DeriveKeyPair of the KEM). It panics on another length.
func DeriveKeyPair(seed *Secret) (PrivateKey, PublicKey) {
	if seed.n != KeySize {
		panic("seal: key pair seed is not 32 bytes")
	}
	k, err := hpke.MLKEM768X25519().DeriveKeyPair(seed.Bytes())
	if err != nil {
		panic("seal: hpke refused a 32-byte seed")
	}
	pub := PublicKey(k.PublicKey().Bytes())
	return PrivateKey{k: &privateKey{seed: *seed, key: k, pub: pub}}, slices.Clone(pub)
}

// GenerateKeyPair is DeriveKeyPair of a random seed.
func GenerateKeyPair() (PrivateKey, PublicKey) {
	seed := RandomSecret()
	defer seed.Wipe()
	return DeriveKeyPair(&seed)
}

// SealTo seals plain to the holder of pub's private half (RFC 9180, base
// mode, MLKEM768X25519, HKDF-SHA256, AES-256-GCM):
//
//	format 1 | suite 2 | encapsulated key, 1,120 bytes | ciphertext and tag
//
// Base mode does not say who sealed: the caller binds identities in info,
// which comes from Info, as does aad. It fails with ErrOpen if pub is not a
// public key.
func SealTo(pub PublicKey, info, aad, plain []byte) ([]byte, error) {
	pk, err := hpke.MLKEM768X25519().NewPublicKey(pub)
	if err != nil {
		return nil, ErrOpen
	}
	enc, s, err := hpke.NewSender(pk, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, ErrOpen
	}
	ct, err := s.Seal(aad, plain)
	if err != nil {
		return nil, ErrOpen
	}
	out := make([]byte, 0, headSize+len(enc)+len(ct))
	out = append(out, envelopeFormat, suiteHPKE)
	out = append(out, enc...)
	return append(out, ct...), nil
}

// Open is the inverse of SealTo: the plaintext in fresh memory, or ErrOpen.
func (p *PrivateKey) Open(info, aad, sealed []byte) ([]byte, error) {
	key, seed, _ := p.get()
	seed.Wipe()
	if key == nil || len(sealed) < SealToOverhead || sealed[0] != envelopeFormat || sealed[1] != suiteHPKE {
		return nil, ErrOpen
	}
	enc, ct := sealed[headSize:headSize+hpkeEncSize], sealed[headSize+hpkeEncSize:]
	r, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, ErrOpen
	}
	out, err := r.Open(aad, ct)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// Public returns the public half, nil after Wipe.
func (p *PrivateKey) Public() PublicKey {
	_, seed, pub := p.get()
	seed.Wipe()
	return slices.Clone(pub)
}

// Seed returns the seed, to be stored wrapped and wiped; empty after Wipe.
func (p *PrivateKey) Seed() Secret {
	_, seed, _ := p.get()
	return seed
}

// Wipe overwrites the seed and lets go of the key. The standard library
// offers no way to overwrite the expanded key; it stays until collected.
func (p *PrivateKey) Wipe() {
	if p.k == nil {
		return
	}
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	p.k.seed.Wipe()
	p.k.key, p.k.pub = nil, nil
}

// OpenUnlock opens, on the server, the unlock key that client.SealUnlock
// sealed to this process's unlock key for one session, nonce and store. That
// a nonce is used once is the caller's care. ErrOpen whatever the cause.
func OpenUnlock(priv *PrivateKey, sealed, session, nonce []byte, store [16]byte, env Env) (Secret, error) {
	if !env.Valid() {
		return Secret{}, ErrOpen
	}
	b, err := priv.Open(UnlockInfo(env, session, nonce, store), nil, sealed)
	if err != nil {
		return Secret{}, err
	}
	defer wipe(b)
	if len(b) != KeySize {
		return Secret{}, ErrOpen
	}
	return NewSecret(b), nil
}

// UnlockInfo is the HPKE info of a sealed unlock key.
func UnlockInfo(env Env, session, nonce []byte, store [16]byte) []byte {
	return Info(env, "unlock", session, nonce, store[:])
}
