package bench

import (
	"fmt"
	"strconv"
	"time"
)

// Kind is the dataset of a workload.
type Kind int

// The two kinds. A row of IoT is about 90 bytes of JSON (116 with a member's
// name in it), a row of Tx about 280 (301).
const (
	IoT Kind = iota // ds_iot_readings
	Tx              // ds_card_transactions
)

// ParseKind reads "iot" or "tx".
func ParseKind(s string) (Kind, error) {
	switch s {
	case "iot":
		return IoT, nil
	case "tx":
		return Tx, nil
	}
	return 0, fmt.Errorf("workload %q is neither iot nor tx", s)
}

func (k Kind) String() string { return [...]string{"iot", "tx"}[k] }

// Dataset is the machine name of the dataset the rows go to.
func (k Kind) Dataset() string {
	return [...]string{"ds_iot_readings", "ds_card_transactions"}[k]
}

// Fields are the names of a row's fields, in the order they are sent.
func (k Kind) Fields() []string {
	if k == IoT {
		return iotFields
	}
	return txFields
}

// Withheld is the field that every fourth member does not grant for reading.
func (k Kind) Withheld() string { return [...]string{"quality", "creditor_name"}[k] }

var (
	iotFields = []string{"ts", "sensor", "value", "unit", "quality"}
	txFields  = []string{"transaction_id", "booking_date", "amount", "currency", "creditor_name",
		"creditor_account", "debtor_account", "mcc", "description"}
)

// Layout says how members are spread over batches.
type Layout int

// The three layouts. Within a batch a member's rows always form one section.
const (
	Single  Layout = iota // a batch is one member's
	Grouped               // a batch holds members with 20 rows each
	Uniform               // each row of a batch is a random member's
)

// ParseLayout reads "single", "grouped" or "uniform".
func ParseLayout(s string) (Layout, error) {
	for l := Single; l <= Uniform; l++ {
		if l.String() == s {
			return l, nil
		}
	}
	return 0, fmt.Errorf("layout %q is none of single, grouped, uniform", s)
}

func (l Layout) String() string { return [...]string{"single", "grouped", "uniform"}[l] }

// A record holds one row's values before they become text; only the fields of
// its kind are set.
type record struct {
	member int
	time   int64 // Unix seconds

	sensor  int
	cents   int64 // IoT: the value times 100; Tx: the amount times 100
	quality int

	id   uint64
	cred int
	mcc  int
}

// splitmix64; fixed here because published figures rest on these very rows.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

func (r *rng) n(n int) int { return int(r.next() % uint64(n)) }

var (
	sensors   = []string{"temp-living", "temp-bedroom", "hum-bath", "power-main", "co2-office", "heart-rate", "steps", "water-main"}
	units     = []string{"Cel", "Cel", "%RH", "W", "ppm", "1/min", "count", "L"}
	qualities = []string{"good", "good", "good", "good", "good", "good", "good", "uncertain"}
	mccs      = []string{"5411", "5812", "5541", "4111", "5912", "5999", "4814", "7832", "5651", "6011"}
	shops     = []string{"Grocer Market", "Corner Cafe", "City Fuel", "Metro Transit", "Green Pharmacy", "Online Store", "Tele Mobile", "Cinema House", "Family Wear", "Cash Machine"}
	epoch     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
)

// A generator streams the records of one workload. Equal arguments give equal
// records, and the values are those of the peers' driver (peerbench/wl), so
// that figures taken with either can be set side by side.
type generator struct {
	kind    Kind
	layout  Layout
	members int
	records int
	batch   int

	i    int
	r    rng
	walk []int64 // per member, the random walk of its sensor values
}

func newGenerator(k Kind, l Layout, members, records, batch int) *generator {
	g := &generator{kind: k, layout: l, members: members, records: records, batch: batch,
		r: rng(uint64(k)*77 + 12345), walk: make([]int64, members)}
	if l == Single && records/batch < members { // a member has at least a full batch
		g.members = max(1, records/batch)
	}
	return g
}

// next fills dst with the next batch; it is empty when there are no more.
func (g *generator) next(dst []record) []record {
	dst = dst[:0]
	number := g.i / g.batch
	for j := 0; j < g.batch && g.i < g.records; j++ {
		var rec record
		switch g.layout {
		case Single:
			rec.member = number % g.members
		case Grouped:
			rec.member = (g.i / 20) % g.members
		default:
			rec.member = g.r.n(g.members)
		}
		g.i++
		x := g.r.next()
		if g.kind == IoT {
			rec.sensor = int(x>>8) & 7
			g.walk[rec.member] += int64((x>>16)%41) - 20
			rec.cents = 2100 + g.walk[rec.member]%900
			rec.quality = int(x>>40) & 7
			rec.time = epoch + int64(g.i)*2
		} else {
			rec.id = x
			rec.cents = int64(g.r.next() % 25000)
			rec.cred = int(x>>20) % 400
			rec.mcc = rec.cred % 10
			rec.time = epoch + int64(g.i)*26 // about 300 days in a million
		}
		dst = append(dst, rec)
	}
	return dst
}

// values appends the record's values as text, in the order of Kind.Fields, to
// buf and their end offsets to ends.
func (r *record) values(k Kind, buf []byte, ends []int) ([]byte, []int) {
	at := func() { ends = append(ends, len(buf)) }
	if k == IoT {
		buf = time.Unix(r.time, 0).UTC().AppendFormat(buf, "2006-01-02T15:04:05Z")
		at()
		buf = append(buf, sensors[r.sensor]...)
		at()
		buf = appendCents(buf, r.cents)
		at()
		buf = append(buf, units[r.sensor]...)
		at()
		buf = append(buf, qualities[r.quality]...)
		at()
		return buf, ends
	}
	const hex = "0123456789abcdef"
	for s := 60; s >= 0; s -= 4 {
		buf = append(buf, hex[r.id>>s&15])
	}
	at()
	buf = time.Unix(r.time, 0).UTC().AppendFormat(buf, "2006-01-02")
	at()
	buf = appendCents(buf, r.cents)
	at()
	buf = append(buf, "EUR"...)
	at()
	buf = append(append(buf, shops[r.mcc]...), ' ')
	buf = strconv.AppendInt(buf, int64(r.cred), 10)
	at()
	buf = appendPadded(append(buf, "DE89370400440"...), r.cred*7919, 9)
	at()
	buf = appendPadded(append(buf, "NL91ABNA041"...), r.member*13, 9)
	at()
	buf = append(buf, mccs[r.mcc]...)
	at()
	buf = append(append(append(buf, "CARD PAYMENT "...), shops[r.mcc]...), " REF "...)
	buf = strconv.AppendUint(buf, r.id>>40, 10)
	at()
	return buf, ends
}

// appendRow appends one NDJSON line. The IoT value is a JSON number, every
// other value a string; none needs escaping.
func appendRow(b []byte, k Kind, values []byte, ends []int) []byte {
	from := 0
	for i, name := range k.Fields() {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		b = append(append(append(b, sep, '"'), name...), '"', ':')
		v := values[from:ends[i]]
		if from = ends[i]; k == IoT && i == 2 {
			b = append(b, v...)
			continue
		}
		b = append(append(append(b, '"'), v...), '"')
	}
	return append(b, '}', '\n')
}

func appendCents(b []byte, c int64) []byte {
	b = strconv.AppendInt(b, c/100, 10)
	return append(b, '.', byte('0'+c/10%10), byte('0'+c%10))
}

func appendPadded(b []byte, v, width int) []byte {
	s := strconv.Itoa(v)
	for n := len(s); n < width; n++ {
		b = append(b, '0')
	}
	return append(b, s...)
}
