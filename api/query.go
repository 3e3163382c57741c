package api

import (
	"strings"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
)

const maxFilters = 16

// params is what the published dataset routes take from the query string.
// api_key, the way of the older API, is accepted and ignored.
type params struct {
	conID, uid, sourceType, dataset, instance, id, hard string
	filters                                             []rawFilter
}

// rawFilter is filters[name][operator] and filters[name][value].
type rawFilter struct {
	name         string
	op, value    string
	hasOp, hasIt bool
}

// parseQuery reads the query string. A parameter that stands twice, or one that
// nobody knows, is refused: of two readers each could believe another one.
func parseQuery(ctx *fasthttp.RequestCtx) (q params, err error) {
	seen := map[string]bool{}
	for k, v := range ctx.QueryArgs().All() {
		name := string(k)
		if seen[name] {
			return q, errMalformed.with("a parameter stands twice")
		}
		seen[name] = true
		switch name {
		case "con_id":
			q.conID = string(v)
		case "uid":
			q.uid = string(v)
		case "source_type":
			q.sourceType = string(v)
		case "dataset":
			q.dataset = string(v)
		case "instance":
			q.instance = string(v)
		case "id":
			q.id = string(v)
		case "hard":
			q.hard = string(v)
		case "key", "api_key":
		default:
			field, part, ok := filterName(name)
			if !ok {
				return q, errMalformed.with("unknown parameter")
			}
			if err := q.filter(field, part, string(v)); err != nil {
				return q, err
			}
		}
	}
	return q, nil
}

// filterName splits filters[field][part].
func filterName(s string) (field, part string, ok bool) {
	s, ok = strings.CutPrefix(s, "filters[")
	if !ok {
		return "", "", false
	}
	field, s, ok = strings.Cut(s, "][")
	if !ok {
		return "", "", false
	}
	part, ok = strings.CutSuffix(s, "]")
	ok = ok && len(field) > 0 && len(field) <= 64 && (part == "operator" || part == "value")
	return field, part, ok
}

func (q *params) filter(field, part, v string) error {
	var f *rawFilter
	for i := range q.filters {
		if q.filters[i].name == field {
			f = &q.filters[i]
		}
	}
	if f == nil {
		if len(q.filters) == maxFilters {
			return errMalformed.with("too many filters")
		}
		q.filters = append(q.filters, rawFilter{name: field})
		f = &q.filters[len(q.filters)-1]
	}
	if part == "operator" {
		f.op, f.hasOp = v, true
	} else {
		f.value, f.hasIt = v, true
	}
	return nil
}

var operators = map[string]pds.Op{"=": pds.Eq, "!=": pds.Ne, "<": pds.Lt, "<=": pds.Le, ">": pds.Gt, ">=": pds.Ge}

// systemFields can be filtered by everyone who reads at all.
var systemFields = map[string]bool{"id": true, "created_timestamp": true, "updated_timestamp": true}

// compileFilters turns filters of a query into those of a read. Whether the
// connection may use them is decided later.
func compileFilters(ds *dataset, raw []rawFilter) (out []pds.Filter, refusal *pds.Error, detail string) {
	for _, r := range raw {
		if !r.hasOp || !r.hasIt {
			return nil, pds.Refuse(pds.Invalid, pds.CodeMalformed), "a filter needs an operator and a value"
		}
		op, ok := operators[r.op]
		if !ok {
			return nil, pds.Refuse(pds.Invalid, pds.CodeMalformed), "filter operator must be one of = != < <= > >="
		}
		f := pds.Filter{Name: r.name, Op: op, Value: []byte(r.value)}
		if !systemFields[r.name] {
			field, ok := ds.Field(r.name)
			if !ok {
				e := pds.Refuse(pds.Invalid, pds.CodeUnknownField)
				e.Dataset = ds.Name
				return nil, e, ""
			}
			if field.Check(f.Value) != nil {
				return nil, pds.Refuse(pds.Invalid, pds.CodeWrongType).In(ds.Name, field.Name), "filter"
			}
			f.Field = field.Number
		} else if !digits(r.value) {
			return nil, pds.Refuse(pds.Invalid, pds.CodeWrongType).In(ds.Name, r.name), "filter"
		}
		out = append(out, f)
	}
	return out, nil, ""
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 19
}
