package block

// appendTimes appends the layout and the values as chunks; ok is false if a
// value is not in the layout.
func (s *scratch) appendTimes(dst []byte, vs view, l *layout) ([]byte, bool) {
	b := l.hour << 1
	if l.space {
		b |= 1
	}
	dst = append(dst, l.date|l.prec<<3|l.zone<<6, b)
	if l.zone == zoneOffset {
		dst = append(dst, l.off[:]...)
	}
	x := &s.x
	var last []byte // the date parsed last, as text
	var day int64
	unit := perDay[l.prec]
	for a := 0; a < vs.n; a += chunk {
		k := min(chunk, vs.n-a)
		for i := range k {
			v := vs.at(a + i)
			n := len(last)
			if n == 0 || len(v) < n || string(v[:n]) != string(last) {
				var ok bool
				if day, n, ok = l.parseDate(v); !ok {
					return dst, false
				}
				last = v[:n]
			}
			if l.prec == precDay {
				if len(v) != n {
					return dst, false
				}
				x[i] = day
				continue
			}
			t, ok := l.parseClock(v[n:])
			if !ok {
				return dst, false
			}
			x[i] = day*unit + t
		}
		dst = appendInts(dst, x[:k])
	}
	return dst, true
}

func (c *Column) times(r *reader, m int) {
	a, b := r.byte(), r.byte()
	l := layout{date: a & 7, prec: a >> 3 & 7, zone: a >> 6, space: b&1 != 0, hour: b >> 1}
	if l.zone == zoneOffset {
		copy(l.off[:], r.bytes(6))
	}
	if l.date >= dateForms || l.prec >= precForms || l.zone >= zoneForms || l.hour >= hourForms || l.prec == precDay && (l.zone|l.hour|b&1) != 0 {
		r.fail()
	}
	x := &c.x
	var text []byte // of the last date, in c.data
	last := int64(1 << 62)
	unit := perDay[min(l.prec, precForms-1)]
	for a := 0; a < m; a += chunk {
		k := min(chunk, m-a)
		r.ints(x[:k])
		if r.bad || !c.grow(k*40) {
			r.fail()
			return
		}
		for i, v := range x[:k] {
			day := v / unit
			v -= day * unit
			if v < 0 {
				v += unit
				day--
			}
			s := c.begin()
			if day == last {
				c.data = append(c.data, text...)
			} else {
				if day < firstDay || day > lastDay {
					r.fail()
					return
				}
				at := len(c.data)
				c.data = l.appendDate(c.data, day)
				text, last = c.data[at:len(c.data):len(c.data)], day
			}
			if l.prec != precDay {
				c.data = l.appendClock(c.data, v)
			}
			c.end(a+i, s)
		}
	}
}

func two(b []byte, x int) []byte { return append(b, byte('0'+x/10), byte('0'+x%10)) }

func oneOrTwo(b []byte, x int) []byte {
	if x >= 10 {
		return two(b, x)
	}
	return append(b, byte('0'+x))
}

func (l *layout) appendDate(b []byte, day int64) []byte {
	y, m, d := civil(day)
	if l.date == dateISO {
		b = append(two(two(b, y/100), y%100), '-')
		return two(append(two(b, m), '-'), d)
	}
	if l.date == dateDMY || l.date == dateDMY1 {
		m, d = d, m
	}
	if l.date <= dateMDY {
		b = append(two(append(two(b, m), '/'), d), '/')
	} else {
		b = append(oneOrTwo(append(oneOrTwo(b, m), '/'), d), '/')
	}
	return two(two(b, y/100), y%100)
}

func (l *layout) appendClock(b []byte, v int64) []byte {
	frac, digits := 0, 0
	switch l.prec {
	case precMilli:
		frac, digits = int(v%1000), 3
		v /= 1000
	case precMicro:
		frac, digits = int(v%1000000), 6
		v /= 1000000
	}
	t := int(v)
	sec := 0
	if l.prec >= precSecond {
		sec = t % 60
		t /= 60
	}
	h, mi := t/60, t%60
	pm := h >= 12
	if l.hour >= hour12 {
		if h %= 12; h == 0 {
			h = 12
		}
	}
	if l.space {
		b = append(b, ' ')
	} else {
		b = append(b, 'T')
	}
	if l.hour == hourPlain || l.hour == hour12 {
		b = oneOrTwo(b, h)
	} else {
		b = two(b, h)
	}
	b = two(append(b, ':'), mi)
	if l.prec >= precSecond {
		b = two(append(b, ':'), sec)
	}
	if digits > 0 {
		b = append(b, '.')
		if digits == 6 {
			b = two(two(two(b, frac/10000), frac/100%100), frac%100)
		} else {
			b = two(append(b, byte('0'+frac/100)), frac%100)
		}
	}
	if l.hour >= hour12 {
		if pm {
			b = append(b, " PM"...)
		} else {
			b = append(b, " AM"...)
		}
	}
	switch l.zone {
	case zoneZ:
		b = append(b, 'Z')
	case zoneOffset:
		b = append(b, l.off[:]...)
	}
	return b
}
