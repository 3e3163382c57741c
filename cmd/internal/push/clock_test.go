package push

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

func convertAll(t *testing.T, spec Time, in ...string) []string {
	t.Helper()
	c, err := newClock(&spec)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range in {
		b, ok := c.convert(nil, []byte(s), 7)
		if !ok {
			out = append(out, "no")
			continue
		}
		out = append(out, string(b))
	}
	return out
}

func TestClock_Layouts(t *testing.T) {
	for _, tt := range []struct {
		spec     Time
		in, want string
	}{
		{Time{Layout: "02/01/2006 15:04:05", Zone: "Europe/Berlin", To: "unix"}, "15/05/2012 00:00:10", "1337032810"},
		{Time{Layout: "02/01/2006 15:04:05", To: "unix"}, "15/05/2012 00:00:1", "no"},
		{Time{Layout: "02/01/2006 15:04:05", To: "unix"}, "31/04/2012 00:00:10", "no"},
		{Time{Layout: "02/01/2006 15:04:05", To: "unix"}, "29/02/2011 00:00:10", "no"},
		{Time{Layout: "02/01/2006 15:04:05", To: "unix"}, "29/02/2012 24:00:10", "no"},
		{Time{Layout: "02/01/2006 15:04:05", To: "unix"}, "29/02/2012 23:00:10 ", "no"},
		{Time{Layout: "1/2/2006 3:04:05 PM", To: "rfc3339"}, "4/12/2016 12:00:00 AM", "2016-04-12T00:00:00Z"},
		{Time{Layout: "1/2/2006 3:04:05 PM", To: "rfc3339"}, "12/1/2016 12:30:00 PM", "2016-12-01T12:30:00Z"},
		{Time{Layout: "1/2/2006 3:04:05 PM", To: "rfc3339"}, "12/1/2016 0:30:00 PM", "no"},
		{Time{Layout: "1/2/2006 3:04:05 PM", To: "rfc3339"}, "12/1/2016 1:30:00", "no"},
		{Time{Layout: "2006-01-02", Zone: "Asia/Tokyo", To: "date"}, "2016-12-01", "2016-12-01"},
		{Time{Layout: "2006-01-02", To: "unix", Add: "24h"}, "1970-01-01", "86400"},
		{Time{Layout: "2006-01-02", To: "unix", AddLabel: "1m"}, "1970-01-01", "420"},
		{Time{Layout: "2006-01-02", To: "unix_ms", Add: "-1ms"}, "1970-01-01", "-1"},
		{Time{Layout: "unix", To: "unix"}, "184", "184"},
		{Time{Layout: "unix", Start: "2014-02-02T00:00:00Z", To: "date"}, "86400", "2014-02-03"},
		{Time{Layout: "unix", To: "unix"}, "1.5", "no"},
		{Time{Layout: "2006-01-02T15:04:05Z07:00", Zone: "Asia/Tokyo", To: "unix"}, "1970-01-01T01:00:00+01:00", "0"},
		{Time{Layout: "2006-01-02T15:04:05Z07:00", Zone: "Asia/Tokyo", To: "unix"}, "1970-01-01T00:00:00Z", "0"},
		{Time{Layout: "2006-01-02T15:04:05Z07:00", Zone: "Asia/Tokyo", To: "unix"}, "1970-01-01T00:00:00+00:00", "0"},
		{Time{Layout: "Jan 2, 2006 at 15:04", Zone: "Asia/Tokyo", To: "unix"}, "Jan 1, 1970 at 09:00", "0"},
		{Time{Layout: "2006-01-02 15:04:05.000", To: "unix_ms"}, "1970-01-01 00:00:01.250", "1250"},
		{Time{Layout: "02.01.2006", To: "date"}, "03.04.2020", "2020-04-03"},
	} {
		if got := convertAll(t, tt.spec, tt.in)[0]; got != tt.want {
			t.Errorf("%+v: %q is %s, want %s", tt.spec, tt.in, got, tt.want)
		}
	}
}

// When clocks go back: the first occurrence, until the file shows that it is
// in the second. Nothing ever steps back.
func TestClock_TwiceAndNever(t *testing.T) {
	spec := Time{Layout: "2006-01-02 15:04:05", Zone: "Europe/Berlin", To: "rfc3339"}
	got := convertAll(t, spec,
		"2012-10-28 01:59:59", "2012-10-28 02:00:00", "2012-10-28 02:59:59", "2012-10-28 02:59:59",
		"2012-10-28 02:00:00", "2012-10-28 02:30:00", "2012-10-28 02:59:59", "2012-10-28 03:00:00")
	want := []string{
		"2012-10-27T23:59:59Z", "2012-10-28T00:00:00Z", "2012-10-28T00:59:59Z", "2012-10-28T00:59:59Z",
		"2012-10-28T01:00:00Z", "2012-10-28T01:30:00Z", "2012-10-28T01:59:59Z", "2012-10-28T02:00:00Z",
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("back, %d: %s, want %s", i, got[i], want[i])
		}
	}
	// Rows of another day before it decide nothing.
	got = convertAll(t, spec, "2012-12-24 12:00:00", "2012-10-28 02:30:00", "2011-01-01 00:00:00", "2012-10-28 02:30:00")
	if got[1] != "2012-10-28T00:30:00Z" || got[3] != "2012-10-28T00:30:00Z" {
		t.Error(got)
	}
	// A file that begins inside takes the first.
	if got := convertAll(t, spec, "2012-10-28 02:30:00")[0]; got != "2012-10-28T00:30:00Z" {
		t.Error(got)
	}
	got = convertAll(t, spec, "2012-03-25 01:59:59", "2012-03-25 02:00:00", "2012-03-25 02:30:00", "2012-03-25 03:30:00", "2012-03-25 04:00:00")
	want = []string{"2012-03-25T00:59:59Z", "2012-03-25T01:00:00Z", "2012-03-25T01:30:00Z", "2012-03-25T01:30:00Z", "2012-03-25T02:00:00Z"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("forward, %d: %s, want %s", i, got[i], want[i])
		}
	}
	// Half an hour, and a zone that changes by whole days.
	spec.Zone = "Australia/Lord_Howe"
	got = convertAll(t, spec, "2013-04-07 01:29:00", "2013-04-07 01:30:00", "2013-04-07 01:59:00", "2013-04-07 01:30:00", "2013-04-07 02:00:00")
	want = []string{"2013-04-06T14:29:00Z", "2013-04-06T14:30:00Z", "2013-04-06T14:59:00Z", "2013-04-06T15:00:00Z", "2013-04-06T15:30:00Z"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("Lord Howe, %d: %s, want %s", i, got[i], want[i])
		}
	}
}

// Outside changes the clock agrees with package time, in any order of rows.
func TestClock_AgreesWithTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia", "America/St_Johns", "UTC"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		c, err := newClock(&Time{Layout: "2006-01-02 15:04:05", Zone: zone, To: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		for range 20000 {
			at := time.Unix(rng.Int64N(1<<31), 0).In(loc)
			local := at.Format("2006-01-02 15:04:05")
			b, ok := c.convert(nil, []byte(local), 0)
			n, err := strconv.ParseInt(string(b), 10, 64)
			if !ok || err != nil {
				t.Fatalf("%s %s: %q", zone, local, b)
			}
			if n != at.Unix() && time.Unix(n, 0).In(loc).Format("2006-01-02 15:04:05") != local {
				t.Fatalf("%s %s: %d, want %d", zone, local, n, at.Unix())
			}
			if d := n - at.Unix(); d > 2*3600 || d < -2*3600 {
				t.Fatalf("%s %s: off by %d s", zone, local, d)
			}
		}
	}
}

func BenchmarkClock(b *testing.B) {
	c, err := newClock(&Time{Layout: "02/01/2006 15:04:05", Zone: "Europe/Berlin", To: "unix"})
	if err != nil {
		b.Fatal(err)
	}
	in, out := []byte("15/05/2012 00:00:10"), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		out, _ = c.convert(out[:0], in, 0)
	}
}
