package xmlout

import "bytes"

// isName reports whether a key can be an element's name as it is. It takes the
// ASCII part of what XML allows, and leaves out "item", which has its own meaning
// here, and what XML reserves.
func isName(k []byte) bool {
	if len(k) == 0 || string(k) == "item" {
		return false
	}
	for i, c := range k {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '.' || c == '-')) {
			return false
		}
	}
	return len(k) < 3 || !bytes.EqualFold(k[:3], []byte("xml"))
}

// hasForbidden reports whether valid UTF-8 has a character that XML 1.0 cannot
// hold (production 2, Char).
func hasForbidden(s []byte) bool {
	for i, c := range s {
		switch {
		case c >= 0x20 && c != 0xef:
		case c == '\t' || c == '\n' || c == '\r':
		case c == 0xef:
			// U+FFFE and U+FFFF are ef bf be and ef bf bf.
			if s[i+1] == 0xbf && s[i+2] >= 0xbe {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// escape appends s as character data or, if attr, as the inside of an attribute in
// double quotes. What a reader would normalise away is written as a reference.
func escape(dst, s []byte, attr bool) []byte {
	start := 0
	for i, c := range s {
		var e string
		switch {
		case c == '&':
			e = "&amp;"
		case c == '<':
			e = "&lt;"
		case c == '>':
			e = "&gt;"
		case c == '\r':
			e = "&#13;"
		case !attr:
			continue
		case c == '"':
			e = "&quot;"
		case c == '\t':
			e = "&#9;"
		case c == '\n':
			e = "&#10;"
		default:
			continue
		}
		dst = append(append(dst, s[start:i]...), e...)
		start = i + 1
	}
	return append(dst, s[start:]...)
}
