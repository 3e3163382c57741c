package ndjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var abc = NewFields([]string{"a", "b", "c", "field_long_name"}, []uint8{1, 2, 3, 40})

// rows scans lines as one section and returns it as maps of field number to
// text, absent fields left out.
func rows(t *testing.T, lines ...string) []map[uint8]string {
	t.Helper()
	var s Scanner
	s.Begin(abc)
	for _, l := range lines {
		if err := s.Row([]byte(l)); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
	}
	return section(&s)
}

func section(s *Scanner) []map[uint8]string {
	fields, vals, n := s.Section()
	var out []map[uint8]string
	for r := range n {
		m := map[uint8]string{}
		for i, v := range vals[r*len(fields) : (r+1)*len(fields)] {
			if v != nil {
				m[fields[i]] = string(v)
			}
		}
		out = append(out, m)
	}
	return out
}

func TestRow_Accepts(t *testing.T) {
	for _, c := range []struct {
		line string
		want map[uint8]string
	}{
		{`{}`, map[uint8]string{}},
		{` { } `, map[uint8]string{}},
		{`{"a":"x","b":1.50,"c":true}`, map[uint8]string{1: "x", 2: "1.50", 3: "true"}},
		{"\t{ \"c\" : false , \"a\" : null,\r\n\"b\":\"\" }\r", map[uint8]string{3: "false", 2: ""}},
		{`{"\u0061":"\u0000\n\/\"\\\ud83d\ude00","b":"é\u00e9"}`, map[uint8]string{1: "\x00\n/\"\\😀", 2: "éé"}},
		{`{"a":-0,"b":1e5,"c":-1.25E-7}`, map[uint8]string{1: "-0", 2: "1e5", 3: "-1.25E-7"}},
		{`{"a":123456789012345678901234567890.000,"b":"\u007f\u2028` + "\u2028\x7f" + `"}`, map[uint8]string{1: "123456789012345678901234567890.000", 2: "\x7f\u2028\u2028\x7f"}},
		{`{"field_long_name":"` + strings.Repeat("ü", 100) + `"}`, map[uint8]string{40: strings.Repeat("ü", 100)}},
	} {
		if got := rows(t, c.line); len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%s: got %v, want %v", c.line, got, c.want)
		}
	}
}

func TestRow_Refuses(t *testing.T) {
	for _, c := range []struct {
		line, code, field string
		at                int
	}{
		{``, Empty, "", 0},
		{"  \r", Empty, "", 0},
		{`[]`, Malformed, "", 0},
		{`{`, Malformed, "", 1},
		{`{"a"`, Malformed, "a", 4},
		{`{"a":`, Malformed, "a", 5},
		{`{"a":1`, Malformed, "a", 6},
		{`{"a":"x`, Malformed, "a", 7},
		{`{"a":"x\`, Malformed, "a", 9},
		{`{"a":1}}`, Malformed, "", 7},
		{`{"a":1} {"a":1}`, Malformed, "", 8},
		{`{"a":1,}`, Malformed, "", 7},
		{`{,"a":1}`, Malformed, "", 1},
		{`{"a" 1}`, Malformed, "a", 5},
		{`{"a":1 "b":2}`, Malformed, "a", 7},
		{`{a:1}`, Malformed, "", 1},
		{`{'a':1}`, Malformed, "", 1},
		{`{"a":tru}`, Malformed, "a", 5},
		{`{"a":truex}`, Malformed, "a", 9},
		{`{"a":True}`, Malformed, "a", 5},
		{`{"a":NaN}`, Malformed, "a", 5},
		{`{"a":+1}`, Malformed, "a", 5},
		{`{"a":.5}`, Malformed, "a", 5},
		{`{"a":01}`, Number, "a", 5},
		{`{"a":-01}`, Number, "a", 5},
		{`{"a":-}`, Number, "a", 5},
		{`{"a":1.}`, Number, "a", 5},
		{`{"a":1.e1}`, Number, "a", 5},
		{`{"a":1e}`, Number, "a", 5},
		{`{"a":1e+}`, Number, "a", 5},
		{`{"a":1.2.3}`, Number, "a", 5},
		{`{"a":0x10}`, Malformed, "a", 6},
		{`{"a":{}}`, Nested, "a", 5},
		{`{"a":[1]}`, Nested, "a", 5},
		{`{"a":1,"a":1}`, DuplicateKey, "a", 11},
		{`{"a":1,"\u0061":1}`, DuplicateKey, "a", 16},
		{`{"a":null,"b":1,"a":null}`, DuplicateKey, "a", 20},
		{`{"z":1}`, UnknownField, "z", 1},
		{`{"A":1}`, UnknownField, "", 1},
		{`{"":1}`, UnknownField, "", 1},
		{`{"my secret":1}`, UnknownField, "", 1},
		{`{"` + strings.Repeat("z", 65) + `":1}`, UnknownField, "", 1},
		{`{"con_id":"1-2"}`, UnknownField, "con_id", 1},
		{"{\"a\":\"\x00\"}", Malformed, "a", 6},
		{"{\"a\":\"\n\"}", Malformed, "a", 6},
		{"{\"a\":\"\t\"}", Malformed, "a", 6},
		{`{"a":"\x41"}`, Malformed, "a", 6},
		{`{"a":"\u12"}`, Malformed, "a", 6},
		{`{"a":"\u12g4"}`, Malformed, "a", 6},
		{`{"a":"\ud800"}`, UTF8, "a", 6},
		{`{"a":"\udc00"}`, UTF8, "a", 6},
		{`{"a":"\ud800\ud800"}`, UTF8, "a", 6},
		{`{"a":"\ud800x"}`, UTF8, "a", 6},
		{"{\"a\":\"\xff\"}", UTF8, "a", 6},
		{"{\"a\":\"ab\xc3\"}", UTF8, "a", 8},
		{"{\"a\":\"\xc0\x80\"}", UTF8, "a", 6},
		{"{\"a\":\"\xed\xa0\x80\"}", UTF8, "a", 6},
		{"{\"a\":\"\xf4\x90\x80\x80\"}", UTF8, "a", 6},
		{"\xef\xbb\xbf{}", Malformed, "", 0},
		{"{}\x00", Malformed, "", 2},
		{"{\"a\":1}\xff", Malformed, "", 7},
		{`{"a":"` + strings.Repeat("x", MaxLine-7) + `"}`, TooLong, "", MaxLine},
	} {
		var s Scanner
		s.Begin(abc)
		err := s.Row([]byte(c.line))
		if err == nil {
			t.Errorf("%.80q accepted", c.line)
		} else if *err != (Error{c.code, c.field, c.at}) {
			t.Errorf("%.80q: got %+v, want %s %q %d", c.line, *err, c.code, c.field, c.at)
		}
		if _, _, n := s.Section(); n != 0 {
			t.Errorf("%.80q: refused but counted", c.line)
		}
	}
	var s Scanner
	s.Begin(abc)
	if err := s.Row([]byte(`{"a":"` + strings.Repeat("x", MaxLine-8) + `"}`)); err != nil {
		t.Errorf("a line of exactly MaxLine: %v", err)
	}
}

func TestRow_EveryCutIsRefused(t *testing.T) {
	line := `{"a":"x\u00e9é","b":-1.5e3,"c":true}`
	for i := range line {
		var s Scanner
		s.Begin(abc)
		if s.Row([]byte(line[:i])) == nil {
			t.Errorf("accepted %q", line[:i])
		}
	}
}

func TestRow_LateFieldsWidenEarlierRows(t *testing.T) {
	got := rows(t, `{"b":"1"}`, `{"b":"2","a":"3"}`, `{"c":"4"}`, `{"field_long_name":"5","b":"6"}`, `{}`, `{"a":"7","b":"8","c":"9","field_long_name":"10"}`)
	want := []map[uint8]string{{2: "1"}, {2: "2", 1: "3"}, {3: "4"}, {40: "5", 2: "6"}, {}, {1: "7", 2: "8", 3: "9", 40: "10"}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestScanner_SectionsLastUntilReset(t *testing.T) {
	var s Scanner
	other := NewFields([]string{"x", "b"}, []uint8{9, 2})
	for round := range 3 {
		var secs []map[uint8]string
		type part struct {
			fields []uint8
			vals   [][]byte
		}
		var parts []part
		for sec := range 50 {
			f, names := abc, []string{"a", "c", "b"}
			if sec%3 == 1 {
				f, names = other, []string{"b", "x"}
			}
			s.Begin(f)
			for r := range 1 + sec*7%60 {
				line := "{"
				for i, n := range names {
					if (r+i+sec)%4 == 0 && r > 0 {
						continue
					}
					if len(line) > 1 {
						line += ","
					}
					line += fmt.Sprintf(`"%s":"%d\t%d %s %d"`, n, sec, r, n, round)
				}
				if err := s.Row([]byte(line + "}")); err != nil {
					t.Fatal(err)
				}
			}
			if sec%7 == 3 && s.Row([]byte(`{"b":"bad`)) == nil {
				t.Fatal("accepted")
			}
			secs = append(secs, section(&s)...)
			fields, vals, _ := s.Section()
			parts = append(parts, part{fields, vals})
		}
		var late []map[uint8]string
		for _, p := range parts {
			for i := 0; i < len(p.vals); i += len(p.fields) {
				m := map[uint8]string{}
				for j, f := range p.fields {
					if v := p.vals[i+j]; v != nil {
						m[f] = string(v)
					}
				}
				late = append(late, m)
			}
		}
		if !reflect.DeepEqual(late, secs) {
			t.Fatal("a later section changed an earlier one")
		}
		s.Reset()
		for _, v := range s.vals {
			if v != nil {
				t.Fatal("Reset keeps a reference to a line")
			}
		}
	}
}

func TestScanner_ASmallBodyCannotAskForMuchMemory(t *testing.T) {
	var names []string
	for i := range 63 {
		names = append(names, fmt.Sprintf("f%d", i))
	}
	f := NewFields(names, make([]uint8, 63))
	var s Scanner
	body := 0
	send := func(l string) *Error { body += len(l); return s.Row([]byte(l)) }
	var err *Error
	for range 200 {
		s.Begin(f)
		for r := 0; r < 5000 && err == nil; r++ {
			err = send("{}")
		}
		for i := 0; i < 63 && err == nil; i++ {
			err = send(`{"` + names[62-i] + `":1}`)
		}
		if err != nil {
			break
		}
		s.Section()
	}
	if err == nil || err.Code != TooLong {
		t.Fatalf("%d bytes scanned: %v", body, err)
	}
	if len(s.vals) > 3*(body+freeCells) {
		t.Fatalf("%d cells for %d bytes", len(s.vals), body)
	}
	// Many rows with few of many fields are no such thing.
	s.Reset()
	s.Begin(f)
	for r := range 20000 {
		if err := s.Row([]byte(fmt.Sprintf(`{"f%d":"some short text, say a name","f%d":"some short text, say a name"}`, r%63, (r+7)%63))); err != nil {
			t.Fatal(r, err)
		}
	}
	fields, vals, n := s.Section()
	if len(fields) != 63 || n != 20000 || len(vals) != 63*n {
		t.Fatal(len(fields), n, len(vals))
	}
	filled := 0
	for _, v := range vals {
		if v != nil {
			filled++
		}
	}
	if filled != 2*n {
		t.Fatalf("%d values of %d", filled, 2*n)
	}
}

func TestScanner_AppendingToAValueDoesNotReachTheNext(t *testing.T) {
	var s Scanner
	s.Begin(abc)
	line := []byte(`{"a":"x","b":12,"c":"\ty\t"}`)
	if err := s.Row(line); err != nil {
		t.Fatal(err)
	}
	_, vals, _ := s.Section()
	for _, v := range vals {
		_ = append(v, "spoiled"...)
	}
	if string(line) != `{"a":"x","b":12,"c":"\ty\t"}` {
		t.Fatal("a value has room behind it")
	}
}

func TestNewFields_SixtyThree(t *testing.T) {
	var names []string
	var nums []uint8
	line := "{"
	for i := range 63 {
		names = append(names, fmt.Sprintf("field_%d", i))
		nums = append(nums, uint8(i+1))
		line += fmt.Sprintf(`"field_%d":%d,`, i, i)
	}
	f := NewFields(names, nums)
	var s Scanner
	s.Begin(f)
	for range 3 {
		if err := s.Row([]byte(line[:len(line)-1] + "}")); err != nil {
			t.Fatal(err)
		}
	}
	got := section(&s)
	for i := range 63 {
		if got[2][uint8(i+1)] != fmt.Sprint(i) {
			t.Fatal(i)
		}
	}
	for _, bad := range [][]string{append(names, "more"), {"a", "a"}, {""}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("accepted %d names", len(bad))
				}
			}()
			NewFields(bad, make([]uint8, len(bad)))
		}()
	}
}

func shared(t testing.TB, path ...string) string {
	dir := os.Getenv("HOLDFAST_SHARED")
	if dir == "" {
		for dir = "."; ; dir = filepath.Join(dir, "..") {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			if len(dir) > 100 {
				t.Skip("shared data absent")
			}
		}
		dir = filepath.Join(dir, "..", "shared")
	}
	p := filepath.Join(append([]string{dir}, path...)...)
	if _, err := os.Stat(p); err != nil {
		t.Skip("shared data absent")
	}
	return p
}

func TestStrict_ParsingSuite(t *testing.T) {
	dir := shared(t, "data", "adversarial", "json", "test_parsing")
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	if len(files) < 200 {
		t.Fatalf("%d files", len(files))
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(f)
		bad := Strict(b, 32)
		switch {
		case name[0] == 'y' && bad != nil && !strings.Contains(name, "duplicated"):
			t.Errorf("%s refused: %v", name, bad)
		case name[0] == 'y' && bad == nil && strings.Contains(name, "duplicated"):
			t.Errorf("%s accepted", name)
		case name[0] == 'n' && bad == nil:
			t.Errorf("%s accepted", name)
		case strings.HasPrefix(name, "i_string") || strings.HasPrefix(name, "i_object"):
			if bad == nil {
				t.Errorf("%s accepted", name)
			}
		}
		// As the value of a row: nothing but scalars, and never a panic.
		var s Scanner
		s.Begin(abc)
		line := append(append([]byte(`{"a":`), b...), '}')
		got := s.Row(line)
		if got == nil && (Strict(line, 1) != nil || name[0] == 'n' && bad.Code != Empty && !isRowAnyway(b)) {
			t.Errorf("%s accepted as a value", name)
		}
		var h Header
		ParseHeader(append([]byte(`{"con_id":`), b...), &h)
	}
}

// isRowAnyway reports that b closes the value and the object itself.
func isRowAnyway(b []byte) bool { return json.Valid(append(append([]byte(`{"a":`), b...), '}')) }

func TestRow_NaughtyStrings(t *testing.T) {
	dir := shared(t, "data", "adversarial", "strings")
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	n := 0
	var s Scanner
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range bytes.Split(b, []byte("\n")) {
			for _, html := range []bool{false, true} {
				var buf bytes.Buffer
				e := json.NewEncoder(&buf)
				e.SetEscapeHTML(html)
				if err := e.Encode(map[string]string{"a": string(l)}); err != nil {
					t.Fatal(err)
				}
				s.Begin(abc)
				if err := s.Row(bytes.TrimRight(buf.Bytes(), "\n")); err != nil {
					t.Fatalf("%q: %v", l, err)
				}
				if got := section(&s)[0][1]; utf8.Valid(l) && got != string(l) {
					t.Fatalf("%q became %q", l, got)
				}
				n++
			}
		}
		s.Reset()
	}
	if n < 500 {
		t.Fatalf("only %d strings", n)
	}
}

func TestScanner_AnyRowsAnyOrder(t *testing.T) {
	var names []string
	var nums []uint8
	for i := range 63 {
		names, nums = append(names, fmt.Sprintf("f%d", i)), append(nums, uint8(63-i))
	}
	f := NewFields(names, nums)
	var s Scanner
	rapid.Check(t, func(t *rapid.T) {
		if rapid.Bool().Draw(t, "reset") {
			s.Reset()
		}
		s.Begin(f)
		var want []map[uint8]string
		row := rapid.SliceOfNDistinct(rapid.IntRange(0, 62), 0, 63, rapid.ID[int])
		for _, fs := range rapid.SliceOfN(row, 0, 40).Draw(t, "rows") {
			m := map[uint8]string{}
			line := "{"
			for i, x := range fs {
				if i > 0 {
					line += ","
				}
				v := fmt.Sprintf("%d.%d", len(want), x)
				m[nums[x]] = v
				line += fmt.Sprintf(`"%s":%s`, names[x], v)
			}
			if err := s.Row([]byte(line + "}")); err != nil {
				t.Fatal(err)
			}
			want = append(want, m)
			if rapid.IntRange(0, 9).Draw(t, "look") == 0 {
				s.Section()
			}
		}
		if got := section(&s); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
