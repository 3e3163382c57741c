package seal

import "crypto/subtle"

// Format and suite open every envelope. Nothing negotiates: a reader knows a
// closed list and refuses the rest.
const (
	envelopeFormat = 1
	suiteAESGCM    = 1 // HKDF-SHA256, AES-256-GCM
	suiteHPKE      = 2 // HPKE base mode, MLKEM768X25519, HKDF-SHA256, AES-256-GCM
)

const (
	headSize   = 2
	commitSize = 32
	wrapHead   = headSize + commitSize + NonceSize
	boxHead    = headSize + NonceSize

	// WrapOverhead is how much longer a wrap is than what it holds, in bytes.
	WrapOverhead = wrapHead + Overhead
	// BoxOverhead is how much longer a box is than what it holds, in bytes.
	BoxOverhead = boxHead + Overhead
)

// Wrap seals plain, usually a key, under a key that may be guessable or
// somebody else's:
//
//	format 1 | suite 1 | commitment, 32 bytes | nonce, 12 bytes | ciphertext and tag
//
// From key and aad come 64 bytes of HKDF: an AES key and the commitment. GCM
// alone does not bind a ciphertext to one key; the commitment does, so no
// wrap opens under two keys and a guesser cannot test many at once
// (partitioning oracles). A random nonce is safe: each key and aad pair wraps
// a handful of times.
//
// aad comes from Info and names the place. It panics if key is empty.
func Wrap(key *Secret, aad, plain []byte) []byte {
	enc, commit := wrapKeys(key, aad)
	defer enc.Wipe()
	out := make([]byte, headSize, WrapOverhead+len(plain))
	out[0], out[1] = envelopeFormat, suiteAESGCM
	out = append(out, commit[:]...)
	nonce := Nonce()
	out = append(out, nonce[:]...)
	return NewCipher(&enc).Seal(out, &nonce, plain, aad)
}

// Unwrap is the inverse of Wrap: the plaintext in fresh memory, or ErrOpen.
// The commitment is compared first, in constant time.
func Unwrap(key *Secret, aad, wrapped []byte) ([]byte, error) {
	if len(wrapped) < WrapOverhead || wrapped[0] != envelopeFormat || wrapped[1] != suiteAESGCM || key.Empty() {
		return nil, ErrOpen
	}
	enc, commit := wrapKeys(key, aad)
	defer enc.Wipe()
	if subtle.ConstantTimeCompare(commit[:], wrapped[headSize:headSize+commitSize]) != 1 {
		return nil, ErrOpen
	}
	nonce := [NonceSize]byte(wrapped[headSize+commitSize : wrapHead])
	return NewCipher(&enc).Open(nil, &nonce, wrapped[wrapHead:], aad)
}

// UnwrapSecret is Unwrap for a key; what does not fit a Secret is ErrOpen.
func UnwrapSecret(key *Secret, aad, wrapped []byte) (Secret, error) {
	b, err := Unwrap(key, aad, wrapped)
	if err != nil {
		return Secret{}, err
	}
	defer clear(b)
	if len(b) == 0 || len(b) > SecretSize {
		return Secret{}, ErrOpen
	}
	return NewSecret(b), nil
}

func wrapKeys(key *Secret, aad []byte) (enc Secret, commit [commitSize]byte) {
	head := [headSize]byte{envelopeFormat, suiteAESGCM}
	parts := [][]byte{head[:], aad}
	okm := expand(key, noEnv, "wrap", parts, 2*KeySize)
	enc = NewSecret(okm.b[:KeySize])
	commit = [commitSize]byte(okm.b[KeySize:])
	okm.Wipe()
	return enc, commit
}

// SealBox appends to dst a small envelope without commitment, for records
// under random keys that only their owner chooses:
//
//	format 1 | suite 1 | nonce, 12 bytes | ciphertext and tag
//
// The nonce is random and fresh for each call; a key must end before 2^30
// boxes.
func SealBox(c *Cipher, dst, plain, aad []byte) []byte {
	nonce := Nonce()
	dst = append(dst, envelopeFormat, suiteAESGCM)
	dst = append(dst, nonce[:]...)
	// From here the nonce in dst is the one used: it is on the heap already.
	return c.Seal(dst, (*[NonceSize]byte)(dst[len(dst)-NonceSize:]), plain, aad)
}

// OpenBox appends what SealBox sealed to dst, or fails with ErrOpen.
func OpenBox(c *Cipher, dst, box, aad []byte) ([]byte, error) {
	if len(box) < BoxOverhead || box[0] != envelopeFormat || box[1] != suiteAESGCM {
		return nil, ErrOpen
	}
	return c.Open(dst, (*[NonceSize]byte)(box[headSize:boxHead]), box[boxHead:], aad)
}
