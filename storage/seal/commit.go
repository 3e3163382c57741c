package seal

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/gowebpki/jcs"
)

// Limits of Canonical.
const (
	MaxCanonical      = 1 << 20 // bytes of input
	MaxCanonicalDepth = 64      // arrays and objects within one another
)

// ErrCanonical refuses JSON that has no canonical form or exceeds a limit.
// The cause is left out because it would quote the document.
var ErrCanonical = errors.New("seal: JSON has no canonical form")

// Canonical returns the RFC 8785 form of a JSON text: names sorted, no
// spaces, numbers as ECMAScript writes them. Names that occur twice, lone
// surrogates, bytes that are not UTF-8 and documents beyond the limits are
// ErrCanonical. Numbers are IEEE 754 doubles there: amounts and long ids
// belong in strings.
func Canonical(text []byte) ([]byte, error) {
	if len(text) > MaxCanonical || !utf8.Valid(text) || tooDeep(text) || !json.Valid(text) {
		return nil, ErrCanonical
	}
	out, err := jcs.Transform(text)
	if err != nil {
		return nil, ErrCanonical
	}
	return out, nil
}

// tooDeep bounds nesting before anything recurses.
func tooDeep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > MaxCanonicalDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// Commitment is SHA-256(salt || canonicalJSON). The salt, 32 random bytes,
// keeps a text with few possible values from being guessed.
func Commitment(salt [32]byte, canonicalJSON []byte) [32]byte {
	h := sha256.New()
	h.Write(salt[:])
	h.Write(canonicalJSON)
	return [32]byte(h.Sum(nil))
}
