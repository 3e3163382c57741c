// Package node assembles one node: storage, consensus, actors, interfaces. It
// is the only package that imports all the others. Run opens them from the
// bottom up and closes them in reverse; a listener is open before it reports
// ready.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/api"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// Config says what a node is. The zero value of a field has the default that
// its comment names.
type Config struct {
	Data          string       // directory of log, state and slots; required
	Barrier       seal.Barrier // required; its environment is the node's
	HTTP          string       // public listener; default 127.0.0.1:8080
	Operator      string       // operator's listener; default 127.0.0.1:0
	OperatorToken string       // bearer of the operator's routes; empty: they refuse
	Issuer        string       // base URL for tokens; default: the public listener's
	TLS           *tls.Config  // nil: plain HTTP
	Reserve       int64        // free bytes below which writes are refused; 0: the host's default
	Datasets      string       // directory with further dataset files; empty: none
	Idle          time.Duration
	Limits        api.Limits
	Log           *slog.Logger
	Now           func() time.Time
	Exposed       bool // the barrier key lies on the data directory's disk
}

// Node is an open node.
type Node struct {
	cfg       Config
	Host      *cluster.Host
	Machine   *pds.Machine
	Directory *actors.Directory
	Registry  *actors.Registry
	API       *api.Server
	Operator  net.Addr
	LogKey    string
}

// machine puts the rules into the host.
type machine struct {
	m    *pds.Machine
	host *cluster.Host
	fail func(error)
}

func (a *machine) Apply(tx storage.Tx, c cluster.Command) any {
	return a.m.Apply(tx, uint8(c.Shard), c.Index, c.Term, c.Data)
}

// Committed erases the slots that applied commands have condemned. Erasing is
// a side effect of apply and is repeated at every open.
func (a *machine) Committed([]cluster.ShardID) {
	if err := a.m.Err(); err != nil {
		a.fail(err)
		return
	}
	a.m.Committed()
	for _, id := range a.m.TakeErased() {
		if a.host == nil {
			continue // replay at open: reerase does it
		}
		if err := a.host.Slots().Erase(id); err != nil && !errors.Is(err, storage.ErrErased) && !errors.Is(err, storage.ErrNoSlot) {
			a.fail(err)
			return
		}
	}
}

func (a *machine) Reset(s cluster.ShardID) { a.m.Reset(uint8(s)) }

// Open opens a node and its listeners.
func Open(cfg Config) (_ *Node, err error) {
	if cfg.Data == "" || !cfg.Barrier.Env.Valid() {
		return nil, errors.New("node: data directory and barrier key are required")
	}
	if cfg.HTTP == "" {
		cfg.HTTP = "127.0.0.1:8080"
	}
	if cfg.Operator == "" {
		cfg.Operator = "127.0.0.1:0"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if os.Getenv("GOGC") == "" {
		// Thousands of awake members are a heap full of pointers; collecting it
		// half as often saves more CPU than the memory is worth. Idle nodes give
		// it back (cluster, idle.go).
		debug.SetGCPercent(300)
	}
	cat := schema.Default()
	if cfg.Datasets != "" {
		if cat, err = schema.Load(os.DirFS(cfg.Datasets)); err != nil {
			return nil, fmt.Errorf("datasets: %w", err)
		}
	}
	n := &Node{cfg: cfg, Machine: pds.NewMachine(cfg.Barrier.Env)}
	sm := &machine{m: n.Machine, fail: func(err error) {
		cfg.Log.Error("the state could not be written; the node stops", "error", err)
		os.Exit(70) // nothing may be answered on a state that may be torn
	}}
	n.Host, err = cluster.Open(cluster.Config{Dir: cfg.Data, Env: cfg.Barrier.Env, BarrierCheck: cfg.Barrier.Check(), SlotKey: cfg.Barrier.SlotFileKey(),
		SM: sm, ReserveBytes: cfg.Reserve, Now: cfg.Now, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if err := n.reerase(); err != nil {
		return nil, err
	}
	sm.host = n.Host

	seed := cfg.Barrier.Key("log-signer")
	signer := seal.NewSigner(pds.CheckpointOrigin(cfg.Barrier.Env), &seed)
	seed.Wipe()
	n.LogKey = signer.Verifier().String()
	n.Directory = actors.New(actors.Config{Host: n.Host, Machine: n.Machine, Barrier: cfg.Barrier, Catalogue: cat, Log: cfg.Log, Now: cfg.Now, IdleAfter: cfg.Idle,
		LogKey:  n.LogKey,
		SignLog: func(text []byte) ([]byte, error) { return note.Sign(&note.Note{Text: string(text)}, signer) }})
	n.Registry = n.Directory.Registry()
	n.API, err = api.New(api.Config{Directory: n.Directory, Registry: n.Registry, Catalogue: cat, Env: cfg.Barrier.Env, Issuer: cfg.Issuer, TLS: cfg.TLS,
		Limits: cfg.Limits, Log: cfg.Log, Now: cfg.Now, OperatorToken: cfg.OperatorToken,
		Health: n.health, Status: n.status, Compact: func(context.Context) error { return n.Host.Compact() }})
	if err != nil {
		return nil, err
	}
	n.Directory.SetDeliverer(&deliverer{api.NewCallbacks(n.Registry, cat, cfg.Barrier.Env, cfg.Now)})
	if n.Operator, err = n.API.ListenOperator(cfg.Operator); err != nil {
		return nil, err
	}
	if err := n.API.Listen(cfg.HTTP); err != nil {
		return nil, err
	}
	return n, nil
}

// reerase overwrites every slot that was ever condemned, before anything is
// served.
func (n *Node) reerase() error {
	var ids []uint64
	err := n.Host.View(func(r storage.Reader) error {
		for s := 0; s <= int(cluster.Meta); s++ {
			err := r.Scan(pds.ErasedPrefix(uint8(s)), nil, false, func(k, _ []byte) (bool, error) {
				ids = append(ids, pds.SlotOf(k))
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := n.Host.Slots().Get(id); errors.Is(err, storage.ErrErased) || errors.Is(err, storage.ErrNoSlot) {
			continue
		}
		if err := n.Host.Slots().Erase(id); err != nil && !errors.Is(err, storage.ErrErased) && !errors.Is(err, storage.ErrNoSlot) {
			return err
		}
	}
	return nil
}

type deliverer struct{ c *api.Callbacks }

func (d *deliverer) Deliver(ctx context.Context, c *actors.Callback) error {
	return d.c.Deliver(ctx, &api.Callback{NID: c.NID, UID: c.UID, Mydexid: c.Mydexid, Key: c.Key, Grants: c.Grants, Update: c.Update, LinkingToken: c.LinkingToken})
}

func (n *Node) health() api.Health {
	st := n.Host.Status()
	h := api.Health{Live: st.Failure == "", Ready: st.Failure == "", Checks: map[string]string{"writes": "accepted", "barrier": "apart from the data"}}
	if !st.Writable {
		h.Checks["writes"] = "refused: disk reserve reached"
	}
	if n.cfg.Exposed {
		h.Checks["barrier"] = "beside the data: disks are not protected without it"
	}
	if st.Failure != "" {
		h.Checks["failure"] = st.Failure
	}
	return h
}

func (n *Node) status(context.Context) (any, error) {
	c := &n.Directory.Counts
	return map[string]any{
		"environment": n.cfg.Barrier.Env.String(),
		"host":        n.Host.Status(),
		"members":     map[string]any{"active": n.Directory.Active(), "activations": c.Activations.Load(), "passivations": c.Passivations.Load()},
		"requests": map[string]any{"sections": c.SectionsStored.Load(), "rows_stored": c.RowsStored.Load(), "rows_read": c.RowsRead.Load(),
			"refused": c.Refused.Load(), "conflicts": c.Conflicts.Load(), "busy": c.Busy.Load()},
		"outbox": n.Directory.OutboxWaiting(),
		"disk":   diskUse(n.cfg.Data),
	}, nil
}

// diskUse sums the files of each sub-directory, bytes.
func diskUse(dir string) map[string]int64 {
	out := map[string]int64{}
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return nil
		}
		top := "other"
		if d := filepath.Dir(rel); d != "." {
			top = filepath.ToSlash(d)
		}
		if i, err := e.Info(); err == nil {
			out[top] += i.Size()
		}
		return nil
	})
	return out
}

// URL is the base address of the public listener.
func (n *Node) URL() string { return n.API.URL() }

// Failed is closed when the node had to stop.
func (n *Node) Failed() <-chan struct{} { return n.Host.Failed() }

// Close stops in reverse order.
func (n *Node) Close() error {
	var errs []error
	if n.API != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		errs = append(errs, n.API.Close(ctx))
		cancel()
	}
	if n.Directory != nil {
		n.Directory.Close()
	}
	if n.Host != nil {
		errs = append(errs, n.Host.Close())
	}
	return errors.Join(errs...)
}
