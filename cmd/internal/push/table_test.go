package push

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func readTable(t testing.TB, src source) (rows [][]string, lines []int, rules []string) {
	t.Helper()
	for {
		r, err := src.next()
		if err == io.EOF {
			return rows, lines, rules
		}
		if err != nil {
			t.Fatal(err)
		}
		var cells []string
		for _, c := range r.cells {
			cells = append(cells, string(c))
		}
		rows, lines, rules = append(rows, cells), append(lines, r.line), append(rules, r.rule)
	}
}

func TestTable_Spectrum(t *testing.T) {
	dir := shared(t, "adversarial/csv")
	names, err := filepath.Glob(filepath.Join(dir, "csvs", "*.csv"))
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := []map[string]string{}
		wantText, err := os.ReadFile(filepath.Join(dir, "json", strings.TrimSuffix(filepath.Base(name), ".csv")+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if wantText = bytes.TrimSpace(wantText); wantText[0] == '{' { // of a single row
			wantText = append(append([]byte("["), wantText...), ']')
		}
		if err := json.Unmarshal(wantText, &want); err != nil {
			t.Fatal(err)
		}
		for kind, r := range map[string]io.Reader{"whole": bytes.NewReader(text), "byte by byte": iotest.OneByteReader(bytes.NewReader(text))} {
			rows, _, rules := readTable(t, newTable(r, ',', true, false))
			if len(rows) != len(want)+1 {
				t.Fatalf("%s, %s: %d rows, want %d", name, kind, len(rows), len(want)+1)
			}
			for i := range want {
				if rules[i+1] != "" || len(rows[i+1]) != len(rows[0]) {
					t.Fatalf("%s, %s: row %d: %q", name, kind, i, rules[i+1])
				}
				for j, c := range rows[0] {
					if c == "Contact Phone Number" {
						continue // the corpus' own CSV and JSON differ there
					}
					if rows[i+1][j] != want[i][c] {
						t.Fatalf("%s, %s: row %d: %q, want %q", name, kind, i, rows[i+1][j], want[i][c])
					}
				}
			}
		}
	}
}

func TestTable_Cases(t *testing.T) {
	for _, tt := range []struct {
		text  string
		want  string // cells as %q, rules in <>
		lines string
	}{
		{"", "[]", "[]"},
		{"\n\r\n\n", "[]", "[]"},
		{"a", `[["a"]]`, "[1]"},
		{"a,b\n\nc,d", `[["a" "b"] ["c" "d"]]`, "[1 3]"},
		{"a,b\r\nc,d\r\n", `[["a" "b"] ["c" "d"]]`, "[1 2]"},
		{",\n", `[["" ""]]`, "[1]"},
		{`"a""b",` + "\n", `[["a\"b" ""]]`, "[1]"},
		{"\"a\nb\"\nc\n", `[["a\nb"] ["c"]]`, "[1 3]"},
		{"\"a\"\r\nb", `[["a"] ["b"]]`, "[1 2]"},
		{"\"a\"", `[["a"]]`, "[1]"},
		{"\"a\"\"", `[<unterminated quote>]`, "[1]"},
		{"x,5\" disk,y", `[["x" "5\" disk" "y"]]`, "[1]"},
		{"\"a\"b,c\nd,e", `[<text after a closing quote> ["d" "e"]]`, "[1 2]"},
		{"a,\"open\nb,c\nd,e", `[<unterminated quote> ["b" "c"] ["d" "e"]]`, "[1 2 3]"},
		{"\"\"", `[[""]]`, "[1]"},
		{"\"\"\"\"", `[["\""]]`, "[1]"},
	} {
		for _, one := range []bool{false, true} {
			var r io.Reader = strings.NewReader(tt.text)
			if one {
				r = iotest.OneByteReader(r)
			}
			rows, lines, rules := readTable(t, newTable(r, ',', true, false))
			var got []string
			for i := range rows {
				if rules[i] != "" {
					got = append(got, "<"+rules[i]+">")
				} else {
					got = append(got, fmt.Sprintf("%q", rows[i]))
				}
			}
			if fmt.Sprint(got) != tt.want || fmt.Sprint(lines) != tt.lines {
				t.Errorf("%q: %v at %v, want %v at %v", tt.text, got, lines, tt.want, tt.lines)
			}
		}
	}
}

func TestTable_LongRows(t *testing.T) {
	long := strings.Repeat("x", maxRecord+10)
	text := "a\n" + long + "\nb\n\"" + long + "\nc\n"
	rows, lines, rules := readTable(t, newTable(strings.NewReader(text), ',', true, false))
	if fmt.Sprint(rules) != fmt.Sprint([]string{"", ruleLength, "", ruleLength, ""}) || fmt.Sprint(lines) != "[1 2 3 4 5]" {
		t.Fatalf("%v at %v", rules, lines)
	}
	if rows[4][0] != "c" {
		t.Fatal("lost the row behind a long one")
	}
	fits := strings.Repeat("x", maxRecord)
	if rows, _, rules := readTable(t, newTable(strings.NewReader(fits+"\nb"), ',', true, false)); len(rows) != 2 || rules[0] != "" {
		t.Fatal("a row of 1 MiB is not long")
	}
}

// Where encoding/csv reads a text without error, table reads the same cells.
func FuzzTable(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"a\"\"\",b\r\n", "\"x\ny\",\n\n\"\"", "\"", "a\r", "\"a\"\r\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mine, lines, rules := readTable(t, newTable(strings.NewReader(text), ',', true, false))
		slow, _, _ := readTable(t, newTable(iotest.OneByteReader(strings.NewReader(text)), ',', true, false))
		if fmt.Sprint(mine) != fmt.Sprint(slow) {
			t.Fatalf("%q: depends on how it is read", text)
		}
		last := 0
		for i, l := range lines {
			if l <= last || l > strings.Count(text, "\n")+1 {
				t.Fatalf("%q: line numbers %v", text, lines)
			}
			last = l
			if (rules[i] == "") == (mine[i] == nil) {
				t.Fatalf("%q: row %d is neither cells nor rejected", text, i)
			}
		}
		r := csv.NewReader(strings.NewReader(text))
		r.FieldsPerRecord = -1
		want, err := r.ReadAll()
		// encoding/csv makes CRLF in quotes LF, and drops only one CR: those
		// texts are left out.
		if err != nil || strings.Contains(text, "\r") {
			return
		}
		if fmt.Sprintf("%q", mine) != fmt.Sprintf("%q", want) {
			t.Fatalf("%q: %q, want %q", text, mine, want)
		}
	})
}

func TestObjects(t *testing.T) {
	columns := map[string]int{"a": 0, "b": 1}
	for _, tt := range []struct{ text, want string }{
		{`{"a":"x","b":1.50}`, `["x" "1.50"]`},
		{`{"a":null}`, `["" ""]`},
		{` {"c":{"a":[1,"}",{"b":2}]},"b":true , "a" : "\u00e9\n\ud83d\ude00\\\"" } `, `["é\n😀\\\"" "true"]`},
		{`{"a":"\ud800"}`, "[\"\\xed\\xa0\\x80\" \"\"]"},
		{`{"a":[1]}`, ruleNested},
		{`{"a":1,"a":2}`, ruleDuplicate},
		{`{"\u0061":1,"a":2}`, ruleDuplicate},
		{`[1]`, ruleJSON}, {`{"a":1`, ruleJSON}, {`{"a":1}{`, ruleJSON}, {`x`, ruleJSON},
		{`{}`, `["" ""]`},
		{`{"a":-1e5,"b":0}`, `["-1e5" "0"]`},
	} {
		rows, _, rules := readTable(t, newObjects(strings.NewReader(tt.text+"\n"), columns))
		got := ""
		if len(rows) == 1 {
			if got = rules[0]; got == "" {
				got = fmt.Sprintf("%q", rows[0])
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.text, got, tt.want)
		}
	}
}

func FuzzObjects(f *testing.F) {
	for _, s := range []string{`{"a":"x","b":1}`, `{"a":{"b":[1,2]},"b":"\ud83d\ude00"}`, `{"a":1,"a":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\n") || !json.Valid([]byte(text)) {
			readTable(t, newObjects(strings.NewReader(text), map[string]int{"a": 0, "b": 1})) // must not panic
			return
		}
		rows, _, rules := readTable(t, newObjects(strings.NewReader(text), map[string]int{"a": 0, "b": 1}))
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil || want == nil || len(rows) != 1 || rules[0] != "" {
			return
		}
		for i, name := range []string{"a", "b"} {
			if s, ok := want[name].(string); ok && !strings.Contains(s, "\ufffd") && s != rows[0][i] {
				t.Fatalf("%q: %q, want %q", text, rows[0][i], s)
			}
			if n, ok := want[name].(json.Number); ok && string(n) != rows[0][i] {
				t.Fatalf("%q: %q, want %q", text, rows[0][i], n)
			}
		}
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte("a\"\\\n\x00é😀"))
	f.Fuzz(func(t *testing.T, v []byte) {
		b, ok := appendString(nil, v)
		if !ok {
			if bytes.Equal(bytes.ToValidUTF8(v, nil), v) {
				t.Fatalf("%q is refused", v)
			}
			return
		}
		var got string
		if err := json.Unmarshal(b, &got); err != nil || got != string(v) {
			t.Fatalf("%q came back as %q, %v", v, got, err)
		}
	})
}
