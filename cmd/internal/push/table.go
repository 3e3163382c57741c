package push

import (
	"bytes"
	"io"
)

// maxRecord bounds one record of an input file, quoted line ends included.
const maxRecord = 1 << 20

// A source yields the rows of one file.
type source interface {
	// next returns the next row. raw and cells are valid until the next call.
	// A non-empty rule says why raw is no row; reading goes on behind it.
	// err is io.EOF at the end.
	next() (row, error)
}

type row struct {
	raw   []byte
	cells [][]byte // nil if rule is set
	line  int      // of the row's first byte, from 1
	rule  string
}

const (
	ruleQuote  = "unterminated quote"
	ruleAfter  = "text after a closing quote"
	ruleLength = "row longer than 1 MiB"
)

// table reads delimited text. A line ends with LF or CRLF. Wholly empty lines
// are no rows. With quoted set, cells follow RFC 4180; a quote inside an
// unquoted cell is a character. A quote that is never closed spoils its own
// line only: reading goes on at the line after it.
type table struct {
	r      io.Reader
	delim  byte
	quoted bool
	trim   bool

	buf        []byte
	start, end int
	eof        bool
	line       int
	cells      [][]byte
	scratch    []byte
}

func newTable(r io.Reader, delim byte, quoted, trim bool) *table {
	return &table{r: r, delim: delim, quoted: quoted, trim: trim, buf: make([]byte, 256<<10), line: 1}
}

// fill reads more behind end. It reports false at the end of the input.
func (t *table) fill() (bool, error) {
	if t.eof {
		return false, nil
	}
	if t.start > 0 {
		copy(t.buf, t.buf[t.start:t.end])
		t.end -= t.start
		t.start = 0
	}
	if t.end == len(t.buf) {
		t.buf = append(t.buf, make([]byte, len(t.buf))...)
	}
	for {
		n, err := t.r.Read(t.buf[t.end:])
		t.end += n
		if err == io.EOF {
			t.eof = true
			return n > 0, nil
		}
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
}

// physical returns the length of the line at start with and without its end.
func (t *table) physical() (full, text int, err error) {
	searched := 0
	for {
		window := t.buf[t.start:t.end]
		if i := bytes.IndexByte(window[searched:], '\n'); i >= 0 {
			full = searched + i + 1
			text = full - 1
			if text > 0 && window[text-1] == '\r' {
				text--
			}
			return full, text, nil
		}
		searched = len(window)
		if searched > maxRecord {
			return searched, searched, nil
		}
		more, err := t.fill()
		if err != nil {
			return 0, 0, err
		}
		if !more {
			// A last line without a line end; drop a lone CR like the others.
			text = searched
			if text > 0 && t.buf[t.start+text-1] == '\r' {
				text--
			}
			return searched, text, nil
		}
	}
}

func (t *table) next() (row, error) {
	for {
		full, text, err := t.physical()
		if err != nil {
			return row{}, err
		}
		if full == 0 {
			return row{}, io.EOF
		}
		at := t.line
		if text > maxRecord || full == text && full > maxRecord {
			raw := append([]byte(nil), t.buf[t.start:t.start+1024]...)
			if err := t.skipLine(); err != nil {
				return row{}, err
			}
			return row{raw: raw, line: at, rule: ruleLength}, nil
		}
		line := t.buf[t.start : t.start+text]
		if text == 0 {
			t.start += full
			t.line++
			continue
		}
		if t.quoted && bytes.IndexByte(line, '"') >= 0 {
			return t.quotedRow(full, text)
		}
		t.start += full
		t.line++
		return row{raw: line, cells: t.split(line), line: at}, nil
	}
}

// skipLine drops everything up to and with the next LF.
func (t *table) skipLine() error {
	for {
		if i := bytes.IndexByte(t.buf[t.start:t.end], '\n'); i >= 0 {
			t.start += i + 1
			t.line++
			return nil
		}
		t.start = t.end
		if more, err := t.fill(); err != nil || !more {
			return err
		}
	}
}

func (t *table) split(line []byte) [][]byte {
	cells, from := t.cells[:0], 0
	for i, b := range line {
		if b == t.delim {
			cells = append(cells, line[from:i])
			from = i + 1
		}
	}
	cells = append(cells, line[from:])
	if t.trim {
		for i := range cells {
			cells[i] = bytes.TrimSpace(cells[i])
		}
	}
	t.cells = cells
	return cells
}

// quotedRow parses the record at start, whose first physical line is given.
func (t *table) quotedRow(full, text int) (row, error) {
	at := t.line
	for {
		used, lines, rule, more := t.parseQuoted()
		if more {
			if t.end-t.start <= maxRecord {
				ok, err := t.fill()
				if err != nil {
					return row{}, err
				}
				if ok {
					continue
				}
				// The input ended: what could still be a record is one now.
				if used, lines, rule, more = t.parseQuoted(); !more {
					return t.take(used, lines, rule, at), nil
				}
			}
			raw := t.buf[t.start : t.start+text]
			t.start += full
			t.line++
			return row{raw: raw, line: at, rule: ruleQuote}, nil
		}
		return t.take(used, lines, rule, at), nil
	}
}

func (t *table) take(used, lines int, rule string, at int) row {
	raw := t.buf[t.start : t.start+used]
	t.start += used
	t.line += lines
	raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
	r := row{raw: raw, line: at, rule: rule}
	if rule == "" {
		r.cells = t.cells
	}
	return r
}

// parseQuoted parses one record at start. It returns the bytes and physical
// lines used; more says that the record does not end in the buffer.
func (t *table) parseQuoted() (used, lines int, rule string, more bool) {
	b := t.buf[t.start:t.end]
	t.cells, t.scratch = t.cells[:0], t.scratch[:0]
	if cap(t.scratch) < len(b) {
		// Cells point into scratch: it must not move within one record.
		t.scratch = make([]byte, 0, len(t.buf))
	}
	i := 0
	for {
		if t.trim {
			for i < len(b) && (b[i] == ' ' || b[i] == '\t') && b[i] != t.delim {
				i++
			}
		}
		var cell []byte
		if i < len(b) && b[i] == '"' {
			i++
			from, opened, plain := len(t.scratch), i, i
			for {
				q := bytes.IndexByte(b[i:], '"')
				if q < 0 {
					return 0, 0, ruleQuote, true
				}
				i += q
				if i+1 == len(b) && !t.eof {
					return 0, 0, "", true
				}
				if i+1 < len(b) && b[i+1] == '"' {
					t.scratch = append(t.scratch, b[plain:i+1]...)
					i += 2
					plain = i
					continue
				}
				break
			}
			if len(t.scratch) > from {
				t.scratch = append(t.scratch, b[plain:i]...)
				cell = t.scratch[from:len(t.scratch):len(t.scratch)]
			} else {
				cell = b[plain:i]
			}
			lines += bytes.Count(b[opened:i], []byte{'\n'})
			i++
			if t.trim {
				for i < len(b) && (b[i] == ' ' || b[i] == '\t') && b[i] != t.delim {
					i++
				}
			}
			if i < len(b) && b[i] == '\r' {
				if i+1 == len(b) && !t.eof {
					return 0, 0, "", true
				}
				if i+1 == len(b) || b[i+1] == '\n' {
					i++
				}
			}
			if i < len(b) && b[i] != t.delim && b[i] != '\n' {
				rule = ruleAfter
				for i < len(b) && b[i] != '\n' {
					i++
				}
			}
			if i == len(b) && !t.eof {
				return 0, 0, "", true
			}
		} else {
			from := i
			for i < len(b) && b[i] != t.delim && b[i] != '\n' {
				i++
			}
			if i == len(b) && !t.eof {
				return 0, 0, "", true
			}
			cell = b[from:i]
			if i == len(b) || b[i] == '\n' {
				cell = bytes.TrimSuffix(cell, []byte("\r"))
			}
			if t.trim {
				cell = bytes.TrimSpace(cell)
			}
		}
		t.cells = append(t.cells, cell)
		if i == len(b) {
			return i, lines + 1, rule, false
		}
		i++
		if b[i-1] == '\n' {
			return i, lines + 1, rule, false
		}
	}
}
