package seal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestCanonical_Refuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, in := range map[string]string{
		"nothing": "", "space": " ", "two values": "{} {}", "trailing comma": "[1,]", "comment": "{}//x",
		"name twice": `{"a":1,"a":2}`, "name twice by escape": `{"a":1,"\u0061":2}`,
		"lone high": `"\ud800"`, "lone low": `"\udc00"`, "reversed pair": `"\udc00\ud800"`,
		"not UTF-8": "\"\xff\"", "surrogate in UTF-8": "\"\xed\xa0\x80\"", "byte order mark": "\xef\xbb\xbf{}",
		"NaN": "NaN", "infinity": "1e999", "hexadecimal": "0x10", "leading zero": "01", "plus": "+1", "dot": "1.",
		"control character": "\"\x01\"", "single quotes": "{'a':1}",
		"65 deep": deep(65), "65 deep in objects": strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
		"a million open": strings.Repeat("[", MaxCanonical), "too long": `"` + strings.Repeat("a", MaxCanonical) + `"`,
	} {
		if out, err := Canonical([]byte(in)); err != ErrCanonical || out != nil {
			t.Errorf("%s: %.40s, %v", name, out, err)
		}
	}
	for name, in := range map[string]string{
		"64 deep": deep(64), "brackets in a string": `"` + strings.Repeat("[", 100) + `\"` + strings.Repeat("{", 100) + `"`,
		"at the limit": `"` + strings.Repeat("a", MaxCanonical-2) + `"`,
	} {
		if out, err := Canonical([]byte(in)); err != nil || string(out) != in {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCanonical_OneFormForOneMeaning(t *testing.T) {
	want := `{"a":[1,"é",null],"b":{"c":true,"d":"\n"}}`
	for _, in := range []string{
		`{"b":{"d":"\n","c":true},"a":[1,"é",null]}`,
		" {\t\"b\" : {\"d\":\"\\u000a\",\"c\":true},\r\n\"a\":[1.0,\"\\u00e9\",null]} ",
		want,
	} {
		if got, err := Canonical([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s, %v", got, err)
		}
	}
	// Unicode is not normalised: these two are different texts.
	a, _ := Canonical([]byte("\"\u00e9\""))
	b, _ := Canonical([]byte("\"e\u0301\""))
	if bytes.Equal(a, b) {
		t.Error("two texts have one form")
	}
}

func TestCommitment_BindsSaltAndText(t *testing.T) {
	salt, other := [32]byte{1}, [32]byte{2}
	c := Commitment(salt, []byte(`{}`))
	if c == Commitment(other, []byte(`{}`)) || c == Commitment(salt, []byte(`[]`)) {
		t.Error("commitments are equal")
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[1e2,"\u20ac"]}`, `-0`, `"\ud83d\ude00"`, `[[[]]]`, `{"":{"":0}}`, "1e999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := Canonical(text)
		if err != nil {
			if err != ErrCanonical || out != nil {
				t.Fatal("another failure")
			}
			return
		}
		if !json.Valid(out) {
			t.Fatalf("not JSON: %q", out)
		}
		again, err := Canonical(out)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("not its own canonical form: %q, then %q, %v", out, again, err)
		}
	})
}
