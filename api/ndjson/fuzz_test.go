package ndjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"testing"
	"unicode/utf8"
)

// std scans one flat object with encoding/json; ok is false if it is not one,
// or has one of the things that are refused beyond encoding/json.
func std(line []byte) (m map[string]string, ok bool) {
	if !utf8.Valid(line) || !json.Valid(line) || loneSurrogate(line) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if tk, _ := d.Token(); tk != json.Delim('{') {
		return nil, false
	}
	m = map[string]string{}
	seen := map[string]bool{}
	for d.More() {
		k, err := d.Token()
		if err != nil || seen[k.(string)] {
			return nil, false
		}
		seen[k.(string)] = true
		v, err := d.Token()
		if err != nil {
			return nil, false
		}
		switch v := v.(type) {
		case string:
			m[k.(string)] = v
		case json.Number:
			m[k.(string)] = v.String()
		case bool:
			m[k.(string)] = fmt.Sprint(v)
		case nil:
		default:
			return nil, false
		}
	}
	d.Token()
	_, err := d.Token()
	return m, err == io.EOF
}

// loneSurrogate looks for \u escapes of surrogates that are not pairs, in
// valid JSON.
func loneSurrogate(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		i++
		if b[i] != 'u' {
			continue
		}
		r := hex4(b, i+1)
		i += 4
		if r < 0xd800 || r > 0xdfff {
			continue
		}
		if r >= 0xdc00 || i+6 >= len(b) || b[i+1] != '\\' || b[i+2] != 'u' {
			return true
		}
		if l := hex4(b, i+3); l < 0xdc00 || l > 0xdfff {
			return true
		}
		i += 6
	}
	return false
}

func FuzzRow(f *testing.F) {
	for _, s := range []string{
		`{"a":"x","b":1.50,"c":true,"field_long_name":null}`, `{"\u0061":"\ud83d\ude00\\","b":-0.0e-0}`,
		`{ "b" : "é" , "a":"" }`, `{"a":{}}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"a":01}`, `{}`, `{"z":1}`,
		`{"a":"0123456\"789abcdef\/0123456789"}`, `{"con_id":"1-2"}`, `[1,{"a":[]}]`,
	} {
		f.Add([]byte(s), []byte(`{"c":"1"}`))
	}
	names := map[string]uint8{}
	for i, n := range abc.names {
		names[n] = abc.numbers[i]
	}
	f.Fuzz(func(t *testing.T, line, before []byte) {
		var s Scanner
		s.Begin(abc)
		s.Row(before) // so that slots stand in another order
		_, _, n0 := s.Section()
		err := s.Row(line)
		if err != nil && (err.Offset < 0 || err.Offset > len(line)+1) {
			t.Fatalf("offset %d of %d", err.Offset, len(line))
		}
		m, ok := std(line)
		want := map[uint8]string{}
		for k, v := range m {
			if names[k] == 0 {
				ok = false
			}
			want[names[k]] = v
		}
		if ok && err == nil {
			if got := section(&s)[n0]; !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: got %q, want %q", line, got, want)
			}
		}
		if err == nil && !ok {
			t.Fatalf("%q accepted, encoding/json or the extra rules refuse it", line)
		}
		if err != nil && ok && !unknownNull(line, names) {
			t.Fatalf("%q refused: %v", line, err)
		}
	})
}

// unknownNull reports a null member of an unknown name, which std drops.
func unknownNull(line []byte, names map[string]uint8) bool {
	var m map[string]any
	json.Unmarshal(line, &m)
	for k := range m {
		if names[k] == 0 {
			return true
		}
	}
	return false
}

func FuzzStrict(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"c":"\u00e9"}`, `{"a":1,"a":2}`, `"\ud800"`, `[[[[]]]]`, ` 1 `, `tru`, "\"\xff\"", `{"a":{"a":1}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Strict(b, 32)
		if err == nil && (!json.Valid(b) || !utf8.Valid(b) || loneSurrogate(b)) {
			t.Fatalf("%q accepted", b)
		}
		if err != nil && err.Code != DuplicateKey && err.Code != Nested && json.Valid(b) && utf8.Valid(b) && !loneSurrogate(b) {
			t.Fatalf("%q refused: %v", b, err)
		}
		var h Header
		if IsHeader(b) && ParseHeader(b, &h) == nil && (Strict(b, 1) != nil || len(h.Key) == 0 || len(h.Dataset) == 0) {
			t.Fatalf("header %q accepted", b)
		}
	})
}
