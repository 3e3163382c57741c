package pds

// Act is what an audit entry records. Numbers are fixed.
type Act uint8

const (
	ActRead Act = iota + 1
	ActCreate
	ActUpdate
	ActDelete
	ActRestore
	ActRegister
	ActSignIn
	ActUnlock
	ActApprove
	ActChange
	ActSuspend
	ActLift
	ActRevoke
	ActInstance
	ActOpen // the member opened a dataset
	ActExport
	ActKeys   // keys were issued or replaced
	ActAccess // a request refused before its method was known
)

func (a Act) String() string {
	if int(a) < len(actNames) {
		return actNames[a]
	}
	return "act"
}

var actNames = [...]string{"none", "read", "create", "update", "delete", "restore", "register", "sign-in", "unlock", "approve", "change", "suspend", "lift", "revoke", "new-instance", "open", "export", "keys", "access"}

// AuditEntry says who did what, for the member's eyes: it is sealed in the
// journal. It holds no field values.
type AuditEntry struct {
	Act      Act
	NID      NID // 0: the member or the system
	Behalf   UID // a delegate's act: for whom, 0 otherwise
	Version  uint32
	Dataset  string
	Instance uint32
	Fields   Mask
	Purpose  string
	Result   Code // CodeNone: allowed
	Field    string
	Row      uint32
	Rows     uint32
	First    uint64
	Count    uint32 // equal refusals folded into this entry, 0 or 1: one
	Digest   []byte // ActExport: SHA-256 of what was handed out, else empty
}
