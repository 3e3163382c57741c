package push

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// cutAll cuts the records that make yields and returns the batches.
func cutAll(t *testing.T, size, members int, feed func(c *cutter)) []*batch {
	t.Helper()
	m := &Map{Records: []Record{{Dataset: "ds_a"}, {Dataset: "ds_b"}}}
	k := &keyring{byRef: map[string]int{}}
	for i := range members {
		k.cons = append(k.cons, agreement{fmt.Sprint(i), fmt.Appendf(nil, `{"con_id":"%d-1","key":"k","dataset":"`, i)})
	}
	c := newCutter(t.Context(), m, k, size, newTally())
	var out []*batch
	next := [lanes]int{}
	c.out = func(b *batch) error {
		if b.seq != next[b.lane] {
			t.Fatalf("lane %d: batch %d, want %d", b.lane, b.seq, next[b.lane])
		}
		next[b.lane]++
		body := b.body(nil, m, k)
		if len(body) > maxBody {
			t.Fatalf("body of %d bytes", len(body))
		}
		if n := bytes.Count(body, []byte(`{"con_id":`)); n != len(b.sections) {
			t.Fatalf("%d sections in the body, want %d", n, len(b.sections))
		}
		if len(b.rows) > size || len(b.rows) == 0 {
			t.Fatalf("batch of %d rows", len(b.rows))
		}
		for _, s := range b.sections {
			if s.rows > maxSectionRows || s.values > maxSectionValues {
				t.Fatalf("section of %d rows, %d bytes", s.rows, s.values)
			}
		}
		out = append(out, b)
		return nil
	}
	feed(c)
	if err := c.finish(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCutter_Boundaries(t *testing.T) {
	row := func(n int) []byte { return []byte(`{"v":"` + strings.Repeat("x", n-9) + "\"}\n") }
	for _, tt := range []struct {
		name              string
		size, rows, bytes int
		values, batches   int
	}{
		{"one", 10, 1, 20, 10, 1},
		{"full", 10, 10, 20, 10, 1},
		{"one over", 10, 11, 20, 10, 2},
		{"section rows", 20000, 20000, 20, 1, 1},
		{"section rows over", 20000, 20001, 20, 1, 2},
		{"values", 100, 7, 1000, 128 << 10, 1},
		{"values over", 100, 8, 1000, 128 << 10, 2},
		{"body", 1000, 17, maxRow, 1, 2},
	} {
		got := cutAll(t, tt.size, 1, func(c *cutter) {
			for range tt.rows {
				if err := c.record(0, 0, 0, row(tt.bytes), tt.values, 1); err != nil {
					t.Fatal(err)
				}
			}
		})
		if len(got) != tt.batches {
			t.Errorf("%s: %d batches, want %d", tt.name, len(got), tt.batches)
		}
	}
}

// A member keeps its lane, its rows their order, and each dataset and instance
// is one section of a batch.
func TestCutter_SectionsAndLanes(t *testing.T) {
	const members = 20
	n := 0
	var want [members]map[string][]string
	got := cutAll(t, 50, members, func(c *cutter) {
		for range 4000 {
			n++
			con, ds, inst := n*7%members, n%2, n/3%3
			text := fmt.Sprintf(`{"n":"%d"}`, n)
			key := fmt.Sprint(ds, inst)
			if want[con] == nil {
				want[con] = map[string][]string{}
			}
			want[con][key] = append(want[con][key], text)
			if err := c.record(con, ds, inst, []byte(text+"\n"), 5, n); err != nil {
				t.Fatal(err)
			}
		}
	})
	var have [members]map[string][]string
	lane := map[int]int{}
	for _, b := range got {
		seen := map[sectionKey]bool{}
		for _, s := range b.sections {
			if seen[s.sectionKey] {
				t.Fatal("two sections of one store in a batch")
			}
			seen[s.sectionKey] = true
			if l, ok := lane[s.con]; ok && l != b.lane {
				t.Fatal("a member is in two lanes")
			}
			lane[s.con] = b.lane
		}
		for _, i := range b.order() {
			r := b.rows[i]
			k := b.sections[r.section].sectionKey
			if have[k.con] == nil {
				have[k.con] = map[string][]string{}
			}
			key := fmt.Sprint(k.dataset, k.instance)
			have[k.con][key] = append(have[k.con][key], strings.TrimSpace(string(b.text[r.start:r.end])))
		}
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Error("rows were lost, repeated or reordered")
	}
	used := map[int]bool{}
	for _, l := range lane {
		used[l] = true
	}
	if len(used) != lanes {
		t.Errorf("%d lanes are used", len(used))
	}
}
