package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/cmd/internal/memberclient"
	"holdfast/cmd/internal/sandbox"
	"holdfast/storage/seal"
	"holdfast/storage/seal/client"
)

// MemberCmd is `holdfast member`: a person at their own store, by the member
// API, as the pages do.
type MemberCmd struct {
	Register   memberRegister   `cmd:"" help:"Make an account with a store, and sign in."`
	SignIn     memberSignIn     `cmd:"" name:"sign-in" help:"Sign in; the session is kept in a file."`
	SignOut    memberSignOut    `cmd:"" name:"sign-out" help:"End the session."`
	Unlock     memberUnlock     `cmd:"" help:"Open the store in this session with the Private Key."`
	Lock       memberLock       `cmd:"" help:"Close the store in this session."`
	Datasets   memberDatasets   `cmd:"" help:"What a store can hold, and which instances exist."`
	Read       memberRead       `cmd:"" help:"Show records."`
	Write      memberWrite      `cmd:"" help:"Add a record."`
	Update     memberUpdate     `cmd:"" help:"Change fields of a record."`
	Delete     memberDelete     `cmd:"" help:"Hide a record, or erase it."`
	Restore    memberRestore    `cmd:"" help:"Bring a hidden record back."`
	Instance   memberInstance   `cmd:"" help:"Add an instance of a dataset, such as a second home."`
	Offers     memberOffers     `cmd:"" help:"List what waits for a decision, or show one offer."`
	Approve    memberApprove    `cmd:"" help:"Read an offer and approve it with the Private Key."`
	Reject     memberReject     `cmd:"" help:"Decline an offer."`
	Agreements memberAgreements `cmd:"" help:"List connections and what they may do."`
	Change     memberChange     `cmd:"" help:"Change the optional parts of an agreement, or take its new version."`
	Suspend    memberSuspend    `cmd:"" help:"Stop a connection; needs no Private Key."`
	Lift       memberLift       `cmd:"" help:"End a suspension, with the Private Key."`
	Revoke     memberRevoke     `cmd:"" help:"End an agreement at once, with the Private Key."`
	Receipt    memberReceipt    `cmd:"" help:"Save the receipt of an agreement, for holdfast verify."`
	Audit      memberAudit      `cmd:"" help:"Who did what with your data."`
	Export     memberExport     `cmd:"" help:"Take everything away, as JSON or XML."`
}

// memberFlags are what every sub-command takes.
type memberFlags struct {
	Server       string `placeholder:"URL" help:"Address of the server. Default: that of the session, else http://127.0.0.1:8080."`
	Env          string `enum:"sandbox,live," default:"" help:"What the server is expected to be: sandbox or live. Default: that of the session, else sandbox."`
	Session      string `placeholder:"FILE" help:"Where the session is kept, readable by you alone. Default: holdfast/session.json in your configuration directory."`
	Mydexid      string `placeholder:"ID" help:"Your MydexID, for signing in."`
	PasswordFile string `placeholder:"FILE" help:"File whose first line is the password; - is standard input. Default: ask."`
	KeyFile      string `placeholder:"FILE" help:"File whose first line is the Private Key; - is standard input. Default: ask."`
	World        string `placeholder:"FILE" help:"World file of holdfast dev: takes address, password and Private Key of --mydexid from there."`
	JSON         bool   `name:"json" help:"Print JSON."`

	world *sandbox.World
}

// AfterApply reads the world file, if there is one.
func (f *memberFlags) AfterApply() error {
	if f.World == "" {
		return nil
	}
	w, err := readWorld(f.World)
	if err != nil {
		return err
	}
	m, err := worldMember(w, f.Mydexid)
	if err != nil {
		return err
	}
	f.world, f.Mydexid = w, m.MydexID
	if f.Server == "" {
		f.Server = strings.TrimRight(w.PDX, "/")
	}
	return nil
}

func (f *memberFlags) password() (string, error) {
	if f.world != nil && f.PasswordFile == "" {
		m, err := worldMember(f.world, f.Mydexid)
		if err != nil {
			return "", err
		}
		return m.Password, nil
	}
	return readSecret(f.PasswordFile, "Password")
}

// privateKey reads the Private Key and checks its rules, before anything is
// sent.
func (f *memberFlags) privateKey() (string, error) {
	if f.world != nil && f.KeyFile == "" {
		m, err := worldMember(f.world, f.Mydexid)
		if err != nil {
			return "", err
		}
		return m.PrivateKey, nil
	}
	k, err := readSecret(f.KeyFile, "Private Key")
	if err != nil {
		return "", err
	}
	return k, client.CheckPassphrase(k)
}

func (f *memberFlags) sessionFile() (string, error) {
	if f.Session != "" {
		return f.Session, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no configuration directory, give --session: %w", err)
	}
	return filepath.Join(dir, "holdfast", "session.json"), nil
}

// kept is the session on disk, empty if there is none.
func (f *memberFlags) kept() (s memberclient.Session, err error) {
	name, err := f.sessionFile()
	if err != nil {
		return s, err
	}
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer file.Close()
	if err := private(file); err != nil {
		return s, err
	}
	if json.NewDecoder(file).Decode(&s) != nil {
		return s, fmt.Errorf("%s is not a session file", name)
	}
	return s, nil
}

func (f *memberFlags) keep(s memberclient.Session) error {
	name, err := f.sessionFile()
	if err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return writePrivate(name, append(b, '\n'))
}

// client returns a client with the session that is kept, as far as it fits the
// flags; its Token is empty where there is none.
func (f *memberFlags) client() (*memberclient.Client, error) {
	s, err := f.kept()
	if err != nil {
		return nil, err
	}
	base, env := f.Server, f.Env
	if base == "" {
		base = s.Server
	}
	if base == "" {
		base = "http://127.0.0.1:8080"
	}
	if env == "" {
		env = s.Env
	}
	if env == "" {
		env = seal.Sandbox.String()
	}
	e, err := seal.ParseEnv(env)
	if err != nil {
		return nil, err
	}
	c := memberclient.New(base, e, nil)
	if s.Token != "" && s.Server == base && s.Env == env && (f.Mydexid == "" || s.Mydexid == f.Mydexid) && time.Now().Unix() < s.Expires {
		c.Use(s)
	}
	return c, nil
}

// signedIn returns a client with a session, signing in if it has to.
func (f *memberFlags) signedIn(ctx context.Context) (*memberclient.Client, error) {
	c, err := f.client()
	if err != nil {
		return nil, err
	}
	if c.Session().Token != "" {
		if _, err := c.Me(ctx); err == nil || !memberclient.IsStatus(err, 401) {
			return c, err
		}
	}
	return c, f.signIn(ctx, c)
}

func (f *memberFlags) signIn(ctx context.Context, c *memberclient.Client) error {
	if f.Mydexid == "" {
		return errors.New("not signed in: give --mydexid, or sign in first")
	}
	pw, err := f.password()
	if err != nil {
		return err
	}
	if err := c.SignIn(ctx, f.Mydexid, pw); err != nil {
		return err
	}
	return f.keep(c.Session())
}

// unlocked returns a client whose store is open, asking for the Private Key
// only if it is not open yet.
func (f *memberFlags) unlocked(ctx context.Context) (*memberclient.Client, error) {
	c, err := f.signedIn(ctx)
	if err != nil {
		return nil, err
	}
	me, err := c.Me(ctx)
	if err != nil || me.Unlocked {
		return c, err
	}
	k, err := f.key(ctx, c)
	if err != nil {
		return nil, err
	}
	k.Wipe()
	return c, nil
}

// key asks for the Private Key and opens the signing key with it. The caller
// wipes it.
func (f *memberFlags) key(ctx context.Context, c *memberclient.Client) (*memberclient.Key, error) {
	p, err := f.privateKey()
	if err != nil {
		return nil, err
	}
	return c.Unlock(ctx, p)
}
