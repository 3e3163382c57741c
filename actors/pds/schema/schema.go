package schema

// MaxFields is the highest field number, so that a set of fields is a uint64.
const MaxFields = 63

// Status values of datasets and fields, as the helper routes spell them.
const (
	Live          = "Live"
	Implement     = "Implement"
	InDevelopment = "In Development"
	Hold          = "Hold"
	// Retired is for fields only: still readable, no longer offered.
	Retired = "Retired"
)

// Kind says how a dataset is kept and which routes serve it. Its zero value is
// invalid.
type Kind uint8

const (
	// Metadata changes slowly and may have several instances (two homes).
	Metadata Kind = 1 + iota
	// Transactional is appended to, row after row.
	Transactional
)

// String returns "metadata" or "transactional".
func (k Kind) String() string {
	switch k {
	case Metadata:
		return "metadata"
	case Transactional:
		return "transactional"
	}
	return "invalid"
}

// Field describes one column of a dataset.
type Field struct {
	Number      uint8  // 1..MaxFields, never given to another field
	Name        string // machine name
	Display     string // name for people
	Description string
	Example     string // always passes Check
	Type        Type
	Lookup      string // name of the list of accepted values, or empty
	Default     string // what a form offers first; never stored by itself
	Status      string // Live unless the file says otherwise
	NotNull     bool   // a created row must have the field, and not empty
	Length      int    // greatest length of a value in bytes
	Order       int    // position in forms, from 1

	lookup *lookup
}

// Dataset describes one kind of data.
type Dataset struct {
	Name        string // machine name, ds_...
	Display     string // name for people
	Description string
	Kind        Kind
	Status      string   // Live, Implement, In Development or Hold
	Environment string   // Production, Sandbox or Dev
	Category    string   // aspect of a member's life
	Aliases     []string // older machine names
	Fields      []Field  // in order of the file

	reserved []uint8
	byName   map[string]*Field
	byNumber [MaxFields + 1]*Field
	mask     uint64
	notNull  uint64
}

// Field finds a field by machine name.
func (d *Dataset) Field(name string) (*Field, bool) {
	f, ok := d.byName[name]
	return f, ok
}

// ByNumber returns the field with number n, or nil.
func (d *Dataset) ByNumber(n uint8) *Field {
	if n > MaxFields {
		return nil
	}
	return d.byNumber[n]
}

// Mask returns the set of all field numbers of the dataset.
func (d *Dataset) Mask() uint64 { return d.mask }

// NotNull returns the set of fields that a created row must have.
func (d *Dataset) NotNull() uint64 { return d.notNull }

// systemNames are the columns that every row has besides its fields: they are
// set by the store, may be read and filtered on, and are no names for fields.
var systemNames = map[string]bool{
	"id": true, "ds_id": true, "instance": true, "source": true,
	"created_timestamp": true, "updated_timestamp": true,
}

// IsSystem reports whether name is a column that the store itself keeps for
// each row (id, ds_id, instance, source, created_timestamp, updated_timestamp).
func IsSystem(name string) bool { return systemNames[name] }
