package api

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/actors/pds"
	"holdfast/api/ndjson"
	"holdfast/api/xmlout"
)

const (
	home   = "ds_home"
	energy = "ds_energy_consumption"
)

// Every form of body that the published API has taken stores the same row.
func TestDatasets_BodyForms(t *testing.T) {
	xmlBody := `<response><ds_home><field_home_postcode>DN21 6BY</field_home_postcode><field_home_bedrooms>3</field_home_bedrooms></ds_home></response>`
	for _, c := range []struct{ name, path, body, ct string }{
		{"current", "/api/pds/pds/97.json", `{"ds_home":{"field_home_postcode":"DN21 6BY","field_home_bedrooms":3}}`, "application/json"},
		{"no content type", "/api/pds/pds/97.json", `{"ds_home":{"field_home_postcode":"DN21 6BY","field_home_bedrooms":3}}`, ""},
		{"legacy name", "/api/pds/pds/97.json", `{"field_ds_home":{"field_home_postcode":"DN21 6BY","field_home_bedrooms":3}}`, "application/json"},
		{"batch", "/api/pds/pds/97.json", `{"ds_home":[{"field_home_postcode":"DN21 6BY","field_home_bedrooms":3}]}`, "application/json"},
		{"by instance", "/api/pds/pds/97.json", `{"field_ds_home":{"0":{"field_home_postcode":"DN21 6BY","field_home_bedrooms":3}}}`, "application/json"},
		{"form", "/api/pds/pds/97.json", `field_ds_home%5B0%5D%5Bfield_home_postcode%5D=DN21+6BY&field_ds_home[0][field_home_bedrooms]=3`, "application/x-www-form-urlencoded"},
		{"form without position", "/api/pds/pds/97.json", `ds_home[field_home_postcode]=DN21%206BY&ds_home[field_home_bedrooms]=3`, "application/x-www-form-urlencoded"},
		{"JSON called a form", "/api/pds/pds/97.json", `{"ds_home":{"field_home_postcode":"DN21 6BY","field_home_bedrooms":3}}`, "application/x-www-form-urlencoded"},
		{"XML", "/api/pds/pds/97.xml", xmlBody, "application/xml"},
		{"XML by path", "/api/pds/pds/97.xml", xmlBody, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newPDX(t, Limits{})
			q := []string{"dataset", home}
			if c.ct != "" {
				q = append(q, "H:Content-Type", c.ct)
			}
			a := w.pdx("POST", c.path, c.body, q...)
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			want := `{"success":1,"last_insert_id":1}`
			if strings.HasSuffix(c.path, ".xml") {
				b, err := xmlout.ToJSON([]byte(a.body))
				want = `{"success":"1","last_insert_id":"1"}`
				if err != nil || a.header.Get("Content-Type") != "application/xml; charset=utf-8" {
					t.Fatalf("%v %s", err, a.body)
				}
				a.body = string(b)
			}
			if a.body != want {
				t.Errorf("answer %s", a.body)
			}
			got := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home)
			var rows map[string]map[string]any
			if err := json.Unmarshal([]byte(got.body), &rows); err != nil {
				t.Fatal(err)
			}
			if r := rows["1"]; r["field_home_postcode"] != "DN21 6BY" || r["field_home_bedrooms"] != "3" || r["id"] != "1" || r["field_home_town"] != nil {
				t.Errorf("row %v", r)
			}
			if _, there := rows["1"]["field_home_town"]; !there {
				t.Error("an absent value is not null but missing")
			}
		})
	}
}

func TestDatasets_Transactional(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, c := range []struct{ path, body, answer string }{
		{"/api/pds/transaction", `{"ds_energy_consumption":{"field_energy_reading_value":"0.10"}}`, `{"success":1,"last_insert_id":1}`},
		{"/api/pds/transaction.json", `{"ds_energy_consumption":[{"field_energy_reading_value":"0.20"},{"field_energy_reading_value":1e2}]}`, `{"success":1,"last_insert_id":3}`},
		{"/api/pds/transaction/97.json", `{"ds_energy_consumption":{"field_energy_source_name":"","field_energy_homeid":null}}`, `{"success":1,"last_insert_id":4}`},
	} {
		if a := w.pdx("POST", c.path, c.body, "uid", "97", "instance", "0"); a.body != c.answer {
			t.Fatalf("%s: %d %s", c.path, a.status, a.body)
		}
	}
	a := w.pdx("GET", "/api/pds/transaction/97.json", "", "dataset", energy, "instance", "0")
	src := w.conID(97)
	want := `{"1":{"id":"1","ds_id":"1","instance":"0","source":"` + src + `","created_timestamp":"1763000000","updated_timestamp":"1763000000",`
	if !strings.HasPrefix(a.body, want) || !strings.Contains(a.body, `"field_energy_reading_value":"1e2"`) || !strings.Contains(a.body, `"field_energy_source_name":""`) {
		t.Errorf("rows: %s", a.body)
	}
	// .xml is the same tree.
	x := w.pdx("GET", "/api/pds/transaction/97.xml", "", "dataset", energy, "instance", "0")
	if back, err := xmlout.ToJSON([]byte(x.body)); err != nil || string(back) != a.body {
		t.Errorf("XML %v: %s", err, back)
	}
	if err := xml.Unmarshal([]byte(x.body), new(struct{})); err != nil {
		t.Error(err)
	}
	if a := w.pdx("PUT", "/api/pds/transaction/97.json", `{"field_energy_reading_value":"0.11"}`, "dataset", energy, "instance", "0", "id", "1"); a.body != `{"success":1}` {
		t.Errorf("update: %d %s", a.status, a.body)
	}
	if a := w.pdx("DELETE", "/api/pds/transaction/97.json", "", "dataset", energy, "instance", "0", "id", "2"); a.body != `{"success":1}` {
		t.Errorf("delete: %d %s", a.status, a.body)
	}
	a = w.pdx("GET", "/api/pds/transaction/97.json", "", "dataset", energy, "instance", "0")
	if !strings.Contains(a.body, `"field_energy_reading_value":"0.11"`) || strings.Contains(a.body, `"2":{`) {
		t.Errorf("after: %s", a.body)
	}
	if a := w.pdx("PUT", "/api/pds/transaction/97.json", `{"ds_energy_consumption":{"field_energy_reading_value":"0.12"}}`, "instance", "0", "id", "1"); a.body != `{"success":1}` {
		t.Errorf("wrapped update: %d %s", a.status, a.body)
	}
	// The older update of metadata names the instance in the body, and no id.
	w.pdx("POST", "/api/pds/pds/97.json", `{"ds_home":{"field_home_postcode":"A"}}`)
	if a := w.pdx("PUT", "/api/pds/pds/97.json", `{"field_ds_home":{"0":{"field_home_postcode":"B"}}}`, "dataset", "field_ds_home"); a.body != `{"success":1}` {
		t.Errorf("older update: %d %s", a.status, a.body)
	}
	// Every instance, one level deeper.
	w.pdx("POST", "/api/pds/pds/97.json", `{"ds_home":{"field_home_postcode":"C"}}`, "instance", "1")
	a = w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home, "instance", "all")
	var deep map[string]map[string]map[string]any
	if err := json.Unmarshal([]byte(a.body), &deep); err != nil || deep["instance_0"]["1"]["field_home_postcode"] != "B" || deep["instance_1"]["1"]["field_home_postcode"] != "C" {
		t.Errorf("instances: %v %s", err, a.body)
	}
	if a := w.pdx("GET", "/api/pds/pds/98.json", "", "dataset", home, "con_id", w.conID(98)); a.body != "{}" {
		t.Errorf("no rows: %s", a.body)
	}
}

// What is missing or wrong, the status, and whether the member hears of it.
func TestDatasets_Refusals(t *testing.T) {
	w := newPDX(t, Limits{Body: 64 << 10, SectionRows: 10})
	w.pdx("POST", "/api/pds/pds/97.json", `{"ds_home":{"field_home_postcode":"A"}}`)
	const meta, tx = "/api/pds/pds/97.json", "/api/pds/transaction/97.json"
	ok := `{"ds_home":{"field_home_postcode":"A"}}`
	for _, c := range []struct {
		name, method, path, body string
		q                        []string
		status                   int
		message                  string
		journalled               bool
	}{
		{"no token", "GET", meta, "", []string{"dataset", home, "H:Authorization", ""}, 401, "", false},
		{"no con_id", "GET", meta, "", []string{"dataset", home, "con_id", ""}, 403, "no such connection: con_id is missing or malformed", false},
		{"bad con_id", "GET", meta, "", []string{"dataset", home, "con_id", "97"}, 403, "no such connection: con_id is missing or malformed", false},
		{"con_id with zeros", "GET", meta, "", []string{"dataset", home, "con_id", "097-" + utoa(uint64(w.con.NID))}, 403, "no such connection: con_id is missing or malformed", false},
		{"another's connection", "GET", meta, "", []string{"dataset", home, "con_id", "97-1"}, 403, "no such connection", false},
		{"another member", "GET", "/api/pds/pds/98.json", "", []string{"dataset", home}, 403, "no such connection: uid and con_id differ", false},
		{"other uid", "GET", meta, "", []string{"dataset", home, "uid", "98"}, 403, "no such connection: uid and con_id differ", false},
		{"no uid", "POST", "/api/pds/transaction", `{"ds_energy_consumption":{"field_energy_homeid":1}}`, nil, 403, "no such connection: uid and con_id differ", false},
		{"no extension", "GET", "/api/pds/pds/97", "", []string{"dataset", home}, 403, "no such connection: uid and con_id differ", false},
		{"no key", "GET", meta, "", []string{"dataset", home, "key", ""}, 403, "connection key not accepted", true},
		{"key of another form", "GET", meta, "", []string{"dataset", home, "key", "ABC"}, 403, "connection key not accepted", true},
		{"two keys", "GET", meta, "", []string{"dataset", home, "H:Connection-Token", strings.Repeat("b", 32)}, 403, "connection key not accepted", true},
		{"unknown parameter", "GET", meta, "", []string{"dataset", home, "colour", "red"}, 400, "malformed: unknown parameter", false},
		{"source type", "GET", meta, "", []string{"dataset", home, "source_type", "user"}, 400, "malformed: source_type must be connection", true},
		{"no dataset", "GET", meta, "", nil, 400, "malformed: dataset is missing", true},
		{"unknown dataset", "GET", meta, "", []string{"dataset", "ds_bogus"}, 400, "unknown dataset", true},
		{"two datasets", "GET", meta, "", []string{"dataset", "ds_home+ds_passport"}, 400, "unknown dataset", true},
		{"other kind", "GET", meta, "", []string{"dataset", energy}, 400, "unknown dataset: ds_energy_consumption: this path serves the other kind of dataset", true},
		{"other kind, too", "GET", tx, "", []string{"dataset", home}, 400, "unknown dataset: ds_home: this path serves the other kind of dataset", true},
		{"instance", "GET", meta, "", []string{"dataset", home, "instance", "-1"}, 400, "malformed: instance must be a number from 0", true},
		{"all instances of a write", "POST", meta, ok, []string{"instance", "all"}, 400, "malformed: instance must be a number from 0", true},
		{"instance over 31 bit", "GET", meta, "", []string{"dataset", home, "instance", "2147483648"}, 400, "malformed: instance must be a number from 0", true},
		{"id", "PUT", meta, `{"field_home_town":"x"}`, []string{"dataset", home, "id", "0"}, 400, "malformed: id must be a number from 1", true},
		{"update without id", "PUT", meta, `{"field_home_town":"x"}`, []string{"dataset", home}, 400, "malformed: id is missing", true},
		{"update without dataset", "PUT", meta, `{"field_home_town":"x"}`, []string{"id", "1"}, 400, "malformed: dataset is missing", true},
		{"update of nothing", "PUT", meta, `{"field_home_town":"x"}`, []string{"dataset", home, "id", "9"}, 404, "no such record", false},
		{"update of two", "PUT", meta, `{"ds_home":[{"field_home_town":"x"},{"field_home_town":"y"}]}`, []string{"dataset", home, "id", "1"}, 400, "malformed: PUT takes one record", true},
		{"delete without id", "DELETE", meta, "", []string{"dataset", home}, 400, "malformed: id is missing", true},
		{"delete without dataset", "DELETE", meta, "", []string{"id", "1"}, 400, "malformed: dataset is missing", true},
		{"hard read", "GET", meta, "", []string{"dataset", home, "hard", "1"}, 400, "malformed: hard must be 0 or 1, on DELETE", true},
		{"empty body", "POST", meta, "", []string{"dataset", home}, 400, "nothing to store: JSON", true},
		{"no rows", "POST", meta, `{"ds_home":[]}`, nil, 400, "nothing to store: ds_home", true},
		{"no fields", "POST", meta, `{"ds_home":{}}`, nil, 400, "nothing to store", true},
		{"bare fields", "POST", meta, `{"field_home_town":"x"}`, []string{"dataset", home}, 400, "malformed: body must be", true},
		{"two datasets in the body", "POST", meta, `{"ds_home":{"field_home_town":"x"},"ds_ni":{"field_ni_name":"x"}}`, nil, 400, "malformed: body must be", true},
		{"body of another dataset", "POST", meta, ok, []string{"dataset", "ds_ni"}, 400, "malformed: body and parameter name different datasets", true},
		{"unknown field", "POST", meta, `{"ds_home":{"field_bogus":"x"}}`, nil, 400, "unknown field: ds_home.field_bogus (row 1)", true},
		{"wrong type", "POST", meta, `{"ds_home":[{"field_home_floor":1},{"field_home_floor":"first"}]}`, nil, 400, "value does not fit the field's type: ds_home.field_home_floor (row 2)", true},
		{"nested value", "POST", meta, `{"ds_home":{"field_home_town":{"a":"b"}}}`, nil, 400, "malformed: ds_home.field_home_town (row 1)", true},
		{"duplicate name", "POST", meta, `{"ds_home":{"field_home_town":"a","field_home_town":"b"}}`, nil, 400, "malformed: field_home_town: JSON", true},
		{"duplicate dataset", "POST", meta, `{"ds_home":{"field_home_town":"a"},"ds_home":{"field_home_town":"b"}}`, nil, 400, "malformed: ds_home: JSON", true},
		{"array at the top", "POST", meta, `[{"field_home_town":"a"}]`, nil, 400, "malformed: body must be an object", true},
		{"null", "POST", meta, `null`, nil, 400, "malformed: body must be an object", true},
		{"trailing", "POST", meta, ok + "x", nil, 400, "malformed: JSON", true},
		{"too deep", "POST", meta, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), nil, 400, "malformed", true},
		{"too many rows", "POST", meta, `{"ds_home":[` + strings.Repeat(`{"field_home_town":"a"},`, 10) + `{"field_home_town":"a"}]}`, nil, 413, "too large: ds_home: at most 10 rows", true},
		{"too large", "POST", meta, `{"ds_home":{"field_home_town":"` + strings.Repeat("x", 65<<10) + `"}}`, nil, 413, "too large", true},
		{"two instances", "POST", meta, `{"field_ds_home":{"0":{"field_home_town":"a"},"1":{"field_home_town":"b"}}}`, nil, 400, "malformed: one instance a request", true},
		{"broken form", "POST", meta, "ds_home=1", []string{"H:Content-Type", "application/x-www-form-urlencoded"}, 400, "malformed: form fields", true},
		{"doctype", "POST", "/api/pds/pds/97.xml", `<!DOCTYPE r [<!ENTITY a "b">]><response><ds_home><field_home_town>&a;</field_home_town></ds_home></response>`, []string{"H:Content-Type", "text/xml"}, 400, "XML", true},
		{"filter without value", "GET", meta, "", []string{"dataset", home, "filters[id][operator]", "="}, 400, "malformed: a filter needs an operator and a value", true},
		{"filter operator", "GET", meta, "", []string{"dataset", home, "filters[id][operator]", "LIKE", "filters[id][value]", "1"}, 400, "malformed: filter operator", true},
		{"filter field", "GET", meta, "", []string{"dataset", home, "filters[bogus][operator]", "=", "filters[bogus][value]", "1"}, 400, "unknown field: ds_home", true},
		{"filter type", "GET", meta, "", []string{"dataset", home, "filters[field_home_floor][operator]", "=", "filters[field_home_floor][value]", "ground"}, 400, "value does not fit the field's type: ds_home.field_home_floor: filter", true},
		{"filter id", "GET", meta, "", []string{"dataset", home, "filters[id][operator]", "=", "filters[id][value]", "-1"}, 400, "value does not fit the field's type: ds_home.id: filter", true},
		{"filter of a write", "POST", meta, ok, []string{"filters[id][operator]", "=", "filters[id][value]", "1"}, 400, "malformed: filters belong to GET", true},
		{"idempotency key", "POST", meta, ok, []string{"H:Idempotency-Key", "a b"}, 400, "malformed: Idempotency-Key", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.store.refusals()
			a := w.pdx(c.method, c.path, c.body, c.q...)
			if a.status != c.status {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			if strings.HasSuffix(c.path, ".xml") {
				if b, err := xmlout.ToJSON([]byte(a.body)); err != nil {
					t.Error(err)
				} else {
					a.body = strings.Replace(string(b), `"success":"0"`, `"success":0`, 1)
				}
			}
			if c.status == 401 {
				if a.body != `{"error":{"message":"Access denied","reason":"The token is invalid or expired"}}` {
					t.Errorf("answer %s", a.body)
				}
			} else {
				var got struct {
					Success *int
					Message string
				}
				if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Success == nil || *got.Success != 0 || !strings.Contains(got.Message, c.message) {
					t.Errorf("%v: %s, want %q", err, a.body, c.message)
				}
			}
			n := w.store.refusals() - before
			if n > 0 != c.journalled || n > 1 {
				t.Errorf("%d journalled", n)
			}
		})
	}
	if n := w.store.count(97, home); n != 1 {
		t.Errorf("%d rows: a refused request stored something", n)
	}
}

// The older name of a metadata dataset gets the older shape.
func TestDatasets_OlderShape(t *testing.T) {
	w := newPDX(t, Limits{})
	w.pdx("POST", "/api/pds/pds/97.json", `{"ds_ni":{"field_ni_name":"A"}}`)
	w.pdx("POST", "/api/pds/pds/97.json", `{"ds_ni":{"field_ni_name":"later"}}`)
	w.pdx("POST", "/api/pds/pds/97.json", `{"ds_ni":{"field_ni_name":"B \"1\""}}`, "instance", "1")
	field := func(name, v, more string) string {
		return `"` + name + `":{"value":` + v + `,"access":{"r":{"a":1,"s":"A"},"w":{"a":0,"s":"A"}}}` + more
	}
	zero := `"instance_0":{` + field("field_ni_name", `"A"`, ",") + field("field_ni_number", "null", "}")
	one := `"instance_1":{` + field("field_ni_name", `"B \"1\""`, ",") + field("field_ni_number", "null", "}")
	w.store.with(func(f *fakeStore) { f.readMask = ^pds.Mask(0) })
	for _, c := range []struct{ instance, want string }{{"", zero + "," + one}, {"0", zero}, {"1", one}, {"all", zero + "," + one}, {"5", ""}} {
		if a := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", "field_ds_ni", "instance", c.instance); a.body != `{"field_ds_ni":{`+c.want+"}}" {
			t.Errorf("%q: %s", c.instance, a.body)
		}
	}
}

func TestDatasets_AddMeasurements(t *testing.T) {
	w := newPDX(t, Limits{})
	token, _, err := w.s.tokens.issue(context.Background(), w.con.ClientID, w.org.ID, []string{"post:/api/pds/add-measurements"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const path, body = "/api/pds/add-measurements", `[{"measurement_type":"pulse","measurement_value":72},{"measurement_type":"pulse","measurement_value":"71.5"}]`
	q := []string{"uid", "97", "key", "", "H:Connection-Token", w.key.Reveal(), "H:Authorization", "Bearer " + token}
	if a := w.pdx("POST", path, body, q...); a.body != `{"success":1,"last_insert_id":2}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, bad := range []string{"", "{}", "[]", "[1]", `[{"measurement_value":"high"}]`, `[{}]},"ds_home":[{}`} {
		if a := w.pdx("POST", path, bad, q...); a.status != 400 {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
	// The route's scope is not that of the datasets, nor the other way round.
	if a := w.pdx("GET", "/api/pds/transaction/97.json", "", "dataset", "ds_measurements", "H:Authorization", "Bearer "+token); a.status != 403 {
		t.Errorf("%d", a.status)
	}
	if a := w.pdx("POST", path, body, "uid", "97"); a.status != 403 {
		t.Errorf("%d", a.status)
	}
}

func TestDatasets_Filters(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, c := range []struct {
		raw  string
		want string
	}{
		{"filters[id][operator]=>=&filters[id][value]=21", "id >= 21"},
		{"filters%5Bid%5D%5Boperator%5D=%3E%3D&filters%5Bid%5D%5Bvalue%5D=21", "id >= 21"},
		{"filters[field_energy_homeid][operator]=!=&filters[field_energy_homeid][value]=7&filters[id][operator]=<&filters[id][value]=9", "field_energy_homeid != 7, id < 9"},
		{"filters[field_energy_source_name][value]=a%26b%3D%5B%5D%2B+c&filters[field_energy_source_name][operator]==", "field_energy_source_name = a&b=[]+ c"},
		{"filters[created_timestamp][operator]=>&filters[created_timestamp][value]=1&filters[updated_timestamp][operator]=<=&filters[updated_timestamp][value]=2", "created_timestamp > 1, updated_timestamp <= 2"},
	} {
		a := w.call("GET", "/api/pds/transaction/97.json?con_id="+w.conID(97)+"&dataset="+energy+"&"+c.raw, nil, "Authorization", "Bearer "+w.token, "Connection-Token", w.key.Reveal())
		if a.status != 200 {
			t.Errorf("%s: %d %s", c.raw, a.status, a.body)
			continue
		}
		var got []string
		var filters []pds.Filter
		w.store.with(func(f *fakeStore) { filters = f.filters })
		for _, f := range filters {
			got = append(got, fmt.Sprintf("%s %s %s", f.Name, [...]string{"", "=", "!=", "<", "<=", ">", ">="}[f.Op], f.Value))
			if (f.Field == 0) != systemFields[f.Name] {
				t.Errorf("%s has number %d", f.Name, f.Field)
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s", c.raw, s)
		}
	}
	for _, raw := range []string{"filters[id][operator]==&filters[id][operator]=<&filters[id][value]=1", "con_id=97-1", "dataset=ds_home", "filters[id]=1", "filters[][value]=1", "filters[id][other]=1", "filters=1"} {
		a := w.call("GET", "/api/pds/transaction/97.json?con_id="+w.conID(97)+"&dataset="+energy+"&"+raw, nil, "Authorization", "Bearer "+w.token, "Connection-Token", w.key.Reveal())
		if a.status != 400 {
			t.Errorf("%s: %d", raw, a.status)
		}
	}
}

// A long answer is whole or visibly broken.
func TestDatasets_LongReads(t *testing.T) {
	w := newPDX(t, Limits{})
	w.pdx("POST", "/api/pds/transaction", `{"ds_energy_consumption":[`+strings.Repeat(`{"field_energy_reading_value":"0.5"},`, 999)+`{"field_energy_source_name":"\u0000\"\\\u001f/é"}]}`, "uid", "97")
	for _, path := range []string{"/api/pds/transaction/97.json", "/api/pds/transaction/97.xml"} {
		w.store.with(func(f *fakeStore) { f.reads, f.chunk = 0, 0 })
		whole := w.pdx("GET", path, "", "dataset", energy)
		w.store.with(func(f *fakeStore) { f.reads, f.chunk = 0, 100 })
		chunked := w.pdx("GET", path, "", "dataset", energy)
		reads := 0
		w.store.with(func(f *fakeStore) { reads = f.reads })
		if reads != 10 || chunked.body != whole.body || len(whole.body) < 100_000 {
			t.Errorf("%s: %d reads, equal %v", path, reads, chunked.body == whole.body)
		}
	}
	w.store.with(func(f *fakeStore) { f.reads, f.chunk = 0, 0 })
	var rows map[string]map[string]*string
	if err := json.Unmarshal([]byte(w.pdx("GET", "/api/pds/transaction/97.json", "", "dataset", energy).body), &rows); err != nil || *rows["1000"]["field_energy_source_name"] != "\x00\"\\\x1f/é" {
		t.Errorf("%v %q", err, *rows["1000"]["field_energy_source_name"])
	}
	w.store.with(func(f *fakeStore) {
		f.reads, f.chunk = 0, 100
		f.readErr = func(call int) error {
			if call == 5 {
				return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
			}
			return nil
		}
	})
	if a := w.pdx("GET", "/api/pds/transaction/97.json", "", "dataset", energy); !strings.HasPrefix(a.body, "CUT:") || json.Valid([]byte(a.body[4:])) {
		t.Errorf("a broken answer looks whole: %.80s", a.body)
	}
	w.store.with(func(f *fakeStore) {
		f.reads = 0
		f.readErr = func(call int) error {
			if call == 3 {
				panic("a value of ada")
			}
			return nil
		}
	})
	if a := w.pdx("GET", "/api/pds/transaction/97.json", "", "dataset", energy); !strings.HasPrefix(a.body, "CUT:") || strings.Contains(w.logged(), "of ada") {
		t.Errorf("a panic in the middle: %.80s", a.body)
	}
	w.store.with(func(f *fakeStore) {
		f.reads = 0
		f.readErr = func(int) error { return pds.Refuse(pds.Unavailable, pds.CodeUnavailable) }
	})
	if a := w.pdx("GET", "/api/pds/transaction/97.json", "", "dataset", energy); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("failure at the first chunk: %d", a.status)
	}
}

// The key shows up nowhere, wherever it was sent.
func TestDatasets_KeyIsNotKept(t *testing.T) {
	w := newPDX(t, Limits{})
	w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home)
	w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", "ds_bogus")
	w.pdx("GET", "/api/pds/pds/97.json/", "", "dataset", home)
	w.pdx("GET", "//api/pds/pds/97.json", "", "dataset", home)
	w.bulk(w.head(97, energy) + "{}\n")
	for _, s := range []string{w.key.Reveal(), w.token, w.conID(97), "/97"} {
		if strings.Contains(w.logged(), s) {
			t.Errorf("the log has %.8s…: %s", s, w.logged())
		}
	}
	b := []byte("/x?a=1&key=secret&monkey=2&key=more#f")
	if blankParam(b, "key="); string(b) != "/x?a=1&key=------&monkey=2&key=----#f" {
		t.Errorf("blanked: %s", b)
	}
}

// Idempotency ids follow the subscriber, the key and everything that the
// request says.
func TestDatasets_Idempotency(t *testing.T) {
	w := newPDX(t, Limits{})
	post := func(body string, q ...string) [16]byte {
		t.Helper()
		a := w.pdx("POST", "/api/pds/transaction", body, append([]string{"uid", "97"}, q...)...)
		secs := w.store.took()
		if a.status != 200 || len(secs) != 1 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return secs[0].Command
	}
	const body = `{"ds_energy_consumption":{"field_energy_reading_value":"1"}}`
	base := post(body, "H:Idempotency-Key", "k")
	if again := post(body, "H:Idempotency-Key", "k"); again != base || base == [16]byte{} {
		t.Error("a repeat has another id")
	}
	if n := w.store.count(97, energy); n != 1 {
		t.Errorf("%d rows", n)
	}
	for name, other := range map[string][16]byte{
		"key":      post(body, "H:Idempotency-Key", "k2"),
		"body":     post(body+" ", "H:Idempotency-Key", "k"),
		"instance": post(body, "H:Idempotency-Key", "k", "instance", "1"),
		"none":     post(body),
	} {
		if other == base {
			t.Errorf("%s: the same id", name)
		}
	}
	if post(body) != [16]byte{} {
		t.Error("an id without a key")
	}
}

// The shared corpus of JSON documents, each sent as a body: what a strict
// parser refuses is refused, and nothing makes the server fail.
func TestDatasets_AdversarialJSON(t *testing.T) {
	dir := sharedData(t, "adversarial/json/test_parsing")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Skip("shared data absent")
	}
	w := newPDX(t, Limits{})
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{string(b), `{"ds_home":` + string(b) + `}`, `{"ds_home":{"field_home_town":` + string(b) + `}}`} {
			a := w.pdx("POST", "/api/pds/pds/97.json", body)
			if a.status != 200 && a.status != 400 && a.status != 413 {
				t.Errorf("%s: %d", filepath.Base(f), a.status)
			}
			if a.status == 200 && ndjson.Strict([]byte(body), maxDepth) != nil {
				t.Errorf("%s was accepted", filepath.Base(f))
			}
		}
	}
}

// sharedData finds a directory of the shared data.
func sharedData(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("HOLDFAST_SHARED")
	for dir := "."; root == ""; dir = filepath.Join(dir, "..") {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			root = filepath.Join(dir, "..", "shared")
		} else if len(dir) > 64 {
			break
		}
	}
	for _, d := range []string{filepath.Join(root, "data", name), filepath.Join(root, name)} {
		if _, err := os.Stat(d); err == nil {
			return d
		}
	}
	t.Skip("shared data absent")
	return ""
}

func TestServer_CommonAnswers(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/nowhere", 404}, {"PATCH", "/oauth2/token", 405}, {"GET", "/livez", 200}, {"GET", "/readyz", 200}, {"GET", "/healthz", 200},
		{"GET", "/metrics", 200}, {"GET", "/docs", 200}, {"GET", "/problems/field-not-in-agreement", 200}, {"GET", "/problems/nothing", 404},
		{"GET", "/validations/mds/datasets", 200}, {"GET", "/validations/lookup/gender", 200}, {"GET", "/developer-helpers/datasets", 200}, {"GET", "/validations/mds/dataset/ds_bogus", 400},
	} {
		a := w.call(c.method, c.path, nil)
		if a.status != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
		for h, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Holdfast-Environment": "sandbox", "Server": ""} {
			if got := a.header.Get(h); got != want {
				t.Errorf("%s: %s is %q", c.path, h, got)
			}
		}
		if len(a.header.Get("X-Request-Id")) != 18 {
			t.Errorf("%s: no request id", c.path)
		}
	}
	if a := w.call("GET", "/docs", nil); !strings.Contains(a.body, w.s.URL()+"/oauth2/token") || strings.Contains(a.body, "{{") {
		t.Error("the guide does not name the server")
	}
}

func TestServer_PanicIsAnswered(t *testing.T) {
	w := newPDX(t, Limits{})
	w.store.with(func(f *fakeStore) { f.readErr = func(int) error { panic("value of zz-somebody") } })
	a := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home)
	if a.status != 500 || a.body != `{"success":0,"message":"internal error"}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	if l := w.logged(); strings.Contains(l, "zz-somebody") || !strings.Contains(l, "harness_test") && !strings.Contains(l, "PanicIsAnswered") {
		t.Errorf("log: %s", l)
	}
	if a := w.call("GET", "/livez", nil); a.status != 200 {
		t.Error("the server is gone")
	}
}

func TestServer_RateLimit(t *testing.T) {
	w := newPDX(t, Limits{Rate: 1, RateBurst: 3})
	got := map[int]int{}
	for range 5 {
		a := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home)
		got[a.status]++
		if a.status == 429 && a.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	if got[200] != 3 || got[429] != 2 {
		t.Errorf("%v", got)
	}
	w.clock.add(2e9)
	if a := w.pdx("GET", "/api/pds/pds/97.json", "", "dataset", home); a.status != 200 {
		t.Errorf("after a pause: %d", a.status)
	}
}

func TestServer_NotHTTP(t *testing.T) {
	w := newPDX(t, Limits{})
	for _, raw := range []string{"GET / HTTP/1.1\r\nHost: x\r\nSecret-" + strings.Repeat("a", 20<<10) + ": b\r\n\r\n", "\x16\x03\x01 secret\r\n\r\n", "GET /secret\r\n\r\n"} {
		c := dial(t, w)
		_, _ = io.WriteString(c, raw)
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if s := string(b); !strings.HasPrefix(s, "HTTP/1.1 4") || strings.Contains(s, "secret") {
			t.Errorf("%.20q: %.200s", raw, s)
		}
	}
	if strings.Contains(w.logged(), "ecret") {
		t.Error("the log has bytes of the request")
	}
}
