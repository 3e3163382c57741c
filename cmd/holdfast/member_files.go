package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"holdfast/actors/pds/verify"
	"holdfast/cmd/internal/memberclient"
)

type memberReceipt struct {
	memberFlags
	Connection string `arg:"" help:"Number of the connection, or con_id."`
	Output     string `short:"o" placeholder:"FILE" help:"Where to save it. Default: print it."`
}

// Run saves a receipt.
func (c *memberReceipt) Run() error {
	ctx, stop := interruptible()
	defer stop()
	nid, err := parseConnection(c.Connection)
	if err != nil {
		return err
	}
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	b, err := m.Receipt(ctx, nid)
	if err != nil {
		return err
	}
	if c.Output == "" {
		_, err := out.Write(b)
		return err
	}
	return writePrivate(c.Output, b)
}

type memberAudit struct {
	memberFlags
	Connection string `placeholder:"N" help:"Only what this connection did."`
	Dataset    string `placeholder:"DATASET" help:"Only about this dataset."`
	Since      string `placeholder:"TIME" help:"From this time on: RFC 3339, 2006-01-02, or how long ago (24h)."`
	Until      string `placeholder:"TIME" help:"Before this time."`
	Format     string `enum:"json,xml" default:"json" help:"With -o: json or xml."`
	Output     string `short:"o" placeholder:"FILE" help:"Save it as a file that holdfast verify checks."`
}

// Run shows or saves the journal.
func (c *memberAudit) Run() error {
	ctx, stop := interruptible()
	defer stop()
	q := memberclient.AuditQuery{Dataset: c.Dataset, Format: c.Format}
	var err error
	if c.Connection != "" {
		if q.Connection, err = parseConnection(c.Connection); err != nil {
			return err
		}
	}
	if q.Since, err = parseTime(c.Since); err != nil {
		return err
	}
	if q.Until, err = parseTime(c.Until); err != nil {
		return err
	}
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	b, err := m.Audit(ctx, q)
	if err != nil {
		return err
	}
	switch {
	case c.Output != "":
		return writePrivate(c.Output, b)
	case c.JSON || c.Format == "xml":
		_, err := out.Write(b)
		return err
	}
	return show(false, nil, func(w *table) {
		w.row("NR", "TIME", "WHO", "WHAT", "DATA", "RESULT")
		err = verify.Split(b, func(name string, _, doc []byte) error {
			var e verify.Entry
			if name != "journal" {
				return nil
			}
			if json.Unmarshal(doc, &e) != nil {
				return errors.New("the answer is not of the documented form")
			}
			auditRow(w, &e)
			return nil
		})
	})
}

func auditRow(w *table, e *verify.Entry) {
	s := e.Shown
	if s == nil {
		w.row(e.Sequence, "", "", "(sealed: its key is gone)", "", "")
		return
	}
	data := s.Dataset
	if data != "" {
		data = fmt.Sprintf("%s/%d", s.Dataset, s.Instance)
		if s.Rows > 0 {
			data += fmt.Sprintf(", records: %d", s.Rows)
		}
		if len(s.Fields) > 0 {
			data += ": " + strings.Join(s.Fields, " ")
		}
	}
	if data == "" && s.Connection != s.Source {
		data = s.Connection
	}
	result := s.Result
	if s.Field != "" {
		result += ": " + s.Field
	}
	if s.Count > 1 {
		result += fmt.Sprintf(" (%d times)", s.Count)
	}
	w.row(e.Sequence, time.UnixMilli(int64(s.Time)).Format("2006-01-02 15:04:05.000"), s.Source, s.Act, data, result)
}

// parseTime takes RFC 3339, a date, or a duration before now.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("a time is RFC 3339, 2006-01-02, or how long ago (24h)")
}

type memberExport struct {
	memberFlags
	Format string `arg:"" enum:"json,xml" default:"json" help:"json or xml."`
	Output string `short:"o" required:"" placeholder:"FILE" help:"Where to save it; it holds all your data in the clear."`
}

// Run saves an export and checks it. The file gets its name when it is
// complete.
func (c *memberExport) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	tmp := c.Output + ".part"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // nothing is left of it after the rename
	n, err := m.Export(ctx, c.Format, f)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	r, err := verifyFile(tmp, verify.Options{})
	if err != nil {
		return err
	}
	if !r.OK() {
		return fmt.Errorf("the export does not verify: %w", r.Faults[0])
	}
	if err := os.Rename(tmp, c.Output); err != nil {
		return err
	}
	return show(c.JSON, r, func(w *table) {
		w.line("%s: %d bytes, %d records, %d agreements, %d journal records.", c.Output, n, r.Records, r.Agreements, r.Entries)
	})
}
