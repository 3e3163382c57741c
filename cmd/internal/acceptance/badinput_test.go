package acceptance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/cmd/internal/sandbox"
)

const energy = "ds_energy_consumption"

// asked is a request in the making: a good one, until a case spoils it.
type asked struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte
	raw          string // of the query, instead of query
}

func (a *asked) set(name, value string) *asked { a.query.Set(name, value); return a }

func (a *asked) head(name, value string) *asked { a.header.Set(name, value); return a }

func (a *asked) text(body string) *asked { a.body = []byte(body); return a }

// delivery is a good delivery of one row to a.
func (c *client) delivery(a sandbox.Agreement) *asked {
	return &asked{method: "POST", path: "/api/pds/transaction.json",
		query:  url.Values{"uid": {fmt.Sprint(a.UID)}, "con_id": {a.ConID}, "source_type": {"connection"}, "dataset": {energy}, "instance": {"0"}},
		header: http.Header{"Authorization": {"Bearer " + c.token}, "Connection-Token": {a.Key}, "Content-Type": {"application/json"}},
		body:   []byte(`{"ds_energy_consumption":{"field_energy_reading_timestamp":"1764000000","field_energy_reading_value":"230.5"}}`)}
}

// reading is a good read of a's rows.
func (c *client) reading(a sandbox.Agreement) *asked {
	r := c.delivery(a)
	r.method, r.path, r.body = "GET", fmt.Sprintf("/api/pds/transaction/%d.json", a.UID), nil
	r.header.Del("Content-Type")
	return r
}

// bulk is a bulk request with one section of these rows.
func (c *client) bulk(a sandbox.Agreement, rows ...string) *asked {
	head := fmt.Sprintf(`{"con_id":%q,"key":%q,"dataset":%q}`, a.ConID, a.Key, energy)
	return &asked{method: "POST", path: "/pdx/v1/bulk", query: url.Values{},
		header: http.Header{"Authorization": {"Bearer " + c.token}, "Content-Type": {"application/x-ndjson"}},
		body:   []byte(head + "\n" + strings.Join(rows, "\n") + "\n")}
}

// do sends the request and returns status and body.
func (c *client) do(t *testing.T, a *asked) (int, string) {
	t.Helper()
	q := a.raw
	if q == "" {
		q = a.query.Encode()
	}
	req, err := http.NewRequest(a.method, c.n.url+a.path+"?"+q, bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = a.header
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// rows is what a member's store has, as its text.
func (c *client) rows(a sandbox.Agreement) string {
	body := c.get(a, energy, "json", "", "")
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		c.n.t.Fatal(err)
	}
	return string(b)
}

// changed is a token with another last character.
func changed(token string) string {
	last := byte('A')
	if token[len(token)-1] == last {
		last = 'E'
	}
	return token[:len(token)-1] + string(last)
}

func zipped(b []byte, times int) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	for range times {
		_, _ = z.Write(b)
	}
	_ = z.Close()
	return out.Bytes()
}

// Bad requests of every kind. Each is answered with its status and a text that
// says what is wrong, and afterwards both members have the rows they had.
func TestBadInput(t *testing.T) {
	n := start(t, 1, "Northgrid Energy", "Brightwell Health")
	c, foreign := n.client("Northgrid Energy"), n.client("Alder Bank")
	ada, ben := n.agreements("Northgrid Energy")[0], n.agreements("Northgrid Energy")[1]
	health, wearer := n.client("Brightwell Health"), n.agreements("Brightwell Health")[0]
	for _, a := range []sandbox.Agreement{ada, ben} {
		if status, b := c.do(t, c.delivery(a)); status != 200 {
			t.Fatalf("good delivery: %d %s", status, b)
		}
	}
	before := []string{c.rows(ada), c.rows(ben)}
	row := func(v string) string { return `{"ds_energy_consumption":` + v + `}` }
	post := func(body string) *asked { return c.delivery(ada).text(body) }
	asXML := func(body string) *asked {
		r := c.delivery(ada).text(body).head("Content-Type", "application/xml")
		r.path = "/api/pds/transaction.xml"
		return r
	}
	with := func(r *asked, f func(*asked)) *asked { f(r); return r }
	put := func(r *asked) { r.method, r.path = "PUT", fmt.Sprintf("/api/pds/transaction/%d.json", ada.UID) }
	good := `{"field_energy_reading_value":"1"}`
	cases := []struct {
		name   string
		req    *asked
		status int
		say    string
	}{
		{"no body", post(""), 400, "nothing to store"},
		{"no JSON", post("hello"), 400, "malformed"},
		{"cut off JSON", post(`{"ds_energy_consumption":{"field_energy_reading_value":"1"`), 400, "malformed"},
		{"two documents", post(row(good) + row(good)), 400, "malformed"},
		{"trailing comma", post(row(`[` + good + `,]`)), 400, "malformed"},
		{"array", post(`[1]`), 400, "malformed"},
		{"empty object", post(`{}`), 400, "nothing to store"},
		{"empty row", post(row(`{}`)), 400, "nothing to store"},
		{"no rows", post(row(`[]`)), 400, "nothing to store"},
		{"row is text", post(row(`["x"]`)), 400, "malformed"},
		{"invalid UTF-8", post(row("{\"field_energy_source_name\":\"\xff\"}")), 400, "malformed"},
		{"lone surrogate", post(row(`{"field_energy_source_name":"\ud800"}`)), 400, "malformed"},
		{"duplicate key", post(row(`{"field_energy_reading_value":"1","field_energy_reading_value":"2"}`)), 400, "malformed"},
		{"duplicate key by an escape", post(row(`{"field_energy_reading_value":"1","field_energy_reading_valu\u0065":"2"}`)), 400, "malformed"},
		{"duplicate dataset", post(`{"ds_energy_consumption":` + good + `,"ds_energy_consumption":` + good + `}`), 400, "malformed"},
		{"value is an object", post(row(`{"field_energy_source_name":{"a":"b"}}`)), 400, "malformed"},
		{"nested arrays", post(strings.Repeat("[", 1_000_000)), 400, "malformed"},
		{"nested objects", post(strings.Repeat(`{"a":`, 1_000_000)), 400, "malformed"},
		{"unknown dataset", c.delivery(ada).set("dataset", "ds_nothing"), 400, "unknown dataset"},
		{"unknown dataset in the body", with(post(`{"ds_nothing":`+good+`}`), func(r *asked) { r.query.Del("dataset") }), 400, "unknown dataset"},
		{"two datasets", post(`{"ds_measurements":{"measurement_value":"1"}}`), 400, "different datasets"},
		{"dataset of the other kind", c.delivery(ada).set("dataset", "ds_home"), 400, "other kind"},
		{"dataset not granted", c.reading(ada).set("dataset", "ds_referrals"), 403, "dataset not in agreement: ds_referrals"},
		{"unknown field", post(row(`{"field_energy_nothing":"1"}`)), 400, "unknown field"},
		{"field name in upper case", post(row(`{"FIELD_ENERGY_READING_VALUE":"1"}`)), 400, "unknown field"},
		{"wrong type", post(row(`{"field_energy_reading_value":"many"}`)), 400, "value does not fit the field's type: ds_energy_consumption.field_energy_reading_value (row 1)"},
		{"wrong type, third row", post(row(`[` + good + `,` + good + `,{"field_energy_reading_timestamp":"12:00"}]`)), 400, "field_energy_reading_timestamp (row 3)"},
		{"no such instance", c.delivery(ada).set("instance", "7"), 403, "instance"},
		{"instance is text", c.delivery(ada).set("instance", "first"), 400, "instance must be a number"},
		{"method not granted", with(health.delivery(wearer).set("dataset", "ds_measurements").set("id", "1").text(`{"measurement_value":"1"}`), func(r *asked) { r.method, r.path = "PUT", fmt.Sprintf("/api/pds/transaction/%d.json", wearer.UID) }), 403, "method not in agreement: ds_measurements"},
		{"metadata that may only be read", with(c.delivery(ada).set("dataset", "ds_home").text(`{"ds_home":{"field_home_postcode":"X"}}`), func(r *asked) { r.path = fmt.Sprintf("/api/pds/pds/%d.json", ada.UID) }), 403, "method not in agreement: ds_home"},
		{"unknown HTTP method", with(c.delivery(ada), func(r *asked) { r.method = "PATCH" }), 405, "method not allowed"},
		{"no such route", with(c.delivery(ada), func(r *asked) { r.path = "/api/pds/nothing.json" }), 404, "no such resource"},
		{"update of no record", with(c.delivery(ada).set("id", "99").text(row(good)), put), 404, "no such record"},
		{"update without id", with(c.delivery(ada).text(row(good)), put), 400, "id is missing"},
		{"delete of no record", with(c.reading(ada).set("id", "99"), func(r *asked) { r.method = "DELETE" }), 404, "no such record"},
		{"delete of id 0", with(c.reading(ada).set("id", "0"), func(r *asked) { r.method = "DELETE" }), 400, "id must be a number"},
		{"filter operator", c.reading(ada).set("filters[id][operator]", "LIKE").set("filters[id][value]", "1"), 400, "operator"},
		{"filter without value", c.reading(ada).set("filters[id][operator]", "="), 400, "needs an operator and a value"},
		{"filter on an unknown field", c.reading(ada).set("filters[nothing][operator]", "=").set("filters[nothing][value]", "1"), 400, "unknown field"},
		{"filter of the wrong type", c.reading(ada).set("filters[id][operator]", "=").set("filters[id][value]", "x"), 400, "value does not fit"},
		{"filter value of the wrong type", c.reading(ada).set("filters[field_energy_reading_value][operator]", "=").set("filters[field_energy_reading_value][value]", "x"), 400, "value does not fit"},
		{"unknown parameter", c.delivery(ada).set("debug", "1"), 400, "unknown parameter"},
		{"parameter twice", with(c.delivery(ada), func(r *asked) { r.raw = r.query.Encode() + "&con_id=" + ben.ConID }), 400, "stands twice"},

		{"no token", with(c.delivery(ada), func(r *asked) { r.header.Del("Authorization") }), 401, "Access denied"},
		{"token of nobody", c.delivery(ada).head("Authorization", "Bearer "+changed(c.token)), 401, "Access denied"},
		{"token as Basic", c.delivery(ada).head("Authorization", "Basic "+c.token), 401, "Access denied"},
		{"foreign token", c.delivery(ada).head("Authorization", "Bearer "+foreign.token), 403, "no such connection"},
		{"foreign token reads", c.reading(ada).head("Authorization", "Bearer "+foreign.token), 403, "no such connection"},
		{"token for another scope", c.delivery(ada).head("Authorization", "Bearer "+c.sub.Token), 403, "token lacks the scope"},
		{"no Member Key", with(c.delivery(ada), func(r *asked) { r.header.Del("Connection-Token") }), 403, "connection key not accepted"},
		{"malformed Member Key", c.delivery(ada).head("Connection-Token", "x"), 403, "connection key not accepted"},
		{"another member's key", c.delivery(ada).head("Connection-Token", ben.Key), 403, "connection key not accepted"},
		{"another member's key reads", c.reading(ada).head("Connection-Token", ben.Key), 403, "connection key not accepted"},
		{"two different keys", c.delivery(ada).set("key", ben.Key), 403, "connection key not accepted"},
		{"another member's con_id", c.delivery(ada).set("con_id", ben.ConID), 403, "uid and con_id differ"},
		{"another member's con_id and uid", c.delivery(ada).set("con_id", ben.ConID).set("uid", fmt.Sprint(ben.UID)), 403, "connection key not accepted"},
		{"another member in the path", with(c.reading(ada), func(r *asked) { r.path = fmt.Sprintf("/api/pds/transaction/%d.json", ben.UID) }), 403, "no such connection"},
		{"another connection's number", c.delivery(ada).set("con_id", fmt.Sprintf("%d-%d", ada.UID, health.sub.Connections[0].NID)), 403, "no such connection"},
		{"con_id with zeros", c.delivery(ada).set("con_id", "0"+ada.ConID), 403, "con_id is missing or malformed"},
		// Who owns the connection is not told whether there is such a member.
		{"nobody's con_id", c.delivery(ada).set("uid", "7").set("con_id", fmt.Sprintf("7-%d", c.sub.Connections[0].NID)), 403, "agreement not approved"},
		{"idempotency key with a blank", c.delivery(ada).head("Idempotency-Key", "a b"), 400, "Idempotency-Key"},

		{"no XML", asXML("hello"), 400, "malformed: XML"},
		{"XML cut off", asXML("<response><ds_energy_consumption>"), 400, "malformed: XML"},
		{"nested XML", asXML(strings.Repeat("<a>", 500_000)), 400, "malformed: XML"},
		{"XML in another encoding", asXML(`<?xml version="1.0" encoding="ISO-8859-1"?><response/>`), 400, "malformed: XML"},
		{"XML with a name twice", asXML(`<r><ds_energy_consumption><field_energy_reading_value>1</field_energy_reading_value><field_energy_reading_value>2</field_energy_reading_value></ds_energy_consumption></r>`), 400, "malformed: XML"},
		{"XML with invalid UTF-8", asXML("<r><ds_energy_consumption><field_energy_source_name>\xff</field_energy_source_name></ds_energy_consumption></r>"), 400, "malformed: XML"},
		{"form", c.delivery(ada).text("a=b").head("Content-Type", "application/x-www-form-urlencoded"), 400, "form fields must be"},

		{"gzip that is none", c.delivery(ada).head("Content-Encoding", "gzip"), 400, "malformed"},
		{"gzip cut off", with(c.delivery(ada).head("Content-Encoding", "gzip"), func(r *asked) { r.body = zipped(r.body, 1)[:40] }), 400, "cut off"},
		{"gzip bomb", with(c.delivery(ada).head("Content-Encoding", "gzip"), func(r *asked) { r.body = zipped(bytes.Repeat([]byte(" "), 1<<20), 64) }), 413, "too large"},
		{"unknown encoding", c.delivery(ada).head("Content-Encoding", "br"), 415, "content type or encoding"},
		{"17 MiB, announced", post(strings.Repeat(" ", 17<<20)).head("Expect", "100-continue"), 413, ""},
		{"65 MiB bulk, announced", c.bulk(ada).text(strings.Repeat(" ", 65<<20)).head("Expect", "100-continue"), 413, ""},

		{"bulk: no section", c.bulk(ada).text("\n"), 400, "no section"},
		{"bulk: rows without a section", c.bulk(ada).text(good + "\n"), 200, "row before a section's first line"},
		{"bulk: section's line malformed", c.bulk(ada).text(`{"con_id":` + "\n" + good + "\n"), 200, "section's first line"},
		{"bulk: no rows", c.bulk(ada), 200, "nothing to store"},
		{"bulk: bad row among good ones", c.bulk(ada, good, `{"field_energy_reading_value":"x"}`, good), 200, `"row":2`},
		{"bulk: row cut off", c.bulk(ada, good, `{"field_energy_reading_value":"1"`), 200, "malformed"},
		{"bulk: duplicate key", c.bulk(ada, `{"field_energy_reading_value":"1","field_energy_reading_value":"2"}`), 200, "malformed"},
		{"bulk: invalid UTF-8", c.bulk(ada, "{\"field_energy_source_name\":\"\xc3\"}"), 200, "malformed"},
		{"bulk: nested", c.bulk(ada, strings.Repeat(`{"field_energy_source_name":`, 10_000)), 200, "malformed"},
		{"bulk: line over 1 MiB", c.bulk(ada, `{"field_energy_source_name":"`+strings.Repeat("x", 1<<20)+`"}`), 200, "too large"},
		{"bulk: unknown field", c.bulk(ada, `{"nothing":"1"}`), 200, "unknown field"},
		{"bulk: 20,001 rows", c.bulk(ada, slices.Repeat([]string{good}, 20_001)...), 200, "too large"},
		{"bulk: another member's key", c.bulk(sandbox.Agreement{ConID: ada.ConID, Key: ben.Key}, good), 200, "connection key not accepted"},
		{"bulk: foreign connection", foreign.bulk(ada, good), 200, "no such connection"},
		{"bulk: no token", with(c.bulk(ada, good), func(r *asked) { r.header.Del("Authorization") }), 401, "Access denied"},
		{"bulk: as JSON", c.bulk(ada, good).head("Content-Type", "application/json"), 415, "content type"},
		{"bulk: gzip bomb", with(c.bulk(ada).head("Content-Encoding", "gzip"), func(r *asked) {
			r.body = zipped(append(bytes.Repeat([]byte(" "), 1<<20-1), '\n'), 300)
		}), 413, "expands too far"},
	}
	dir := shared(t, "adversarial")
	for _, name := range globbed(t, filepath.Join(dir, "xml", "*.xml")) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		say := "malformed"
		if strings.HasPrefix(filepath.Base(name), "simple") {
			say = "" // well formed, but no row
		}
		cases = append(cases, struct {
			name   string
			req    *asked
			status int
			say    string
		}{filepath.Base(name), asXML(string(b)), 400, say})
	}
	for _, k := range cases {
		status, b := c.do(t, k.req)
		if status != k.status || !strings.Contains(b, k.say) || strings.Contains(b, `"success":1`) || strings.Contains(b, `"first_id"`) {
			t.Errorf("%s: %d %.300s; want %d, %q", k.name, status, b, k.status, k.say)
		}
		if strings.Contains(b, ada.Key) || strings.Contains(b, ben.Key) || strings.Contains(b, c.token) {
			t.Errorf("%s: the answer holds a secret", k.name)
		}
		for i, a := range []sandbox.Agreement{ada, ben} {
			if after := c.rows(a); after != before[i] {
				t.Fatalf("%s: the store changed from %s to %s", k.name, before[i], after)
			}
		}
	}
	t.Logf("%d bad requests", len(cases))
	c.endless(t, ada, before[0])
	c.replays(t, ada)
	n.healthy(t)
}
