package push

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/actors/pds/schema"
)

func TestParseMap_Strict(t *testing.T) {
	if _, err := ParseMap([]byte(peopleMap)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`"version":1`, `"version":2`, "version 2"},
		{`"version":1,`, `"version":1,"colour":1,`, "colour"},
		{`"name":"people"`, `"name":""`, "name is missing"},
		{`"csv"`, `"xml"`, "format"},
		{`"header":true`, `"header":false`, "no header and no columns"},
		{`"header":true`, `"header":true,"delimiter":"ab"`, "delimiter"},
		{`"header":true`, `"header":true,"columns":["a","a"]`, "named twice"},
		{`"header":true`, `"header":true,"encoding":"ebcdic"`, "encoding"},
		{`"header":true`, `"header":true,"files":["["]`, "glob"},
		{`ds_test`, `Test`, "dataset"},
		{`"instance":0`, `"instance":-1`, "negative"},
		{`"instance":0`, `"instance":{"row":1}`, "row"},
		{`"ref":{"column":"who"},`, ``, "ref is missing"},
		{`"ref":{"column":"who"}`, `"ref":{"column":"who","folder":1}`, "exactly one"},
		{`"ref":{"column":"who"}`, `"ref":{"label":true}`, "unpivoted"},
		{`"ref":{"column":"who"}`, `"ref":[{"column":"who","match":"("}]`, "regular expression"},
		{`"name":"note"`, `"name":"con_id"`, "cannot be a field name"},
		{`"name":"note"`, `"name":"Note"`, "cannot be a field name"},
		{`"name":"note"`, `"name":"number"`, "given twice"},
		{`"type":"int"`, `"type":"integer"`, "type"},
		{`"type":"int"`, `"cell":true`, "exactly one"},
		{`"type":"int"`, `"empty":"drop"`, "empty"},
		{`"type":"int"`, `"duration":"weeks"`, "duration"},
		{`"type":"int"`, `"time":{"layout":"2006-01-02","zone":"Mars","to":"unix"}`, "Mars"},
		{`"type":"int"`, `"time":{"layout":"2006-01-02","zone":"Local","to":"unix"}`, "Local"},
		{`"type":"int"`, `"time":{"layout":"2006-01-02","to":"stardate"}`, "to must be"},
		{`"type":"int"`, `"time":{"to":"unix"}`, "layout"},
		{`"type":"int"`, `"time":{"layout":"2006-01-02","to":"unix","add":"1 day"}`, "duration"},
		{`"noun":"person"`, `"unpivot":{"columns":["a"],"match":"b"}`, "unpivot"},
	} {
		text := strings.Replace(peopleMap, tt.old, tt.new, 1)
		if text == peopleMap {
			t.Fatalf("%q is not in the map", tt.old)
		}
		if _, err := ParseMap([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.new, err, tt.want)
		}
	}
	if _, err := ParseMap([]byte(peopleMap + "{}")); err == nil {
		t.Error("text behind the map was taken")
	}
}

// collect is a sink that keeps everything.
type collect struct {
	refs    map[string]bool // nil: all have an agreement
	records []string
	rejects []string
	skips   int
}

func (c *collect) connection(ref []byte) (int, bool) {
	return len(ref), c.refs == nil || c.refs[string(ref)]
}

func (c *collect) record(con, dataset, instance int, text []byte, _, line int) error {
	c.records = append(c.records, fmt.Sprintf("%d.%d:%s", dataset, instance, strings.TrimSpace(string(text))))
	return nil
}

func (c *collect) reject(line int, rule, reason string, raw []byte) error {
	c.rejects = append(c.rejects, fmt.Sprintf("%d %s", line, reason))
	return nil
}

func (c *collect) skipped() { c.skips++ }

// mapText maps one file of the given name and text.
func mapText(t *testing.T, m, name, text string, c *collect) {
	t.Helper()
	mp, err := ParseMap([]byte(m))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, name), text)
	ins, err := inputs([]string{filepath.Join(dir, name)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var read atomic.Int64
	rd, err := open(mp, ins[0], 0, &read)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.close()
	for {
		r, err := rd.rows.next()
		if err != nil {
			return
		}
		if err := rd.mapper.row(r, c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMapper_Values(t *testing.T) {
	head := `{"version":1,"name":"x","source":{"format":"csv","header":true,"null":["NA"],"skip_rows":1,"trim":true},"records":[{"dataset":"ds_x","instance":{"column":"home"},"ref":[{"file":true,"match":"^house_([0-9]+)"},{"folder":1}],"when_present":"v","fields":[`
	m := head + `
	 {"name":"a","column":"v"},
	 {"name":"b","column":"w","empty":"omit","type":"number"},
	 {"name":"c","column":"flag","replace":{"Y":"yes"}},
	 {"name":"d","folder":1},
	 {"name":"e","constant":"it's \"fixed\""},
	 {"name":"f","column":"s","duration":"hms","empty":"omit"}]}]}`
	c := &collect{refs: map[string]bool{"12": true}}
	mapText(t, m, "up/house_12.old.csv.gz", "a report\nhome,v,w,flag,s\n"+
		"0, one ,1.5,Y,3661\n"+
		"1,two,NA,N,\n"+
		"2,NA,7,Y,\n"+
		"x,three,7,Y,\n"+
		"3,four,seven,Y,\n"+
		"4,five\n"+
		"5,six,,,-1\n"+
		"6,\"\xff\",,,\n", c)
	wantRecords := []string{
		`0.0:{"a":"one","b":"1.5","c":"yes","d":"up","e":"it's \"fixed\"","f":"01:01:01"}`,
		`0.1:{"a":"two","c":"N","d":"up","e":"it's \"fixed\""}`,
	}
	wantRejects := []string{
		"6 instance is not a whole number", "7 w is not a number", "8 wrong number of columns: 2, not 5",
		"9 s is not a number of seconds", "10 v is not UTF-8",
	}
	if fmt.Sprint(c.records) != fmt.Sprint(wantRecords) {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(c.records, "\n"), strings.Join(wantRecords, "\n"))
	}
	if fmt.Sprint(c.rejects) != fmt.Sprint(wantRejects) || c.skips != 1 {
		t.Errorf("rejects\n%s\nskipped %d", strings.Join(c.rejects, "\n"), c.skips)
	}
	// A file whose name holds no ref: its rows say so.
	c = &collect{refs: map[string]bool{"12": true}}
	mapText(t, m, "up/flat.csv", "x\nhome,v,w,flag,s\n0,1,,,\n", c)
	if fmt.Sprint(c.rejects) != "[3 no member: file name does not match the map's pattern]" {
		t.Error(c.rejects)
	}
	// The folder is tried when the file name is not in the keys file.
	c = &collect{refs: map[string]bool{"up": true}}
	mapText(t, m, "up/house_13.csv", "x\nhome,v,w,flag,s\n0,1,,,\n", c)
	if len(c.records) != 1 || len(c.rejects) != 0 {
		t.Error(c)
	}
}

func TestMapper_Unpivot(t *testing.T) {
	m := `{"version":1,"name":"x","source":{"format":"csv","header":true},"records":[{"dataset":"ds_x","ref":{"column":"id"},
	"unpivot":{"match":"^M([0-9]+)$","empty":"skip"},"fields":[
	{"name":"at","column":"hour","time":{"layout":"1/2/2006 3:04:05 PM","to":"unix","add_label":"1m"}},
	{"name":"label","label":true},{"name":"v","cell":true,"type":"int"}]}]}`
	c := &collect{}
	mapText(t, m, "f.csv", "id,hour,M00,M1,other,M02\r\n7,1/1/1970 1:00:00 AM,5,,9,6\r\n7,1/1/1970 2:00:00 AM,x,1,9,\r\n", c)
	want := `[0.0:{"at":"3600","label":"00","v":"5"} 0.0:{"at":"3720","label":"02","v":"6"} 0.0:{"at":"7260","label":"1","v":"1"}]`
	if fmt.Sprint(c.records) != want || c.skips != 2 || fmt.Sprint(c.rejects) != "[3 cell is not a whole number (column 00)]" {
		t.Errorf("%v\n%v, skipped %d", c.records, c.rejects, c.skips)
	}
}

func TestMapper_EncodingsAndNDJSON(t *testing.T) {
	m := `{"version":1,"name":"x","source":{"format":"delimited","delimiter":"\t","columns":["id","v"],"encoding":"windows-1252"},"records":[{"dataset":"ds_x","ref":{"column":"id"},"fields":[{"name":"v","column":"v"}]}]}`
	c := &collect{}
	mapText(t, m, "f.tsv", "1\t\x80\"\xe9", c)
	if fmt.Sprint(c.records) != `[0.0:{"v":"€\"é"}]` {
		t.Error(c.records)
	}
	c = &collect{}
	mapText(t, strings.Replace(m, "windows-1252", "utf-16", 1), "f.tsv", "\xff\xfe1\x00\t\x00\xac\x20", c)
	if fmt.Sprint(c.records) != `[0.0:{"v":"€"}]` {
		t.Error(c.records)
	}
	c = &collect{}
	mapText(t, strings.Replace(m, "windows-1252", "", 1), "f.tsv", "\xef\xbb\xbf1\t2\n", c)
	if fmt.Sprint(c.records) != `[0.0:{"v":"2"}]` {
		t.Error(c.records)
	}
	m = `{"version":1,"name":"x","source":{"format":"ndjson"},"records":[{"dataset":"ds_x","ref":{"column":"id"},"fields":[{"name":"v","column":"v","empty":"omit"},{"name":"w","column":"w"}]}]}`
	c = &collect{}
	mapText(t, m, "f.ndjson", `{"id":1,"w":"a\u0000b","v":1.250}`+"\n\n"+`{"v":true,"id":"2"}`+"\n"+`{"v":1`+"\n"+`{"w":2}`+"\n", c)
	if fmt.Sprint(c.records) != `[0.0:{"v":"1.250","w":"a\u0000b"} 0.0:{"v":"true","w":""}]` || fmt.Sprint(c.rejects) != `[4 not a JSON object 5 no member: id is empty]` {
		t.Error(c.records, c.rejects)
	}
}

// checked is a sink that holds every value to the dataset catalogue.
type checked struct {
	collect
	t    *testing.T
	m    *Map
	cat  *schema.Catalogue
	n    int
	bad  int
	made map[string]bool
}

func (c *checked) record(con, dataset, instance int, text []byte, _, line int) error {
	c.n++
	if c.n%53 != 0 && c.n > 2000 {
		return nil
	}
	name := c.m.Records[dataset].Dataset
	ds, ok := c.cat.Dataset(name)
	if !ok {
		c.t.Fatalf("%s is not in the catalogue", name)
	}
	var values map[string]string
	if err := json.Unmarshal(text, &values); err != nil {
		c.t.Fatal(err)
	}
	for k, v := range values {
		f, ok := ds.Field(k)
		if !ok {
			c.t.Fatalf("%s has no field %s", name, k)
		}
		c.made[k] = true
		if err := f.Check([]byte(v)); err != nil {
			if c.bad++; c.bad < 5 {
				c.t.Errorf("%s.%s, line %d: %v", name, k, line, err)
			}
		}
	}
	return nil
}

// What the shipped maps make of the shared data is what the catalogue takes.
func TestShippedMaps_FitTheCatalogue(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repoRoot(t), "cmd", "holdfast", "maps", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	folders := map[string]string{
		"energy-appliance-1s": "energy-appliance-1s", "energy-meter-30min": "energy-meter-30min", "transactions-retail": "transactions-retail",
		"calls": "calls-sms", "sms": "calls-sms",
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		t.Run(name, func(t *testing.T) {
			m, err := ParseMap(shippedMap(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if m.Name != name {
				t.Errorf("the map calls itself %s", m.Name)
			}
			folder := folders[name]
			if folder == "" {
				folder = "health-fitbit"
			}
			ins, err := inputs([]string{shared(t, folder)}, m.Source.Files, nil)
			if err != nil {
				t.Fatal(err)
			}
			c := &checked{t: t, m: m, cat: schema.Default(), made: map[string]bool{}}
			var read atomic.Int64
			for i, in := range ins[:min(len(ins), 3)] {
				rd, err := open(m, in, i, &read)
				if err != nil {
					t.Fatal(err)
				}
				for range 20000 {
					r, err := rd.rows.next()
					if err != nil {
						break
					}
					if err := rd.mapper.row(r, c); err != nil {
						t.Fatal(err)
					}
				}
				rd.close()
			}
			for i := range m.Records {
				for _, f := range m.Records[i].Fields {
					if !c.made[f.Name] {
						t.Errorf("%s is never filled", f.Name)
					}
				}
			}
		})
	}
}
