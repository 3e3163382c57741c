package push

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// A sink takes what becomes of the rows, in order. It copies what it keeps.
type sink interface {
	// connection finds the member behind a ref; found is false if there is no agreement.
	connection(ref []byte) (con int, found bool)
	// record takes a line of JSON; values is the length of what differs from row
	// to row, a length byte a value included.
	record(con, dataset, instance int, text []byte, values, line int) error
	// reject takes a row that cannot be mapped. rule is one of a small closed
	// set and holds no value; reason is for the rejects file.
	reject(line int, rule, reason string, raw []byte) error
	skipped()
}

// mapper turns the rows of one file into records.
type mapper struct {
	columns int // 0: rows are maps
	null    [][]byte
	records []recordMapper
	out     []byte
}

type recordMapper struct {
	dataset  int // index of the first of Map.Records that has it
	noun     string
	refs     []*expr
	fixedRef bool
	refDone  bool // fixedRef was looked up
	con      int
	conRule  string
	conWhy   string

	instance      int
	instanceValue *expr
	when          int // column or -1
	cells         []unpivoted
	skipEmpty     bool
	fields        []fieldMapper
}

type unpivoted struct {
	column int
	cell   cell
}

type fieldMapper struct {
	*expr
	name  []byte // `"name":`
	fixed []byte // `"name":"value"`, when the file decides it
	rule  string // why the file cannot yield it
	typ   byte   // 0 text, 'i' int, 'n' number
	empty byte   // k o r
}

// newMapper compiles m for a file with the given columns in order.
func newMapper(m *Map, p place, names []string) (*mapper, error) {
	columns := make(map[string]int, len(names))
	for i, n := range names {
		if _, dup := columns[n]; !dup {
			columns[n] = i
		}
	}
	out := &mapper{columns: len(names)}
	for _, n := range m.Source.Null {
		out.null = append(out.null, []byte(n))
	}
	for i := range m.Records {
		r, err := compileRecord(&m.Records[i], p, names, columns)
		if err != nil {
			return nil, fmt.Errorf("records[%d]: %w", i, err)
		}
		// Records of one dataset share sections, so that their order is the input's.
		r.dataset = slices.IndexFunc(m.Records, func(o Record) bool { return o.Dataset == m.Records[i].Dataset })
		out.records = append(out.records, *r)
	}
	return out, nil
}

func compileRecord(r *Record, p place, names []string, columns map[string]int) (*recordMapper, error) {
	rm := &recordMapper{noun: r.Noun, instance: r.Instance.Number, when: -1, fixedRef: true}
	for i := range r.Ref {
		e, err := compile(&r.Ref[i], p, columns)
		if err != nil {
			return nil, fmt.Errorf("ref: %w", err)
		}
		rm.refs = append(rm.refs, e)
		rm.fixedRef = rm.fixedRef && e.origin == originFixed
	}
	if r.Instance.Value != nil {
		e, err := compile(r.Instance.Value, p, columns)
		if err != nil {
			return nil, fmt.Errorf("instance: %w", err)
		}
		rm.instanceValue = e
	}
	if r.WhenPresent != "" {
		at, ok := columns[r.WhenPresent]
		if !ok {
			return nil, fmt.Errorf("when_present: no column %q", r.WhenPresent)
		}
		rm.when = at
	}
	if u := r.Unpivot; u != nil {
		rm.skipEmpty = u.Empty == "skip"
		add := func(at int, label string) {
			n, _ := strconv.ParseInt(label, 10, 32)
			rm.cells = append(rm.cells, unpivoted{at, cell{label: []byte(label), number: n}})
		}
		for _, name := range u.Columns {
			at, ok := columns[name]
			if !ok {
				return nil, fmt.Errorf("unpivot: no column %q", name)
			}
			add(at, name)
		}
		if u.Match != "" {
			re := regexp.MustCompile(u.Match)
			for at, name := range names {
				if g := re.FindStringSubmatch(name); g != nil {
					add(at, g[len(g)-1])
				}
			}
		}
		if len(rm.cells) == 0 {
			return nil, fmt.Errorf("unpivot: no column matches")
		}
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		e, err := compile(&f.Value, p, columns)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		fm := fieldMapper{expr: e, name: []byte(strconv.Quote(f.Name) + ":"), empty: f.Empty[0]}
		if f.Type == "int" || f.Type == "number" {
			fm.typ = f.Type[0]
		}
		if e.origin == originFixed && (e.clock == nil || e.clock.label == 0) {
			b, rule := fm.append(nil, nil, &cell{}, nil)
			fm.fixed, fm.rule = b, rule
			if b == nil {
				fm.fixed = []byte{}
			}
		}
		rm.fields = append(rm.fields, fm)
	}
	return rm, nil
}

// append appends `"name":"value"`, or nothing if the field is left out.
func (f *fieldMapper) append(dst []byte, cells [][]byte, c *cell, null [][]byte) ([]byte, string) {
	v := f.raw(cells, c)
	for _, n := range null {
		if bytes.Equal(v, n) {
			v = nil
			break
		}
	}
	if len(v) > 0 && !f.plain() {
		var rule string
		if v, rule = f.steps(v, c); rule != "" {
			return dst, rule
		}
	}
	if len(v) == 0 {
		switch f.empty {
		case 'o':
			return dst, ""
		case 'r':
			return dst, f.what + " is empty"
		}
	} else if f.typ == 'i' && !isInt(v) {
		return dst, f.what + " is not a whole number"
	} else if f.typ == 'n' && !isNumber(v) {
		return dst, f.what + " is not a number"
	}
	dst = append(dst, f.name...)
	var ok bool
	if dst, ok = appendString(dst, v); !ok {
		return dst, f.what + " is not UTF-8"
	}
	return dst, ""
}

// row maps one row.
func (m *mapper) row(r row, s sink) error {
	if r.rule != "" {
		return s.reject(r.line, r.rule, r.rule, r.raw)
	}
	if len(r.cells) != m.columns {
		const rule = "wrong number of columns"
		return s.reject(r.line, rule, fmt.Sprintf("%s: %d, not %d", rule, len(r.cells), m.columns), r.raw)
	}
	for i := range m.records {
		if err := m.one(&m.records[i], r, s); err != nil {
			return err
		}
	}
	return nil
}

func (m *mapper) one(rm *recordMapper, r row, s sink) error {
	if rm.when >= 0 && m.absent(r.cells[rm.when]) {
		s.skipped()
		return nil
	}
	con, rule, why := rm.con, rm.conRule, rm.conWhy
	if !rm.refDone {
		con, rule, why = rm.find(r.cells, m.null, s)
		if rm.fixedRef {
			rm.con, rm.conRule, rm.conWhy, rm.refDone = con, rule, why, true
		}
	}
	if rule != "" {
		return s.reject(r.line, rule, why, r.raw)
	}
	instance := rm.instance
	if rm.instanceValue != nil {
		if instance, rule = rm.instanceOf(r.cells); rule != "" {
			return s.reject(r.line, rule, rule, r.raw)
		}
	}
	if rm.cells == nil {
		return m.emit(rm, con, instance, r, &cell{}, s)
	}
	for i := range rm.cells {
		c := &rm.cells[i].cell
		c.value = r.cells[rm.cells[i].column]
		if rm.skipEmpty && m.absent(c.value) {
			s.skipped()
			continue
		}
		if err := m.emit(rm, con, instance, r, c, s); err != nil {
			return err
		}
	}
	return nil
}

func (m *mapper) emit(rm *recordMapper, con, instance int, r row, c *cell, s sink) error {
	out, values := append(m.out[:0], '{'), 0
	for i := range rm.fields {
		f := &rm.fields[i]
		before := len(out)
		if before > 1 {
			out = append(out, ',')
		}
		from := len(out)
		var rule string
		if f.fixed != nil {
			out, rule = append(out, f.fixed...), f.rule
		} else {
			out, rule = f.append(out, r.cells, c, m.null)
			values += max(len(out)-from-len(f.name)-1, 0)
		}
		if rule != "" {
			m.out = out
			reason := rule
			if len(c.label) > 0 {
				reason = rule + " (column " + string(c.label) + ")"
			}
			return s.reject(r.line, rule, reason, r.raw)
		}
		if len(out) == from {
			out = out[:before]
		}
	}
	out = append(out, '}', '\n')
	m.out = out
	if len(out) == 3 {
		return s.reject(r.line, "no value in the row", "no value in the row", r.raw)
	}
	return s.record(con, rm.dataset, instance, out, values, r.line)
}

// find looks the row's member up. The first ref found wins; if there is none,
// the reason is that of the first.
func (rm *recordMapper) find(cells, null [][]byte, s sink) (con int, rule, why string) {
	for i, e := range rm.refs {
		v, bad := e.raw(cells, &cell{}), ""
		for _, n := range null {
			if e.origin != originFixed && bytes.Equal(v, n) {
				v = nil
			}
		}
		if len(v) > 0 {
			v, bad = e.steps(v, &cell{})
		}
		switch {
		case bad != "":
			bad = "no " + rm.noun + ": " + bad
		case len(v) == 0:
			bad = "no " + rm.noun + ": " + e.what + " is empty"
		default:
			con, found := s.connection(v)
			if found {
				return con, "", ""
			}
			if i == 0 {
				rule, why = "no agreement for the row's ref", "no agreement for ref "+string(v)
			}
			continue
		}
		if i == 0 {
			rule, why = bad, bad
		}
	}
	return -1, rule, why
}

func (rm *recordMapper) instanceOf(cells [][]byte) (int, string) {
	v, rule := rm.instanceValue.raw(cells, &cell{}), ""
	if len(v) > 0 {
		v, rule = rm.instanceValue.steps(v, &cell{})
	}
	if rule != "" {
		return 0, rule
	}
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 0 {
		return 0, "instance is not a whole number"
	}
	return n, ""
}

func (m *mapper) absent(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	for _, n := range m.null {
		if bytes.Equal(v, n) {
			return true
		}
	}
	return false
}
