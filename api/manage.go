package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
)

const maxManageBody = 1 << 20

// manageRoutes are for a subscriber's own people and tools: the bearer is the
// token that the operator gave, or an access token with the scope manage. A
// connection of another organisation is as unknown as one that does not exist.
func (s *Server) manageRoutes() {
	s.handle("POST", "/manage/v1/organisations", problems, s.byOperator(s.postOrganisation))
	s.handle("GET", "/manage/v1/use-cases", problems, s.bySubscriber(func(ctx *fasthttp.RequestCtx, _ context.Context, _ string) error {
		return writeJSON(ctx, 200, map[string]any{"use_cases": pds.UseCases, "confirmations": pds.Confirmations})
	}))
	s.handle("GET", "/manage/v1/datasets", problems, s.bySubscriber(s.listDatasets))
	s.handle("GET", "/manage/v1/connections", problems, s.bySubscriber(s.listConnections))
	s.handle("POST", "/manage/v1/connections", problems, s.bySubscriber(s.postConnection))
	s.handle("GET", "/manage/v1/connections/{nid}", problems, s.bySubscriber(s.getConnection))
	s.handle("GET", "/manage/v1/connections/{nid}/templates", problems, s.bySubscriber(s.listTemplates))
	s.handle("POST", "/manage/v1/connections/{nid}/templates", problems, s.bySubscriber(s.postTemplate))
	s.handle("GET", "/manage/v1/connections/{nid}/templates/{version}", problems, s.bySubscriber(s.getTemplate))
	s.handle("POST", "/manage/v1/connections/{nid}/invites", problems, s.bySubscriber(s.postInvite))
	s.handle("GET", "/manage/v1/connections/{nid}/deliveries", problems, s.bySubscriber(s.listDeliveries))
}

// bySubscriber finds the organisation whose token is presented.
func (s *Server) bySubscriber(h func(ctx *fasthttp.RequestCtx, c context.Context, org string) error) func(*fasthttp.RequestCtx) error {
	return func(ctx *fasthttp.RequestCtx) error {
		who, err := s.authenticate(ctx, ScopeManage)
		if err != nil {
			return err
		}
		c, cancel := s.deadline(s.limits.Request)
		defer cancel()
		return h(ctx, c, who.org)
	}
}

// byOperator checks the operator's token, in constant time.
func (s *Server) byOperator(h func(ctx *fasthttp.RequestCtx, c context.Context) error) func(*fasthttp.RequestCtx) error {
	want := sha256.Sum256([]byte(s.cfg.OperatorToken))
	return func(ctx *fasthttp.RequestCtx) error {
		if err := s.limited("operator "+addressOf(ctx), s.limits.TokenRate, s.limits.TokenBurst); err != nil {
			return err
		}
		got := sha256.Sum256([]byte(bearer(ctx)))
		if s.cfg.OperatorToken == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			s.counts.unidentified.Inc()
			return errToken
		}
		c, cancel := s.deadline(s.limits.Request)
		defer cancel()
		return h(ctx, c)
	}
}

func (s *Server) postOrganisation(ctx *fasthttp.RequestCtx, c context.Context) error {
	var in struct {
		Name string `json:"name"`
	}
	if err := decodeJSON(ctx, maxManageBody, &in); err != nil {
		return err
	}
	o, err := s.manager.CreateOrganisation(c, in.Name)
	if err != nil {
		return err
	}
	return writeJSON(ctx, http.StatusCreated, o)
}

// listDatasets shows the catalogue as a template's author needs it.
func (s *Server) listDatasets(ctx *fasthttp.RequestCtx, _ context.Context, _ string) error {
	type field struct {
		Name    string `json:"name"`
		Display string `json:"display"`
		Type    string `json:"type"`
	}
	type entry struct {
		Name    string  `json:"name"`
		Display string  `json:"display"`
		Kind    string  `json:"kind"`
		Status  string  `json:"status"`
		Fields  []field `json:"fields"`
	}
	out := []entry{}
	for _, ds := range s.cat.Datasets() {
		e := entry{Name: ds.Name, Display: ds.Display, Kind: "transactional", Status: ds.Status}
		if ds.Kind == schemaMetadata {
			e.Kind = "metadata"
		}
		for i := range ds.Fields {
			f := &ds.Fields[i]
			e.Fields = append(e.Fields, field{f.Name, f.Display, f.Type.String()})
		}
		out = append(out, e)
	}
	return writeJSON(ctx, 200, map[string]any{"datasets": out})
}

func (s *Server) listConnections(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	list, err := s.manager.Connections(c, org)
	if err != nil {
		return err
	}
	return writeJSON(ctx, 200, map[string]any{"connections": list})
}

func (s *Server) postConnection(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	var in ConnectionInput
	if err := decodeJSON(ctx, maxManageBody, &in); err != nil {
		return err
	}
	n, err := s.manager.CreateConnection(c, org, in)
	if err != nil {
		return err
	}
	s.tokens.forget(n.ClientID) // its tokens now speak for one connection more
	return writeJSON(ctx, http.StatusCreated, struct {
		*NewConnection
		TokenURL string `json:"token_url"`
		PDX      string `json:"pdx_url"`
	}{n, s.URL() + tokenPath, s.URL()})
}

// nidOf reads the path's connection number; what is none is unknown.
func nidOf(ctx *fasthttp.RequestCtx) pds.NID {
	n, _ := parseNumber(param(ctx, "nid"))
	return pds.NID(n)
}

func (s *Server) getConnection(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	r, err := s.manager.Connection(c, org, nidOf(ctx))
	if err != nil {
		return err
	}
	return writeJSON(ctx, 200, r)
}

func (s *Server) listTemplates(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	con, err := s.manager.Connection(c, org, nidOf(ctx))
	if err != nil {
		return err
	}
	type entry struct {
		Version uint32 `json:"version"`
		State   string `json:"state"`
		Hash    string `json:"hash"`
		Created int64  `json:"created"`
	}
	out := []entry{}
	for v := uint32(1); v <= con.LastVersion; v++ {
		t, err := s.manager.Template(c, org, con.NID, v)
		if err != nil {
			return err
		}
		out = append(out, entry{t.Version, t.State, t.Hash, t.Created})
	}
	return writeJSON(ctx, 200, map[string]any{"templates": out})
}

func (s *Server) postTemplate(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	var t pds.Template
	if err := decodeJSON(ctx, maxManageBody, &t); err != nil {
		return err
	}
	r, err := s.manager.AddTemplate(c, org, nidOf(ctx), t)
	if err != nil {
		return err
	}
	return writeJSON(ctx, http.StatusCreated, map[string]any{"nid": r.NID, "version": r.Version, "state": r.State, "hash": r.Hash})
}

// getTemplate answers the canonical bytes, whose SHA-256 members sign.
func (s *Server) getTemplate(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	v, err := strconv.ParseUint(param(ctx, "version"), 10, 32)
	if err != nil {
		return errNotFound
	}
	r, err := s.manager.Template(c, org, nidOf(ctx), uint32(v))
	if err != nil {
		return err
	}
	ctx.Response.Header.Set("Holdfast-Template-State", r.State)
	ctx.Response.Header.Set("Holdfast-Template-Hash", r.Hash)
	ctx.SetContentType("application/json")
	ctx.SetBody(r.Canonical)
	return nil
}

func (s *Server) postInvite(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	var in InviteInput
	if err := decodeJSON(ctx, maxManageBody, &in); err != nil {
		return err
	}
	n, err := s.manager.CreateInvite(c, org, nidOf(ctx), in)
	if err != nil {
		return err
	}
	n.URL = s.URL() + "/offers/" + n.Code
	return writeJSON(ctx, http.StatusCreated, n)
}

func (s *Server) listDeliveries(ctx *fasthttp.RequestCtx, c context.Context, org string) error {
	con, err := s.manager.Connection(c, org, nidOf(ctx))
	if err != nil {
		return err
	}
	var log DeliveryLog
	if err := getRecord(c, s.reg, KindDelivery, ConnectionName(con.NID), &log); err != nil && !isNotFound(err) {
		return err
	}
	if log.Deliveries == nil {
		log.Deliveries = []Delivery{}
	}
	return writeJSON(ctx, 200, log)
}
