package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Options are the arguments of a push.
type Options struct {
	Map    []byte   // the map file
	Data   []string // files and directories; "-" is Stdin
	Stdin  io.Reader
	Keys   string // keys file; may be missing in a dry run
	Client string // client file; unused in a dry run
	URL    string // replaces pdx_url of the client file
	// NID takes only agreements whose con_id ends in -NID; default the client
	// file's nid, if it has one, else all.
	NID string

	// Rejects is where rows go that cannot be delivered: CSV if the name ends in
	// .csv, else NDJSON. Default holdfast-push-<id>.rejects.ndjson in the working
	// directory, made when needed; in a dry run rejects are only counted.
	Rejects string
	// State is the state file, default beside Rejects.
	State string

	Batch    int           // records a request, default 10,000, at most 20,000
	Parallel int           // requests in flight, default 4, at most 8
	DryRun   bool          // map and count, send nothing, keep no state
	GiveUp   time.Duration // how long one batch is retried, default 15 minutes

	Progress io.Writer // progress and warnings; nil for none
}

const (
	groupsOpen = 8    // files of different members read in turn
	quantum    = 2000 // rows each time
)

func (o *Options) defaults() error {
	if o.Batch == 0 {
		o.Batch = 10000
	}
	if o.Parallel == 0 {
		o.Parallel = 4
	}
	if o.GiveUp == 0 {
		o.GiveUp = 15 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Batch < 1 || o.Batch > maxSectionRows {
		return fmt.Errorf("batch must be 1 to %d", maxSectionRows)
	}
	if o.Parallel < 1 || o.Parallel > lanes {
		return fmt.Errorf("parallel must be 1 to %d", lanes)
	}
	return nil
}

// Run pushes, or resumes a push. The Summary is filled as far as it is known
// also when there is an error; then the push is incomplete, and running it
// again with the same Options resumes it.
func Run(ctx context.Context, o Options) (Summary, error) {
	begun := time.Now()
	p := &push{Options: o, tally: newTally()}
	err := p.run(ctx)
	s := p.summary()
	s.Duration = time.Since(begun)
	return s, err
}

type push struct {
	Options
	m       *Map
	ins     []*input
	keys    *keyring
	client  *client
	journal *journal
	id      [sha256.Size]byte
	total   int64 // bytes of input
	*tally

	slots  chan struct{} // requests in flight
	zip    *zstd.Encoder
	resume [lanes]int // batches below were acknowledged in an earlier run
	ready  [lanes]chan *batch
}

// configure is run's hook for tests.
var configure = func(*client) {}

func (p *push) run(ctx context.Context) (err error) {
	if err := p.defaults(); err != nil {
		return err
	}
	if p.m, err = ParseMap(p.Map); err != nil {
		return err
	}
	warn := func(s string) { fmt.Fprintln(p.Progress, "push: warning:", s) }
	var who credentials
	if !p.DryRun {
		c, err := readClient(p.Client, p.URL, warn)
		if err != nil {
			return err
		}
		who = *c
		if p.NID == "" {
			p.NID = c.NID.String()
		}
		p.client = newClient(c, p.Parallel, p.GiveUp)
		configure(p.client)
	}
	if p.Keys != "" || !p.DryRun {
		if p.keys, err = readKeys(p.Keys, p.NID, warn); err != nil {
			return err
		}
	}
	if p.ins, err = inputs(p.Data, p.m.Source.Files, p.Stdin); err != nil {
		return err
	}
	for _, in := range p.ins {
		p.total += in.size
	}
	p.id = pushID(p.m, p.Map, who.PDX, who.ClientID, p.Batch, p.ins)
	if err := p.openJournal(warn); err != nil {
		return err
	}
	if p.journal.done != nil {
		return p.journal.close()
	}
	bar := newProgress(p.Progress, p.total, p.tally, p.DryRun)
	err = p.transfer(ctx)
	bar.stop()
	if err == nil {
		err = p.journal.finish(p.lastLine())
	}
	return errors.Join(err, p.journal.close())
}

func (p *push) openJournal(warn func(string)) (err error) {
	if p.DryRun {
		p.journal = newJournal(p.Rejects)
		if p.Rejects != "" {
			return unused(p.Rejects)
		}
		return nil
	}
	base := "holdfast-push-" + hex.EncodeToString(p.id[:4])
	named := p.Rejects != ""
	if !named {
		p.Rejects = base + ".rejects.ndjson"
		if p.State != "" {
			p.Rejects = filepath.Join(filepath.Dir(p.State), p.Rejects)
		}
	}
	if p.State == "" {
		p.State = base + ".state"
		if named {
			p.State = p.Rejects + ".state"
		}
	}
	p.journal, err = openJournal(p.State, p.Rejects, hex.EncodeToString(p.id[:]), p.keys.digest, time.Now())
	if err != nil {
		return err
	}
	p.resume = p.journal.next
	for i := range p.journal.before {
		p.tally.earlier(&p.journal.before[i])
	}
	if d := p.journal.done; d != nil {
		p.tally.restore(d)
		return nil
	}
	if len(p.journal.before) > 0 && time.Since(p.journal.last) > 24*time.Hour {
		warn("the push was interrupted more than a day ago: up to 8 batches that were in flight then may be delivered twice")
	}
	if named {
		return p.journal.create()
	}
	return nil
}

// transfer reads, cuts and sends until all is acknowledged.
func (p *push) transfer(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := newCutter(ctx, p.m, p.keys, p.Batch, p.tally)
	c.rejects = func(file, line int, reason string, raw []byte) error {
		return p.journal.reject(p.ins[file].path, line, reason, raw)
	}
	var wg sync.WaitGroup
	if p.DryRun {
		c.out = func(b *batch) error { batches.Put(b); return ctx.Err() }
	} else {
		var err error
		// The window bounds what the server needs to decode a body.
		if p.zip, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(2)); err != nil {
			return err
		}
		defer p.zip.Close()
		p.slots = make(chan struct{}, p.Parallel)
		for lane := range p.ready {
			p.ready[lane] = make(chan *batch, 1)
			wg.Go(func() {
				p.lane(ctx, cancel, p.ready[lane])
			})
		}
		c.out = func(b *batch) error { return p.hand(ctx, b) }
	}
	err := p.read(ctx, c)
	if err == nil {
		err = c.finish()
	}
	if err != nil {
		cancel(err)
	}
	if !p.DryRun {
		for lane := range p.ready {
			close(p.ready[lane])
		}
	}
	wg.Wait()
	p.members.Store(int64(c.members))
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return nil
}

// hand passes a full batch to its lane, unless an earlier run delivered it.
func (p *push) hand(ctx context.Context, b *batch) error {
	if b.seq < p.resume[b.lane] {
		batches.Put(b)
		return context.Cause(ctx)
	}
	select {
	case p.ready[b.lane] <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// prepared is a batch with its body, compressed or not.
type prepared struct {
	*batch
	body   []byte
	zipped bool
}

// compress leaves a body alone that shrinks so well that a server could take it
// for a bomb: ours refuses 200 bytes for one sent, after the first MiB.
func (p *push) compress(b *batch, plain []byte) prepared {
	small := p.zip.EncodeAll(plain, nil)
	if len(plain) > 1<<20+150*len(small) {
		return prepared{b, bytes.Clone(plain), false}
	}
	return prepared{b, small, true}
}

// lane delivers batches one after another; the next one is encoded meanwhile.
// After a failure it cancels ctx and sends nothing more.
func (p *push) lane(ctx context.Context, cancel context.CancelCauseFunc, in <-chan *batch) {
	encoded := make(chan prepared)
	go func() {
		defer close(encoded)
		var plain []byte
		for b := range in {
			if ctx.Err() != nil {
				continue
			}
			plain = b.body(plain[:0], p.m, p.keys)
			encoded <- p.compress(b, plain)
		}
		clear(plain[:cap(plain)]) // it held Member Keys
	}()
	for b := range encoded {
		if ctx.Err() != nil {
			continue
		}
		if err := p.deliver(ctx, b); err != nil {
			cancel(err)
		}
	}
}

func (p *push) deliver(ctx context.Context, b prepared) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	o, err := p.client.deliver(ctx, b.key(p.id), &b)
	<-p.slots
	if err != nil {
		return err
	}
	if err := p.journal.acked(b.batch, o, p.ins, time.Now()); err != nil {
		return err
	}
	p.tally.answered(b.batch, o, int64(len(b.body)))
	batches.Put(b.batch)
	return nil
}

// read feeds every row to the cutter. The order depends on map, inputs and keys only.
func (p *push) read(ctx context.Context, c *cutter) error {
	groups, err := p.groups(c)
	if err != nil {
		return err
	}
	type slot struct {
		files []int
		rd    *reader
	}
	var slots []*slot
	defer func() {
		for _, s := range slots {
			if s.rd != nil {
				s.rd.close()
			}
		}
	}()
	for len(groups) > 0 && len(slots) < groupsOpen {
		slots, groups = append(slots, &slot{files: groups[0]}), groups[1:]
	}
	for len(slots) > 0 {
		for i := 0; i < len(slots); i++ {
			s := slots[i]
			if s.rd == nil {
				if s.rd, err = open(p.m, p.ins[s.files[0]], s.files[0], &p.bytesRead); err != nil {
					return err
				}
			}
			more, err := p.some(ctx, s.rd, c)
			if err != nil {
				return err
			}
			if more {
				continue
			}
			s.rd.close()
			if err := s.rd.in.unchanged(); err != nil {
				return err
			}
			s.rd, s.files = nil, s.files[1:]
			if len(s.files) > 0 {
				continue
			}
			if len(groups) > 0 {
				s.files, groups = groups[0], groups[1:]
				continue
			}
			slots = append(slots[:i], slots[i+1:]...)
			i--
		}
	}
	return nil
}

// some maps up to quantum rows. It reports false at the end of the file.
func (p *push) some(ctx context.Context, rd *reader, c *cutter) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, context.Cause(ctx)
	}
	c.file = rd.index
	for n := range quantum {
		r, err := rd.rows.next()
		if err == io.EOF {
			p.rowsRead.Add(int64(n))
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", rd.in.path, err)
		}
		if err := rd.mapper.row(r, c); err != nil {
			return false, err
		}
	}
	p.rowsRead.Add(quantum)
	return true, nil
}

// groups divides the files into those that may be read in turn: if the file
// alone decides the members, files of the same members are a group. Else all are one.
func (p *push) groups(c *cutter) ([][]int, error) {
	all := make([]int, len(p.ins))
	for i := range all {
		all[i] = i
	}
	for i := range p.m.Records {
		for _, r := range p.m.Records[i].Ref {
			if r.Column != "" {
				return [][]int{all}, nil
			}
		}
	}
	var groups [][]int
	at := map[string]int{}
	owner := map[int]int{} // connection -> group
	for i, in := range p.ins {
		var cons []int
		for j := range p.m.Records {
			var refs []*expr
			for k := range p.m.Records[j].Ref {
				e, err := compile(&p.m.Records[j].Ref[k], in.place, nil)
				if err != nil {
					return nil, err
				}
				refs = append(refs, e)
			}
			con, _, _ := (&recordMapper{refs: refs}).find(nil, nil, c)
			cons = append(cons, con)
		}
		key := fmt.Sprint(cons)
		g, ok := at[key]
		if !ok {
			g = len(groups)
			at[key] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
		for _, con := range cons {
			if have, ok := owner[con]; ok && have != g && con >= 0 {
				return [][]int{all}, nil
			}
			owner[con] = g
		}
	}
	return groups, nil
}

// tally counts what happened; its counters may be read at any time.
type tally struct {
	bytesRead, rowsRead, mapped, skipped, members atomic.Int64
	delivered, deliveredBefore                    atomic.Int64
	requests, bytesSent                           atomic.Int64

	mu              sync.Mutex
	rejected        map[string]int64
	refused         map[string]int64
	refusedRows     int64
	refusedSections int64
}

func newTally() *tally {
	return &tally{rejected: map[string]int64{}, refused: map[string]int64{}}
}

func (t *tally) reject(rule string) {
	t.mu.Lock()
	t.rejected[rule]++
	t.mu.Unlock()
}

func (t *tally) answered(b *batch, o *outcome, sent int64) {
	t.requests.Add(1)
	t.bytesSent.Add(sent)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, r := range o.sections {
		rows := int64(b.sections[i].rows)
		if r == nil {
			t.delivered.Add(rows)
			continue
		}
		t.refusedSections++
		t.refusedRows += rows
		t.refused[r.rule()] += rows
	}
}

// earlier counts what an earlier run had acknowledged.
func (t *tally) earlier(l *stateLine) {
	t.delivered.Add(l.Rows)
	t.deliveredBefore.Add(l.Rows)
	t.refusedRows += l.RefusedRows
	t.refusedSections += l.RefusedSections
	for r, n := range l.Reasons {
		t.refused[r] += n
	}
}

// restore takes the counts of a finished push.
func (t *tally) restore(l *stateLine) {
	t.rowsRead.Store(l.Read)
	t.skipped.Store(l.Skipped)
	t.mapped.Store(t.delivered.Load() + t.refusedRows)
	for r, n := range l.Rejected {
		t.rejected[r] = n
	}
}

func (p *push) lastLine() stateLine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return stateLine{Read: p.rowsRead.Load(), Skipped: p.skipped.Load(), Rejected: p.rejected, At: time.Now().Unix()}
}
