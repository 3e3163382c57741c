package ndjson

import "strconv"

// Codes of Error.
const (
	Malformed    = "malformed"     // not JSON, or not the object expected here
	UTF8         = "utf8"          // invalid UTF-8 or a lone surrogate
	DuplicateKey = "duplicate-key" // a name occurs twice in one object
	UnknownField = "unknown-field" // a name the dataset does not have
	Nested       = "nested"        // an object or array as value, or too deep
	Number       = "number"        // a number against JSON's grammar
	TooLong      = "too-long"      // a line over MaxLine, or rows with far more fields than bytes
	Empty        = "empty"         // nothing but white space
)

// MaxLine is the longest line accepted, in bytes.
const MaxLine = 1 << 20

// Error says what is wrong with a line or document. It never carries a value.
type Error struct {
	Code   string
	Field  string // the member's name if it has the shape [a-z0-9_]{1,64}, else ""
	Offset int    // byte in the line
}

// Error gives code, field and offset.
func (e *Error) Error() string {
	s := "ndjson: " + e.Code
	if e.Field != "" {
		s += " in " + e.Field
	}
	return s + " at byte " + strconv.Itoa(e.Offset)
}

func fail(code string, name []byte, at int) *Error {
	return &Error{Code: code, Field: shaped(name), Offset: at}
}

// shaped returns name if it looks like an identifier: anything else might be
// data that a sender put in the wrong place.
func shaped(name []byte) string {
	if len(name) == 0 || len(name) > 64 {
		return ""
	}
	for _, c := range name {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return string(name)
}
