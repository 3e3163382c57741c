package ndjson

// Header is a section's first line. Its members are plain: an escape in any of
// them is refused, since none of them has a use for it.
type Header struct {
	UID, NID uint32 // the con_id, which is UID-NID
	Key      []byte // aliases the line, which is to be overwritten after use
	Dataset  []byte // aliases the line
	Instance uint32 // 0 if it was not sent
}

const opening = `{"con_id":`

// IsHeader reports whether line opens a section. No dataset has a field con_id.
func IsHeader(line []byte) bool {
	return len(line) >= len(opening) && string(line[:len(opening)]) == opening
}

// ParseHeader scans a section's first line. Names other than con_id, key,
// dataset and instance are refused, the first three are required.
func ParseHeader(line []byte, h *Header) *Error {
	*h = Header{}
	if len(line) > MaxLine {
		return fail(TooLong, nil, MaxLine)
	}
	if !IsHeader(line) {
		return fail(Malformed, nil, 0)
	}
	names := [...]string{"con_id", "key", "dataset", "instance"}
	var seen [len(names)]bool
	for i := 1; ; {
		i = space(line, i)
		name, e, code := member(line, i)
		if code != "" {
			return fail(code, nil, e)
		}
		at := i
		k := 0
		for k < len(names) && names[k] != string(name) {
			k++
		}
		if k == len(names) {
			return fail(UnknownField, name, at)
		}
		if seen[k] {
			return fail(DuplicateKey, name, at)
		}
		seen[k] = true
		i = space(line, e)
		if i >= len(line) || line[i] != ':' {
			return fail(Malformed, name, i)
		}
		i = space(line, i+1)
		at = i
		var v []byte
		if k == 3 {
			if i >= len(line) || line[i]-'0' > 9 {
				return fail(Number, name, i)
			}
			if e = num(line, i); e < 0 {
				return fail(Number, name, i)
			}
			v = line[i:e]
		} else if v, e, code = member(line, i); code != "" {
			return fail(code, name, e)
		}
		ok := len(v) > 0
		switch k {
		case 0:
			h.UID, h.NID, ok = conID(v)
		case 1:
			h.Key = v
		case 2:
			h.Dataset = v
		case 3:
			h.Instance, ok = number32(v)
		}
		if !ok {
			return fail(Malformed, name, at)
		}
		i = space(line, e)
		if i < len(line) && line[i] == ',' {
			i++
			continue
		}
		if i >= len(line) || line[i] != '}' {
			return fail(Malformed, name, i)
		}
		if i = space(line, i+1); i < len(line) {
			return fail(Malformed, nil, i)
		}
		for k, n := range names[:3] {
			if !seen[k] {
				return fail(Malformed, []byte(n), len(line))
			}
		}
		return nil
	}
}

// member scans a string without escapes whose opening quote is at b[i] and
// returns the index after the closing one.
func member(b []byte, i int) (v []byte, end int, code string) {
	if i >= len(b) || b[i] != '"' {
		return nil, i, Malformed
	}
	e, escaped, code := str(b, i+1)
	if code == "" && escaped {
		code = Malformed
	}
	if code != "" {
		return nil, e, code
	}
	return b[i+1 : e : e], e + 1, ""
}

func conID(v []byte) (uid, nid uint32, ok bool) {
	for i, c := range v {
		if c == '-' {
			u, a := number32(v[:i])
			n, b := number32(v[i+1:])
			return u, n, a && b
		}
	}
	return 0, 0, false
}

// number32 reads a decimal without sign or leading zeros.
func number32(v []byte) (uint32, bool) {
	if len(v) == 0 || len(v) > 10 || v[0] == '0' && len(v) > 1 {
		return 0, false
	}
	var x uint64
	for _, c := range v {
		if c-'0' > 9 {
			return 0, false
		}
		x = x*10 + uint64(c-'0')
	}
	return uint32(x), x <= 1<<32-1
}
