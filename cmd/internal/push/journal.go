package push

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// journal is the state file and the rejects file, which move together: a line
// of the state file counts bytes of the rejects file that are on disk.
type journal struct {
	mu      sync.Mutex
	state   *os.File // nil in a dry run
	rejects *os.File // nil until the first reject, unless asked for by name
	w       *bufio.Writer
	path    string // of rejects; empty: rejects are only counted
	csv     bool
	length  int64 // of the rejects file with what w holds
	dirty   bool

	unmapped int64 // the map's rejects so far, those of an earlier run included
	known    int64 // how many of them an earlier run wrote

	next   [lanes]int // first batch that is not acknowledged
	before []stateLine
	done   *stateLine
	last   time.Time // of the last line found
}

// stateLine is every kind of line of the state file; see the package comment.
type stateLine struct {
	Push    string `json:"push,omitempty"`
	Version int    `json:"version,omitempty"`
	Keys    string `json:"keys,omitempty"`
	Started int64  `json:"started,omitempty"`

	Lane            *int             `json:"lane,omitempty"`
	Seq             int              `json:"seq,omitempty"`
	Sections        int              `json:"sections,omitempty"`
	Rows            int64            `json:"rows,omitempty"`
	RefusedSections int64            `json:"refused_sections,omitempty"`
	RefusedRows     int64            `json:"refused_rows,omitempty"`
	Reasons         map[string]int64 `json:"reasons,omitempty"` // refused rows by reason

	Done     bool             `json:"done,omitempty"`
	Read     int64            `json:"read,omitempty"`
	Skipped  int64            `json:"skipped,omitempty"`
	Rejected map[string]int64 `json:"rejected,omitempty"`

	Rejects  int64 `json:"rejects,omitempty"`
	Unmapped int64 `json:"unmapped,omitempty"`
	At       int64 `json:"at,omitempty"`
}

func newJournal(rejectsPath string) *journal {
	return &journal{path: rejectsPath, csv: strings.EqualFold(filepath.Ext(rejectsPath), ".csv")}
}

// openJournal opens or begins the files of a push. An existing rejects file that
// no state counts is left alone: the push fails.
func openJournal(statePath, rejectsPath, push, keys string, now time.Time) (*journal, error) {
	j := newJournal(rejectsPath)
	f, err := os.OpenFile(statePath, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j.state = f
	fail := func(err error) (*journal, error) {
		f.Close()
		return nil, err
	}
	if err := lock(f); err != nil {
		return fail(fmt.Errorf("%s: another push is using this state file", statePath))
	}
	fresh, err := j.load(statePath, push, keys)
	if err != nil {
		return fail(err)
	}
	if fresh {
		if err := unused(rejectsPath); err != nil {
			return fail(err)
		}
		if err := j.line(stateLine{Push: push, Version: 1, Keys: keys, Started: now.Unix()}); err != nil {
			return fail(err)
		}
		if err := syncDir(filepath.Dir(statePath)); err != nil {
			return fail(err)
		}
		return j, nil
	}
	if j.done != nil {
		return j, nil
	}
	switch info, err := os.Stat(rejectsPath); {
	case err == nil && info.Size() >= j.length:
		if j.rejects, err = os.OpenFile(rejectsPath, os.O_RDWR, 0o600); err != nil {
			return fail(err)
		}
		if err := j.rejects.Truncate(j.length); err != nil {
			return fail(err)
		}
		if _, err := j.rejects.Seek(j.length, io.SeekStart); err != nil {
			return fail(err)
		}
		j.w = bufio.NewWriter(j.rejects)
	case j.length > 0:
		return fail(fmt.Errorf("%s: the rejects that the state file counts are not there; put the file back to resume", rejectsPath))
	case err != nil && !os.IsNotExist(err):
		return fail(err)
	}
	return j, nil
}

// unused fails if a rejects file is there already.
func unused(path string) error {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s: holds the rejects of another push; move it away or name another file with --rejects", path)
	}
	return nil
}

// load reads the state file and leaves its end as the place to write.
func (j *journal) load(path, push, keys string) (fresh bool, err error) {
	b, err := io.ReadAll(j.state)
	if err != nil {
		return false, err
	}
	whole := bytes.LastIndexByte(b, '\n') + 1
	if err := j.state.Truncate(int64(whole)); err != nil {
		return false, err
	}
	if _, err := j.state.Seek(int64(whole), io.SeekStart); err != nil {
		return false, err
	}
	for n, text := range bytes.Split(b[:whole], []byte{'\n'}) {
		if len(text) == 0 {
			continue
		}
		var l stateLine
		if err := json.Unmarshal(text, &l); err != nil {
			return false, fmt.Errorf("%s: line %d is damaged", path, n+1)
		}
		switch {
		case n == 0:
			if l.Version != 1 {
				return false, fmt.Errorf("%s: not a state file of this version", path)
			}
			if l.Push != push {
				return false, fmt.Errorf("%s: belongs to another push (other map, data, target, client or batch size); name another file with --state", path)
			}
			if l.Keys != keys {
				return false, fmt.Errorf("%s: the push began with another keys file; finish it with that one", path)
			}
			l.At = l.Started
		case l.Done:
			j.done = &l
		case l.Lane == nil || *l.Lane < 0 || *l.Lane >= lanes || l.Seq != j.next[*l.Lane]:
			return false, fmt.Errorf("%s: line %d is out of order", path, n+1)
		default:
			j.next[*l.Lane]++
			j.before = append(j.before, l)
			j.length, j.known = l.Rejects, l.Unmapped
		}
		j.last = time.Unix(l.At, 0)
	}
	return whole == 0, nil
}

func (j *journal) line(l stateLine) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := j.state.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if err := j.state.Sync(); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}

// reject records a row that the map cannot map.
func (j *journal) reject(path string, line int, reason string, raw []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.unmapped++; j.unmapped <= j.known || j.path == "" {
		return nil
	}
	return j.write(path, line, reason, "raw", raw)
}

// acked records what became of a batch. Its refused rows go to the rejects file
// as they were sent.
func (j *journal) acked(b *batch, o *outcome, ins []*input, now time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := stateLine{Lane: &b.lane, Seq: b.seq, Sections: len(b.sections), At: now.Unix()}
	for i := range o.sections {
		rows := int64(b.sections[i].rows)
		if o.sections[i] == nil {
			l.Rows += rows
			continue
		}
		l.RefusedSections++
		l.RefusedRows += rows
		if l.Reasons == nil {
			l.Reasons = map[string]int64{}
		}
		l.Reasons[o.sections[i].rule()] += rows
	}
	if l.RefusedRows > 0 {
		for i := range b.rows {
			r := &b.rows[i]
			if refused := o.sections[r.section]; refused != nil && j.path != "" {
				text := b.text[r.start : r.end-1]
				if err := j.write(ins[r.file].path, int(r.line), refused.reason(), "row", text); err != nil {
					return err
				}
			}
		}
	}
	if err := j.sync(); err != nil {
		return err
	}
	l.Rejects, l.Unmapped = j.length, j.unmapped
	if l.Unmapped < j.known {
		// Still reading what an earlier run read: its rejects are on disk.
		l.Unmapped = j.known
	}
	j.next[b.lane]++
	return j.line(l)
}

func (j *journal) sync() error {
	if !j.dirty {
		return nil
	}
	if err := j.w.Flush(); err != nil {
		return fmt.Errorf("rejects file: %w", err)
	}
	if err := j.rejects.Sync(); err != nil {
		return fmt.Errorf("rejects file: %w", err)
	}
	j.dirty = false
	return nil
}

// write appends one line to the rejects file.
func (j *journal) write(path string, line int, reason, kind string, text []byte) error {
	if err := j.create(); err != nil {
		return err
	}
	var out []byte
	if j.csv {
		if j.length == 0 {
			out = append(out, "file,line,reason,raw\n"...)
		}
		out = append(appendCell(out, path), ',')
		out = append(strconv.AppendInt(out, int64(line), 10), ',')
		out = append(appendCell(out, reason), ',')
		out = append(appendCell(out, string(text)), '\n')
	} else {
		out = append(out, `{"file":`...)
		out = appendText(out, path)
		out = fmt.Appendf(out, `,"line":%d,"reason":`, line)
		out = appendText(out, reason)
		switch {
		case kind == "row":
			out = append(append(out, `,"row":`...), text...)
		case utf8.Valid(text):
			out = append(out, `,"raw":`...)
			out, _ = appendString(out, text)
		default:
			out = append(out, `,"raw_base64":"`...)
			out = append(base64.StdEncoding.AppendEncode(out, text), '"')
		}
		out = append(out, '}', '\n')
	}
	j.dirty = true
	j.length += int64(len(out))
	if _, err := j.w.Write(out); err != nil {
		return fmt.Errorf("rejects file: %w", err)
	}
	return nil
}

// appendCell appends a cell of RFC 4180.
func appendCell(dst []byte, s string) []byte {
	if !strings.ContainsAny(s, "\",\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}

func appendText(dst []byte, s string) []byte {
	dst, _ = appendString(dst, []byte(strings.ToValidUTF8(s, "\ufffd")))
	return dst
}

func (j *journal) create() error {
	if j.rejects != nil {
		return nil
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("rejects file: %w", err)
	}
	if err := f.Chmod(0o600); err != nil {
		f.Close()
		return fmt.Errorf("rejects file: %w", err)
	}
	j.rejects, j.w = f, bufio.NewWriter(f)
	return syncDir(filepath.Dir(j.path))
}

// finish syncs the rejects and writes the last line.
func (j *journal) finish(l stateLine) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.sync(); err != nil || j.state == nil {
		return err
	}
	l.Done, l.Rejects, l.Unmapped = true, j.length, j.unmapped
	return j.line(l)
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	if j.rejects != nil {
		errs = append(errs, j.w.Flush(), j.rejects.Close())
	}
	if j.state != nil {
		errs = append(errs, j.state.Close())
	}
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, os.ErrInvalid) {
		return err
	}
	return nil
}
