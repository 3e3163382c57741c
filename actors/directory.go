package actors

import (
	"context"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
)

// Deliver stores sections, each all or nothing, and returns when every one is
// durable or refused; the outcomes stand in the sections. Sections of one
// member are decided in their order. The error is for the whole request only
// (ctx ended, node stopping).
func (d *Directory) Deliver(ctx context.Context, sections []*Section) error { panic("stub") }

// Read returns one chunk of rows; its audit entry is durable. Repeat with
// Next until it is nil.
func (d *Directory) Read(ctx context.Context, r *ReadRequest) (*Chunk, error) { panic("stub") }

// Update changes fields of one record; replayed reports an idempotent repeat.
func (d *Directory) Update(ctx context.Context, r *ChangeRequest) (replayed bool, err error) {
	panic("stub")
}

// Delete hides one record.
func (d *Directory) Delete(ctx context.Context, r *DeleteRequest) (replayed bool, err error) {
	panic("stub")
}

// RefuseAccess journals a refusal that api found before any of the above
// could be called (malformed body, unknown dataset ...) for an identified
// connection: it returns when the entry is durable. The returned error is
// what to answer: normally refusal itself, or why it could not be journalled,
// or a wrong key.
func (d *Directory) RefuseAccess(ctx context.Context, c Caller, m pds.Method, dataset string, instance uint32, refusal *pds.Error) error {
	panic("stub")
}

// Catalogue is the dataset catalogue in force.
func (d *Directory) Catalogue() *schema.Catalogue { panic("stub") }

// --- the member's own side; every call audits as the design says ---

// NewUnlockParams prepares a registration of a new store: KDF and Salt are
// zero, Store is a fresh store id.
func (d *Directory) NewUnlockParams(ctx context.Context, session [16]byte) (UnlockParams, error) {
	panic("stub")
}
func (d *Directory) Register(ctx context.Context, r *Registration) (pds.UID, error) { panic("stub") }
func (d *Directory) UnlockParams(ctx context.Context, s Session) (UnlockParams, error) {
	panic("stub")
}
func (d *Directory) Unlock(ctx context.Context, s Session, nonce, sealed []byte) (*Unlocked, error) {
	panic("stub")
}
func (d *Directory) Lock(ctx context.Context, s Session) error { panic("stub") }

// NoteSignIn journals a sign-in, good or failed.
func (d *Directory) NoteSignIn(ctx context.Context, uid pds.UID, ok bool) error { panic("stub") }

// Unlocked reports whether the session may read now.
func (d *Directory) IsUnlocked(ctx context.Context, s Session) bool { panic("stub") }

func (d *Directory) MemberRead(ctx context.Context, s Session, ds *schema.Dataset, instance int, filters []pds.Filter, deleted bool, cur *Cursor) (*Chunk, error) {
	panic("stub")
}
func (d *Directory) MemberCreate(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, fields []uint8, vals [][]byte, n int) (first, last uint64, err error) {
	panic("stub")
}
func (d *Directory) MemberUpdate(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, id uint64, fields []uint8, vals [][]byte) error {
	panic("stub")
}
func (d *Directory) MemberDelete(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, id uint64, hard bool) error {
	panic("stub")
}
func (d *Directory) MemberRestore(ctx context.Context, s Session, ds *schema.Dataset, instance uint32, id uint64) error {
	panic("stub")
}
func (d *Directory) NewInstance(ctx context.Context, s Session, ds *schema.Dataset) (uint32, error) {
	panic("stub")
}

// Instances lists which dataset instances hold or may hold data.
func (d *Directory) Instances(ctx context.Context, s Session) (map[string][]uint32, error) {
	panic("stub")
}

// StatementHead needs an unlocked session; LinkID is what Statement.Conn must hold.
func (d *Directory) StatementHead(ctx context.Context, s Session) (StatementHead, error) {
	panic("stub")
}
func (d *Directory) LinkID(uid pds.UID, nid pds.NID) pds.LinkID { panic("stub") }

func (d *Directory) Approve(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	panic("stub")
}

// Change is Approve on a connection that is already approved: same Member
// Key, new choices or a new version.
func (d *Directory) Change(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	panic("stub")
}
func (d *Directory) Revoke(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	panic("stub")
}
func (d *Directory) Lift(ctx context.Context, s Session, c *Consent) (*Approved, error) {
	panic("stub")
}

// Suspend needs only a signed-in session, not an unlocked one.
func (d *Directory) Suspend(ctx context.Context, s Session, nid pds.NID) error { panic("stub") }

// Agreements lists connections; without an unlocked session only NID-less
// states would be known, so it is Locked.
func (d *Directory) Agreements(ctx context.Context, s Session) ([]AgreementState, error) {
	panic("stub")
}
func (d *Directory) ReceiptOf(ctx context.Context, s Session, nid pds.NID) (*Receipt, error) {
	panic("stub")
}
func (d *Directory) Audit(ctx context.Context, s Session, q AuditQuery) ([]AuditEntry, error) {
	panic("stub")
}

// Proof places the member's present head in the log.
func (d *Directory) Proof(ctx context.Context, s Session) (*LogProof, error) { panic("stub") }

// Directory is the only way to a member.
type Directory struct{}
