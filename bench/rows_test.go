package bench

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestScanRows_ReadsWhatTheRoutesAnswer(t *testing.T) {
	var got strings.Builder
	err := scanRows([]byte(` {"1":{"id":"1","v":null,"n":12.50,"t":"a\"b\u00e9"} , "12":{}}`+"\n"), func(id uint64, vals []value) error {
		fmt.Fprint(&got, id)
		for _, v := range vals {
			fmt.Fprintf(&got, " %s=%s/%v", v.name, v.text, v.null)
		}
		got.WriteByte(';')
		return nil
	})
	if want := `1 id=1/false v=null/true n=12.50/false t=a"bé/false;12;`; err != nil || got.String() != want {
		t.Fatalf("%v: %s", err, got.String())
	}
}

func TestScanRows_RefusesEveryCutAndOtherShapes(t *testing.T) {
	full := `{"1":{"id":"1","v":null},"2":{"id":"2","v":"x\\"}}`
	none := func(uint64, []value) error { return nil }
	if err := scanRows([]byte(full), none); err != nil {
		t.Fatal(err)
	}
	for i := range full {
		if scanRows([]byte(full[:i]), none) == nil {
			t.Errorf("cut after %d bytes: accepted", i)
		}
	}
	for _, s := range []string{"", "[]", "null", `{"x":{}}`, `{"1":[]}`, `{"1":{"a":{}}}`, `{"1":{"a":["b"]}}`, `{"1":{}}{}`, `{"1":{},}`, `{"success":0,"message":"x"}`} {
		if scanRows([]byte(s), none) == nil {
			t.Errorf("accepted %s", s)
		}
	}
}

func FuzzScanRows(f *testing.F) {
	f.Add([]byte(`{"1":{"id":"1","v":null,"w":"\u0041"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := scanRows(b, func(uint64, []value) error { return nil })
		var m map[string]map[string]any
		if json.Unmarshal(b, &m) == nil && err != nil {
			for id, row := range m {
				if row == nil || strings.Trim(id, "0123456789") != "" || id == "" || len(id) > 19 {
					return
				}
				for _, v := range row {
					switch v.(type) {
					case map[string]any, []any:
						return
					}
				}
			}
			if !json.Valid(b) {
				return
			}
			t.Fatalf("refused an object of rows: %q", b)
		}
	})
}

func TestJudge(t *testing.T) {
	fresh := func() *batch {
		return &batch{rows: 5, sections: []section{{rows: 2}, {rows: 3}}}
	}
	ok := `{"section":0,"con_id":"1-1","rows":2,"first_id":7,"last_id":8}` + "\n" + `{"section":1,"con_id":"2-1","rows":3,"first_id":1,"last_id":3}` + "\n"
	b := fresh()
	r, err := judge([]byte(ok+`{"sections":2,"accepted":2,"refused":0,"rows":5}`+"\n"), b)
	if err != nil || r.accepted != 5 || r.refused != 0 || b.sections[0].first != 7 || b.sections[1].first != 1 {
		t.Fatal(r, err)
	}
	b = fresh()
	r, err = judge([]byte(`{"section":0,"con_id":"1-1","status":403,"type":"x","title":"field not in agreement","field":"f","row":2}`+"\n"+
		`{"section":1,"con_id":"2-1","rows":3,"first_id":1,"last_id":3}`+"\n"+`{"sections":2,"accepted":1,"refused":1,"rows":3}`), b)
	if err != nil || r.accepted != 3 || r.refused != 2 || r.refusal != (refusal{403, "field not in agreement"}) || b.sections[0].first != 0 {
		t.Fatal(r, err)
	}
	for name, s := range map[string]string{
		"nothing":              "",
		"no last line":         ok,
		"cut in last line":     ok + `{"sections":2,"acc`,
		"other count":          ok + `{"sections":3,"accepted":2,"refused":0,"rows":5}`,
		"other rows":           ok + `{"sections":2,"accepted":2,"refused":0,"rows":6}`,
		"section missing":      `{"section":0,"rows":2,"first_id":7,"last_id":8}` + "\n" + `{"sections":2,"accepted":2,"refused":0,"rows":2}`,
		"section twice":        `{"section":0,"rows":2,"first_id":7,"last_id":8}` + "\n" + ok,
		"too few ids":          `{"section":0,"rows":2,"first_id":7,"last_id":7}` + "\n",
		"id 0":                 `{"section":0,"rows":2,"first_id":0,"last_id":1}` + "\n",
		"goes on":              ok + `{"sections":2,"accepted":2,"refused":0,"rows":5}` + "\n" + ok,
		"not NDJSON at all":    "<html>",
		"one section too many": ok + `{"section":2,"rows":1,"first_id":1,"last_id":1}` + "\n",
	} {
		if _, err := judge([]byte(s), fresh()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
