package push

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	_ "time/tzdata" // zones of a map must not depend on the machine
)

// clock converts the times of one expression in one file. It remembers the
// last instant (the rule for times that occur twice needs it) and the last
// hour's offset, and belongs to one goroutine.
type clock struct {
	toks  []timeToken // nil: layout is for time.Parse
	slow  string
	unix  bool
	start int64 // unix seconds of second 0, if unix
	loc   *time.Location
	to    string
	add   int64 // nanoseconds
	label int64 // nanoseconds a unit of the label

	prev    int64 // last instant before add; minInt64 at first
	hour    int64 // naive seconds / 3600 of the cached hour
	offset  int64 // its offset
	hourOK  bool
	day     int64 // minute of the cached date
	dayText [10]byte
	dayOK   bool
}

const noInstant = -1 << 63

func newClock(t *Time) (*clock, error) {
	c := &clock{to: t.To, prev: noInstant, loc: time.UTC}
	switch t.To {
	case "unix", "unix_ms", "date", "rfc3339":
	default:
		return nil, errors.New(`to must be "unix", "unix_ms", "date" or "rfc3339"`)
	}
	if t.Zone != "" {
		if t.Zone == "Local" {
			return nil, errors.New("zone must be an IANA name; Local differs from machine to machine")
		}
		loc, err := time.LoadLocation(t.Zone)
		if err != nil {
			return nil, fmt.Errorf("zone %q is unknown", t.Zone)
		}
		c.loc = loc
	}
	if t.Add != "" {
		d, err := time.ParseDuration(t.Add)
		if err != nil {
			return nil, fmt.Errorf("%q is no duration", t.Add)
		}
		c.add = int64(d)
	}
	if t.AddLabel != "" {
		d, err := time.ParseDuration(t.AddLabel)
		if err != nil {
			return nil, fmt.Errorf("%q is no duration", t.AddLabel)
		}
		c.label = int64(d)
	}
	if t.Layout == "" {
		return nil, errors.New("layout is missing")
	}
	if t.Layout == "unix" {
		c.unix = true
		if t.Start != "" {
			s, err := time.Parse(time.RFC3339, t.Start)
			if err != nil {
				return nil, errors.New("start is not an RFC 3339 time")
			}
			c.start = s.Unix()
		}
		return c, nil
	}
	var ok bool
	if c.toks, ok = timeTokens(t.Layout); !ok {
		c.toks, c.slow = nil, t.Layout
	}
	return c, nil
}

// convert appends the time in b, in the clock's output form, to dst.
func (c *clock) convert(dst, b []byte, label int64) ([]byte, bool) {
	var sec, nano int64
	switch {
	case c.unix:
		n, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil || n > 1<<40 || n < -1<<40 {
			return dst, false
		}
		sec = n + c.start
	case c.toks != nil:
		naive, ok := parseTokens(c.toks, b)
		if !ok {
			return dst, false
		}
		sec = c.instant(naive)
	default:
		// A layout with an offset gives the instant outright; parsed in a zone
		// that no file names, its absence shows.
		t, err := time.ParseInLocation(c.slow, string(b), nowhere)
		if err != nil {
			return dst, false
		}
		nano = int64(t.Nanosecond())
		if t.Location() == nowhere {
			sec = c.instant(t.Unix() + 1)
		} else {
			sec = t.Unix()
		}
	}
	if c.add != 0 || c.label != 0 {
		nano += c.add + c.label*label
		sec += nano / 1e9
		if nano %= 1e9; nano < 0 {
			nano += 1e9
			sec--
		}
	}
	switch c.to {
	case "unix":
		return strconv.AppendInt(dst, sec, 10), true
	case "unix_ms":
		return strconv.AppendInt(dst, sec*1000+nano/1e6, 10), true
	case "date":
		// Days begin at a full minute of UTC.
		if minute := floorDiv(sec, 60); !c.dayOK || c.day != minute {
			if out := time.Unix(sec, 0).In(c.loc).AppendFormat(c.dayText[:0], "2006-01-02"); len(out) != 10 {
				return dst, false
			}
			c.day, c.dayOK = minute, true
		}
		return append(dst, c.dayText[:]...), true
	default:
		return time.Unix(sec, nano).UTC().AppendFormat(dst, time.RFC3339Nano), true
	}
}

// nowhere is one second ahead of UTC, an offset that no zone has.
var nowhere = time.FixedZone("nowhere", 1)

// instant turns naive seconds (a local time read as if it were UTC) into Unix
// seconds by the rule in the package comment.
func (c *clock) instant(naive int64) int64 {
	if c.loc == time.UTC {
		return naive
	}
	hour := floorDiv(naive, 3600)
	if c.hourOK && hour == c.hour {
		c.prev = naive - c.offset
		return c.prev
	}
	// Offsets lie within a day of UTC: if they agree on both sides of the hour,
	// nothing changes inside it.
	const day = 86400
	if before, after := c.offsetAt(hour*3600-day), c.offsetAt(hour*3600+3600+day); before == after {
		c.hour, c.offset, c.hourOK = hour, before, true
		c.prev = naive - before
		return c.prev
	}
	c.hourOK = false
	before, after := c.offsetAt(naive-day), c.offsetAt(naive+day)
	first, second := naive-before, naive-after
	firstOK, secondOK := c.offsetAt(first) == before, c.offsetAt(second) == after
	if second < first {
		first, second, firstOK, secondOK = second, first, secondOK, firstOK
	}
	switch {
	case firstOK && secondOK && c.prev > first && c.prev < second+(second-first):
		c.prev = second
	case firstOK:
		c.prev = first
	case secondOK:
		c.prev = second
	default:
		c.prev = naive - before
	}
	return c.prev
}

func (c *clock) offsetAt(unix int64) int64 {
	_, o := time.Unix(unix, 0).In(c.loc).Zone()
	return int64(o)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// timeToken is one element of a layout: a number of min to max digits, an
// AM/PM mark, or one literal byte.
type timeToken struct {
	kind     byte // y M d H h m s p, or 'x' for the literal
	min, max int
	lit      byte
}

// timeTokens compiles the layouts that data files use. False: use time.Parse.
func timeTokens(layout string) ([]timeToken, bool) {
	known := []struct {
		text     string
		kind     byte
		min, max int
	}{
		{"2006", 'y', 4, 4}, {"01", 'M', 2, 2}, {"02", 'd', 2, 2}, {"03", 'h', 2, 2}, {"04", 'm', 2, 2},
		{"05", 's', 2, 2}, {"15", 'H', 2, 2}, {"PM", 'p', 2, 2},
		{"1", 'M', 1, 2}, {"2", 'd', 1, 2}, {"3", 'h', 1, 2}, {"4", 'm', 1, 2}, {"5", 's', 1, 2},
	}
	var toks []timeToken
	seen := map[byte]bool{}
next:
	for i := 0; i < len(layout); {
		for _, k := range known {
			if len(layout)-i >= len(k.text) && layout[i:i+len(k.text)] == k.text {
				if seen[k.kind] {
					return nil, false
				}
				seen[k.kind] = true
				toks = append(toks, timeToken{kind: k.kind, min: k.min, max: k.max})
				i += len(k.text)
				continue next
			}
		}
		switch ch := layout[i]; ch {
		case ' ', '/', '-', ':', ',', 'T':
			toks = append(toks, timeToken{kind: 'x', lit: ch})
			i++
		case '.':
			// A fraction (".000") or a date's dot: only the latter is ours.
			if i+1 < len(layout) && (layout[i+1] == '9' || layout[i+1] == '0' && i+2 < len(layout) && layout[i+2] == '0') {
				return nil, false
			}
			toks = append(toks, timeToken{kind: 'x', lit: ch})
			i++
		default:
			return nil, false
		}
	}
	if !seen['y'] || !seen['M'] || !seen['d'] || seen['h'] != seen['p'] || seen['h'] && seen['H'] {
		return nil, false
	}
	return toks, true
}

// parseTokens returns the local time in b as if it were UTC.
func parseTokens(toks []timeToken, b []byte) (int64, bool) {
	var year, month, day, hour, minute, second int
	pm := -1
	for _, t := range toks {
		switch t.kind {
		case 'x':
			if len(b) == 0 || b[0] != t.lit {
				return 0, false
			}
			b = b[1:]
			continue
		case 'p':
			if len(b) < 2 || b[1] != 'M' {
				return 0, false
			}
			switch b[0] {
			case 'A':
				pm = 0
			case 'P':
				pm = 12
			default:
				return 0, false
			}
			b = b[2:]
			continue
		}
		n, v := 0, 0
		for n < t.max && n < len(b) && b[n]-'0' <= 9 {
			v = v*10 + int(b[n]-'0')
			n++
		}
		if n < t.min {
			return 0, false
		}
		b = b[n:]
		switch t.kind {
		case 'y':
			year = v
		case 'M':
			month = v
		case 'd':
			day = v
		case 'H', 'h':
			hour = v
		case 'm':
			minute = v
		case 's':
			second = v
		}
	}
	if pm >= 0 {
		if hour < 1 || hour > 12 {
			return 0, false
		}
		hour = hour%12 + pm
	}
	if len(b) != 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	return daysFromCivil(year, month, day)*86400 + int64(hour*3600+minute*60+second), true
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

// daysFromCivil counts days from 1970-01-01 in the proleptic Gregorian
// calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
func daysFromCivil(y, m, d int) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := floorDiv(int64(y), 400)
	yoe := int64(y) - era*400
	doy := int64((153*(m-3)+2)/5 + d - 1)
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}
