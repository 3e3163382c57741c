package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"holdfast/actors/pds/schema"
)

// validations answers the published developer helpers: what datasets, fields and
// accepted values there are. They are public and need no token. It knows the
// catalogue only, so an answer depends on nothing but the path.
//
//	/validations/mds/datasets                       all datasets
//	/validations/mds/datasets/{s1}[/{s2}[/{s3}]]    those of up to three statuses
//	/validations/mds/datasets/type/{type}           metadata or transactional
//	/validations/mds/datasets-and-fields            by status, with their fields
//	/validations/mds/all-datasets-and-fields        the same with all that is known
//	/validations/mds/dataset/{ds}[/fieldtypes]      the fields of one dataset
//	/validations/mds/field/type/{field}             one field
//	/validations/mds/search/{text}                  names of fields with the text
//	/validations/mds/summary                        counts
//	/validations/lookup/{name}[/{value}]            accepted values; is this one
//	/validations/mts/templates…, /validations/mts/features…
//
// The older spellings are /developer-helpers/datasets[/{s1}…], datasetsbytype/{type},
// options/{field} and types/{ds}. Statuses, types, lookup names and values are
// compared without regard to case. A lookup may also be named by a field that uses
// it. No template or feature is registered, so mts lists are empty.
//
// An invalid name is 400, a path that is none of these 404, both with
// {"error":{"message":…}}.
type validations struct {
	cat *schema.Catalogue

	all, allFields sync.Once // the two large answers are made once
	allBody        []byte
	allFieldsBody  []byte
}

// serve answers GET path. path is the request's path as it was sent, still
// percent-encoded, so that a value may hold a slash; a decoded path works too
// unless a value has a percent sign. The body must not be changed.
func (v *validations) serve(path string) (status int, jsonBody []byte) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		if d, err := url.PathUnescape(p); err == nil {
			parts[i] = d
		}
	}
	if len(parts) < 2 {
		return helperNotFound()
	}
	rest := parts[2:]
	switch parts[0] + "/" + parts[1] {
	case "validations/mds":
		return v.mds(rest)
	case "validations/lookup":
		return v.lookup(rest)
	case "validations/mts":
		return v.mts(rest)
	case "developer-helpers/datasets":
		return v.datasets(rest)
	case "developer-helpers/datasetsbytype":
		return v.byType(rest)
	case "developer-helpers/options":
		if len(rest) == 1 {
			return v.lookup(rest)
		}
	case "developer-helpers/types":
		if len(rest) == 1 {
			return v.dataset(rest[0], mdsFieldType)
		}
	}
	return helperNotFound()
}

func (v *validations) mds(p []string) (int, []byte) {
	if len(p) == 0 {
		return helperNotFound()
	}
	switch {
	case p[0] == "datasets" && len(p) > 1 && p[1] == "type":
		return v.byType(p[2:])
	case p[0] == "datasets":
		return v.datasets(p[1:])
	case p[0] == "datasets-and-fields" && len(p) == 1:
		v.all.Do(func() { v.allBody = helperJSON(v.byStatus(false)) })
		return http.StatusOK, v.allBody
	case p[0] == "all-datasets-and-fields" && len(p) == 1:
		v.allFields.Do(func() { v.allFieldsBody = helperJSON(v.byStatus(true)) })
		return http.StatusOK, v.allFieldsBody
	case p[0] == "dataset" && len(p) == 2:
		return v.dataset(p[1], mdsFieldDetails)
	case p[0] == "dataset" && len(p) == 3 && p[2] == "fieldtypes":
		return v.dataset(p[1], mdsFieldType)
	case p[0] == "field" && len(p) == 3 && p[1] == "type":
		return v.fieldType(p[2])
	case p[0] == "search" && len(p) == 2:
		return v.search(p[1])
	case p[0] == "summary" && len(p) == 1:
		return v.summary()
	}
	return helperNotFound()
}

// mdsDataset is a dataset in a list; the lower part is left out of short lists.
type mdsDataset struct {
	MachineName string     `json:"dataset_machine_name"`
	Name        string     `json:"dataset_name"`
	Status      string     `json:"status"`
	FileType    string     `json:"pds_file_type,omitempty"`
	Environment string     `json:"environment,omitempty"`
	Fields      *mdsObject `json:"fields,omitempty"`
}

func mdsShort(d *schema.Dataset) mdsDataset {
	return mdsDataset{MachineName: d.Name, Name: d.Display, Status: d.Status}
}

// list answers with the datasets that keep wants; none is [].
func (v *validations) list(keep func(*schema.Dataset) bool) (int, []byte) {
	out := []mdsDataset{}
	for _, d := range v.cat.Datasets() {
		if keep(d) {
			out = append(out, mdsShort(d))
		}
	}
	return http.StatusOK, helperJSON(out)
}

var mdsStatuses = []string{schema.Live, schema.Implement, schema.InDevelopment, schema.Hold}

func (v *validations) datasets(statuses []string) (int, []byte) {
	if len(statuses) > 3 {
		return helperNotFound()
	}
	var want []string
	for _, s := range statuses {
		i := slices.IndexFunc(mdsStatuses, func(known string) bool { return strings.EqualFold(known, s) })
		if i < 0 {
			return helperInvalid("Invalid dataset status.")
		}
		want = append(want, mdsStatuses[i])
	}
	return v.list(func(d *schema.Dataset) bool { return want == nil || slices.Contains(want, d.Status) })
}

func (v *validations) byType(p []string) (int, []byte) {
	if len(p) != 1 {
		return helperNotFound()
	}
	for _, k := range []schema.Kind{schema.Metadata, schema.Transactional} {
		if strings.EqualFold(p[0], k.String()) {
			return v.list(func(d *schema.Dataset) bool { return d.Kind == k })
		}
	}
	return helperInvalid("Invalid dataset type.")
}

// byStatus groups all datasets with their fields; extended adds environment and
// the rest of each field.
func (v *validations) byStatus(extended bool) any {
	var groups mdsObject
	for _, status := range mdsStatuses {
		var in []mdsDataset
		for _, d := range v.cat.Datasets() {
			if d.Status != status {
				continue
			}
			m := mdsShort(d)
			// The published names of the two kinds' files; ours are kept otherwise.
			m.FileType = "JSON"
			if d.Kind == schema.Transactional {
				m.FileType = "SQLite"
			}
			form := mdsFieldType
			if extended {
				m.Environment, form = d.Environment, mdsFieldExtended
			}
			m.Fields = mdsFieldsOf(d, form)
			in = append(in, m)
		}
		if in != nil {
			groups.add(status, in)
		}
	}
	return groups
}

func (v *validations) dataset(name string, form func(*schema.Field) any) (int, []byte) {
	d, ok := v.cat.Dataset(name)
	if !ok {
		return helperInvalid("Invalid dataset name.")
	}
	return http.StatusOK, helperJSON(mdsFieldsOf(d, form))
}

// fieldType answers for a field by its name alone. Where several datasets have the
// name, the first in order of dataset names speaks.
func (v *validations) fieldType(name string) (int, []byte) {
	for _, d := range v.cat.Datasets() {
		if f, ok := d.Field(name); ok {
			return http.StatusOK, helperJSON(mdsFieldType(f))
		}
	}
	return helperInvalid("Invalid field name.")
}

func (v *validations) search(text string) (int, []byte) {
	if text == "" {
		return helperInvalid("Invalid search term.")
	}
	var names []string
	seen := map[string]bool{}
	low := strings.ToLower(text)
	for _, d := range v.cat.Datasets() {
		for i := range d.Fields {
			if n := d.Fields[i].Name; strings.Contains(n, low) && !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	answer := struct {
		Term  string `json:"search_term"`
		Match any    `json:"matching_fields"`
	}{text, names}
	if names == nil {
		answer.Match = "" // as published
	}
	return http.StatusOK, helperJSON(answer)
}

func (v *validations) summary() (int, []byte) {
	live, fields := 0, 0
	for _, d := range v.cat.Datasets() {
		if d.Status == schema.Live {
			live++
		}
		fields += len(d.Fields)
	}
	counts := struct {
		Datasets string `json:"total_datasets"`
		Live     string `json:"total_live_datasets"`
		Fields   string `json:"total_fields"`
	}{strconv.Itoa(len(v.cat.Datasets())), strconv.Itoa(live), strconv.Itoa(fields)}
	return http.StatusOK, helperJSON(map[string]any{"summary": counts})
}

func (v *validations) lookup(p []string) (int, []byte) {
	if len(p) == 0 {
		return helperNotFound()
	}
	name := v.lookupName(strings.ToLower(p[0]))
	values, ok := v.cat.LookupJSON(name)
	switch {
	case !ok:
		return helperInvalid("Invalid lookup field name.")
	case len(p) == 1:
		return http.StatusOK, values
	}
	value := strings.Join(p[1:], "/") // a slash inside the value, sent as it is
	if value == "" {
		return helperInvalid("Invalid user input.")
	}
	has, _ := v.cat.LookupHas(name, value)
	return http.StatusOK, helperJSON(map[string]string{"result": strconv.FormatBool(has)})
}

// lookupName turns the name of a field that has a lookup into the lookup's.
func (v *validations) lookupName(name string) string {
	if _, ok := v.cat.Lookup(name); ok {
		return name
	}
	for _, d := range v.cat.Datasets() {
		if f, ok := d.Field(name); ok && f.Lookup != "" {
			return f.Lookup
		}
	}
	return name
}

func (v *validations) mts(p []string) (int, []byte) {
	switch {
	case len(p) == 1 && (p[0] == "templates" || p[0] == "features"):
		return http.StatusOK, []byte("[]")
	case 2 <= len(p) && len(p) <= 4 && p[0] == "templates":
		return helperInvalid("Invalid template name.")
	case len(p) == 3 && p[0] == "features" && p[1] == "group":
		return helperInvalid("Invalid feature group name.")
	case len(p) == 2 && p[0] == "features":
		return helperInvalid("Invalid feature name.")
	}
	return helperNotFound()
}

// mdsType, mdsDetails and mdsExtended are the three published forms of a field. All
// members are strings.
type mdsType struct {
	Name    string `json:"field_name"`
	Display string `json:"display_name"`
	Type    string `json:"data_type"`
}

type mdsDetails struct {
	mdsType
	NotNull     string `json:"not_null"`
	Default     string `json:"default"`
	Description string `json:"field_description"`
	Example     string `json:"field_example"`
	Order       string `json:"field_order"`
	Length      string `json:"length"`
	Status      string `json:"status"`
}

type mdsExtended struct {
	mdsType
	Description string `json:"field_description"`
	Example     string `json:"field_example"`
	Source      string `json:"source"`
	Order       string `json:"field_order"`
	Length      string `json:"length"`
	NotNull     string `json:"not_null"`
	Default     string `json:"default"`
}

func mdsTypeOf(f *schema.Field) mdsType {
	return mdsType{f.Name, f.Display, f.Type.String()}
}

func mdsFieldType(f *schema.Field) any { return mdsTypeOf(f) }

func mdsFieldDetails(f *schema.Field) any {
	return mdsDetails{mdsTypeOf(f), strconv.FormatBool(f.NotNull), f.Default, f.Description, f.Example,
		strconv.Itoa(f.Order), strconv.Itoa(f.Length), f.Status}
}

func mdsFieldExtended(f *schema.Field) any {
	return mdsExtended{mdsTypeOf(f), f.Description, f.Example, "MDS",
		strconv.Itoa(f.Order), strconv.Itoa(f.Length), strconv.FormatBool(f.NotNull), f.Default}
}

func mdsFieldsOf(d *schema.Dataset, form func(*schema.Field) any) *mdsObject {
	o := &mdsObject{}
	for i := range d.Fields {
		o.add(d.Fields[i].Name, form(&d.Fields[i]))
	}
	return o
}

// mdsObject is a JSON object whose members keep the order in which they were added.
type mdsObject struct {
	names  []string
	values []any
}

func (o *mdsObject) add(name string, value any) {
	o.names = append(o.names, name)
	o.values = append(o.values, value)
}

// MarshalJSON writes the members in order.
func (o mdsObject) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, n := range o.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, helperJSON(n)...), ':'), helperJSON(o.values[i])...)
	}
	return append(b, '}'), nil
}

// helperJSON encodes without escapes for HTML, so that "Gas & Electricity" stays
// readable. Only types of this file are given to it, and they cannot fail.
func helperJSON(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func helperError(status int, message string) (int, []byte) {
	return status, helperJSON(map[string]any{"error": map[string]string{"message": message}})
}

func helperInvalid(message string) (int, []byte) { return helperError(http.StatusBadRequest, message) }

func helperNotFound() (int, []byte) {
	return helperError(http.StatusNotFound, "No such helper.")
}
