package ndjson

import (
	"encoding/binary"
	"strconv"
)

// MaxFields is the number of fields a dataset may have.
const MaxFields = 63

// Fields maps the field names of one dataset to their numbers. It is
// immutable and may be shared.
type Fields struct {
	names   []string
	tokens  []string // the name as a compact encoder writes it: "name":
	numbers []uint8
	table   [256]uint8 // open addressing; index + 1, at most a quarter full
}

// NewFields pairs names with numbers. It panics on what a dataset's loader has
// already refused: more than MaxFields names, an empty name or one that occurs twice.
func NewFields(names []string, numbers []uint8) *Fields {
	if len(names) > MaxFields || len(names) != len(numbers) {
		panic("ndjson: a dataset has at most 63 fields, each with a number")
	}
	f := &Fields{}
	for i, n := range names {
		if n == "" || f.find([]byte(n)) >= 0 {
			panic("ndjson: field name empty or twice: " + strconv.Quote(n))
		}
		f.names = append(f.names, n)
		f.tokens = append(f.tokens, strconv.Quote(n)+":")
		f.numbers = append(f.numbers, numbers[i])
		h := hash([]byte(n))
		for f.table[h] != 0 {
			h++
		}
		f.table[h] = uint8(i + 1)
	}
	return f
}

// find returns the index of name, or -1.
func (f *Fields) find(name []byte) int {
	for h := hash(name); ; h++ {
		i := int(f.table[h]) - 1
		if i < 0 || f.names[i] == string(name) {
			return i
		}
	}
}

func hash(b []byte) uint8 {
	const m = 0x9e3779b97f4a7c15
	h := uint64(len(b)) * m
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ binary.LittleEndian.Uint64(b)) * m
		h ^= h >> 29
	}
	for _, c := range b {
		h = (h ^ uint64(c)) * m
	}
	return uint8(h >> 56)
}
