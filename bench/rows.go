package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// A value is one field of a row that was read. The bytes are borrowed from the
// answer unless the text held escapes.
type value struct {
	name []byte
	text []byte
	null bool
}

var errShape = errors.New("answer is not an object of rows")

// scanRows walks a read's answer, {"5":{"id":"5","name":"text"|null,...},...},
// and gives each row with its id; vals is reused between calls. It accepts
// exactly this shape (values may also be numbers or booleans) and checks it to
// the last byte, so that a truncated answer is an error.
func scanRows(b []byte, f func(id uint64, vals []value) error) error {
	s := scanner{b: b}
	var vals []value
	err := s.object(func(key []byte) error {
		id, err := strconv.ParseUint(string(key), 10, 64)
		if err != nil {
			return errShape
		}
		vals = vals[:0]
		err = s.object(func(name []byte) error {
			v := value{name: name}
			v.text, v.null, err = s.scalar()
			vals = append(vals, v)
			return err
		})
		if err != nil {
			return err
		}
		return f(id, vals)
	})
	if err != nil {
		return err
	}
	if s.space(); s.i != len(s.b) {
		return errShape
	}
	return nil
}

type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

func (s *scanner) eat(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// object calls f at each value; f consumes it.
func (s *scanner) object(f func(key []byte) error) error {
	if !s.eat('{') {
		return errShape
	}
	if s.eat('}') {
		return nil
	}
	for {
		key, err := s.string()
		if err != nil {
			return err
		}
		if !s.eat(':') {
			return errShape
		}
		if err := f(key); err != nil {
			return err
		}
		if s.eat('}') {
			return nil
		}
		if !s.eat(',') {
			return errShape
		}
	}
}

func (s *scanner) string() ([]byte, error) {
	if !s.eat('"') {
		return nil, errShape
	}
	from, escaped := s.i, false
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '\\':
			escaped = true
			s.i += 2
			continue
		case '"':
			raw := s.b[from:s.i]
			s.i++
			if !escaped {
				return raw, nil
			}
			var t string
			if json.Unmarshal(s.b[from-1:s.i], &t) != nil {
				return nil, errShape
			}
			return []byte(t), nil
		}
		s.i++
	}
	return nil, errShape
}

func (s *scanner) scalar() (text []byte, null bool, err error) {
	if s.space(); s.i < len(s.b) && s.b[s.i] == '"' {
		text, err = s.string()
		return text, false, err
	}
	n := bytes.IndexAny(s.b[s.i:], ",} \n\r\t")
	if n <= 0 || s.b[s.i] == '{' || s.b[s.i] == '[' {
		return nil, false, errShape
	}
	text = s.b[s.i : s.i+n]
	s.i += n
	return text, string(text) == "null", nil
}
