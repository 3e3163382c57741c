package xmlout

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

const (
	// maxDepth bounds the levels of elements, in both directions; the root is the
	// first.
	maxDepth = 32
	// maxInput bounds an XML document in bytes.
	maxInput = 8 << 20
)

// Errors say which rule a document breaks and never repeat any of it.
var (
	errJSON      = errors.New("xmlout: not a valid JSON document")
	errSurrogate = errors.New("xmlout: JSON string has half of a surrogate pair")
	errDepth     = errors.New("xmlout: more than 32 levels")
)

const header = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// AppendFromJSON appends to dst the XML form of one JSON document and returns the
// extended slice. After an error, which only an invalid or too deep document
// causes, dst is returned as it was.
func AppendFromJSON(dst, jsonDoc []byte) ([]byte, error) {
	if !utf8.Valid(jsonDoc) || !json.Valid(jsonDoc) {
		return dst, errJSON
	}
	w := writer{in: jsonDoc, out: append(dst, header...)}
	if err := w.element("response", nil, 1); err != nil {
		return dst, err
	}
	return w.out, nil
}

// writer walks a document that json.Valid has accepted, so it need not look for
// syntax errors.
type writer struct {
	in      []byte
	out     []byte
	scratch []byte // the last string with an escape
}

func (w *writer) space() {
	for len(w.in) > 0 && (w.in[0] == ' ' || w.in[0] == '\n' || w.in[0] == '\t' || w.in[0] == '\r') {
		w.in = w.in[1:]
	}
}

// element writes the next value as one element. name is an XML name; key, if not
// nil, becomes the key attribute.
func (w *writer) element(name string, key []byte, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	w.out = append(append(w.out, '<'), name...)
	if key != nil {
		w.key(key)
	}
	w.space()
	switch w.in[0] {
	case '{', '[':
		return w.nested(name, depth)
	case '"':
		s, err := w.string()
		if err != nil {
			return err
		}
		w.text(name, s)
	case 'n':
		w.in = w.in[len("null"):]
		w.out = append(w.out, ` nil="true"/>`...)
	default:
		n := 0
		for n < len(w.in) && !isEnd(w.in[n]) {
			n++
		}
		w.text(name, w.in[:n])
		w.in = w.in[n:]
	}
	return nil
}

// isEnd reports whether c ends a number or a literal.
func isEnd(c byte) bool {
	return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\t' || c == '\r'
}

func (w *writer) nested(name string, depth int) error {
	open := w.in[0]
	w.in = w.in[1:]
	w.space()
	if w.in[0] == '}' || w.in[0] == ']' {
		w.in = w.in[1:]
		if open == '{' {
			w.out = append(w.out, ` empty="object"/>`...)
		} else {
			w.out = append(w.out, ` empty="array"/>`...)
		}
		return nil
	}
	w.out = append(w.out, '>')
	for {
		if err := w.child(open == '{', depth+1); err != nil {
			return err
		}
		w.space()
		c := w.in[0]
		w.in = w.in[1:]
		if c != ',' {
			break
		}
	}
	w.end(name)
	return nil
}

func (w *writer) child(member bool, depth int) error {
	if !member {
		return w.element("item", nil, depth)
	}
	w.space()
	k, err := w.string()
	if err != nil {
		return err
	}
	w.space()
	w.in = w.in[1:] // the colon
	if isName(k) {
		return w.element(string(k), nil, depth)
	}
	return w.element("item", append([]byte{}, k...), depth)
}

func (w *writer) end(name string) {
	w.out = append(append(append(w.out, "</"...), name...), '>')
}

func (w *writer) key(k []byte) {
	w.out = append(w.out, ` key="`...)
	if hasForbidden(k) {
		w.out = base64.StdEncoding.AppendEncode(w.out, k)
		w.out = append(w.out, `" keyencoding="base64"`...)
		return
	}
	w.out = append(escape(w.out, k, true), '"')
}

func (w *writer) text(name string, s []byte) {
	switch {
	case len(s) == 0:
		w.out = append(w.out, "/>"...)
		return
	case hasForbidden(s):
		w.out = append(w.out, ` encoding="base64">`...)
		w.out = base64.StdEncoding.AppendEncode(w.out, s)
	default:
		w.out = escape(append(w.out, '>'), s, false)
	}
	w.end(name)
}

// string reads the next string. The result is valid until the next call.
func (w *writer) string() ([]byte, error) {
	i := 1
	for w.in[i] != '"' && w.in[i] != '\\' {
		i++
	}
	if w.in[i] == '"' {
		s := w.in[1:i]
		w.in = w.in[i+1:]
		return s, nil
	}
	w.scratch = append(w.scratch[:0], w.in[1:i]...)
	for w.in[i] != '"' {
		if w.in[i] != '\\' {
			w.scratch = append(w.scratch, w.in[i])
			i++
			continue
		}
		c := w.in[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(w.in[i:])
			i += 4
			if 0xdc00 <= r && r < 0xe000 {
				return nil, errSurrogate
			}
			if 0xd800 <= r && r < 0xdc00 {
				if w.in[i] != '\\' || w.in[i+1] != 'u' {
					return nil, errSurrogate
				}
				low := hex4(w.in[i+2:])
				if low < 0xdc00 || low >= 0xe000 {
					return nil, errSurrogate
				}
				r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
				i += 6
			}
			w.scratch = utf8.AppendRune(w.scratch, r)
			continue
		}
		w.scratch = append(w.scratch, c)
	}
	w.in = w.in[i+1:]
	return w.scratch, nil
}

func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c&^0x20 - 'A' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
