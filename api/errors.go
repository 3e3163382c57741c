package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
)

// Problem is an answer other than success. Title and Detail are shown to the
// caller, so they hold no value, key, name or number of a person. It is an RFC
// 9457 problem on our own routes; published routes show Message.
type Problem struct {
	Status     int
	Slug       string // last element of the type
	Title      string
	Detail     string
	Dataset    string
	Field      string
	Row        int // 1-based, 0 where it concerns no row
	RetryAfter int // seconds, 0: no header
}

// Error is Message.
func (p *Problem) Error() string { return p.Message() }

// Message is the problem in one line: title, dataset and field, detail.
func (p *Problem) Message() string {
	s := p.Title
	if p.Dataset != "" {
		s += ": " + p.Dataset
		if p.Field != "" {
			s += "." + p.Field
		}
	} else if p.Field != "" {
		s += ": " + p.Field
	}
	if p.Row > 0 {
		s += " (row " + strconv.Itoa(p.Row) + ")"
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

// problem makes a Problem whose type is the slug.
func problem(status int, slug, title string) *Problem {
	return &Problem{Status: status, Slug: slug, Title: title}
}

// with returns a copy with a detail.
func (p *Problem) with(detail string) *Problem {
	q := *p
	q.Detail = detail
	return &q
}

// Answers that are decided before a member is reached.
var (
	errToken        = problem(http.StatusUnauthorized, "token", "Access denied")
	errScope        = problem(http.StatusForbidden, "scope", "token lacks the scope of this route")
	errNotFound     = problem(http.StatusNotFound, "not-found", "no such resource")
	errMethod       = problem(http.StatusMethodNotAllowed, "method-not-allowed", "method not allowed")
	errMalformed    = problem(http.StatusBadRequest, "malformed", "malformed")
	errTooLarge     = problem(http.StatusRequestEntityTooLarge, "too-large", "too large")
	errCutOff       = problem(http.StatusBadRequest, "cut-off", "body cut off")
	errMedia        = problem(http.StatusUnsupportedMediaType, "media-type", "content type or encoding not supported")
	errInternal     = problem(http.StatusInternalServerError, "internal-error", "internal error")
	errExists       = problem(http.StatusConflict, "already-in-use", "already in use")
	errIdempotency  = problem(http.StatusBadRequest, "idempotency-key", "Idempotency-Key must be 1 to 255 visible ASCII characters")
	errTooManyCalls = &Problem{Status: http.StatusTooManyRequests, Slug: "rate-limit", Title: "too many requests", RetryAfter: 1}
)

// statusOf is the one place where a kind of refusal becomes a status.
func statusOf(e *pds.Error) (status, retryAfter int) {
	switch e.Kind {
	case pds.Invalid:
		if e.Code == pds.CodeTooLarge {
			return http.StatusRequestEntityTooLarge, 0
		}
		return http.StatusBadRequest, 0
	case pds.NotFound:
		return http.StatusNotFound, 0
	case pds.Denied:
		return http.StatusForbidden, 0
	case pds.Conflict:
		return http.StatusConflict, 0
	case pds.Unavailable, pds.Unknown:
		return http.StatusServiceUnavailable, 1
	case pds.Busy:
		switch e.Code {
		case pds.CodeDiskReserve:
			return http.StatusInsufficientStorage, 60
		case pds.CodeTooManyTries:
			return http.StatusTooManyRequests, 3600
		}
		return http.StatusServiceUnavailable, 1
	case pds.Locked:
		return http.StatusLocked, 0
	}
	return http.StatusInternalServerError, 0
}

// problemOf turns any error into what is answered. Only a pds.Error and a
// Problem say more than "internal error".
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var e *pds.Error
	if errors.As(err, &e) {
		status, retry := statusOf(e)
		if status == http.StatusInternalServerError {
			return errInternal
		}
		p := &Problem{Status: status, Slug: e.Code.Slug(), Title: e.Code.Title(), Dataset: e.Dataset, Field: e.Field, Row: e.Row, RetryAfter: retry}
		if e.Method != 0 {
			p.Detail = "needs " + e.Method.String()
		}
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		status, retry := statusOf(&pds.Error{Kind: pds.Unknown})
		return &Problem{Status: status, Slug: pds.CodeUnknownOutcome.Slug(), Title: pds.CodeUnknownOutcome.Title(), RetryAfter: retry}
	}
	return errInternal
}

// shape says how a route's errors look.
type shape byte

const (
	problems  shape = iota // RFC 9457
	published              // as the published PDX API has them
)

// problemDoc is the JSON of a Problem (RFC 9457 section 3).
type problemDoc struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail,omitempty"`
	Dataset string `json:"dataset,omitempty"`
	Field   string `json:"field,omitempty"`
	Row     int    `json:"row,omitempty"`
	Request string `json:"request,omitempty"`
}

// writeProblem replaces whatever answer stands in ctx.
func writeProblem(ctx *fasthttp.RequestCtx, sh shape, p *Problem, request string) {
	ctx.Response.ResetBody()
	ctx.SetStatusCode(p.Status)
	if p.RetryAfter > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		ctx.Response.Header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	if sh == published {
		writeBody(ctx, publishedError(p))
		return
	}
	b, err := json.Marshal(problemDoc{
		Type: "/problems/" + p.Slug, Title: p.Title, Status: p.Status, Detail: p.Detail,
		Dataset: p.Dataset, Field: p.Field, Row: p.Row, Request: request,
	})
	if err != nil {
		return
	}
	ctx.SetContentType("application/problem+json")
	ctx.SetBody(b)
}

// publishedError is the documented body of an error.
func publishedError(p *Problem) []byte {
	if p.Status == http.StatusUnauthorized {
		return []byte(`{"error":{"message":"Access denied","reason":"The token is invalid or expired"}}`)
	}
	b, err := json.Marshal(struct {
		Success int    `json:"success"`
		Message string `json:"message"`
	}{0, p.Message()})
	if err != nil {
		return []byte(`{"success":0,"message":"internal error"}`)
	}
	return b
}
