package block

import (
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/s2"
)

// Hint remembers what suited a field's last column, so that the next one is
// encoded without looking at every kind again. The zero value is ready; one
// per field and goroutine. It changes the size of a column, never its meaning.
type Hint struct {
	tag    uint8 // kind, flagAffix, flagOther; kindNone: nothing remembered
	uses   uint8 // since all kinds were looked at
	skip   uint8 // columns until s2 is tried again
	layout layout
	size   int // of the column it comes from, uncompressed, and its values
	n      int
	other  [maxOther]byte // with flagOther in tag
	nother uint8
}

// maxOther is how long the text that stands for no reading may be, such as NA.
const maxOther = 15

// lookAgain is after how many columns all kinds are looked at again.
const lookAgain = 64

// view is the present values of a column, less what they share. Value i is
// v[i*stride] without its first p and last s bytes.
type view struct {
	v      [][]byte
	stride int
	n      int
	p, s   int
}

func (w *view) at(i int) []byte {
	v := w.v[i*w.stride]
	return v[w.p : len(v)-w.s]
}

// scratch is the memory of one AppendColumn. It refers to no value after it.
type scratch struct {
	present [][]byte
	rest    [][]byte
	held    int // of rest, at most
	dict    [256][]byte
	used    int         // of dict, at most
	table   [512]uint16 // open addressing; entry + 1
	index   []int64
	ls      [8]layout
	packed  []byte
	x       [chunk]int64
	scale   [chunk]uint8
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// AppendColumn appends one self-describing column of n values to dst. Value i
// is vals[off+i*stride]; nil is absent, which differs from empty. h may be nil.
// The values together may have up to MaxColumn bytes, and n is at most MaxRows.
func AppendColumn(dst []byte, vals [][]byte, off, stride, n int, h *Hint) []byte {
	first, missing, same := -1, 0, true
	var f []byte
	for i, j := 0, off; i < n; i, j = i+1, j+stride {
		v := vals[j]
		if v == nil {
			missing++
		} else if first < 0 {
			first, f = j, v
		} else if same && (len(v) != len(f) || string(v) != string(f)) {
			same = false
		}
	}
	if first < 0 {
		return append(dst, kindNone)
	}
	at := len(dst)
	dst = append(dst, 0)
	var tag uint8
	if missing > 0 {
		tag = flagAbsent
		at := len(dst)
		dst = appendZeros(dst, n)
		for i, j := 0, off; i < n; i, j = i+1, j+stride {
			if vals[j] != nil {
				dst[at+i/8] |= 1 << (i % 8)
			}
		}
	}
	if same {
		dst = append(dst, f...)
		dst[at] = tag | kindConst
		return compress(dst, at, nil)
	}
	s := scratches.Get().(*scratch)
	vs := view{v: vals[off:], stride: stride, n: n}
	if missing > 0 {
		p := s.present[:0]
		for i, j := 0, off; i < n; i, j = i+1, j+stride {
			if vals[j] != nil {
				p = append(p, vals[j])
			}
		}
		s.present = p
		vs = view{v: p, stride: 1, n: len(p)}
	}
	dst = s.encode(dst, at, vs, tag, h)
	if missing > 0 {
		clear(s.present)
	}
	clear(s.rest[:s.held])
	s.held = 0
	clear(s.dict[:s.used])
	s.used = 0
	scratches.Put(s)
	return dst
}

// encode appends the payload to dst, whose column began at at, and sets the
// column's first byte.
func (s *scratch) encode(dst []byte, at int, vs view, tag uint8, h *Hint) []byte {
	body := len(dst)
	if h != nil && h.tag != kindNone && h.uses < lookAgain && vs.n <= 4*h.n && h.n <= 4*vs.n {
		limit := h.size*vs.n/h.n*3/2 + 16
		if out, k, ok := s.again(dst, vs, h, limit); ok && len(out)-body <= limit {
			h.uses++
			out[at] = tag | k
			return compress(out, at, h)
		}
		dst = dst[:body]
	}
	var next Hint
	dst = s.look(dst, vs, &next)
	dst[at] = tag | next.tag
	if h != nil {
		next.size, next.n, next.skip = len(dst)-body, vs.n, h.skip
		*h = next
	}
	return compress(dst, at, h)
}

// again encodes as the hint says, if the values allow it.
func (s *scratch) again(dst []byte, vs view, h *Hint, limit int) (out []byte, tag uint8, ok bool) {
	tag = h.tag
	if tag&flagOther != 0 {
		out, rest := s.appendOther(dst, vs, h.other[:h.nother])
		switch rest.n {
		case 0:
			return dst, 0, false
		case vs.n: // this time it does not occur
			tag &^= flagOther
		default:
			dst, vs = out, rest
		}
	}
	switch tag &^ flagOther {
	case kindDecimal:
		out, ok = s.appendDecimals(dst, vs)
	case kindTime:
		out, ok = s.appendTimes(dst, vs, &h.layout)
	case kindHex:
		out, ok = appendHex(dst, vs)
	case kindDigits:
		out, ok = s.appendDigits(dst, vs)
	case kindDict:
		out, ok = s.appendDict(dst, vs, limit)
	default:
		out, ok = s.appendAffixed(dst, vs, &tag)
	}
	return out, tag, ok
}

// look tries the kinds that may suit, keeps the smallest and notes it in h.
func (s *scratch) look(dst []byte, vs view, h *Hint) []byte {
	body := len(dst)
	out, ok := s.appendNumbers(dst, vs, h)
	if ok && h.tag == kindTime {
		return out
	}
	if !ok {
		out, _ = s.appendAffixed(dst, vs, &h.tag)
		if d, ok := appendHex(out, vs); ok {
			out, h.tag = smaller(out, d, body, h.tag, kindHex)
		}
		if o, ok := odd(vs); ok {
			d, rest := s.appendOther(out, vs, o)
			was := h.tag
			if d, ok := s.appendNumbers(d, rest, h); ok {
				h.nother = uint8(copy(h.other[:], o))
				out, h.tag = smaller(out, d, body, was, h.tag|flagOther)
			} else {
				h.tag = was
			}
		}
	}
	if d, ok := s.appendDict(out, vs, len(out)-body-1); ok {
		out, h.tag = smaller(out, d, body, h.tag, kindDict)
	}
	return out
}

// appendNumbers appends values that are all times or all decimals.
func (s *scratch) appendNumbers(dst []byte, vs view, h *Hint) ([]byte, bool) {
	for _, l := range layouts(vs.at(0), s.ls[:0]) {
		h.layout = l
		if out, ok := s.appendTimes(dst, vs, &h.layout); ok {
			h.tag = kindTime
			return out, true
		}
	}
	out, ok := s.appendDecimals(dst, vs)
	if ok {
		h.tag = kindDecimal
	}
	return out, ok
}

// odd returns the text that may stand for no reading among numbers or times,
// such as NA or nothing at all.
func odd(vs view) ([]byte, bool) {
	number := func(v []byte) bool {
		return len(v) > 0 && (v[0]-'0' <= 9 || v[0] == '-' && len(v) > 1 && v[1]-'0' <= 9)
	}
	o := vs.at(0)
	first := number(o)
	for i := 1; i < vs.n; i++ {
		v := vs.at(i)
		if !first && string(v) == string(o) || first && number(v) {
			continue
		}
		if first {
			o = v
		} else if !number(v) {
			return nil, false
		}
		return o, len(o) <= maxOther
	}
	return nil, false
}

// appendOther appends the text o and which values are not o, and returns those.
func (s *scratch) appendOther(dst []byte, vs view, o []byte) ([]byte, view) {
	dst = binary.AppendUvarint(dst, uint64(len(o)))
	dst = append(dst, o...)
	at := len(dst)
	dst = appendZeros(dst, vs.n)
	rest := s.rest[:0]
	for i := range vs.n {
		if v := vs.at(i); string(v) != string(o) {
			rest = append(rest, v)
			dst[at+i/8] |= 1 << (i % 8)
		}
	}
	s.rest = rest
	s.held = max(s.held, len(rest))
	return dst, view{v: rest, stride: 1, n: len(rest)}
}

// appendZeros appends a bitmap of n bits.
func appendZeros(dst []byte, n int) []byte {
	for ; n > 0; n -= 8 {
		dst = append(dst, 0)
	}
	return dst
}

// smaller keeps the shorter of two encodings: a begins at body, and b is a
// with the other one behind it.
func smaller(a, b []byte, body int, ka, kb uint8) ([]byte, uint8) {
	if len(b)-len(a) >= len(a)-body {
		return a, ka
	}
	n := copy(b[body:], b[len(a):])
	return b[:body+n], kb
}

func appendAffix(dst, v []byte, p, s int) []byte {
	dst = binary.AppendUvarint(dst, uint64(p))
	dst = append(dst, v[:p]...)
	dst = binary.AppendUvarint(dst, uint64(s))
	return append(dst, v[len(v)-s:]...)
}

// appendAffixed takes off what all values share and appends the rest as what
// it is: numbers, hexadecimal or text. It sets the kind.
func (s *scratch) appendAffixed(dst []byte, vs view, k *uint8) ([]byte, bool) {
	p, q, equal := affix(vs)
	f := vs.at(0)
	w := vs
	flag := uint8(flagAffix)
	body := len(dst)
	put := func(p, q int) []byte {
		w.p, w.s = p, q
		if flag = flagAffix; p+q == 0 {
			flag = 0
			return dst[:body]
		}
		return appendAffix(dst[:body], f, p, q)
	}
	if equal {
		for _, cut := range [2]int{0, 1} { // numbers gain nothing from sharing
			if out, ok := s.appendDigits(put(p*cut, q*cut), w); ok {
				*k = kindDigits | flag
				return out, true
			}
		}
		// The shared part may cut a byte in two.
		hp := p
		if (len(f)-p-q)%2 != 0 && hp > 0 {
			hp--
		}
		if p+q > 0 {
			if out, ok := appendHex(put(hp, q), w); ok {
				*k = kindHex | flag
				return out, true
			}
		}
	} else if p+q > 0 {
		// A number's own first and last digits may be shared too.
		np, nq := p, q
		for np > 0 && f[np-1]-'0' <= 9 {
			np--
		}
		for nq > 0 && (f[len(f)-nq]-'0' <= 9 || f[len(f)-nq] == '.') {
			nq--
		}
		if np+nq > 0 {
			if out, ok := s.appendDecimals(put(np, nq), w); ok {
				*k = kindDecimal | flag
				return out, true
			}
		}
	}
	if (p+q)*(vs.n-1) < 4 {
		p, q = 0, 0
	}
	out := put(p, q)
	*k = kindRaw | flag
	return s.appendRaw(out, w), true
}

// compress replaces what follows the first byte of the column by its
// compressed form if that is shorter.
func compress(dst []byte, at int, h *Hint) []byte {
	body := dst[at+1:]
	if len(body) <= compressFrom {
		return dst
	}
	if h != nil && h.skip > 0 {
		h.skip--
		return dst
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	if n := s2.MaxEncodedLen(len(body)); cap(s.packed) < n {
		s.packed = make([]byte, n)
	}
	out := s2.Encode(s.packed[:cap(s.packed)], body)
	if len(out) >= len(body) {
		if h != nil {
			h.skip = lookAgain / 4
		}
		return dst
	}
	dst[at] |= flagS2
	return append(dst[:at+1], out...)
}
