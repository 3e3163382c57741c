package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/api/ndjson"
	"holdfast/storage/seal"
)

const bulkPath = "/pdx/v1/bulk"

func (s *Server) bulkRoutes() { s.handle("POST", bulkPath, problems, s.postBulk) }

// postBulk takes sections as newline-delimited JSON and answers a line for
// each, then a summary. The body is read, scanned and delivered in waves, one
// wave being decided while the next is read; the answer is sent when all was
// decided. Without its last line an answer means "unknown".
func (s *Server) postBulk(ctx *fasthttp.RequestCtx) error {
	who, id, err := s.bulkHeader(ctx)
	if err != nil {
		return err
	}
	body, err := openBody(ctx, s.limits.BulkBody, s.limits.BulkExpanded, s.limits.BulkRatio)
	if err != nil {
		return err
	}
	defer body.release()
	var last time.Time
	body.keepAlive = func() {
		if now := time.Now(); now.Sub(last) > time.Second {
			last = now
			_ = ctx.SetReadDeadline(now.Add(s.limits.BulkTimeout))
		}
	}
	small := body.decoder == nil && body.length >= 0 && body.length < smallSlab
	b := bulks.Get().(*bulk)
	b.begin(s, who, id, small)
	out, err := b.run(body)
	if err != nil {
		b.release()
		return err
	}
	ctx.SetContentType("application/x-ndjson")
	ctx.SetBody(out) // copies
	b.release()
	return nil
}

// bulkHeader decides what can be decided before the body is there.
func (s *Server) bulkHeader(ctx *fasthttp.RequestCtx) (who *subscriber, id idempotency, err error) {
	if who, err = s.authenticate(ctx, ScopePDX); err != nil {
		return nil, id, err
	}
	if id, err = idempotencyOf(ctx, who); err != nil {
		return nil, id, err
	}
	switch ct, _, _ := strings.Cut(string(ctx.Request.Header.ContentType()), ";"); strings.TrimSpace(ct) {
	case "application/x-ndjson", "application/ndjson":
		return who, id, nil
	}
	return nil, id, errMedia.with("Content-Type: application/x-ndjson")
}

const (
	slabSize  = 1 << 20
	smallSlab = 64 << 10
)

var (
	slabs      = sync.Pool{New: func() any { return new([slabSize]byte) }}
	smallSlabs = sync.Pool{New: func() any { return new([smallSlab]byte) }}
	waves      = sync.Pool{New: func() any { return new(wave) }}
	bulks      = sync.Pool{New: func() any { return &bulk{decided: make(chan error, 1)} }}
)

// wave is a run of sections that are delivered together. It owns the memory
// that their values lie in.
type wave struct {
	slabs []any // *[slabSize]byte, *[smallSlab]byte, or a []byte that no pool wants
	scan  ndjson.Scanner
	secs  []actors.Section
	ptrs  []*actors.Section
	outs  []outcome
	bytes int
}

// outcome is one section of the answer: either secs[sec] or a refusal that no
// member hears of.
type outcome struct {
	uid    pds.UID
	nid    pds.NID
	known  bool // uid and nid are set
	sec    int32
	reason *Problem
	shown  *Problem // what is answered if the section ends as it was refused here
}

// slab gives the wave n bytes more of memory.
func (w *wave) slab(n int, small bool) []byte {
	switch {
	case n <= smallSlab && small:
		p := smallSlabs.Get().(*[smallSlab]byte)
		w.slabs = append(w.slabs, p)
		return p[:]
	case n <= slabSize:
		p := slabs.Get().(*[slabSize]byte)
		w.slabs = append(w.slabs, p)
		return p[:]
	}
	return make([]byte, n)
}

// release gives the wave's memory back. It must not be called while anybody
// may still look at the sections, that is after a Deliver that failed.
func (w *wave) release() {
	w.scan.Reset()
	for _, p := range w.slabs {
		switch p := p.(type) {
		case *[slabSize]byte:
			slabs.Put(p)
		case *[smallSlab]byte:
			smallSlabs.Put(p)
		}
	}
	clear(w.slabs)
	clear(w.secs)
	clear(w.ptrs)
	clear(w.outs)
	w.slabs, w.secs, w.ptrs, w.outs, w.bytes = w.slabs[:0], w.secs[:0], w.ptrs[:0], w.outs[:0], 0
	waves.Put(w)
}

// bulk is one bulk request. It is used by the handler's goroutine alone, except
// that a wave belongs to its Deliver until decided says so.
type bulk struct {
	s     *Server
	who   *subscriber
	id    idempotency
	small bool
	began bool // something was delivered

	w          *wave
	buf        []byte // the slab being filled
	start, end int    // bytes of buf that were read and not scanned
	hashed     int    // bytes of buf before start that are in the command id already

	open struct { // the section being read
		is     bool
		number uint32
		ds     *dataset
		head   ndjson.Header
		key    seal.MemberKey
		known  bool // the client owns the connection
		reason *Problem
		refuse *pds.Error
		shown  *Problem // what the answer says of refuse, nil: what it says itself
		rows   int
		bytes  int
	}
	sections uint32

	flying  *wave
	decided chan error
	dead    error // a Deliver failed as a whole: nothing more is delivered

	answer                  []byte
	line                    uint64
	accepted, refused, rows uint64
}

func (b *bulk) begin(s *Server, who *subscriber, id idempotency, small bool) {
	b.s, b.who, b.id, b.small = s, who, id, small
	b.w = waves.Get().(*wave)
	b.buf = b.w.slab(smallSlab, small)
}

func (b *bulk) release() {
	if b.w != nil {
		b.w.release()
	}
	*b = bulk{decided: b.decided, answer: b.answer[:0]}
	if cap(b.answer) > 1<<20 {
		b.answer = nil
	}
	bulks.Put(b)
}

// run reads the body to its end and returns the answer, which is valid until
// release.
func (b *bulk) run(body *bodyReader) ([]byte, error) {
	err := b.read(body)
	if b.dead != nil {
		return b.undecided(b.dead)
	}
	if err != nil {
		// A section that was not read to its end is refused as a whole. If
		// nothing else was asked for, the request is.
		p := problemOf(err)
		if !b.open.is && b.sections == 0 || p != errCutOff && !b.began {
			return nil, err
		}
		if !b.open.is {
			b.openSection()
		}
		b.fail(p)
	} else if b.sections == 0 {
		return nil, errMalformed.with("no section")
	}
	b.closeSection(b.start)
	if err := b.finish(); err != nil {
		return b.undecided(err)
	}
	b.answer = append(b.answer, `{"sections":`...)
	b.answer = strconv.AppendUint(b.answer, uint64(b.sections), 10)
	b.answer = append(b.answer, `,"accepted":`...)
	b.answer = strconv.AppendUint(b.answer, b.accepted, 10)
	b.answer = append(b.answer, `,"refused":`...)
	b.answer = strconv.AppendUint(b.answer, b.refused, 10)
	b.answer = append(b.answer, `,"rows":`...)
	b.answer = strconv.AppendUint(b.answer, b.rows, 10)
	b.answer = append(b.answer, "}\n"...)
	b.s.counts.rows.Add(int(b.rows))
	b.s.counts.sections.Add(int(b.sections))
	b.s.counts.refused.Add(int(b.refused))
	return b.answer, nil
}

// undecided ends a request whose wave failed as a whole: what was decided before
// is told, without a last line.
func (b *bulk) undecided(err error) ([]byte, error) {
	if b.line == 0 {
		return nil, err
	}
	return b.answer, nil
}

// read scans the body. The error is that of the body, or errTooLarge; what came
// before it was scanned.
func (b *bulk) read(body *bodyReader) error {
	skip := false // inside a line that is too long
	var end error
	for {
		if i := bytes.IndexByte(b.buf[b.start:b.end], '\n'); i >= 0 {
			line := b.buf[b.start : b.start+i]
			b.start += i + 1
			if skip {
				skip, b.hashed = false, b.start
				continue
			}
			if err := b.take(line, i+1); err != nil {
				return err
			}
			continue
		}
		if end != nil {
			if end != io.EOF {
				return end
			}
			line := b.buf[b.start:b.end]
			b.start = b.end
			if len(line) == 0 || skip {
				return nil
			}
			return b.take(line, len(line))
		}
		if skip {
			b.start, b.hashed = b.end, b.end
		}
		if b.end == len(b.buf) {
			skip = b.more(skip)
		}
		var n int
		n, end = body.Read(b.buf[b.end:])
		b.end += n
	}
}

// more makes room behind the pending bytes, which are moved to a new slab:
// values of earlier lines lie in the old one. It returns true if the pending
// line is too long, and drops it.
func (b *bulk) more(skip bool) bool {
	b.flushHash(b.start)
	pending := b.buf[b.start:b.end]
	if len(pending) > ndjson.MaxLine && !skip {
		// Such a line could be a header: what follows is not the open section's.
		if ndjson.IsHeader(pending) || !b.open.is {
			b.closeSection(b.start)
			b.openSection()
		}
		b.fail(errTooLarge.with("line over 1 MiB"))
		pending, skip = nil, true
	}
	next := b.w.slab(max(smallSlab, 2*len(pending)), b.small)
	b.end = copy(next, pending)
	b.buf, b.start, b.hashed = next, 0, 0
	return skip
}

// take handles one line; size includes its newline.
func (b *bulk) take(line []byte, size int) error {
	if ndjson.IsHeader(line) {
		b.closeSection(b.start - size)
		if int(b.sections) >= b.s.limits.Sections {
			clear(line)
			b.openSection()
			return errTooLarge.with("too many sections")
		}
		if len(b.w.outs) >= b.s.limits.WaveSections || b.w.bytes >= b.s.limits.WaveBytes {
			// The line stays where it is: its wave is not released before the next
			// rotation.
			if err := b.rotate(); err != nil {
				return err
			}
		}
		b.header(line)
		return nil
	}
	o := &b.open
	if !o.is {
		if len(bytes.TrimSpace(line)) == 0 {
			b.hashed = b.start
			return nil
		}
		b.openSection()
		b.fail(errMalformed.with("row before a section's first line"))
	}
	o.bytes += size
	if o.reason != nil || o.refuse != nil {
		return nil
	}
	if o.rows >= b.s.limits.SectionRows || o.bytes > b.s.limits.SectionBytes {
		if len(bytes.TrimSpace(line)) > 0 {
			o.refuse = pds.Refuse(pds.Invalid, pds.CodeTooLarge).In(o.ds.Name, "")
		}
		return nil
	}
	if err := b.w.scan.Row(line); err != nil {
		if err.Code != ndjson.Empty {
			o.refuse = scanError(o.ds, err, o.rows+1)
		}
		return nil
	}
	o.rows++
	return nil
}

// openSection starts a section of which nothing is known.
func (b *bulk) openSection() {
	o := &b.open
	o.is, o.number = true, b.sections
	o.ds, o.known, o.reason, o.refuse, o.shown, o.rows, o.bytes = nil, false, nil, nil, nil, 0, 0
	o.head = ndjson.Header{}
	b.sections++
	b.hashed = b.start
}

// fail refuses the open section for a reason found here.
func (b *bulk) fail(p *Problem) {
	o := &b.open
	if o.reason != nil || o.refuse != nil {
		return
	}
	if o.known {
		code := pds.CodeMalformed
		if p.Status == http.StatusRequestEntityTooLarge {
			code = pds.CodeTooLarge
		}
		o.refuse = pds.Refuse(pds.Invalid, code)
		o.refuse.Row = o.rows + 1
		shown := *p
		shown.Row = o.refuse.Row
		o.shown = &shown
		return
	}
	o.reason = p
}

// header starts a section with its first line, whose key is overwritten.
func (b *bulk) header(line []byte) {
	b.openSection()
	o := &b.open
	o.bytes = len(line)
	if err := ndjson.ParseHeader(line, &o.head); err != nil {
		// Wherever a key may stand in it, it is not kept.
		clear(line)
		o.head.Key, o.head.Dataset = nil, nil
		p := errMalformed.with("section's first line")
		p.Field = notKey(err.Field)
		o.reason = p
		return
	}
	b.id.begin(o.number)
	b.id.add(line)
	key, err := seal.ParseMemberKey(o.head.Key)
	clear(o.head.Key)
	o.head.Key = nil
	if !b.who.owns(pds.NID(o.head.NID)) {
		b.s.counts.unidentified.Inc()
		key.Wipe()
		o.reason = problemOf(pds.Refuse(pds.Denied, pds.CodeNoConnection))
		return
	}
	o.known, o.key = true, key
	key.Wipe()
	if err != nil {
		o.refuse = pds.Refuse(pds.Denied, pds.CodeWrongKey)
		return
	}
	o.ds = b.s.dataset(o.head.Dataset)
	if o.ds == nil {
		o.refuse = pds.Refuse(pds.Invalid, pds.CodeUnknownDataset)
		return
	}
	b.w.scan.Begin(o.ds.names)
}

// flushHash adds the open section's bytes up to end to its command id.
func (b *bulk) flushHash(end int) {
	if b.id.on && b.open.is && end > b.hashed {
		b.id.add(b.buf[b.hashed:end])
	}
	b.hashed = end
}

// closeSection puts the open section, whose bytes end at end, into the wave.
func (b *bulk) closeSection(end int) {
	o := &b.open
	if !o.is {
		return
	}
	b.flushHash(end)
	o.is = false
	b.w.bytes += o.bytes
	out := outcome{uid: pds.UID(o.head.UID), nid: pds.NID(o.head.NID), known: o.head.NID != 0, sec: -1, reason: o.reason}
	if o.reason != nil {
		b.w.outs = append(b.w.outs, out)
		return
	}
	out.sec, out.shown = int32(len(b.w.secs)), o.shown
	b.w.outs = append(b.w.outs, out)
	b.w.secs = append(b.w.secs, actors.Section{
		Caller:   actors.Caller{UID: out.uid, NID: out.nid, Key: o.key},
		Instance: o.head.Instance, N: o.rows, Number: o.number, Request: b.id.request, Command: b.id.command(), Refused: o.refuse,
	})
	o.key.Wipe()
	sec := &b.w.secs[out.sec]
	if o.ds != nil {
		sec.Dataset = o.ds.Dataset
	}
	if o.refuse != nil {
		return
	}
	sec.Fields, sec.Vals, sec.N = b.w.scan.Section()
	if sec.N == 0 || len(sec.Fields) == 0 {
		sec.Refused = pds.Refuse(pds.Invalid, pds.CodeEmpty).In(o.ds.Name, "")
		return
	}
	sec.Refused = checkValues(o.ds, sec.Fields, sec.Vals, sec.N)
}

// rotate delivers the wave while the rest of the body goes into a new one.
func (b *bulk) rotate() error {
	if err := b.land(); err != nil {
		return err
	}
	old := b.w
	b.w = waves.Get().(*wave)
	next := b.w.slab(max(smallSlab, b.end-b.start), b.small)
	b.end = copy(next, b.buf[b.start:b.end])
	b.buf, b.start, b.hashed = next, 0, 0
	b.flying, b.began = old, true
	go func() { b.decided <- b.decide(old) }()
	return nil
}

// decide delivers a wave. A panic ends the request, not the process.
func (b *bulk) decide(w *wave) (err error) {
	defer b.s.recovered(bulkPath, &err)
	if len(w.secs) == 0 {
		return nil
	}
	for i := range w.secs {
		w.ptrs = append(w.ptrs, &w.secs[i])
	}
	ctx, cancel := b.s.deadline(b.s.limits.Request)
	defer cancel()
	return b.s.store.Deliver(ctx, w.ptrs)
}

// land waits for the wave that is being delivered and answers its sections.
func (b *bulk) land() error {
	w := b.flying
	if w == nil {
		return nil
	}
	b.flying = nil
	if err := <-b.decided; err != nil {
		b.dead = err // and the wave is left to whoever still holds it
		return err
	}
	b.tell(w)
	w.release()
	return nil
}

// finish delivers the last wave.
func (b *bulk) finish() error {
	if err := b.land(); err != nil {
		return err
	}
	w := b.w
	b.w, b.buf = nil, nil
	b.began = true
	if err := b.decide(w); err != nil {
		return err
	}
	b.tell(w)
	w.release()
	return nil
}

// tell appends a wave's lines to the answer.
func (b *bulk) tell(w *wave) {
	for i := range w.outs {
		o := &w.outs[i]
		reason := o.reason
		var sec *actors.Section
		if reason == nil {
			sec = &w.secs[o.sec]
			sec.Caller.Key.Wipe()
			if sec.Refused != nil {
				reason = problemOf(sec.Refused)
				if o.shown != nil && reason.Status == o.shown.Status {
					reason = o.shown
				}
			}
		}
		a := append(b.answer, `{"section":`...)
		a = strconv.AppendUint(a, b.line, 10)
		if o.known {
			a = append(a, `,"con_id":"`...)
			a = strconv.AppendUint(a, uint64(o.uid), 10)
			a = append(a, '-')
			a = strconv.AppendUint(a, uint64(o.nid), 10)
			a = append(a, '"')
		}
		b.line++
		if reason != nil {
			b.refused++
			b.answer = append(appendReason(a, reason), "}\n"...)
			continue
		}
		b.accepted++
		b.rows += uint64(sec.N)
		a = append(a, `,"rows":`...)
		a = strconv.AppendUint(a, uint64(sec.N), 10)
		a = append(a, `,"first_id":`...)
		a = strconv.AppendUint(a, sec.First, 10)
		a = append(a, `,"last_id":`...)
		a = strconv.AppendUint(a, sec.Last, 10)
		if sec.Replayed {
			a = append(a, `,"replayed":true`...)
		}
		b.answer = append(a, "}\n"...)
	}
}

// appendReason appends a refusal's members.
func appendReason(a []byte, p *Problem) []byte {
	a = append(a, `,"status":`...)
	a = strconv.AppendUint(a, uint64(p.Status), 10)
	for _, m := range [...]struct{ name, value string }{
		{"type", "/problems/" + p.Slug}, {"title", p.Title}, {"detail", p.Detail}, {"dataset", p.Dataset}, {"field", p.Field},
	} {
		if m.value == "" {
			continue
		}
		v, err := json.Marshal(m.value)
		if err != nil {
			continue
		}
		a = append(append(append(append(a, `,"`...), m.name...), `":`...), v...)
	}
	if p.Row > 0 {
		a = append(a, `,"row":`...)
		a = strconv.AppendUint(a, uint64(p.Row), 10)
	}
	if p.RetryAfter > 0 {
		a = append(a, `,"retry_after":`...)
		a = strconv.AppendUint(a, uint64(p.RetryAfter), 10)
	}
	return a
}
