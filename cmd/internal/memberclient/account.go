package memberclient

import (
	"context"
	"errors"
	"net/http"
	"time"

	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// ErrSamePassword refuses a Private Key that equals the password.
var ErrSamePassword = errors.New("memberclient: the Private Key must differ from the password")

// ErrEnvironment refuses a server of another environment than expected.
var ErrEnvironment = errors.New("memberclient: the server is of the other environment (sandbox or live)")

// Params is what a server says before it is given an unlock key.
type Params struct {
	Environment string `json:"environment"`
	Session     Bytes  `json:"session"` // 16 bytes, bound into the sealed unlock key
	Store       Bytes  `json:"store"`
	Nonce       Bytes  `json:"nonce"` // good for one use
	UnlockKey   Bytes  `json:"unlock_key"`
	KeyID       string `json:"key_id"`
	KDF         byte   `json:"kdf"`
	Salt        Bytes  `json:"salt,omitempty"` // absent before registration
}

type registerBody struct {
	Mydexid   string `json:"mydexid"`
	Email     string `json:"email"`
	Password  string `json:"password"`
	Session   Bytes  `json:"session"`
	Store     Bytes  `json:"store"`
	Nonce     Bytes  `json:"nonce"`
	KDF       byte   `json:"kdf"`
	Salt      Bytes  `json:"salt"`
	SignKey   Bytes  `json:"sign_key"`
	SignWrap  Bytes  `json:"sign_wrap"`
	Unlock    Bytes  `json:"unlock"`
	Statement Bytes  `json:"statement"`
	Signature Bytes  `json:"signature"`
}

// Register makes a member with a store and returns its uid. It does not sign
// in. The passphrase rules are checked before anything is sent.
func (c *Client) Register(ctx context.Context, mydexid, email, password, privateKey string) (uint32, error) {
	if err := client.CheckPassphrase(privateKey); err != nil {
		return 0, err
	}
	if privateKey == password {
		return 0, ErrSamePassword
	}
	var p Params
	if err := c.do(ctx, http.MethodGet, "/params", nil, &p); err != nil {
		return 0, err
	}
	if p.Environment != c.env.String() {
		return 0, ErrEnvironment
	}
	store, err := fixed16(p.Store)
	if err != nil {
		return 0, err
	}
	r, err := client.NewRegistration(privateKey, p.KDF, c.env)
	if err != nil {
		return 0, err
	}
	defer r.Wipe()
	st := &seal.Statement{Kind: seal.Register, Store: store, Number: 1, Time: time.Now().Unix()}
	sig := r.Sign(st)
	sealed, err := client.SealUnlock(seal.PublicKey(p.UnlockKey), &r.UK, p.Session, p.Nonce, store, c.env)
	if err != nil {
		return 0, err
	}
	in := &registerBody{
		Mydexid: mydexid, Email: email, Password: password,
		Session: p.Session, Store: p.Store, Nonce: p.Nonce, KDF: r.KDF, Salt: r.Salt[:],
		SignKey: r.SignPublic[:], SignWrap: r.SignWrap, Unlock: sealed,
		Statement: st.Encode(), Signature: sig,
	}
	var out struct {
		UID uint32 `json:"uid"`
	}
	if err := c.do(ctx, http.MethodPost, "/register", in, &out); err != nil {
		return 0, err
	}
	return out.UID, nil
}

// SignIn opens a session; it does not unlock the store.
func (c *Client) SignIn(ctx context.Context, mydexid, password string) error {
	in := struct {
		Mydexid  string `json:"mydexid"`
		Password string `json:"password"`
	}{mydexid, password}
	s := Session{Server: c.base, Env: c.env.String(), Mydexid: mydexid}
	c.Use(Session{})
	if err := c.do(ctx, http.MethodPost, "/sign-in", in, &s); err != nil {
		return err
	}
	c.Use(s)
	return nil
}

// SignOut ends the session on the server and forgets it here.
func (c *Client) SignOut(ctx context.Context) error {
	err := c.do(ctx, http.MethodPost, "/sign-out", nil, nil)
	c.Use(Session{})
	return err
}

// Key is the member's signing key, opened with the Private Key. Wipe it when
// done.
type Key struct {
	seal.Redacted
	seed seal.Secret
	env  seal.Env
}

// Wipe overwrites the seed.
func (k *Key) Wipe() { k.seed.Wipe() }

// Public is the public half.
func (k *Key) Public() [32]byte { return seal.SignKeyPublic(&k.seed) }

// Unlock unlocks the store in this session and returns the signing key. A
// wrong Private Key is a Problem, counted and journalled by the server; one
// that breaks the rules is refused here.
func (c *Client) Unlock(ctx context.Context, privateKey string) (*Key, error) {
	if err := client.CheckPassphrase(privateKey); err != nil {
		return nil, err
	}
	var p Params
	if err := c.do(ctx, http.MethodGet, "/unlock", nil, &p); err != nil {
		return nil, err
	}
	if p.Environment != c.env.String() {
		return nil, ErrEnvironment
	}
	kdf, err := seal.KDFByVersion(p.KDF, c.env)
	if err != nil {
		return nil, err
	}
	salt, err := fixed16(p.Salt)
	if err != nil {
		return nil, err
	}
	store, err := fixed16(p.Store)
	if err != nil {
		return nil, err
	}
	u, err := client.Unlock(privateKey, salt, kdf, c.env)
	if err != nil {
		return nil, err
	}
	defer u.Wipe()
	sealed, err := client.SealUnlock(seal.PublicKey(p.UnlockKey), &u.UK, p.Session, p.Nonce, store, c.env)
	if err != nil {
		return nil, err
	}
	in := struct {
		Nonce  Bytes `json:"nonce"`
		Sealed Bytes `json:"sealed"`
	}{p.Nonce, sealed}
	var out struct {
		SignWrap Bytes `json:"sign_wrap"`
		Salt     Bytes `json:"salt"`
	}
	if err := c.do(ctx, http.MethodPost, "/unlock", in, &out); err != nil {
		return nil, err
	}
	seed, err := client.OpenSignWrap(&u.SW, out.SignWrap, c.env, salt)
	if err != nil {
		return nil, err
	}
	return &Key{seed: seed, env: c.env}, nil
}

// Lock closes the store in this session.
func (c *Client) Lock(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/lock", nil, nil)
}

// Me is what a session shows of its member.
type Me struct {
	Mydexid     string `json:"mydexid"`
	UID         uint32 `json:"uid"`
	Email       string `json:"email"`
	Environment string `json:"environment"`
	Unlocked    bool   `json:"unlocked"`
	Expires     int64  `json:"expires"` // of the session, Unix seconds
}

// Me asks who the session belongs to.
func (c *Client) Me(ctx context.Context) (*Me, error) {
	var m Me
	return &m, c.do(ctx, http.MethodGet, "/me", nil, &m)
}
