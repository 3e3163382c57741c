package acceptance

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strconv"
	"testing"
	"time"

	"holdfast/cmd/internal/sandbox"
)

// tally is the count and digest of rows in their order. A value counts with
// its length, an absent one as none.
type tally struct {
	n int
	h hash.Hash
	b []byte
}

func newTally() *tally { return &tally{h: sha256.New()} }

func (t *tally) add(vals ...*string) {
	t.b = t.b[:0]
	for _, v := range vals {
		if v == nil {
			t.b = append(t.b, 0)
			continue
		}
		t.b = binary.AppendUvarint(append(t.b, 1), uint64(len(*v)))
		t.b = append(t.b, *v...)
	}
	t.h.Write(append(t.b, '\n'))
	t.n++
}

func (t *tally) text(vals ...string) {
	p := make([]*string, len(vals))
	for i := range vals {
		p[i] = &vals[i]
	}
	t.add(p...)
}

func (t *tally) sum() string { return hex.EncodeToString(t.h.Sum(nil)) }

// tallies are those of a data set, by ref.
type tallies map[string]*tally

func (m tallies) of(ref string) *tally {
	t := m[ref]
	if t == nil {
		t = newTally()
		m[ref] = t
	}
	return t
}

func (m tallies) rows() (n int) {
	for _, t := range m {
		n += t.n
	}
	return n
}

// readRows decodes an answer's rows as they arrive and ends after most of them,
// or at the end of the answer if most is 0. Ids rise by one from first; every
// row has the fields named, others are null.
func readRows(r io.Reader, conID string, fields []string, first, most int, each func(vals []*string)) (int, error) {
	d := json.NewDecoder(bufio.NewReaderSize(r, 1<<20))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return 0, fmt.Errorf("no object: %v", err)
	}
	vals := make([]*string, len(fields))
	n := 0
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return n, err
		}
		id := strconv.Itoa(first + n)
		if t != id {
			return n, fmt.Errorf("row %v where %s was due", t, id)
		}
		var row map[string]*string
		if err := d.Decode(&row); err != nil {
			return n, err
		}
		for name, want := range map[string]string{"id": id, "ds_id": id, "instance": "0", "source": conID} {
			if row[name] == nil || *row[name] != want {
				return n, fmt.Errorf("row %s: %s differs", id, name)
			}
			delete(row, name)
		}
		for _, name := range []string{"created_timestamp", "updated_timestamp"} {
			if at, err := strconv.ParseInt(*row[name], 10, 64); err != nil || time.Since(time.Unix(at, 0)) > time.Hour {
				return n, fmt.Errorf("row %s: %s", id, name)
			}
			delete(row, name)
		}
		for i, f := range fields {
			v, ok := row[f]
			if !ok {
				return n, fmt.Errorf("row %s: %s is not there", id, f)
			}
			vals[i] = v
			delete(row, f)
		}
		for f, v := range row {
			if v != nil {
				return n, fmt.Errorf("row %s: %s was never sent", id, f)
			}
		}
		each(vals)
		if n++; n == most {
			return n, nil
		}
	}
	if _, err := d.Token(); err != nil {
		return n, err
	}
	if t, err := d.Token(); err != io.EOF {
		return n, fmt.Errorf("%v behind the answer's end, %v", t, err)
	}
	return n, nil
}

// compare reads every member in one answer, and some of them in pieces too, and
// holds what it gets against what the source files have.
func (c *client) compare(t *testing.T, dataset string, fields []string, refs map[string]sandbox.Agreement, want tallies, pieces int) {
	t.Helper()
	begun, rows := time.Now(), 0
	for ref, a := range refs {
		w := want.of(ref)
		got := newTally()
		body := c.get(a, dataset, "json", "", "")
		n, err := readRows(body, a.ConID, fields, 1, 0, func(v []*string) { got.add(v...) })
		body.Close()
		rows += n
		if err != nil || got.n != w.n || got.sum() != w.sum() {
			t.Errorf("%s: %d rows, %s; the files have %d, %s (%v)", ref, got.n, got.sum(), w.n, w.sum(), err)
		}
	}
	t.Logf("%s: %d rows of %d members read back in %v (%.0f rows/s)", dataset, rows, len(refs), time.Since(begun).Round(time.Millisecond), float64(rows)/time.Since(begun).Seconds())
	begun, rows = time.Now(), 0
	done := 0
	for ref, a := range refs {
		if done == pieces {
			break
		}
		done++
		w := want.of(ref)
		for name, read := range map[string]func(*tally) error{"two halves": func(got *tally) error { return c.halves(got, a, dataset, fields, w.n) }, "pages": func(got *tally) error { return c.pages(got, a, dataset, fields, w.n) }} {
			got := newTally()
			if err := read(got); err != nil || got.n != w.n || got.sum() != w.sum() {
				t.Errorf("%s in %s: %d rows, %s; the files have %d, %s (%v)", ref, name, got.n, got.sum(), w.n, w.sum(), err)
			}
			rows += got.n
		}
	}
	t.Logf("%s: %d rows in pieces in %v", dataset, rows, time.Since(begun).Round(time.Millisecond))
}

// halves reads id<=half, then id>half.
func (c *client) halves(got *tally, a sandbox.Agreement, dataset string, fields []string, n int) error {
	half := n / 2
	for _, part := range []struct {
		op    string
		first int
	}{{"<=", 1}, {">", half + 1}} {
		body := c.get(a, dataset, "json", part.op, strconv.Itoa(half))
		_, err := readRows(body, a.ConID, fields, part.first, 0, func(v []*string) { got.add(v...) })
		body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// pages reads as a poller does that takes so many rows at a time: from an id
// on, hanging up when it has enough.
func (c *client) pages(got *tally, a sandbox.Agreement, dataset string, fields []string, n int) error {
	page := max(n/7, 1)
	for first := 1; first <= n; first += page {
		body := c.get(a, dataset, "json", ">=", strconv.Itoa(first))
		_, err := readRows(body, a.ConID, fields, first, page, func(v []*string) { got.add(v...) })
		body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
