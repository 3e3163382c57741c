package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
)

// Form is how a file is spelt; JSON is in this package, XML in api. Every
// method appends to dst. End stands after at least one Member or list.
type Form interface {
	Begin(dst []byte) []byte
	Member(dst []byte, name string, doc []byte) ([]byte, error)
	OpenList(dst []byte, name string) []byte
	Item(dst []byte, doc []byte) ([]byte, error) // the element alone
	Between(dst []byte) []byte                   // between two items
	CloseList(dst []byte, name string) []byte
	End(dst []byte, digest string) []byte
}

// JSON spells a file as one JSON object, a member or item a line.
type JSON struct{}

// Begin opens the object.
func (JSON) Begin(dst []byte) []byte { return append(dst, "{\n"...) }

// Member writes a member; doc is JSON without line breaks.
func (JSON) Member(dst []byte, name string, doc []byte) ([]byte, error) {
	dst = append(append(append(dst, '"'), name...), `":`...)
	return append(append(dst, doc...), ",\n"...), nil
}

// OpenList opens an array.
func (JSON) OpenList(dst []byte, name string) []byte {
	return append(append(append(dst, '"'), name...), "\":[\n"...)
}

// Item is doc itself.
func (JSON) Item(dst, doc []byte) ([]byte, error) { return append(dst, doc...), nil }

// Between separates items.
func (JSON) Between(dst []byte) []byte { return append(dst, ",\n"...) }

// CloseList closes the array.
func (JSON) CloseList(dst []byte, _ string) []byte { return append(dst, "\n],\n"...) }

// End writes the digest and closes the object.
func (JSON) End(dst []byte, digest string) []byte {
	return append(append(append(dst, `"sha256":"`...), digest...), "\"}\n"...)
}

// Writer writes a file in one pass. The first error stays: what was written
// is then not a file, and the caller must let its reader see that.
type Writer struct {
	w     io.Writer
	form  Form
	all   hash.Hash
	n     int64
	buf   []byte
	list  string
	first bool
	err   error

	part hash.Hash // over the items since Part
}

// NewWriter begins a file.
func NewWriter(w io.Writer, form Form) *Writer {
	x := &Writer{w: w, form: form, all: sha256.New(), part: sha256.New()}
	x.emit(form.Begin(nil))
	return x
}

func (x *Writer) emit(b []byte) {
	if x.err != nil {
		return
	}
	x.all.Write(b)
	x.n += int64(len(b))
	_, x.err = x.w.Write(b)
}

// Member writes one member.
func (x *Writer) Member(name string, v any) error {
	doc, err := json.Marshal(v)
	if err == nil && x.err == nil {
		x.buf, err = x.form.Member(x.buf[:0], name, doc)
	}
	return x.keep(err)
}

// Open begins a list.
func (x *Writer) Open(name string) {
	x.list, x.first = name, true
	x.emit(x.form.OpenList(nil, name))
}

// Item writes one element of the open list.
func (x *Writer) Item(v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return x.keep(err)
	}
	return x.Raw(doc)
}

// Raw is Item for an element that is JSON already.
func (x *Writer) Raw(doc []byte) error {
	b := x.buf[:0]
	if !x.first {
		b = x.form.Between(b)
	}
	x.first = false
	at := len(b)
	b, err := x.form.Item(b, doc)
	if err == nil {
		x.part.Write(b[at:])
	}
	x.buf = b
	return x.keep(err)
}

func (x *Writer) keep(err error) error {
	if x.err == nil {
		x.err = err
	}
	x.emit(x.buf)
	return x.err
}

// Part returns the digest of the items since the last call, as a Count names
// it.
func (x *Writer) Part() string {
	s := hex.EncodeToString(x.part.Sum(nil))
	x.part.Reset()
	return s
}

// Close ends the list.
func (x *Writer) Close() {
	x.emit(x.form.CloseList(nil, x.list))
}

// Content is the length and the digest of everything so far, for a Seal.
func (x *Writer) Content() (int64, [32]byte) {
	return x.n, [32]byte(x.all.Sum(nil))
}

// End writes the digest of the file and ends it.
func (x *Writer) End() error {
	x.emit(x.form.End(nil, hex.EncodeToString(x.all.Sum(nil))))
	return x.err
}
