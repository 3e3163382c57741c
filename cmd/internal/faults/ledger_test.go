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
