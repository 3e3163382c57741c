// Package memberclient is the member's side of the member API over net/http:
// it registers, unlocks, reads, writes and signs as a browser does, for the
// command line, the seeded world and tests.
//
// The passphrase (Private Key) and the signing seed never leave this process.
// What the server is given: the password at registration and sign-in, the
// unlock key sealed to the process that uses it, and signatures. A passphrase
// that breaks the rules is refused before anything is sent. The parameters of
// the key derivation that a server names are accepted only as seal accepts
// them for the environment the caller states, never on the server's word.
package memberclient

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"holdfast/storage/seal"
)

// maxAnswer bounds an answer that is held in memory, in bytes.
const maxAnswer = 64 << 20

// Client talks to one server for one member. It is safe for concurrent use
// after SignIn.
type Client struct {
	base string
	env  seal.Env
	http *http.Client

	mu      sync.Mutex
	session Session
}

// Session is a signed-in member. Token is a bearer secret: keep it in a file
// that only its owner reads.
type Session struct {
	Server  string `json:"server"`
	Env     string `json:"environment"`
	Mydexid string `json:"mydexid"`
	UID     uint32 `json:"uid"`
	Token   string `json:"session"`
	Expires int64  `json:"expires"` // Unix seconds
}

// New returns a client of the server at base, such as http://127.0.0.1:8080.
// env is what the caller believes the server to be; a server of the other
// environment is refused at the first unlock or registration.
func New(base string, env seal.Env, h *http.Client) *Client {
	if h == nil {
		// No limit on the whole answer: an export takes as long as it takes.
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 60 * time.Second
		h = &http.Client{Transport: t}
	}
	return &Client{base: strings.TrimRight(base, "/"), env: env, http: h}
}

// Env is the environment the client was made for.
func (c *Client) Env() seal.Env { return c.env }

// Session returns the present session, empty before SignIn.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Use continues a session that was kept.
func (c *Client) Use(s Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
}

// Problem is a refusal by the server (RFC 9457).
type Problem struct {
	Status  int    `json:"status"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	Detail  string `json:"detail"`
	Dataset string `json:"dataset"`
	Field   string `json:"field"`
	Row     int    `json:"row"`
	Request string `json:"request"`

	RetryAfter time.Duration `json:"-"`
}

func (p *Problem) Error() string {
	s := p.Title
	if s == "" {
		s = http.StatusText(p.Status)
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	switch {
	case p.Dataset != "" && p.Field != "":
		s += " (" + p.Dataset + "." + p.Field + ")"
	case p.Dataset != "" || p.Field != "":
		s += " (" + p.Dataset + p.Field + ")"
	}
	return fmt.Sprintf("%s [%d]", s, p.Status)
}

// Slug is the last element of the problem's type.
func (p *Problem) Slug() string { return p.Type[strings.LastIndexByte(p.Type, '/')+1:] }

// IsStatus reports whether err is a Problem with this status.
func IsStatus(err error, status int) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == status
}

// Bytes travels as base64url without padding.
type Bytes []byte

// MarshalText encodes b.
func (b Bytes) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText decodes strictly.
func (b *Bytes) UnmarshalText(t []byte) error {
	out, err := base64.RawURLEncoding.Strict().AppendDecode(nil, t)
	if err != nil {
		return errors.New("memberclient: not base64url")
	}
	*b = out
	return nil
}

func fixed16(b Bytes) (a [16]byte, err error) {
	if len(b) != len(a) {
		return a, errAnswer
	}
	return [16]byte(b), nil
}

var errAnswer = errors.New("memberclient: answer not of the documented form")

// do sends in as JSON and decodes the answer into out; both may be nil.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	res, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
		return err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("memberclient: answer cut off: %w", err)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return errAnswer
	}
	return nil
}

// send returns a good answer, whose body the caller closes, or a Problem.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/member/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("memberclient: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s := c.Session(); s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 400 {
		return res, nil
	}
	defer res.Body.Close()
	p := &Problem{}
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if json.Unmarshal(b, p) != nil {
		p = &Problem{}
	}
	p.Status = res.StatusCode
	if d, err := time.ParseDuration(res.Header.Get("Retry-After") + "s"); err == nil {
		p.RetryAfter = d
	}
	return nil, p
}

func escape(s string) string { return url.PathEscape(s) }
