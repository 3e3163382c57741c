package api

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

func (s *Server) datasetRoutes() {
	for _, k := range []struct {
		kind schema.Kind
		path string
	}{{schema.Metadata, "/api/pds/pds/{doc}"}, {schema.Transactional, "/api/pds/transaction/{doc}"}} {
		for _, m := range []struct {
			name   string
			method pds.Method
			h      func(*fasthttp.RequestCtx, *access) error
		}{{"GET", pds.Read, s.readRows}, {"POST", pds.Create, s.createRows}, {"PUT", pds.Update, s.updateRow}, {"DELETE", pds.Delete, s.deleteRow}} {
			s.handle(m.name, k.path, published, s.datasetRoute(ScopePDX, k.kind, m.method, m.h))
		}
	}
	for _, path := range []string{"/api/pds/transaction", "/api/pds/transaction.json", "/api/pds/transaction.xml"} {
		s.handle("POST", path, published, s.datasetRoute(ScopePDX, schema.Transactional, pds.Create, s.createRows))
	}
	s.handle("POST", "/api/pds/add-measurements", published, s.datasetRoute("post:/api/pds/add-measurements", schema.Transactional, pds.Create, s.addMeasurements))
}

// access is one request of a published dataset route, as far as it was
// understood. Until caller is set its connection is not identified.
type access struct {
	who      *subscriber
	caller   actors.Caller
	method   pds.Method
	kind     schema.Kind
	ds       *dataset // nil: none was named
	dataset  string   // as named, only if it is a dataset
	instance int      // every granted one: -1
	id       uint64   // 0: none was named
	query    params
	idem     idempotency
}

// datasetRoute makes the handler of a published dataset route (pdx-api section 8).
// The order of checks is: token, scope, the client owns the connection, the
// connection is the member's, form of the key, everything else. What is refused
// from the key on is journalled before it is answered.
func (s *Server) datasetRoute(scope string, kind schema.Kind, method pds.Method, h func(*fasthttp.RequestCtx, *access) error) func(*fasthttp.RequestCtx) error {
	return func(ctx *fasthttp.RequestCtx) error {
		key := takeKey(ctx)
		defer clear(key)
		who, err := s.authenticate(ctx, scope)
		if err != nil {
			return err
		}
		a := &access{who: who, method: method, kind: kind}
		if a.query, err = parseQuery(ctx); err != nil {
			return err
		}
		uid, nid, ok := parseConID(a.query.conID)
		if !ok {
			return unidentified(s, "con_id is missing or malformed")
		}
		if !who.owns(nid) {
			return unidentified(s, "")
		}
		if doc, ok := memberOf(ctx, a.query.uid); !ok || doc != uid {
			return unidentified(s, "uid and con_id differ")
		}
		if err := s.limited("connection "+a.query.conID, s.limits.ConnRate, s.limits.ConnBurst); err != nil {
			return err
		}
		a.caller = actors.Caller{UID: uid, NID: nid}
		defer a.caller.Key.Wipe()
		if a.caller.Key, err = seal.ParseMemberKey(key); err != nil {
			return s.refuse(a, pds.Refuse(pds.Denied, pds.CodeWrongKey), "")
		}
		if a.idem, err = idempotencyOf(ctx, who); err != nil {
			return s.refuse(a, pds.Refuse(pds.Invalid, pds.CodeMalformed), "Idempotency-Key must be 1 to 255 visible ASCII characters")
		}
		if refusal, detail := s.understand(a); refusal != nil {
			return s.refuse(a, refusal, detail)
		}
		return h(ctx, a)
	}
}

// unidentified refuses a request whose connection is not known; it is counted.
func unidentified(s *Server, detail string) error {
	s.counts.unidentified.Inc()
	return problemOf(pds.Refuse(pds.Denied, pds.CodeNoConnection)).with(detail)
}

// refuse journals a refusal and returns what to answer.
func (s *Server) refuse(a *access, e *pds.Error, detail string) error {
	c, cancel := s.deadline(s.limits.Request)
	defer cancel()
	instance := uint32(max(a.instance, 0))
	err := s.store.RefuseAccess(c, a.caller, a.method, a.dataset, instance, e)
	var got *pds.Error
	switch {
	case err == nil, errors.As(err, &got) && *got == *e:
		p := problemOf(e)
		if detail != "" {
			p = p.with(detail)
		}
		return p
	}
	return err
}

// understand reads the parameters that every dataset route has.
func (s *Server) understand(a *access) (refusal *pds.Error, detail string) {
	malformed := pds.Refuse(pds.Invalid, pds.CodeMalformed)
	q := &a.query
	if q.sourceType != "" && q.sourceType != "connection" {
		return malformed, "source_type must be connection"
	}
	if q.dataset != "" {
		if a.ds = s.dataset([]byte(q.dataset)); a.ds == nil {
			return pds.Refuse(pds.Invalid, pds.CodeUnknownDataset), ""
		}
		if err := a.setDataset(a.ds); err != nil {
			return err, "this path serves the other kind of dataset"
		}
	}
	switch {
	case q.instance == "":
	case q.instance == "all" && a.method == pds.Read:
		a.instance = -1
	default:
		n, err := strconv.ParseUint(q.instance, 10, 31)
		if err != nil {
			return malformed, "instance must be a number from 0"
		}
		a.instance = int(n)
	}
	if q.id != "" {
		n, err := strconv.ParseUint(q.id, 10, 63)
		if err != nil || n == 0 {
			return malformed, "id must be a number from 1"
		}
		a.id = n
	}
	if q.hard != "" && (a.method != pds.Delete || q.hard != "0" && q.hard != "1") {
		return malformed, "hard must be 0 or 1, on DELETE"
	}
	if len(q.filters) > 0 && a.method != pds.Read {
		return malformed, "filters belong to GET"
	}
	return nil, ""
}

// setDataset notes the dataset if the path serves its kind.
func (a *access) setDataset(ds *dataset) *pds.Error {
	a.ds, a.dataset = ds, ds.Name
	if ds.Kind != a.kind {
		return pds.Refuse(pds.Invalid, pds.CodeUnknownDataset).In(ds.Name, "")
	}
	return nil
}

// command makes the command id of a published request: its one section is what
// stands in the parameters and the body.
func (a *access) command(body []byte) [16]byte {
	a.idem.begin(0)
	if a.idem.on {
		var b []byte
		b = appendPart(b, []byte(a.method.String()))
		b = appendPart(b, []byte(pds.ConID(a.caller.UID, a.caller.NID)))
		b = appendPart(b, []byte(a.dataset))
		b = strconv.AppendInt(b, int64(a.instance), 10)
		b = append(b, '/')
		b = strconv.AppendUint(b, a.id, 10)
		b = append(b, '/')
		b = append(b, a.query.hard...)
		a.idem.add(b)
		a.idem.add(body)
	}
	return a.idem.command()
}

// takeKey returns the Member Key as it was sent, and overwrites it where it
// stood: the header Connection-Token, or the query parameter key.
func takeKey(ctx *fasthttp.RequestCtx) []byte {
	var key []byte
	take := func(b []byte) {
		if key == nil {
			key = bytes.Clone(b)
		} else if !bytes.Equal(key, b) {
			key = []byte{} // two different keys are none
		}
		for i := range b {
			b[i] = '-'
		}
	}
	if h := ctx.Request.Header.Peek("Connection-Token"); len(h) > 0 {
		take(h)
	}
	for name, v := range ctx.QueryArgs().All() {
		if string(name) == "key" {
			take(v)
		}
	}
	blankParam(ctx.Request.Header.RequestURI(), "key=")
	blankParam(ctx.URI().QueryString(), "key=")
	return key
}

// blankParam overwrites the values of a parameter in a raw query string.
func blankParam(b []byte, name string) {
	for i := 0; i+len(name) <= len(b); i++ {
		if string(b[i:i+len(name)]) != name || i > 0 && b[i-1] != '?' && b[i-1] != '&' {
			continue
		}
		for i += len(name); i < len(b) && b[i] != '&' && b[i] != '#'; i++ {
			b[i] = '-'
		}
	}
}

// parseConID reads "<uid>-<nid>", both decimal without leading zeros.
func parseConID(s string) (pds.UID, pds.NID, bool) {
	u, n, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, false
	}
	uid, ok1 := parseNumber(u)
	nid, ok2 := parseNumber(n)
	return pds.UID(uid), pds.NID(nid), ok1 && ok2
}

// parseNumber reads a positive 31-bit decimal without leading zeros.
func parseNumber(s string) (uint32, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil
}

// memberOf returns the member that the path names, or the parameter uid where
// the path names none.
func memberOf(ctx *fasthttp.RequestCtx, uid string) (pds.UID, bool) {
	doc, inPath := ctx.UserValue("doc").(string)
	if inPath {
		name, ext, ok := strings.Cut(doc, ".")
		if !ok || ext != "json" && ext != "xml" || uid != "" && uid != name {
			return 0, false
		}
		uid = name
	}
	n, ok := parseNumber(uid)
	return pds.UID(n), ok
}

var success = []byte(`{"success":1}`)

// createRows appends rows.
func (s *Server) createRows(ctx *fasthttp.RequestCtx, a *access) error {
	body, err := readBody(ctx, s.limits.Body)
	if err != nil {
		return s.refuseBody(a, err)
	}
	return s.create(ctx, a, body)
}

// addMeasurements appends to ds_measurements; the body is a JSON array of rows.
func (s *Server) addMeasurements(ctx *fasthttp.RequestCtx, a *access) error {
	body, err := readBody(ctx, s.limits.Body)
	if err != nil {
		return s.refuseBody(a, err)
	}
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '[' {
		return s.refuse(a, pds.Refuse(pds.Invalid, pds.CodeMalformed), "body must be an array of measurements")
	}
	doc := append([]byte(`{"ds_measurements":`), body...)
	return s.create(ctx, a, append(doc, '}'))
}

func (s *Server) create(ctx *fasthttp.RequestCtx, a *access, body []byte) error {
	cmd := a.command(body)
	r := s.scanBody(ctx, a, body)
	if r.refusal != nil {
		return s.refuse(a, r.refusal, r.detail)
	}
	sec := &actors.Section{Caller: a.caller, Dataset: a.ds.Dataset, Instance: uint32(a.instance), Fields: r.fields, Vals: r.vals, N: r.n, Request: a.idem.request, Command: cmd}
	c, cancel := s.deadline(s.limits.Request)
	defer cancel()
	if err := s.store.Deliver(c, []*actors.Section{sec}); err != nil {
		return err
	}
	r.release()
	if sec.Refused != nil {
		return sec.Refused
	}
	writeBody(ctx, append(strconv.AppendUint([]byte(`{"success":1,"last_insert_id":`), sec.Last, 10), '}'))
	return nil
}

// updateRow changes fields of one record.
func (s *Server) updateRow(ctx *fasthttp.RequestCtx, a *access) error {
	body, err := readBody(ctx, s.limits.Body)
	if err != nil {
		return s.refuseBody(a, err)
	}
	cmd := a.command(body)
	r := s.scanBody(ctx, a, body)
	if r.refusal == nil && r.n != 1 {
		r.refusal, r.detail = pds.Refuse(pds.Invalid, pds.CodeMalformed), "PUT takes one record"
	}
	if r.refusal == nil && a.id == 0 {
		r.refusal, r.detail = pds.Refuse(pds.Invalid, pds.CodeMalformed), "id is missing"
	}
	if r.refusal != nil {
		return s.refuse(a, r.refusal, r.detail)
	}
	c, cancel := s.deadline(s.limits.Request)
	defer cancel()
	_, err = s.store.Update(c, &actors.ChangeRequest{Caller: a.caller, Dataset: a.ds.Dataset, Instance: uint32(a.instance), ID: a.id, Fields: r.fields, Vals: r.vals, Request: a.idem.request, Command: cmd})
	if err != nil {
		return err
	}
	r.release()
	writeBody(ctx, success)
	return nil
}

// deleteRow hides one record, or with hard=1 has it erased.
func (s *Server) deleteRow(ctx *fasthttp.RequestCtx, a *access) error {
	switch {
	case a.ds == nil:
		return s.refuse(a, pds.Refuse(pds.Invalid, pds.CodeMalformed), "dataset is missing")
	case a.id == 0:
		return s.refuse(a, pds.Refuse(pds.Invalid, pds.CodeMalformed), "id is missing")
	}
	c, cancel := s.deadline(s.limits.Request)
	defer cancel()
	_, err := s.store.Delete(c, &actors.DeleteRequest{Caller: a.caller, Dataset: a.ds.Dataset, Instance: uint32(a.instance), ID: a.id, Hard: a.query.hard == "1", Request: a.idem.request, Command: a.command(nil)})
	if err != nil {
		return err
	}
	writeBody(ctx, success)
	return nil
}

// refuseBody journals that a body could not be read.
func (s *Server) refuseBody(a *access, err error) error {
	p := problemOf(err)
	code := pds.CodeMalformed
	if p.Status == http.StatusRequestEntityTooLarge {
		code = pds.CodeTooLarge
	}
	if got := s.refuse(a, pds.Refuse(pds.Invalid, code), ""); problemOf(got).Slug != code.Slug() {
		return got
	}
	return p
}
