package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// section is a part of a request and what is known of it.
type section struct {
	account int
	rows    []row
	first   uint64 // 0: not acknowledged
}

// request is one bulk request or one change of a row, repeated with the same
// key until it is acknowledged, a bulk request until each of its sections is.
type request struct {
	key      string
	body     []byte
	sections []section
	change   *change
	done     bool
}

// change is an update of a row's name, or its deletion.
type change struct {
	account int
	id      uint64
	name    string
	delete  bool
}

// ledger is what was sent and what was acknowledged. The request itself
// belongs to the worker that sends it.
type ledger struct {
	sub    *subscriber
	label  string                           // in every row's text
	report func(format string, args ...any) // of what is wrong

	mu       sync.Mutex
	open     []*request        // not wholly acknowledged
	rows     []map[uint64]row  // acknowledged, by account and id
	at       map[string]string // text of a row -> account and id
	gone     []map[uint64]bool // deleted, by account and id
	checked  []uint64          // by account: up to here rows were read back
	deaf     bool              // answers that come now are as if they had not
	counts   counts            // guarded by mu
	acks     atomic.Int64      // acknowledged sections
	failures map[string]int    // refusals that nobody expected
}

type counts struct {
	sections, rows                   int64
	missing, twice, foreign, altered int64
	changes                          int64 // updates and deletions acknowledged
	repeated                         int64 // sections not acknowledged before they were repeated with their key
	compared                         int64 // rows read back
}

func newLedger(t *testing.T, sub *subscriber, label string) *ledger {
	l := &ledger{report: t.Errorf, sub: sub, label: label, at: map[string]string{}, failures: map[string]int{}}
	l.rows = make([]map[uint64]row, len(sub.accounts))
	for i := range l.rows {
		l.rows[i] = map[uint64]row{}
		l.gone = append(l.gone, map[uint64]bool{})
	}
	l.checked = make([]uint64, len(sub.accounts))
	return l
}

// text appends n letters that do not compress.
func text(rng *rand.Rand, dst []byte, n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-"
	for len(dst) < n {
		x := rng.Uint64()
		for range 10 {
			dst = append(dst, letters[x&63])
			x >>= 6
		}
	}
	return dst[:n]
}

// listen says whether answers count. When the power is gone nobody gets one.
func (l *ledger) listen(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = !on
}

// newRequest plans a request. name is unique in the ledger.
func (l *ledger) newRequest(rng *rand.Rand, name string) *request {
	q := &request{key: l.label + "-" + name}
	sections, most := 1+rng.IntN(12), 500
	if rng.IntN(60) == 0 { // more than is decided at a time
		sections, most = 2500, 20
	}
	for s := range sections {
		sec := section{account: rng.IntN(len(l.sub.accounts))}
		a := &l.sub.accounts[sec.account]
		q.body = fmt.Appendf(q.body, `{"con_id":%q,"key":%q,"dataset":%q,"instance":0}`+"\n", a.conID, a.key, dataset)
		rows := 1 + rng.IntN(12)
		if sections > 12 {
			rows = 1
		}
		for r := range rows {
			n := 10 + rng.IntN(most)
			if most > 20 && rng.IntN(40) == 0 {
				n = 4000 + rng.IntN(20_000)
			}
			x := row{
				home:  strconv.Itoa(rng.IntN(9)),
				time:  strconv.FormatInt(1_700_000_000+rng.Int64N(1e7), 10),
				value: fmt.Sprintf("%d.%02d", rng.IntN(5000), rng.IntN(100)),
				index: fmt.Sprintf("%s.%d.%d", q.key, s, r),
				name:  string(text(rng, nil, n)),
			}
			sec.rows = append(sec.rows, x)
			q.body = fmt.Appendf(q.body, `{%q:%s,%q:%s,%q:%q,%q:%q,%q:%q}`+"\n", fieldHome, x.home, fieldTime, x.time, fieldValue, x.value, fieldIndex, x.index, fieldName, x.name)
		}
		q.sections = append(q.sections, sec)
	}
	return q
}

// newChange plans a change of one of the rows of an acknowledged section, or
// returns nil.
func (l *ledger) newChange(rng *rand.Rand, of *request) *request {
	s := &of.sections[rng.IntN(len(of.sections))]
	q := &request{key: of.key + ".c", change: &change{account: s.account, id: s.first + uint64(rng.IntN(len(s.rows))), delete: rng.IntN(4) == 0}}
	if !q.change.delete {
		q.change.name = string(text(rng, nil, 10+rng.IntN(200)))
		q.body = fmt.Appendf(nil, `{%q:%q}`, fieldName, q.change.name)
	}
	return q
}

// sendChange is send for a change.
func (l *ledger) sendChange(ctx context.Context, p *pdx, q *request) error {
	c := q.change
	if err := p.change(ctx, &l.sub.accounts[c.account], c.id, q.body, q.key); err != nil {
		if st := (*status)(nil); errors.As(err, &st) && st.code/100 != 5 && st.code != 429 {
			return fmt.Errorf("%s: %s", q.key, err) // not a status: it must not be refused
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf {
		return errUnknown
	}
	q.done = true
	l.counts.changes++
	l.acks.Add(1)
	if c.delete {
		delete(l.rows[c.account], c.id)
		l.gone[c.account][c.id] = true
		return nil
	}
	x := l.rows[c.account][c.id]
	x.name = c.name
	l.rows[c.account][c.id] = x
	return nil
}

// send posts a request once and notes the answer. The error is errUnknown, a
// *status, or a broken promise.
func (l *ledger) send(ctx context.Context, p *pdx, q *request) error {
	if q.change != nil {
		return l.sendChange(ctx, p, q)
	}
	vs, err := p.bulk(ctx, q.body, q.key)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf {
		return errUnknown
	}
	all := true
	refusal := &status{}
	for i, v := range vs {
		if i >= len(q.sections) {
			return errors.New("answer to more sections than were sent")
		}
		s := &q.sections[i]
		switch {
		case v.Status == 503 || v.Status == 507 || v.Status == 429:
			all = false
			refusal = &status{v.Status, v.Title}
		case v.Status != 0:
			all = false
			l.failures[fmt.Sprintf("%d %s", v.Status, v.Title)]++
			refusal = &status{v.Status, v.Title}
		case v.Rows != len(s.rows) || v.First == 0 || v.Last-v.First+1 != uint64(v.Rows) || v.ConID != l.sub.accounts[s.account].conID:
			return fmt.Errorf("section %d is acknowledged as another", i)
		case s.first != 0 && s.first != v.First:
			return fmt.Errorf("%s, section %d: first acknowledged as row %d, repeated as row %d", q.key, i, s.first, v.First)
		case s.first == 0:
			s.first = v.First
			l.counts.sections++
			l.counts.rows += int64(v.Rows)
			l.acks.Add(1)
			for r, x := range s.rows {
				id := v.First + uint64(r)
				if old, ok := l.rows[s.account][id]; ok {
					return fmt.Errorf("account %d, row %d acknowledged to %s and to %s", s.account, id, old.index, x.index)
				}
				l.rows[s.account][id] = x
				l.at[x.index] = fmt.Sprintf("account %d row %d", s.account, id)
			}
		}
	}
	if err == nil && len(vs) != len(q.sections) {
		return errors.New("answer to fewer sections than were sent")
	}
	q.done = err == nil && all
	if err == nil && !all {
		err = refusal
	}
	return err
}

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

// check reads accounts back and compares every row. whole reads from the
// first id on, else only what was not read before. No request is under way.
func (l *ledger) check(ctx context.Context, p *pdx, whole bool) error {
	for i := range l.sub.accounts {
		if err := l.checkOne(ctx, p, i, whole); err != nil {
			return fmt.Errorf("account %d: %w", i, err)
		}
	}
	return nil
}

func (l *ledger) checkOne(ctx context.Context, p *pdx, i int, whole bool) error {
	from := l.checked[i] + 1
	if whole {
		from = 1
	}
	got, err := p.read(ctx, &l.sub.accounts[i], from)
	if err != nil {
		return err
	}
	l.compare(i, from, got)
	return nil
}

// compare counts what is wrong with the rows of an account from an id on, and
// names the first few.
func (l *ledger) compare(i int, from uint64, got map[uint64]row) {
	name := func(format string, args ...any) {
		if c := &l.counts; c.missing+c.twice+c.foreign+c.altered < 20 {
			l.report("account %d, "+format, append([]any{i}, args...)...)
		}
	}
	for id, want := range l.rows[i] {
		if id < from {
			continue
		}
		l.checked[i] = max(l.checked[i], id)
		l.counts.compared++
		switch have, ok := got[id]; {
		case !ok:
			name("row %d (%s) was acknowledged and is missing", id, want.index)
			l.counts.missing++
		case have != want:
			name("row %d (%s) is not as it was acknowledged: %s", id, want.index, difference(&have, &want))
			l.counts.altered++
		}
	}
	for id, have := range got {
		if _, ok := l.rows[i][id]; ok || id < from {
			continue
		}
		if l.gone[i][id] {
			name("row %d (%s) was deleted and is back", id, have.index)
			l.counts.altered++
			continue
		}
		if at, ok := l.at[have.index]; ok {
			name("row %d is a second copy of %s (%s)", id, at, have.index)
			l.counts.twice++
		} else {
			name("row %d (%s) was never acknowledged", id, have.index)
			l.counts.foreign++
		}
	}
}

func difference(a, b *row) string {
	s := ""
	for _, f := range []struct{ name, a, b string }{{"home", a.home, b.home}, {"time", a.time, b.time}, {"value", a.value, b.value}, {"index", a.index, b.index}, {"name", a.name, b.name}} {
		if f.a != f.b {
			s += fmt.Sprintf("%s %.40q for %.40q; ", f.name, f.a, f.b)
		}
	}
	return s
}

// wrong is how many rows are not as acknowledged.
func (c *counts) wrong() int64 { return c.missing + c.twice + c.foreign + c.altered }

func (c *counts) String() string {
	return fmt.Sprintf("%d sections of %d rows and %d changes acknowledged, %d sections repeated, %d rows compared, missing %d, twice %d, foreign %d, altered %d",
		c.sections, c.rows, c.changes, c.repeated, c.compared, c.missing, c.twice, c.foreign, c.altered)
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
