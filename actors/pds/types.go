package pds

import "strconv"

// UID is a member's public number, a random positive 31-bit integer.
type UID uint32

// NID is a connection's public number: one subscriber application.
type NID uint32

// ConID formats a connection id as the published API does: <uid>-<nid>.
func ConID(u UID, n NID) string {
	return strconv.FormatUint(uint64(u), 10) + "-" + strconv.FormatUint(uint64(n), 10)
}

// MemberID is a member's storage id, HMAC(DK, uid)[:16].
type MemberID [16]byte

// LinkID is the storage id of one member's link to one connection,
// HMAC(DK, uid, nid)[:16].
type LinkID [16]byte

// Tag names a dataset instance inside one store without saying which:
// HMAC(IK, dataset, instance)[:16].
type Tag [16]byte

// Method is one permission bit; a set of methods is their sum.
type Method uint8

const (
	Read   Method = 1
	Create Method = 2
	Update Method = 4
	Delete Method = 8
)

func (m Method) String() string {
	switch m {
	case Read:
		return "read"
	case Create:
		return "create"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return "method"
}

// Mask is a set of fields: bit n is the field with number n (1..63).
type Mask uint64

// Has reports whether field n is in the mask.
func (m Mask) Has(n uint8) bool { return m>>n&1 == 1 }

// Origin says how a record came to be.
type Origin uint8

const (
	SelfAsserted  Origin = 1
	SelfCollected Origin = 2
	Delivered     Origin = 3
	Verified      Origin = 4
)

func (o Origin) String() string {
	switch o {
	case SelfAsserted:
		return "self-asserted"
	case SelfCollected:
		return "self-collected"
	case Delivered:
		return "delivered"
	case Verified:
		return "verified"
	}
	return "unknown"
}

// Op is a filter's comparison.
type Op uint8

const (
	Eq Op = iota + 1
	Ne
	Lt
	Le
	Gt
	Ge
)

// Filter keeps the rows whose field compares so to Value. Field 0 with Name
// "id", "created_timestamp" or "updated_timestamp" is a system field.
// Numeric field types compare as decimals, others as bytes; absent never
// matches except for Ne.
type Filter struct {
	Name  string
	Field uint8
	Op    Op
	Value []byte
}

// Row is one record as a reader sees it. Vals stands in the order of the
// chunk's Fields; nil is absent.
type Row struct {
	ID               uint64
	Instance         uint32
	Source           string // "user" or the con_id that wrote it
	Origin           Origin
	Created, Updated int64 // Unix seconds
	Version          uint32
	Deleted          bool
	Vals             [][]byte
}
