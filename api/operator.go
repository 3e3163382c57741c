package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

// ListenOperator serves the operator's routes on a listener of their own and
// returns where it listens. They know organisations and the node's health, and
// nothing of members.
func (s *Server) ListenOperator(addr string) (net.Addr, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("api: operator: %w", err)
	}
	r := newRouter()
	r.NotFound = s.wrap("(none)", problems, func(*fasthttp.RequestCtx) error { return errNotFound })
	r.MethodNotAllowed = s.wrap("(none)", problems, func(*fasthttp.RequestCtx) error { return errMethod })
	add := func(method, template string, h func(*fasthttp.RequestCtx, context.Context) error) {
		r.Handle(method, template, s.wrap(template, problems, s.byOperator(h)))
	}
	add("GET", "/operator/v1/organisations", func(ctx *fasthttp.RequestCtx, c context.Context) error {
		list, err := s.manager.Organisations(c)
		if err != nil {
			return err
		}
		return writeJSON(ctx, 200, map[string]any{"organisations": list})
	})
	add("POST", "/operator/v1/organisations", s.postOrganisation)
	add("POST", "/operator/v1/connections/{nid}/templates/{version}/activate", func(ctx *fasthttp.RequestCtx, c context.Context) error {
		v, err := strconv.ParseUint(param(ctx, "version"), 10, 32)
		if err != nil {
			return errNotFound
		}
		if err := s.manager.Activate(c, nidOf(ctx), uint32(v)); err != nil {
			return err
		}
		return writeJSON(ctx, 200, map[string]any{"state": "active"})
	})
	add("POST", "/operator/v1/clients/{client}/disable", func(ctx *fasthttp.RequestCtx, c context.Context) error {
		var rec ClientRecord
		v, err := getVersion(c, s.reg, KindClient, param(ctx, "client"), &rec)
		if err != nil {
			return notFoundAs(err, errNotFound)
		}
		rec.Disabled = true
		if err := putRecord(c, s.reg, KindClient, rec.ID, rec, v); err != nil {
			return err
		}
		s.tokens.forget(rec.ID)
		return writeJSON(ctx, 200, map[string]any{"client_id": rec.ID, "disabled": true})
	})
	add("GET", "/operator/v1/health", func(ctx *fasthttp.RequestCtx, _ context.Context) error { return writeJSON(ctx, 200, s.health()) })
	add("GET", "/operator/v1/status", func(ctx *fasthttp.RequestCtx, c context.Context) error {
		if s.cfg.Status == nil {
			return writeJSON(ctx, 200, s.health())
		}
		v, err := s.cfg.Status(c)
		if err != nil {
			return err
		}
		return writeJSON(ctx, 200, v)
	})
	add("POST", "/operator/v1/compact", func(ctx *fasthttp.RequestCtx, _ context.Context) error {
		if s.cfg.Compact == nil {
			return errNotFound
		}
		c, cancel := s.deadline(s.limits.WriteTimeout)
		defer cancel()
		if err := s.cfg.Compact(c); err != nil {
			return err
		}
		return writeJSON(ctx, 200, map[string]any{"compacted": true})
	})
	s.healthOn(r)
	s.operator = s.newHTTP(r.Handler)
	s.serve(s.operator, ln)
	return ln.Addr(), nil
}

func (s *Server) healthRoutes() { s.healthOn(s.router) }

// healthOn adds the routes that tell a supervisor how the node is. They need
// no token and say nothing of anybody.
func (s *Server) healthOn(r *router.Router) {
	probe := func(ok func(Health) bool) func(*fasthttp.RequestCtx) error {
		return func(ctx *fasthttp.RequestCtx) error {
			h := s.health()
			status := http.StatusOK
			if !ok(h) {
				status = http.StatusServiceUnavailable
			}
			return writeJSON(ctx, status, h)
		}
	}
	ready := probe(func(h Health) bool { return h.Live && h.Ready })
	r.GET("/livez", s.wrap("/livez", problems, probe(func(h Health) bool { return h.Live })))
	r.GET("/readyz", s.wrap("/readyz", problems, ready))
	r.GET("/healthz", s.wrap("/healthz", problems, ready))
	r.GET("/metrics", s.wrap("/metrics", problems, func(ctx *fasthttp.RequestCtx) error {
		ctx.SetContentType("text/plain; version=0.0.4; charset=utf-8")
		s.metrics.WritePrometheus(ctx)
		return nil
	}))
}

func (s *Server) health() Health {
	if s.cfg.Health == nil {
		return Health{Live: true, Ready: true}
	}
	return s.cfg.Health()
}
