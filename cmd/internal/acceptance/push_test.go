package acceptance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
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

// exports reads and exports a member's store by the member's commands.
func (n *node) exports(t *testing.T, mydexid string, want *tally) {
	t.Helper()
	as := []string{"--world", n.path("world.json"), "--mydexid", mydexid, "--session", n.path("session.json")}
	check := func(what, name string, each func(io.Reader, func(*ownRecord)) error) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := newTally()
		err = each(f, func(r *ownRecord) {
			if r.Dataset != "" && r.Dataset != "ds_energy_consumption" {
				return
			}
			var vals []*string
			for _, f := range energyFields {
				vals = append(vals, r.Values[f])
			}
			got.add(vals...)
		})
		if err != nil || got.n != want.n || got.sum() != want.sum() {
			t.Errorf("%s: %d rows, %s; the files have %d, %s (%v)", what, got.n, got.sum(), want.n, want.sum(), err)
		}
	}
	read := n.path("read.ndjson")
	took := n.runTo(read, append([]string{"member", "read", "ds_energy_consumption", "--json"}, as...)...)
	t.Logf("member read: %d bytes in %v", size(t, read), took)
	check("member read", read, ownLines)
	for _, form := range []string{"json", "xml"} {
		name := n.path("export." + form)
		_, took := n.run(append([]string{"member", "export", form, "-o", name}, as...)...)
		said, check := n.run("verify", name)
		t.Logf("export %s: %d bytes in %v, its own check included; verify %v", form, size(t, name), took, check)
		// Two more records are the member's own name and home.
		if !strings.Contains(said, "\nVerified.\n") || !strings.Contains(said, fmt.Sprintf("\n%d records", want.n+2)) {
			t.Errorf("verify of %d records: %s", want.n+2, said)
		}
	}
	check("export", n.path("export.json"), ownLines)
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// ownRecord is a record as its member sees it.
type ownRecord struct {
	Dataset string
	Values  map[string]*string
}

// ownLines reads records that stand one a line, in an export among others.
func ownLines(r io.Reader, each func(*ownRecord)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 1<<20), 64<<20)
	for sc.Scan() {
		line := bytes.TrimSuffix(sc.Bytes(), []byte(","))
		if !bytes.HasPrefix(line, []byte("{")) || !bytes.Contains(line, []byte(`"values":`)) {
			continue
		}
		var r ownRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		each(&r)
	}
	return sc.Err()
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

// compareXML reads members in both forms and compares the trees.
func (c *client) compareXML(t *testing.T, refs map[string]sandbox.Agreement) {
	t.Helper()
	seen := map[rune]int{}
	for _, ref := range slices.Sorted(maps.Keys(refs))[:min(len(refs), 300)] {
		a := refs[ref]
		body := c.get(a, "ds_retail_purchases", "json", "", "")
		var rows map[string]map[string]*string
		err := json.NewDecoder(body).Decode(&rows)
		body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			for _, ch := range *r["description"] {
				if strings.ContainsRune(`&<>"'`, ch) || ch > 127 {
					seen[ch]++
				}
			}
		}
		body = c.get(a, "ds_retail_purchases", "xml", "", "")
		got, err := xmlRows(body)
		body.Close()
		if err != nil {
			t.Fatal(err)
		}
		x, _ := json.Marshal(got)
		j, _ := json.Marshal(rows)
		if !bytes.Equal(x, j) {
			t.Errorf("%s: the XML differs from the JSON", ref)
		}
	}
	if seen['&'] == 0 {
		t.Error("no text with & was compared")
	}
	t.Logf("characters compared: %v", seen)
}

// xmlRows decodes <response><item key="1"><id>1</id>...</item></response> with
// the standard library.
func xmlRows(r io.Reader) (map[string]map[string]*string, error) {
	var doc struct {
		Items []struct {
			Key    string `xml:"key,attr"`
			Fields []struct {
				XMLName xml.Name
				Nil     bool   `xml:"nil,attr"`
				Text    string `xml:",chardata"`
			} `xml:",any"`
		} `xml:"item"`
	}
	if err := xml.NewDecoder(r).Decode(&doc); err != nil {
		return nil, err
	}
	out := map[string]map[string]*string{}
	for _, item := range doc.Items {
		row := map[string]*string{}
		for _, f := range item.Fields {
			if row[f.XMLName.Local] = nil; !f.Nil {
				row[f.XMLName.Local] = &f.Text
			}
		}
		out[item.Key] = row
	}
	return out, nil
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
