package api

import (
	"bufio"
	"io"
	"net"
	"time"

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
	// fasthttp closes the body when the answer is sent or the client is gone,
	// which fails f's next write.
	ctx.Response.SetBodyStream(&patient{r, ctx.Conn(), m.s.limits.WriteTimeout}, -1)
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

// patient is a body of any length: the time to write an answer begins anew
// with each part, so a large one is not cut while its reader keeps up.
type patient struct {
	*io.PipeReader
	conn    net.Conn
	timeout time.Duration
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	n, err := p.PipeReader.Read(b)
	if p.timeout > 0 && p.conn != nil {
		_ = p.conn.SetWriteDeadline(time.Now().Add(p.timeout)) // a closed connection shows at the write
	}
	return n, err
}
