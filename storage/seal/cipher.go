package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// Sizes of AES-256-GCM in bytes.
const (
	NonceSize = 12
	Overhead  = 16
)

// ErrOpen is the one failure of everything that opens: a wrong key, a wrong
// place, an unknown format and a changed byte look alike.
var ErrOpen = errors.New("seal: cannot open")

// Cipher is AES-256-GCM (NIST SP 800-38D) with its key schedule ready, some
// 784 bytes. It is safe for concurrent use and cannot be wiped: drop it when
// its key's time is over.
type Cipher struct {
	_    [0]func()
	aead cipher.AEAD
}

// NewCipher prepares a 32-byte key. It panics on another length, which
// includes a wiped key.
func NewCipher(key *Secret) *Cipher {
	if key.n != KeySize {
		panic("seal: cipher key is not 32 bytes")
	}
	b, err := aes.NewCipher(key.Bytes())
	if err != nil {
		panic("seal: aes refused a 32-byte key")
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		panic("seal: gcm refused aes")
	}
	return &Cipher{aead: g}
}

// Seal appends ciphertext and tag, len(plain)+Overhead bytes, to dst. A nonce
// must never return under the same key. To allocate nothing, give dst room
// and let nonce point into memory that is on the heap already, as the block
// being built is. plain may be dst[len(dst):] but may not overlap otherwise.
func (c *Cipher) Seal(dst []byte, nonce *[NonceSize]byte, plain, aad []byte) []byte {
	return c.aead.Seal(dst, nonce[:], plain, aad)
}

// Open appends the plaintext to dst, or fails with ErrOpen and gives nothing
// out. sealed may share its start with dst[len(dst):].
func (c *Cipher) Open(dst []byte, nonce *[NonceSize]byte, sealed, aad []byte) ([]byte, error) {
	out, err := c.aead.Open(dst, nonce[:], sealed, aad)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// Format writes "[redacted]" whatever the verb.
func (c *Cipher) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON always fails.
func (c *Cipher) MarshalJSON() ([]byte, error) { return nil, errRedacted }

// Nonce returns 12 fresh random bytes.
func Nonce() (n [NonceSize]byte) {
	rand.Read(n[:])
	return n
}
