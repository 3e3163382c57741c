package block

import (
	"math/bits"

	"github.com/klauspost/compress/s2"
)

// Column kinds, the low four bits of a column's first byte. Numbers are never
// reused.
const (
	kindNone    = 0 // no value is present
	kindConst   = 1
	kindDecimal = 2
	kindTime    = 3
	kindHex     = 4
	kindDict    = 5
	kindRaw     = 6
	kindDigits  = 7
	kindMask    = 15

	flagAffix  = 1 << 4 // decimal, hex, raw, digits: all values share a start and an end
	flagS2     = 1 << 5 // what follows the first byte is compressed
	flagAbsent = 1 << 6 // a bitmap says which values are present
	flagOther  = 1 << 7 // a bitmap says which present values are not one given text
)

// compressFrom is the size below which s2 does not pay.
const compressFrom = 200

type span struct{ lo, hi uint32 }

var absent = span{1<<32 - 1, 0}

// Column is a decoded column. Its memory is reused by the next Decode. The
// zero value is ready.
type Column struct {
	data  []byte
	spans []span
	tmp   []byte // decompressed body
	pre   []byte // what all values start and end with, while decoding
	suf   []byte
	x     [chunk]int64
	ents  [256]span
}

// Len is the number of values of the last successful Decode.
func (c *Column) Len() int { return len(c.spans) }

// Value returns value i, valid until the next Decode or Wipe; ok is false if
// it is absent.
func (c *Column) Value(i int) (v []byte, ok bool) {
	s := c.spans[i]
	if s == absent {
		return nil, false
	}
	return c.data[s.lo:s.hi:s.hi], true
}

// Wipe overwrites the decoded values and forgets them.
func (c *Column) Wipe() {
	clear(c.data[:cap(c.data)])
	clear(c.tmp[:cap(c.tmp)])
	clear(c.x[:])
	c.data, c.tmp, c.spans = c.data[:0], c.tmp[:0], c.spans[:0]
}

// Decode reads a column of exactly n values. It returns ErrCorrupt, and holds
// no values, for anything that is not such a column, has bytes behind it, or
// holds more than MaxRows values or MaxColumn bytes.
func (c *Column) Decode(src []byte, n int) error {
	c.data, c.spans, c.pre, c.suf = c.data[:0], c.spans[:0], nil, nil
	if n < 0 || n > MaxRows || len(src) == 0 || !c.decode(src, n) {
		c.spans = c.spans[:0]
		return ErrCorrupt
	}
	return nil
}

func (c *Column) decode(src []byte, n int) bool {
	if cap(c.spans) < n {
		c.spans = make([]span, n)
	}
	c.spans = c.spans[:n]
	if c.data == nil {
		c.data = make([]byte, 0, 64) // an empty value is not nil
	}
	tag, body := src[0], src[1:]
	if tag&flagS2 != 0 {
		size, err := s2.DecodedLen(body)
		if err != nil || size > MaxColumn {
			return false
		}
		if cap(c.tmp) < size {
			c.tmp = make([]byte, size)
		}
		if c.tmp, err = s2.Decode(c.tmp[:size], body); err != nil {
			return false
		}
		body = c.tmp
	}
	r := reader{b: body}
	present, m := n, n
	var bitmap, ordinary []byte
	if tag&flagAbsent != 0 {
		bitmap, present = r.bitmap(n)
		m = present
	}
	var other span
	if tag&flagOther != 0 {
		v := r.bytes(r.uvarint())
		if !c.grow(len(v)) {
			return false
		}
		c.data = append(c.data, v...)
		other = span{0, uint32(len(v))}
		ordinary, m = r.bitmap(present)
	}
	if r.bad {
		return false
	}
	kind := tag & kindMask
	if m == 0 && kind != kindNone {
		return false
	}
	if tag&flagAffix != 0 {
		c.pre = r.bytes(r.uvarint())
		c.suf = r.bytes(r.uvarint())
		if kind != kindDecimal && kind != kindHex && kind != kindRaw && kind != kindDigits {
			return false
		}
	}
	switch kind {
	case kindNone:
		if tag != kindNone {
			return false
		}
		for i := range c.spans {
			c.spans[i] = absent
		}
	case kindConst:
		if !c.grow(len(r.b)) {
			return false
		}
		c.data = append(c.data, r.b...)
		s := span{uint32(len(c.data) - len(r.b)), uint32(len(c.data))}
		for i := range c.spans[:m] {
			c.spans[i] = s
		}
		r.b = nil
	case kindDecimal:
		c.decimals(&r, m)
	case kindTime:
		c.times(&r, m)
	case kindHex:
		c.hex(&r, m)
	case kindDict:
		c.dict(&r, m)
	case kindRaw:
		c.raw(&r, m)
	case kindDigits:
		c.digits(&r, m)
	default:
		return false
	}
	if r.bad || len(r.b) != 0 {
		return false
	}
	if ordinary != nil {
		spread(c.spans[:present], ordinary, m, other)
	}
	if bitmap != nil {
		spread(c.spans, bitmap, present, absent)
	}
	return true
}

// bitmap reads n bits and counts those that are set: some, but not all.
func (r *reader) bitmap(n int) (b []byte, set int) {
	b = r.bytes(uint64(n+7) / 8)
	for _, x := range b {
		set += bits.OnesCount8(x)
	}
	if r.bad || set == 0 || set == n || n%8 != 0 && b[n/8]>>(n%8) != 0 {
		r.fail()
	}
	return b, set
}

// spread moves the first m spans to the places whose bit is set, in order, and
// fills the others.
func spread(spans []span, bitmap []byte, m int, fill span) {
	for i := len(spans) - 1; i >= 0; i-- {
		if bitmap[i/8]>>(i%8)&1 == 0 {
			spans[i] = fill
			continue
		}
		m--
		spans[i] = spans[m]
	}
}

// begin and end put a value between the shared start and end. Room for both
// was made by grow.
func (c *Column) begin() int {
	s := len(c.data)
	if len(c.pre) > 0 {
		c.data = append(c.data, c.pre...)
	}
	return s
}

func (c *Column) end(i, s int) {
	if len(c.suf) > 0 {
		c.data = append(c.data, c.suf...)
	}
	c.spans[i] = span{uint32(s), uint32(len(c.data))}
}

// grow makes room for n bytes more in up to chunk values, starts and ends
// included; it refuses to pass MaxColumn by more than the slack of a chunk.
func (c *Column) grow(n int) bool { return c.growAffixed(n, chunk) }

func (c *Column) growAffixed(n, values int) bool {
	need := len(c.data) + n
	if x := len(c.pre) + len(c.suf); x > 0 {
		if x > MaxColumn/values {
			return false
		}
		need += x * values
	}
	if need <= cap(c.data) {
		return true
	}
	if need > MaxColumn {
		return false
	}
	d := make([]byte, len(c.data), min(need+need/2, MaxColumn))
	copy(d, c.data)
	c.data = d
	return true
}
