package api

import (
	_ "embed"
	"html"
	"strings"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
)

//go:embed docs.html
var docsPage string

const docsPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

// docRoutes serves the integrator's guide, one page for each problem type, and
// the published developer helpers, which need no token.
func (s *Server) docRoutes() {
	s.handle("GET", "/docs", problems, func(ctx *fasthttp.RequestCtx) error {
		return writeHTML(ctx, strings.ReplaceAll(docsPage, "{{base}}", html.EscapeString(s.URL())))
	})
	s.handle("GET", "/problems/{slug}", problems, func(ctx *fasthttp.RequestCtx) error {
		title, ok := problemTitles[param(ctx, "slug")]
		if !ok {
			return errNotFound
		}
		return writeHTML(ctx, `<!doctype html><html lang="en"><meta charset="utf-8"><title>`+html.EscapeString(title)+`</title><h1>`+html.EscapeString(title)+
			`</h1><p>This is the type of an error answer (RFC 9457). The answer names the dataset, field and row concerned. <a href="/docs#errors">Errors</a></p></html>`)
	})
	v := &validations{cat: s.cat}
	helper := func(ctx *fasthttp.RequestCtx) error {
		status, body := v.serve(string(ctx.URI().PathOriginal()))
		ctx.SetStatusCode(status)
		ctx.SetContentType("application/json")
		ctx.SetBody(body)
		ctx.Response.Header.Set("Cache-Control", "public, max-age=300")
		return nil
	}
	s.handle("GET", "/validations/{path:*}", published, helper)
	s.handle("GET", "/developer-helpers/{path:*}", published, helper)
}

// problemTitles maps the slug of every problem type to its title.
var problemTitles = func() map[string]string {
	m := map[string]string{}
	for c := pds.CodeNone + 1; c < 255; c++ {
		if t := c.Title(); t != pds.Code(255).Title() {
			m[c.Slug()] = t
		}
	}
	for _, p := range []*Problem{errToken, errScope, errNotFound, errMethod, errMalformed, errTooLarge, errCutOff, errMedia, errInternal, errExists, errIdempotency, errTooManyCalls} {
		m[p.Slug] = p.Title
	}
	return m
}()

func writeHTML(ctx *fasthttp.RequestCtx, page string) error {
	ctx.SetContentType("text/html; charset=utf-8")
	ctx.Response.Header.Set("Content-Security-Policy", docsPolicy)
	ctx.SetBodyString(page)
	return nil
}
