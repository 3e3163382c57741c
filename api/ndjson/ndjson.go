// Package ndjson scans newline-delimited JSON rows strictly, in one pass and
// without allocating per row.
package ndjson

// Codes of Error.
const (
	Malformed    = "malformed"
	UTF8         = "utf8"
	DuplicateKey = "duplicate-key"
	UnknownField = "unknown-field"
	Nested       = "nested"
	Number       = "number"
	TooLong      = "too-long"
	Empty        = "empty"
)

// Error says what is wrong with a line. It never carries a value.
type Error struct {
	Code   string
	Field  string // the member's name if it has the shape [a-z0-9_]{1,64}, else ""
	Offset int    // byte in the line
}

// Error gives code, field and offset.
func (e *Error) Error() string { return "ndjson: " + e.Code }

// MaxFields is the number of fields a dataset may have.
const MaxFields = 63

// Fields maps the field names of one dataset to their numbers. Immutable.
type Fields struct{}

// NewFields pairs names with numbers.
func NewFields(names []string, numbers []uint8) *Fields { return &Fields{} }

// Scanner scans the sections of one batch. Reusable, one per goroutine.
type Scanner struct{}

// Reset forgets all sections; everything handed out is invalid after it.
func (s *Scanner) Reset() {}

// Begin starts a section. Earlier sections stay valid until Reset.
func (s *Scanner) Begin(f *Fields) {}

// Row scans one line and appends it to the section.
func (s *Scanner) Row(line []byte) *Error { panic("ndjson: not built yet") }

// Section returns the section: row-major values with stride len(fields), nil
// for absent. Valid until Reset, if the scanned lines are.
func (s *Scanner) Section() (fields []uint8, vals [][]byte, n int) { return nil, nil, 0 }

// Header is a section's first line.
type Header struct {
	UID, NID uint32
	Key      []byte // aliases the line; to be overwritten after use
	Dataset  []byte // aliases the line
	Instance uint32
}

// IsHeader reports whether line opens a section.
func IsHeader(line []byte) bool { return false }

// ParseHeader scans a section header.
func ParseHeader(line []byte, h *Header) *Error { panic("ndjson: not built yet") }

// Strict checks one whole JSON document.
func Strict(b []byte, maxDepth int) *Error { panic("ndjson: not built yet") }
