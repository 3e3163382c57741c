package acceptance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// exports reads and exports a member's store by the member's commands.
func (n *node) exports(t *testing.T, mydexid string, want *tally) {
	t.Helper()
	as := []string{"--world", n.path("world.json"), "--mydexid", mydexid, "--session", n.path("session.json")}
	check := func(what, name string, each func(io.Reader, func(*ownRecord)) error) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := newTally()
		err = each(f, func(r *ownRecord) {
			if r.Dataset != "" && r.Dataset != "ds_energy_consumption" {
				return
			}
			var vals []*string
			for _, f := range energyFields {
				vals = append(vals, r.Values[f])
			}
			got.add(vals...)
		})
		if err != nil || got.n != want.n || got.sum() != want.sum() {
			t.Errorf("%s: %d rows, %s; the files have %d, %s (%v)", what, got.n, got.sum(), want.n, want.sum(), err)
		}
	}
	read := n.path("read.ndjson")
	took := n.runTo(read, append([]string{"member", "read", "ds_energy_consumption", "--json"}, as...)...)
	t.Logf("member read: %d bytes in %v", size(t, read), took)
	check("member read", read, ownLines)
	for _, form := range []string{"json", "xml"} {
		name := n.path("export." + form)
		_, took := n.run(append([]string{"member", "export", form, "-o", name}, as...)...)
		said, check := n.run("verify", name)
		t.Logf("export %s: %d bytes in %v, its own check included; verify %v", form, size(t, name), took, check)
		// Two more records are the member's own name and home.
		if !strings.Contains(said, "\nVerified.\n") || !strings.Contains(said, fmt.Sprintf("\n%d records", want.n+2)) {
			t.Errorf("verify of %d records: %s", want.n+2, said)
		}
	}
	check("export", n.path("export.json"), ownLines)
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// ownRecord is a record as its member sees it.
type ownRecord struct {
	Dataset string
	Values  map[string]*string
}

// ownLines reads records that stand one a line, in an export among others.
func ownLines(r io.Reader, each func(*ownRecord)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 1<<20), 64<<20)
	for sc.Scan() {
		line := bytes.TrimSuffix(sc.Bytes(), []byte(","))
		if !bytes.HasPrefix(line, []byte("{")) || !bytes.Contains(line, []byte(`"values":`)) {
			continue
		}
		var r ownRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		each(&r)
	}
	return sc.Err()
}
