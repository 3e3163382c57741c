package memberclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Dataset is one dataset of the schema and which instances of it exist.
type Dataset struct {
	Dataset     string  `json:"dataset"`
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Kind        string  `json:"kind"` // metadata or transactional
	Category    string  `json:"category"`
	Fields      []Field `json:"fields"`

	// Instances is filled while the store is unlocked.
	Instances []uint32 `json:"instances"`
}

// Field is one field of a dataset.
type Field struct {
	Field   string `json:"field"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Lookup  string `json:"lookup,omitempty"`
	NotNull bool   `json:"not_null,omitempty"`
}

// Datasets lists the schema.
func (c *Client) Datasets(ctx context.Context) ([]Dataset, error) {
	var out struct {
		Datasets []Dataset `json:"datasets"`
	}
	err := c.do(ctx, http.MethodGet, "/datasets", nil, &out)
	return out.Datasets, err
}

// NewInstance makes one more instance of a dataset and returns its number.
func (c *Client) NewInstance(ctx context.Context, dataset string) (uint32, error) {
	in := map[string]string{"dataset": dataset}
	var out struct {
		Instance uint32 `json:"instance"`
	}
	err := c.do(ctx, http.MethodPost, "/instances", in, &out)
	return out.Instance, err
}

// Row is one record. Values hold every field, nil where it is empty.
type Row struct {
	ID       uint64             `json:"id"`
	Instance uint32             `json:"instance"`
	Source   string             `json:"source"`
	Origin   string             `json:"origin"`
	Created  int64              `json:"created"`
	Updated  int64              `json:"updated"`
	Version  uint32             `json:"version"`
	Deleted  bool               `json:"deleted"`
	Values   map[string]*string `json:"values"`
}

// Filter keeps rows whose field compares so to Value; Op is = != < <= > >=.
type Filter struct{ Field, Op, Value string }

// ReadOptions select rows; the zero value selects all that are not deleted.
type ReadOptions struct {
	Filters []Filter
	Deleted bool // hidden records too
	Limit   int  // 0: all
}

// Read calls f for each row as it arrives. instance -1 means every instance.
// An answer that breaks off is an error after the rows that came.
func (c *Client) Read(ctx context.Context, dataset string, instance int, o ReadOptions, f func(*Row) error) error {
	q := url.Values{}
	for _, x := range o.Filters {
		q.Set("filters["+x.Field+"][operator]", x.Op)
		q.Set("filters["+x.Field+"][value]", x.Value)
	}
	if o.Deleted {
		q.Set("deleted", "1")
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	p := dataPath(dataset, instance)
	if len(q) > 0 {
		p += "?" + q.Encode()
	}
	res, err := c.send(ctx, http.MethodGet, p, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	d := json.NewDecoder(res.Body)
	if err := enter(d, "rows"); err != nil {
		return err
	}
	for d.More() {
		var r Row
		if err := d.Decode(&r); err != nil {
			return fmt.Errorf("memberclient: answer cut off: %w", err)
		}
		if err := f(&r); err != nil {
			return err
		}
	}
	// The end of the document is the proof that nothing is missing.
	if _, err := io.Copy(io.Discard, io.MultiReader(d.Buffered(), res.Body)); err != nil {
		return fmt.Errorf("memberclient: answer cut off: %w", err)
	}
	return nil
}

// enter reads tokens until the array under name at the top of the document.
func enter(d *json.Decoder, name string) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errAnswer
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return errAnswer
		}
		if key == name {
			if t, err := d.Token(); err != nil || t != json.Delim('[') {
				return errAnswer
			}
			return nil
		}
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return errAnswer
		}
	}
	return errAnswer
}

// Rows is Read into memory.
func (c *Client) Rows(ctx context.Context, dataset string, instance int, o ReadOptions) ([]Row, error) {
	var out []Row
	err := c.Read(ctx, dataset, instance, o, func(r *Row) error { out = append(out, *r); return nil })
	return out, err
}

// Write creates records and returns the first and last id.
func (c *Client) Write(ctx context.Context, dataset string, instance int, rows []map[string]string) (first, last uint64, err error) {
	in := map[string]any{"rows": rows}
	var out struct {
		First uint64 `json:"first_id"`
		Last  uint64 `json:"last_id"`
	}
	err = c.do(ctx, http.MethodPost, dataPath(dataset, instance), in, &out)
	return out.First, out.Last, err
}

// Update changes fields of one record.
func (c *Client) Update(ctx context.Context, dataset string, instance int, id uint64, values map[string]string) error {
	return c.do(ctx, http.MethodPut, recordPath(dataset, instance, id), values, nil)
}

// Delete hides a record, or erases it if hard.
func (c *Client) Delete(ctx context.Context, dataset string, instance int, id uint64, hard bool) error {
	p := recordPath(dataset, instance, id)
	if hard {
		p += "?hard=1"
	}
	return c.do(ctx, http.MethodDelete, p, nil, nil)
}

// Restore brings a hidden record back.
func (c *Client) Restore(ctx context.Context, dataset string, instance int, id uint64) error {
	return c.do(ctx, http.MethodPost, recordPath(dataset, instance, id)+"/restore", nil, nil)
}

func dataPath(dataset string, instance int) string {
	i := "all"
	if instance >= 0 {
		i = strconv.Itoa(instance)
	}
	return "/data/" + escape(dataset) + "/" + i
}

func recordPath(dataset string, instance int, id uint64) string {
	return dataPath(dataset, instance) + "/" + strconv.FormatUint(id, 10)
}
