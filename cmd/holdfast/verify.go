package main

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/actors/pds/verify"
	"holdfast/api/xmlout"
)

// VerifyCmd is `holdfast verify`: it checks an export, a receipt or an audit
// log that a member saved, with no server and no network. Exit code 1: the
// file is not what it claims to be.
type VerifyCmd struct {
	File    string `arg:"" type:"existingfile" help:"Export, receipt or audit log, JSON or XML."`
	LogKey  string `placeholder:"KEY" help:"The log's verifier key as the operator publishes it. Default: the file's own, which is noted."`
	SignKey string `placeholder:"HEX" help:"Your signing key as member unlock shows it. Default: the file's own, which is noted."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

var errNotVerified = errors.New("the file is not what it claims to be")

// Run checks the file and reports.
func (c *VerifyCmd) Run() error {
	o := verify.Options{LogKey: c.LogKey}
	if c.SignKey != "" {
		k, err := hex.DecodeString(c.SignKey)
		if err != nil || len(k) != 32 {
			return errors.New("--sign-key has 64 hexadecimal digits")
		}
		o.SignKey = k
	}
	r, err := verifyFile(c.File, o)
	if err != nil {
		return err
	}
	err = show(c.JSON, r, func(w *table) {
		w.line("%s: %s, %s, member %d", c.File, r.Format, r.Environment, r.UID)
		w.line("%d records, %d agreements, %d journal records (%d opened), %d statements", r.Records, r.Agreements, r.Entries, r.Opened, r.Statements)
		if r.LogSize > 0 {
			w.line("Log: %d entries, signed by %s", r.LogSize, r.LogKey)
		}
		for _, n := range r.Notes {
			w.line("Note: %s", n)
		}
		for _, f := range r.Faults {
			w.line("FAULT: %s: %s", f.Part, f.What)
		}
		if r.OK() {
			w.line("Verified.")
		}
	})
	if err == nil && !r.OK() {
		err = errNotVerified
	}
	return err
}

// verifyFile checks a file, JSON or XML by its first byte.
func verifyFile(name string, o verify.Options) (*verify.Report, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(b, []byte("<")) {
		o.XML, o.Split = true, splitXML
	}
	return verify.Check(b, o), nil
}

var errXMLForm = errors.New("not of the documented form")

// splitXML is verify.Split for a file in XML: it cuts out one element after
// the other and turns each into JSON by itself.
func splitXML(file []byte, yield func(name string, raw, doc []byte) error) error {
	d := xml.NewDecoder(bytes.NewReader(file))
	depth, list := 0, ""
	for {
		at := d.InputOffset()
		t, err := d.Token()
		if err == io.EOF || err != nil {
			return errXMLForm // a whole file ends with its digest
		}
		switch t := t.(type) {
		case xml.Directive:
			return errXMLForm
		case xml.EndElement:
			depth, list = depth-1, ""
		case xml.StartElement:
			name := t.Name.Local
			switch {
			case depth == 0:
				depth = 1
				continue
			case depth == 1 && name == "sha256":
				return nil
			case depth == 1 && verify.Lists[name]:
				depth, list = 2, name
				continue
			case depth == 2 && name != "item":
				return errXMLForm
			case depth == 2:
				name = list
			}
			if d.Skip() != nil {
				return errXMLForm
			}
			raw := file[at:d.InputOffset()]
			doc, err := xmlout.ToJSON(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", name, errXMLForm)
			}
			if err := yield(name, raw, doc); err != nil {
				return err
			}
		}
	}
}
