package xmlout

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAppendFromJSON_Mapping(t *testing.T) {
	tests := []struct{ json, xml string }{
		{`{"a":"x"}`, `<response><a>x</a></response>`},
		{`{"5":{"id":"5","v":null}}`, `<response><item key="5"><id>5</id><v nil="true"/></item></response>`},
		{`["x",["y"],{}]`, `<response><item>x</item><item><item>y</item></item><item empty="object"/></response>`},
		{`null`, `<response nil="true"/>`},
		{`""`, `<response/>`},
		{`{}`, `<response empty="object"/>`},
		{`[]`, `<response empty="array"/>`},
		{` { "b" : 1 , "a" : [ true , -1.50e3 ] } `, `<response><b>1</b><a><item>true</item><item>-1.50e3</item></a></response>`},
		{`{"success":1,"last_insert_id":123}`, `<response><success>1</success><last_insert_id>123</last_insert_id></response>`},
		{`"a<b>&\"'c]]>"`, `<response>a&lt;b&gt;&amp;"'c]]&gt;</response>`},
		{`"\t\n\r x "`, "<response>\t\n&#13; x </response>"},
		{`{"a\t\"<\n\r&":""}`, `<response><item key="a&#9;&quot;&lt;&#10;&#13;&amp;"/></response>`},
		{`"\u0000"`, `<response encoding="base64">AA==</response>`},
		{`"\uffff"`, `<response encoding="base64">77+/</response>`},
		{`"\ufffd\ufeff"`, "<response>\ufffd\ufeff</response>"},
		{`{"\u0001":"x"}`, `<response><item key="AQ==" keyencoding="base64">x</item></response>`},
		{`"\u00b5\ud83d\ude00\/\b"`, `<response encoding="base64">wrXwn5iALwg=</response>`},
		{`"µ😀"`, `<response>µ😀</response>`},
		{`{"item":"x"}`, `<response><item key="item">x</item></response>`},
		{`{"xmlThing":"x","a:b":"y","":"z","é":"w","a.b-c_1":"v","1a":"u","_":"t"}`,
			`<response><item key="xmlThing">x</item><item key="a:b">y</item><item key="">z</item><item key="é">w</item><a.b-c_1>v</a.b-c_1><item key="1a">u</item><_>t</_></response>`},
	}
	for _, tt := range tests {
		got, err := AppendFromJSON([]byte("kept"), []byte(tt.json))
		if err != nil {
			t.Errorf("%s: %v", tt.json, err)
			continue
		}
		if want := "kept" + header + tt.xml; string(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", tt.json, got, want)
		}
		if err := wellFormed(got[len("kept"):]); err != nil {
			t.Errorf("%s: not well-formed: %v", tt.json, err)
		}
		back, err := ToJSON(got[len("kept"):])
		if err != nil {
			t.Errorf("%s: back: %v", tt.json, err)
		} else if want := asText(t, tt.json); string(back) != want {
			t.Errorf("%s: back %s, want %s", tt.json, back, want)
		}
	}
}

func TestAppendFromJSON_Refuses(t *testing.T) {
	for _, doc := range []string{"", " ", "{", `{"a":}`, `{} {}`, "\"\xff\"", `"\ud800"`, `"\udc00"`, `"\ud800x"`, `"\ud800\n"`, `"\ud800\u0041"`, `{"\ud800":1}`,
		strings.Repeat("[", 33) + strings.Repeat("]", 33)} {
		got, err := AppendFromJSON([]byte("kept"), []byte(doc))
		if err == nil || string(got) != "kept" {
			t.Errorf("%q: %q, %v", doc, got, err)
		}
	}
	if _, err := AppendFromJSON(nil, []byte(strings.Repeat("[", 31)+"0"+strings.Repeat("]", 31))); err != nil {
		t.Errorf("32 levels: %v", err)
	}
}

func TestToJSON_TakesWhatClientsWrite(t *testing.T) {
	tests := []struct{ xml, json string }{
		{`<ds_home><field_home_postcode>DN21 6BY</field_home_postcode></ds_home>`, `{"field_home_postcode":"DN21 6BY"}`},
		{"\ufeff<?xml version='1.0' encoding='utf-8'?>\r\n<r>\r\n <a>1</a>\r\n</r>\r\n", `{"a":"1"}`},
		{`<r><!-- c --><?pi x?><a><![CDATA[<b>&]]></a></r>`, `{"a":"<b>&"}`},
		{`<r><a>&lt;&#65;&#x42;&amp;</a></r>`, `{"a":"<AB&"}`},
		{`<r xmlns="urn:x" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><a xsi:nil="true"/><b nil="false">x</b></r>`, `{"a":null,"b":"x"}`},
		{`<p:r xmlns:p="urn:x"><p:a>x</p:a></p:r>`, `{"a":"x"}`},
		{`<r><item> x </item><item/></r>`, `[" x ",""]`},
		{`<r> </r>`, `" "`},
		{`<r><a> <b/> </a></r>`, `{"a":{"b":""}}`},
	}
	for _, tt := range tests {
		if got, err := ToJSON([]byte(tt.xml)); err != nil || string(got) != tt.json {
			t.Errorf("%s: %s, %v; want %s", tt.xml, got, err, tt.json)
		}
	}
}

func TestToJSON_Refuses(t *testing.T) {
	marker := "zqxj"
	tests := map[string]error{
		``:              errXML,
		`text`:          errXML,
		`<r>`:           errXML,
		`<r></s>`:       errXML,
		`<r/><r/>`:      errXML,
		`<r/>zqxj`:      errXML,
		`<r>&zqxj;</r>`: errXML,
		`<r>&#0;</r>`:   errXML,
		"<r>\x01</r>":   errXML,
		"<r>\xff</r>":   errXML,
		`<?xml version="1.0" encoding="latin1"?><r/>`: errXML,
		`<?xml version="1.1"?><r/>`:                   errXML,
		`<!DOCTYPE r><r/>`:                            errDoctype,
		`<!DOCTYPE r [<!ENTITY a "zqxj">]><r>&a;</r>`: errDoctype,
		`<r><!ELEMENT zqxj ANY></r>`:                  errDoctype,
		`<r>zqxj<a/></r>`:                             errMixed,
		`<r><a/>zqxj</r>`:                             errMixed,
		`<r><a/><a/></r>`:                             errTwice,
		`<r><a/><item key="a"/></r>`:                  errTwice,
		`<r><item/><a/></r>`:                          errItems,
		`<r><a/><item/></r>`:                          errItems,
		`<r zqxj="1"/>`:                               errAttribute,
		`<r key="a"/>`:                                errAttribute,
		`<r><a key="zqxj"/></r>`:                      errAttribute,
		`<r><item key="a" key="b"/></r>`:              errAttribute,
		`<r><item keyencoding="base64"/></r>`:         errAttribute,
		`<r nil="zqxj"/>`:                             errAttribute,
		`<r nil="true"><a/></r>`:                      errAttribute,
		`<r nil="true">zqxj</r>`:                      errMixed,
		`<r empty="object" nil="true"/>`:              errAttribute,
		`<r empty="zqxj"/>`:                           errAttribute,
		`<r encoding="hex">00</r>`:                    errAttribute,
		`<r encoding="base64">zqxj*</r>`:              errEncoding,
		`<r encoding="base64">/w==</r>`:               errEncoding,
		strings.Repeat("<a>", 33):                     errDepth,
		strings.Repeat("<a>", 1<<20):                  errDepth,
		strings.Repeat(" ", maxInput) + "<r/>":        errSize,
	}
	for doc, want := range tests {
		got, err := ToJSON([]byte(doc))
		if err != want || got != nil {
			t.Errorf("%.80s: %s, %v; want %v", doc, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%.80s: the error repeats the document", doc)
		}
	}
}

// A refused bomb costs no more than reading its bytes: nothing is expanded or opened.
func TestToJSON_SharedBombs(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(shared(t), "data", "adversarial", "xml", "*.xml"))
	if len(files) == 0 {
		t.Skip("shared data absent")
	}
	for _, name := range files {
		doc, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		got, err := ToJSON(doc)
		took := time.Since(begin)
		if bytes.Contains(doc, []byte("<!DOCTYPE")) && err != errDoctype {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
		if err == nil {
			t.Errorf("%s: accepted as %s", filepath.Base(name), got)
		}
		if took > time.Second {
			t.Errorf("%s: took %v", filepath.Base(name), took)
		}
	}
}

// shared finds the shared directory beside the module, or skips.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("HOLDFAST_SHARED")
	if dir == "" {
		at, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for at != filepath.Dir(at) {
			if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
				break
			}
			at = filepath.Dir(at)
		}
		dir = filepath.Join(at, "..", "shared")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared data absent")
	}
	return dir
}

// wellFormed asks the standard library.
func wellFormed(doc []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(doc))
	for {
		if _, err := dec.Token(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// asText writes a JSON document compactly, in order, with all scalars as strings.
func asText(t *testing.T, doc string) string {
	dec := json.NewDecoder(strings.NewReader(doc))
	dec.UseNumber()
	var out []byte
	var value func(tok json.Token)
	value = func(tok json.Token) {
		switch v := tok.(type) {
		case json.Delim:
			out = append(out, v.String()...)
			for first := true; dec.More(); first = false {
				if !first {
					out = append(out, ',')
				}
				if v == '{' {
					k, err := dec.Token()
					if err != nil {
						t.Fatal(err)
					}
					out = append(appendString(out, []byte(k.(string))), ':')
				}
				next, err := dec.Token()
				if err != nil {
					t.Fatal(err)
				}
				value(next)
			}
			end, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, end.(json.Delim).String()...)
		case string:
			out = appendString(out, []byte(v))
		case json.Number:
			out = appendString(out, []byte(v))
		case bool:
			if v {
				out = append(out, `"true"`...)
			} else {
				out = append(out, `"false"`...)
			}
		case nil:
			out = append(out, "null"...)
		}
	}
	tok, err := dec.Token()
	if err != nil {
		t.Fatal(err)
	}
	value(tok)
	return string(out)
}

func TestRoundTrip_Property(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "5", "item", "xml", "a", "\x00", "\r\n", " ", "]]>", "\ufffe", "\u0085", "é"}))
	var tree func(depth int) *rapid.Generator[any]
	tree = func(depth int) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Map(text, func(s string) any { return s }), rapid.Just[any](nil))
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(tree(depth-1), 0, 4), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(text, tree(depth-1), 0, 4), func(v map[string]any) any { return v }))
	}
	rapid.Check(t, func(rt *rapid.T) {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(tree(4).Draw(rt, "tree")); err != nil {
			rt.Fatal(err)
		}
		doc, err := AppendFromJSON(nil, buf.Bytes())
		if err != nil {
			rt.Fatalf("%s: %v", &buf, err)
		}
		back, err := ToJSON(doc)
		if err != nil {
			rt.Fatalf("%s\n%s: %v", &buf, doc, err)
		}
		if want := asText(t, buf.String()); string(back) != want {
			rt.Fatalf("%s\n%s\n%s", want, doc, back)
		}
	})
}

// Whatever ToJSON accepts is valid JSON, and comes back the same through XML.
func FuzzToJSON(f *testing.F) {
	for _, s := range []string{`<r/>`, `<r><item key="5"><a nil="true"/></item></r>`, `<r><item>x</item><item empty="array"/></r>`,
		`<r encoding="base64">AA==</r>`, `<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>`, `<r>&#13;<![CDATA[x]]></r>`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		j, err := ToJSON(doc)
		if err != nil {
			return
		}
		if !json.Valid(j) {
			t.Fatalf("%q", j)
		}
		x, err := AppendFromJSON(nil, j)
		if err != nil {
			t.Fatalf("%q: %v", j, err)
		}
		again, err := ToJSON(x)
		if err != nil || !bytes.Equal(again, j) {
			t.Fatalf("%q\n%q\n%q %v", j, x, again, err)
		}
	})
}

// Whatever AppendFromJSON accepts is well-formed, and only a key given twice can
// keep it from coming back.
func FuzzAppendFromJSON(f *testing.F) {
	for _, s := range []string{`{}`, `[[],{"5":null}]`, `{"\u0001":"\ud83d\ude00"}`, `[1.5e3,true,"a\\\"\/"]`, `"\ud800"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		x, err := AppendFromJSON(nil, doc)
		if err != nil {
			return
		}
		if err := wellFormed(x); err != nil {
			t.Fatalf("%q: %v", x, err)
		}
		back, err := ToJSON(x)
		if err == errTwice {
			return
		}
		if want := asText(t, string(doc)); err != nil || string(back) != want {
			t.Fatalf("%q\n%q\n%q %v", doc, x, back, err)
		}
	})
}

func BenchmarkAppendFromJSON(b *testing.B) {
	row := `"5":{"id":"5","ds_id":"5","ba_transaction_value":"111.11","ba_transaction_description":"Card payment","source":null},`
	doc := []byte("{" + strings.TrimSuffix(strings.Repeat(row, 1000), ",") + "}")
	var dst []byte
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = AppendFromJSON(dst[:0], doc)
	}
}
