package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// MonthOptions describe reads of one member's recent rows, about a hundred with
// the default load.
type MonthOptions struct {
	Readers    int  // in flight; 16 if 0. One reader alone is measured too.
	Reads      int  // 8,000 if 0, which stays within a server's burst limit; a tenth by the single reader
	Unfiltered bool // leave out the filter on the time
}

// Every comparedRead-th answer is compared value by value; of the others only
// the rows are counted, so that the client does not crowd out the server.
const comparedRead = 16

// Month loads a server and measures reads of one member's rows since the
// beginning of the workload's month.
func Month(ctx context.Context, l Launch, o IngestOptions, m MonthOptions, out, js io.Writer) error {
	o.Compare = 0
	if m.Readers == 0 {
		m.Readers = 16
	}
	if m.Reads == 0 {
		m.Reads = 8_000
	}
	var rs []ReadResult
	err := loaded(ctx, &l, &o, func(s *server, _ *nursery, _ *Result, led *ledger) (*server, error) {
		se, err := login(ctx, s.World, s.Sub)
		if err != nil {
			return nil, err
		}
		for _, part := range []struct{ readers, reads int }{{m.Readers, m.Reads}, {1, max(1, m.Reads/10)}} {
			rd := s.reading()
			rows, limited, err := led.months(ctx, se, part.readers, part.reads, !m.Unfiltered, &rd.latency)
			if err != nil {
				return nil, err
			}
			r := rd.result("month", o.Kind, part.readers, int64(part.reads), rows, fmt.Sprintf("filter on time %v", !m.Unfiltered))
			r.PutOff = limited
			r.take(&led.found)
			rs = append(rs, r)
		}
		return nil, nil
	})
	return finish(rs, err, out, js)
}

func (l *ledger) months(ctx context.Context, s *session, readers, reads int, filtered bool, latency *histogram) (read, limited int64, err error) {
	members := l.members()
	var next, rows, putOff atomic.Int64
	hists := make([]histogram, readers)
	err = s.gather(ctx, readers, func(ctx context.Context, w int, c *conn) error {
		r := rng(uint64(w) + 1)
		q := query{dataset: l.kind.Dataset()}
		if filtered {
			q.filters = []filter{{l.kind.Fields()[0], ">=", time.Unix(epoch, 0).UTC().Format("2006-01-02T15:04:05Z")}}
			if l.kind == Tx {
				q.filters = []filter{{"booking_date", ">=", time.Unix(epoch, 0).UTC().Format(time.DateOnly)}}
			}
		}
		for {
			i := next.Add(1)
			if i > int64(reads) {
				return nil
			}
			m := members[r.n(len(members))]
			q.account = &l.accounts[m]
			start := time.Now()
			a, err := s.get(ctx, c, &q)
			for err == nil && a.status == http.StatusTooManyRequests {
				putOff.Add(1)
				if err = pause(ctx, a.retryAfter); err == nil {
					start = time.Now()
					a, err = s.get(ctx, c, &q)
				}
			}
			if err != nil {
				return fmt.Errorf("read: %w", err)
			}
			hists[w].add(time.Since(start))
			if a.status != http.StatusOK {
				return fmt.Errorf("read: status %d", a.status)
			}
			if i%comparedRead == 0 {
				n, err := l.compare(m, a.body)
				if err != nil {
					return fmt.Errorf("read: %w", err)
				}
				rows.Add(int64(n))
				continue
			}
			want := 0
			for _, sec := range l.byMember[m] {
				want += int(sec.rows)
			}
			got := bytes.Count(a.body, []byte(`"ds_id"`))
			rows.Add(int64(got))
			if got < want {
				l.found.lost.Add(int64(want - got))
			}
		}
	})
	for w := range hists {
		latency.merge(&hists[w])
	}
	return rows.Load(), putOff.Load(), err
}
