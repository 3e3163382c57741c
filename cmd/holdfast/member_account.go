package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

type memberRegister struct {
	memberFlags
	Email string `required:"" placeholder:"ADDRESS" help:"Your email address."`
}

// Run registers and signs in.
func (c *memberRegister) Run() error {
	ctx, stop := interruptible()
	defer stop()
	if c.Mydexid == "" {
		return errors.New("give --mydexid: at least 3 letters and digits, not only digits")
	}
	m, err := c.client()
	if err != nil {
		return err
	}
	pw, err := c.password()
	if err != nil {
		return err
	}
	key, err := c.privateKey()
	if err != nil {
		return err
	}
	if c.KeyFile == "" && c.world == nil {
		again, err := promptSecret("Private Key again")
		if err != nil {
			return err
		}
		if again != key {
			return errors.New("the two Private Keys differ; nothing was sent")
		}
	}
	uid, err := m.Register(ctx, c.Mydexid, c.Email, pw, key)
	if err != nil {
		return err
	}
	if err := m.SignIn(ctx, c.Mydexid, pw); err != nil {
		return err
	}
	if err := c.keep(m.Session()); err != nil {
		return err
	}
	return show(c.JSON, map[string]any{"mydexid": c.Mydexid, "uid": uid}, func(w *table) {
		w.line("Registered %s, uid %d, and signed in.", c.Mydexid, uid)
		w.line("Nobody can recover the Private Key: keep it safe.")
	})
}

type memberSignIn struct{ memberFlags }

// Run signs in anew.
func (c *memberSignIn) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.client()
	if err != nil {
		return err
	}
	if c.Mydexid == "" {
		c.Mydexid = m.Session().Mydexid
	}
	if err := c.signIn(ctx, m); err != nil {
		return err
	}
	s := m.Session()
	return show(c.JSON, map[string]any{"mydexid": s.Mydexid, "uid": s.UID, "expires": s.Expires}, func(w *table) {
		w.line("Signed in as %s, uid %d, until %s.", s.Mydexid, s.UID, clock(s.Expires))
	})
}

type memberSignOut struct{ memberFlags }

// Run ends the session here and on the server.
func (c *memberSignOut) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.client()
	if err != nil {
		return err
	}
	if m.Session().Token == "" {
		return errors.New("not signed in")
	}
	err = m.SignOut(ctx)
	name, e := c.sessionFile()
	if e == nil {
		e = os.Remove(name)
	}
	if err = errors.Join(err, e); err != nil {
		return err
	}
	return show(c.JSON, map[string]any{"signed_out": true}, func(w *table) { w.line("Signed out.") })
}

type memberUnlock struct{ memberFlags }

// Run opens the store for this session.
func (c *memberUnlock) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	k, err := c.key(ctx, m)
	if err != nil {
		return err
	}
	pub := k.Public()
	k.Wipe()
	return show(c.JSON, map[string]any{"unlocked": true, "sign_key": fmt.Sprintf("%x", pub)}, func(w *table) {
		w.line("Unlocked. It locks by itself after 10 minutes without use.")
		w.line("Your signing key (for holdfast verify --sign-key): %x", pub)
	})
}

type memberLock struct{ memberFlags }

// Run closes the store for this session.
func (c *memberLock) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	if err := m.Lock(ctx); err != nil {
		return err
	}
	return show(c.JSON, map[string]any{"unlocked": false}, func(w *table) { w.line("Locked.") })
}

// clock shows Unix seconds.
func clock(unix int64) string {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0).Format("2006-01-02 15:04:05")
}
