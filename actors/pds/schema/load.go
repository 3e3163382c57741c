package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	maxFile        = 1 << 20 // bytes of one file
	maxLookupValue = 256     // bytes of one accepted value
)

var (
	datasetName = regexp.MustCompile(`^ds_[a-z0-9_]{1,60}$`)
	plainName   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

type datasetFile struct {
	Name        string      `json:"name"`
	Display     string      `json:"display"`
	Description string      `json:"description"`
	Kind        string      `json:"kind"`
	Status      string      `json:"status"`
	Environment string      `json:"environment"`
	Category    string      `json:"category"`
	Aliases     []string    `json:"aliases"`
	Reserved    []int       `json:"reserved"`
	Fields      []fieldFile `json:"fields"`
}

type fieldFile struct {
	Number      int    `json:"number"`
	Name        string `json:"name"`
	Display     string `json:"display"`
	Type        string `json:"type"`
	Lookup      string `json:"lookup"`
	Description string `json:"description"`
	Example     string `json:"example"`
	Default     string `json:"default"`
	Status      string `json:"status"`
	NotNull     bool   `json:"not_null"`
	Length      int    `json:"length"`
}

type lookupFile struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Values      []json.RawMessage `json:"values"`
}

type loader struct {
	datasets map[string]*Dataset
	lookups  map[string]*lookup
}

// read adds the files of the directories. A directory named lookups holds lookups,
// any other datasets; one that does not exist is empty.
func (l *loader) read(fsys fs.FS, dirs ...string) error {
	for _, dir := range dirs {
		entries, err := fs.ReadDir(fsys, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("schema: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() || path.Ext(e.Name()) != ".json" {
				continue
			}
			file := path.Join(dir, e.Name())
			b, err := readFile(fsys, file)
			if err == nil && dir == "lookups" {
				err = l.addLookup(strings.TrimSuffix(e.Name(), ".json"), b)
			} else if err == nil {
				err = l.addDataset(strings.TrimSuffix(e.Name(), ".json"), b)
			}
			if err != nil {
				return fmt.Errorf("schema: %s: %w", file, err)
			}
		}
	}
	return nil
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("file is larger than 1 MiB")
	}
	return b, err
}

func (l *loader) addDataset(stem string, b []byte) error {
	var f datasetFile
	if err := strictJSON(b, &f); err != nil {
		return err
	}
	d, err := newDataset(&f)
	if err != nil {
		return err
	}
	if d.Name != stem {
		return fmt.Errorf("name %q differs from the file name", d.Name)
	}
	if old := l.datasets[d.Name]; old != nil {
		if err := d.extends(old); err != nil {
			return err
		}
	}
	l.datasets[d.Name] = d
	return nil
}

func newDataset(f *datasetFile) (*Dataset, error) {
	d := &Dataset{
		Name: f.Name, Display: f.Display, Description: f.Description, Status: f.Status,
		Environment: f.Environment, Category: f.Category, Aliases: f.Aliases,
		byName: make(map[string]*Field, len(f.Fields)),
	}
	switch f.Kind {
	case "metadata":
		d.Kind = Metadata
	case "transactional":
		d.Kind = Transactional
	}
	switch {
	case !datasetName.MatchString(d.Name):
		return nil, fmt.Errorf("name %q is no dataset name: ds_ and then a-z, 0-9 or _", d.Name)
	case d.Display == "":
		return nil, errors.New("display is missing")
	case d.Kind == 0:
		return nil, fmt.Errorf("kind %q is neither metadata nor transactional", f.Kind)
	case !slices.Contains([]string{Live, Implement, InDevelopment, Hold}, d.Status):
		return nil, fmt.Errorf("status %q is not one of Live, Implement, In Development, Hold", d.Status)
	case !slices.Contains([]string{"Production", "Sandbox", "Dev"}, d.Environment):
		return nil, fmt.Errorf("environment %q is not one of Production, Sandbox, Dev", d.Environment)
	case len(f.Fields) == 0:
		return nil, errors.New("a dataset needs a field")
	case len(f.Fields) > MaxFields:
		return nil, fmt.Errorf("%d fields; a dataset has at most %d", len(f.Fields), MaxFields)
	}
	for _, a := range d.Aliases {
		if !datasetName.MatchString(a) {
			return nil, fmt.Errorf("alias %q is no dataset name", a)
		}
	}
	for _, n := range f.Reserved {
		if n < 1 || n > MaxFields {
			return nil, fmt.Errorf("reserved number %d is not 1 to %d", n, MaxFields)
		}
		d.reserved = append(d.reserved, uint8(n))
	}
	d.Fields = make([]Field, len(f.Fields))
	for i := range f.Fields {
		if err := d.addField(i, &f.Fields[i]); err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Fields[i].Name, err)
		}
	}
	return d, nil
}

func (d *Dataset) addField(i int, f *fieldFile) error {
	t, ok := typeNamed(f.Type)
	switch {
	case f.Name == "con_id":
		// A bulk line that starts with this key opens a section.
		return errors.New("this name is taken by the bulk format")
	case IsSystem(f.Name):
		return errors.New("this name is taken by a column of every row")
	case !plainName.MatchString(f.Name):
		return errors.New("no field name: a-z and then a-z, 0-9 or _, at most 64")
	case !ok:
		return fmt.Errorf("type %q is unknown", f.Type)
	case f.Number < 1 || f.Number > MaxFields:
		return fmt.Errorf("number %d is not 1 to %d", f.Number, MaxFields)
	case d.byNumber[f.Number] != nil:
		return fmt.Errorf("number %d is used twice", f.Number)
	case slices.Contains(d.reserved, uint8(f.Number)):
		return fmt.Errorf("number %d is reserved", f.Number)
	case d.byName[f.Name] != nil:
		return errors.New("name is used twice")
	case f.Length < 0 || f.Length > 1<<20:
		return fmt.Errorf("length %d is not 0 to 1048576", f.Length)
	case f.Lookup != "" && !t.Textual():
		return errors.New("a field with a lookup must be text")
	}
	p := &d.Fields[i]
	*p = Field{
		Number: uint8(f.Number), Name: f.Name, Display: f.Display, Description: f.Description,
		Example: f.Example, Type: t, Lookup: f.Lookup, Default: f.Default, Status: f.Status,
		NotNull: f.NotNull, Length: f.Length, Order: i + 1,
	}
	if p.Display == "" {
		p.Display = p.Name
	}
	if p.Length == 0 {
		p.Length = t.defaultLength()
	}
	switch p.Status {
	case "":
		p.Status = Live
	case Live, Implement, InDevelopment, Hold, Retired:
	default:
		return fmt.Errorf("status %q is unknown", p.Status)
	}
	d.byNumber[p.Number] = p
	d.byName[p.Name] = p
	d.mask |= 1 << p.Number
	if p.NotNull {
		d.notNull |= 1 << p.Number
	}
	return nil
}

// extends reports whether data written under old still has its meaning under d.
func (d *Dataset) extends(old *Dataset) error {
	if d.Kind != old.Kind {
		return errors.New("kind differs from the dataset it replaces")
	}
	for i := range old.Fields {
		was := &old.Fields[i]
		is := d.byNumber[was.Number]
		if is == nil || is.Name != was.Name || is.Type != was.Type {
			return fmt.Errorf("field %q: must stay number %d with type %s", was.Name, was.Number, was.Type)
		}
	}
	for _, n := range old.reserved {
		if !slices.Contains(d.reserved, n) {
			return fmt.Errorf("number %d must stay reserved", n)
		}
	}
	return nil
}

func (l *loader) addLookup(stem string, b []byte) error {
	var f lookupFile
	if err := strictJSON(b, &f); err != nil {
		return err
	}
	if !plainName.MatchString(f.Name) || f.Name != stem {
		return fmt.Errorf("name %q is no lookup name or differs from the file name", f.Name)
	}
	if len(f.Values) == 0 {
		return errors.New("a lookup needs a value")
	}
	lk := &lookup{name: f.Name, folded: make(map[string]struct{}, len(f.Values))}
	for i, raw := range f.Values {
		v, err := lookupValue(raw)
		if err == nil {
			err = lk.add(v)
		}
		if err != nil {
			return fmt.Errorf("value %d: %w", i+1, err)
		}
	}
	if old := l.lookups[f.Name]; old != nil {
		for _, v := range old.values {
			if !lk.has([]byte(v)) {
				return errors.New("a value of the lookup it replaces is missing")
			}
		}
	}
	all := bytes.NewBufferString("[")
	for i, raw := range f.Values {
		if i > 0 {
			all.WriteByte(',')
		}
		if err := json.Compact(all, raw); err != nil {
			return err
		}
	}
	all.WriteByte(']')
	lk.json = all.Bytes()
	l.lookups[f.Name] = lk
	return nil
}

// lookupValue takes a string, or an object whose "value" is one.
func lookupValue(raw json.RawMessage) (string, error) {
	var v string
	if raw[0] == '{' {
		var m map[string]string
		if err := json.Unmarshal(raw, &m); err != nil {
			return "", errors.New("an object's members must be strings")
		}
		v = m["value"]
	} else if err := json.Unmarshal(raw, &v); err != nil {
		return "", errors.New("neither a string nor an object")
	}
	if v == "" || len(v) > maxLookupValue {
		return "", fmt.Errorf("empty or longer than %d bytes", maxLookupValue)
	}
	return v, nil
}

func (l *lookup) add(v string) error {
	if l.has([]byte(v)) {
		return errors.New("is there twice")
	}
	l.values = append(l.values, v)
	for i := range len(v) {
		if v[i] >= 0x80 {
			l.longer = append(l.longer, v)
			// has leaves the fast path at the first such byte, so the length bound
			// must let v through.
			l.max = max(l.max, len(v))
			return nil
		}
	}
	l.folded[strings.ToLower(v)] = struct{}{}
	l.max = max(l.max, len(v))
	return nil
}

// finish joins fields with their lookups and proves every example.
func (l *loader) finish() (*Catalogue, error) {
	c := &Catalogue{byName: map[string]*Dataset{}, lookups: l.lookups}
	for _, d := range l.datasets {
		c.ordered = append(c.ordered, d)
		c.byName[d.Name] = d
	}
	slices.SortFunc(c.ordered, func(a, b *Dataset) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range c.ordered {
		for _, a := range d.Aliases {
			if c.byName[a] != nil {
				return nil, fmt.Errorf("schema: dataset %s: alias %q is another dataset", d.Name, a)
			}
			c.byName[a] = d
		}
		for i := range d.Fields {
			f := &d.Fields[i]
			if f.Lookup != "" {
				if f.lookup = l.lookups[f.Lookup]; f.lookup == nil {
					return nil, fmt.Errorf("schema: dataset %s: field %q: no lookup %q", d.Name, f.Name, f.Lookup)
				}
			}
			for _, v := range []string{f.Example, f.Default} {
				if v == "" {
					continue
				}
				if err := f.Check([]byte(v)); err != nil {
					return nil, fmt.Errorf("schema: dataset %s: field %q: example or default: %w", d.Name, f.Name, err)
				}
			}
		}
	}
	return c, nil
}
