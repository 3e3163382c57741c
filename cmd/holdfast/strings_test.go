package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sharedFile reads a file of the shared data, or skips.
func sharedFile(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("HOLDFAST_SHARED")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil || root == filepath.Dir(root) {
				break
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skip("shared data absent")
	}
	return b
}

// Texts that break programs go in and come out the same, by JSON and by XML.
func TestCommands_CarryAnyText(t *testing.T) {
	b := sharedFile(t, "data/adversarial/strings/blns.json")
	var all []string
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	all = append(all, "\x00\x01\x1f", "\u2028\ufeff\ufffe\uffff", "]]>", "<![CDATA[x]]>", "\r\n \r", strings.Repeat("é", 1000))
	var rows []map[string]string
	for _, s := range all {
		rows = append(rows, map[string]string{"field_home_street": s})
	}
	d := newDesk(t)
	d.run(d.member("register", "--email", "ada@example.org")...)
	j, _ := json.Marshal(rows)
	d.run(d.member("write", "ds_home", "--file", d.file("rows.json", string(j)))...)
	got := strings.Split(strings.TrimSpace(d.run(d.member("read", "ds_home", "--json")...)), "\n")
	if len(got) != len(all) {
		t.Fatalf("%d of %d records", len(got), len(all))
	}
	for i, l := range got {
		var r struct{ Values map[string]*string }
		if err := json.Unmarshal([]byte(l), &r); err != nil || r.Values["field_home_street"] == nil || *r.Values["field_home_street"] != all[i] {
			t.Errorf("record %d is not what was written", i+1)
		}
	}
	d.run(d.member("export", "json", "-o", d.path("all.json"))...)
	d.run(d.member("export", "xml", "-o", d.path("all.xml"))...)
	d.compareExports("street")
	for _, f := range []string{"all.json", "all.xml"} {
		d.run("verify", d.path(f))
	}
}

func FuzzSplitXML(f *testing.F) {
	f.Add([]byte("<?xml version=\"1.0\"?>\n<response>\n<format>x</format>\n<records>\n<item><a>1</a></item>\n<item/>\n</records>\n<sha256>0</sha256></response>\n"))
	f.Add([]byte("<response><item key=\"a\"/></response>"))
	f.Add([]byte("<!DOCTYPE a [<!ENTITY b \"c\">]><response>&b;</response>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = splitXML(b, func(_ string, raw, doc []byte) error {
			if !json.Valid(doc) || len(raw) > len(b) {
				t.Fatal("an element that is no document")
			}
			return nil
		})
	})
}
