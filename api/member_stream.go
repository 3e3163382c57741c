package api

import (
	"bufio"
	"io"

	"github.com/valyala/fasthttp"
)

// streamWriter is the body of an answer that is written while it is sent.
type streamWriter struct{ *bufio.Writer }

// stream answers with what f writes. f runs after the handler has returned,
// so it must not touch ctx. If it fails, or panics, the connection is cut: the
// reader sees a body without its end.
func (m *members) stream(ctx *fasthttp.RequestCtx, contentType string, f func(*streamWriter) error) {
	r, w := io.Pipe()
	ctx.SetStatusCode(fasthttp.StatusOK)
	ctx.SetContentType(contentType)
	// fasthttp closes r when the answer is sent or the client is gone, which
	// fails f's next write.
	ctx.Response.SetBodyStream(r, -1)
	m.s.wg.Go(func() {
		err := io.ErrUnexpectedEOF
		defer func() {
			if v := recover(); v != nil {
				m.s.log.Error("panic", "route", "stream", "at", panicPlace())
			}
			_ = w.CloseWithError(err)
		}()
		b := bufio.NewWriterSize(w, 64<<10)
		if e := f(&streamWriter{b}); e != nil {
			err = e
			return
		}
		if err = b.Flush(); err == nil {
			err = io.EOF
		}
	})
}
