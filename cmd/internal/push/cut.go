package push

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
)

const (
	lanes          = 8
	maxBody        = 8 << 20
	maxSectionRows = 20000
	maxRow         = 512 << 10
	// A section's values, without names and what the file decides: those take
	// next to no room in a block, and the rest at most its length.
	maxSectionValues = 896 << 10
)

// cutter is the sink that sorts records into lanes and cuts them into batches.
// What it cuts depends on the records and their order only. It belongs to the
// reading goroutine; full batches pass to the lane's goroutine.
type cutter struct {
	ctx   context.Context
	m     *Map
	keys  *keyring // nil in a dry run without a keys file: every ref is a member
	batch int
	out   func(*batch) error // takes a full batch over

	file    int
	tally   *tally
	rejects func(file, line int, reason string, raw []byte) error

	laneOf  []int32 // by connection, -1 before its first record
	members int
	current [lanes]*batch
	seq     [lanes]int
	anyRef  map[string]int // for a nil keyring
}

// batch is a request before it is encoded.
type batch struct {
	lane, seq int
	text      []byte
	rows      []rowSpan
	sections  []section
	open      map[sectionKey]int
	size      int // of the body
	last      sectionKey
	lastAt    int
}

type rowSpan struct {
	start, end uint32 // in text
	section    int32
	file, line int32
}

type sectionKey struct{ con, dataset, instance int }

type section struct {
	sectionKey
	rows, values int
}

func newCutter(ctx context.Context, m *Map, keys *keyring, size int, t *tally) *cutter {
	c := &cutter{ctx: ctx, m: m, keys: keys, batch: size, tally: t}
	if keys == nil {
		c.anyRef = map[string]int{}
	} else {
		c.laneOf = make([]int32, len(keys.cons))
		for i := range c.laneOf {
			c.laneOf[i] = -1
		}
	}
	return c
}

func (c *cutter) connection(ref []byte) (int, bool) {
	if c.keys != nil {
		con, ok := c.keys.byRef[string(ref)]
		return con, ok
	}
	con, ok := c.anyRef[string(ref)]
	if !ok {
		con = len(c.laneOf)
		c.anyRef[string(ref)] = con
		c.laneOf = append(c.laneOf, -1)
	}
	return con, true
}

func (c *cutter) skipped() { c.tally.skipped.Add(1) }

func (c *cutter) reject(line int, rule, reason string, raw []byte) error {
	c.tally.reject(rule)
	if c.rejects == nil {
		return nil
	}
	return c.rejects(c.file, line, reason, raw)
}

func (c *cutter) record(con, dataset, instance int, text []byte, values, line int) error {
	if len(text) > maxRow {
		const rule = "record larger than 512 KiB"
		return c.reject(line, rule, rule, nil)
	}
	c.tally.mapped.Add(1)
	lane := c.laneOf[con]
	if lane < 0 {
		lane = int32(c.members % lanes)
		c.laneOf[con] = lane
		c.members++
	}
	key := sectionKey{con, dataset, instance}
	at := -1
	if b := c.current[lane]; b != nil {
		at = b.find(key)
		// One section a batch for a connection and dataset: were there two, and
		// the server busy for the first only, the second would overtake it.
		full := at >= 0 && (b.sections[at].rows == maxSectionRows || b.sections[at].values+values > maxSectionValues)
		if full || len(b.rows) >= c.batch || b.size+len(text)+c.headRoom(key) > maxBody {
			if err := c.flush(int(lane)); err != nil {
				return err
			}
			at = -1
		}
	}
	b := c.current[lane]
	if b == nil {
		b = newBatch(int(lane), c.seq[lane])
		c.seq[lane]++
		c.current[lane] = b
	}
	if at < 0 {
		at = len(b.sections)
		b.sections = append(b.sections, section{sectionKey: key})
		b.open[key] = at
		b.size += c.headRoom(key)
	}
	b.last, b.lastAt = key, at
	s := &b.sections[at]
	s.rows++
	s.values += values
	b.size += len(text)
	start := uint32(len(b.text))
	b.text = append(b.text, text...)
	b.rows = append(b.rows, rowSpan{start, uint32(len(b.text)), int32(at), int32(c.file), int32(line)})
	return nil
}

// find returns the section of key, or -1.
func (b *batch) find(key sectionKey) int {
	if b.lastAt >= 0 && b.last == key {
		return b.lastAt
	}
	if at, ok := b.open[key]; ok {
		return at
	}
	return -1
}

// batches are used again: a batch's text is a megabyte or two.
var batches = sync.Pool{New: func() any { return &batch{open: map[sectionKey]int{}} }}

func newBatch(lane, seq int) *batch {
	b := batches.Get().(*batch)
	clear(b.open)
	*b = batch{lane: lane, seq: seq, text: b.text[:0], rows: b.rows[:0], sections: b.sections[:0], open: b.open, lastAt: -1}
	return b
}

// headRoom is at least the length of a section's first line.
func (c *cutter) headRoom(k sectionKey) int {
	n := len(c.m.Records[k.dataset].Dataset) + 40
	if c.keys != nil {
		n += len(c.keys.cons[k.con].head)
	}
	return n
}

func (c *cutter) flush(lane int) error {
	b := c.current[lane]
	c.current[lane] = nil
	if b == nil {
		return nil
	}
	return c.out(b)
}

// finish hands over what is left, in lane order.
func (c *cutter) finish() error {
	for lane := range c.current {
		if err := c.flush(lane); err != nil {
			return err
		}
	}
	return nil
}

// body encodes the batch: sections in order of their first record, each with
// its rows in order.
func (b *batch) body(dst []byte, m *Map, keys *keyring) []byte {
	order := b.order()
	at := 0
	for i := range b.sections {
		s := &b.sections[i]
		dst = append(dst, keys.cons[s.con].head...)
		dst = append(dst, m.Records[s.dataset].Dataset...)
		dst = append(dst, `","instance":`...)
		dst = strconv.AppendInt(dst, int64(s.instance), 10)
		dst = append(dst, '}', '\n')
		if len(b.sections) == 1 {
			return append(dst, b.text...)
		}
		for range s.rows {
			r := &b.rows[order[at]]
			dst = append(dst, b.text[r.start:r.end]...)
			at++
		}
	}
	return dst
}

// order lists the rows by section, keeping their order (a counting sort).
func (b *batch) order() []int32 {
	next := make([]int, len(b.sections))
	for i := 1; i < len(next); i++ {
		next[i] = next[i-1] + b.sections[i-1].rows
	}
	order := make([]int32, len(b.rows))
	for i := range b.rows {
		s := b.rows[i].section
		order[next[s]] = int32(i)
		next[s]++
	}
	return order
}

// key is the Idempotency-Key of the batch.
func (b *batch) key(push [sha256.Size]byte) string {
	sum := sha256.Sum256(fmt.Appendf(push[:], "/%d/%d", b.lane, b.seq))
	return hex.EncodeToString(sum[:16])
}
