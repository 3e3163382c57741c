package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// strictJSON decodes one document into v and refuses what encoding/json forgives:
// unknown keys, keys in other case, keys given twice, bytes after the end, and
// text that is no UTF-8.
func strictJSON(b []byte, v any) error {
	if !utf8.Valid(b) {
		return errors.New("not valid UTF-8")
	}
	if err := checkKeys(json.NewDecoder(bytes.NewReader(b)), 0); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("bytes after the end of the document")
	}
	return nil
}

// checkKeys reads one value and looks at the keys of its objects.
func checkKeys(dec *json.Decoder, depth int) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	if depth == 8 {
		return errors.New("nested too deeply")
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			k := key.(string)
			if !plainName.MatchString(k) {
				return fmt.Errorf("key %q is not lower case", k)
			}
			if seen[k] {
				return fmt.Errorf("key %q is there twice", k)
			}
			seen[k] = true
		}
		if err := checkKeys(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}
