package api

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
)

// Limits of one write by a member.
const (
	maxMemberRows = 20_000
	maxMemberBody = 4 << 20
)

// datasets lists the schema, with the instances that exist while the store is
// unlocked.
func (m *members) datasets(ctx *fasthttp.RequestCtx, s *session) error {
	c, cancel := m.call()
	defer cancel()
	var instances map[string][]uint32
	unlocked := m.store.IsUnlocked(c, s.at())
	if unlocked {
		var err error
		if instances, err = m.store.Instances(c, s.at()); err != nil {
			return err
		}
	}
	type field struct {
		Field       string `json:"field"`
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		Type        string `json:"type"`
		Lookup      string `json:"lookup,omitempty"`
		Example     string `json:"example,omitempty"`
		NotNull     bool   `json:"not_null,omitempty"`
	}
	type dataset struct {
		Dataset     string   `json:"dataset"`
		Name        string   `json:"name"`
		Description string   `json:"description"`
		Kind        string   `json:"kind"`
		Category    string   `json:"category"`
		Fields      []field  `json:"fields"`
		Instances   []uint32 `json:"instances"`
	}
	out := []dataset{}
	for _, d := range m.s.cat.Datasets() {
		x := dataset{Dataset: d.Name, Name: d.Display, Description: d.Description, Kind: kindName(d.Kind), Category: d.Category, Fields: []field{}, Instances: instances[d.Name]}
		for i := range d.Fields {
			f := &d.Fields[i]
			x.Fields = append(x.Fields, field{f.Name, f.Display, f.Description, f.Type.String(), f.Lookup, f.Example, f.NotNull})
		}
		if x.Instances == nil {
			x.Instances = []uint32{}
		}
		out = append(out, x)
	}
	return writeJSON(ctx, fasthttp.StatusOK, map[string]any{"unlocked": unlocked, "datasets": out})
}

func kindName(k schema.Kind) string {
	if k == schema.Transactional {
		return "transactional"
	}
	return "metadata"
}

func (m *members) newInstance(ctx *fasthttp.RequestCtx, s *session) error {
	var in struct {
		Dataset string `json:"dataset"`
	}
	if err := decodeJSON(ctx, 4<<10, &in); err != nil {
		return err
	}
	ds, err := m.dataset(in.Dataset)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	n, err := m.store.NewInstance(c, s.at(), ds)
	if err != nil {
		return err
	}
	return writeJSON(ctx, fasthttp.StatusCreated, map[string]any{"dataset": ds.Name, "instance": n})
}

func (m *members) dataset(name string) (*schema.Dataset, error) {
	if ds, ok := m.s.cat.Dataset(name); ok {
		return ds, nil
	}
	return nil, pds.Refuse(pds.NotFound, pds.CodeUnknownDataset)
}

// place reads {dataset} and {instance}; "all" is -1.
func (m *members) place(ctx *fasthttp.RequestCtx) (*schema.Dataset, int, error) {
	ds, err := m.dataset(param(ctx, "dataset"))
	if err != nil {
		return nil, 0, err
	}
	i := param(ctx, "instance")
	if i == "all" {
		return ds, -1, nil
	}
	n, err := strconv.ParseUint(i, 10, 31)
	if err != nil {
		return nil, 0, fieldProblem("instance", "a number from 0, or all")
	}
	return ds, int(n), nil
}

// one is place for acts on a single instance.
func (m *members) one(ctx *fasthttp.RequestCtx) (*schema.Dataset, uint32, error) {
	ds, i, err := m.place(ctx)
	if err == nil && i < 0 {
		err = fieldProblem("instance", "a number from 0")
	}
	return ds, uint32(max(i, 0)), err
}

// record is one with {id}.
func (m *members) record(ctx *fasthttp.RequestCtx) (*schema.Dataset, uint32, uint64, error) {
	ds, i, err := m.one(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	id, err := strconv.ParseUint(param(ctx, "id"), 10, 63)
	if err != nil || id == 0 {
		return nil, 0, 0, fieldProblem("id", "a number from 1")
	}
	return ds, i, id, nil
}

// read answers the rows of a dataset, streamed. The first chunk is fetched
// before anything is answered, so that refusals have their status; a failure
// after that cuts the connection, so that a part is never taken for all.
func (m *members) read(ctx *fasthttp.RequestCtx, s *session) error {
	ds, instance, err := m.place(ctx)
	if err != nil {
		return err
	}
	q, err := query(ctx)
	if err != nil {
		return err
	}
	filters, err := memberFilters(q, ds)
	if err != nil {
		return err
	}
	deleted := q.Get("deleted") == "1"
	limit := 0
	if l := q.Get("limit"); l != "" {
		if limit, err = strconv.Atoi(l); err != nil || limit < 1 {
			return fieldProblem("limit", "a number from 1")
		}
	}
	c, cancel := m.call()
	defer cancel()
	chunk, err := m.store.MemberRead(c, s.at(), ds, instance, filters, deleted, nil)
	if err != nil {
		return err
	}
	m.stream(ctx, "application/json", func(w *streamWriter) error {
		w.WriteString(`{"dataset":"` + ds.Name + `","rows":[`)
		n := 0
		for {
			for i := range chunk.Rows {
				if n > 0 {
					w.WriteString(",\n")
				}
				if err := writeRow(w, chunk.Fields, &chunk.Rows[i]); err != nil {
					return err
				}
				if n++; n == limit {
					w.WriteString(`],"more":` + strconv.FormatBool(i+1 < len(chunk.Rows) || chunk.Next != nil) + "}\n")
					return w.Flush()
				}
			}
			if chunk.Next == nil {
				w.WriteString("],\"more\":false}\n")
				return w.Flush()
			}
			c, cancel := m.call()
			var err error
			chunk, err = m.store.MemberRead(c, s.at(), ds, instance, filters, deleted, chunk.Next)
			cancel()
			if err != nil {
				return err
			}
		}
	})
	return nil
}

// rowHead is a record as the member API shows it, without its values.
type rowHead struct {
	ID       uint64 `json:"id"`
	Instance uint32 `json:"instance"`
	Source   string `json:"source"`
	Origin   string `json:"origin"`
	Created  int64  `json:"created"`
	Updated  int64  `json:"updated"`
	Version  uint32 `json:"version"`
	Deleted  bool   `json:"deleted"`
}

func headOf(r *pds.Row) rowHead {
	return rowHead{r.ID, r.Instance, r.Source, r.Origin.String(), r.Created, r.Updated, r.Version, r.Deleted}
}

func writeRow(w *streamWriter, fields []*schema.Field, r *pds.Row) error {
	head, err := json.Marshal(headOf(r))
	if err != nil {
		return err
	}
	w.Write(head[:len(head)-1])
	w.WriteString(`,"values":`)
	vals, err := rowValues(fields, r)
	if err != nil {
		return err
	}
	w.Write(vals)
	return w.WriteByte('}')
}

// rowValues is {"field":"value", ...} in the order of the fields.
func rowValues(fields []*schema.Field, r *pds.Row) ([]byte, error) {
	b := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f.Name...), '"', ':')
		if i >= len(r.Vals) || r.Vals[i] == nil {
			b = append(b, "null"...)
			continue
		}
		v, err := json.Marshal(string(r.Vals[i]))
		if err != nil {
			return nil, err
		}
		b = append(b, v...)
	}
	return append(b, '}'), nil
}

// create stores rows: {"rows":[{"field":"value"}]}.
func (m *members) create(ctx *fasthttp.RequestCtx, s *session) error {
	ds, instance, err := m.one(ctx)
	if err != nil {
		return err
	}
	var in struct {
		Rows []map[string]json.RawMessage `json:"rows"`
	}
	if err := decodeJSON(ctx, maxMemberBody, &in); err != nil {
		return err
	}
	switch {
	case len(in.Rows) == 0:
		return pds.Refuse(pds.Invalid, pds.CodeEmpty)
	case len(in.Rows) > maxMemberRows:
		return pds.Refuse(pds.Invalid, pds.CodeTooLarge)
	}
	fields, vals, err := rowsOf(ds, in.Rows)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	first, last, err := m.store.MemberCreate(c, s.at(), ds, instance, fields, vals, len(in.Rows))
	if err != nil {
		return err
	}
	return writeJSON(ctx, fasthttp.StatusCreated, map[string]any{"rows": len(in.Rows), "first_id": first, "last_id": last})
}

// rowsOf turns rows into columns: the fields that occur, ascending, and the
// values row by row, nil where absent.
func rowsOf(ds *schema.Dataset, rows []map[string]json.RawMessage) ([]uint8, [][]byte, error) {
	var used pds.Mask
	for n, r := range rows {
		for name := range r {
			f, ok := ds.Field(name)
			if !ok {
				e := pds.Refuse(pds.Invalid, pds.CodeUnknownField).In(ds.Name, shown(name))
				e.Row = n + 1
				return nil, nil, e
			}
			used |= 1 << f.Number
		}
	}
	var fields []uint8
	for n := uint8(1); n <= schema.MaxFields; n++ {
		if used.Has(n) {
			fields = append(fields, n)
		}
	}
	if len(fields) == 0 {
		return nil, nil, pds.Refuse(pds.Invalid, pds.CodeEmpty).In(ds.Name, "")
	}
	vals := make([][]byte, 0, len(fields)*len(rows))
	for n, r := range rows {
		for _, num := range fields {
			f := ds.ByNumber(num)
			raw, ok := r[f.Name]
			if !ok {
				vals = append(vals, nil)
				continue
			}
			v, ok := textOf(raw)
			if !ok || v != nil && f.Check(v) != nil {
				e := pds.Refuse(pds.Invalid, pds.CodeWrongType).In(ds.Name, f.Name)
				e.Row = n + 1
				return nil, nil, e
			}
			vals = append(vals, v)
		}
	}
	return fields, vals, nil
}

// shown is an unknown field's name as far as an answer repeats it: only what
// could be a field name.
func shown(name string) string {
	if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	}) {
		return ""
	}
	return name
}

// textOf is a scalar's text, nil for null; numbers keep their digits.
func textOf(raw json.RawMessage) ([]byte, bool) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[':
		return nil, false
	case raw[0] == '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return nil, false
		}
		return []byte(s), true
	case string(raw) == "null":
		return nil, true
	}
	return slices.Clone(raw), true
}

// update changes fields of one record: {"field":"value"}.
func (m *members) update(ctx *fasthttp.RequestCtx, s *session) error {
	ds, instance, id, err := m.record(ctx)
	if err != nil {
		return err
	}
	var in map[string]json.RawMessage
	if err := decodeJSON(ctx, maxMemberBody, &in); err != nil {
		return err
	}
	fields, vals, err := rowsOf(ds, []map[string]json.RawMessage{in})
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	if err := m.store.MemberUpdate(c, s.at(), ds, instance, id, fields, vals); err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

func (m *members) delete(ctx *fasthttp.RequestCtx, s *session) error {
	ds, instance, id, err := m.record(ctx)
	if err != nil {
		return err
	}
	hard := string(ctx.QueryArgs().Peek("hard")) == "1"
	c, cancel := m.call()
	defer cancel()
	if err := m.store.MemberDelete(c, s.at(), ds, instance, id, hard); err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

func (m *members) restore(ctx *fasthttp.RequestCtx, s *session) error {
	ds, instance, id, err := m.record(ctx)
	if err != nil {
		return err
	}
	c, cancel := m.call()
	defer cancel()
	if err := m.store.MemberRestore(c, s.at(), ds, instance, id); err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// query parses the query string strictly, into memory of its own.
func query(ctx *fasthttp.RequestCtx) (url.Values, error) {
	q, err := url.ParseQuery(string(ctx.URI().QueryString()))
	if err != nil {
		return nil, errMalformed.with("query")
	}
	return q, nil
}

// memberFilters reads filters[field][operator] and filters[field][value], in
// order of the fields' names.
func memberFilters(q url.Values, ds *schema.Dataset) ([]pds.Filter, error) {
	var names []string
	for k := range q {
		if !strings.HasPrefix(k, "filters[") {
			continue
		}
		name, _, ok := filterName(k)
		if !ok {
			return nil, errMalformed.with("filters")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > maxFilters {
		return nil, errMalformed.with("too many filters")
	}
	slices.Sort(names)
	var out []pds.Filter
	for _, name := range names {
		op, value := q["filters["+name+"][operator]"], q["filters["+name+"][value]"]
		if len(op) != 1 || len(value) != 1 {
			return nil, fieldProblem(shown(name), "a filter needs one operator and one value")
		}
		f := pds.Filter{Name: name, Value: []byte(value[0])}
		var ok bool
		if f.Op, ok = operators[op[0]]; !ok {
			return nil, fieldProblem(shown(name), "operator: = != < <= > >=")
		}
		if systemFields[name] {
			if !digits(value[0]) {
				return nil, pds.Refuse(pds.Invalid, pds.CodeWrongType).In(ds.Name, name)
			}
			out = append(out, f)
			continue
		}
		field, ok := ds.Field(name)
		if !ok {
			return nil, pds.Refuse(pds.Invalid, pds.CodeUnknownField).In(ds.Name, shown(name))
		}
		if field.Check(f.Value) != nil {
			return nil, pds.Refuse(pds.Invalid, pds.CodeWrongType).In(ds.Name, name)
		}
		f.Field = field.Number
		out = append(out, f)
	}
	return out, nil
}
