package api

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// Store is what the subscriber's routes need of actors.Directory; it states
// the promises.
type Store interface {
	Deliver(ctx context.Context, sections []*actors.Section) error
	Read(ctx context.Context, r *actors.ReadRequest) (*actors.Chunk, error)
	Update(ctx context.Context, r *actors.ChangeRequest) (replayed bool, err error)
	Delete(ctx context.Context, r *actors.DeleteRequest) (replayed bool, err error)
	RefuseAccess(ctx context.Context, c actors.Caller, m pds.Method, dataset string, instance uint32, refusal *pds.Error) error
}

// Registry is what the routes need of actors.Registry; it states the promises.
type Registry interface {
	Get(ctx context.Context, kind, name string) (value []byte, version uint64, err error)
	Put(ctx context.Context, kind, name string, value []byte, version uint64) (uint64, error)
	Delete(ctx context.Context, kind, name string, version uint64) error
	List(ctx context.Context, kind string, f func(name string, value []byte, version uint64) error) error
	Next(ctx context.Context, counter string) (uint64, error)
}

// Health is what a node says about itself, without personal data.
type Health struct {
	Live   bool              `json:"live"`
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks,omitempty"`
}

// Config is what a Server is made of. Registry and Catalogue are required, and
// either Store or Directory.
type Config struct {
	Directory *actors.Directory // the member's routes; the subscriber's too unless Store is set
	Store     Store
	Registry  Registry
	Catalogue *schema.Catalogue
	Env       seal.Env

	// Issuer is the base URL under which clients reach the server. Empty: what
	// Listen finds, such as http://127.0.0.1:8080.
	Issuer string
	TLS    *tls.Config // nil: plain HTTP; versions below 1.2 are never spoken
	Limits Limits
	Log    *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now

	// OperatorToken is the bearer token of the operator's routes. Empty: they
	// refuse everyone.
	OperatorToken string
	Health        func() Health                      // nil: always live and ready
	Status        func(context.Context) (any, error) // operator status, JSON; nil: Health alone
	Compact       func(context.Context) error        // operator compact; nil: not found
}

// Server serves everything but the operator's routes, which Operator serves on
// a listener of their own.
type Server struct {
	cfg     Config
	limits  Limits
	store   Store
	reg     Registry
	cat     *schema.Catalogue
	log     *slog.Logger
	now     func() time.Time
	manager *Manager
	tokens  *tokens
	rate    *buckets
	fields  map[string]*dataset
	metrics *metrics.Set
	counts  counts

	router   *router.Router
	http     *fasthttp.Server
	operator *fasthttp.Server

	base   context.Context // ends when Close gives up on open requests
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	issuer string
	addr   net.Addr
	provider
	listeners []net.Listener // everything that serve was given
}

// New makes a Server that listens to nobody yet.
func New(cfg Config) (*Server, error) {
	if cfg.Registry == nil || cfg.Catalogue == nil {
		return nil, errors.New("api: Registry and Catalogue are required")
	}
	if !cfg.Env.Valid() {
		return nil, errors.New("api: environment is neither sandbox nor live")
	}
	s := &Server{cfg: cfg, limits: cfg.Limits.withDefaults(), store: cfg.Store, reg: cfg.Registry, cat: cfg.Catalogue, log: cfg.Log, now: cfg.Now}
	if s.store == nil {
		if cfg.Directory == nil {
			return nil, errors.New("api: Directory or Store is required")
		}
		s.store = cfg.Directory
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.metrics = metrics.NewSet()
	s.counts.register(s.metrics)
	s.fields = datasets(s.cat)
	s.rate = newBuckets(s.now)
	s.manager = &Manager{Registry: s.reg, Catalogue: s.cat, Env: cfg.Env, Now: s.now}
	s.tokens = newTokens(s.reg, cfg.Env, s.now)
	s.issuer = strings.TrimSuffix(cfg.Issuer, "/")

	s.router = newRouter()
	s.router.NotFound = s.wrap("(none)", problems, func(*fasthttp.RequestCtx) error { return errNotFound })
	s.router.MethodNotAllowed = s.wrap("(none)", problems, func(*fasthttp.RequestCtx) error { return errMethod })
	s.datasetRoutes()
	s.bulkRoutes()
	s.tokenRoutes()
	s.manageRoutes()
	s.healthRoutes()
	s.docRoutes()
	s.memberRoutes()
	s.http = s.newHTTP(s.router.Handler)
	return s, nil
}

// newRouter has no redirects: they would repeat a query string, and so a
// Member Key, in a Location header.
func newRouter() *router.Router {
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.HandleMethodNotAllowed = true
	return r
}

func (s *Server) newHTTP(h fasthttp.RequestHandler) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      h,
		Logger:                       quiet{s.log},
		ErrorHandler:                 s.badRequest,
		HeaderReceived:               s.headerReceived,
		ExpectHandler:                func(ctx *fasthttp.RequestCtx) int { return s.expect(ctx, h) },
		StreamRequestBody:            true, // every body is read by readBody or the bulk reader, with their limits
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		NoDefaultServerHeader:        true,
		CloseOnShutdown:              true,
		ReadBufferSize:               16 << 10, // also the limit of a request's header
		WriteBufferSize:              16 << 10,
		ReadTimeout:                  s.limits.ReadTimeout,
		WriteTimeout:                 s.limits.WriteTimeout,
		IdleTimeout:                  s.limits.IdleTimeout,
		Concurrency:                  s.limits.Concurrency,
		MaxRequestBodySize:           1, // only how much is read ahead: what ends in it no handler sees
	}
}

// Listen starts serving on addr ("127.0.0.1:0" for any port) and returns when
// the listener is open.
func (s *Server) Listen(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	scheme := "http"
	if s.cfg.TLS != nil {
		c := s.cfg.TLS.Clone()
		c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
		ln, scheme = tls.NewListener(ln, c), "https"
	}
	s.mu.Lock()
	s.addr = ln.Addr()
	if s.issuer == "" {
		s.issuer = scheme + "://" + ln.Addr().String()
	}
	s.mu.Unlock()
	if err := s.startProvider(); err != nil {
		_ = ln.Close()
		return err
	}
	s.serve(s.http, ln)
	s.wg.Go(s.sweepTokens)
	return nil
}

func (s *Server) serve(h *fasthttp.Server, ln net.Listener) {
	s.mu.Lock()
	s.listeners = append(s.listeners, ln)
	s.mu.Unlock()
	s.wg.Go(func() {
		if err := h.Serve(newListener(ln, s.limits.ConnsPerIP)); err != nil && s.base.Err() == nil {
			s.log.Error("listener ended", "listener", ln.Addr().String())
		}
	})
}

// Addr is where Listen listens.
func (s *Server) Addr() net.Addr { s.mu.Lock(); defer s.mu.Unlock(); return s.addr }

// URL is the base URL of the server, without a slash at its end.
func (s *Server) URL() string { s.mu.Lock(); defer s.mu.Unlock(); return s.issuer }

// Manager is the subscriber's side of the registry, for seeding and tests.
func (s *Server) Manager() *Manager { return s.manager }

// Metrics is where the server counts; others may add to it.
func (s *Server) Metrics() *metrics.Set { return s.metrics }

// Close stops accepting, waits for open requests until ctx ends, then cuts them.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.ShutdownWithContext(ctx)
	if s.operator != nil {
		err = errors.Join(err, s.operator.ShutdownWithContext(ctx))
	}
	s.cancel()
	// The engine closes only what its Serve has seen already, which may not have
	// begun: a listener that is closed ends it then.
	s.mu.Lock()
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// handle registers a route. template is the path with parameters in braces; it
// is what logs and counters show.
func (s *Server) handle(method, template string, sh shape, h func(*fasthttp.RequestCtx) error) {
	s.router.Handle(method, template, s.wrap(template, sh, h))
}

// requestIDKey is the user value that holds a request's id.
type requestIDKey struct{}

// wrap adds what every answer has: request id, fixed headers, error rendering,
// log line and counters. A panic becomes a 500 whose log line has the place but
// no values.
func (s *Server) wrap(template string, sh shape, h func(*fasthttp.RequestCtx) error) fasthttp.RequestHandler {
	c := s.counts.route(s.metrics, template)
	return func(ctx *fasthttp.RequestCtx) {
		start := time.Now()
		id := newRequestID()
		ctx.SetUserValue(requestIDKey{}, id)
		err := s.guard(ctx, template, h)
		if err != nil {
			p := problemOf(err)
			writeProblem(ctx, sh, p, id)
			if p.Status >= 500 && p.Status != 503 && p.Status != 507 {
				s.log.Error("request failed", "request", id, "route", template, "kind", fmt.Sprintf("%T", err))
			}
		}
		s.commonHeaders(ctx, id)
		status := ctx.Response.StatusCode()
		c.done(status, time.Since(start))
		if s.log.Enabled(context.Background(), slog.LevelInfo) {
			s.log.LogAttrs(context.Background(), slog.LevelInfo, "request",
				slog.String("request", id), slog.String("method", methodName(ctx)), slog.String("route", template),
				slog.Int("status", status), slog.Duration("took", time.Since(start)))
		}
	}
}

func (s *Server) guard(ctx *fasthttp.RequestCtx, template string, h func(*fasthttp.RequestCtx) error) (err error) {
	defer s.recovered(template, &err)
	return h(ctx)
}

// recovered, deferred, turns a panic into errInternal and logs where it was.
func (s *Server) recovered(route string, err *error) {
	if v := recover(); v != nil {
		s.log.Error("panic", "route", route, "at", panicPlace())
		s.counts.panics.Inc()
		*err = errInternal
	}
}

// panicPlace names the function and line that panicked: a panic's own text can
// hold values, so it is not logged.
func panicPlace() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") || !more {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		}
	}
}

// methodName keeps an invented method out of the log.
func methodName(ctx *fasthttp.RequestCtx) string {
	switch m := string(ctx.Method()); m {
	case "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS":
		return m
	}
	return "other"
}

func (s *Server) commonHeaders(ctx *fasthttp.RequestCtx, id string) {
	h := &ctx.Response.Header
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if len(h.Peek("Cache-Control")) == 0 {
		h.Set("Cache-Control", "no-store")
	}
	if len(h.Peek("Content-Security-Policy")) == 0 {
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	}
	if s.cfg.Env == seal.Sandbox {
		h.Set("Holdfast-Environment", "sandbox")
	}
	if s.cfg.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func newRequestID() string {
	var b [9]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// badRequest answers what fasthttp could not parse.
func (s *Server) badRequest(ctx *fasthttp.RequestCtx, err error) {
	p := errMalformed.with("not an HTTP request")
	var small *fasthttp.ErrSmallBuffer
	var ne net.Error
	switch {
	case errors.As(err, &small):
		p = problem(fasthttp.StatusRequestHeaderFieldsTooLarge, "header-too-large", "request header too large")
	case endedEarly(err):
		p = errCutOff
	case errors.As(err, &ne) && ne.Timeout():
		p = problem(fasthttp.StatusRequestTimeout, "timeout", "request not received in time")
	}
	id := newRequestID()
	writeProblem(ctx, problems, p, id)
	s.commonHeaders(ctx, id)
	ctx.SetConnectionClose()
}

// quiet is fasthttp's logger. Its messages can hold bytes of a request, so only
// their arrival is noted.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(format string, _ ...any) { q.log.Debug("http", "message", format) }

// deadline is a context for one request: it ends with the server or after d.
func (s *Server) deadline(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.base, d)
}
