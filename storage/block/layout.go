package block

import "encoding/binary"

// A layout is a way to write a date, perhaps with a time of day, such that
// the text and the count of its smallest unit since 1970-01-01 give each
// other exactly. Years are 0001 to 9999.
type layout struct {
	date  uint8 // dateISO ...
	prec  uint8 // precDay ...
	zone  uint8 // zoneNone ...
	space bool  // a space before the time of day, else T
	hour  uint8 // hourPadded ...
	off   [6]byte
}

const (
	dateISO  = iota // 2006-01-02
	dateDMY         // 02/01/2006
	dateMDY         // 01/02/2006
	dateDMY1        // 2/1/2006
	dateMDY1        // 1/2/2006
	dateForms
)

const (
	precDay    = iota
	precMinute // 15:04
	precSecond // 15:04:05
	precMilli  // 15:04:05.000
	precMicro  // 15:04:05.000000
	precForms
)

const (
	zoneNone = iota
	zoneZ
	zoneOffset // the same ±hh:mm in the whole column, kept as text
	zoneForms
)

const (
	hourPadded = iota // 05
	hourPlain         // 5
	hour12            // 5 with AM or PM after the time
	hour12Pad         // 05 with AM or PM
	hourForms
)

// perDay is the number of smallest units in a day, by precision.
var perDay = [precForms]int64{1, 1440, 86400, 86400e3, 86400e6}

// parseDate reads the date that v starts with and its length.
func (l *layout) parseDate(v []byte) (day int64, n int, ok bool) {
	c := cursor{v, true}
	var y, m, d int
	switch l.date {
	case dateISO:
		y = c.two() * 100
		y += c.two()
		c.char('-')
		m = c.two()
		c.char('-')
		d = c.two()
	default:
		if l.date <= dateMDY {
			m = c.two()
			c.char('/')
			d = c.two()
		} else {
			m = c.oneOrTwo()
			c.char('/')
			d = c.oneOrTwo()
		}
		if l.date == dateDMY || l.date == dateDMY1 {
			m, d = d, m
		}
		c.char('/')
		y = c.two() * 100
		y += c.two()
	}
	if !c.ok {
		return 0, 0, false
	}
	day, ok = days(y, m, d)
	return day, len(v) - len(c.v), ok
}

// parseClock reads all of v, which follows the date.
func (l *layout) parseClock(v []byte) (x int64, ok bool) {
	if l.prec == precSecond && l.hour == hourPadded && (l.zone == zoneZ && len(v) == 10 && v[9] == 'Z' || l.zone == zoneNone && len(v) == 9) {
		return parseHMS(v, l.space)
	}
	c := cursor{v, true}
	if l.space {
		c.char(' ')
	} else {
		c.char('T')
	}
	var h int
	if l.hour == hourPlain || l.hour == hour12 {
		h = c.oneOrTwo()
	} else {
		h = c.two()
	}
	c.char(':')
	mi := c.two()
	x = int64(mi)
	sec := 0
	if l.prec >= precSecond {
		c.char(':')
		sec = c.two()
		x = x*60 + int64(sec)
	}
	if l.prec >= precMilli {
		c.char('.')
		n := 3
		if l.prec == precMicro {
			n = 6
		}
		if len(c.v) < n {
			return 0, false
		}
		for _, b := range c.v[:n] {
			if b -= '0'; b > 9 {
				return 0, false
			}
			x = x*10 + int64(b)
		}
		c.v = c.v[n:]
	}
	if l.hour >= hour12 {
		c.char(' ')
		if len(c.v) < 2 || c.v[1] != 'M' || c.v[0] != 'A' && c.v[0] != 'P' || h < 1 || h > 12 {
			return 0, false
		}
		h %= 12
		if c.v[0] == 'P' {
			h += 12
		}
		c.v = c.v[2:]
	}
	switch l.zone {
	case zoneZ:
		c.char('Z')
	case zoneOffset:
		if string(c.v) != string(l.off[:]) {
			return 0, false
		}
		c.v = nil
	}
	return x + int64(h)*(perDay[l.prec]/24), c.ok && len(c.v) == 0 && h < 24 && mi < 60 && sec < 60
}

// parseHMS reads the common form, T15:04:05 or with a space, eight bytes at once.
func parseHMS(v []byte, space bool) (int64, bool) {
	if sep := v[0]; sep != 'T' && !space || sep != ' ' && space {
		return 0, false
	}
	const digits = 0x0f0f000f0f000f0f
	w := binary.LittleEndian.Uint64(v[1:])
	if w&0xf0f0fff0f0fff0f0 != 0x30303a30303a3030 || (w&digits+0x0606000606000606)&(digits<<4) != 0 {
		return 0, false
	}
	h := w&15*10 + w>>8&15
	m := w>>24&15*10 + w>>32&15
	s := w>>48&15*10 + w>>56&15
	return int64(h*3600 + m*60 + s), h < 24 && m < 60 && s < 60
}

// layouts appends the layouts that v may be in to ls, likeliest first.
func layouts(v []byte, ls []layout) []layout {
	if len(v) < 8 || v[0]-'0' > 9 {
		return ls
	}
	var rest []byte
	dates := [...]uint8{dateMDY, dateDMY, dateMDY1, dateDMY1}
	forms := dates[:]
	if len(v) >= 10 && v[4] == '-' {
		forms = []uint8{dateISO}
		rest = v[10:]
	} else {
		i := 0
		for n := 0; i < len(v) && n < 2; i++ {
			if v[i] == '/' {
				n++
			}
		}
		if i+4 > len(v) {
			return ls
		}
		rest = v[i+4:]
	}
	var l layout
	if len(rest) > 0 {
		l.space = rest[0] == ' '
		rest = rest[1:]
		i := 0
		for i < len(rest) && (rest[i]-'0' <= 9 || rest[i] == ':' || rest[i] == '.') {
			i++
		}
		clock, tail := rest[:i], rest[i:]
		h := 0
		for h < len(clock) && clock[h] != ':' {
			h++
		}
		switch len(clock) - h {
		case 3:
			l.prec = precMinute
		case 6:
			l.prec = precSecond
		case 10:
			l.prec = precMilli
		case 13:
			l.prec = precMicro
		default:
			return ls
		}
		if len(tail) >= 3 && tail[2] == 'M' {
			l.hour = hour12
			if clock[0] == '0' {
				l.hour = hour12Pad
			}
			tail = tail[3:]
		} else if h == 1 {
			l.hour = hourPlain
		}
		switch len(tail) {
		case 0:
		case 1:
			l.zone = zoneZ
		case 6:
			l.zone = zoneOffset
			copy(l.off[:], tail)
		default:
			return ls
		}
	}
	for _, f := range forms {
		l.date = f
		if _, ok := l.parse(v); !ok {
			continue
		}
		ls = append(ls, l)
		if l.hour == hourPadded && l.prec > precDay && f != dateISO {
			p := l
			p.hour = hourPlain
			ls = append(ls, p)
		} else if l.hour == hour12 {
			p := l
			p.hour = hour12Pad
			ls = append(ls, p)
		}
	}
	return ls
}

func (l *layout) parse(v []byte) (int64, bool) {
	d, n, ok := l.parseDate(v)
	if !ok {
		return 0, false
	}
	if l.prec == precDay {
		return d, len(v) == n
	}
	x, ok := l.parseClock(v[n:])
	return d*perDay[l.prec] + x, ok
}
