package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// ReadResult is what a scenario of reading measured.
type ReadResult struct {
	Scenario  string  `json:"scenario"`
	Workload  string  `json:"workload"`
	Readers   int     `json:"readers"` // in flight
	Reads     int64   `json:"reads"`
	Rows      int64   `json:"rows"`
	ReadsRate float64 `json:"reads_per_second"`
	RowsRate  float64 `json:"rows_per_second"`

	ServerMicrosPerRead  float64 `json:"server_cpu_microseconds_per_read"`
	ServerCPUSecondsPerM float64 `json:"server_cpu_seconds_per_million"` // rows
	ClientMicrosPerRead  float64 `json:"client_cpu_microseconds_per_read"`
	P50Ms                float64 `json:"p50_ms"`
	P99Ms                float64 `json:"p99_ms"`
	ResidentMiB          float64 `json:"resident_mib"`
	Lost                 int64   `json:"lost"`
	Unauthorised         int64   `json:"unauthorised"`
	ComparedRows         int64   `json:"compared_rows"`
	PutOff               int64   `json:"put_off"` // answers 429: the rate is then the limit's, not the server's
	Context              Context `json:"context"`
}

// reading spans a measured stretch of reads.
type reading struct {
	s       *server
	begin   time.Time
	server  float64
	client  float64
	latency histogram
}

func (s *server) reading() *reading {
	return &reading{s: s, begin: time.Now(), server: s.cpu(), client: ownCPU()}
}

func (rd *reading) result(scenario string, k Kind, readers int, reads, rows int64, settings string) ReadResult {
	wall := time.Since(rd.begin).Seconds()
	server, client := rd.s.cpu()-rd.server, ownCPU()-rd.client
	n, m := float64(max(reads, 1)), float64(max(rows, 1))
	return ReadResult{
		Scenario: scenario, Workload: k.String(), Readers: readers, Reads: reads, Rows: rows,
		ReadsRate: float64(reads) / wall, RowsRate: float64(rows) / wall,
		ServerMicrosPerRead: server * 1e6 / n, ServerCPUSecondsPerM: server * 1e6 / m, ClientMicrosPerRead: client * 1e6 / n,
		P50Ms: millis(rd.latency.quantile(0.5)), P99Ms: millis(rd.latency.quantile(0.99)),
		ResidentMiB: rd.s.resident(), Context: newContext(rd.s.dir, settings),
	}
}

func (r *ReadResult) take(f *findings) {
	r.Lost, r.Unauthorised, r.ComparedRows = f.lost.Load(), f.unauthorised.Load(), f.rows.Load()
}

func (r *ReadResult) print(w io.Writer) {
	fmt.Fprintf(w, "%-10s %s, %d readers: %d reads of %.0f rows, %.0f reads/s, %.0f rows/s, server %.1f µs a read (%.3f s/M rows), client %.1f µs, p50 %.2f ms, p99 %.2f ms, %.0f MiB; %d rows compared, lost %d, unauthorised %d\n",
		r.Scenario, r.Workload, r.Readers, r.Reads, float64(r.Rows)/float64(max(r.Reads, 1)), r.ReadsRate, r.RowsRate,
		r.ServerMicrosPerRead, r.ServerCPUSecondsPerM, r.ClientMicrosPerRead, r.P50Ms, r.P99Ms, r.ResidentMiB, r.ComparedRows, r.Lost, r.Unauthorised)
	if r.PutOff > 0 {
		fmt.Fprintf(w, "%-10s %d reads were put off by the server's rate limit: the rate above is the limit's\n", "", r.PutOff)
	}
}

// finish prints and writes read results and gives the verdict.
func finish(rs []ReadResult, err error, out, js io.Writer) error {
	if len(rs) > 0 {
		rs[0].Context.print(out)
	}
	bad := false
	for i := range rs {
		rs[i].print(out)
		bad = bad || rs[i].Lost+rs[i].Unauthorised > 0
	}
	if js != nil {
		if jerr := writeJSON(js, rs...); err == nil {
			err = jerr
		}
	}
	if err == nil && bad {
		err = ErrCheck
	}
	return err
}

// loaded makes a server that holds the workload, delivers it, and passes it to f.
func loaded(ctx context.Context, l *Launch, o *IngestOptions, f func(s *server, n *nursery, r *Result, led *ledger) (*server, error)) (err error) {
	if err := l.fill(); err != nil {
		return err
	}
	if err := o.fill(); err != nil {
		return err
	}
	n, err := newNursery(l)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := n.close(); err == nil {
			err = cerr
		}
	}()
	l.Reseed = true // one run, so a world of its own
	s, err := n.server(ctx)
	if err != nil {
		return err
	}
	defer func() { s.kill() }()
	r, led, err := ingest(ctx, l, s, o, false)
	if err != nil {
		return err
	}
	if !r.ok() {
		return fmt.Errorf("load before the scenario: %d rows refused: %w", r.Refused, ErrCheck)
	}
	l.logf("loaded %d records, %.0f a second", r.Records, r.RecordsPerSecond)
	s2, err := f(s, n, &r, led)
	if s2 != nil {
		s = s2
	}
	return err
}

// Readback loads a server, then reads every member in full and compares every
// row.
func Readback(ctx context.Context, l Launch, o IngestOptions, out, js io.Writer) error {
	o.Compare = 0
	var rs []ReadResult
	err := loaded(ctx, &l, &o, func(s *server, _ *nursery, _ *Result, led *ledger) (*server, error) {
		se, err := login(ctx, s.World, s.Sub)
		if err != nil {
			return nil, err
		}
		before := led.found.rows.Load()
		rd := s.reading()
		if err := led.readAll(ctx, se, led.members(), o.InFlight, &rd.latency); err != nil {
			return nil, err
		}
		r := rd.result("readback", o.Kind, o.InFlight, led.found.members.Load(), led.found.rows.Load()-before, o.String())
		r.take(&led.found)
		rs = append(rs, r)
		return nil, nil
	})
	return finish(rs, err, out, js)
}
