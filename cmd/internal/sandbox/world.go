// Package sandbox makes the world that `holdfast dev` starts with: members,
// subscribers and approved agreements, all through the same interfaces that
// anybody uses. Sandbox stores use a cheap passphrase KDF, so that thousands
// of members can be made; a live node refuses such stores.
package sandbox

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/api"
	"holdfast/cmd/internal/memberclient"
	"holdfast/cmd/internal/node"
	"holdfast/storage/seal"
)

// World is what a sandbox holds, with every secret needed to try it.
type World struct {
	PDX           string       `json:"pdx"`
	OP            string       `json:"op"`
	App           string       `json:"app"`
	Operator      string       `json:"operator"`
	OperatorToken string       `json:"operator_token"`
	Callbacks     string       `json:"callbacks"`
	Mail          string       `json:"mail"`
	Members       []Member     `json:"members"`
	Subscribers   []Subscriber `json:"subscribers"`
	Generated     []Generated  `json:"generated,omitempty"`
}

// Member is a person of the world.
type Member struct {
	MydexID    string `json:"mydexid"`
	UID        uint32 `json:"uid"`
	Password   string `json:"password"`
	PrivateKey string `json:"private_key"`
}

// Subscriber is an organisation of the world.
type Subscriber struct {
	Name         string       `json:"name"`
	Org          string       `json:"org"`
	ClientID     string       `json:"client_id"`
	ClientSecret string       `json:"client_secret"`
	Token        string       `json:"token"` // bearer for /manage/v1
	Connections  []Connection `json:"connections"`
}

// Connection is one connection with its approved agreements.
type Connection struct {
	NID        uint32      `json:"nid"`
	Token      string      `json:"token"`
	Version    uint32      `json:"version"`
	Agreements []Agreement `json:"agreements"`
}

// Agreement is a member's approval and the Member Key that came by callback.
type Agreement struct {
	UID   uint32 `json:"uid"`
	ConID string `json:"con_id"`
	Key   string `json:"key"`
}

// Generated is one agreement of a generated member.
type Generated struct {
	Ref   string `json:"ref"`
	UID   uint32 `json:"uid"`
	ConID string `json:"con_id"`
	Key   string `json:"key"`
}

// Options say what Build makes.
type Options struct {
	Members  int      // generated members
	Connect  []string // names of the subscribers they connect to; empty: all but Bench
	Progress func(done, all int)
}

// offer is a demo subscriber's connection.
type offer struct {
	subscriber string
	name       string
	purpose    string
	data       []pds.TemplateData
	generated  bool // generated members may connect to it
}

func everyField(cat *schema.Catalogue, name string, methods ...string) pds.TemplateData {
	ds, ok := cat.Dataset(name)
	if !ok {
		panic("the catalogue has no " + name)
	}
	td := pds.TemplateData{Dataset: ds.Name, Methods: methods, SoftDelete: true}
	for i := range ds.Fields {
		td.Fields = append(td.Fields, pds.TemplateField{Field: ds.Fields[i].Name})
	}
	return td
}

func offers(cat *schema.Catalogue) []offer {
	rw := []string{"create", "read"}
	return []offer{
		{"Northgrid Energy", "Northgrid smart meter", "Show you what your home uses, and bill it from your own readings", []pds.TemplateData{
			everyField(cat, "ds_energy_consumption", "create", "read", "update", "delete"),
			{Dataset: "ds_home", Methods: []string{"read"}, SoftDelete: true, Fields: []pds.TemplateField{{Field: "field_home_postcode"}}},
		}, true},
		{"Alder Bank", "Alder current account", "Deliver your account's transactions to your own store", []pds.TemplateData{everyField(cat, "ds_bank_account_transactions", rw...)}, true},
		{"Fernhill Market", "Fernhill receipts", "Keep your receipts in your own store", []pds.TemplateData{everyField(cat, "ds_retail_purchases", rw...)}, true},
		{"Brightwell Health", "Brightwell activity", "Keep your steps, sleep and weight in your own store", []pds.TemplateData{everyField(cat, "ds_measurements", rw...)}, true},
		{"Kestrel Telecom", "Kestrel itemised calls", "Deliver your itemised calls to your own store", []pds.TemplateData{everyField(cat, "ds_utility_tel_calls", rw...)}, true},
		{"Bench", "Bench load", "Measure this machine with generated readings", []pds.TemplateData{everyField(cat, "ds_iot_readings", rw...), everyField(cat, "ds_card_transactions", rw...)}, true},
	}
}

// withheld are the fields that Bench's second connection may deliver but not
// read; every fourth generated member has that one.
var withheld = map[string]string{"ds_iot_readings": "quality", "ds_card_transactions": "creditor_name"}

const worldFile = "world.sealed"

func worldKey(b *seal.Barrier) seal.Secret { return b.Key("dev-world") }

// Load reads the world of a sandbox directory; fs.ErrNotExist if it has none.
func Load(dir string, b *seal.Barrier) (*World, error) {
	box, err := os.ReadFile(filepath.Join(dir, worldFile))
	if err != nil {
		return nil, err
	}
	k := worldKey(b)
	defer k.Wipe()
	plain, err := seal.OpenBox(seal.NewCipher(&k), nil, box, seal.Info(b.Env, "dev-world"))
	if err != nil {
		return nil, errors.New("the sandbox's world file does not open with its barrier key")
	}
	var w World
	if err := json.Unmarshal(plain, &w); err != nil {
		return nil, errors.New("the sandbox's world file is damaged")
	}
	return &w, nil
}

// Save seals the world beside its data: it is full of secrets.
func (w *World) Save(dir string, b *seal.Barrier) error {
	plain, err := json.Marshal(w)
	if err != nil {
		return err
	}
	k := worldKey(b)
	defer k.Wipe()
	return WriteFile(filepath.Join(dir, worldFile), seal.SealBox(seal.NewCipher(&k), nil, plain, seal.Info(b.Env, "dev-world")))
}

// WriteFile writes a file that only its owner may read, complete when it
// exists under its name.
func WriteFile(name string, b []byte) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, name)
}

// WriteKeys writes the keys file: an agreement a line, of the named members
// (ref is the MydexID) and of the generated ones (ref m and seven digits).
func (w *World) WriteKeys(name string) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	enc := json.NewEncoder(b)
	for _, s := range w.Subscribers {
		for _, c := range s.Connections {
			for _, a := range c.Agreements {
				ref := strconv.FormatUint(uint64(a.UID), 10)
				for _, m := range w.Members {
					if m.UID == a.UID {
						ref = m.MydexID
					}
				}
				err = errors.Join(err, enc.Encode(Generated{ref, a.UID, a.ConID, a.Key}))
			}
		}
	}
	for i := range w.Generated {
		err = errors.Join(err, enc.Encode(&w.Generated[i]))
	}
	if err = errors.Join(err, b.Flush(), f.Sync(), f.Close()); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, name)
}

func secret(prefix string) string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return prefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// builder makes a world on a running node.
type builder struct {
	n      *node.Node
	c      *Catcher
	cat    *schema.Catalogue
	w      *World
	env    seal.Env
	client *http.Client
}

// Build makes what the world lacks and returns true if anything was made.
//
// A catcher's address changes with every start, so the connections that call
// it back are told.
func Build(ctx context.Context, n *node.Node, c *Catcher, w *World, env seal.Env, o Options) (changed bool, err error) {
	b := &builder{n: n, c: c, cat: n.Directory.Catalogue(), w: w, env: env,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}}
	defer b.client.CloseIdleConnections()
	if err := b.redirect(ctx); err != nil {
		return false, err
	}
	for _, of := range offers(b.cat) {
		made, err := b.subscriber(ctx, of)
		if err != nil {
			return changed, fmt.Errorf("subscriber %s: %w", of.subscriber, err)
		}
		changed = changed || made
	}
	for _, id := range []string{"ada", "ben"} {
		if slices.ContainsFunc(w.Members, func(m Member) bool { return m.MydexID == id }) {
			continue
		}
		if err := b.person(ctx, id); err != nil {
			return changed, fmt.Errorf("member %s: %w", id, err)
		}
		changed = true
	}
	connect := o.Connect
	if len(connect) == 0 {
		for _, of := range offers(b.cat) {
			if of.subscriber != "Bench" {
				connect = append(connect, of.subscriber)
			}
		}
	}
	made, err := b.generate(ctx, o.Members, connect, o.Progress)
	return changed || made, err
}

func (b *builder) redirect(ctx context.Context) error {
	for _, s := range b.w.Subscribers {
		for _, c := range s.Connections {
			v, version, err := b.n.Registry.Get(ctx, api.KindConnection, api.ConnectionName(pds.NID(c.NID)))
			if err != nil {
				return err
			}
			var r api.ConnectionRecord
			if err := json.Unmarshal(v, &r); err != nil {
				return err
			}
			r.Callback = b.c.URL() + "/callback"
			if v, err = json.Marshal(r); err != nil {
				return err
			}
			if _, err := b.n.Registry.Put(ctx, api.KindConnection, api.ConnectionName(r.NID), v, version); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) find(name string) *Subscriber {
	for i := range b.w.Subscribers {
		if b.w.Subscribers[i].Name == name {
			return &b.w.Subscribers[i]
		}
	}
	return nil
}

func (b *builder) subscriber(ctx context.Context, of offer) (bool, error) {
	if b.find(of.subscriber) != nil {
		return false, nil
	}
	m := b.n.API.Manager()
	org, err := m.CreateOrganisation(ctx, of.subscriber)
	if err != nil {
		return false, err
	}
	in := api.ConnectionInput{Name: of.name, Purpose: of.purpose, Callback: b.c.URL() + "/callback",
		Contacts: []api.Contact{{Role: "technical", Name: "Integration desk", Email: "integration@example.org"}}}
	con, err := m.CreateConnection(ctx, org.ID, in)
	if err != nil {
		return false, err
	}
	gdpr := map[string]bool{}
	for _, g := range pds.Confirmations {
		gdpr[g] = true
	}
	tmpl := pds.Template{NID: con.NID, Name: of.name, Purpose: of.purpose, Subscriber: of.subscriber, Law: "English law",
		Environment: b.env.String(), Roles: "The subscriber is controller of what it receives; you are controller of your own store.",
		UseCases: []pds.TemplateUse{{Category: "core_function", Mandatory: true}, {Category: "improve_performance"}}, Gdpr: gdpr,
		TermsVersion: "1", DeclaredBy: "Data protection lead, " + of.subscriber, DeclaredAt: time.Now().Unix(), Datasets: of.data,
		Retention: "Six years after the last reading"}
	t, err := m.AddTemplate(ctx, org.ID, con.NID, tmpl)
	if err != nil {
		return false, err
	}
	sub := Subscriber{Name: of.subscriber, Org: org.ID, ClientID: con.ClientID, ClientSecret: con.ClientSecret, Token: org.Token,
		Connections: []Connection{{NID: uint32(con.NID), Token: con.Token, Version: t.Version, Agreements: []Agreement{}}}}
	if of.subscriber == "Bench" {
		in.ClientID = con.ClientID
		con, err := m.CreateConnection(ctx, org.ID, in)
		if err != nil {
			return false, err
		}
		tmpl.NID = con.NID
		for i := range tmpl.Datasets {
			for f := range tmpl.Datasets[i].Fields {
				if x := &tmpl.Datasets[i].Fields[f]; x.Field == withheld[tmpl.Datasets[i].Dataset] {
					x.Methods = []string{"create"}
				}
			}
		}
		t, err := m.AddTemplate(ctx, org.ID, con.NID, tmpl)
		if err != nil {
			return false, err
		}
		sub.Connections = append(sub.Connections, Connection{NID: uint32(con.NID), Token: con.Token, Version: t.Version, Agreements: []Agreement{}})
	}
	b.w.Subscribers = append(b.w.Subscribers, sub)
	return true, nil
}

// person makes ada or ben: some personal details, a home, and the agreements
// that the sandbox promises.
func (b *builder) person(ctx context.Context, id string) error {
	m := Member{MydexID: id, Password: secret("password-"), PrivateKey: secret("private key of " + id + " ")}
	c, k, err := b.join(ctx, &m)
	if err != nil {
		return err
	}
	defer k.Wipe()
	details := map[string]map[string]string{
		"ada": {"field_personal_fname": "Ada", "field_personal_faname": "Ashworth", "field_personal_title": "Ms"},
		"ben": {"field_personal_fname": "Ben", "field_personal_faname": "Okafor", "field_personal_title": "Mr"},
	}[id]
	home := map[string]map[string]string{
		"ada": {"field_home_street": "12 Mill Lane", "field_home_postcode": "DN21 6BY"},
		"ben": {"field_home_street": "3 Quay Street", "field_home_postcode": "LA1 4SW"},
	}[id]
	if _, _, err := c.Write(ctx, "ds_personal_details", 0, []map[string]string{details}); err != nil {
		return err
	}
	if _, _, err := c.Write(ctx, "ds_home", 0, []map[string]string{home}); err != nil {
		return err
	}
	for _, name := range []string{"Northgrid Energy", "Alder Bank"} {
		if name == "Alder Bank" && id != "ada" {
			continue
		}
		s := b.find(name)
		a, err := b.approve(ctx, c, k, s, 0, id)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		a.UID = m.UID
		s.Connections[0].Agreements = append(s.Connections[0].Agreements, *a)
	}
	b.w.Members = append(b.w.Members, m)
	return errors.Join(c.Lock(ctx), c.SignOut(ctx))
}

// join registers a member, signs in and unlocks.
func (b *builder) join(ctx context.Context, m *Member) (*memberclient.Client, *memberclient.Key, error) {
	c := memberclient.New(b.n.URL(), b.env, b.client)
	uid, err := c.Register(ctx, m.MydexID, m.MydexID+"@example.org", m.Password, m.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	m.UID = uid
	if err := c.SignIn(ctx, m.MydexID, m.Password); err != nil {
		return nil, nil, err
	}
	k, err := c.Unlock(ctx, m.PrivateKey)
	return c, k, err
}

func (b *builder) approve(ctx context.Context, c *memberclient.Client, k *memberclient.Key, s *Subscriber, which int, mydexid string) (*Agreement, error) {
	inv, err := b.n.API.Manager().CreateInvite(ctx, s.Org, pds.NID(s.Connections[which].NID), api.InviteInput{MydexID: mydexid, ExpiresIn: 3600})
	if err != nil {
		return nil, err
	}
	o, err := c.Offer(ctx, inv.Code)
	if err != nil {
		return nil, err
	}
	t, err := pds.DecodeTemplate(o.Canonical)
	if err != nil {
		return nil, err
	}
	choices := memberclient.Everything(t, nil)
	d, err := memberclient.NewDraft(o, choices, b.cat)
	if err != nil {
		return nil, err
	}
	a, err := c.Approve(ctx, k, d)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	key, err := b.c.Key(wait, a.ConID)
	if err != nil {
		return nil, fmt.Errorf("the callback did not come: %w", err)
	}
	return &Agreement{ConID: a.ConID, Key: key}, nil
}

// generate makes members m0000000 ... and connects each to every subscriber
// named.
func (b *builder) generate(ctx context.Context, n int, connect []string, progress func(done, all int)) (bool, error) {
	have := map[string]map[string]bool{}
	for _, g := range b.w.Generated {
		if have[g.Ref] == nil {
			have[g.Ref] = map[string]bool{}
		}
		have[g.Ref][g.ConID[strings.IndexByte(g.ConID, '-')+1:]] = true
	}
	if len(have) >= n {
		return false, nil
	}
	first := len(have)
	out := make([][]Generated, n-first)
	var next, done atomic.Int64
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.c.mu.Lock()
	b.c.quiet = true
	b.c.mu.Unlock()
	defer func() { b.c.mu.Lock(); b.c.quiet = false; b.c.mu.Unlock() }()
	var wg sync.WaitGroup
	for range 48 { // most of a registration is waiting for syncs
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= len(out) {
					return
				}
				g, err := b.generated(ctx, first+i, connect)
				if err != nil {
					cancel(fmt.Errorf("generated member %d: %w", first+i, err))
					return
				}
				out[i] = g
				if d := int(done.Add(1)); progress != nil {
					progress(d, len(out))
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	for _, g := range out {
		b.w.Generated = append(b.w.Generated, g...)
	}
	return true, nil
}

func (b *builder) generated(ctx context.Context, i int, connect []string) ([]Generated, error) {
	ref := fmt.Sprintf("m%07d", i)
	m := Member{MydexID: ref, Password: secret("password-"), PrivateKey: secret("generated key ")}
	c, k, err := b.join(ctx, &m)
	if err != nil {
		return nil, err
	}
	defer k.Wipe()
	var out []Generated
	for _, name := range connect {
		s := b.find(name)
		if s == nil {
			return nil, fmt.Errorf("no subscriber is named %q", name)
		}
		which := 0
		if name == "Bench" && i%4 == 0 {
			which = 1
		}
		a, err := b.approve(ctx, c, k, s, which, ref)
		if err != nil {
			return nil, err
		}
		out = append(out, Generated{ref, m.UID, a.ConID, a.Key})
	}
	return out, errors.Join(c.Lock(ctx), c.SignOut(ctx))
}

// Missing reports whether err says that there is no world yet.
func Missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
