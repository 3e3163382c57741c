package block

import (
	"encoding/binary"
	"math/bits"
)

const (
	hexUpper = 1 << iota // A to F, else a to f
	hexUUID              // 8-4-4-4-12 digits with hyphens
)

const hexLower, hexCaps = "0123456789abcdef", "0123456789ABCDEF"

// unhex[0] reads lower case, unhex[1] upper; 255 is no digit.
var unhex = func() (t [2][256]uint8) {
	for k, digits := range [2]string{hexLower, hexCaps} {
		for i := range t[k] {
			t[k][i] = 255
		}
		for i := range len(digits) {
			t[k][digits[i]] = uint8(i)
		}
	}
	return
}()

func hyphen(i int) bool { return i == 8 || i == 13 || i == 18 || i == 23 }

// appendHex appends values that are all the same even number of hexadecimal
// digits, or UUIDs: form, number of bytes unless UUID, bytes.
func appendHex(dst []byte, vs view) ([]byte, bool) {
	f := vs.at(0)
	size := len(f)
	var form byte
	if size == 36 && f[8] == '-' {
		form = hexUUID
	} else if size < 8 || size%2 != 0 || size > 510 {
		return dst, false
	}
	for _, c := range f {
		if c >= 'a' {
			break
		}
		if c >= 'A' {
			form |= hexUpper
			break
		}
	}
	t := &unhex[form&hexUpper]
	dst = append(dst, form)
	if form&hexUUID == 0 {
		dst = append(dst, byte(size/2))
	}
	for i := range vs.n {
		v := vs.at(i)
		if len(v) != size {
			return dst, false
		}
		if form&hexUUID != 0 {
			if v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
				return dst, false
			}
			for j := 0; j < 36; j += 2 {
				if hyphen(j) {
					j++
				}
				a, b := t[v[j]], t[v[j+1]]
				if a|b > 15 {
					return dst, false
				}
				dst = append(dst, a<<4|b)
			}
			continue
		}
		for j := 0; j+1 < len(v); j += 2 {
			a, b := t[v[j]], t[v[j+1]]
			if a|b > 15 {
				return dst, false
			}
			dst = append(dst, a<<4|b)
		}
	}
	return dst, true
}

func (c *Column) hex(r *reader, m int) {
	form := r.byte()
	if form > hexUpper|hexUUID {
		r.fail()
	}
	size, out := 16, 36
	if form&hexUUID == 0 {
		size = int(r.byte())
		out = 2 * size
	}
	digits := hexLower
	if form&hexUpper != 0 {
		digits = hexCaps
	}
	b := r.bytes(uint64(m * size))
	if r.bad || size == 0 || !c.grow(m*out) {
		r.fail()
		return
	}
	for i := range m {
		s := c.begin()
		for j, x := range b[:size] {
			if form&hexUUID != 0 && (j == 4 || j == 6 || j == 8 || j == 10) {
				c.data = append(c.data, '-')
			}
			c.data = append(c.data, digits[x>>4], digits[x&15])
		}
		b = b[size:]
		c.end(i, s)
	}
}

// appendDict appends up to 256 distinct values and an index of w bits for
// each value, w being what the largest index needs. It gives up when the
// result would be longer than limit.
func (s *scratch) appendDict(dst []byte, vs view, limit int) ([]byte, bool) {
	clear(s.table[:])
	if cap(s.index) < vs.n {
		s.index = make([]int64, vs.n+vs.n/2)
	}
	ix := s.index[:vs.n]
	n, size := 0, 1
	var last []byte
	cur := int64(0)
	for i := range ix {
		v := vs.at(i)
		if i > 0 && string(v) == string(last) {
			ix[i] = cur
			continue
		}
		last = v
		h := hash(v)
		for {
			e := int(s.table[h])
			if e == 0 {
				if size += len(v) + 1; n == len(s.dict) || size > limit {
					return dst, false
				}
				s.dict[n] = v
				n++
				s.used = max(s.used, n)
				s.table[h] = uint16(n)
				cur = int64(n - 1)
				break
			}
			if string(s.dict[e-1]) == string(v) {
				cur = int64(e - 1)
				break
			}
			h = (h + 1) % uint32(len(s.table))
		}
		ix[i] = cur
	}
	w := bits.Len(uint(n - 1))
	if size+(vs.n*w+7)/8 > limit {
		return dst, false
	}
	dst = append(dst, byte(n-1))
	for _, v := range s.dict[:n] {
		dst = binary.AppendUvarint(dst, uint64(len(v)))
		dst = append(dst, v...)
	}
	return pack(dst, ix, 0, w, false), true
}

func hash(v []byte) uint32 {
	n := len(v)
	var a, b uint64
	switch {
	case n >= 8:
		a, b = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:])
	case n >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[n-4:]))
	case n > 0:
		a, b = uint64(v[0])|uint64(v[n/2])<<8, uint64(v[n-1])
	}
	const m = 0x9e3779b97f4a7c15
	h := (a*m ^ b ^ uint64(n)<<56) * m
	return uint32(h >> 55)
}

func (c *Column) dict(r *reader, m int) {
	n := int(r.byte()) + 1
	ents := &c.ents
	for i := range n {
		v := r.bytes(r.uvarint())
		s := len(c.data)
		if r.bad || !c.grow(len(v)) {
			r.fail()
			return
		}
		c.data = append(c.data, v...)
		ents[i] = span{uint32(s), uint32(len(c.data))}
	}
	w := bits.Len(uint(n - 1))
	u := unpacker{b: r.bytes(uint64(m*w+7) / 8), w: w}
	for i := range c.spans[:m] {
		x := 0
		if w > 0 {
			x = int(u.next())
		}
		if x >= n {
			r.fail()
			return
		}
		c.spans[i] = ents[x]
	}
}

// appendRaw appends the lengths as chunks, then the bytes of all values.
func (s *scratch) appendRaw(dst []byte, vs view) []byte {
	x := &s.x
	for a := 0; a < vs.n; a += chunk {
		k := min(chunk, vs.n-a)
		for i := range k {
			x[i] = int64(len(vs.at(a + i)))
		}
		dst = appendInts(dst, x[:k])
	}
	for i := range vs.n {
		dst = append(dst, vs.at(i)...)
	}
	return dst
}

func (c *Column) raw(r *reader, m int) {
	x := &c.x
	total := uint64(0)
	for a := 0; a < m; a += chunk {
		k := min(chunk, m-a)
		r.ints(x[:k])
		for i, v := range x[:k] {
			if r.bad || v < 0 || v > MaxColumn {
				r.fail()
				return
			}
			// Lengths for now: below, once it is known that all fit.
			c.spans[a+i] = span{0, uint32(v)}
			total += uint64(v)
		}
	}
	b := r.bytes(total)
	if r.bad || !c.growAffixed(int(total), m) {
		r.fail()
		return
	}
	for i := range m {
		n := c.spans[i].hi
		s := c.begin()
		c.data = append(c.data, b[:n]...)
		b = b[n:]
		c.end(i, s)
	}
}

// affix returns how many bytes all values have in common at the start and at
// the end, never counting one twice, and whether they are equally long.
func affix(vs view) (p, s int, equal bool) {
	f := vs.at(0)
	p, s, equal = len(f), len(f), true
	shortest := len(f)
	for i := 1; i < vs.n; i++ {
		v := vs.at(i)
		if len(v) != len(f) {
			equal = false
			shortest = min(shortest, len(v))
		}
		if p > 0 {
			p = commonPrefix(f[:p], v)
		}
		if s > 0 {
			s = commonSuffix(f[len(f)-s:], v)
		}
	}
	return p, max(min(s, shortest-p), 0), equal
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

func commonSuffix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[len(a)-i-8:]) ^ binary.LittleEndian.Uint64(b[len(b)-i-8:]); x != 0 {
			return i + bits.LeadingZeros64(x)/8
		}
	}
	for i < n && a[len(a)-1-i] == b[len(b)-1-i] {
		i++
	}
	return i
}
