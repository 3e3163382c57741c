package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"holdfast/cmd/internal/memberclient"
)

type memberDatasets struct {
	memberFlags
	Dataset string `arg:"" optional:"" help:"Show the fields of this one."`
}

// Run lists the schema.
func (c *memberDatasets) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	all, err := m.Datasets(ctx)
	if err != nil {
		return err
	}
	if c.Dataset != "" {
		all = slices.DeleteFunc(all, func(d memberclient.Dataset) bool { return d.Dataset != c.Dataset })
		if len(all) == 0 {
			return errors.New("no such dataset")
		}
	}
	return show(c.JSON, all, func(w *table) {
		if c.Dataset != "" {
			w.line("%s: %s", all[0].Name, all[0].Description)
			for _, f := range all[0].Fields {
				w.row(f.Field, f.Type, f.Name)
			}
			return
		}
		w.row("DATASET", "KIND", "FIELDS", "INSTANCES", "NAME")
		for _, d := range all {
			w.row(d.Dataset, d.Kind, len(d.Fields), strings.Trim(fmt.Sprint(d.Instances), "[]"), d.Name)
		}
	})
}

type memberRead struct {
	memberFlags
	Dataset  string   `arg:"" help:"Such as ds_home."`
	Instance int      `default:"-1" help:"One instance only; -1 for all."`
	Filter   []string `sep:"none" placeholder:"FIELD<OP>VALUE" help:"Only records that match, such as id>=21. Operators: = != < <= > >=."`
	Deleted  bool     `help:"Hidden records too."`
	Limit    int      `help:"At most so many; 0 for all."`
}

// Run shows records, each as it arrives.
func (c *memberRead) Run() error {
	ctx, stop := interruptible()
	defer stop()
	o := memberclient.ReadOptions{Deleted: c.Deleted, Limit: c.Limit}
	for _, f := range c.Filter {
		x, err := parseFilter(f)
		if err != nil {
			return err
		}
		o.Filters = append(o.Filters, x)
	}
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	n := 0
	enc := json.NewEncoder(out)
	err = m.Read(ctx, c.Dataset, c.Instance, o, func(r *memberclient.Row) error {
		n++
		if c.JSON {
			return enc.Encode(r)
		}
		return show(false, nil, func(w *table) {
			hidden := ""
			if r.Deleted {
				hidden = ", hidden"
			}
			w.line("%d  instance %d, %s from %s, %s, version %d%s", r.ID, r.Instance, r.Origin, r.Source, clock(r.Updated), r.Version, hidden)
			for _, f := range slices.Sorted(maps.Keys(r.Values)) {
				if v := r.Values[f]; v != nil {
					w.row("    "+f, *v)
				}
			}
		})
	})
	if err == nil && n == 0 && !c.JSON {
		fmt.Fprintln(out, "No records.")
	}
	return err
}

func parseFilter(s string) (memberclient.Filter, error) {
	i := strings.IndexAny(s, "=!<>")
	if i < 1 {
		return memberclient.Filter{}, errors.New("a filter is FIELD, an operator and a value, such as id>=21")
	}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if v, ok := strings.CutPrefix(s[i:], op); ok {
			return memberclient.Filter{Field: s[:i], Op: op, Value: v}, nil
		}
	}
	return memberclient.Filter{}, errors.New("a filter's operator is one of = != < <= > >=")
}

type memberWrite struct {
	memberFlags
	Dataset  string   `arg:"" help:"Such as ds_home."`
	Values   []string `arg:"" optional:"" placeholder:"FIELD=VALUE" help:"The record."`
	File     string   `placeholder:"FILE" help:"Records as a JSON array of objects instead; - is standard input."`
	Instance int      `default:"0" help:"Which instance."`
}

// Run adds records.
func (c *memberWrite) Run() error {
	ctx, stop := interruptible()
	defer stop()
	rows, err := c.rows()
	if err != nil {
		return err
	}
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	first, last, err := m.Write(ctx, c.Dataset, c.Instance, rows)
	if err != nil {
		return err
	}
	return show(c.JSON, map[string]any{"first_id": first, "last_id": last}, func(w *table) {
		if first == last {
			w.line("Stored as record %d.", first)
		} else {
			w.line("Stored as records %d to %d.", first, last)
		}
	})
}

func (c *memberWrite) rows() ([]map[string]string, error) {
	if c.File == "" {
		v, err := pairs(c.Values)
		return []map[string]string{v}, err
	}
	if len(c.Values) > 0 {
		return nil, errors.New("give the record or --file, not both")
	}
	f := os.Stdin
	if c.File != "-" {
		var err error
		if f, err = os.Open(c.File); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	var rows []map[string]string
	if json.NewDecoder(io.LimitReader(f, 64<<20)).Decode(&rows) != nil {
		return nil, errors.New("the file is not a JSON array of objects whose values are strings")
	}
	return rows, nil
}

func pairs(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, errors.New("give at least one FIELD=VALUE")
	}
	v := map[string]string{}
	for _, p := range list {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, errors.New("a value is given as FIELD=VALUE")
		}
		v[name] = value
	}
	return v, nil
}

type memberUpdate struct {
	memberFlags
	Dataset  string   `arg:"" help:"Such as ds_home."`
	ID       uint64   `arg:"" help:"The record."`
	Values   []string `arg:"" placeholder:"FIELD=VALUE" help:"What changes."`
	Instance int      `default:"0" help:"Which instance."`
}

// Run changes fields of a record.
func (c *memberUpdate) Run() error {
	ctx, stop := interruptible()
	defer stop()
	v, err := pairs(c.Values)
	if err != nil {
		return err
	}
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	if err := m.Update(ctx, c.Dataset, c.Instance, c.ID, v); err != nil {
		return err
	}
	return done(c.JSON, "Changed.")
}

type memberDelete struct {
	memberFlags
	Dataset  string `arg:"" help:"Such as ds_home."`
	ID       uint64 `arg:"" help:"The record."`
	Instance int    `default:"0" help:"Which instance."`
}

// Run hides a record.
func (c *memberDelete) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	if err := m.Delete(ctx, c.Dataset, c.Instance, c.ID, false); err != nil {
		return err
	}
	return done(c.JSON, "Hidden; `restore` brings it back.")
}

type memberRestore struct {
	memberFlags
	Dataset  string `arg:"" help:"Such as ds_home."`
	ID       uint64 `arg:"" help:"The record."`
	Instance int    `default:"0" help:"Which instance."`
}

// Run brings a record back.
func (c *memberRestore) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	if err := m.Restore(ctx, c.Dataset, c.Instance, c.ID); err != nil {
		return err
	}
	return done(c.JSON, "Restored.")
}

type memberInstance struct {
	memberFlags
	Dataset string `arg:"" help:"Such as ds_home."`
}

// Run adds an instance.
func (c *memberInstance) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	n, err := m.NewInstance(ctx, c.Dataset)
	if err != nil {
		return err
	}
	return show(c.JSON, map[string]any{"dataset": c.Dataset, "instance": n}, func(w *table) {
		w.line("Instance %d of %s. It is shared with nobody until you grant it.", n, c.Dataset)
	})
}

func done(asJSON bool, text string) error {
	return show(asJSON, map[string]any{"success": true}, func(w *table) { w.line("%s", text) })
}
