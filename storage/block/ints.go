package block

import (
	"encoding/binary"
	"math/bits"
)

// Integers travel in chunks of up to chunk values, each in the smallest of
// three forms, so that one outlier or one break in a series costs its chunk
// only and nothing has to be held on the heap.
const chunk = 128

const (
	intsPlain  = iota << 6 // minimum, then value - minimum in w bits each
	intsDelta              // first, least difference, then difference - least in w bits each
	intsVarint             // first, then every difference, as zigzag varints

	intsWidth = 1<<6 - 1
)

// pow10[i] is 10^i.
var pow10 = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

func varintLen(z uint64) int { return (bits.Len64(z|1) + 6) / 7 }

// appendInts appends a chunk of 1 to 128 values whose differences fit int64.
func appendInts(dst []byte, x []int64) []byte {
	lo, hi := x[0], x[0]
	var dlo, dhi int64
	if len(x) > 1 {
		dlo = x[1] - x[0]
		dhi = dlo
	}
	vsize := varintLen(zigzag(x[0]))
	for i := 1; i < len(x); i++ {
		d := x[i] - x[i-1]
		lo, hi = min(lo, x[i]), max(hi, x[i])
		dlo, dhi = min(dlo, d), max(dhi, d)
		vsize += varintLen(zigzag(d))
	}
	w0, w1 := bits.Len64(uint64(hi-lo)), bits.Len64(uint64(dhi-dlo))
	s0 := varintLen(zigzag(lo)) + (len(x)*w0+7)/8
	s1 := varintLen(zigzag(x[0])) + varintLen(zigzag(dlo)) + ((len(x)-1)*w1+7)/8
	switch {
	case w0 <= intsWidth && s0 <= s1 && s0 <= vsize:
		dst = binary.AppendUvarint(append(dst, byte(intsPlain|w0)), zigzag(lo))
		return pack(dst, x, lo, w0, false)
	case w1 <= intsWidth && s1 <= vsize:
		dst = binary.AppendUvarint(append(dst, byte(intsDelta|w1)), zigzag(x[0]))
		dst = binary.AppendUvarint(dst, zigzag(dlo))
		return pack(dst, x, dlo, w1, true)
	}
	dst = append(dst, intsVarint)
	prev := int64(0)
	for _, v := range x {
		dst = binary.AppendUvarint(dst, zigzag(v-prev))
		prev = v
	}
	return dst
}

// pack appends x[i]-base, or x[i]-x[i-1]-base for i > 0 if delta, in w bits
// each, lowest bit first.
func pack(dst []byte, x []int64, base int64, w int, delta bool) []byte {
	if w == 0 {
		return dst
	}
	var acc uint64
	n, i := 0, 0
	if delta {
		i = 1
	}
	for ; i < len(x); i++ {
		v := x[i]
		if delta {
			v -= x[i-1]
		}
		u := uint64(v - base)
		acc |= u << n
		if n += w; n >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			n -= 64
			acc = u >> (w - n)
		}
	}
	for ; n > 0; n -= 8 {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// unpacker yields w-bit numbers. Beyond the end of b it yields zero bits, so
// the caller checks the length first.
type unpacker struct {
	b   []byte
	acc uint64
	n   int
	w   int
}

func (u *unpacker) next() uint64 {
	mask := uint64(1)<<u.w - 1
	if u.n >= u.w {
		v := u.acc & mask
		u.acc >>= u.w
		u.n -= u.w
		return v
	}
	var word uint64
	if len(u.b) >= 8 {
		word = binary.LittleEndian.Uint64(u.b)
		u.b = u.b[8:]
	} else {
		for i, c := range u.b {
			word |= uint64(c) << (8 * i)
		}
		u.b = nil
	}
	v := (u.acc | word<<u.n) & mask
	u.acc = word >> (u.w - u.n)
	u.n += 64 - u.w
	return v
}

// ints reads a chunk of len(x) values.
func (r *reader) ints(x []int64) {
	h := r.byte()
	w := int(h & intsWidth)
	switch h &^ intsWidth {
	case intsPlain:
		lo := unzigzag(r.uvarint())
		u := unpacker{b: r.bytes(uint64(len(x)*w+7) / 8), w: w}
		for i := range x {
			x[i] = lo
			if w > 0 {
				x[i] += int64(u.next())
			}
		}
	case intsDelta:
		v := unzigzag(r.uvarint())
		d := unzigzag(r.uvarint())
		u := unpacker{b: r.bytes(uint64((len(x)-1)*w+7) / 8), w: w}
		x[0] = v
		for i := 1; i < len(x); i++ {
			v += d
			if w > 0 {
				v += int64(u.next())
			}
			x[i] = v
		}
	case intsVarint:
		if w != 0 {
			r.fail()
		}
		var v int64
		for i := range x {
			v += unzigzag(r.uvarint())
			x[i] = v
		}
	default:
		r.fail()
	}
}
