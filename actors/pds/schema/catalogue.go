package schema

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

//go:embed datasets/*.json lookups/*.json
var embedded embed.FS

// Catalogue is a set of datasets and lookups. It is immutable and safe for
// concurrent use.
type Catalogue struct {
	byName  map[string]*Dataset // machine names and aliases
	ordered []*Dataset
	lookups map[string]*lookup
}

var defaultCatalogue = sync.OnceValue(func() *Catalogue {
	c, err := Load(nil)
	if err != nil {
		// The embedded files are part of the program and covered by its tests.
		panic(err)
	}
	return c
})

// Default returns the embedded catalogue, always the same one.
func Default() *Catalogue { return defaultCatalogue() }

// Load returns the embedded catalogue together with the files of extra:
// datasets/*.json (or *.json at its top) and lookups/*.json. extra may be nil.
//
// A file that names an embedded dataset replaces it and must keep every field
// with its number, name and type; so fields can be added but not lost. A lookup
// may likewise be replaced by one with more values. The error names file and
// field.
func Load(extra fs.FS) (*Catalogue, error) {
	l := loader{datasets: map[string]*Dataset{}, lookups: map[string]*lookup{}}
	if err := l.read(embedded, "datasets", "lookups"); err != nil {
		return nil, err
	}
	if extra != nil {
		if err := l.read(extra, "datasets", "lookups", "."); err != nil {
			return nil, err
		}
	}
	return l.finish()
}

// Dataset finds a dataset by machine name. An older machine name is accepted, and
// so is the legacy spelling field_ds_x for ds_x.
func (c *Catalogue) Dataset(name string) (*Dataset, bool) {
	if d, ok := c.byName[name]; ok {
		return d, true
	}
	d, ok := c.byName[strings.TrimPrefix(name, "field_")]
	return d, ok
}

// Datasets returns all datasets in order of machine name. The slice is shared and
// must not be changed.
func (c *Catalogue) Datasets() []*Dataset { return c.ordered }

// Lookup returns the accepted values of a lookup; the older spelling lu_x means x.
// The slice is shared and must not be changed.
func (c *Catalogue) Lookup(name string) ([]string, bool) {
	l, ok := c.lookups[strings.TrimPrefix(name, "lu_")]
	if !ok {
		return nil, false
	}
	return l.values, true
}

// LookupJSON returns the values of a lookup as a JSON array of strings or, for a
// structured lookup, of objects with a "value". The slice is shared and must not
// be changed.
func (c *Catalogue) LookupJSON(name string) ([]byte, bool) {
	l, ok := c.lookups[strings.TrimPrefix(name, "lu_")]
	if !ok {
		return nil, false
	}
	return l.json, true
}

// LookupHas reports whether value is accepted by the lookup, without regard to
// case; known is false if there is no such lookup.
func (c *Catalogue) LookupHas(name, value string) (has, known bool) {
	l, ok := c.lookups[strings.TrimPrefix(name, "lu_")]
	if !ok {
		return false, false
	}
	return l.has([]byte(value)), true
}

// Lookups returns the names of all lookups in order.
func (c *Catalogue) Lookups() []string {
	names := make([]string, 0, len(c.lookups))
	for n := range c.lookups {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
