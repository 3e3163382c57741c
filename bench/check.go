package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// ErrCheck says that a scenario ran to its end and found something lost, shown
// without a grant, refused that should have been accepted, or over a limit.
var ErrCheck = errors.New("checks failed")

// Findings count what the checks saw. They may be added to concurrently.
type findings struct {
	lost           atomic.Int64 // acknowledged rows missing or changed
	unauthorised   atomic.Int64 // values or successes that no grant covers
	unacknowledged atomic.Int64 // rows present that nobody acknowledged
	rows           atomic.Int64 // rows compared
	members        atomic.Int64 // members read in full
	probes         atomic.Int64 // requests that had to be refused
	undecided      atomic.Int64 // of these, answered neither by success nor by refusal
}

// A ledger holds the acknowledged sections of a load.
type ledger struct {
	kind     Kind
	accounts []Account
	found    findings

	mu       sync.Mutex
	byMember map[int32][]section
	unknown  map[int32]bool // a request with rows of theirs had no clear outcome
}

func newLedger(k Kind, accounts []Account) *ledger {
	return &ledger{kind: k, accounts: accounts, byMember: map[int32][]section{}, unknown: map[int32]bool{}}
}

// settle takes over the sections of finished batches.
func (l *ledger) settle(batches []*batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range batches {
		for _, s := range b.sections {
			if s.first != 0 {
				l.byMember[s.member] = append(l.byMember[s.member], s)
			}
		}
	}
}

// doubt notes that a batch may or may not be stored.
func (l *ledger) doubt(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range b.sections {
		l.unknown[s.member] = true
	}
}

// ids checks, for every member, that no id was acknowledged twice. Rows of one
// member × dataset × instance have ids of their own.
func (l *ledger) ids() {
	for _, secs := range l.byMember {
		slices.SortFunc(secs, func(a, b section) int { return cmp.Compare(a.first, b.first) })
		for i := 1; i < len(secs); i++ {
			end := secs[i-1].first + int64(secs[i-1].rows)
			if over := end - secs[i].first; over > 0 {
				l.found.lost.Add(min(over, int64(secs[i].rows)))
			}
		}
	}
}

// members lists those with acknowledged sections whose values are compared.
func (l *ledger) members() []int32 {
	var out []int32
	for m, secs := range l.byMember {
		if secs[0].digests != nil {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out
}

// compare judges the answer to an unfiltered read of a member; ids must have run.
func (l *ledger) compare(member int32, body []byte) (rows int, err error) {
	secs := l.byMember[member]
	total := 0
	for _, s := range secs {
		total += int(s.rows)
	}
	return l.match(member, secs, total, body, !l.unknown[member])
}

// match compares the rows of an answer with sections, which must all be there.
// Other rows are counted as unacknowledged if the answer is said to be complete.
func (l *ledger) match(member int32, secs []section, total int, body []byte, complete bool) (rows int, err error) {
	withhold := l.accounts[member].Withholds()
	good := 0
	seen := make(map[uint64]struct{}, total)
	at := 0
	err = scanRows(body, func(id uint64, vals []value) error {
		rows++
		if withhold {
			for _, v := range vals {
				if !v.null && string(v.name) == l.kind.Withheld() {
					l.found.unauthorised.Add(1)
				}
			}
		}
		// Rows come in the order of their ids, so the section is mostly the last
		// one's or its successor.
		if at >= len(secs) || int64(id) < secs[at].first || int64(id) >= secs[at].first+int64(secs[at].rows) {
			at = slices.IndexFunc(secs, func(s section) bool {
				return int64(id) >= s.first && int64(id) < s.first+int64(s.rows)
			})
		}
		if at < 0 {
			at = len(secs)
			if complete {
				l.found.unacknowledged.Add(1)
			}
			return nil
		}
		if _, twice := seen[id]; !twice && readDigest(l.kind, vals, withhold) == secs[at].digests[int64(id)-secs[at].first] {
			good++
		}
		seen[id] = struct{}{}
		return nil
	})
	if err != nil {
		return rows, err
	}
	l.found.lost.Add(int64(total - good))
	l.found.rows.Add(int64(rows))
	return rows, nil
}

// readAll reads the given members over n connections and compares them. The
// times of the reads go to latency, unless nil.
func (l *ledger) readAll(ctx context.Context, s *session, members []int32, n int, latency *histogram) error {
	var next atomic.Int64
	hists := make([]histogram, n)
	defer func() {
		for w := range hists {
			if latency != nil {
				latency.merge(&hists[w])
			}
		}
	}()
	return s.gather(ctx, n, func(ctx context.Context, w int, c *conn) error {
		for {
			i := int(next.Add(1) - 1)
			if i >= len(members) {
				return nil
			}
			start := time.Now()
			a, err := s.getPatiently(ctx, c, &query{account: &l.accounts[members[i]], dataset: l.kind.Dataset()})
			if err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			hists[w].add(time.Since(start))
			if a.status != http.StatusOK {
				return fmt.Errorf("read back: status %d", a.status)
			}
			if _, err := l.compare(members[i], a.body); err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			l.found.members.Add(1)
		}
	})
}

// getPatiently repeats a read that was put off or cut off.
func (s *session) getPatiently(ctx context.Context, c *conn, q *query) (a answer, err error) {
	for range 20 {
		a, err = s.get(ctx, c, q)
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		if err == nil && a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable {
			return a, nil
		}
		if perr := pause(ctx, a.retryAfter); perr != nil {
			return a, perr
		}
	}
	return a, err
}

// section reads one acknowledged section back through a filter on the id, while
// the load goes on.
func (l *ledger) section(ctx context.Context, s *session, c *conn, sec section) error {
	a, err := s.getPatiently(ctx, c, &query{account: &l.accounts[sec.member], dataset: l.kind.Dataset(),
		filters: []filter{{"id", ">=", strconv.FormatInt(sec.first, 10)}}})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("probe: status %d to a read that is granted", a.status)
	}
	_, err = l.match(sec.member, []section{sec}, int(sec.rows), a.body, false)
	return err
}

// trespass sends one request that must be refused; which one goes round with n.
func (l *ledger) trespass(ctx context.Context, s *session, c *conn, n int) error {
	a := &l.accounts[n%len(l.accounts)]
	var q query
	as := s
	switch n % 5 {
	case 0: // a filter on a field without a grant to read
		for i := 0; !a.Withholds(); i++ {
			if i == len(l.accounts) {
				return nil
			}
			a = &l.accounts[(n+i)%len(l.accounts)]
		}
		q = query{account: a, dataset: l.kind.Dataset(), filters: []filter{{l.kind.Withheld(), "=", "good"}}}
	case 1: // another member's key
		if len(l.accounts) < 2 {
			return nil
		}
		q = query{account: a, key: l.accounts[(n+1)%len(l.accounts)].Key, dataset: l.kind.Dataset()}
	case 2: // no token
		as = &session{base: s.base}
		q = query{account: a, dataset: l.kind.Dataset()}
	case 3: // a dataset outside the agreement
		q = query{account: a, dataset: "ds_credentials"}
	default: // a delivery with another member's key
		if len(l.accounts) < 2 {
			return nil
		}
		return l.forge(ctx, s, c, &Account{ConID: a.ConID, Key: l.accounts[(n+1)%len(l.accounts)].Key})
	}
	ans, err := as.get(ctx, c, &q)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	l.found.refusal(ans.status, ans.status/100 == 2)
	return nil
}

// forge delivers one row that must be refused.
func (l *ledger) forge(ctx context.Context, s *session, c *conn, a *Account) error {
	b := &batch{rows: 1, sections: []section{{rows: 1}}}
	b.body = appendHeader(nil, a, l.kind)
	b.body = append(b.body, `{"`+l.kind.Fields()[1]+`":"2026-01-01"}`+"\n"...)
	ans, err := s.bulk(ctx, c, b, "")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	accepted := false
	if err == nil && ans.status == http.StatusOK {
		var r receipt
		r, err = judge(ans.body, b)
		accepted = r.accepted > 0
	}
	if err != nil {
		l.found.probes.Add(1)
		l.found.undecided.Add(1)
		return nil
	}
	l.found.refusal(ans.status, accepted)
	return nil
}

// refusal counts the answer to a request that had to be refused.
func (f *findings) refusal(status int, succeeded bool) {
	f.probes.Add(1)
	switch {
	case succeeded:
		f.unauthorised.Add(1)
	case status == http.StatusTooManyRequests || status >= 500:
		f.undecided.Add(1)
	}
}
