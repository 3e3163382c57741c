package seal

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// passwordKDF returns the Argon2id parameters of log-in passwords: the OWASP
// floor in live, next to nothing in a sandbox.
func passwordKDF(env Env) KDF {
	if env == Sandbox {
		return KDF{T: 1, M: 64, P: 1}
	}
	return KDF{T: 2, M: 19 * 1024, P: 1}
}

// HashPassword returns the PHC string of a log-in password, Argon2id over its
// NFC form with a fresh salt. In live it takes 19 MiB for some 30 ms: the
// caller bounds how many run at once.
func HashPassword(pw string, env Env) string {
	var salt [16]byte
	rand.Read(salt[:])
	k := passwordKDF(env)
	sum := k.password(pw, salt[:])
	return k.prefix() + base64.RawStdEncoding.EncodeToString(salt[:]) + "$" + base64.RawStdEncoding.EncodeToString(sum)
}

// VerifyPassword reports whether enc came from HashPassword with this
// password in this environment. Parameters other than the environment's own
// are refused, so a weak or an exorbitant string is never computed; the work
// is done all the same, that refusals take as long as mismatches.
func VerifyPassword(pw, enc string, env Env) bool {
	k := passwordKDF(env)
	rest, ok := strings.CutPrefix(enc, k.prefix())
	s, h, ok2 := strings.Cut(rest, "$")
	salt, err := base64.RawStdEncoding.Strict().DecodeString(s)
	want, err2 := base64.RawStdEncoding.Strict().DecodeString(h)
	if !ok || !ok2 || strings.ContainsAny(rest, "\r\n") || err != nil || err2 != nil || len(salt) != 16 || len(want) != KeySize {
		return DummyVerify(pw, env)
	}
	return subtle.ConstantTimeCompare(k.password(pw, salt), want) == 1
}

// DummyVerify costs what VerifyPassword costs and returns false, so that the
// time of an answer does not tell which accounts exist.
func DummyVerify(pw string, env Env) bool {
	passwordKDF(env).password(pw, make([]byte, 16))
	return false
}

func (k KDF) password(pw string, salt []byte) []byte {
	return argon2.IDKey(norm.NFC.AppendString(nil, pw), salt, k.T, k.M, k.P, KeySize)
}

func (k KDF) prefix() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, k.M, k.T, k.P)
}
