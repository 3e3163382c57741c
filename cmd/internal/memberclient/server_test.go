package memberclient

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/api"
	"holdfast/cmd/internal/node"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// caught is one callback.
type caught struct {
	UID     pds.UID
	Mydexid string
	Key     string
	Update  bool
	Linking string
	Grants  []pds.Grant
}

// catcher takes the place of subscribers' callbacks.
type catcher struct {
	got chan caught
}

func (c *catcher) Deliver(_ context.Context, m *actors.Callback) error {
	x := caught{UID: m.UID, Mydexid: m.Mydexid, Update: m.Update, Linking: m.LinkingToken, Grants: m.Grants}
	if !m.Update {
		x.Key = m.Key.Reveal()
	}
	c.got <- x
	return nil
}

// server is one sandbox node on loopback, without push, console or seeds.
type server struct {
	t      testing.TB
	url    string
	dir    *actors.Directory
	mgr    *api.Manager
	org    string
	caught *catcher
	logKey string
}

func newServer(t testing.TB) *server {
	t.Helper()
	n, err := node.Open(node.Config{Data: t.TempDir(), Barrier: seal.NewBarrier(seal.Sandbox), HTTP: "127.0.0.1:0", Reserve: storage.MinReserve})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	c := &catcher{got: make(chan caught, 64)}
	n.Directory.SetDeliverer(c)
	x := &server{t: t, url: n.URL(), dir: n.Directory, mgr: n.API.Manager(), caught: c, logKey: n.LogKey}
	o, err := x.mgr.CreateOrganisation(context.Background(), "Northgrid Energy")
	if err != nil {
		t.Fatal(err)
	}
	x.org = o.ID
	return x
}

// connection makes a connection with one active template.
func (s *server) connection(name string, edit func(*pds.Template)) pds.NID {
	s.t.Helper()
	ctx := context.Background()
	n, err := s.mgr.CreateConnection(ctx, s.org, api.ConnectionInput{Name: name, Purpose: "Read the meter", Callback: "http://127.0.0.1:9/callback"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.version(n.NID, edit)
	return n.NID
}

func (s *server) version(nid pds.NID, edit func(*pds.Template)) {
	s.t.Helper()
	t := offered()
	if edit != nil {
		edit(&t)
	}
	if _, err := s.mgr.AddTemplate(context.Background(), s.org, nid, t); err != nil {
		s.t.Fatal(err)
	}
}

func offered() pds.Template {
	return pds.Template{
		Roles:        "The subscriber is controller",
		UseCases:     []pds.TemplateUse{{Category: "core_function", Mandatory: true}, {Category: "marketing"}},
		Gdpr:         map[string]bool{"data_minimisation": true, "informed_consent": true, "transparency": true, "single_use": true, "data_portability": true},
		TermsVersion: "3", DeclaredBy: "A. Person", Retention: "one year",
		Datasets: []pds.TemplateData{
			{Dataset: "ds_energy_consumption", Methods: []string{"read", "create", "update", "delete"}, SoftDelete: true, Fields: []pds.TemplateField{
				{Field: "field_energy_reading_value", Mandatory: true}, {Field: "field_energy_homeid"}, {Field: "field_energy_reading_timestamp"}}},
			{Dataset: "ds_home", Methods: []string{"read"}, Fields: []pds.TemplateField{{Field: "field_home_postcode"}, {Field: "field_home_street"}}},
		},
	}
}

func (s *server) invite(nid pds.NID, in api.InviteInput) string {
	s.t.Helper()
	n, err := s.mgr.CreateInvite(context.Background(), s.org, nid, in)
	if err != nil {
		s.t.Fatal(err)
	}
	return n.Code
}

const (
	password   = "password of a person"
	privateKey = "correct horse battery staple"
)

// member registers and signs in.
func (s *server) member(name string) *Client {
	s.t.Helper()
	ctx := context.Background()
	c := New(s.url, seal.Sandbox, nil)
	if _, err := c.Register(ctx, name, strings.ToLower(name)+"@example.org", password, privateKey); err != nil {
		s.t.Fatalf("register %s: %v", name, err)
	}
	if err := c.SignIn(ctx, name, password); err != nil {
		s.t.Fatalf("sign in: %v", err)
	}
	return c
}

// unlock opens the member's store.
func (s *server) unlock(c *Client) *Key {
	s.t.Helper()
	k, err := c.Unlock(context.Background(), privateKey)
	if err != nil {
		s.t.Fatalf("unlock: %v", err)
	}
	s.t.Cleanup(k.Wipe)
	return k
}

// approve accepts an offer, every optional part on.
func (s *server) approve(c *Client, k *Key, code string) *Approved {
	s.t.Helper()
	ctx := context.Background()
	o, err := c.Offer(ctx, code)
	if err != nil {
		s.t.Fatalf("offer: %v", err)
	}
	t, err := pds.DecodeTemplate(o.Canonical)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := NewDraft(o, Everything(t, nil), schema.Default())
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := c.Approve(ctx, k, d)
	if err != nil {
		s.t.Fatalf("approve: %v", err)
	}
	return a
}

func (s *server) callback() caught {
	s.t.Helper()
	select {
	case x := <-s.caught.got:
		return x
	case <-time.After(20 * time.Second):
		s.t.Fatal("no callback came")
		return caught{}
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func conID(c *Client, nid pds.NID) string { return fmt.Sprintf("%d-%d", c.Session().UID, nid) }
