package acceptance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"holdfast/cmd/internal/sandbox"
)

// compareXML reads members in both forms and compares the trees.
func (c *client) compareXML(t *testing.T, refs map[string]sandbox.Agreement) {
	t.Helper()
	seen := map[rune]int{}
	for _, ref := range slices.Sorted(maps.Keys(refs))[:min(len(refs), 300)] {
		a := refs[ref]
		body := c.get(a, "ds_retail_purchases", "json", "", "")
		var rows map[string]map[string]*string
		err := json.NewDecoder(body).Decode(&rows)
		body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r["description"] == nil {
				continue
			}
			for _, ch := range *r["description"] {
				if strings.ContainsRune(`&<>"'`, ch) || ch > 127 {
					seen[ch]++
				}
			}
		}
		body = c.get(a, "ds_retail_purchases", "xml", "", "")
		got, err := xmlRows(body)
		body.Close()
		if err != nil {
			t.Fatal(err)
		}
		x, _ := json.Marshal(got)
		j, _ := json.Marshal(rows)
		if !bytes.Equal(x, j) {
			t.Errorf("%s: the XML differs from the JSON", ref)
		}
	}
	for _, ch := range `&<>"'£🎁` {
		if seen[ch] == 0 {
			t.Errorf("no text with %c was compared", ch)
		}
	}
	t.Logf("characters compared: %v", seen)
}

// xmlRows decodes <response><item key="1"><id>1</id>...</item></response> with
// the standard library.
func xmlRows(r io.Reader) (map[string]map[string]*string, error) {
	var doc struct {
		Items []struct {
			Key    string `xml:"key,attr"`
			Fields []struct {
				XMLName xml.Name
				Nil     bool   `xml:"nil,attr"`
				Coding  string `xml:"encoding,attr"`
				Text    string `xml:",chardata"`
			} `xml:",any"`
		} `xml:"item"`
	}
	if err := xml.NewDecoder(r).Decode(&doc); err != nil {
		return nil, err
	}
	out := map[string]map[string]*string{}
	for _, item := range doc.Items {
		row := map[string]*string{}
		for _, f := range item.Fields {
			if row[f.XMLName.Local] = nil; f.Nil {
				continue
			}
			if f.Coding == "base64" { // text that XML cannot hold
				b, err := base64.StdEncoding.DecodeString(f.Text)
				if err != nil {
					return nil, err
				}
				f.Text = string(b)
			}
			row[f.XMLName.Local] = &f.Text
		}
		out[item.Key] = row
	}
	return out, nil
}
