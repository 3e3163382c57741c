package acceptance

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/cmd/internal/sandbox"
)

// assign gives every ref an agreement of its own.
func (n *node) assign(refs []string, from []sandbox.Agreement) map[string]sandbox.Agreement {
	n.t.Helper()
	if len(from) < len(refs) {
		n.t.Fatalf("%d agreements for %d refs", len(from), len(refs))
	}
	out := map[string]sandbox.Agreement{}
	for i, r := range refs {
		out[r] = from[i]
	}
	return out
}

// holds compares what a push said with what the files have.
func (p *pushed) holds(t *testing.T, read, records, rejected int) {
	t.Helper()
	if p.read != read || p.mapped != records || p.delivered != records || p.rejected != rejected || p.refused != 0 {
		t.Errorf("the push says, where %d rows, %d records and %d rejects were due:\n%s", read, records, rejected, p.text)
	}
}

func TestAppliances(t *testing.T) {
	dir := part(t, shared(t, "energy-appliance-1s"), 3000)
	n := start(t, 7, "Northgrid Energy")
	want, doubled := appliances(t, dir)
	if *full && (want.rows() != 2_311_704 || doubled != 696_438) {
		t.Errorf("the files have %d rows, %d of the second before", want.rows(), doubled)
	}
	if len(want) != 8 || doubled == 0 {
		t.Fatalf("%d appliances, %d rows of the second before", len(want), doubled)
	}
	// The largest is of a member whose Private Key is known: see below.
	names := slices.Sorted(maps.Keys(want))
	slices.SortStableFunc(names, func(a, b string) int { return want[b].n - want[a].n })
	refs := n.assign(names, n.agreements("Northgrid Energy"))
	n.push("energy-appliance-1s", "Northgrid Energy", refs, dir).holds(t, want.rows(), want.rows(), 0)
	c := n.client("Northgrid Energy")
	c.compare(t, "ds_energy_consumption", energyFields, refs, want, 8)
	n.exports(t, "ada", want[names[0]])

	// The same push without its state file is recognised: nothing is doubled.
	if err := os.Remove(n.path("energy-appliance-1s.rejects.ndjson.state")); err != nil {
		t.Fatal(err)
	}
	n.push("energy-appliance-1s", "Northgrid Energy", refs, dir).holds(t, want.rows(), want.rows(), 0)
	c.compare(t, "ds_energy_consumption", energyFields, refs, want, 0)
}

// The clocks of Berlin went back at 03:00 on 30 October 2011 and forward at
// 02:00 on 25 March 2012. The instants are written down here, not computed.
func TestClockChange(t *testing.T) {
	n := start(t, 0)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "Kettle"), 0o700); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	want := tallies{}
	for _, r := range [][2]string{
		{"30/10/2011 02:00:00", "1319932800"}, {"30/10/2011 02:59:59", "1319936399"},
		{"30/10/2011 02:00:00", "1319936400"}, {"30/10/2011 02:00:00", "1319936400"}, {"30/10/2011 02:59:59", "1319939999"},
		{"30/10/2011 03:00:00", "1319940000"},
		{"25/03/2012 01:59:59", "1332637199"}, {"25/03/2012 02:30:00", "1332639000"}, {"25/03/2012 03:00:00", "1332637200"},
	} {
		text.WriteString(r[0] + ";5;6\n")
		five, kettle, device := "5", "Kettle", "dev_1"
		want.of(kettle).add(&r[1], &five, &kettle, &device, nil)
	}
	if err := os.WriteFile(filepath.Join(dir, "Kettle", "dev_1.csv"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	refs := n.assign([]string{"Kettle"}, n.agreements("Northgrid Energy"))
	n.push("energy-appliance-1s", "Northgrid Energy", refs, dir).holds(t, 9, 9, 0)
	n.client("Northgrid Energy").compare(t, "ds_energy_consumption", energyFields, refs, want, 1)
}

func TestRetail(t *testing.T) {
	dir := part(t, shared(t, "transactions-retail"), 400)
	want, rejects := retail(t, dir)
	if *full && (len(want) != 4301 || want.rows()+len(rejects) != 505_287 || len(rejects) != 123_839) {
		t.Errorf("the files have %d customers, %d rows with one, %d without", len(want), want.rows(), len(rejects))
	}
	names := slices.Sorted(maps.Keys(want))
	n := start(t, len(names), "Fernhill Market")
	refs := n.assign(names, n.agreements("Fernhill Market"))
	p := n.push("transactions-retail", "Fernhill Market", refs, dir)
	p.holds(t, want.rows()+len(rejects), want.rows(), len(rejects))
	compareRejects(t, p.rejects, rejects)
	c := n.client("Fernhill Market")
	c.compare(t, "ds_retail_purchases", retailFields, refs, want, 50)
	// The rows with pound signs have no customer: one customer gets such texts.
	r := c.delivery(refs[names[0]]).set("dataset", "ds_retail_purchases")
	r.body, _ = json.Marshal(map[string]any{"ds_retail_purchases": []map[string]string{
		{"description": "Dotcomgiftshop Gift Voucher £40.00"}, {"description": "<b>\"ÅNGSTRÖM\" & 'naïve' 日本 🎁</b> ]]>"},
		{"description": " \ttwo\r\nlines\r "}, {"description": "bell \a, \ufffe"}, {"description": ""},
	}})
	if status, b := c.do(t, r); status != 200 {
		t.Errorf("delivery: %d %s", status, b)
	}
	c.compareXML(t, refs)
}

// compareRejects holds the rejects file against the rows that have no member.
func compareRejects(t *testing.T, name string, want []reject) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	n := 0
	for ; sc.Scan(); n++ {
		var got struct {
			File, Reason, Raw string
			Line              int
		}
		if err := json.Unmarshal(sc.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if n >= len(want) || filepath.Base(got.File) != filepath.Base(want[n].file) || got.Line != want[n].line || got.Raw != want[n].raw || got.Reason != "no customer: CustomerID is empty" {
			t.Fatalf("reject %d is %s", n+1, sc.Text())
		}
	}
	if n != len(want) || sc.Err() != nil {
		t.Errorf("%d rejects where %d were due (%v)", n, len(want), sc.Err())
	}
}

// load is a shipped map with what it should make of its files.
type load struct {
	mapName string
	want    func(*testing.T, string) tallies
	records int // of the whole data set
}

// The other shipped maps, each with members of its own.
func TestOtherMaps(t *testing.T) {
	for _, set := range []struct {
		dir, subscriber, dataset string
		fields                   []string
		lines                    int // of each file in the short form
		loads                    []load
	}{
		{"energy-meter-30min", "Northgrid Energy", "ds_energy_consumption", energyFields, 2000, []load{{"energy-meter-30min", meter, 174_961}}},
		{"health-fitbit", "Brightwell Health", "ds_measurements", measurementFields, 300, []load{
			{"fitbit-daily-activity", fitbitDaily, 940 * 12},
			{"fitbit-hourly-steps", fitbitHourly, 22_099},
			{"fitbit-minute-steps", fitbitMinutes, 1_298_700},
			{"fitbit-sleep", fitbitSleep, 413 * 3},
			{"fitbit-weight", fitbitWeight, 67*2 + 2},
		}},
		{"calls-sms", "Kestrel Telecom", "ds_utility_tel_calls", callFields, 60, []load{{"calls", calls, 2 * 2696}, {"sms", sms, 2 * 19_032}}},
	} {
		t.Run(set.dir, func(t *testing.T) {
			dir := part(t, shared(t, set.dir), set.lines)
			members := 0
			want := make([]tallies, len(set.loads))
			for i, l := range set.loads {
				want[i] = l.want(t, dir)
				if *full && want[i].rows() != l.records {
					t.Errorf("%s: the files make %d records", l.mapName, want[i].rows())
				}
				members += len(want[i])
			}
			n := start(t, members, set.subscriber)
			c := n.client(set.subscriber)
			free := n.agreements(set.subscriber)
			for i, l := range set.loads {
				names := slices.Sorted(maps.Keys(want[i]))
				refs := n.assign(names, free)
				free = free[len(names):]
				p := n.push(l.mapName, set.subscriber, refs, dir)
				p.holds(t, p.read, want[i].rows(), 0)
				c.compare(t, set.dataset, set.fields, refs, want[i], 3)
			}
		})
	}
}
