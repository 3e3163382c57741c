package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// Client speaks the subscriber's side of bulk delivery. It is safe for
// concurrent use; connections are kept and shared.
type Client struct {
	Base   string // such as http://127.0.0.1:8080
	ID     string
	Secret string

	http  fasthttp.Client
	token string
}

// BulkLine is one line of a bulk answer. Status 0 means that the section was
// stored as rows FirstID to LastID.
type BulkLine struct {
	Section  int    `json:"section"`
	ConID    string `json:"con_id"`
	Rows     int    `json:"rows"`
	FirstID  uint64 `json:"first_id"`
	LastID   uint64 `json:"last_id"`
	Replayed bool   `json:"replayed"`
	Status   int    `json:"status"`
	Type     string `json:"type"`
	Title    string `json:"title"`
	Detail   string `json:"detail"`
	Dataset  string `json:"dataset"`
	Field    string `json:"field"`
	Row      int    `json:"row"`
}

// BulkSummary is a bulk answer's last line.
type BulkSummary struct {
	Sections int `json:"sections"`
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
	Rows     int `json:"rows"`
}

// ErrUnknownOutcome says that an answer has no last line: repeat the same bytes
// with the same idempotency key.
var ErrUnknownOutcome = errors.New("api: outcome unknown")

// StatusError is an answer other than 200.
type StatusError struct {
	Status     int
	RetryAfter string
}

// Error names the status.
func (e *StatusError) Error() string { return fmt.Sprintf("api: status %d", e.Status) }

// Authorize fetches an access token with the scope mydex:pdx. It must return
// before Bulk is called, and is to be called again when a token has expired.
func (c *Client) Authorize(ctx context.Context) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod("POST")
	req.SetRequestURI(strings.TrimSuffix(c.Base, "/") + tokenPath)
	req.Header.SetContentType("application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.ID)+":"+url.QueryEscape(c.Secret))))
	req.SetBodyString("grant_type=client_credentials&scope=" + url.QueryEscape(ScopePDX))
	if err := c.do(ctx, req, resp); err != nil {
		return err
	}
	var t struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(resp.Body(), &t); err != nil || t.Token == "" {
		return errors.New("api: no token in the answer")
	}
	c.token = t.Token
	return nil
}

// Bulk posts a prepared body, in the given Content-Encoding ("" for none), and
// calls line for each section of the answer in order. key is the idempotency
// key, "" for none.
func (c *Client) Bulk(ctx context.Context, body []byte, encoding, key string, line func(*BulkLine)) (BulkSummary, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod("POST")
	req.SetRequestURI(strings.TrimSuffix(c.Base, "/") + bulkPath)
	req.Header.SetContentType("application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+c.token)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	req.SetBodyRaw(body)
	if err := c.do(ctx, req, resp); err != nil {
		return BulkSummary{}, err
	}
	var sum BulkSummary
	for l := range strings.Lines(string(resp.Body())) {
		if strings.HasPrefix(l, `{"sections":`) {
			if err := json.Unmarshal([]byte(l), &sum); err != nil {
				return BulkSummary{}, ErrUnknownOutcome
			}
			return sum, nil
		}
		var b BulkLine
		if err := json.Unmarshal([]byte(l), &b); err != nil {
			return BulkSummary{}, ErrUnknownOutcome
		}
		if line != nil {
			line(&b)
		}
	}
	return BulkSummary{}, ErrUnknownOutcome
}

func (c *Client) do(ctx context.Context, req *fasthttp.Request, resp *fasthttp.Response) error {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(2 * time.Minute)
	}
	if err := c.http.DoDeadline(req, resp, end); err != nil {
		return fmt.Errorf("%w: no answer", ErrUnknownOutcome)
	}
	if s := resp.StatusCode(); s != fasthttp.StatusOK {
		return &StatusError{s, string(resp.Header.Peek("Retry-After"))}
	}
	return nil
}
