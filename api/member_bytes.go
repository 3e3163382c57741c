package api

import (
	"encoding/base64"
	"strings"
)

// b64 is a byte string of the member API: base64url without padding, read
// strictly so that one value has one form.
type b64 []byte

// MarshalText encodes b.
func (b b64) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText decodes t.
func (b *b64) UnmarshalText(t []byte) error {
	if strings.ContainsAny(string(t), "\r\n") {
		return errMalformed
	}
	out, err := base64.RawURLEncoding.Strict().AppendDecode(nil, t)
	if err != nil {
		return errMalformed
	}
	*b = out
	return nil
}

// sized copies b into an array, or says which field has the wrong length.
func sized[A [16]byte | [32]byte](name string, b b64) (a A, err error) {
	if len(b) != len(a) {
		return a, fieldProblem(name, "wrong length")
	}
	return A(b), nil
}

// fieldProblem is a 400 that names one member of the body.
func fieldProblem(field, detail string) *Problem {
	p := errMalformed.with(detail)
	p.Field = field
	return p
}
