package api

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/api/xmlout"
)

const schemaMetadata = schema.Metadata

// readRows answers the rows of one dataset as an object keyed by row id:
//
//	{"5":{"id":"5","ds_id":"5","instance":"0","ba_transaction_value":"111.11",...}}
//
// Values are strings, absent ones null. Rows of a transactional dataset also
// carry source, created_timestamp and updated_timestamp. Row ids are unique in
// one instance only, so instance=all answers one more level:
//
//	{"instance_0":{"1":{...}},"instance_1":{"1":{...}}}
//
// A long answer is sent in chunks, each read only when the one before was sent;
// if that fails the connection is cut, so that a part never looks whole.
func (s *Server) readRows(ctx *fasthttp.RequestCtx, a *access) error {
	if a.ds == nil {
		return s.refuse(a, pds.Refuse(pds.Invalid, pds.CodeMalformed), "dataset is missing")
	}
	filters, refusal, detail := compileFilters(a.ds, a.query.filters)
	if refusal != nil {
		return s.refuse(a, refusal, detail)
	}
	if a.kind == schemaMetadata && strings.HasPrefix(a.query.dataset, "field_") {
		return s.readOlder(ctx, a, filters)
	}
	req := &actors.ReadRequest{Caller: a.caller, Dataset: a.ds.Dataset, Instance: a.instance, Filters: filters}
	// The actor wipes the key it is given, and every chunk needs it.
	r := &reading{s: s, req: req, key: a.caller, xml: wantsXML(ctx), byInstance: a.instance < 0, instance: -1}
	if err := r.next(); err != nil {
		r.close()
		return err
	}
	ctx.SetContentType("application/json")
	if r.xml {
		ctx.SetContentType("application/xml; charset=utf-8")
	}
	if r.ended {
		ctx.SetBody(r.out)
		r.close()
		return nil
	}
	ctx.SetBodyStream(r, -1) // fasthttp closes r
	return nil
}

// readOlder answers a metadata dataset as the older API did, for who names it in
// the older way, field_ds_x: one record an instance, each value with what the
// connection may do to it.
//
//	{"field_ds_home":{"instance_0":{"field_home_postcode":{"value":"DN216BY","access":{"r":{"a":1,"s":"A"},"w":{"a":1,"s":"A"}}}}}}
//
// Where an instance has more records, the first is answered. Without the
// parameter instance every granted one is.
func (s *Server) readOlder(ctx *fasthttp.RequestCtx, a *access, filters []pds.Filter) error {
	req := &actors.ReadRequest{Dataset: a.ds.Dataset, Instance: a.instance, Filters: filters}
	if a.query.instance == "" {
		req.Instance = -1
	}
	defer func() { req.Caller.Key.Wipe() }()
	doc := append([]byte(`{"field_`), a.ds.Name...)
	doc = append(doc, `":{`...)
	last := int64(-1)
	for {
		c, cancel := s.deadline(s.limits.Request)
		req.Caller = a.caller
		chunk, err := s.store.Read(c, req)
		cancel()
		if err != nil {
			return err
		}
		for i := range chunk.Rows {
			row := &chunk.Rows[i]
			if int64(row.Instance) == last {
				continue
			}
			if last >= 0 {
				doc = append(doc, ',')
			}
			last = int64(row.Instance)
			doc = appendOlder(doc, chunk, row)
		}
		if req.Cursor = chunk.Next; req.Cursor == nil {
			break
		}
	}
	writeBody(ctx, append(doc, "}}"...))
	return nil
}

// appendOlder appends "instance_N":{...}.
func appendOlder(b []byte, chunk *actors.Chunk, row *pds.Row) []byte {
	b = append(b, `"instance_`...)
	b = strconv.AppendUint(b, uint64(row.Instance), 10)
	b = append(b, `":{`...)
	read, write := chunk.Masks[0], chunk.Masks[1]|chunk.Masks[2]|chunk.Masks[3]
	for i, f := range chunk.Fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f.Name...), `":{"value":`...)
		if i >= len(row.Vals) || row.Vals[i] == nil {
			b = append(b, "null"...)
		} else {
			b = appendJSONString(b, row.Vals[i])
		}
		b = append(append(b, `,"access":{"r":{"a":`...), bit(read.Has(f.Number))...)
		b = append(append(b, `,"s":"A"},"w":{"a":`...), bit(write.Has(f.Number))...)
		b = append(b, `,"s":"A"}}}`...)
	}
	return append(b, '}')
}

// reading is an answer in the making. It is an io.ReadCloser over the chunks.
type reading struct {
	s          *Server
	req        *actors.ReadRequest
	key        actors.Caller
	xml        bool
	byInstance bool

	began, ended bool
	instance     int64 // whose rows are being written, with byInstance
	first        bool  // no row of this object was written
	doc, out     []byte
}

// next appends one more chunk to out. Later chunks are read while fasthttp
// sends, outside the handler's guard.
func (r *reading) next() (err error) {
	defer r.s.recovered("read", &err)
	c, cancel := context.WithTimeout(r.s.base, r.s.limits.Request)
	defer cancel()
	r.req.Caller = r.key
	chunk, err := r.s.store.Read(c, r.req)
	if err != nil {
		return err
	}
	r.req.Cursor = chunk.Next
	r.ended = chunk.Next == nil
	r.doc = r.doc[:0]
	if !r.began {
		r.began, r.first = true, true
		r.doc = append(r.doc, '{')
	}
	for i := range chunk.Rows {
		row := &chunk.Rows[i]
		if r.byInstance && int64(row.Instance) != r.instance {
			if r.instance >= 0 {
				r.doc = append(r.doc, "},"...)
			}
			r.instance, r.first = int64(row.Instance), true
			r.doc = append(r.doc, `"instance_`...)
			r.doc = strconv.AppendUint(r.doc, uint64(row.Instance), 10)
			r.doc = append(r.doc, `":{`...)
		}
		if !r.first {
			r.doc = append(r.doc, ',')
		}
		r.first = false
		r.doc = appendRow(r.doc, r.req.Dataset, chunk.Fields, row)
	}
	if r.ended {
		if r.byInstance && r.instance >= 0 {
			r.doc = append(r.doc, '}')
		}
		r.doc = append(r.doc, '}')
	}
	if !r.xml {
		r.out = append(r.out[:0], r.doc...)
		return nil
	}
	return r.toXML()
}

// toXML collects the document: XML is made of it as a whole.
func (r *reading) toXML() error {
	whole := append([]byte(nil), r.doc...)
	for !r.ended {
		if len(whole) > r.s.limits.Body {
			return errTooLarge.with("as XML; use filters or .json")
		}
		r.xml = false
		err := r.next()
		r.xml = true
		if err != nil {
			return err
		}
		whole = append(whole, r.doc...)
	}
	out, err := xmlout.AppendFromJSON(nil, whole)
	r.out = out
	return err
}

// Read implements io.Reader for fasthttp. An error cuts the connection.
func (r *reading) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, io.ErrUnexpectedEOF
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// Close implements io.Closer.
func (r *reading) Close() error { r.close(); return nil }

func (r *reading) close() {
	r.key.Key.Wipe()
	r.req.Caller.Key.Wipe()
	r.ended, r.out = true, nil
}

// appendRow appends "id":{...}.
func appendRow(b []byte, ds *schema.Dataset, fields []*schema.Field, row *pds.Row) []byte {
	b = append(b, '"')
	b = strconv.AppendUint(b, row.ID, 10)
	b = append(b, `":{"id":"`...)
	b = strconv.AppendUint(b, row.ID, 10)
	b = append(b, `","ds_id":"`...)
	b = strconv.AppendUint(b, row.ID, 10)
	b = append(b, `","instance":"`...)
	b = strconv.AppendUint(b, uint64(row.Instance), 10)
	b = append(b, '"')
	if ds.Kind == schema.Transactional {
		b = append(b, `,"source":`...)
		b = appendJSONString(b, []byte(row.Source))
		b = append(b, `,"created_timestamp":"`...)
		b = strconv.AppendInt(b, row.Created, 10)
		b = append(b, `","updated_timestamp":"`...)
		b = strconv.AppendInt(b, row.Updated, 10)
		b = append(b, '"')
	}
	for i, f := range fields {
		if reserved[f.Name] && ds.Kind == schema.Transactional || f.Name == "id" || f.Name == "ds_id" || f.Name == "instance" {
			continue // the record's own is what is meant
		}
		b = append(b, `,"`...)
		b = append(b, f.Name...)
		b = append(b, `":`...)
		if i >= len(row.Vals) || row.Vals[i] == nil {
			b = append(b, "null"...)
		} else {
			b = appendJSONString(b, row.Vals[i])
		}
	}
	return append(b, '}')
}

var reserved = map[string]bool{"source": true, "created_timestamp": true, "updated_timestamp": true}

// appendJSONString appends v, which is UTF-8, as a JSON string.
func appendJSONString(b, v []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i, c := range v {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, v[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, v[start:]...)
	return append(b, '"')
}
