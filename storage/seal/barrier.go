package seal

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
)

// Barrier is the cluster's barrier key: 32 random bytes kept apart from the
// disks. Everything a node can open by itself hangs from it.
type Barrier struct {
	Secret
	Env Env
}

// Failures of reading a barrier key. Neither says anything about the key.
var (
	ErrBarrierText  = errors.New(`seal: not a barrier file (want "holdfast-barrier-1 sandbox|live KEY")`)
	ErrBarrierWrong = errors.New("seal: this barrier key does not belong to this data directory")
)

const barrierWord = "holdfast-barrier-1"

// barrierSum is how many bytes of checksum follow the key in its text form.
const barrierSum = 4

// NewBarrier makes a fresh barrier key. It panics on an unknown environment.
func NewBarrier(env Env) Barrier {
	if !env.Valid() {
		panic("seal: barrier without an environment")
	}
	return Barrier{Secret: RandomSecret(), Env: env}
}

// Encode returns the text form, one line:
//
//	holdfast-barrier-1 <sandbox|live> <base64 of key, 32 bytes, and checksum, 4 bytes>
//
// The checksum covers the environment, so that a mistyped word or key is
// found before anything is opened. The caller clears the text.
func (b *Barrier) Encode() []byte {
	raw := make([]byte, 0, KeySize+barrierSum)
	raw = append(raw, b.Bytes()...)
	sum := b.sum()
	raw = append(raw, sum[:]...)
	out := []byte(barrierWord + " " + b.Env.String() + " ")
	out = base64.StdEncoding.AppendEncode(out, raw)
	wipe(raw)
	return append(out, '\n')
}

// ParseBarrier reads the text form; spaces around it are allowed, anything
// else is ErrBarrierText.
func ParseBarrier(text []byte) (Barrier, error) {
	const most = 256 // a barrier file is 85 bytes at most
	if len(text) > most {
		return Barrier{}, ErrBarrierText
	}
	text = bytes.TrimSpace(text)
	f := bytes.Split(text, []byte(" "))
	if len(f) != 3 || bytes.ContainsAny(text, "\r\n") || string(f[0]) != barrierWord { // base64 would skip line ends
		return Barrier{}, ErrBarrierText
	}
	env, err := ParseEnv(string(f[1]))
	if err != nil {
		return Barrier{}, ErrBarrierText
	}
	raw, err := base64.StdEncoding.Strict().AppendDecode(nil, f[2])
	defer wipe(raw)
	if err != nil || len(raw) != KeySize+barrierSum {
		return Barrier{}, ErrBarrierText
	}
	b := Barrier{Secret: NewSecret(raw[:KeySize]), Env: env}
	sum := b.sum()
	if subtle.ConstantTimeCompare(sum[:], raw[KeySize:]) != 1 {
		b.Wipe()
		return Barrier{}, ErrBarrierText
	}
	return b, nil
}

func (b *Barrier) sum() [barrierSum]byte {
	h := sha256.Sum256(Info(b.Env, "barrier/text", b.Bytes()))
	return [barrierSum]byte(h[:])
}

// Key derives the key for one more purpose of the cluster, apart from those
// with a method of their own.
func (b *Barrier) Key(purpose string, parts ...[]byte) Secret {
	return Derive(&b.Secret, b.Env, "barrier/key/"+purpose, parts...)
}

// Pepper enters every member's root wrap, so that disks alone do not allow a
// passphrase to be guessed.
func (b *Barrier) Pepper() Secret { return Derive(&b.Secret, b.Env, "barrier/pepper") }

// DK is the directory key: accounts, organisations, templates, callbacks and
// the outbox are sealed under it, and storage ids are HMACs under it.
func (b *Barrier) DK() Secret { return Derive(&b.Secret, b.Env, "barrier/directory") }

// SlotFileKey seals the slot files.
func (b *Barrier) SlotFileKey() Secret { return Derive(&b.Secret, b.Env, "barrier/slots") }

// NodeKeyWrap wraps the keys of nodes and of the audit log.
func (b *Barrier) NodeKeyWrap() Secret { return Derive(&b.Secret, b.Env, "barrier/nodes") }

// CASeed is the Ed25519 seed of the cluster's certificate authority, which
// certifies the processes and their unlock keys.
func (b *Barrier) CASeed() Secret { return Derive(&b.Secret, b.Env, "barrier/ca") }

// WrapKey wraps s under NodeKeyWrap; name and parts say whose key it is.
func (b *Barrier) WrapKey(s *Secret, name string, parts ...[]byte) []byte {
	k := b.NodeKeyWrap()
	defer k.Wipe()
	return Wrap(&k, Info(b.Env, "node-key/"+name, parts...), s.Bytes())
}

// UnwrapKey is the inverse of WrapKey, or ErrOpen.
func (b *Barrier) UnwrapKey(wrapped []byte, name string, parts ...[]byte) (Secret, error) {
	k := b.NodeKeyWrap()
	defer k.Wipe()
	return UnwrapSecret(&k, Info(b.Env, "node-key/"+name, parts...), wrapped)
}

// Check is what a data directory keeps to recognise its barrier key; it
// tells nothing of the key.
func (b *Barrier) Check() [32]byte {
	s := Derive(&b.Secret, b.Env, "barrier/check")
	return [32]byte(s.Bytes())
}

// Matches returns nil if check came from this key and environment, else
// ErrBarrierWrong.
func (b *Barrier) Matches(check [32]byte) error {
	own := b.Check()
	if subtle.ConstantTimeCompare(own[:], check[:]) != 1 {
		return ErrBarrierWrong
	}
	return nil
}

// String returns "[redacted]".
func (Barrier) String() string { return redacted }

// GoString returns "[redacted]".
func (Barrier) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (Barrier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON always fails.
func (Barrier) MarshalJSON() ([]byte, error) { return nil, errRedacted }
