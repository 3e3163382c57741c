package api

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

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
