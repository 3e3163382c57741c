package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

// A conn is one keep-alive HTTP/1.1 connection, used by one goroutine at a time.
// It dials when first needed and again after the server closed it.
//
// It never repeats a request by itself: an error from do means that the outcome
// is unknown.
type conn struct {
	host    string // host:port
	timeout time.Duration

	c    net.Conn
	in   *bufio.Reader
	head []byte
	body []byte
	sent chan error
}

// An answer to one request; body is borrowed until the connection's next do.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
}

const (
	maxAnswer = 256 << 20 // bytes; far above any answer asked for here
	inline    = 32 << 10  // bodies up to this size are written before reading begins
)

// dialer makes a conn for the server at base, such as http://127.0.0.1:8080.
func dialer(base string, timeout time.Duration) (*conn, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("bench speaks plain HTTP to host:port only")
	}
	return &conn{host: u.Host, timeout: timeout, sent: make(chan error, 1)}, nil
}

func (c *conn) close() {
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

// do sends one request and reads the whole answer. header holds complete lines,
// each ended by CRLF. A large body is written while the answer is already being
// read: the server answers sections before it has read the last of them, and
// would otherwise block on us as we on it.
func (c *conn) do(ctx context.Context, method, target, header string, body []byte) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	if c.c == nil {
		d := net.Dialer{Timeout: c.timeout}
		nc, err := d.DialContext(ctx, "tcp", c.host)
		if err != nil {
			return answer{}, fmt.Errorf("dial: %w", err)
		}
		c.c, c.in = nc, bufio.NewReaderSize(nc, 64<<10)
	}
	if err := c.c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return answer{}, c.fail(err)
	}
	h := append(c.head[:0], method...)
	h = append(append(append(h, ' '), target...), " HTTP/1.1\r\nHost: "...)
	h = append(append(append(h, c.host...), "\r\n"...), header...)
	if body != nil || method != "GET" {
		h = strconv.AppendInt(append(h, "Content-Length: "...), int64(len(body)), 10)
		h = append(h, "\r\n"...)
	}
	h = append(h, "\r\n"...)
	c.head = h

	parts := net.Buffers{h, body}
	if len(body) <= inline {
		if _, err := parts.WriteTo(c.c); err != nil {
			return answer{}, c.fail(err)
		}
		return c.read(method)
	}
	go func(nc net.Conn) {
		_, err := parts.WriteTo(nc)
		c.sent <- err
	}(c.c)
	a, err := c.read(method)
	if c.c != nil && err == nil {
		err = <-c.sent
		if err != nil {
			c.close()
		}
	} else {
		// Answered and closed before the body was taken, or broken: closing
		// frees the writer, whose error then says nothing new.
		c.close()
		<-c.sent
	}
	return a, err
}

func (c *conn) fail(err error) error {
	c.close()
	return err
}

// read takes one answer; it closes the connection if the server asks for that
// or the answer is not understood.
func (c *conn) read(method string) (answer, error) {
	for {
		a, keep, err := c.readOne(method)
		if err != nil {
			return answer{}, c.fail(err)
		}
		if a.status >= 200 {
			if !keep {
				c.close()
			}
			return a, nil
		}
	}
}

func (c *conn) readOne(method string) (a answer, keep bool, err error) {
	line, err := c.line()
	if err != nil {
		return a, false, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return a, false, errors.New("not an HTTP/1 answer")
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, false, errors.New("answer without a status")
	}
	keep = line[7] == '1'
	length, chunked := -1, false
	for {
		if line, err = c.line(); err != nil {
			return a, false, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return a, false, errors.New("malformed header line in answer")
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxAnswer {
				return a, false, errors.New("bad content length in answer")
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			keep = !bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("Retry-After")):
			if s, err := strconv.Atoi(string(value)); err == nil && s >= 0 {
				a.retryAfter = time.Duration(s) * time.Second
			}
		}
	}
	if a.status < 200 || a.status == 204 || a.status == 304 || method == "HEAD" {
		return a, keep, nil
	}
	c.body = c.body[:0]
	switch {
	case chunked:
		err = c.chunks()
	case length >= 0:
		err = c.take(length)
	default:
		keep = false
		c.body, err = appendAll(c.body, io.LimitReader(c.in, maxAnswer))
	}
	a.body = c.body
	return a, keep, err
}

func (c *conn) chunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 32)
		if err != nil || n > uint64(maxAnswer-len(c.body)) {
			return errors.New("bad chunk in answer")
		}
		if err := c.take(int(n)); err != nil {
			return err
		}
		for { // the line end after a chunk, or trailers after the last
			if line, err = c.line(); err != nil {
				return err
			}
			if len(line) == 0 {
				break
			}
			if n > 0 {
				return errors.New("chunk longer than it says")
			}
		}
		if n == 0 {
			return nil
		}
	}
}

// take appends n bytes to the body.
func (c *conn) take(n int) error {
	from := len(c.body)
	if need := from + n; need > cap(c.body) {
		c.body = append(make([]byte, 0, max(need, 2*cap(c.body))), c.body...)
	}
	c.body = c.body[:from+n]
	_, err := io.ReadFull(c.in, c.body[from:])
	return err
}

func (c *conn) line() ([]byte, error) {
	l, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(l, "\r\n"), nil
}

func appendAll(b []byte, r io.Reader) ([]byte, error) {
	w := bytes.NewBuffer(b)
	_, err := w.ReadFrom(r)
	return w.Bytes(), err
}
