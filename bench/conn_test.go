package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func dialTest(t *testing.T, url string) *conn {
	t.Helper()
	c, err := dialer(url, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func TestConn_SpeaksToNetHTTP(t *testing.T) {
	var dials atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/chunked":
			for range 3 {
				w.Write(b)
				w.(http.Flusher).Flush()
			}
		case "/close":
			w.Header().Set("Connection", "close")
			fmt.Fprint(w, len(b))
		case "/empty":
			w.WriteHeader(204)
		case "/busy":
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(429)
		default:
			fmt.Fprint(w, r.Method, r.Header.Get("X-A"), len(b))
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			dials.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := dialTest(t, srv.URL)
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	do := func(method, path string, body []byte, status int, want string) answer {
		t.Helper()
		a, err := c.do(t.Context(), method, path, "X-A: b\r\n", body)
		if err != nil || a.status != status || string(a.body) != want {
			t.Fatalf("%s %s: %v, status %d, %d bytes", method, path, err, a.status, len(a.body))
		}
		return a
	}
	do("GET", "/", nil, 200, "GETb0")
	do("POST", "/", nil, 200, "POSTb0")
	do("POST", "/", big, 200, "POSTb320000")
	do("POST", "/chunked", big, 200, strings.Repeat(string(big), 3))
	do("GET", "/empty", nil, 204, "")
	if a := do("POST", "/busy", []byte("x"), 429, ""); a.retryAfter != 3*time.Second {
		t.Fatal(a.retryAfter)
	}
	if n := dials.Load(); n != 1 {
		t.Fatalf("%d connections for one", n)
	}
	do("POST", "/close", big, 200, "320000")
	do("GET", "/", nil, 200, "GETb0")
	if n := dials.Load(); n != 2 {
		t.Fatalf("%d connections, want 2", n)
	}
}

// serve answers each connection with f.
func serve(t *testing.T, f func(c net.Conn, in *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c, bufio.NewReader(c))
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

func TestConn_ReadsWhileItWrites(t *testing.T) {
	// This server sends more than sockets hold before it reads the body.
	part := bytes.Repeat([]byte("a"), 8<<20)
	url := serve(t, func(c net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(part)+1)
		c.Write(part)
		io.Copy(io.Discard, r.Body)
		c.Write([]byte("b"))
	})
	a, err := dialTest(t, url).do(t.Context(), "POST", "/", "", part)
	if err != nil || len(a.body) != len(part)+1 {
		t.Fatal(err, len(a.body))
	}
}

func TestConn_RefusalBeforeTheBodyIsTaken(t *testing.T) {
	url := serve(t, func(c net.Conn, in *bufio.Reader) {
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, in) // linger, so that the answer is not reset away
	})
	a, err := dialTest(t, url).do(t.Context(), "POST", "/", "", make([]byte, 32<<20))
	if err != nil || a.status != 413 {
		t.Fatal(err, a.status)
	}
}

func TestConn_CutOrMalformedAnswersAreErrors(t *testing.T) {
	for _, s := range []string{
		"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdef\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
	} {
		url := serve(t, func(c net.Conn, in *bufio.Reader) {
			http.ReadRequest(in)
			io.WriteString(c, s)
		})
		if a, err := dialTest(t, url).do(t.Context(), "GET", "/", "", nil); err == nil {
			t.Errorf("%q: status %d, %d bytes", s, a.status, len(a.body))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dialTest(t, "http://127.0.0.1:1").do(ctx, "GET", "/", "", nil); err == nil {
		t.Error("a cancelled request was sent")
	}
}

func TestConn_SkipsInformationAndReadsToTheEnd(t *testing.T) {
	url := serve(t, func(c net.Conn, in *bufio.Reader) {
		http.ReadRequest(in)
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nall of it")
	})
	a, err := dialTest(t, url).do(t.Context(), "GET", "/", "", nil)
	if err != nil || string(a.body) != "all of it" {
		t.Fatal(err, string(a.body))
	}
}
