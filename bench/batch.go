package bench

import (
	"crypto/sha256"
	"encoding/binary"
)

// A batch is one bulk body and what it holds.
type batch struct {
	number   int
	body     []byte
	rows     int
	sections []section
}

// A section is one member's rows in a batch. Until it is acknowledged its first
// id is 0; after that row i has id first+i.
type section struct {
	member  int32
	rows    int32
	first   int64
	digests []uint64 // one a row; nil if this member's values are not compared
}

// A maker turns a workload into batches.
type maker struct {
	gen      *generator
	accounts []Account
	compared func(member int) bool // whose rows get digests

	number int
	recs   []record
	vals   []byte
	ends   []int
	order  []int32 // members of this batch by first appearance
	slots  []slot  // per member
}

type slot struct{ head, tail, n int32 } // record numbers + 1, chained through next

// next makes the following batch, nil at the end. Rows of one member are brought
// together, as a deliverer would who sorts by person: a header line costs about
// as much as a row.
func (m *maker) next() *batch {
	m.recs = m.gen.next(m.recs)
	if len(m.recs) == 0 {
		return nil
	}
	if m.slots == nil {
		m.slots = make([]slot, m.gen.members)
	}
	chain := make([]int32, len(m.recs))
	m.order = m.order[:0]
	for i := range m.recs {
		s := &m.slots[m.recs[i].member]
		if s.n == 0 {
			m.order = append(m.order, int32(m.recs[i].member))
			s.head = int32(i)
		} else {
			chain[s.tail] = int32(i)
		}
		s.tail = int32(i)
		s.n++
	}
	b := &batch{number: m.number, rows: len(m.recs), sections: make([]section, 0, len(m.order))}
	m.number++
	perRow := 100
	if m.gen.kind == Tx {
		perRow = 300
	}
	b.body = make([]byte, 0, len(m.recs)*perRow+len(m.order)*140)
	for _, member := range m.order {
		sl := &m.slots[member]
		a := &m.accounts[member]
		sec := section{member: member, rows: sl.n}
		compared := m.compared != nil && m.compared(int(member))
		if compared {
			sec.digests = make([]uint64, 0, sl.n)
		}
		b.body = appendHeader(b.body, a, m.gen.kind)
		for i, n := sl.head, sl.n; n > 0; i, n = chain[i], n-1 {
			m.vals, m.ends = m.recs[i].values(m.gen.kind, m.vals[:0], m.ends[:0])
			b.body = appendRow(b.body, m.gen.kind, m.vals, m.ends)
			if compared {
				sec.digests = append(sec.digests, sentDigest(m.gen.kind, m.vals, m.ends, a.Withholds()))
			}
		}
		b.sections = append(b.sections, sec)
		*sl = slot{}
	}
	return b
}

func appendHeader(b []byte, a *Account, k Kind) []byte {
	b = append(append(b, `{"con_id":"`...), a.ConID...)
	b = append(append(b, `","key":"`...), a.Key...)
	b = append(append(b, `","dataset":"`...), k.Dataset()...)
	return append(b, `","instance":0}`+"\n"...)
}

// A row's digest covers the names and values that its reader is to see, in the
// order of Kind.Fields, length-prefixed.
func appendDigestPart(b []byte, name string, text []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func sentDigest(k Kind, vals []byte, ends []int, withhold bool) uint64 {
	var stack [512]byte
	b := stack[:0]
	from := 0
	for i, name := range k.Fields() {
		if !withhold || name != k.Withheld() {
			b = appendDigestPart(b, name, vals[from:ends[i]])
		}
		from = ends[i]
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// readDigest is the digest of a row as it was read; fields that the workload
// does not have (id, source, times) do not count, nor does one that should have
// been withheld: showing it is another fault than losing it.
func readDigest(k Kind, vals []value, withhold bool) uint64 {
	var stack [512]byte
	b := stack[:0]
	next := 0 // servers keep the order of the fields, so this hits nearly always
	for _, name := range k.Fields() {
		if withhold && name == k.Withheld() {
			continue
		}
		for range vals {
			v := &vals[next]
			if next++; next == len(vals) {
				next = 0
			}
			if string(v.name) == name {
				if !v.null {
					b = appendDigestPart(b, name, v.text)
				}
				break
			}
		}
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}
