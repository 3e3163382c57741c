package api

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// A streamed answer that fails is cut off: its reader never takes a part for
// the whole.
func TestStream_FailureCutsTheConnection(t *testing.T) {
	s := &Server{log: slog.New(slog.DiscardHandler)}
	m := &members{s: s}
	long := strings.Repeat("row ", 100_000)
	h := &fasthttp.Server{Logger: quiet{s.log}, Handler: func(ctx *fasthttp.RequestCtx) {
		path := string(ctx.Path())
		m.stream(ctx, "text/plain", func(w *streamWriter) error {
			w.WriteString(long)
			switch path {
			case "/fails":
				return errors.New("the store went away")
			case "/panics":
				panic("in the middle")
			}
			return nil
		})
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = h.Serve(ln) }()
	defer func() { _ = h.Shutdown() }()
	for path, whole := range map[string]bool{"/good": true, "/fails": false, "/panics": false} {
		res, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if whole != (err == nil) || whole && string(b) != long {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	// A reader that goes away ends the writer.
	res, err := http.Get("http://" + ln.Addr().String() + "/good")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	s.wg.Wait()
}

// An answer may take longer than the write timeout as long as it moves.
func TestStream_LastsLongerThanTheWriteTimeout(t *testing.T) {
	s := &Server{log: slog.New(slog.DiscardHandler), limits: Limits{WriteTimeout: 300 * time.Millisecond}}
	m := &members{s: s}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	h := &fasthttp.Server{Logger: quiet{s.log}, WriteTimeout: s.limits.WriteTimeout, Handler: func(ctx *fasthttp.RequestCtx) {
		m.stream(ctx, "text/plain", func(w *streamWriter) error {
			for range 50 {
				<-tick.C
				w.WriteString("part ")
				if err := w.Flush(); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = h.Serve(ln) }()
	defer func() { _ = h.Shutdown() }()
	res, err := http.Get("http://" + ln.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || len(b) != 250 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
