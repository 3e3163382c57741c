package acceptance

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"compress/gzip"
)

// This is the second mapper: from the files to what a member's store should
// hold, written from the data sets' description and the maps' documentation.

// plain is a source file's text.
func plain(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: no file (%v)", pattern, err)
	}
	slices.Sort(names)
	return names
}

// part copies the data set in dir, or with -full returns it as it is: the first
// lines of every file, in the same folders. The copy is gzipped where the
// original is.
func part(t *testing.T, dir string, lines int) string {
	t.Helper()
	if *full {
		return dir
	}
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		b := plain(t, name)
		at := 0
		for range lines {
			i := bytes.IndexByte(b[at:], '\n')
			if i < 0 {
				at = len(b)
				break
			}
			at += i + 1
		}
		var out bytes.Buffer
		if strings.HasSuffix(name, ".gz") {
			z := gzip.NewWriter(&out)
			_, err = z.Write(b[:at])
			err = errors.Join(err, z.Close())
		} else {
			out.Write(b[:at])
		}
		if err != nil {
			return err
		}
		rel = filepath.Join(to, rel)
		return errors.Join(os.MkdirAll(filepath.Dir(rel), 0o700), os.WriteFile(rel, out.Bytes(), 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// localTime turns a wall clock reading of one file into Unix seconds: the first
// of two instants unless the reading before lies in the doubled hours and is
// later than that; with the offset before the change where there is none.
type localTime struct {
	zone *time.Location
	prev int64
	was  bool
}

func (l *localTime) unix(y int, mo time.Month, d, h, mi, s int) int64 {
	naive := time.Date(y, mo, d, h, mi, s, 0, time.UTC).Unix()
	offset := func(at int64) int64 { _, o := time.Unix(at, 0).In(l.zone).Zone(); return int64(o) }
	var fits []int64
	for _, o := range []int64{offset(naive - 86400), offset(naive + 86400)} {
		if at := naive - o; offset(at) == o && !slices.Contains(fits, at) {
			fits = append(fits, at)
		}
	}
	slices.Sort(fits)
	at := naive - offset(naive-86400)
	if len(fits) > 0 {
		at = fits[0]
	}
	if len(fits) == 2 && l.was && l.prev > fits[0] && l.prev < fits[1]+(fits[1]-fits[0]) {
		at = fits[1]
	}
	l.prev, l.was = at, true
	return at
}

var energyFields = []string{"field_energy_reading_timestamp", "field_energy_reading_value", "field_energy_source_name", "field_energy_source_index_id", "field_energy_source_type"}

// appliances reads dir/APPLIANCE/*.csv.gz: "15/05/2012 00:00:10;2;2". It returns
// how many rows have the second of the row before.
func appliances(t *testing.T, dir string) (want tallies, doubled int) {
	want = tallies{}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range globbed(t, filepath.Join(dir, "*", "*.csv.gz")) {
		appliance := filepath.Base(filepath.Dir(name))
		device := strings.TrimSuffix(filepath.Base(name), ".csv.gz")
		w, clock, before := want.of(appliance), localTime{zone: zone}, ""
		sc := bufio.NewScanner(bytes.NewReader(plain(t, name)))
		for sc.Scan() {
			cells := strings.Split(strings.TrimSuffix(sc.Text(), "\r"), ";")
			if len(cells) != 3 {
				t.Fatalf("%s: %d cells", name, len(cells))
			}
			if cells[0] == before {
				doubled++
			}
			before = cells[0]
			var y, mo, d, h, mi, s int
			if _, err := fmt.Sscanf(cells[0], "%2d/%2d/%4d %2d:%2d:%2d", &d, &mo, &y, &h, &mi, &s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			at := strconv.FormatInt(clock.unix(y, time.Month(mo), d, h, mi, s), 10)
			w.add(&at, &cells[1], &appliance, &device, nil)
		}
		if sc.Err() != nil {
			t.Fatal(sc.Err())
		}
	}
	return want, doubled
}

// table reads a CSV file with a header and calls each with every row and its
// first line.
func table(t *testing.T, name string, each func(row func(string) string, line int, raw string)) {
	t.Helper()
	text := plain(t, name)
	r := csv.NewReader(bytes.NewReader(text))
	head, err := r.Read()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for {
		from := r.InputOffset()
		row, err := r.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		line, _ := r.FieldPos(0)
		raw := strings.TrimRight(string(text[from:r.InputOffset()]), "\r\n")
		each(func(column string) string {
			i := slices.Index(head, column)
			if i < 0 {
				t.Fatalf("%s has no column %s", name, column)
			}
			return row[i]
		}, line, raw)
	}
}

var retailFields = []string{"invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price", "customer_id", "country"}

// reject is a row that has no member.
type reject struct {
	file string
	line int
	raw  string
}

func retail(t *testing.T, dir string) (want tallies, rejects []reject) {
	want = tallies{}
	for _, name := range globbed(t, filepath.Join(dir, "*.csv.gz")) {
		table(t, name, func(row func(string) string, line int, raw string) {
			id := row("CustomerID")
			if id == "" {
				rejects = append(rejects, reject{name, line, raw})
				return
			}
			want.of(strings.TrimSuffix(id, ".0")).text(row("InvoiceNo"), row("StockCode"), row("Description"), row("Quantity"), row("InvoiceDate"), row("UnitPrice"), id, row("Country"))
		})
	}
	return want, rejects
}

// meter times keep UTC+10 all year.
func meter(t *testing.T, dir string) tallies {
	want := tallies{}
	for _, name := range globbed(t, filepath.Join(dir, "*.csv.gz")) {
		table(t, name, func(row func(string) string, _ int, _ string) {
			at, err := time.Parse("2006-01-02 15:04:05 -0700", row("reading_datetime")+" +1000")
			if err != nil {
				t.Fatal(err)
			}
			id := row("customer_id")
			want.of(id).text(strconv.FormatInt(at.Unix(), 10), row("general_supply_kwh"), "Household supply (kWh per half hour)", id, "Smart meter")
		})
	}
	return want
}

var measurementFields = []string{"source_device_type", "source_name", "measurement_type", "measurement_timestamp_start", "measurement_timestamp_end", "measurement_value"}

func instant(t *testing.T, layout, s string) int64 {
	t.Helper()
	at, err := time.Parse(layout, s)
	if err != nil {
		t.Fatal(err)
	}
	return at.Unix()
}

// measured adds one measurement for each of the columns that has a value.
func measured(w *tally, device string, row func(string) string, begin, end int64, columns ...[2]string) {
	for _, c := range columns {
		if v := row(c[0]); v != "" {
			w.text(device, "Fitbit", c[1], strconv.FormatInt(begin, 10), strconv.FormatInt(end, 10), v)
		}
	}
}

const (
	fitbitDay  = "1/2/2006"
	fitbitHour = "1/2/2006 3:04:05 PM"
	tracker    = "Activity tracker"
)

func fitbitDaily(t *testing.T, dir string) tallies {
	want := tallies{}
	table(t, filepath.Join(dir, "dailyActivity_merged.csv"), func(row func(string) string, _ int, _ string) {
		at := instant(t, fitbitDay, row("ActivityDate"))
		measured(want.of(row("Id")), tracker, row, at, at+86400, [][2]string{
			{"TotalSteps", "steps"}, {"TotalDistance", "distance_km"}, {"LoggedActivitiesDistance", "logged_distance_km"},
			{"VeryActiveDistance", "very_active_distance_km"}, {"ModeratelyActiveDistance", "moderately_active_distance_km"},
			{"LightActiveDistance", "light_active_distance_km"}, {"SedentaryActiveDistance", "sedentary_distance_km"},
			{"VeryActiveMinutes", "very_active_minutes"}, {"FairlyActiveMinutes", "fairly_active_minutes"},
			{"LightlyActiveMinutes", "lightly_active_minutes"}, {"SedentaryMinutes", "sedentary_minutes"}, {"Calories", "calories_kcal"},
		}...)
	})
	return want
}

func fitbitHourly(t *testing.T, dir string) tallies {
	want := tallies{}
	table(t, filepath.Join(dir, "hourlySteps_merged.csv.gz"), func(row func(string) string, _ int, _ string) {
		at := instant(t, fitbitHour, row("ActivityHour"))
		measured(want.of(row("Id")), tracker, row, at, at+3600, [2]string{"StepTotal", "steps"})
	})
	return want
}

func fitbitMinutes(t *testing.T, dir string) tallies {
	want := tallies{}
	table(t, filepath.Join(dir, "minuteStepsWide_merged.csv.gz"), func(row func(string) string, _ int, _ string) {
		at := instant(t, fitbitHour, row("ActivityHour"))
		for m := range int64(60) {
			measured(want.of(row("Id")), tracker, row, at+m*60, at+m*60+60, [2]string{fmt.Sprintf("Steps%02d", m), "steps"})
		}
	})
	return want
}

func fitbitSleep(t *testing.T, dir string) tallies {
	want := tallies{}
	table(t, filepath.Join(dir, "sleepDay_merged.csv"), func(row func(string) string, _ int, _ string) {
		at := instant(t, fitbitHour, row("SleepDay"))
		measured(want.of(row("Id")), tracker, row, at, at+86400, [][2]string{{"TotalSleepRecords", "sleep_records"}, {"TotalMinutesAsleep", "sleep_minutes"}, {"TotalTimeInBed", "time_in_bed_minutes"}}...)
	})
	return want
}

func fitbitWeight(t *testing.T, dir string) tallies {
	want := tallies{}
	table(t, filepath.Join(dir, "weightLogInfo_merged.csv"), func(row func(string) string, _ int, _ string) {
		at := instant(t, "2006-01-02", row("Date"))
		device := map[string]string{"TRUE": "Manual entry", "FALSE": "Scales"}[row("IsManualReport")]
		measured(want.of(row("Id")), device, row, at, at, [][2]string{{"WeightKg", "weight_kg"}, {"BMI", "body_mass_index"}, {"Fat", "body_fat_percent"}}...)
	})
	return want
}

var callFields = []string{"utility_tel_call_date", "utility_tel_call_duration", "utility_tel_call_incoming_outgoing", "utility_tel_call_number_called", "utility_tel_call_type"}

// calls and sms belong to both sides.
func calls(t *testing.T, dir string) tallies {
	want := tallies{}
	table(t, filepath.Join(dir, "calls.csv"), func(row func(string) string, _ int, _ string) {
		s, err := strconv.Atoi(row("duration"))
		if err != nil {
			t.Fatal(err)
		}
		s = max(s, 0) // missed
		long := fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
		want.of(row("from")).text(row("timestamp"), long, "Outgoing", row("to"), "Call")
		want.of(row("to")).text(row("timestamp"), long, "Incoming", row("from"), "Call")
	})
	return want
}

func sms(t *testing.T, dir string) tallies {
	want := tallies{}
	table(t, filepath.Join(dir, "sms.csv"), func(row func(string) string, _ int, _ string) {
		at, out, in, from, to, kind := row("timestamp"), "Outgoing", "Incoming", row("from"), row("to"), "SMS"
		want.of(from).add(&at, nil, &out, &to, &kind)
		want.of(to).add(&at, nil, &in, &from, &kind)
	})
	return want
}
