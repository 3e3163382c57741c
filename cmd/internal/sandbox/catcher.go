package sandbox

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"
)

// Catcher receives what the sandbox's subscribers would: callbacks with
// Member Keys, and mail. It keeps them in memory only.
type Catcher struct {
	mu    sync.Mutex
	keys  map[string]string // con_id -> Member Key
	seen  []Caught
	wake  chan struct{}
	ln    net.Listener
	srv   *http.Server
	quiet bool
}

// Caught is one callback as it came, without its key unless asked for by name.
type Caught struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	ConID  string    `json:"connection_id"`
	Token  bool      `json:"authenticated"` // an Authentication header was there
	Body   string    `json:"body"`
}

const keptCallbacks = 1000

// NewCatcher listens on loopback.
func NewCatcher(addr string) (*Catcher, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &Catcher{keys: map[string]string{}, wake: make(chan struct{}), ln: ln}
	mux := http.NewServeMux()
	mux.HandleFunc("/callback", c.callback)
	mux.HandleFunc("/callbacks", c.list)
	mux.HandleFunc("/mail", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("[]\n"))
	})
	c.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() { _ = c.srv.Serve(ln) }()
	return c, nil
}

// URL is the catcher's base address.
func (c *Catcher) URL() string { return "http://" + c.ln.Addr().String() }

// Close stops listening.
func (c *Catcher) Close() { _ = c.srv.Close() }

func (c *Catcher) callback(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<20)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	id, key := r.PostForm.Get("connection_id"), r.PostForm.Get("key")
	c.mu.Lock()
	if key != "" {
		c.keys[id] = key
	}
	if !c.quiet {
		c.seen = append(c.seen, Caught{time.Now(), r.Method, id, subtle.ConstantTimeEq(int32(len(r.Header.Get("Authentication"))), 128) == 1, r.PostForm.Encode()})
		if len(c.seen) > keptCallbacks {
			c.seen = c.seen[len(c.seen)-keptCallbacks:]
		}
	}
	close(c.wake)
	c.wake = make(chan struct{})
	c.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

func (c *Catcher) list(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	b, err := json.MarshalIndent(c.seen, "", "  ")
	c.mu.Unlock()
	if err != nil {
		http.Error(w, "internal", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}

// Key waits until the callback of a connection has brought its Member Key.
func (c *Catcher) Key(ctx context.Context, conID string) (string, error) {
	for {
		c.mu.Lock()
		k, ok := c.keys[conID]
		wake := c.wake
		c.mu.Unlock()
		if ok {
			return k, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
