package faults

import (
	"maps"
	"testing"
)

// The comparison itself must find what it is there for.
func TestLedger_FindsWhatIsWrong(t *testing.T) {
	const known = 3
	for name, c := range map[string]struct {
		hurt func(got map[uint64]row)
		want counts
	}{
		"nothing":  {func(map[uint64]row) {}, counts{}},
		"missing":  {func(got map[uint64]row) { delete(got, 2) }, counts{missing: 1}},
		"twice":    {func(got map[uint64]row) { got[known+2] = got[1] }, counts{twice: 1}},
		"foreign":  {func(got map[uint64]row) { got[known+2] = row{index: "of nobody"} }, counts{foreign: 1}},
		"altered":  {func(got map[uint64]row) { r := got[3]; r.value = "9"; got[3] = r }, counts{altered: 1}},
		"swapped":  {func(got map[uint64]row) { got[1], got[3] = got[3], got[1] }, counts{altered: 2}},
		"back":     {func(got map[uint64]row) { got[known+1] = row{index: "deleted"} }, counts{altered: 1}},
		"all gone": {func(got map[uint64]row) { clear(got) }, counts{missing: 3}},
	} {
		l := newLedger(t, &subscriber{accounts: make([]account, 1)}, "x")
		said := 0
		l.report = func(string, ...any) { said++ }
		for id := uint64(1); id <= known; id++ {
			l.rows[0][id] = row{index: string(rune('a' + id)), value: "1"}
			l.at[l.rows[0][id].index] = "there"
		}
		l.gone[0][known+1] = true
		got := maps.Clone(l.rows[0])
		c.hurt(got)
		l.compare(0, 1, got)
		if n := l.counts; n.missing != c.want.missing || n.twice != c.want.twice || n.foreign != c.want.foreign || n.altered != c.want.altered || int64(said) != c.want.wrong() {
			t.Errorf("%s: %+v, said %d", name, n, said)
		}
	}
}
