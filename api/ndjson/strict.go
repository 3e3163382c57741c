package ndjson

// Strict checks one whole JSON document of any shape: UTF-8, no lone
// surrogates, no duplicate names in an object, JSON's grammar of numbers,
// nothing after the value, and at most maxDepth objects and arrays inside one
// another. What it accepts, encoding/json decodes without surprises. It is not
// made for the hot path: it allocates.
func Strict(b []byte, maxDepth int) *Error {
	s := strict{b: b, depth: maxDepth}
	i := space(b, 0)
	if i >= len(b) {
		return fail(Empty, nil, 0)
	}
	i, err := s.value(i, nil)
	if err != nil {
		return err
	}
	if i = space(b, i); i < len(b) {
		return fail(Malformed, nil, i)
	}
	return nil
}

type strict struct {
	b     []byte
	depth int // how much deeper it may go
	buf   []byte
}

// value checks the value at b[i] and returns the index after it. name is that
// of the member it belongs to.
func (s *strict) value(i int, name []byte) (int, *Error) {
	if i >= len(s.b) {
		return i, fail(Malformed, name, i)
	}
	switch c := s.b[i]; {
	case c == '{' || c == '[':
		if s.depth <= 0 {
			return i, fail(Nested, name, i)
		}
		s.depth--
		var err *Error
		if c == '{' {
			i, err = s.object(i+1, name)
		} else {
			i, err = s.array(i+1, name)
		}
		s.depth++
		return i, err
	case c == '"':
		_, e, err := s.text(i, name)
		return e, err
	case c-'0' <= 9 || c == '-':
		e := num(s.b, i)
		if e < 0 {
			return i, fail(Number, name, i)
		}
		return e, nil
	}
	for _, w := range [...]string{"true", "false", "null"} {
		if e := i + len(w); e <= len(s.b) && string(s.b[i:e]) == w {
			return e, nil
		}
	}
	return i, fail(Malformed, name, i)
}

func (s *strict) object(i int, outer []byte) (int, *Error) {
	if i = space(s.b, i); i < len(s.b) && s.b[i] == '}' {
		return i + 1, nil
	}
	seen := map[string]struct{}{}
	for {
		i = space(s.b, i)
		if i >= len(s.b) || s.b[i] != '"' {
			return i, fail(Malformed, outer, i)
		}
		key, e, err := s.text(i, nil)
		if err != nil {
			return e, err
		}
		name := string(key)
		if _, dup := seen[name]; dup {
			return i, fail(DuplicateKey, key, i)
		}
		seen[name] = struct{}{}
		if i = space(s.b, e); i >= len(s.b) || s.b[i] != ':' {
			return i, fail(Malformed, []byte(name), i)
		}
		if i, err = s.value(space(s.b, i+1), []byte(name)); err != nil {
			return i, err
		}
		if i = space(s.b, i); i >= len(s.b) || s.b[i] != ',' {
			break
		}
		i++
	}
	if i >= len(s.b) || s.b[i] != '}' {
		return i, fail(Malformed, outer, i)
	}
	return i + 1, nil
}

func (s *strict) array(i int, outer []byte) (int, *Error) {
	if i = space(s.b, i); i < len(s.b) && s.b[i] == ']' {
		return i + 1, nil
	}
	for {
		var err *Error
		if i, err = s.value(space(s.b, i), outer); err != nil {
			return i, err
		}
		if i = space(s.b, i); i >= len(s.b) || s.b[i] != ',' {
			break
		}
		i++
	}
	if i >= len(s.b) || s.b[i] != ']' {
		return i, fail(Malformed, outer, i)
	}
	return i + 1, nil
}

// text checks the string at b[i] and returns its text, which is valid until
// the next call, and the index after it.
func (s *strict) text(i int, name []byte) ([]byte, int, *Error) {
	e, escaped, code := str(s.b, i+1)
	if code != "" {
		return nil, e, fail(code, name, e)
	}
	if !escaped {
		return s.b[i+1 : e], e + 1, nil
	}
	out, at, code := unescape(s.buf[:0], s.b[i+1:e])
	if code != "" {
		return nil, i, fail(code, name, i+1+at)
	}
	s.buf = out
	return out, e + 1, nil
}
