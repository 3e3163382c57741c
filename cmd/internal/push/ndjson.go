package push

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	ruleJSON      = "not a JSON object"
	ruleNested    = "a mapped member is an object or an array"
	ruleDuplicate = "a member of the object is given twice"
)

// objects reads NDJSON. The cells of a row are the members that the map names,
// in its order; an absent or null one is empty. Numbers keep their digits.
type objects struct {
	lines   *table
	columns map[string]int
	cells   [][]byte
	seen    []bool
	scratch []byte
}

func newObjects(r io.Reader, columns map[string]int) *objects {
	return &objects{
		lines: newTable(r, 0, false, false), columns: columns,
		cells: make([][]byte, len(columns)), seen: make([]bool, len(columns)),
	}
}

func (o *objects) next() (row, error) {
	r, err := o.lines.next()
	if err != nil || r.rule != "" {
		return r, err
	}
	if r.cells = nil; len(bytes.TrimSpace(r.raw)) == 0 {
		return o.next()
	}
	if r.rule = o.parse(r.raw); r.rule == "" {
		r.cells = o.cells
	}
	return r, nil
}

func (o *objects) parse(b []byte) string {
	if !json.Valid(b) {
		return ruleJSON
	}
	clear(o.cells)
	clear(o.seen)
	if cap(o.scratch) < len(b) {
		o.scratch = make([]byte, 0, 2*len(b)) // cells point into it
	}
	o.scratch = o.scratch[:0]
	i := blanks(b, 0)
	if b[i] != '{' {
		return ruleJSON
	}
	// The grammar is known to hold from here on.
	i = blanks(b, i+1)
	for b[i] != '}' {
		end := pastString(b, i)
		name := o.text(b[i:end])
		i = blanks(b, blanks(b, end)+1) // over the colon
		end = pastValue(b, i)
		if at, ok := o.columns[string(name)]; ok {
			if o.seen[at] {
				return ruleDuplicate
			}
			o.seen[at] = true
			switch b[i] {
			case '{', '[':
				return ruleNested
			case '"':
				o.cells[at] = o.text(b[i:end])
			case 'n':
			default:
				o.cells[at] = b[i:end]
			}
		}
		if i = blanks(b, end); b[i] == ',' {
			i = blanks(b, i+1)
		}
	}
	return ""
}

// text decodes a JSON string. A lone surrogate stays as three bytes that are
// no UTF-8, so the row is rejected rather than altered.
func (o *objects) text(b []byte) []byte {
	b = b[1 : len(b)-1]
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	from := len(o.scratch)
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			o.scratch = append(o.scratch, b[i])
			continue
		}
		i++
		switch b[i] {
		case 'b':
			o.scratch = append(o.scratch, '\b')
		case 'f':
			o.scratch = append(o.scratch, '\f')
		case 'n':
			o.scratch = append(o.scratch, '\n')
		case 'r':
			o.scratch = append(o.scratch, '\r')
		case 't':
			o.scratch = append(o.scratch, '\t')
		case 'u':
			r := hex4(b[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				if i+6 < len(b) && b[i+1] == '\\' && b[i+2] == 'u' {
					if both := utf16.DecodeRune(r, hex4(b[i+3:])); both != utf8.RuneError {
						o.scratch = utf8.AppendRune(o.scratch, both)
						i += 6
						continue
					}
				}
				o.scratch = append(o.scratch, 0xed, 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
				continue
			}
			o.scratch = utf8.AppendRune(o.scratch, r)
		default:
			o.scratch = append(o.scratch, b[i])
		}
	}
	return o.scratch[from:len(o.scratch):len(o.scratch)]
}

func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}

func blanks(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

func pastString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func pastValue(b []byte, i int) int {
	depth := 0
	for {
		switch b[i] {
		case '"':
			i = pastString(b, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
		default:
			for i < len(b) && bytes.IndexByte([]byte(",:]} \t\r\n"), b[i]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
}
