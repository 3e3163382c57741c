package api

import (
	"bytes"
	"io"
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fasthttp"
)

// bodyReader reads a request's body, decoded, within limits. It fails with
// errTooLarge over a limit, errCutOff if the body ended before its time, and
// errMalformed if it does not decode; io.EOF means that the whole body was read.
type bodyReader struct {
	raw       io.Reader // what fasthttp has
	length    int64     // as announced, -1: chunked
	sent      int64     // bytes read of raw
	maxSent   int64
	expanded  int64
	maxOut    int64
	ratio     int64
	decoder   io.Reader // nil: identity
	zstd      *zstd.Decoder
	gzip      *gzip.Reader
	keepAlive func() // called before each read of raw, may be nil
	conn      *conn  // nil where there is none to ask
	rawErr    error  // first failure of raw, other than io.EOF
}

var bodyReaders = sync.Pool{New: func() any { return new(bodyReader) }}

// maxZstdWindow bounds what a zstd frame can make the decoder keep (RFC 8878
// recommends that decoders support 8 MiB).
const maxZstdWindow = 8 << 20

var zstdReaders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxZstdWindow*2))
	if err != nil {
		panic(err) // the options are constant
	}
	return d
}}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// openBody checks what the header says of the body and prepares reading it.
// The caller must call release.
func openBody(ctx *fasthttp.RequestCtx, maxSent, maxOut, ratio int64) (*bodyReader, error) {
	n := int64(ctx.Request.Header.ContentLength())
	if n > maxSent {
		return nil, errTooLarge.with("body over " + strconv.FormatInt(maxSent, 10) + " bytes")
	}
	b := bodyReaders.Get().(*bodyReader)
	*b = bodyReader{raw: ctx.RequestBodyStream(), length: max(n, -1), maxSent: maxSent, maxOut: maxOut, ratio: ratio}
	b.conn, _ = ctx.Conn().(*conn)
	if b.raw == nil {
		// No body was announced; fasthttp holds at most an empty one.
		b.raw, b.length = bytes.NewReader(nil), 0
	}
	switch enc := string(ctx.Request.Header.Peek("Content-Encoding")); enc {
	case "", "identity":
	case "zstd":
		b.zstd = zstdReaders.Get().(*zstd.Decoder)
		if err := b.zstd.Reset((*rawReader)(b)); err != nil {
			b.release()
			return nil, errMalformed.with("zstd")
		}
		b.decoder = b.zstd
	case "gzip", "x-gzip":
		b.gzip = gzipReaders.Get().(*gzip.Reader)
		if err := b.gzip.Reset((*rawReader)(b)); err != nil {
			err = b.decodeError(err)
			b.release()
			return nil, err
		}
		b.decoder = b.gzip
	default:
		return nil, errMedia.with("Content-Encoding: identity, gzip or zstd")
	}
	return b, nil
}

// rawReader is a bodyReader seen from its decoder.
type rawReader bodyReader

func (r *rawReader) Read(p []byte) (int, error) {
	if r.rawErr != nil {
		return 0, r.rawErr
	}
	if r.keepAlive != nil {
		r.keepAlive()
	}
	n, err := r.raw.Read(p)
	r.sent += int64(n)
	switch {
	case r.sent > r.maxSent:
		r.rawErr = errTooLarge
		return 0, r.rawErr
	case err == io.EOF:
		// fasthttp ends a body that was cut off with a plain io.EOF, too.
		if r.length >= 0 && r.sent < r.length || r.length < 0 && r.conn != nil && r.conn.ended.Load() {
			r.rawErr = errCutOff
			return n, r.rawErr
		}
	case err != nil:
		r.rawErr = errCutOff
		return n, r.rawErr
	}
	return n, err
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.decoder == nil {
		n, err := (*rawReader)(b).Read(p)
		b.expanded += int64(n)
		if b.expanded > b.maxOut {
			return 0, errTooLarge
		}
		return n, err
	}
	n, err := b.decoder.Read(p)
	b.expanded += int64(n)
	if b.expanded > b.maxOut || b.expanded > 8<<20+b.sent*b.ratio {
		return 0, errTooLarge.with("expands too far")
	}
	if err != nil && err != io.EOF {
		err = b.decodeError(err)
	}
	return n, err
}

func (b *bodyReader) decodeError(err error) error {
	switch {
	case b.rawErr != nil:
		return b.rawErr
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return errCutOff
	case err == zstd.ErrDecoderSizeExceeded || err == zstd.ErrWindowSizeExceeded:
		return errTooLarge.with("zstd window over 8 MiB")
	}
	return errMalformed.with("Content-Encoding")
}

// release gives the decoders back. The reader must not be used again.
func (b *bodyReader) release() {
	if b.zstd != nil {
		_ = b.zstd.Reset(nil)
		zstdReaders.Put(b.zstd)
	}
	if b.gzip != nil {
		gzipReaders.Put(b.gzip)
	}
	*b = bodyReader{}
	bodyReaders.Put(b)
}

// readBody reads a whole body of at most max bytes, sent and expanded, into
// memory of its own.
func readBody(ctx *fasthttp.RequestCtx, max int) ([]byte, error) {
	b, err := openBody(ctx, int64(max), int64(max), 1000)
	if err != nil {
		return nil, err
	}
	defer b.release()
	size := 512
	if b.length > 0 && b.decoder == nil {
		size = int(b.length) + 1
	}
	out := make([]byte, 0, size)
	for {
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
		n, err := b.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
