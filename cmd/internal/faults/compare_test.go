package faults

import (
	"context"
	"fmt"
)

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
