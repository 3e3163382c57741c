package block

const (
	firstDay = -719162 // 0001-01-01
	lastDay  = 2932896 // 9999-12-31
)

var monthDays = [13]uint8{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// days counts from 1970-01-01; ok is false unless the date exists.
func days(y, m, d int) (int64, bool) {
	if y < 1 || m < 1 || m > 12 || d < 1 || d > int(monthDays[m]) && !(m == 2 && d == 29 && y%4 == 0 && (y%100 != 0 || y%400 == 0)) {
		return 0, false
	}
	if m <= 2 {
		y--
		m += 12
	}
	return int64(365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 719469), true
}

// civil is the inverse of days.
func civil(z int64) (y, m, d int) {
	u := uint32(z + 719468)
	era := u / 146097
	doe := u % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = int(doy - (153*mp+2)/5 + 1)
	m = int(mp) + 3
	y = int(yoe + era*400)
	if m > 12 {
		m -= 12
		y++
	}
	return
}

// cursor reads fixed or variable runs of digits.
type cursor struct {
	v  []byte
	ok bool
}

func (c *cursor) two() int {
	if len(c.v) < 2 || c.v[0]-'0' > 9 || c.v[1]-'0' > 9 {
		c.ok, c.v = false, nil
		return 0
	}
	x := int(c.v[0]-'0')*10 + int(c.v[1]-'0')
	c.v = c.v[2:]
	return x
}

// oneOrTwo reads a number that is written without a leading zero.
func (c *cursor) oneOrTwo() int {
	if len(c.v) < 2 || c.v[1]-'0' <= 9 {
		x := c.two()
		c.ok = c.ok && x >= 10
		return x
	}
	x := int(c.v[0]) - '0'
	c.ok = c.ok && x >= 0 && x <= 9
	c.v = c.v[1:]
	return x
}

func (c *cursor) char(w byte) {
	if len(c.v) == 0 || c.v[0] != w {
		c.ok, c.v = false, nil
		return
	}
	c.v = c.v[1:]
}
