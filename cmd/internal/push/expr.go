package push

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// expr is a Value compiled for one file.
type expr struct {
	origin  origin
	column  int
	fixed   []byte // originFixed
	what    string // names the value in rules: a column or what it comes from
	match   *regexp.Regexp
	suffix  []byte
	replace map[string]string
	clock   *clock
	span    string // Duration

	scratch []byte
}

type origin uint8

const (
	originColumn origin = iota
	originFixed
	originCell
	originLabel
)

// cell is the unpivoted cell at hand; zero outside an unpivot.
type cell struct {
	value, label []byte
	number       int64 // of the label, for add_label
}

// place is what a map can see of a file's name.
type place struct {
	path string   // as shown in the rejects file
	dirs []string // folders above the file, nearest first
	base string
}

func placeOf(abs, shown string) place {
	p := place{path: shown, base: stem(filepath.Base(abs))}
	for dir := filepath.Dir(abs); len(p.dirs) < 8; dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			break
		}
		p.dirs = append(p.dirs, filepath.Base(dir))
	}
	return p
}

// stem drops a compression ending and then one extension.
func stem(base string) string {
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".gz"), ".zst")
	if ext := filepath.Ext(base); len(ext) > 1 && len(ext) < len(base) {
		base = base[:len(base)-len(ext)]
	}
	return base
}

// compile resolves v against a file's name and columns.
func compile(v *Value, p place, columns map[string]int) (*expr, error) {
	e := &expr{suffix: []byte(v.TrimSuffix), replace: v.Replace, span: v.Duration}
	switch {
	case v.Column != "":
		at, ok := columns[v.Column]
		if !ok {
			return nil, fmt.Errorf("no column %q", v.Column)
		}
		e.column, e.what = at, v.Column
	case v.Constant != nil:
		e.origin, e.fixed, e.what = originFixed, []byte(*v.Constant), "constant"
	case v.Folder > 0:
		e.origin, e.what = originFixed, "folder name"
		if v.Folder <= len(p.dirs) {
			e.fixed = []byte(p.dirs[v.Folder-1])
		}
	case v.File:
		e.origin, e.fixed, e.what = originFixed, []byte(p.base), "file name"
	case v.Cell:
		e.origin, e.what = originCell, "cell"
	case v.Label:
		e.origin, e.what = originLabel, "column label"
	}
	if v.Match != "" {
		e.match = regexp.MustCompile(v.Match) // checked with the map
	}
	if v.Time != nil {
		var err error
		if e.clock, err = newClock(v.Time); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// raw returns the value before any step.
func (e *expr) raw(cells [][]byte, c *cell) []byte {
	switch e.origin {
	case originColumn:
		return cells[e.column]
	case originCell:
		return c.value
	case originLabel:
		return c.label
	}
	return e.fixed
}

// plain reports that the value needs no step.
func (e *expr) plain() bool {
	return e.match == nil && len(e.suffix) == 0 && e.replace == nil && e.clock == nil && e.span == ""
}

// steps transforms v, which must not be empty. A non-empty rule says why it cannot.
// The result is valid until the next call.
func (e *expr) steps(v []byte, c *cell) (out []byte, rule string) {
	if e.match != nil {
		m := e.match.FindSubmatch(v)
		if m == nil {
			return nil, e.what + " does not match the map's pattern"
		}
		if v = m[0]; len(m) > 1 {
			v = m[1]
		}
	}
	v = bytes.TrimSuffix(v, e.suffix)
	if e.replace != nil {
		if r, ok := e.replace[string(v)]; ok {
			v = []byte(r)
		}
	}
	if len(v) == 0 {
		return v, ""
	}
	if e.clock != nil {
		var ok bool
		if e.scratch, ok = e.clock.convert(e.scratch[:0], v, c.number); !ok {
			return nil, e.what + " is not a time of the map's layout"
		}
		v = e.scratch
	}
	if e.span != "" {
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil || n < 0 {
			return nil, e.what + " is not a number of seconds"
		}
		if e.scratch = e.scratch[:0]; e.span == "hms" {
			e.scratch = fmt.Appendf(e.scratch, "%02d:%02d:%02d", n/3600, n/60%60, n%60)
		} else {
			e.scratch = strconv.AppendFloat(e.scratch, float64(n)/86400, 'f', 9, 64)
		}
		v = e.scratch
	}
	return v, ""
}

func isInt(v []byte) bool {
	if len(v) > 0 && v[0] == '-' {
		v = v[1:]
	}
	for _, c := range v {
		if c-'0' > 9 {
			return false
		}
	}
	return len(v) > 0
}

// isNumber is the number grammar of RFC 8259.
func isNumber(v []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(v) && v[n]-'0' <= 9 {
			n++
		}
		v = v[n:]
		return n > 0
	}
	if len(v) > 0 && v[0] == '-' {
		v = v[1:]
	}
	if len(v) > 1 && v[0] == '0' && v[1]-'0' <= 9 || !digits() {
		return false
	}
	if len(v) > 0 && v[0] == '.' {
		if v = v[1:]; !digits() {
			return false
		}
	}
	if len(v) > 0 && v[0]|0x20 == 'e' {
		if v = v[1:]; len(v) > 0 && (v[0] == '+' || v[0] == '-') {
			v = v[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(v) == 0
}

// appendString appends v as a JSON string. False: v is not UTF-8.
func appendString(dst, v []byte) ([]byte, bool) {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(v); {
		c := v[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x80 {
			i++
			continue
		}
		if c >= 0x80 {
			r, n := utf8.DecodeRune(v[i:])
			if r == utf8.RuneError && n == 1 {
				return dst, false
			}
			i += n
			continue
		}
		dst = append(dst, v[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	dst = append(dst, v[from:]...)
	return append(dst, '"'), true
}
