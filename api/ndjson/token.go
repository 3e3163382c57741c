package ndjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// plain returns the first index from i on whose byte is a quote, a backslash,
// a control character or not ASCII; len(b) if there is none.
func plain(b []byte, i int) int {
	const lo, hi = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		q, e := w^('"'*lo), w^('\\'*lo)
		// Borrows only spoil bytes above a true hit, and the lowest hit counts.
		if m := ((q-lo)&^q | (e-lo)&^e | (w-' '*lo)&^w | w) & hi; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) {
		if c := b[i]; c == '"' || c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			break
		}
		i++
	}
	return i
}

// str scans a string whose opening quote is before b[i]. It returns the index
// of the closing quote and whether there are escapes on the way; or a code
// with the offending index. Escapes themselves are checked by unescape.
func str(b []byte, i int) (end int, escaped bool, code string) {
	for {
		i = plain(b, i)
		if i >= len(b) {
			return i, escaped, Malformed
		}
		switch c := b[i]; {
		case c == '"':
			return i, escaped, ""
		case c == '\\':
			escaped = true
			i += 2
		case c < ' ':
			return i, escaped, Malformed
		default:
			for i < len(b) && b[i] >= utf8.RuneSelf {
				r, n := utf8.DecodeRune(b[i:])
				if r == utf8.RuneError && n == 1 {
					return i, escaped, UTF8
				}
				i += n
			}
		}
	}
}

// unescape appends the text of a string's inside, which str has delimited.
// What it appends is never longer than raw.
func unescape(dst, raw []byte) (out []byte, at int, code string) {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			j := i + 1
			for j < len(raw) && raw[j] != '\\' {
				j++
			}
			dst = append(dst, raw[i:j]...)
			i = j
			continue
		}
		if i+1 >= len(raw) {
			return dst, i, Malformed
		}
		c = raw[i+1]
		switch c {
		case '"', '\\', '/':
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(raw, i+2)
			n := 6
			switch {
			case r < 0:
				return dst, i, Malformed
			case r >= 0xdc00 && r <= 0xdfff:
				return dst, i, UTF8
			case r >= 0xd800 && r < 0xdc00:
				if i+7 >= len(raw) || raw[i+6] != '\\' || raw[i+7] != 'u' {
					return dst, i, UTF8
				}
				l := hex4(raw, i+8)
				if l < 0 {
					return dst, i + 6, Malformed
				}
				if l < 0xdc00 || l > 0xdfff {
					return dst, i, UTF8
				}
				r, n = (r-0xd800)<<10|(l-0xdc00)+0x10000, 12
			}
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		default:
			return dst, i, Malformed
		}
		dst = append(dst, c)
		i += 2
	}
	return dst, 0, ""
}

func hex4(b []byte, i int) rune {
	if i+4 > len(b) {
		return -1
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// num returns the end of the JSON number at b[i], or -1.
func num(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b) || b[i]-'0' > 9:
		return -1
	case b[i] == '0':
		i++
	default:
		for i < len(b) && b[i]-'0' <= 9 {
			i++
		}
	}
	if i < len(b) && b[i] == '.' {
		s := i + 1
		for i++; i < len(b) && b[i]-'0' <= 9; i++ {
		}
		if i == s {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		s := i
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
		}
		if i == s {
			return -1
		}
	}
	if i < len(b) && (b[i]-'0' <= 9 || b[i] == '.' || b[i] == '+' || b[i] == '-') {
		return -1 // such as 01 or 1.2.3
	}
	return i
}
