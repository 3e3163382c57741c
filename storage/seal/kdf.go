package seal

import (
	"errors"

	"golang.org/x/crypto/argon2"
)

// Versions of the passphrase KDF, as stored beside each verifier. Numbers
// are never used again for other parameters.
const (
	KDFFloor   byte = 1    // 2026-11: Argon2id, 3 passes, 64 MiB, 1 lane
	KDFSandbox byte = 0x80 // sandbox only: 1 pass, 64 KiB, so that members can be made by the thousand
)

// KDF is one set of Argon2id parameters (RFC 9106).
type KDF struct {
	Version byte
	T       uint32 // passes
	M       uint32 // memory, KiB
	P       uint8  // lanes
}

// ErrKDF refuses a version that is unknown or too weak for the environment.
var ErrKDF = errors.New("seal: passphrase KDF version not accepted")

// KDFByVersion returns the parameters of a version, or ErrKDF.
func KDFByVersion(v byte, env Env) (KDF, error) {
	switch {
	case !env.Valid():
		return KDF{}, ErrKDF
	case v == KDFFloor:
		return KDF{Version: KDFFloor, T: 3, M: 64 * 1024, P: 1}, nil
	case v == KDFSandbox && env == Sandbox:
		return KDF{Version: KDFSandbox, T: 1, M: 64, P: 1}, nil
	}
	return KDF{}, ErrKDF
}

// Accepted returns nil if k is exactly the set its version stands for in env,
// else ErrKDF: parameters that came from a server are not taken on trust.
func (k KDF) Accepted(env Env) error {
	known, err := KDFByVersion(k.Version, env)
	if err != nil || known != k {
		return ErrKDF
	}
	return nil
}

// Stretch is Argon2id over pass: 32 bytes. It takes k.M KiB of memory and
// tenths of a second.
func (k KDF) Stretch(pass []byte, salt [16]byte) Secret {
	b := argon2.IDKey(pass, salt[:], k.T, k.M, k.P, KeySize)
	s := NewSecret(b)
	wipe(b)
	return s
}
