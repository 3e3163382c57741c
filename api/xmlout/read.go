package xmlout

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"unicode/utf8"
)

var (
	errXML       = errors.New("xmlout: not a well-formed XML document in UTF-8")
	errSize      = errors.New("xmlout: document is larger than 8 MiB")
	errDoctype   = errors.New("xmlout: document types and entities are not accepted")
	errAttribute = errors.New("xmlout: attribute is not accepted here")
	errMixed     = errors.New("xmlout: text beside elements")
	errTwice     = errors.New("xmlout: name is there twice")
	errItems     = errors.New("xmlout: items of a list beside named elements")
	errEncoding  = errors.New("xmlout: value is not base64 of UTF-8 text")
)

// xsi is the namespace of the common nil attribute.
const xsi = "http://www.w3.org/2001/XMLSchema-instance"

// ToJSON reads one XML document and returns it as JSON, by the mapping in the
// package comment. All scalars are strings. Its errors never repeat any of the
// document.
func ToJSON(xmlDoc []byte) ([]byte, error) {
	if len(xmlDoc) > maxInput {
		return nil, errSize
	}
	if !utf8.Valid(xmlDoc) {
		return nil, errXML
	}
	dec := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(xmlDoc, []byte("\ufeff"))))
	r := reader{out: make([]byte, 0, len(xmlDoc))}
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, errXML
		}
		switch t := tok.(type) {
		case xml.StartElement:
			err = r.start(t)
		case xml.EndElement:
			err = r.end()
		case xml.CharData:
			err = r.text(t)
		case xml.Directive:
			err = errDoctype
		}
		if err != nil {
			return nil, err
		}
	}
	if !r.done {
		return nil, errXML
	}
	return r.out, nil
}

type kind uint8

const (
	leaf kind = iota // no child so far
	object
	array
)

// frame is an element that is open.
type frame struct {
	kind  kind
	marks marks
	keys  map[string]struct{}
	text  []byte
}

// marks are the attributes of an element.
type marks struct {
	null   bool
	base64 bool
	empty  string
	key    []byte
	hasKey bool
}

type reader struct {
	out   []byte
	stack []frame
	done  bool // the root is closed
}

func (r *reader) start(t xml.StartElement) error {
	if r.done {
		return errXML
	}
	if len(r.stack) == maxDepth {
		return errDepth
	}
	m, err := readMarks(t.Attr)
	if err != nil {
		return err
	}
	if len(r.stack) == 0 {
		if m.hasKey {
			return errAttribute
		}
	} else if err := r.member(t.Name.Local, &m); err != nil {
		return err
	}
	r.stack = append(r.stack, frame{marks: m})
	return nil
}

// member begins a child of the innermost element.
func (r *reader) member(name string, m *marks) error {
	p := &r.stack[len(r.stack)-1]
	if p.marks.null || p.marks.base64 || p.marks.empty != "" {
		return errAttribute
	}
	if !blank(p.text) {
		return errMixed
	}
	is := object
	if name == "item" && !m.hasKey {
		is = array
	} else if name != "item" && m.hasKey {
		return errAttribute
	}
	switch {
	case p.kind == leaf:
		p.kind = is
		if is == array {
			r.out = append(r.out, '[')
		} else {
			r.out = append(r.out, '{')
			p.keys = map[string]struct{}{}
		}
	case p.kind != is:
		return errItems
	default:
		r.out = append(r.out, ',')
	}
	if is == array {
		return nil
	}
	key := []byte(name)
	if m.hasKey {
		key = m.key
	}
	if _, ok := p.keys[string(key)]; ok {
		return errTwice
	}
	p.keys[string(key)] = struct{}{}
	r.out = append(appendString(r.out, key), ':')
	return nil
}

func (r *reader) text(t []byte) error {
	if len(r.stack) == 0 {
		if !blank(t) {
			return errXML
		}
		return nil
	}
	p := &r.stack[len(r.stack)-1]
	if p.kind != leaf {
		if !blank(t) {
			return errMixed
		}
		return nil
	}
	p.text = append(p.text, t...)
	return nil
}

func (r *reader) end() error {
	p := &r.stack[len(r.stack)-1]
	switch {
	case p.kind == object:
		r.out = append(r.out, '}')
	case p.kind == array:
		r.out = append(r.out, ']')
	case p.marks.null || p.marks.empty != "":
		if !blank(p.text) {
			return errMixed
		}
		r.out = append(r.out, p.marks.emptyValue()...)
	case p.marks.base64:
		s, err := decode(p.text)
		if err != nil {
			return err
		}
		r.out = appendString(r.out, s)
	default:
		r.out = appendString(r.out, p.text)
	}
	r.stack = r.stack[:len(r.stack)-1]
	r.done = len(r.stack) == 0
	return nil
}

func (m *marks) emptyValue() string {
	switch {
	case m.null:
		return "null"
	case m.empty == "object":
		return "{}"
	}
	return "[]"
}

// blank reports whether b is nothing but the white space of XML.
func blank(b []byte) bool { return len(bytes.Trim(b, " \t\r\n")) == 0 }

func decode(b []byte) ([]byte, error) {
	s, err := base64.StdEncoding.AppendDecode(nil, bytes.Trim(b, " \t\r\n"))
	if err != nil || !utf8.Valid(s) {
		return nil, errEncoding
	}
	return s, nil
}

func readMarks(attrs []xml.Attr) (m marks, err error) {
	var keyed bool
	seen := 0
	for _, a := range attrs {
		bit := 0
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
			continue
		case a.Name.Local == "nil" && (a.Name.Space == "" || a.Name.Space == xsi):
			bit = 1
			switch a.Value {
			case "true", "1":
				m.null = true
			case "false", "0":
			default:
				return m, errAttribute
			}
		case a.Name.Space != "":
			return m, errAttribute
		case a.Name.Local == "key":
			bit, m.key, m.hasKey = 2, []byte(a.Value), true
		case a.Name.Local == "keyencoding" && a.Value == "base64":
			bit, keyed = 4, true
		case a.Name.Local == "encoding" && a.Value == "base64":
			bit, m.base64 = 8, true
		case a.Name.Local == "empty" && (a.Value == "object" || a.Value == "array"):
			bit, m.empty = 16, a.Value
		default:
			return m, errAttribute
		}
		if seen&bit != 0 {
			return m, errAttribute
		}
		seen |= bit
	}
	if keyed {
		if !m.hasKey {
			return m, errAttribute
		}
		m.key, err = decode(m.key)
	}
	if m.null && (m.base64 || m.empty != "") || m.base64 && m.empty != "" {
		return m, errAttribute
	}
	return m, err
}

// appendString appends s, which is valid UTF-8, as a JSON string.
func appendString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20:
			dst = append(dst, c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, '"')
}
