package pds

import (
	"encoding/binary"
)

// Commands are what actors propose and every replica applies.
//
//	1 version (1) · 1 type · body
//
// type 1, member command, all or nothing:
//
//	16 member · 8 expected head · 8 activation term · 8 time ms · uv n × op
//
// op:
//
//	 1 flags: 1 needs an active link, 2 idempotent, 4 mutation, 8 outbox
//	16 command id · 16 link · uv consent · uv generation · 1 result
//	uv n × (16 tag · 4 length · data record)
//	n × 32 SHA-256 of those records
//	 1 key kind · uv key number · 32 commitment · bytes entry
//	flag 2: 16 request · uv section
//	flag 4: bytes mutation
//	flag 8: 8 slot id · bytes sealed outbox item
//
// type 2, put: 1 kind-of-space (always 'k') is implied · 4 kind · 16 hash ·
// 8 version expected · bytes value. type 3, delete: 4 kind · 16 hash ·
// 8 version. type 4, count: 16 hash. type 5, log leaves: 8 time ms ·
// uv n × (16 member · 8 sequence · 32 leaf). type 6, purge idempotency:
// 8 before ms. type 7, outbox done: 8 sequence · 16 member · 8 slot id.
// type 8, log head: bytes signed checkpoint.
const (
	commandVersion = 1

	cmdMember   = 1
	cmdPut      = 2
	cmdDelete   = 3
	cmdCount    = 4
	cmdLeaves   = 5
	cmdPurge    = 6
	cmdSent     = 7
	cmdLogHead  = 8
	flagLink    = 1
	flagIdem    = 2
	flagMutate  = 4
	flagOutbox  = 8
	maxOps      = 64
	maxMutation = 1 << 20
)

// Limits of one member command.
const (
	MaxOps          = maxOps
	MaxCommandBytes = 1 << 20
	MaxSectionRows  = 20000
)

// Builder assembles one member command. Data records and entries are sealed
// straight into its buffer.
type Builder struct {
	b    []byte
	nops int
	at   int // where the op count stands
	rec  int // start of the open record's length
	recs []span
	op   Operation
}

type span struct{ from, to int }

// Operation is the clear part of an operation.
type Operation struct {
	Link       LinkID
	Active     bool // refuse unless the link is active under Consent and Generation
	Command    [16]byte
	Consent    uint64
	Generation uint64
	Result     Code
	KeyKind    uint8
	KeyNumber  uint64
	Commitment [32]byte
	Request    [16]byte // zero: not idempotent
	Section    uint32
	Mutation   []byte
	OutboxSlot uint64
	Outbox     []byte
}

// Begin starts a command. size is a hint for its length.
func (c *Builder) Begin(m MemberID, expected, term uint64, timeMS int64, size int) {
	e := enc{make([]byte, 0, size)}
	e.u8(commandVersion)
	e.u8(cmdMember)
	e.raw(m[:])
	e.u64(expected)
	e.u64(term)
	e.u64(uint64(timeMS))
	c.at = len(e.b)
	e.u8(0)
	c.b, c.nops = e.b, 0
}

// Len is how many bytes the command has so far, Ops how many operations.
func (c *Builder) Len() int { return len(c.b) }
func (c *Builder) Ops() int { return c.nops }

// BeginOp opens an operation with n data records, which must follow.
func (c *Builder) BeginOp(op *Operation, n int) {
	c.op = *op
	var fl uint8
	if op.Active {
		fl |= flagLink
	}
	if op.Request != [16]byte{} {
		fl |= flagIdem
	}
	if len(op.Mutation) > 0 {
		fl |= flagMutate
	}
	if len(op.Outbox) > 0 {
		fl |= flagOutbox
	}
	e := enc{c.b}
	e.u8(fl)
	e.raw(op.Command[:])
	e.raw(op.Link[:])
	e.uv(op.Consent)
	e.uv(op.Generation)
	e.u8(uint8(op.Result))
	e.uv(uint64(n))
	c.b = e.b
	c.recs = c.recs[:0]
}

// BeginRecord opens a data record of a tag and returns the buffer to append
// it to; EndRecord takes it back.
func (c *Builder) BeginRecord(tag Tag) []byte {
	e := enc{c.b}
	e.raw(tag[:])
	c.rec = len(e.b)
	e.u32(0)
	return e.b
}

func (c *Builder) EndRecord(b []byte) {
	binary.BigEndian.PutUint32(b[c.rec:], uint32(len(b)-c.rec-4))
	c.recs = append(c.recs, span{c.rec + 4, len(b)})
	c.b = b
}

// Records calls f with every record of the open operation and stores the
// digest it returns.
func (c *Builder) Digests(f func(rec []byte) [32]byte) {
	for _, s := range c.recs {
		h := f(c.b[s.from:s.to])
		c.b = append(c.b, h[:]...)
	}
}

// EndOp closes the operation with its sealed entry.
func (c *Builder) EndOp(kind uint8, number uint64, commitment [32]byte, entry []byte) {
	e := enc{c.b}
	e.u8(kind)
	e.uv(number)
	e.raw(commitment[:])
	e.bytes(entry)
	if c.op.Request != [16]byte{} {
		e.raw(c.op.Request[:])
		e.uv(uint64(c.op.Section))
	}
	if len(c.op.Mutation) > 0 {
		e.bytes(c.op.Mutation)
	}
	if len(c.op.Outbox) > 0 {
		e.u64(c.op.OutboxSlot)
		e.bytes(c.op.Outbox)
	}
	c.b = e.b
	c.nops++
	c.b[c.at] = uint8(c.nops)
}

// Bytes is the finished command; the builder must not be used until Begin.
func (c *Builder) Bytes() []byte {
	b := c.b
	b[c.at] = uint8(c.nops) // an operation that was taken back may have counted itself
	c.b = nil
	return b
}

// command is a decoded member command. Its slices alias the input.
type command struct {
	member   MemberID
	expected uint64
	term     uint64
	time     int64
	ops      []decodedOp
}

type decodedOp struct {
	Operation
	flags   uint8
	tags    []Tag
	recs    [][]byte
	digests []byte
	entry   []byte
}

func (c *command) decode(b []byte) bool {
	d := dec{b: b}
	c.member = d.a16()
	c.expected = d.u64()
	c.term = d.u64()
	c.time = int64(d.u64())
	n := int(d.u8())
	if d.bad || n == 0 || n > maxOps || c.time < 0 {
		return false
	}
	if cap(c.ops) < n {
		c.ops = make([]decodedOp, n)
	}
	c.ops = c.ops[:n]
	for i := range c.ops {
		o := &c.ops[i]
		tags, recs := o.tags[:0], o.recs[:0]
		*o = decodedOp{}
		o.flags = d.u8()
		if o.flags > 15 {
			return false
		}
		o.Active = o.flags&flagLink != 0
		o.Command = d.a16()
		o.Link = d.a16()
		o.Consent = d.uv()
		o.Generation = d.uv()
		o.Result = Code(d.u8())
		k := d.count(20)
		for range k {
			tags = append(tags, d.a16())
			recs = append(recs, d.take(int(d.u32())))
		}
		o.tags, o.recs = tags, recs
		o.digests = d.take(32 * k)
		o.KeyKind = d.u8()
		o.KeyNumber = d.uv()
		o.Commitment = d.a32()
		o.entry = d.bytes()
		if o.flags&flagIdem != 0 {
			o.Request = d.a16()
			o.Section = d.uv32()
		}
		if o.flags&flagMutate != 0 {
			o.Mutation = d.bytes()
		}
		if o.flags&flagOutbox != 0 {
			o.OutboxSlot = d.u64()
			o.Outbox = d.bytes()
		}
		if d.bad {
			return false
		}
	}
	return d.done()
}

// Commands of the registry and of upkeep.

// PutCommand stores value under kind and hash iff the present version is v.
func PutCommand(kind [4]byte, hash [16]byte, v uint64, value []byte) []byte {
	e := enc{make([]byte, 0, len(value)+40)}
	e.u8(commandVersion)
	e.u8(cmdPut)
	e.raw(kind[:])
	e.raw(hash[:])
	e.u64(v)
	e.bytes(value)
	return e.b
}

// DeleteCommand removes it iff the version is v; 0 means any.
func DeleteCommand(kind [4]byte, hash [16]byte, v uint64) []byte {
	e := enc{make([]byte, 0, 40)}
	e.u8(commandVersion)
	e.u8(cmdDelete)
	e.raw(kind[:])
	e.raw(hash[:])
	e.u64(v)
	return e.b
}

// CountCommand increments a counter.
func CountCommand(hash [16]byte) []byte {
	e := enc{make([]byte, 0, 20)}
	e.u8(commandVersion)
	e.u8(cmdCount)
	e.raw(hash[:])
	return e.b
}

// Leaf is one member's head to be logged.
type Leaf struct {
	Member   MemberID
	Sequence uint64
	Leaf     [32]byte
}

// LeavesCommand appends leaves to the transparency log.
func LeavesCommand(timeMS int64, ls []Leaf) []byte {
	e := enc{make([]byte, 0, 20+56*len(ls))}
	e.u8(commandVersion)
	e.u8(cmdLeaves)
	e.u64(uint64(timeMS))
	e.uv(uint64(len(ls)))
	for i := range ls {
		e.raw(ls[i].Member[:])
		e.u64(ls[i].Sequence)
		e.raw(ls[i].Leaf[:])
	}
	return e.b
}

// LogHeadCommand stores a signed checkpoint.
func LogHeadCommand(checkpoint []byte) []byte {
	e := enc{make([]byte, 0, 20+len(checkpoint))}
	e.u8(commandVersion)
	e.u8(cmdLogHead)
	e.bytes(checkpoint)
	return e.b
}

// PurgeCommand forgets idempotency records older than before.
func PurgeCommand(beforeMS int64) []byte {
	e := enc{make([]byte, 0, 20)}
	e.u8(commandVersion)
	e.u8(cmdPurge)
	e.u64(uint64(beforeMS))
	return e.b
}

// SentCommand removes a delivered outbox item and erases its slot.
func SentCommand(m MemberID, seq, slot uint64) []byte {
	e := enc{make([]byte, 0, 40)}
	e.u8(commandVersion)
	e.u8(cmdSent)
	e.raw(m[:])
	e.u64(seq)
	e.u64(slot)
	return e.b
}
