package seal

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
)

// SecretSize is the most bytes a Secret holds.
const SecretSize = 64

// KeySize is the length in bytes of every symmetric key and signing seed.
const KeySize = 32

const redacted = "[redacted]"

var errRedacted = errors.New("seal: key material has no text form")

// Secret is key material of up to SecretSize bytes, held inline so that Wipe
// reaches it and no copy is left to the garbage collector. The zero value is
// empty. Assigning a Secret copies the bytes: each copy has to be wiped by
// whoever made it.
//
// It prints as "[redacted]" under every verb, refuses to be marshalled and
// cannot be compared with ==. One hazard remains: fmt does not call methods
// of unexported fields, so a struct that keeps a Secret in an unexported
// field and may ever be printed should embed Redacted.
type Secret struct {
	_ [0]func() // not comparable
	n uint8
	b [SecretSize]byte
}

// NewSecret copies b. It panics if b is longer than SecretSize: lengths of
// keys are fixed by the program, never by its input.
func NewSecret(b []byte) Secret {
	if len(b) > SecretSize {
		panic("seal: secret longer than SecretSize")
	}
	var s Secret
	s.n = uint8(copy(s.b[:], b))
	return s
}

// RandomSecret returns KeySize bytes from the system's generator, which
// crashes the program rather than fail (crypto/rand).
func RandomSecret() Secret {
	s := Secret{n: KeySize}
	rand.Read(s.b[:KeySize])
	return s
}

// Bytes lends the key material until Wipe. The caller must not keep it.
func (s *Secret) Bytes() []byte { return s.b[:s.n:s.n] }

// Wipe overwrites the key material and empties the secret.
func (s *Secret) Wipe() {
	wipe(s.b[:])
	s.n = 0
}

// Empty reports whether the secret holds nothing, as after Wipe.
func (s *Secret) Empty() bool { return s.n == 0 }

// Equal compares in constant time; only the lengths may show.
func (s *Secret) Equal(o *Secret) bool {
	return subtle.ConstantTimeCompare(s.Bytes(), o.Bytes()) == 1
}

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON always fails.
func (Secret) MarshalJSON() ([]byte, error) { return nil, errRedacted }

// MarshalText always fails.
func (Secret) MarshalText() ([]byte, error) { return nil, errRedacted }

// MarshalBinary always fails; it also stops encoding/gob.
func (Secret) MarshalBinary() ([]byte, error) { return nil, errRedacted }

// Redacted is embedded in structs that keep key material in unexported
// fields, so that the whole struct prints as "[redacted]" and has no JSON
// form.
type Redacted struct{}

// String returns "[redacted]".
func (Redacted) String() string { return redacted }

// GoString returns "[redacted]".
func (Redacted) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON always fails.
func (Redacted) MarshalJSON() ([]byte, error) { return nil, errRedacted }

// MarshalText always fails.
func (Redacted) MarshalText() ([]byte, error) { return nil, errRedacted }

// MarshalBinary always fails.
func (Redacted) MarshalBinary() ([]byte, error) { return nil, errRedacted }
