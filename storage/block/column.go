package block

// Hint remembers what suited a field's last column, so that the next one is
// encoded without looking again. The zero value is ready. One per goroutine.
type Hint struct{}

// AppendColumn appends one self-describing column of n values to dst. Value i
// is vals[off+i*stride]; nil is absent, which differs from empty. h may be nil.
func AppendColumn(dst []byte, vals [][]byte, off, stride, n int, h *Hint) []byte {
	panic("block: not built yet")
}

// Column is a decoded column. Its memory is reused by the next Decode.
type Column struct{}

// Decode reads a column of exactly n values. It refuses anything that is not
// such a column with ErrCorrupt, and never holds more than MaxColumn bytes.
func (c *Column) Decode(src []byte, n int) error { panic("block: not built yet") }

// Len is the number of values of the last successful Decode.
func (c *Column) Len() int { panic("block: not built yet") }

// Value returns value i, valid until the next Decode; ok is false if absent.
func (c *Column) Value(i int) (v []byte, ok bool) { panic("block: not built yet") }

// Wipe overwrites the decoded values.
func (c *Column) Wipe() {}
