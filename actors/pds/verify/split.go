package verify

import (
	"bytes"
	"encoding/json"
)

// Splitter takes a file apart. It calls yield for every member but the last,
// and for a list once for each element; raw is the element as it stands in
// the file, doc the same as JSON. Split is the one for JSON files.
type Splitter func(file []byte, yield func(name string, raw, doc []byte) error) error

// Lists names the members that are lists.
var Lists = map[string]bool{"records": true, "counts": true, "agreements": true, "journal": true}

// Split takes a JSON file apart.
func Split(file []byte, yield func(name string, raw, doc []byte) error) error {
	d := json.NewDecoder(bytes.NewReader(file))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errForm
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errForm
		}
		if name == "sha256" {
			return nil // the rest was checked with the digest
		}
		if !Lists[name] {
			var doc json.RawMessage
			if d.Decode(&doc) != nil {
				return errForm
			}
			if err := yield(name, doc, doc); err != nil {
				return err
			}
			continue
		}
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return errForm
		}
		for d.More() {
			var doc json.RawMessage
			if d.Decode(&doc) != nil {
				return errForm
			}
			if err := yield(name, doc, doc); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return errForm
		}
	}
	return errForm // there was no digest
}
