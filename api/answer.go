package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"holdfast/api/xmlout"
)

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

// wantsXML reports whether the path asks for XML by its extension.
func wantsXML(ctx *fasthttp.RequestCtx) bool {
	return bytes.HasSuffix(ctx.URI().PathOriginal(), []byte(".xml"))
}

// writeBody answers a JSON document in the form that the path asks for.
func writeBody(ctx *fasthttp.RequestCtx, doc []byte) {
	if wantsXML(ctx) {
		if x, err := xmlout.AppendFromJSON(nil, doc); err == nil {
			ctx.SetContentType("application/xml; charset=utf-8")
			ctx.SetBody(x)
			return
		}
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(doc)
}

// writeJSON answers v with a status.
func writeJSON(ctx *fasthttp.RequestCtx, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(b)
	return nil
}

// decodeJSON reads a small JSON body strictly: no unknown or duplicate names,
// nothing after the value.
func decodeJSON(ctx *fasthttp.RequestCtx, max int, v any) error {
	b, err := readBody(ctx, max)
	if err != nil {
		return err
	}
	return decodeStrict(b, v)
}

// bearer returns the token of the Authorization header, copied, or "".
func bearer(ctx *fasthttp.RequestCtx) string {
	h := string(ctx.Request.Header.Peek("Authorization"))
	if len(h) > 7 && strings.EqualFold(h[:7], "bearer ") {
		return h[7:]
	}
	return ""
}

// param returns a path parameter, copied.
func param(ctx *fasthttp.RequestCtx, name string) string {
	v, _ := ctx.UserValue(name).(string)
	return strings.Clone(v)
}
