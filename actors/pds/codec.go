package pds

import "encoding/binary"

// enc appends fixed binary. Integers are big endian or unsigned varints,
// byte strings are length-prefixed by a varint.
type enc struct{ b []byte }

func (e *enc) u8(v uint8)   { e.b = append(e.b, v) }
func (e *enc) u32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *enc) u64(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }
func (e *enc) uv(v uint64)  { e.b = binary.AppendUvarint(e.b, v) }
func (e *enc) raw(v []byte) { e.b = append(e.b, v...) }
func (e *enc) bytes(v []byte) {
	e.uv(uint64(len(v)))
	e.b = append(e.b, v...)
}
func (e *enc) str(v string) {
	e.uv(uint64(len(v)))
	e.b = append(e.b, v...)
}

// dec reads what enc wrote. After the first fault every read gives zero and
// bad is set; bytes and raw alias the input.
type dec struct {
	b   []byte
	bad bool
}

func (d *dec) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *dec) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *dec) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *dec) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// uv refuses overlong forms, so that one value has one encoding.
func (d *dec) uv() uint64 {
	if d.bad {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// uv32 reads a varint that fits 32 bits.
func (d *dec) uv32() uint32 {
	v := d.uv()
	if v > 1<<32-1 {
		d.bad = true
		return 0
	}
	return uint32(v)
}

// flags reads a byte in which only the bits of known may be set.
func (d *dec) flags(known uint8) uint8 {
	v := d.u8()
	if v&^known != 0 {
		d.bad = true
		return 0
	}
	return v
}

// count reads a number of items that each take at least min bytes.
func (d *dec) count(min int) int {
	v := d.uv()
	if v > uint64(len(d.b)/min) {
		d.bad = true
		return 0
	}
	return int(v)
}

func (d *dec) bytes() []byte {
	v := d.uv()
	if v > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	return d.take(int(v))
}

func (d *dec) str() string { return string(d.bytes()) }

func (d *dec) a16() (a [16]byte) { copy(a[:], d.take(16)); return }
func (d *dec) a32() (a [32]byte) { copy(a[:], d.take(32)); return }

// done reports whether the input was well formed and is used up.
func (d *dec) done() bool { return !d.bad && len(d.b) == 0 }
