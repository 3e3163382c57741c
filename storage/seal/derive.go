package seal

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// Derive returns 32 bytes of HKDF-SHA256 (RFC 5869, extract then expand,
// empty salt) over key with Info(env, purpose, parts...) as info. It panics
// if key is empty: that key was wiped, and a derivation from nothing would be
// the same for everybody.
func Derive(key *Secret, env Env, purpose string, parts ...[]byte) Secret {
	mustEnv(env)
	return expand(key, env, purpose, parts, KeySize)
}

// Derive64 is Derive with 64 bytes, for a key and its commitment. Its first
// 32 bytes equal those of Derive with the same arguments, so a purpose
// belongs to one of the two functions.
func Derive64(key *Secret, env Env, purpose string, parts ...[]byte) Secret {
	mustEnv(env)
	return expand(key, env, purpose, parts, 2*KeySize)
}

// Join binds several secrets into one key of 32 bytes, such that all of them
// are needed: HKDF-Extract with salt "holdfast/v1/join" over each secret
// preceded by its length in 4 bytes, big endian. The lengths keep the borders
// apart, so no two lists of secrets give the same input. It panics if one is
// empty, since an erased slot must never silently drop out.
func Join(secrets ...*Secret) Secret {
	var scratch [scratchSize]byte
	buf := scratch[:sha256.BlockSize]
	for _, s := range secrets {
		if s.Empty() {
			panic("seal: join of an empty secret")
		}
		buf = binary.BigEndian.AppendUint32(buf, uint32(s.n))
		buf = append(buf, s.Bytes()...)
	}
	const salt = infoPrefix + "join"
	prk := mac([]byte(salt), buf)
	wipe(buf)
	s := NewSecret(prk[:])
	wipe(prk[:])
	return s
}

// HMAC16 returns the first 16 bytes of HMAC-SHA256 (RFC 2104) under key over
// Info(env, purpose, parts...): ids and tags that only holders of key can
// compute. It panics if key is empty.
func HMAC16(key *Secret, env Env, purpose string, parts ...[]byte) [16]byte {
	mustEnv(env)
	if key.Empty() {
		panic("seal: hmac under an empty secret")
	}
	var scratch [scratchSize]byte
	sum := mac(key.Bytes(), appendInfo(scratch[:sha256.BlockSize], env, purpose, parts))
	return [16]byte(sum[:])
}

// SlotHash is what may be public about a slot: SHA-256 over
// Info(env, "slot", value). A slot is random, so the hash tells nothing of it.
func SlotHash(env Env, v *Secret) [32]byte {
	return sha256.Sum256(Info(env, "slot", v.Bytes()))
}

// HMAC and HKDF are written out over sha256.Sum256 rather than taken from
// crypto/hmac and crypto/hkdf, because those leave copies of the key on the
// heap where nothing can wipe them, and take twice as long (a unit key
// is derived for every field of every request). The tests hold both to the
// standard library's and to Wycheproof's vectors.

// scratchSize fits a block, an info of usual length and a previous output;
// longer inputs move to the heap.
const scratchSize = 384

// mac is HMAC-SHA256 under key, at most one block long, over what follows the
// first block of buf, which is scratch.
func mac(key, buf []byte) (sum [sha256.Size]byte) {
	var outer [sha256.BlockSize + sha256.Size]byte
	pad(buf[:sha256.BlockSize], key, &ipad)
	pad(outer[:sha256.BlockSize], key, &opad)
	sum = sha256.Sum256(buf)
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	wipe(buf[:sha256.BlockSize])
	wipe(outer[:])
	return sum
}

func pad(block, key []byte, with *[sha256.BlockSize]byte) {
	n := copy(block, key)
	clear(block[n:])
	subtle.XORBytes(block, block, with[:])
}

var ipad, opad = [sha256.BlockSize]byte(bytes.Repeat([]byte{0x36}, sha256.BlockSize)),
	[sha256.BlockSize]byte(bytes.Repeat([]byte{0x5c}, sha256.BlockSize))

// expand is HKDF-SHA256 with an empty salt, for n = 32 or 64.
func expand(key *Secret, env Env, purpose string, parts [][]byte, n uint8) Secret {
	if key.Empty() {
		panic("seal: derivation from an empty secret")
	}
	var scratch [scratchSize]byte
	buf := append(scratch[:sha256.BlockSize], key.Bytes()...)
	prk := mac(nil, buf)
	wipe(buf)
	buf = appendInfo(buf[:sha256.BlockSize], env, purpose, parts)
	t := mac(prk[:], append(buf, 1))
	s := Secret{n: n}
	copy(s.b[:], t[:])
	if n > KeySize {
		buf = append(buf[:sha256.BlockSize], t[:]...)
		buf = appendInfo(buf, env, purpose, parts)
		t2 := mac(prk[:], append(buf, 2))
		copy(s.b[KeySize:], t2[:])
		wipe(t2[:])
	}
	wipe(buf)
	wipe(prk[:])
	wipe(t[:])
	return s
}

// wipe is clear, kept from being optimised away.
//
//go:noinline
func wipe(b []byte) { clear(b) }
