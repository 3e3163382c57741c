package api

import (
	"bytes"
	"errors"
	"io"

	"github.com/valyala/fasthttp"
)

// headerReceived gives bulk bodies the time they need; their reader keeps a
// deadline of its own for each part. A body that is announced over its limit is
// treated as if the client asked first: nothing of it is waited for.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	path, _, _ := bytes.Cut(h.RequestURI(), []byte("?"))
	if string(path) == bulkPath {
		c.ReadTimeout = s.limits.BulkTimeout
	}
	if s.announcedTooMuch(path, h) {
		h.Set(fasthttp.HeaderExpect, "100-continue")
	}
	return c
}

func (s *Server) announcedTooMuch(path []byte, h *fasthttp.RequestHeader) bool {
	if string(path) == bulkPath {
		return int64(h.ContentLength()) > s.limits.BulkBody
	}
	return h.ContentLength() > s.limits.Body
}

// expect answers a request that waits with its body until it is asked for
// (RFC 9110 section 10.1.1). What would be refused whatever the body says is
// answered by the handler as always, and the body is not sent.
func (s *Server) expect(ctx *fasthttp.RequestCtx, h fasthttp.RequestHandler) int {
	refused := s.announcedTooMuch(ctx.Path(), &ctx.Request.Header)
	if !refused && string(ctx.Path()) == bulkPath && ctx.IsPost() {
		_, _, err := s.bulkHeader(ctx)
		refused = err != nil
	}
	if !refused {
		return fasthttp.StatusContinue
	}
	h(ctx)
	return ctx.Response.StatusCode()
}

// endedEarly reports whether a request ended before its header or body did.
func endedEarly(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
