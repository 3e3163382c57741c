package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// IngestOptions describe a workload and how it is delivered.
type IngestOptions struct {
	Kind        Kind
	Layout      Layout
	Batch       int  // rows a request
	Records     int  // rows in all
	Runs        int  // each on a server of its own
	InFlight    int  // requests at a time, a connection each
	Idempotency bool // send an Idempotency-Key with each batch
	ProbeEvery  int  // batches between probes; 0 for none
	Compare     int  // members whose values are compared afterwards; 0 for all
}

func (o *IngestOptions) fill() error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Batch, 1000)
	def(&o.Records, 1_000_000)
	def(&o.Runs, 1)
	def(&o.InFlight, 4)
	if o.Batch < 0 || o.Records < 0 || o.Runs < 0 || o.InFlight < 0 || o.ProbeEvery < 0 || o.Compare < 0 {
		return errors.New("bench: a count is negative")
	}
	if o.Layout == Single && o.Batch > 20_000 {
		return errors.New("bench: a section holds at most 20,000 rows")
	}
	return nil
}

func (o *IngestOptions) String() string {
	return fmt.Sprintf("%d in flight, idempotency keys %v, a probe every %d batches", o.InFlight, o.Idempotency, o.ProbeEvery)
}

// stretch is how many bytes of bodies are made ahead. A larger load is driven in
// stretches with the clock stopped between them.
const stretch = 512 << 20

// Ingest measures deliveries. The table goes to out and, unless nil, an object a
// run to js. The error is ErrCheck if the server failed a check.
func Ingest(ctx context.Context, l Launch, o IngestOptions, out, js io.Writer) error {
	rs, err := ingestRuns(ctx, &l, o, nil)
	printResults(out, rs)
	if js != nil {
		if jerr := writeJSON(js, rs...); err == nil {
			err = jerr
		}
	}
	if err != nil {
		return err
	}
	return verdict(rs)
}

func verdict(rs []Result) error {
	for i := range rs {
		if !rs[i].ok() {
			return ErrCheck
		}
	}
	return nil
}

// ingestRuns makes the runs; before each it calls between, unless nil.
func ingestRuns(ctx context.Context, l *Launch, o IngestOptions, between func(run int) error) (rs []Result, err error) {
	if err := errors.Join(l.fill(), o.fill()); err != nil {
		return nil, err
	}
	n, err := newNursery(l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	for run := range o.Runs {
		if between != nil {
			if err := between(run); err != nil {
				return rs, err
			}
		}
		s, err := n.server(ctx)
		if err != nil {
			return rs, err
		}
		r, _, err := ingest(ctx, l, s, &o, true)
		if err != nil {
			s.kill()
			return rs, err
		}
		rs = append(rs, r)
		l.logf("run %d of %d: %.0f records/s, %.3f server CPU s a million", run+1, o.Runs, r.RecordsPerSecond, r.ServerCPUSecondsPerMillion)
		if err := s.stop(); err != nil {
			return rs, err
		}
		if err := n.discard(s); err != nil {
			return rs, err
		}
	}
	return rs, nil
}

// ingest loads one server and measures it. Without verify the values are not
// read back, which the caller then does with the ledger.
func ingest(ctx context.Context, l *Launch, s *server, o *IngestOptions, verify bool) (r Result, led *ledger, err error) {
	se, err := login(ctx, s.World, s.Sub)
	if err != nil {
		return r, nil, err
	}
	_, compacted, err := s.operate(ctx, "POST", "/operator/v1/compact")
	if err != nil {
		return r, nil, fmt.Errorf("compact: %w", err)
	}
	if _, idle, err := s.settle(ctx, time.Minute); err != nil {
		return r, nil, err
	} else if !idle {
		l.logf("the server did not come to rest before the load")
	}
	before, err := usage(s.data())
	if err != nil {
		return r, nil, err
	}

	led = newLedger(o.Kind, s.Accounts)
	d := &driver{session: se, ledger: led, inFlight: o.InFlight, idempotency: o.Idempotency, probeEvery: o.ProbeEvery}
	step := 1
	if o.Compare > 0 && o.Compare < len(s.Accounts) {
		step = len(s.Accounts) / o.Compare
	}
	// 1, step+1, ...: with an even step all would withhold, or none.
	compared := func(m int) bool { return step == 1 || m%step == (m/step)%step }
	mk := &maker{gen: newGenerator(o.Kind, o.Layout, len(s.Accounts), o.Records, o.Batch), accounts: s.Accounts, compared: compared}
	var server, client float64
	for {
		batches := mk.stretch()
		if len(batches) == 0 {
			break
		}
		s0, c0 := s.cpu(), ownCPU()
		err := d.drive(ctx, batches)
		server, client = server+s.cpu()-s0, client+ownCPU()-c0
		if err != nil {
			return r, nil, err
		}
	}
	led.ids()
	if r, err = measure(ctx, l, s, o, d, server, client, before); err != nil {
		return r, nil, err
	}
	r.Compacted = r.Compacted && compacted
	if verify {
		if err := led.readAll(ctx, se, led.members(), o.InFlight, nil); err != nil {
			return r, nil, err
		}
		c, err := se.dial()
		if err != nil {
			return r, nil, err
		}
		defer c.close()
		for n := range 16 {
			if err := led.trespass(ctx, se, c, n); err != nil {
				return r, nil, err
			}
		}
	}
	r.take(&led.found)
	return r, led, nil
}

func (r *Result) take(f *findings) {
	r.Lost, r.Unauthorised, r.Unacknowledged = f.lost.Load(), f.unauthorised.Load(), f.unacknowledged.Load()
	r.Probes, r.UndecidedProbes = f.probes.Load(), f.undecided.Load()
	r.ComparedRows, r.ComparedMembers = f.rows.Load(), f.members.Load()
}

// stretch makes batches up to a bound on their bytes.
func (m *maker) stretch() []*batch {
	var out []*batch
	for n := 0; n < stretch; {
		b := m.next()
		if b == nil {
			break
		}
		n += len(b.body)
		out = append(out, b)
	}
	return out
}

// measure turns a finished load into a result, then lets the server come to rest
// and compact to see what it keeps.
func measure(ctx context.Context, l *Launch, s *server, o *IngestOptions, d *driver, server, client float64, before Usage) (Result, error) {
	ld := &d.load
	rows := float64(max(ld.accepted, 1))
	r := Result{
		Workload: o.Kind.String(), Layout: o.Layout.String(), Batch: o.Batch, Records: ld.accepted,
		RecordsPerSecond:           float64(ld.accepted) / ld.wall.Seconds(),
		ServerCPUSecondsPerMillion: server * 1e6 / rows,
		ClientCPUSecondsPerMillion: client * 1e6 / rows,
		P50Ms:                      millis(d.latency.quantile(0.5)), P99Ms: millis(d.latency.quantile(0.99)),
		ResidentMiB: s.resident(),
		Refused:     ld.refused, Unknown: ld.unknown, PutOff: ld.putOff,
		BodyBytesPerRecord: float64(ld.bytes) / float64(max(ld.accepted+ld.refused+ld.unknown, 1)),
		Context:            newContext(s.dir, fmt.Sprintf("%d members, %v", len(s.Accounts), o)),
	}
	if ld.first.Status != 0 {
		r.FirstRefusal = &ld.first
	}
	cpu, idle, err := s.settle(ctx, 2*time.Minute)
	if err != nil {
		return r, err
	}
	r.SettlingCPUSecondsPerM, r.CameToRest = cpu*1e6/rows, idle
	loaded, err := usage(s.data())
	if err != nil {
		return r, err
	}
	if _, r.Compacted, err = s.operate(ctx, "POST", "/operator/v1/compact"); err != nil {
		return r, fmt.Errorf("compact: %w", err)
	}
	after, err := usage(s.data())
	if err != nil {
		return r, err
	}
	r.BytesOnDiskBeforeCompacted = float64(loaded.Total-before.Total) / rows
	r.BytesOnDiskPerRecord = float64(after.Total-before.Total) / rows
	r.DiskPartsPerRecord = map[string]float64{}
	for p, n := range after.Parts {
		if diff := n - before.Parts[p]; diff != 0 {
			r.DiskPartsPerRecord[p] = float64(diff) / rows
		}
	}
	if body, ok, err := s.operate(ctx, "GET", "/operator/v1/status"); err == nil && ok && json.Valid(body) {
		r.Status = body
	}
	return r, nil
}
