package api

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
	"holdfast/api/ndjson"
	"holdfast/api/xmlout"
)

const maxDepth = 32

// rows are the records of a published request's body, checked against their
// dataset; or why not. Values alias the body and the scanner.
type rows struct {
	scan    *ndjson.Scanner
	fields  []uint8
	vals    [][]byte
	n       int
	refusal *pds.Error
	detail  string
}

var scanners = sync.Pool{New: func() any { return new(ndjson.Scanner) }}

// release gives the scanner back. It is for requests that ended well: after
// another end somebody may still look at the values.
func (r *rows) release() {
	r.scan.Reset()
	scanners.Put(r.scan)
	r.scan = nil
}

func refuseRows(c pds.Code, detail string) rows {
	return rows{refusal: pds.Refuse(pds.Invalid, c), detail: detail}
}

// scanBody reads the rows of a body in any of the published forms:
//
//	{"ds_x":{"f":"v"}}                 one row
//	{"ds_x":[{"f":"v"},{"f":"v"}]}     a batch
//	{"field_ds_x":{"0":{"f":"v"}}}     older: keyed by instance (metadata) or by position
//	{"f":"v"}                          PUT: the changed fields
//	field_ds_x[0][f]=v                 older: form-encoded
//
// and the same trees as XML. It sets the access's dataset and instance if only
// the body names them.
func (s *Server) scanBody(ctx *fasthttp.RequestCtx, a *access, body []byte) rows {
	ct, _, _ := strings.Cut(string(ctx.Request.Header.ContentType()), ";")
	switch ct = strings.ToLower(strings.TrimSpace(ct)); {
	case ct == "application/xml" || ct == "text/xml" || ct == "" && wantsXML(ctx):
		doc, err := xmlout.ToJSON(body)
		if err != nil {
			return refuseRows(pds.CodeMalformed, "XML")
		}
		return s.scanJSON(a, doc)
	case ct == "application/x-www-form-urlencoded" && !looksJSON(body):
		doc, ok := formJSON(body)
		if !ok {
			return refuseRows(pds.CodeMalformed, "form fields must be dataset[position][field]")
		}
		return s.scanJSON(a, doc)
	}
	return s.scanJSON(a, body)
}

// looksJSON reports whether a body that calls itself a form is JSON: simple
// clients send that type unless told otherwise.
func looksJSON(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

func (s *Server) scanJSON(a *access, doc []byte) rows {
	if err := ndjson.Strict(doc, maxDepth); err != nil {
		r := rows{refusal: scanError(nil, err, 0), detail: "JSON"}
		if err.Code == ndjson.Empty {
			r.refusal.Code = pds.CodeEmpty
		}
		return r
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(doc, &top) != nil || top == nil {
		return refuseRows(pds.CodeMalformed, "body must be an object")
	}
	if len(top) == 0 {
		return refuseRows(pds.CodeEmpty, "")
	}
	var items []json.RawMessage
	wrapped := false
	if len(top) == 1 {
		for name, v := range top {
			ds := s.dataset([]byte(name))
			if v[0] != '{' && v[0] != '[' {
				break // a field
			}
			if ds == nil {
				return refuseRows(pds.CodeUnknownDataset, "")
			}
			if a.ds != nil && a.ds != ds {
				return refuseRows(pds.CodeMalformed, "body and parameter name different datasets")
			}
			if err := a.setDataset(ds); err != nil {
				return rows{refusal: err, detail: "this path serves the other kind of dataset"}
			}
			var r rows
			if items, r = a.unwrap(v); r.refusal != nil {
				return r
			}
			wrapped = true
		}
	}
	if !wrapped {
		if a.method != pds.Update {
			return refuseRows(pds.CodeMalformed, `body must be {"dataset":{...}} or {"dataset":[{...},...]}`)
		}
		if a.ds == nil {
			return refuseRows(pds.CodeMalformed, "dataset is missing")
		}
		items = []json.RawMessage{doc}
	}
	if len(items) > s.limits.SectionRows {
		return rows{refusal: pds.Refuse(pds.Invalid, pds.CodeTooLarge).In(a.ds.Name, ""), detail: "at most " + strconv.Itoa(s.limits.SectionRows) + " rows"}
	}
	r := rows{scan: scanners.Get().(*ndjson.Scanner)}
	r.scan.Begin(a.ds.names)
	for i, item := range items {
		if err := r.scan.Row(item); err != nil {
			r.refusal = scanError(a.ds, err, i+1)
			return r
		}
	}
	r.fields, r.vals, r.n = r.scan.Section()
	if r.n == 0 || len(r.fields) == 0 {
		r.refusal = pds.Refuse(pds.Invalid, pds.CodeEmpty).In(a.ds.Name, "")
		return r
	}
	r.refusal = checkValues(a.ds, r.fields, r.vals, r.n)
	return r
}

// unwrap returns the rows under a dataset's name.
func (a *access) unwrap(v json.RawMessage) ([]json.RawMessage, rows) {
	if v[0] == '[' {
		var items []json.RawMessage
		if json.Unmarshal(v, &items) != nil {
			return nil, refuseRows(pds.CodeMalformed, "JSON")
		}
		return items, rows{}
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(v, &m) != nil {
		return nil, refuseRows(pds.CodeMalformed, "JSON")
	}
	positions := make([]int, 0, len(m))
	for k, item := range m {
		n, err := strconv.ParseUint(k, 10, 31)
		if err != nil || item[0] != '{' {
			return []json.RawMessage{v}, rows{} // field names: one row
		}
		positions = append(positions, int(n))
	}
	if len(positions) == 0 {
		return nil, rows{}
	}
	slices.Sort(positions)
	items := make([]json.RawMessage, 0, len(positions))
	for _, n := range positions {
		item, ok := m[strconv.Itoa(n)]
		if !ok {
			return nil, refuseRows(pds.CodeMalformed, "position with leading zeros")
		}
		items = append(items, item)
	}
	if a.kind == schemaMetadata {
		if len(items) != 1 || a.query.instance != "" && positions[0] != a.instance {
			return nil, refuseRows(pds.CodeMalformed, "one instance a request, the same in body and parameter")
		}
		a.instance = positions[0]
		if a.id == 0 && a.method == pds.Update {
			a.id = 1 // the older form knew one record an instance
		}
	}
	return items, rows{}
}

// formJSON turns dataset[position][field]=value and dataset[field]=value pairs
// into the JSON of the same tree.
func formJSON(body []byte) ([]byte, bool) {
	type row struct {
		keys []string
		vals map[string]string
	}
	name := ""
	at := map[string]*row{}
	var order []string
	for pair := range strings.SplitSeq(string(body), "&") {
		k, v, _ := strings.Cut(pair, "=")
		k, err1 := url.QueryUnescape(k)
		v, err2 := url.QueryUnescape(v)
		ds, rest, ok := strings.Cut(k, "[")
		rest, ok2 := strings.CutSuffix(rest, "]")
		if err1 != nil || err2 != nil || !ok || !ok2 || name != "" && ds != name {
			return nil, false
		}
		name = ds
		pos, field, keyed := strings.Cut(rest, "][")
		if !keyed {
			pos, field = "", rest
		}
		if strings.ContainsAny(field, "[]") || field == "" {
			return nil, false
		}
		r := at[pos]
		if r == nil {
			r = &row{vals: map[string]string{}}
			at[pos] = r
			order = append(order, pos)
		}
		if _, twice := r.vals[field]; twice {
			return nil, false
		}
		r.keys = append(r.keys, field)
		r.vals[field] = v
	}
	if at[""] != nil && len(order) > 1 {
		return nil, false
	}
	var b []byte
	b = append(appendJSONString(append(b, '{'), []byte(name)), ':')
	if at[""] == nil {
		b = append(b, '{')
	}
	for i, pos := range order {
		if i > 0 {
			b = append(b, ',')
		}
		if pos != "" {
			b = append(appendJSONString(b, []byte(pos)), ':')
		}
		b = append(b, '{')
		for j, k := range at[pos].keys {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(appendJSONString(b, []byte(k)), ':')
			b = appendJSONString(b, []byte(at[pos].vals[k]))
		}
		b = append(b, '}')
	}
	if at[""] == nil {
		b = append(b, '}')
	}
	return append(b, '}'), true
}

// decodeStrict decodes a JSON document that must fit v exactly.
func decodeStrict(b []byte, v any) error {
	if err := ndjson.Strict(b, maxDepth); err != nil {
		p := errMalformed.with("JSON")
		p.Field = notKey(err.Field)
		return p
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil {
		return errMalformed.with("not the documented JSON")
	}
	return nil
}
