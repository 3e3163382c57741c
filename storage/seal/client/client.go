// Package client is the member's half of Holdfast's cryptography, the same in
// the browser (GOOS=js GOARCH=wasm) and in the command line client.
//
// The passphrase and the keys M and SW never leave it. What does leave is
// said on each function. It reads no clock, opens no file and no connection.
package client

import (
	"crypto/rand"
	"errors"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"holdfast/storage/seal"
)

// Limits of a passphrase, in code points of its NFC form.
const (
	MinPassphrase = 8
	MaxPassphrase = 128
)

// maxPassphraseBytes bounds the work of normalising. No code point of NFC
// comes from more than a few of at most 4 bytes, so whatever is longer than
// this has more than MaxPassphrase of them.
const maxPassphraseBytes = 16 * 1024

// Refusals of a passphrase.
var (
	ErrTooShort = errors.New("client: passphrase has fewer than 8 characters")
	ErrTooLong  = errors.New("client: passphrase has more than 128 characters")
	ErrUTF8     = errors.New("client: passphrase is not valid UTF-8")
)

// CheckPassphrase returns nil, ErrUTF8, ErrTooShort or ErrTooLong. What
// counts is the code points after NFC, so that the answer does not depend on
// how a keyboard composes letters.
func CheckPassphrase(p string) error {
	_, err := normal(p)
	return err
}

func normal(p string) ([]byte, error) {
	switch {
	case len(p) > maxPassphraseBytes:
		return nil, ErrTooLong
	case !utf8.ValidString(p):
		return nil, ErrUTF8
	}
	b := norm.NFC.AppendString(nil, p)
	switch n := utf8.RuneCount(b); {
	case n < MinPassphrase:
		return nil, ErrTooShort
	case n > MaxPassphrase:
		return nil, ErrTooLong
	}
	return b, nil
}

// Unlocked holds the two keys a passphrase gives.
type Unlocked struct {
	SW seal.Secret // opens the inner sign wrap; stays in the client
	UK seal.Secret // goes to the server, by SealUnlock only
}

// Wipe overwrites both keys.
func (u *Unlocked) Wipe() {
	u.SW.Wipe()
	u.UK.Wipe()
}

// Unlock stretches a passphrase:
//
//	M  = Argon2id(NFC(pass), salt, kdf)
//	SW = HKDF(M, "sign-wrap")   UK = HKDF(M, "unlock")
//
// It fails as CheckPassphrase does, and with seal.ErrKDF if kdf is not
// exactly a set accepted in env, whatever a server claims.
func Unlock(pass string, salt [16]byte, kdf seal.KDF, env seal.Env) (*Unlocked, error) {
	if err := kdf.Accepted(env); err != nil {
		return nil, err
	}
	p, err := normal(pass)
	if err != nil {
		return nil, err
	}
	m := kdf.Stretch(p, salt)
	clear(p)
	u := &Unlocked{
		SW: seal.Derive(&m, env, "sign-wrap"),
		UK: seal.Derive(&m, env, "unlock"),
	}
	m.Wipe()
	return u, nil
}

// Registration is what a client makes for a new member or a new passphrase.
// Salt, KDF, SignPublic, SignWrap go to the server in the clear, UK by
// SealUnlock only; the signing seed stays inside.
type Registration struct {
	seal.Redacted
	Salt       [16]byte
	KDF        byte
	SignPublic [32]byte
	SignWrap   []byte // Wrap(SW, seed); the server adds the outer half
	UK         seal.Secret

	env  seal.Env
	seed seal.Secret
}

// NewRegistration makes a salt, a signing key and the wraps of it. It fails
// as Unlock does.
func NewRegistration(pass string, kdf byte, env seal.Env) (*Registration, error) {
	return register(pass, kdf, env, seal.RandomSecret())
}

// Rewrap makes a registration for a new passphrase with the same signing key,
// whose seed it copies.
func Rewrap(pass string, kdf byte, env seal.Env, seed *seal.Secret) (*Registration, error) {
	return register(pass, kdf, env, *seed)
}

func register(pass string, kdf byte, env seal.Env, seed seal.Secret) (*Registration, error) {
	k, err := seal.KDFByVersion(kdf, env)
	if err != nil {
		return nil, err
	}
	r := &Registration{KDF: kdf, env: env, seed: seed}
	rand.Read(r.Salt[:])
	u, err := Unlock(pass, r.Salt, k, env)
	if err != nil {
		return nil, err
	}
	defer u.Wipe()
	r.UK = u.UK
	r.SignPublic = seal.SignKeyPublic(&r.seed)
	r.SignWrap = seal.Wrap(&u.SW, signWrapInfo(env, r.Salt), r.seed.Bytes())
	return r, nil
}

// Sign fills in the statement's format, environment and key id, and signs it.
func (r *Registration) Sign(st *seal.Statement) []byte {
	return Sign(st, &r.seed, r.env)
}

// Wipe overwrites the seed and the unlock key.
func (r *Registration) Wipe() {
	r.seed.Wipe()
	r.UK.Wipe()
}

// Sign fills in the statement's format, environment and key id, and signs it
// with the seed that OpenSignWrap gave.
func Sign(st *seal.Statement, seed *seal.Secret, env seal.Env) []byte {
	st.Format, st.Env = seal.StatementFormat, env
	st.KeyID = seal.KeyID(seal.SignKeyPublic(seed))
	return st.Sign(seed)
}

// SealUnlock seals the unlock key to the unlock key of the process that will
// use it, for one session, nonce and store. It fails with seal.ErrOpen if
// serverKey is not a public key. That serverKey is certified is the caller's
// to check.
func SealUnlock(serverKey seal.PublicKey, uk *seal.Secret, session, nonce []byte, store [16]byte, env seal.Env) ([]byte, error) {
	if !env.Valid() {
		return nil, seal.ErrEnv
	}
	return seal.SealTo(serverKey, seal.UnlockInfo(env, session, nonce, store), nil, uk.Bytes())
}

// OpenSignWrap opens the inner sign wrap, which a server releases to an
// unlocked session, and returns the Ed25519 seed; seal.ErrOpen otherwise.
func OpenSignWrap(sw *seal.Secret, inner []byte, env seal.Env, salt [16]byte) (seal.Secret, error) {
	if !env.Valid() {
		return seal.Secret{}, seal.ErrOpen
	}
	seed, err := seal.UnwrapSecret(sw, signWrapInfo(env, salt), inner)
	if err != nil {
		return seal.Secret{}, err
	}
	if len(seed.Bytes()) != seal.KeySize {
		seed.Wipe()
		return seal.Secret{}, seal.ErrOpen
	}
	return seed, nil
}

func signWrapInfo(env seal.Env, salt [16]byte) []byte {
	return seal.Info(env, "sign-wrap", salt[:])
}
