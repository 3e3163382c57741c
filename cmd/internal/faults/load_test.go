package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// load sends requests from several workers until ctx ends, the program is
// gone, or a promise is broken, which is returned.
func (l *ledger) load(ctx context.Context, p *pdx, seed uint64, round, workers int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for w := range workers {
		rng := rand.New(rand.NewPCG(seed, uint64(round)<<16|uint64(w)))
		wg.Go(func() {
			var last *request
			for n := 0; ctx.Err() == nil; n++ {
				var q *request
				if last != nil && rng.IntN(4) == 0 {
					q, last = l.newChange(rng, last), nil
				} else {
					q = l.newRequest(rng, fmt.Sprintf("%d.%d.%d", round, w, n))
					last = q
				}
				l.mu.Lock()
				l.open = append(l.open, q)
				l.mu.Unlock()
				if err := l.send(ctx, p, q); err != nil {
					var st *status
					if !errors.Is(err, errUnknown) && !errors.As(err, &st) {
						cancel(err)
					}
					return
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// settle repeats every open request with its key until all are acknowledged.
func (l *ledger) settle(ctx context.Context, p *pdx) error {
	l.mu.Lock()
	open := l.open
	l.open = nil
	l.mu.Unlock()
	for i, q := range open {
		if q.done {
			continue
		}
		for s := range q.sections {
			if q.sections[s].first == 0 {
				l.counts.repeated++
			}
		}
		tick := time.NewTicker(20 * time.Millisecond)
		for {
			err := l.send(ctx, p, q)
			if err == nil {
				break
			}
			if st := (*status)(nil); errors.As(err, &st) && (st.code == 503 || st.code == 507 || st.code == 429) {
				select {
				case <-tick.C:
					continue
				case <-ctx.Done():
				}
			}
			tick.Stop()
			l.mu.Lock()
			l.open = append(l.open, open[i:]...)
			l.mu.Unlock()
			return fmt.Errorf("repeating %s: %w", q.key, err)
		}
		tick.Stop()
	}
	return nil
}

// refusedWrite writes until a write is refused for the disk, and returns the
// refusal, or nothing if ctx ends before. What was refused stays open.
func (l *ledger) refusedWrite(ctx context.Context, p *pdx, rng *rand.Rand, name string) string {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		q := l.newRequest(rng, fmt.Sprintf("%s.%d", name, n))
		l.mu.Lock()
		l.open = append(l.open, q)
		l.mu.Unlock()
		if err := l.send(ctx, p, q); err != nil {
			return err.Error()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ""
		}
	}
}
