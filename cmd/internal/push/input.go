package push

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// input is one file of the push.
type input struct {
	place
	abs   string
	size  int64
	mtime time.Time
	sum   [sha256.Size]byte
	spool *os.File // standard input: an unlinked file
}

// inputs resolves the DATA arguments to files: directories are walked, without
// hidden files; the whole is sorted by path, each file once; "-" is last.
func inputs(args, globs []string, stdin io.Reader) ([]*input, error) {
	var out []*input
	seen := map[string]bool{}
	piped := false
	add := func(name string) error {
		abs, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		if seen[abs] {
			return nil
		}
		seen[abs] = true
		out = append(out, &input{place: placeOf(abs, filepath.ToSlash(name)), abs: abs})
		return nil
	}
	for _, arg := range args {
		if arg == "-" {
			piped = true
			continue
		}
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if err := add(arg); err != nil {
				return nil, err
			}
			continue
		}
		found := false
		err = filepath.WalkDir(arg, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if strings.HasPrefix(d.Name(), ".") && name != arg {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if d.IsDir() || !picked(d.Name(), globs) {
				return nil
			}
			if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
				return err
			}
			found = true
			return add(name)
		})
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("%s: no file that the map takes", arg)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].abs < out[j].abs })
	if piped {
		if stdin == nil {
			return nil, errors.New("no standard input")
		}
		in := &input{place: place{path: "stdin", base: "stdin"}, abs: "-"}
		var err error
		if in.spool, err = spool(stdin); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		out = append(out, in)
	}
	if len(out) == 0 {
		return nil, errors.New("no data files")
	}
	for _, in := range out {
		if err := in.digest(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func picked(base string, globs []string) bool {
	if len(globs) == 0 {
		return true
	}
	bare := strings.TrimSuffix(strings.TrimSuffix(base, ".gz"), ".zst")
	for _, g := range globs {
		if ok, _ := path.Match(g, base); ok {
			return true
		}
		if ok, _ := path.Match(g, bare); ok {
			return true
		}
	}
	return false
}

// spool keeps standard input in a file without a name: a push is named by its
// contents before the first row goes out.
func spool(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "holdfast-push-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (in *input) digest() error {
	f, err := in.file()
	if err != nil {
		return err
	}
	if in.spool == nil {
		defer f.Close()
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := sha256.New()
	if in.size, err = io.Copy(h, f); err != nil {
		return fmt.Errorf("%s: %w", in.path, err)
	}
	in.mtime = info.ModTime()
	h.Sum(in.sum[:0])
	return nil
}

func (in *input) file() (*os.File, error) {
	if in.spool != nil {
		_, err := in.spool.Seek(0, io.SeekStart)
		return in.spool, err
	}
	return os.Open(in.abs)
}

// unchanged fails if the file was written to since it was digested.
func (in *input) unchanged() error {
	if in.spool != nil {
		return nil
	}
	info, err := os.Stat(in.abs)
	if err != nil {
		return err
	}
	if info.Size() != in.size || !info.ModTime().Equal(in.mtime) {
		return fmt.Errorf("%s was changed while it was pushed", in.path)
	}
	return nil
}

// pushID names a push; see the package comment.
func pushID(m *Map, mapFile []byte, url, client string, batch int, ins []*input) [sha256.Size]byte {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part([]byte("holdfast push 1"))
	part(mapFile)
	part([]byte(url))
	part([]byte(client))
	part(fmt.Append(nil, batch, lanes))
	levels := m.folders()
	for _, in := range ins {
		for i := 0; i < levels && i < len(in.dirs); i++ {
			part([]byte(in.dirs[i]))
		}
		part([]byte(in.base))
		part(in.sum[:])
	}
	var id [sha256.Size]byte
	h.Sum(id[:0])
	return id
}

// folders is how many folders above a file the map looks at.
func (m *Map) folders() int {
	n := 0
	for i := range m.Records {
		r := &m.Records[i]
		for j := range r.Ref {
			n = max(n, r.Ref[j].Folder)
		}
		if r.Instance.Value != nil {
			n = max(n, r.Instance.Value.Folder)
		}
		for j := range r.Fields {
			n = max(n, r.Fields[j].Folder)
		}
	}
	return n
}

// columns lists the columns that the map names, for ndjson.
func (m *Map) columns() []string {
	var names []string
	seen := map[string]bool{"": true}
	add := func(n string) {
		if !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	for i := range m.Records {
		r := &m.Records[i]
		for j := range r.Ref {
			add(r.Ref[j].Column)
		}
		if r.Instance.Value != nil {
			add(r.Instance.Value.Column)
		}
		add(r.WhenPresent)
		if r.Unpivot != nil {
			for _, c := range r.Unpivot.Columns {
				add(c)
			}
		}
		for j := range r.Fields {
			add(r.Fields[j].Column)
		}
	}
	return names
}

// reader is one open input.
type reader struct {
	in     *input
	index  int
	file   *os.File
	rows   source
	mapper *mapper
	closer func()
}

// open opens an input up to its first row and compiles the map for it. read
// counts the bytes taken from disk.
func open(m *Map, in *input, index int, read *atomic.Int64) (*reader, error) {
	if err := in.unchanged(); err != nil {
		return nil, err
	}
	f, err := in.file()
	if err != nil {
		return nil, err
	}
	rd := &reader{in: in, index: index, file: f, closer: func() {}}
	fail := func(err error) (*reader, error) {
		rd.close()
		return nil, fmt.Errorf("%s: %w", in.path, err)
	}
	text, err := rd.decode(&counted{f, read}, m.Source.Encoding)
	if err != nil {
		return fail(err)
	}
	s := &m.Source
	if s.Format == "ndjson" {
		names := m.columns()
		columns := map[string]int{}
		for i, n := range names {
			columns[n] = i
		}
		rows := newObjects(text, columns)
		rd.rows = rows
		if err := skip(rows.lines, s.SkipRows); err != nil {
			return fail(err)
		}
		if rd.mapper, err = newMapper(m, in.place, names); err != nil {
			return fail(err)
		}
		return rd, nil
	}
	t := newTable(text, s.Delimiter[0], s.Format == "csv", s.Trim)
	if err := skip(t, s.SkipRows); err != nil {
		return fail(err)
	}
	names := s.Columns
	if s.Header {
		head, err := t.next()
		if err == io.EOF {
			// An empty file has no rows; its columns do not matter.
			rd.rows = nothing{}
			return rd, nil
		}
		if err == nil && head.rule != "" {
			err = errors.New("header: " + head.rule)
		}
		if err != nil {
			return fail(err)
		}
		if names == nil {
			for _, c := range head.cells {
				names = append(names, strings.TrimSpace(string(c)))
			}
		}
	}
	rd.rows = t
	if rd.mapper, err = newMapper(m, in.place, names); err != nil {
		return fail(err)
	}
	return rd, nil
}

type nothing struct{}

func (nothing) next() (row, error) { return row{}, io.EOF }

func skip(t *table, lines int) error {
	for i := 0; i < lines; i++ {
		if err := t.skipLine(); err != nil {
			return err
		}
	}
	return nil
}

func (rd *reader) close() {
	rd.closer()
	if rd.in.spool == nil {
		rd.file.Close()
	}
}

// decode undoes compression, a byte order mark and the encoding.
func (rd *reader) decode(r io.Reader, name string) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	magic, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		b = bufio.NewReaderSize(z, 128<<10)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		rd.closer = z.Close
		b = bufio.NewReaderSize(z, 128<<10)
	}
	enc, err := decoderFor(name)
	if err != nil {
		return nil, err
	}
	if enc != nil {
		return enc.NewDecoder().Reader(b), nil
	}
	if mark, _ := b.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		b.Discard(3)
	}
	return b, nil
}

// decoderFor returns nil for UTF-8, which is checked value by value.
func decoderFor(name string) (encoding.Encoding, error) {
	switch name {
	case "", "utf-8":
		return nil, nil
	case "iso-8859-1":
		return charmap.ISO8859_1, nil
	case "windows-1252":
		return charmap.Windows1252, nil
	case "utf-16":
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), nil
	}
	return nil, errors.New("encoding must be utf-8, iso-8859-1, windows-1252 or utf-16")
}

type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
