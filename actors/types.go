package actors

import (
	"time"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// Caller is the subscriber's side of an access, after api has authenticated
// the token and found that its client owns the connection. Key is wiped by the
// actor; the caller must not use it again.
type Caller struct {
	UID    pds.UID
	NID    pds.NID
	Key    seal.MemberKey
	Method string // "read", "create" ... as audited; set by Directory
}

// Section is one all-or-nothing delivery: one connection, one dataset, one
// instance, n rows. Vals is row-major with stride len(Fields); nil is absent.
// Vals may alias the request body, which must stay unchanged until Deliver
// returns. Values have passed schema.Field.Check.
type Section struct {
	Caller   Caller
	Dataset  *schema.Dataset
	Instance uint32
	Fields   []uint8
	Vals     [][]byte
	N        int

	// Request is H(subscriber, Idempotency-Key)[:16], zero without a key.
	// Number is the section's place in the request and Command
	// SHA-256(subscriber, Idempotency-Key, number, section bytes)[:16].
	Request [16]byte
	Number  uint32
	Command [16]byte

	// Refused is set before Deliver when api found the section invalid but
	// knows the connection: the refusal is journalled, nothing is stored.
	// After Deliver it is the outcome: nil means First..Last are durable.
	Refused     *pds.Error
	First, Last uint64
	Replayed    bool
}

// ReadRequest asks for rows of a dataset. Instance -1 means every instance
// that is granted. Fields empty means every granted field.
type ReadRequest struct {
	Caller   Caller
	Dataset  *schema.Dataset
	Instance int
	Filters  []pds.Filter
	Cursor   *Cursor // from the chunk before, nil at first
	MaxBytes int     // 0: 4 MiB
}

// Cursor continues a read. It is opaque and valid only in this process.
type Cursor struct {
	instance uint32
	id       uint64
	upto     uint64
}

// Chunk is a part of an answer, released after its audit entry is durable.
type Chunk struct {
	Fields []*schema.Field // columns of Row.Vals
	Masks  [4]pds.Mask     // read, create, update, delete masks of the connection here
	Rows   []pds.Row
	Next   *Cursor // nil at the end
}

// ChangeRequest updates one record: Fields and Vals hold the changed fields.
type ChangeRequest struct {
	Caller   Caller
	Dataset  *schema.Dataset
	Instance uint32
	ID       uint64
	Fields   []uint8
	Vals     [][]byte
	Request  [16]byte
	Command  [16]byte
}

// DeleteRequest hides a record. Hard is refused in this version.
type DeleteRequest struct {
	Caller   Caller
	Dataset  *schema.Dataset
	Instance uint32
	ID       uint64
	Hard     bool
	Request  [16]byte
	Command  [16]byte
}

// Session is a signed-in member, as api authenticated it. ID is random and
// stands in unlock envelopes; it is not the bearer token.
type Session struct {
	UID pds.UID
	ID  [16]byte
}

// Registration provisions a store. Statement is the encoded Register
// statement, Signature its signature by SignPublic. Unlock is UK sealed for
// this process with session = SessionID. The server refuses when UK equals
// the one derived from Password.
type Registration struct {
	UID       pds.UID // 0: chosen
	SessionID [16]byte
	Nonce     []byte // from UnlockParams
	Store     [16]byte
	KDF       byte
	Salt      [16]byte
	SignKey   [32]byte
	SignWrap  []byte // inner: Seal(SW, Ed25519 seed)
	Unlock    []byte // HPKE to the process's unlock key
	Password  string
	Statement []byte
	Signature []byte
}

// UnlockParams is what a client needs to unlock: KDF and salt only after
// sign-in. Nonce is good for one use.
type UnlockParams struct {
	Store     [16]byte
	KDF       byte
	Salt      [16]byte
	UnlockKey seal.PublicKey
	KeyID     string
	Nonce     []byte
}

// Unlocked is the answer to a right Private Key: SignWrap is the inner wrap,
// which only the client's SW opens.
type Unlocked struct {
	SignWrap []byte
	Salt     [16]byte
	Expires  time.Time
}

// StatementHead is what the next statement must carry.
type StatementHead struct {
	Store    [16]byte
	SignKey  [32]byte
	Number   uint64 // of the last statement
	Previous [32]byte
	KeyID    [8]byte
}

// Consent is a signed act of the member on one connection. Document is the
// RFC 8785 JSON of pds.AgreementDoc, Salt the commitment's salt. Revoke and
// Lift carry no document.
type Consent struct {
	NID       pds.NID
	Statement []byte
	Signature []byte
	Document  []byte
	Salt      [32]byte
	Template  []byte // canonical template the document names by hash

	// What the callback tells beside the key.
	Mydexid      string
	LinkingToken string
}

// Approved is the outcome of an approval: the Member Key goes to the
// subscriber's callback through the outbox; it is not in here.
type Approved struct {
	ConID   string
	Consent uint64
	Receipt Receipt
}

// Receipt proves a consent offline: the statement, what was signed, and its
// place in the member's log.
type Receipt struct {
	Statement []byte   `json:"statement"`
	Signature []byte   `json:"signature"`
	SignKey   []byte   `json:"sign_key"`
	Document  []byte   `json:"document"`
	Template  []byte   `json:"template"`
	Salt      []byte   `json:"salt"`
	Proof     LogProof `json:"proof"`
}

// LogProof places a member's head in the cluster's transparency log: Leaf =
// HMAC(leaf salt, head), Hashes an RFC 6962 inclusion proof, Checkpoint a
// signed C2SP checkpoint. Empty until the head has been logged (60 s at most,
// at once after a consent statement).
type LogProof struct {
	Sequence   uint64   `json:"sequence"`
	Head       []byte   `json:"head"`
	LeafSalt   []byte   `json:"leaf_salt"`
	Index      int64    `json:"index"`
	Size       int64    `json:"size"`
	Hashes     [][]byte `json:"hashes"`
	Checkpoint string   `json:"checkpoint"`
	LogKey     string   `json:"log_key"`
}

// AgreementState is one connection as the member sees it.
type AgreementState struct {
	NID       pds.NID
	ConID     string
	State     string // active, suspended, revoked
	Version   uint32
	Consent   uint64
	NotAfter  int64
	Since     int64
	Document  []byte // RFC 8785 JSON as signed
	Template  []byte
	Salt      [32]byte
	Statement []byte
	Signature []byte
	EpochOwed bool // keys of what it could read are still to be replaced
}

// AuditEntry is one opened journal entry.
type AuditEntry struct {
	Sequence   uint64
	Time       int64 // Unix milliseconds
	Entry      pds.AuditEntry
	Record     []byte   // the stored record, for verification
	Plain      []byte   // the opened entry, encoded
	Salt       [16]byte // of its commitment
	Openable   bool     // false where its key is gone
	Source     string   // con_id or "user" or "system"
	CommandID  [16]byte
	ResultCode pds.Code
}

// AuditQuery selects entries; zero values select all.
type AuditQuery struct {
	From     uint64 // first sequence
	Max      int    // 0: 1000
	NID      pds.NID
	Dataset  string
	Since    int64 // Unix milliseconds
	Until    int64
	ShardTip bool
}
