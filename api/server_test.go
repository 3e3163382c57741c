package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TLS 1.2 and 1.3 are spoken, nothing below, whatever the configuration says.
func TestServer_TLS(t *testing.T) {
	s, err := New(Config{Store: newFakeStore(), Registry: newFakeRegistry(), Catalogue: schema.Default(), Env: seal.Live,
		TLS: &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, MinVersion: tls.VersionTLS10}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	if !strings.HasPrefix(s.URL(), "https://") {
		t.Error(s.URL())
	}
	for v, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: v, MaxVersion: v})
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(v), err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := h.Get(s.URL() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Strict-Transport-Security") == "" || resp.Header.Get("Holdfast-Environment") != "" {
		t.Errorf("%v", resp.Header)
	}
}

// Connections that drip are gone after the read timeout, and meanwhile others
// are served.
func TestServer_Slowloris(t *testing.T) {
	w := newPDX(t, Limits{ReadTimeout: 500 * time.Millisecond, IdleTimeout: 500 * time.Millisecond})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c := dial(t, w)
			defer c.Close()
			_, _ = io.WriteString(c, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\ngrant_")
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			b, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("still open: %v", err)
			}
			if len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 4") {
				t.Errorf("%s", b)
			}
		})
	}
	if a := w.call("GET", "/livez", nil); a.status != 200 {
		t.Errorf("%d", a.status)
	}
	wg.Wait()
}

// One address cannot take all connections, and gets them back when it closes.
func TestServer_ConnectionsOfOneAddress(t *testing.T) {
	w := newPDX(t, Limits{ConnsPerIP: 3})
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	served := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _ := c.Read(make([]byte, 100))
		return n > 0
	}
	var open []net.Conn
	for i := range 4 {
		c := dial(t, w)
		defer c.Close()
		if served(c) != (i < 3) {
			t.Errorf("connection %d", i)
		}
		open = append(open, c)
	}
	_ = open[0].Close()
	for i := 0; ; i++ {
		c := dial(t, w)
		ok := served(c)
		_ = c.Close()
		if ok {
			break
		}
		if i == 100 {
			t.Fatal("a closed connection still counts")
		}
	}
}

// The body of a refused request is not taken for the next request.
func TestServer_UnreadBodyIsNotARequest(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, n := range []int{100, 100 << 10, 400 << 10} {
		inner := "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
		body := inner + strings.Repeat("x", n)
		c := dial(t, w)
		go func() {
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", bulkPath, len(body), body)
			_, _ = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		}()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if s := string(b); !strings.HasPrefix(s, "HTTP/1.1 401") || strings.Contains(s, "404") || strings.Count(s, "HTTP/1.1") > 2 {
			t.Errorf("%d: %.400s", n, s)
		}
	}
	if strings.Contains(w.logged(), `"(none)"`) {
		t.Error("the body was routed")
	}
}

// What the actors get does not change when fasthttp uses its memory again.
func TestServer_NothingAliasesTheRequest(t *testing.T) {
	w := newPDX(t, Limits{WaveSections: 1})
	hold := make(chan struct{})
	var kept []*actors.Section
	var copies [][]byte
	w.store.onDeliver(func(secs []*actors.Section) error {
		if len(kept) == 0 {
			kept = append(kept, secs...)
			for _, s := range secs {
				for _, v := range s.Vals {
					copies = append(copies, bytes.Clone(v))
				}
			}
			<-hold
			for i, v := range kept[0].Vals {
				if !bytes.Equal(v, copies[i]) {
					t.Errorf("value %d changed while Deliver ran", i)
				}
			}
		}
		return nil
	})
	done := make(chan answer, 1)
	// The second section's bytes are read while the first is delivered.
	go func() {
		done <- w.bulk(w.head(97, "ds_iot_readings") + iotRow + w.head(98, "ds_iot_readings") + strings.Repeat(iotRow, 8000))
	}()
	for range 50 {
		_ = w.call("GET", "/livez", nil)
	}
	close(hold)
	if a := <-done; a.status != 200 || !strings.Contains(a.body, `"accepted":2`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A request that is being decided is answered before Close returns, and a new
// one is not taken.
func TestServer_CloseWaits(t *testing.T) {
	w := newPDX(t, Limits{})
	entered, leave := make(chan struct{}), make(chan struct{})
	w.store.onDeliver(func([]*actors.Section) error { close(entered); <-leave; return nil })
	done := make(chan answer, 1)
	body := w.head(97, "ds_iot_readings") + iotRow
	go func() { done <- w.bulk(body) }()
	<-entered
	closed := make(chan error, 1)
	go func() { closed <- w.s.Close(context.Background()) }()
	select {
	case <-closed:
		t.Fatal("closed with a request open")
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if a := <-done; a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", w.s.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("still listening")
	}
}

// Every kind of refusal has its status, in one place.
func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		kind   pds.Kind
		code   pds.Code
		status int
	}{
		{pds.Invalid, pds.CodeMalformed, 400}, {pds.Invalid, pds.CodeTooLarge, 413}, {pds.NotFound, pds.CodeNoSuchRecord, 404},
		{pds.Denied, pds.CodeFieldNotGranted, 403}, {pds.Conflict, pds.CodeIdempotencyMismatch, 409}, {pds.Unavailable, pds.CodeUnavailable, 503},
		{pds.Unknown, pds.CodeUnknownOutcome, 503}, {pds.Busy, pds.CodeBusy, 503}, {pds.Busy, pds.CodeDiskReserve, 507}, {pds.Busy, pds.CodeTooManyTries, 429},
		{pds.Locked, pds.CodeLocked, 423}, {pds.Internal, pds.CodeInternal, 500}, {0, 0, 500},
	} {
		p := problemOf(pds.Refuse(c.kind, c.code))
		if p.Status != c.status {
			t.Errorf("%v: %d", c.kind, p.Status)
		}
		if (p.Status == 503 || p.Status == 507 || p.Status == 429) != (p.RetryAfter > 0) {
			t.Errorf("%v: Retry-After %d", c.kind, p.RetryAfter)
		}
		if _, known := problemTitles[p.Slug]; !known {
			t.Errorf("%v: no page for %s", c.kind, p.Slug)
		}
	}
}

// Close ends a server whose listeners nobody has come to serve yet.
func TestServer_CloseAtOnce(t *testing.T) {
	for range 50 {
		s, err := New(Config{Store: newFakeStore(), Registry: newFakeRegistry(), Catalogue: schema.Default(), Env: seal.Sandbox, OperatorToken: operatorToken})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ListenOperator("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() { _ = s.Close(context.Background()); close(closed) }()
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Fatal("Close does not return")
		}
	}
}
