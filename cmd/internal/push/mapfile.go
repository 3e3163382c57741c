package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"time"
)

// Map says how rows of a file become records of datasets. It is read from
// JSON, strictly: an unknown member is an error. See the shipped maps beside
// the command for complete examples.
type Map struct {
	Version     int      `json:"version"` // 1
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Source      Source   `json:"source"`
	Records     []Record `json:"records"` // each input row makes one of each (or one a cell, if unpivoted)
}

// Source describes the files. Compression (gzip, zstd) is found by content.
type Source struct {
	// Format is "csv" (RFC 4180 quoting), "delimited" (a quote is a character
	// like any other) or "ndjson" (one object a line; its members are columns).
	Format    string `json:"format"`
	Delimiter string `json:"delimiter,omitempty"` // one ASCII character; default ","
	Header    bool   `json:"header,omitempty"`    // the first row (after SkipRows) names the columns
	// Columns names the columns by position: needed without a header; with
	// one, they replace its names (for headers that do not match their rows).
	Columns  []string `json:"columns,omitempty"`
	SkipRows int      `json:"skip_rows,omitempty"` // physical lines before the header or the first row
	Trim     bool     `json:"trim,omitempty"`      // drop blanks around unquoted cells
	Null     []string `json:"null,omitempty"`      // cells that mean "no value", such as "NA"
	Encoding string   `json:"encoding,omitempty"`  // utf-8 (default), iso-8859-1, windows-1252, utf-16
	// Files are globs that pick the files of a directory argument by base name,
	// with and without .gz or .zst; default all. Files named outright are always taken.
	Files []string `json:"files,omitempty"`
}

// Record is one mapping from a row to a record of Dataset.
type Record struct {
	Dataset  string   `json:"dataset"`
	Instance Instance `json:"instance"` // a number, or a value that yields one; default 0
	// Ref finds the member: the value is looked up in the keys file. Several
	// are tried in order, the first one found there wins.
	Ref Refs `json:"ref"`
	// Noun names what Ref is in reasons, as in "no customer: CustomerID is empty".
	Noun string `json:"noun,omitempty"`
	// WhenPresent is a column; rows where it is empty make no such record and
	// are not rejects either.
	WhenPresent string   `json:"when_present,omitempty"`
	Unpivot     *Unpivot `json:"unpivot,omitempty"`
	Fields      []Field  `json:"fields"`
}

// Unpivot makes one record for each cell of several columns. The column's
// label is the first group of Match, or the whole name.
type Unpivot struct {
	Columns []string `json:"columns,omitempty"` // by name, or
	Match   string   `json:"match,omitempty"`   // by regular expression over names
	// Empty cells are rejected, or with "skip" count as not applicable.
	Empty string `json:"empty,omitempty"`
}

// Value is where a value comes from (exactly one of the first six) and what
// is done to it, in the order of the fields here.
type Value struct {
	Column   string  `json:"column,omitempty"`
	Constant *string `json:"constant,omitempty"`
	Folder   int     `json:"folder,omitempty"` // 1 is the folder of the file, 2 the one above
	File     bool    `json:"file,omitempty"`   // base name without .gz, .zst and then one extension
	Cell     bool    `json:"cell,omitempty"`   // the cell being unpivoted
	Label    bool    `json:"label,omitempty"`  // its column's label

	Match      string            `json:"match,omitempty"` // regular expression; the first group, or all of it, is kept
	TrimSuffix string            `json:"trim_suffix,omitempty"`
	Replace    map[string]string `json:"replace,omitempty"` // whole values
	Time       *Time             `json:"time,omitempty"`
	// Duration turns whole seconds into "hms" (h:mm:ss) or "day_fraction".
	Duration string `json:"duration,omitempty"`
}

// Field is one field of the record.
type Field struct {
	Name string `json:"name"`
	Value
	Type string `json:"type,omitempty"` // text (default), int, number: other values are rejected here
	// Empty is what an empty value does: "keep" it as empty text (default for
	// text), "omit" the field, or "reject" the row (default for the rest).
	Empty string `json:"empty,omitempty"`
}

// Time converts a local time to an instant. See the package comment for times
// that occur twice or never.
type Time struct {
	Layout string `json:"layout"`          // Go reference layout, or "unix": seconds
	Zone   string `json:"zone,omitempty"`  // IANA name; default UTC
	Start  string `json:"start,omitempty"` // RFC 3339, with layout "unix": what second 0 is
	To     string `json:"to"`              // unix, unix_ms, date (YYYY-MM-DD in Zone), rfc3339 (in UTC)
	Add    string `json:"add,omitempty"`   // a duration such as "30m", added to the instant
	// AddLabel is a duration multiplied with the label of the unpivoted column.
	AddLabel string `json:"add_label,omitempty"`
}

// Instance is a constant or a computed dataset instance.
type Instance struct {
	Number int
	Value  *Value
}

// UnmarshalJSON reads a number or a Value.
func (i *Instance) UnmarshalJSON(b []byte) error {
	if n, err := strconv.Atoi(string(b)); err == nil {
		if n < 0 {
			return errors.New("instance is negative")
		}
		i.Number = n
		return nil
	}
	i.Value = new(Value)
	return strict(b, i.Value)
}

// Refs is one Value or a list of them.
type Refs []Value

// UnmarshalJSON reads a Value or an array of them.
func (r *Refs) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		var vs []Value
		if err := strict(b, &vs); err != nil {
			return err
		}
		*r = vs
		return nil
	}
	*r = make(Refs, 1)
	return strict(b, &(*r)[0])
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

var (
	datasetName = regexp.MustCompile(`^ds_[a-z0-9_]+$`)
	fieldName   = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// ParseMap reads and checks a map. Errors name the place in the map.
func ParseMap(b []byte) (*Map, error) {
	m := new(Map)
	if err := strict(b, m); err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("map: version %d, this program reads version 1", m.Version)
	}
	if m.Name == "" {
		return nil, errors.New("map: name is missing")
	}
	if err := m.Source.check(); err != nil {
		return nil, fmt.Errorf("map: source: %w", err)
	}
	if len(m.Records) == 0 {
		return nil, errors.New("map: no records")
	}
	for i := range m.Records {
		if err := m.Records[i].check(&m.Source); err != nil {
			return nil, fmt.Errorf("map: records[%d]: %w", i, err)
		}
	}
	return m, nil
}

func (s *Source) check() error {
	switch s.Format {
	case "csv", "delimited":
		if s.Delimiter == "" {
			s.Delimiter = ","
		}
		if len(s.Delimiter) != 1 || s.Delimiter[0] >= 0x80 || s.Delimiter == "\n" || s.Delimiter == "\r" || s.Delimiter == `"` {
			return errors.New("delimiter must be one ASCII character, no quote or line end")
		}
		if !s.Header && len(s.Columns) == 0 {
			return errors.New("no header and no columns")
		}
	case "ndjson":
		if s.Delimiter != "" || s.Header || len(s.Columns) > 0 || s.Trim {
			return errors.New("delimiter, header, columns and trim have no meaning with ndjson")
		}
	default:
		return errors.New(`format must be "csv", "delimited" or "ndjson"`)
	}
	if s.SkipRows < 0 {
		return errors.New("skip_rows is negative")
	}
	if _, err := decoderFor(s.Encoding); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range s.Columns {
		if seen[c] {
			return fmt.Errorf("column %q is named twice", c)
		}
		seen[c] = true
	}
	for _, g := range s.Files {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("files: %q is no glob", g)
		}
	}
	return nil
}

func (r *Record) check(s *Source) error {
	if !datasetName.MatchString(r.Dataset) {
		return fmt.Errorf("dataset %q is not of the form ds_name", r.Dataset)
	}
	if len(r.Ref) == 0 {
		return errors.New("ref is missing")
	}
	if r.Noun == "" {
		r.Noun = "member"
	}
	if u := r.Unpivot; u != nil {
		if (len(u.Columns) == 0) == (u.Match == "") {
			return errors.New("unpivot needs columns or match, not both")
		}
		if s.Format == "ndjson" && u.Match != "" {
			return errors.New("unpivot by match needs fixed columns; name them for ndjson")
		}
		if _, err := regexp.Compile(u.Match); err != nil {
			return errors.New("unpivot: match is no regular expression")
		}
		if u.Empty != "" && u.Empty != "skip" && u.Empty != "reject" {
			return errors.New(`unpivot: empty must be "skip" or "reject"`)
		}
	}
	for i := range r.Ref {
		if r.Ref[i].Cell || r.Ref[i].Label {
			return errors.New("ref cannot come from an unpivoted cell")
		}
		if err := r.Ref[i].check(r); err != nil {
			return fmt.Errorf("ref: %w", err)
		}
	}
	if r.Instance.Value != nil {
		if err := r.Instance.Value.check(r); err != nil {
			return fmt.Errorf("instance: %w", err)
		}
	}
	if len(r.Fields) == 0 {
		return errors.New("no fields")
	}
	seen := map[string]bool{}
	for i := range r.Fields {
		f := &r.Fields[i]
		if !fieldName.MatchString(f.Name) || f.Name == "con_id" {
			return fmt.Errorf("fields[%d]: %q cannot be a field name", i, f.Name)
		}
		if seen[f.Name] {
			return fmt.Errorf("fields[%d]: %s is given twice", i, f.Name)
		}
		seen[f.Name] = true
		if err := f.Value.check(r); err != nil {
			return fmt.Errorf("field %s: %w", f.Name, err)
		}
		switch f.Type {
		case "", "text", "int", "number":
		default:
			return fmt.Errorf(`field %s: type must be "text", "int" or "number"`, f.Name)
		}
		switch f.Empty {
		case "":
			f.Empty = "reject"
			if (f.Type == "" || f.Type == "text") && f.Time == nil && f.Duration == "" {
				f.Empty = "keep"
			}
		case "keep", "omit", "reject":
		default:
			return fmt.Errorf(`field %s: empty must be "keep", "omit" or "reject"`, f.Name)
		}
	}
	return nil
}

func (v *Value) check(r *Record) error {
	n := 0
	for _, given := range []bool{v.Column != "", v.Constant != nil, v.Folder != 0, v.File, v.Cell, v.Label} {
		if given {
			n++
		}
	}
	if n != 1 {
		return errors.New("needs exactly one of column, constant, folder, file, cell, label")
	}
	if v.Folder < 0 || v.Folder > 8 {
		return errors.New("folder must be 1 to 8")
	}
	if (v.Cell || v.Label) && r.Unpivot == nil {
		return errors.New("cell and label need unpivot")
	}
	if v.Match != "" {
		if _, err := regexp.Compile(v.Match); err != nil {
			return errors.New("match is no regular expression")
		}
	}
	switch v.Duration {
	case "", "hms", "day_fraction":
	default:
		return errors.New(`duration must be "hms" or "day_fraction"`)
	}
	if v.Time == nil {
		return nil
	}
	t := v.Time
	if t.AddLabel != "" && r.Unpivot == nil {
		return errors.New("time: add_label needs unpivot")
	}
	if t.Start != "" && t.Layout != "unix" {
		return errors.New(`time: start needs layout "unix"`)
	}
	for _, d := range []string{t.Add, t.AddLabel} {
		if d == "" {
			continue
		}
		if _, err := time.ParseDuration(d); err != nil {
			return fmt.Errorf("time: %q is no duration", d)
		}
	}
	if _, err := newClock(t); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}
