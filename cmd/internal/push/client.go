package push

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client speaks the bulk route for one subscriber. It is safe for the lanes to
// share.
type client struct {
	http    *http.Client
	who     *credentials
	giveUp  time.Duration
	attempt time.Duration // bound of one request
	backoff func(attempt int) time.Duration
	retries atomic.Int64

	mu      sync.Mutex
	token   string
	expires time.Time
}

func newClient(who *credentials, parallel int, giveUp time.Duration) *client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = parallel+2, parallel+2
	t.IdleConnTimeout = 90 * time.Second
	t.DisableCompression = true
	t.WriteBufferSize = 64 << 10
	return &client{
		http: &http.Client{
			Transport: t,
			// A redirect would carry keys to a place that nobody named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		who: who, giveUp: giveUp, attempt: 2 * time.Minute,
		backoff: func(n int) time.Duration {
			most := min(100*time.Millisecond<<min(n, 10), 10*time.Second)
			return most/2 + rand.N(most/2)
		},
	}
}

// outcome is the server's answer to a batch: for each section nil, or why it
// was refused.
type outcome struct{ sections []*refusal }

// refusal is a section's error as the server words it (RFC 9457 members).
type refusal struct {
	Status int
	Title  string
	Field  string
	Row    *int
}

// rule names the refusal without row or field.
func (r *refusal) rule() string { return fmt.Sprintf("%d %s", r.Status, r.Title) }

// reason is for the rejects file. Row counts from 1 within the section.
func (r *refusal) reason() string {
	s := "refused by the server: " + r.rule()
	if r.Field != "" {
		s += ", field " + r.Field
	}
	if r.Row != nil {
		s += fmt.Sprintf(", row %d of its section", *r.Row)
	}
	return s
}

// retryable is a failure after which the same request may be made again.
type retryable struct {
	error
	after time.Duration // from Retry-After
}

// deliver sends a batch until the server has answered for every section.
func (c *client) deliver(ctx context.Context, key string, b *prepared) (*outcome, error) {
	renewed := 0
	var failing time.Time
	for n := 0; ; n++ {
		o, err := c.once(ctx, key, b, n)
		if err == nil {
			return o, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, errUnauthorized) && renewed < 3 {
			// The token may have been withdrawn before its time.
			if renewed++; renewed > 1 {
				if err := pause(ctx, c.backoff(renewed)); err != nil {
					return nil, err
				}
			}
			continue
		}
		var r *retryable
		if !errors.As(err, &r) {
			return nil, err
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(failing) > c.giveUp {
			return nil, fmt.Errorf("gave up after %v of trying: %w", c.giveUp, err)
		}
		renewed = 0
		c.retries.Add(1)
		if err := pause(ctx, max(c.backoff(n), r.after)); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errUnauthorized = errors.New("the server refuses the access token")

func (c *client) once(ctx context.Context, key string, b *prepared, attempt int) (*outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, c.attempt)
	defer cancel()
	token, err := c.bearer(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.who.PDX+"/pdx/v1/bulk", bytes.NewReader(b.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	if b.zipped {
		req.Header.Set("Content-Encoding", "zstd")
	}
	req.Header.Set("Accept", "application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", key)
	resp, err := c.http.Do(req)
	if err != nil {
		if attempt > 0 {
			// A refusal of the token can be lost, if the server closes on an
			// unread body.
			c.forget(token)
		}
		return nil, &retryable{error: err}
	}
	defer drain(resp.Body)
	if resp.StatusCode == http.StatusOK {
		return answer(resp.Body, b.sections, attempt)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		c.forget(token)
		return nil, errUnauthorized
	}
	return nil, statusError("bulk request", resp)
}

// drain lets the connection be used again, if what is left is little.
func drain(b io.ReadCloser) {
	io.CopyN(io.Discard, b, 64<<10)
	b.Close()
}

// statusError turns a refused request into an error with the problem's title.
func statusError(what string, resp *http.Response) error {
	var p struct {
		Title string `json:"title"`
		Error string `json:"error"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	json.Unmarshal(b, &p)
	title := clean(p.Title)
	if title == "" {
		title = clean(p.Error)
	}
	if title == "" {
		title = http.StatusText(resp.StatusCode)
	}
	err := fmt.Errorf("%s: %d %s", what, resp.StatusCode, title)
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return &retryable{error: err, after: retryAfter(resp.Header.Get("Retry-After"))}
	}
	return err
}

// retryAfter reads RFC 9110's Retry-After; at most five minutes.
func retryAfter(s string) time.Duration {
	d := time.Duration(0)
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
		d = time.Duration(min(n, 300)) * time.Second
	} else if t, err := http.ParseTime(s); err == nil {
		d = time.Until(t)
	}
	return min(max(d, 0), 5*time.Minute)
}

// clean makes a server's text fit for one line of a terminal.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > 160 {
		s = strings.ToValidUTF8(s[:160], "")
	}
	return s
}

// passing reports that a section's error may pass by itself. Of the server's own
// errors it is hoped for a few attempts only.
func passing(status, attempt int) bool {
	switch status {
	case http.StatusInternalServerError:
		return attempt < 5
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return true
	}
	return false
}

// answer reads the server's NDJSON. Without its last line nothing is known.
func answer(r io.Reader, counts []section, attempt int) (*outcome, error) {
	o := &outcome{sections: make([]*refusal, len(counts))}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 16<<10), 1<<20)
	next, accepted, busy := 0, 0, false
	for sc.Scan() {
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		var l struct {
			Section  *int   `json:"section"`
			Rows     *int64 `json:"rows"`
			Status   int    `json:"status"`
			Title    string `json:"title"`
			Field    string `json:"field"`
			Row      *int   `json:"row"`
			Sections *int   `json:"sections"`
			Accepted int    `json:"accepted"`
			Refused  int    `json:"refused"`
		}
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return nil, &retryable{error: errors.New("bulk answer: a line is not JSON")}
		}
		if l.Sections != nil {
			if *l.Sections != len(counts) || next != len(counts) || l.Accepted != accepted || l.Refused != len(counts)-accepted {
				return nil, errors.New("bulk answer: its totals do not fit what was sent")
			}
			if busy {
				return nil, &retryable{error: errors.New("bulk answer: sections are to be repeated")}
			}
			return o, nil
		}
		if l.Section == nil || *l.Section != next || next >= len(counts) {
			return nil, errors.New("bulk answer: sections are missing or out of order")
		}
		if l.Status == 0 || l.Status == http.StatusOK || l.Status == http.StatusCreated {
			if l.Rows == nil || *l.Rows != int64(counts[next].rows) {
				return nil, errors.New("bulk answer: a section was taken with another number of rows")
			}
			accepted++
		} else {
			// What may pass by itself is asked again, under the same key.
			busy = busy || passing(l.Status, attempt)
			o.sections[next] = &refusal{Status: l.Status, Title: clean(l.Title), Field: clean(l.Field), Row: l.Row}
		}
		next++
	}
	if err := sc.Err(); err != nil {
		return nil, &retryable{error: fmt.Errorf("bulk answer: %w", err)}
	}
	return nil, &retryable{error: errors.New("bulk answer: its last line is missing")}
}

// bearer returns a token that is good for a while yet.
func (c *client) bearer(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && time.Now().Before(c.expires) {
		return c.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"mydex:pdx"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.who.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// RFC 6749, section 2.3.1: both are form-encoded first.
	req.SetBasicAuth(url.QueryEscape(c.who.ClientID), url.QueryEscape(c.who.Secret))
	resp, err := c.http.Do(req)
	if err != nil {
		return "", &retryable{error: err}
	}
	defer drain(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return "", statusError("token request", resp)
	}
	var t struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&t); err != nil || t.Token == "" {
		return "", &retryable{error: errors.New("token request: the answer holds no token")}
	}
	if t.Expires <= 0 {
		t.Expires = 300
	}
	life := time.Duration(min(t.Expires, 1<<31)) * time.Second
	c.token, c.expires = t.Token, time.Now().Add(life-min(30*time.Second, life/5))
	return c.token, nil
}

// forget drops a token, unless another lane has renewed it.
func (c *client) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}
