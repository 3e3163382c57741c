package schema

// Type is the form that a field's values must have. Its zero value is invalid.
// Values are text in every layer; a type never changes their digits.
type Type uint8

// The numbers are not stored; files and routes use the names of String.
const (
	Text     Type = 1 + iota // any UTF-8
	Varchar                  // any UTF-8, shown on one line
	Blob                     // any UTF-8, often JSON or a longer note
	Int                      // optional '-' and digits
	Serial                   // digits only
	Number                   // decimal, JSON number grammar (RFC 8259 section 6)
	Currency                 // decimal; the currency code is another field
	Float                    // decimal
	Date                     // day serial, Unix seconds, or ISO 8601 date or date-time
	Time                     // fraction of a day, or hh:mm[:ss]
)

var typeNames = [...]string{
	Text: "text", Varchar: "varchar", Blob: "blob", Int: "int", Serial: "serial", Number: "number",
	Currency: "currency", Float: "floating point", Date: "date", Time: "time",
}

// String returns the published name of the type, such as "text" or "floating
// point".
func (t Type) String() string {
	if t == 0 || int(t) >= len(typeNames) {
		return "invalid"
	}
	return typeNames[t]
}

// Numeric reports whether values compare by amount and not as text.
func (t Type) Numeric() bool {
	return t == Int || t == Serial || t == Number || t == Currency || t == Float
}

// Textual reports whether any UTF-8 is a value, also the empty string.
func (t Type) Textual() bool { return t == Text || t == Varchar || t == Blob }

// defaultLength bounds a value, in bytes, where the file states no length.
func (t Type) defaultLength() int {
	switch {
	case t == Blob:
		return 256 << 10
	case t.Textual():
		return 64 << 10
	default:
		return 128
	}
}

func typeNamed(name string) (Type, bool) {
	switch name {
	case "numeric":
		return Number, true
	case "float":
		return Float, true
	}
	for t, n := range typeNames {
		if n != "" && n == name {
			return Type(t), true
		}
	}
	return 0, false
}
