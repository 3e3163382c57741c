package api

import (
	"context"
	"runtime"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// MemberStore is what the member's routes need of actors.Directory; it states
// the promises.
type MemberStore interface {
	NewUnlockParams(ctx context.Context, session [16]byte) (actors.UnlockParams, error)
	Register(ctx context.Context, r *actors.Registration) (pds.UID, error)
	UnlockParams(ctx context.Context, s actors.Session) (actors.UnlockParams, error)
	Unlock(ctx context.Context, s actors.Session, nonce, sealed []byte) (*actors.Unlocked, error)
	Lock(ctx context.Context, s actors.Session) error
	NoteSignIn(ctx context.Context, uid pds.UID, ok bool) error
	IsUnlocked(ctx context.Context, s actors.Session) bool

	MemberRead(ctx context.Context, s actors.Session, ds *schema.Dataset, instance int, filters []pds.Filter, deleted bool, cur *actors.Cursor) (*actors.Chunk, error)
	MemberCreate(ctx context.Context, s actors.Session, ds *schema.Dataset, instance uint32, fields []uint8, vals [][]byte, n int) (first, last uint64, err error)
	MemberUpdate(ctx context.Context, s actors.Session, ds *schema.Dataset, instance uint32, id uint64, fields []uint8, vals [][]byte) error
	MemberDelete(ctx context.Context, s actors.Session, ds *schema.Dataset, instance uint32, id uint64, hard bool) error
	MemberRestore(ctx context.Context, s actors.Session, ds *schema.Dataset, instance uint32, id uint64) error
	NewInstance(ctx context.Context, s actors.Session, ds *schema.Dataset) (uint32, error)
	Instances(ctx context.Context, s actors.Session) (map[string][]uint32, error)

	StatementHead(ctx context.Context, s actors.Session) (actors.StatementHead, error)
	LinkID(uid pds.UID, nid pds.NID) pds.LinkID
	Approve(ctx context.Context, s actors.Session, c *actors.Consent) (*actors.Approved, error)
	Change(ctx context.Context, s actors.Session, c *actors.Consent) (*actors.Approved, error)
	Revoke(ctx context.Context, s actors.Session, c *actors.Consent) (*actors.Approved, error)
	Lift(ctx context.Context, s actors.Session, c *actors.Consent) (*actors.Approved, error)
	Suspend(ctx context.Context, s actors.Session, nid pds.NID) error
	Agreements(ctx context.Context, s actors.Session) ([]actors.AgreementState, error)
	Documents(ctx context.Context, s actors.Session) ([]actors.Receipt, error)
	ReceiptOf(ctx context.Context, s actors.Session, nid pds.NID) (*actors.Receipt, error)
	Audit(ctx context.Context, s actors.Session, q actors.AuditQuery) ([]actors.AuditEntry, error)
	NoteExport(ctx context.Context, s actors.Session, sum [32]byte, rows uint32) error
	Proof(ctx context.Context, s actors.Session) (*actors.LogProof, error)
}

// members serves /member/v1: a person, signed in, at their own store.
//
// A session token opens nothing by itself. What needs the store open answers
// 423 until the session was unlocked with the Private Key, which the server
// never sees: the client sends a key derived from it, sealed to this process.
// Consents arrive signed; the server checks that the text which was signed is
// the one it would show, and every replica checks the signature.
type members struct {
	s     *Server
	store MemberStore
	sess  *sessions
	hash  chan struct{} // bounds password hashing: 19 MiB each
	notes chan noted    // failed sign-ins to journal
}

// memberPrefix starts every route of this file.
const memberPrefix = "/member/v1"

// memberRoutes registers the member's routes.
func (s *Server) memberRoutes() {
	if s.cfg.Directory != nil {
		s.memberRoutesOn(s.cfg.Directory)
	}
}

func (s *Server) memberRoutesOn(store MemberStore) *members {
	m := &members{
		s: s, store: store, sess: newSessions(s.reg, s.cfg.Env, s.now),
		hash: make(chan struct{}, max(1, runtime.GOMAXPROCS(0))), notes: make(chan noted, 256),
	}
	s.wg.Go(m.noteFailures)
	open := func(method, path string, h func(*fasthttp.RequestCtx) error) {
		s.handle(method, memberPrefix+path, problems, h)
	}
	signed := func(method, path string, h func(*fasthttp.RequestCtx, *session) error) {
		open(method, path, func(ctx *fasthttp.RequestCtx) error {
			who, err := m.authenticate(ctx)
			if err != nil {
				return err
			}
			return h(ctx, who)
		})
	}
	open("GET", "/params", m.params)
	open("POST", "/register", m.register)
	open("POST", "/sign-in", m.signIn)
	signed("POST", "/sign-out", m.signOut)
	signed("GET", "/unlock", m.unlockParams)
	signed("POST", "/unlock", m.unlock)
	signed("POST", "/lock", m.lock)
	signed("GET", "/me", m.me)

	signed("GET", "/datasets", m.datasets)
	signed("POST", "/instances", m.newInstance)
	signed("GET", "/data/{dataset}/{instance}", m.read)
	signed("POST", "/data/{dataset}/{instance}", m.create)
	signed("PUT", "/data/{dataset}/{instance}/{id}", m.update)
	signed("DELETE", "/data/{dataset}/{instance}/{id}", m.delete)
	signed("POST", "/data/{dataset}/{instance}/{id}/restore", m.restore)

	signed("GET", "/offers", m.offers)
	signed("GET", "/offers/{code}", m.offer)
	signed("POST", "/offers/{code}/text", m.offerText)
	signed("POST", "/offers/{code}/reject", m.reject)

	signed("GET", "/statement-head", m.statementHead)
	signed("GET", "/agreements", m.agreements)
	signed("POST", "/agreements", m.approve)
	signed("GET", "/agreements/{nid}/offer", m.agreementOffer)
	signed("POST", "/agreements/{nid}/text", m.agreementText)
	signed("POST", "/agreements/{nid}/change", m.change)
	signed("POST", "/agreements/{nid}/revoke", m.revoke)
	signed("POST", "/agreements/{nid}/lift", m.lift)
	signed("POST", "/agreements/{nid}/suspend", m.suspend)
	signed("GET", "/agreements/{nid}/receipt", m.receipt)

	signed("GET", "/audit", m.audit)
	signed("GET", "/export", m.export)
	return m
}

// sandbox reports whether only test data may be here.
func (m *members) sandbox() bool { return m.s.cfg.Env == seal.Sandbox }

// call is the context of one request's work.
func (m *members) call() (context.Context, context.CancelFunc) {
	return m.s.deadline(m.s.limits.Request)
}
