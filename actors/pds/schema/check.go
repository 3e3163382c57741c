package schema

import (
	"strings"
	"unicode/utf8"
)

// Violation is the rule that a value breaks. It is the only error of Check, so
// that no value can travel in one. The zero Violation is never returned.
type Violation uint8

// The rules, in the order in which Check tries them.
const (
	TooLong    Violation = 1 + iota // longer than the field's Length
	Empty                           // empty, where the type or not_null refuses it
	NotUTF8                         // no valid UTF-8
	NotInteger                      // Int, Serial
	NotDecimal                      // Number, Currency, Float
	NotDate                         // Date
	NotTime                         // Time
	NotListed                       // not in the field's lookup
)

// Error returns a sentence for the person who sent the value.
func (v Violation) Error() string {
	switch v {
	case TooLong:
		return "value is longer than the field allows"
	case Empty:
		return "value is empty; send null for an unknown value"
	case NotUTF8:
		return "value is not valid UTF-8"
	case NotInteger:
		return "value is not a whole number"
	case NotDecimal:
		return "value is not a decimal number"
	case NotDate:
		return "value is not a date: use a day number, Unix seconds or YYYY-MM-DD"
	case NotTime:
		return "value is not a time: use a fraction of a day or hh:mm:ss"
	case NotListed:
		return "value is not in the field's list of accepted values"
	}
	return "value is not valid"
}

// Check reports whether v, in its text form, is a value of the field. It allocates
// nothing and keeps no reference to v. The error is a Violation. Null is not a
// value: callers handle it with Dataset.NotNull.
func (f *Field) Check(v []byte) error {
	if len(v) > f.Length {
		return TooLong
	}
	if len(v) == 0 {
		if f.NotNull || !f.Type.Textual() {
			return Empty
		}
		return nil
	}
	switch f.Type {
	case Text, Varchar, Blob:
		if !utf8.Valid(v) {
			return NotUTF8
		}
	case Int:
		if !isInteger(v) {
			return NotInteger
		}
	case Serial:
		if digits(v) != len(v) {
			return NotInteger
		}
	case Number, Currency, Float:
		if !isDecimal(v) {
			return NotDecimal
		}
	case Date:
		if !isInteger(v) && !isDate(v) {
			return NotDate
		}
	case Time:
		if !isDecimal(v) && !isClock(v) {
			return NotTime
		}
	default:
		return NotListed // a Field that no loader made accepts nothing
	}
	if f.lookup != nil && !f.lookup.has(v) {
		return NotListed
	}
	return nil
}

// digits returns the length of v's leading run of ASCII digits.
func digits(v []byte) int {
	for i, c := range v {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(v)
}

func isInteger(v []byte) bool {
	if v[0] == '-' {
		v = v[1:]
	}
	return len(v) > 0 && digits(v) == len(v)
}

// isDecimal is the number grammar of RFC 8259: no leading zeros, no '+' in front,
// digits on both sides of the point.
func isDecimal(v []byte) bool {
	if v[0] == '-' {
		v = v[1:]
	}
	n := digits(v)
	if n == 0 || n > 1 && v[0] == '0' {
		return false
	}
	if v = v[n:]; len(v) > 0 && v[0] == '.' {
		if n = digits(v[1:]); n == 0 {
			return false
		}
		v = v[1+n:]
	}
	if len(v) > 0 && (v[0] == 'e' || v[0] == 'E') {
		if v = v[1:]; len(v) > 0 && (v[0] == '+' || v[0] == '-') {
			v = v[1:]
		}
		return len(v) > 0 && digits(v) == len(v)
	}
	return len(v) == 0
}

// two reads two digits at v[i:] as a number from lo to hi.
func two(v []byte, i, lo, hi int) (int, bool) {
	if i+2 > len(v) || digits(v[i:i+2]) != 2 {
		return 0, false
	}
	n := int(v[i]-'0')*10 + int(v[i+1]-'0')
	return n, n >= lo && n <= hi
}

// isDate takes YYYY-MM-DD, alone or followed by 'T' or a space, hh:mm[:ss[.f]] and
// optionally Z or ±hh[:]mm. The day must exist.
func isDate(v []byte) bool {
	if len(v) < 10 || digits(v[:4]) != 4 || v[4] != '-' || v[7] != '-' {
		return false
	}
	year := int(v[0]-'0')*1000 + int(v[1]-'0')*100 + int(v[2]-'0')*10 + int(v[3]-'0')
	month, ok := two(v, 5, 1, 12)
	if !ok {
		return false
	}
	if _, ok = two(v, 8, 1, daysIn(year, month)); !ok {
		return false
	}
	if len(v) == 10 {
		return true
	}
	if v[10] != 'T' && v[10] != ' ' {
		return false
	}
	rest, ok := clock(v[11:])
	return ok && isZone(rest)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// clock reads hh:mm[:ss[.f]] (60 is a leap second) and returns what follows.
func clock(v []byte) (rest []byte, ok bool) {
	if _, ok = two(v, 0, 0, 23); !ok || len(v) < 5 || v[2] != ':' {
		return nil, false
	}
	if _, ok = two(v, 3, 0, 59); !ok {
		return nil, false
	}
	if v = v[5:]; len(v) == 0 || v[0] != ':' {
		return v, true
	}
	if _, ok = two(v, 1, 0, 60); !ok {
		return nil, false
	}
	if v = v[3:]; len(v) > 0 && v[0] == '.' {
		n := digits(v[1:])
		if n == 0 {
			return nil, false
		}
		v = v[1+n:]
	}
	return v, true
}

func isClock(v []byte) bool {
	rest, ok := clock(v)
	return ok && len(rest) == 0
}

func isZone(v []byte) bool {
	if len(v) == 0 || len(v) == 1 && v[0] == 'Z' {
		return true
	}
	if v[0] != '+' && v[0] != '-' {
		return false
	}
	if _, ok := two(v, 1, 0, 23); !ok {
		return false
	}
	if v = v[3:]; len(v) == 3 && v[0] == ':' {
		v = v[1:]
	}
	_, ok := two(v, 0, 0, 59)
	return ok && len(v) == 2
}

// lookup is a list of accepted values.
type lookup struct {
	name   string
	values []string
	json   []byte              // the values as the file has them, a JSON array
	folded map[string]struct{} // ASCII values in lower case
	longer []string            // values with other letters, compared by folding
	max    int                 // length of the longest folded key
}

// has reports whether v is a value, without regard to case.
func (l *lookup) has(v []byte) bool {
	var buf [maxLookupValue]byte
	if len(v) <= l.max {
		for i, c := range v {
			if c >= utf8.RuneSelf {
				return l.hasOther(string(v))
			}
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			buf[i] = c
		}
		_, ok := l.folded[string(buf[:len(v)])]
		return ok
	}
	return len(l.longer) > 0 && len(v) <= maxLookupValue && l.hasOther(string(v))
}

func (l *lookup) hasOther(v string) bool {
	for _, s := range l.longer {
		if strings.EqualFold(s, v) {
			return true
		}
	}
	return false
}
