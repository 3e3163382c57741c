package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// A driver posts batches, several in flight, and looks in on the server now and
// then through probes.
type driver struct {
	session     *session
	ledger      *ledger
	inFlight    int
	idempotency bool // a key for each batch; then an unknown outcome is repeated
	probeEvery  int  // acknowledged batches from probe to probe; 0 for none

	latency histogram
	load    load
}

// A load is what one drive did.
type load struct {
	wall     time.Duration
	accepted int64 // rows
	refused  int64 // rows in refused sections
	unknown  int64 // rows in batches whose outcome is unknown
	bytes    int64 // of bodies
	putOff   int64 // answers 429 and 503; the batch is sent again
	first    refusal
}

const tries = 50 // of one batch that is put off

// drive sends the batches and returns when each has an outcome. It may be called
// again with more; the load adds up and the time between calls does not count.
func (d *driver) drive(ctx context.Context, batches []*batch) error {
	var next, putOff atomic.Int64
	hists := make([]histogram, d.inFlight)
	parts := make([]load, d.inFlight)
	probes := make(chan section, 1)
	probed := make(chan error, 1)
	go func() { probed <- d.probe(ctx, probes) }()

	begin := time.Now()
	err := d.session.gather(ctx, d.inFlight, func(ctx context.Context, w int, c *conn) error {
		for {
			i := int(next.Add(1) - 1)
			if i >= len(batches) {
				return nil
			}
			b := batches[i]
			start := time.Now()
			r, known, err := d.post(ctx, c, b, &putOff)
			if err != nil {
				return err
			}
			hists[w].add(time.Since(start))
			p := &parts[w]
			p.bytes += int64(len(b.body))
			if !known {
				p.unknown += int64(b.rows)
				d.ledger.doubt(b)
				continue
			}
			p.accepted += int64(r.accepted)
			p.refused += int64(r.refused)
			if p.first.Status == 0 {
				p.first = r.refusal
			}
			if d.probeEvery > 0 && b.number%d.probeEvery == d.probeEvery/2 {
				if j := slices.IndexFunc(b.sections, func(s section) bool { return s.first != 0 && s.digests != nil }); j >= 0 {
					select {
					case probes <- b.sections[j]:
					default: // the last probe is still under way
					}
				}
			}
		}
	})
	d.load.wall += time.Since(begin)
	close(probes)
	if perr := <-probed; err == nil {
		err = perr
	}
	for w := range parts {
		d.latency.merge(&hists[w])
		d.load.accepted += parts[w].accepted
		d.load.refused += parts[w].refused
		d.load.unknown += parts[w].unknown
		d.load.bytes += parts[w].bytes
		if d.load.first.Status == 0 {
			d.load.first = parts[w].first
		}
	}
	d.load.putOff += putOff.Load()
	d.ledger.settle(batches)
	return err
}

// post sends one batch until it has an outcome. Without an idempotency key a
// broken connection leaves it unknown; with one it is asked again.
func (d *driver) post(ctx context.Context, c *conn, b *batch, putOff *atomic.Int64) (r receipt, known bool, err error) {
	key := ""
	if d.idempotency {
		key = rand.Text()
	}
	for range tries {
		a, err := d.session.bulk(ctx, c, b, key)
		if ctx.Err() != nil {
			return r, false, context.Cause(ctx)
		}
		switch {
		case err == nil && a.status == http.StatusOK:
			r, err = judge(a.body, b)
			if !errors.Is(err, errCutOff) {
				return r, err == nil, err
			}
			forget(b)
		case err == nil && (a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable):
			putOff.Add(1)
			if err := pause(ctx, a.retryAfter); err != nil {
				return r, false, err
			}
			continue
		case err == nil:
			return r, false, fmt.Errorf("bulk: status %d", a.status)
		}
		if key == "" {
			return receipt{}, false, nil
		}
		if err := pause(ctx, 0); err != nil {
			return r, false, err
		}
	}
	return receipt{}, false, errors.New("bulk: a batch was put off too often")
}

// forget drops what a cut-off answer acknowledged. Those rows are not counted as
// acknowledged: the answer says nothing without its last line.
func forget(b *batch) {
	for i := range b.sections {
		b.sections[i].first = 0
	}
}

// probe reads acknowledged sections back and tries what must be refused, in turn,
// until the channel is closed.
func (d *driver) probe(ctx context.Context, sections <-chan section) error {
	c, err := d.session.dial()
	if err != nil {
		return err
	}
	defer c.close()
	n := 0
	for s := range sections {
		if err != nil {
			continue // drain
		}
		if err = d.ledger.section(ctx, d.session, c, s); err == nil {
			err = d.ledger.trespass(ctx, d.session, c, n)
		}
		n++
	}
	return err
}
