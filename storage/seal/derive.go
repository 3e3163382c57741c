package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Derive returns 32 bytes of HKDF-SHA256 (RFC 5869, extract then expand,
// empty salt) over key with Info(env, purpose, parts...) as info. It panics
// if key is empty: that key was wiped, and a derivation from nothing would be
// the same for everybody.
func Derive(key *Secret, env Env, purpose string, parts ...[]byte) Secret {
	return expand(key, Info(env, purpose, parts...), KeySize)
}

// Derive64 is Derive with 64 bytes, for a key and its commitment. Its first
// 32 bytes equal those of Derive with the same arguments, so a purpose
// belongs to one of the two functions.
func Derive64(key *Secret, env Env, purpose string, parts ...[]byte) Secret {
	return expand(key, Info(env, purpose, parts...), 2*KeySize)
}

func expand(key *Secret, info []byte, n int) Secret {
	if key.Empty() {
		panic("seal: derivation from an empty secret")
	}
	okm, err := hkdf.Key(sha256.New, key.Bytes(), nil, string(info), n)
	if err != nil {
		panic("seal: hkdf refused a fixed length") // only lengths over 255*32 are refused
	}
	s := NewSecret(okm)
	clear(okm)
	return s
}

// Join binds several secrets into one key of 32 bytes, such that all of them
// are needed: HKDF-Extract with salt "holdfast/v1/join" over each secret
// preceded by its length in 4 bytes, big endian. The lengths keep the borders
// apart, so no two lists of secrets give the same input. It panics if one is
// empty, since an erased slot must never silently drop out.
func Join(secrets ...*Secret) Secret {
	ikm := make([]byte, 0, len(secrets)*(4+SecretSize))
	for _, s := range secrets {
		if s.Empty() {
			panic("seal: join of an empty secret")
		}
		ikm = binary.BigEndian.AppendUint32(ikm, uint32(s.n))
		ikm = append(ikm, s.Bytes()...)
	}
	prk, err := hkdf.Extract(sha256.New, ikm, []byte(infoPrefix+"join"))
	if err != nil {
		panic("seal: hkdf extract refused") // only in FIPS-only mode with a short key
	}
	clear(ikm)
	s := NewSecret(prk)
	clear(prk)
	return s
}

// HMAC16 returns the first 16 bytes of HMAC-SHA256 (RFC 2104) under key over
// Info(env, purpose, parts...): ids and tags that only holders of key can
// compute. It panics if key is empty.
func HMAC16(key *Secret, env Env, purpose string, parts ...[]byte) (id [16]byte) {
	if key.Empty() {
		panic("seal: hmac under an empty secret")
	}
	m := hmac.New(sha256.New, key.Bytes())
	m.Write(Info(env, purpose, parts...))
	var sum [sha256.Size]byte
	copy(id[:], m.Sum(sum[:0]))
	return id
}

// SlotHash is what may be public about a slot: SHA-256 over
// Info(env, "slot", value). A slot is random, so the hash tells nothing of it.
func SlotHash(env Env, v *Secret) [32]byte {
	return sha256.Sum256(Info(env, "slot", v.Bytes()))
}
