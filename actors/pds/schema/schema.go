package schema

// Type is the form that a field's values must have. Its zero value is invalid.
type Type uint8

// The numbers are not stored anywhere; the names in Type.String are.
const (
	Text     Type = 1 + iota // any UTF-8
	Varchar                  // any UTF-8, shown on one line
	Blob                     // any UTF-8, often JSON or a longer note
	Int                      // optional '-' and digits
	Serial                   // digits only
	Number                   // decimal, JSON number grammar
	Currency                 // decimal; its currency code is another field
	Float                    // decimal
	Date                     // day serial, Unix seconds, or ISO 8601 date or date-time
	Time                     // day fraction, or hh:mm[:ss]
)

// Kind says how a dataset is kept and which routes serve it.
type Kind uint8

const (
	// Metadata changes slowly and may have several instances (two homes).
	Metadata Kind = 1 + iota
	// Transactional is appended to, row after row.
	Transactional
)

// MaxFields is the highest field number, so that a set of fields is a uint64.
const MaxFields = 63

// DefaultLength bounds a value, in bytes, where the field states no length.
const DefaultLength = 64 << 10

// Field describes one column of a dataset.
type Field struct {
	Number      uint8  // 1..MaxFields, never given to another field
	Name        string // machine name
	Display     string
	Description string
	Example     string // passes Check
	Type        Type
	Lookup      string // name of the list of accepted values, or empty
	Default     string
	Status      string // Live, Implement, In Development, Hold or Retired
	NotNull     bool
	Length      int // greatest length of a value in bytes
	Order       int // position in forms, from 1

	lookup *lookup
}

// Dataset describes one kind of data.
type Dataset struct {
	Name        string // machine name, ds_...
	Display     string
	Description string
	Kind        Kind
	Status      string // Live, Implement, In Development or Hold
	Environment string // Production, Sandbox or Dev
	Category    string // aspect of a member's life
	Fields      []Field

	byName   map[string]*Field
	byNumber [MaxFields + 1]*Field
	mask     uint64
}
