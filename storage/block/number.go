package block

import "strconv"

// maxScale is the most digits after the point in a decimal column: the
// smallest and the largest number of them share a byte.
const maxScale = 15

// parseDecimal reads -?(0|[1-9][0-9]*)(\.[0-9]+)? of at most 18 digits as
// mantissa and digits after the point. Anything that would not be written
// back the same, such as -0 or 007, is not a decimal.
func parseDecimal(v []byte) (x int64, scale int, ok bool) {
	i := 0
	if len(v) > 0 && v[0] == '-' {
		i = 1
	}
	if len(v)-i > 19 || len(v) == i {
		return
	}
	st := i
	for ; i < len(v); i++ {
		c := v[i] - '0'
		if c > 9 {
			break
		}
		x = x*10 + int64(c)
	}
	whole := i - st
	if whole == 0 || whole > 1 && v[st] == '0' {
		return 0, 0, false
	}
	if i < len(v) {
		if v[i] != '.' {
			return 0, 0, false
		}
		for i++; i < len(v); i++ {
			c := v[i] - '0'
			if c > 9 {
				return 0, 0, false
			}
			x = x*10 + int64(c)
		}
		scale = len(v) - st - whole - 1
		if scale == 0 || scale > maxScale {
			return 0, 0, false
		}
	}
	if whole+scale > 18 {
		return 0, 0, false
	}
	if st == 1 {
		if x == 0 {
			return 0, 0, false
		}
		x = -x
	}
	return x, scale, true
}

// appendDecimals appends the values as chunks: a byte least | most<<4 of
// digits after the point, then mantissas scaled to most. A value with more
// than least digits after the point must not end in 0, which is how a decoder
// knows where it ended.
func (s *scratch) appendDecimals(dst []byte, vs view) ([]byte, bool) {
	x, sc := &s.x, &s.scale
	for a := 0; a < vs.n; a += chunk {
		k := min(chunk, vs.n-a)
		lo, hi := maxScale, 0
		for i := range k {
			m, d, ok := parseDecimal(vs.at(a + i))
			if !ok {
				return dst, false
			}
			x[i], sc[i] = m, uint8(d)
			lo, hi = min(lo, d), max(hi, d)
		}
		if lo != hi {
			for i, d := range sc[:k] {
				if int(d) > lo && x[i]%10 == 0 {
					return dst, false
				}
				p := pow10[hi-int(d)]
				limit := pow10[18] / p
				if x[i] >= limit || x[i] <= -limit {
					return dst, false
				}
				x[i] *= p
			}
		}
		dst = appendInts(append(dst, byte(lo|hi<<4)), x[:k])
	}
	return dst, true
}

func (c *Column) decimals(r *reader, m int) {
	x := &c.x
	for a := 0; a < m; a += chunk {
		k := min(chunk, m-a)
		sc := r.byte()
		lo, hi := int(sc&15), int(sc>>4)
		r.ints(x[:k])
		if r.bad || lo > hi || !c.grow(k*20) {
			r.fail()
			return
		}
		for i, v := range x[:k] {
			if v <= -pow10[18] || v >= pow10[18] {
				r.fail()
				return
			}
			s := c.begin()
			if hi == 0 {
				c.data = strconv.AppendInt(c.data, v, 10)
			} else {
				c.data = appendDecimal(c.data, v, lo, hi)
			}
			c.end(a+i, s)
		}
	}
}

// appendDecimal writes x with hi digits after the point, less the zeros at the
// end that are beyond lo of them.
func appendDecimal(b []byte, x int64, lo, hi int) []byte {
	u := uint64(x)
	if x < 0 {
		b = append(b, '-')
		u = -u
	}
	for hi > lo && u%10 == 0 {
		u /= 10
		hi--
	}
	if hi == 0 {
		return strconv.AppendUint(b, u, 10)
	}
	var t [24]byte
	i := len(t)
	for d := hi; ; {
		i--
		t[i] = byte('0' + u%10)
		u /= 10
		if d--; d == 0 {
			i--
			t[i] = '.'
		} else if d < 0 && u == 0 {
			break
		}
	}
	return append(b, t[i:]...)
}

// appendDigits appends values that are all the same number w of digits, 1 to
// 18: the byte w, then chunks.
func (s *scratch) appendDigits(dst []byte, vs view) ([]byte, bool) {
	w := len(vs.at(0))
	if w < 1 || w > 18 {
		return dst, false
	}
	dst = append(dst, byte(w))
	x := &s.x
	for a := 0; a < vs.n; a += chunk {
		k := min(chunk, vs.n-a)
		for i := range k {
			v := vs.at(a + i)
			if len(v) != w {
				return dst, false
			}
			var u int64
			for _, c := range v {
				if c -= '0'; c > 9 {
					return dst, false
				}
				u = u*10 + int64(c)
			}
			x[i] = u
		}
		dst = appendInts(dst, x[:k])
	}
	return dst, true
}

func (c *Column) digits(r *reader, m int) {
	w := int(r.byte())
	if w < 1 || w > 18 {
		r.fail()
		return
	}
	x := &c.x
	for a := 0; a < m; a += chunk {
		k := min(chunk, m-a)
		r.ints(x[:k])
		if r.bad || !c.grow(k*w) {
			r.fail()
			return
		}
		for i, v := range x[:k] {
			if v < 0 || v >= pow10[w] {
				r.fail()
				return
			}
			s := c.begin()
			at := len(c.data)
			c.data = c.data[:at+w]
			for j := at + w - 1; j >= at; j-- {
				c.data[j] = byte('0' + v%10)
				v /= 10
			}
			c.end(a+i, s)
		}
	}
}
