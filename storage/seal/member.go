package seal

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
)

// MemberKey is the secret of one connection, held by the subscriber only:
// 160 random bits as 32 characters of lower-case base32 (RFC 4648 section 6,
// no padding; exactly 5 bits a character, so every such text is a key and no
// two are the same one). It prints as "[redacted]".
type MemberKey [32]byte

// ErrMemberKey refuses a text that is not 32 characters of a-z and 2-7.
var ErrMemberKey = errors.New("seal: not a member key")

var memberEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewMemberKey returns a fresh key.
func NewMemberKey() (k MemberKey) {
	var raw [20]byte
	rand.Read(raw[:])
	memberEncoding.Encode(k[:], raw[:])
	wipe(raw[:])
	return k
}

// ParseMemberKey accepts the exact form only: no upper case, space or padding.
func ParseMemberKey(b []byte) (k MemberKey, err error) {
	if len(b) != len(k) {
		return MemberKey{}, ErrMemberKey
	}
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return MemberKey{}, ErrMemberKey
		}
	}
	copy(k[:], b)
	return k, nil
}

// Connection derives the connection key and its commitment:
//
//	CK || commitment = HKDF(Join(MK, slot), env, "connection", store id, connection id), 64 bytes
//
// The commitment is stored and compared in constant time before CK is used.
func (k *MemberKey) Connection(env Env, slot *Secret, storeID, conn [16]byte) (ck Secret, commitment [32]byte) {
	mk := NewSecret(k[:])
	joined := Join(&mk, slot)
	okm := Derive64(&joined, env, "connection", storeID[:], conn[:])
	ck = NewSecret(okm.b[:KeySize])
	commitment = [32]byte(okm.b[KeySize:])
	mk.Wipe()
	joined.Wipe()
	okm.Wipe()
	return ck, commitment
}

// Reveal returns the 32 characters, for the one time they are handed over.
func (k *MemberKey) Reveal() string { return string(k[:]) }

// Wipe overwrites the key.
func (k *MemberKey) Wipe() { wipe(k[:]) }

// String returns "[redacted]".
func (MemberKey) String() string { return redacted }

// GoString returns "[redacted]".
func (MemberKey) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (MemberKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON always fails.
func (MemberKey) MarshalJSON() ([]byte, error) { return nil, errRedacted }

// MarshalText always fails.
func (MemberKey) MarshalText() ([]byte, error) { return nil, errRedacted }

// MarshalBinary always fails.
func (MemberKey) MarshalBinary() ([]byte, error) { return nil, errRedacted }
