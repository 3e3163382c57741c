package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const requestTimeout = 2 * time.Minute

// A session is what all connections of one scenario share.
type session struct {
	base   string // PDX URL
	bearer string // "Authorization: Bearer ...\r\n"
}

// login gets a token by client credentials.
func login(ctx context.Context, w *World, s *Subscriber) (*session, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"mydex:pdx"}}.Encode()
	basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(s.ClientID) + ":" + url.QueryEscape(s.ClientSecret)))
	header := "Authorization: Basic " + basic + "\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	c, err := dialer(w.OP, requestTimeout)
	if err != nil {
		return nil, err
	}
	defer c.close()
	a, err := c.do(ctx, "POST", "/oauth2/token", header, []byte(form))
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("token: status %d", a.status)
	}
	var t struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(a.body, &t) != nil || t.AccessToken == "" {
		return nil, errors.New("token: no access_token in the answer")
	}
	return &session{base: w.PDX, bearer: "Authorization: Bearer " + t.AccessToken + "\r\n"}, nil
}

func (s *session) dial() (*conn, error) { return dialer(s.base, requestTimeout) }

// bulk posts one batch, once. The answer's body is the caller's to judge.
func (s *session) bulk(ctx context.Context, c *conn, b *batch, idempotencyKey string) (answer, error) {
	h := s.bearer + "Content-Type: application/x-ndjson\r\n"
	if idempotencyKey != "" {
		h += "Idempotency-Key: " + idempotencyKey + "\r\n"
	}
	return c.do(ctx, "POST", "/pdx/v1/bulk", h, b.body)
}

// A filter narrows a read to rows whose field compares so with the value.
type filter struct{ field, op, value string }

// A query is one read of one member's dataset, instance 0.
type query struct {
	account *Account
	key     string // the account's own if empty
	dataset string
	filters []filter
}

// get sends the query once. The Member Key goes into a header, never into the
// address.
func (s *session) get(ctx context.Context, c *conn, q *query) (answer, error) {
	key := q.key
	if key == "" {
		key = q.account.Key
	}
	t := make([]byte, 0, 512)
	t = append(append(t, "/api/pds/transaction/"...), q.account.UID...)
	t = append(append(t, ".json?con_id="...), q.account.ConID...)
	t = append(append(t, "&source_type=connection&dataset="...), q.dataset...)
	t = append(t, "&instance=0"...)
	for _, f := range q.filters {
		t = append(append(append(t, "&filters["...), f.field...), "][operator]="...)
		t = append(append(t, url.QueryEscape(f.op)...), "&filters["...)
		t = append(append(t, f.field...), "][value]="...)
		t = append(t, url.QueryEscape(f.value)...)
	}
	return c.do(ctx, "GET", string(t), s.bearer+"Connection-Token: "+key+"\r\n", nil)
}

// A receipt is the server's word on one batch.
type receipt struct {
	accepted int // rows
	refused  int // rows of refused sections
	refusal  refusal
}

// A refusal is what may be said about a refused section: no names, no values.
type refusal struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
}

var errCutOff = errors.New("bulk answer without its last line: outcome unknown")

// judge reads the NDJSON answer to a batch and notes the first id of every
// accepted section; sections not mentioned keep 0.
func judge(body []byte, b *batch) (r receipt, err error) {
	n, done := 0, false
	for len(body) > 0 {
		line := body
		if i := bytes.IndexByte(body, '\n'); i >= 0 {
			line, body = body[:i], body[i+1:]
		} else if line[len(line)-1] != '}' {
			return r, errCutOff
		} else {
			body = nil
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if done {
			return r, errors.New("bulk answer goes on after its last line")
		}
		if bytes.HasPrefix(line, []byte(`{"sections":`)) {
			done = true
			if got, ok := number(line, `"sections":`); !ok || got != uint64(len(b.sections)) {
				return r, errors.New("bulk answer counts other sections than were sent")
			}
			if got, ok := number(line, `"rows":`); !ok || got != uint64(r.accepted) {
				return r, errors.New("bulk answer's row count differs from its sections")
			}
			continue
		}
		i, ok := number(line, `"section":`)
		if !ok || i != uint64(n) || n >= len(b.sections) {
			return r, errors.New("bulk answer out of section order")
		}
		n++
		s := &b.sections[i]
		if status, refused := number(line, `"status":`); refused {
			r.refused += int(s.rows)
			if r.refusal.Status == 0 {
				var t refusal
				_ = json.Unmarshal(line, &t)
				r.refusal = refusal{Status: int(status), Title: t.Title}
			}
			continue
		}
		first, ok1 := number(line, `"first_id":`)
		last, ok2 := number(line, `"last_id":`)
		if !ok1 || !ok2 || first == 0 || last-first+1 != uint64(s.rows) {
			return r, errors.New("bulk answer acknowledges other rows than were sent")
		}
		s.first = int64(first)
		r.accepted += int(s.rows)
	}
	if !done || n != len(b.sections) {
		return r, errCutOff
	}
	return r, nil
}

// number finds label in the line and reads the digits after it. The labels
// cannot occur within a value: the server escapes quotes there.
func number(line []byte, label string) (uint64, bool) {
	i := bytes.Index(line, []byte(label))
	if i < 0 {
		return 0, false
	}
	i += len(label)
	end := i
	for end < len(line) && line[end] >= '0' && line[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(line[i:end]), 10, 64)
	return n, err == nil
}

// pause waits as a 429 or 503 asks, at least 5 ms.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, 5*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gather runs f in n goroutines, each with a connection of its own, and returns
// the first error; the context of the others is then cancelled.
func (s *session) gather(ctx context.Context, n int, f func(ctx context.Context, worker int, c *conn) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			c, err := s.dial()
			if err == nil {
				defer c.close()
				err = f(ctx, w, c)
			}
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
