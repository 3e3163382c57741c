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
//
// Bodies are JSON, byte strings base64url without padding, times Unix seconds
// unless said otherwise, refusals RFC 9457 problems. S: needs a session
// (Authorization: Bearer), U: needs it unlocked too.
//
//	GET  /params                    for a registration: environment, session, store, nonce, unlock_key, key_id, kdf
//	POST /register                  mydexid, email, password, session, store, nonce, kdf, salt, sign_key, sign_wrap,
//	                                unlock, statement, signature -> 201 uid, mydexid; 400 and 409 name the field
//	POST /sign-in                   mydexid, password -> session (the bearer token), uid, mydexid, expires
//	POST /sign-out                S -> 204
//	GET  /unlock                  S as /params, with salt
//	POST /unlock                  S nonce, sealed -> sign_wrap, salt, expires; 403 wrong key, 429 after ten an hour
//	POST /lock                    S -> 204
//	GET  /me                      S mydexid, uid, email, environment, banner, unlocked, expires, created
//
//	GET  /datasets                S datasets: dataset, name, description, kind, category, fields, instances (U)
//	POST /instances               U dataset -> 201 instance
//	GET  /data/{dataset}/{instance|all}  U ?filters[f][operator]= &filters[f][value]= &deleted=1 &limit=n
//	                                -> rows: id, instance, source, origin, created, updated, version, deleted, values
//	POST /data/{dataset}/{instance} U rows: [{field: value}] -> 201 rows, first_id, last_id; all or nothing
//	PUT  /data/{dataset}/{instance}/{id}          U {field: value} -> 204
//	DELETE the same                               U hidden; ?hard=1 erased -> 204
//	POST /data/{dataset}/{instance}/{id}/restore  U -> 204
//
//	GET  /offers                  S invites to this member; with U also new versions (no code, update: true)
//	GET  /offers/{code}           S nid, version, template, canonical, link, choices, text, text_sha256, return_to, head (U)
//	POST /offers/{code}/text      S choices -> text, text_sha256
//	POST /offers/{code}/reject    S -> 204
//	GET  /statement-head          S store, number, previous, key_id; ?nid= (U) also link and the version in force
//	GET  /agreements              U nid, con_id, name, state, version, consent, not_after, since (ms), epoch_owed, template, document, text
//	POST /agreements              U code, statement, signature, document, salt -> 201 con_id, consent, return_to, receipt
//	GET  /agreements/{nid}/offer  U as /offers/{code}, with the choices in force; ?version=
//	POST /agreements/{nid}/text   U choices -> text, text_sha256; ?version=
//	POST /agreements/{nid}/change U statement, signature, document, salt -> con_id, consent, receipt
//	POST /agreements/{nid}/revoke U statement, signature -> the same; also /lift
//	POST /agreements/{nid}/suspend S -> 204
//	GET  /agreements/{nid}/receipt U a file of package verify
//	GET  /audit                   U ?connection= &dataset= &since= &until= (ms or RFC 3339) &from= &format=json|xml: a file of package verify
//	GET  /export                  U ?format=json|xml: a file of package verify
//
// A used, rejected or expired offer is 410; one that is addressed to somebody
// else is 404, as is one that never was. Signed text that this server would
// not show is 409.
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
