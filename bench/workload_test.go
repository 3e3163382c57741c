package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The files were written by peerbench/wl: 37 members, 120 records, batches of 25.
func TestGenerator_GivesThePeersRecords(t *testing.T) {
	ours := strings.NewReplacer("transactionId", "transaction_id", "bookingDate", "booking_date",
		"creditorName", "creditor_name", "creditorAccount", "creditor_account", "debtorAccount", "debtor_account")
	for _, k := range []Kind{IoT, Tx} {
		for l := Single; l <= Uniform; l++ {
			t.Run(fmt.Sprint(k, l), func(t *testing.T) {
				f, err := os.Open(fmt.Sprintf("testdata/%v-%v.ndjson", k, l))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				sc := bufio.NewScanner(f)
				g := newGenerator(k, l, 37, 120, 25)
				n := 0
				for recs := g.next(nil); len(recs) > 0; recs = g.next(recs) {
					for i := range recs {
						if !sc.Scan() {
							t.Fatalf("more than %d records", n)
						}
						vals, ends := recs[i].values(k, nil, nil)
						row := appendRow(nil, k, vals, ends)
						got := fmt.Sprintf(`{"member":"m%07d",%s`, recs[i].member, bytes.TrimPrefix(bytes.TrimSpace(row), []byte("{")))
						if want := ours.Replace(sc.Text()); got != want {
							t.Fatalf("record %d\n got %s\nwant %s", n, got, want)
						}
						n++
					}
				}
				if n != 120 || sc.Scan() {
					t.Fatalf("%d records, want 120", n)
				}
			})
		}
	}
}

func TestMaker_SectionsHoldEveryRowOnceInOrder(t *testing.T) {
	acc := newFake(37, "").accounts()
	for l := Single; l <= Uniform; l++ {
		want := map[string][]string{} // con_id -> rows
		g := newGenerator(Tx, l, 37, 500, 64)
		for recs := g.next(nil); len(recs) > 0; recs = g.next(recs) {
			for i := range recs {
				v, e := recs[i].values(Tx, nil, nil)
				c := acc[recs[i].member].ConID
				want[c] = append(want[c], strings.TrimSpace(string(appendRow(nil, Tx, v, e))))
			}
		}
		m := &maker{gen: newGenerator(Tx, l, 37, 500, 64), accounts: acc, compared: func(int) bool { return true }}
		got := map[string][]string{}
		for b := m.next(); b != nil; b = m.next() {
			var con string
			i := -1
			left := int32(0)
			rows := 0
			for line := range strings.Lines(string(b.body)) {
				line = strings.TrimSpace(line)
				if strings.HasPrefix(line, `{"con_id":`) {
					var h struct {
						ConID    string `json:"con_id"`
						Key      string `json:"key"`
						Dataset  string `json:"dataset"`
						Instance *int   `json:"instance"`
					}
					if err := json.Unmarshal([]byte(line), &h); err != nil || h.Instance == nil || h.Dataset != "ds_card_transactions" {
						t.Fatalf("header: %v", err)
					}
					if left != 0 {
						t.Fatalf("%v: section %d is short by %d", l, i, left)
					}
					i++
					con, left = h.ConID, b.sections[i].rows
					if a := acc[b.sections[i].member]; a.ConID != con || a.Key != h.Key {
						t.Fatal("section of another member")
					}
					if len(b.sections[i].digests) != int(left) {
						t.Fatal("digests missing")
					}
					continue
				}
				got[con] = append(got[con], line)
				left--
				rows++
			}
			if i+1 != len(b.sections) || rows != b.rows || left != 0 {
				t.Fatalf("%v: %d sections, %d rows in the body; %d, %d said", l, i+1, rows, len(b.sections), b.rows)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%v: %d members, want %d", l, len(got), len(want))
		}
		for c := range want {
			if strings.Join(got[c], "\n") != strings.Join(want[c], "\n") {
				t.Fatalf("%v: rows of a member differ or are out of order", l)
			}
		}
	}
}

func TestDigest_SeesEveryGrantedValueAndNoOther(t *testing.T) {
	g := newGenerator(IoT, Grouped, 3, 1, 1)
	recs := g.next(nil)
	vals, ends := recs[0].values(IoT, nil, nil)
	var full []value
	from := 0
	for i, n := range iotFields {
		full = append(full, value{name: []byte(n), text: vals[from:ends[i]]})
		from = ends[i]
	}
	sent := sentDigest(IoT, vals, ends, false)
	if readDigest(IoT, full, false) != sent {
		t.Fatal("equal row, other digest")
	}
	meta := append([]value{{name: []byte("id"), text: []byte("1")}}, full...)
	meta = append(meta, value{name: []byte("source"), text: []byte("x")})
	if readDigest(IoT, meta, false) != sent {
		t.Error("row id and source change the digest")
	}
	for i := range full {
		other := append([]value(nil), full...)
		other[i].text = append([]byte("x"), other[i].text...)
		if readDigest(IoT, other, false) == sent {
			t.Errorf("changed %s, same digest", iotFields[i])
		}
		if readDigest(IoT, append(append([]value(nil), full[:i]...), full[i+1:]...), false) == sent {
			t.Errorf("missing %s, same digest", iotFields[i])
		}
	}
	null := append([]value(nil), full...)
	null[4] = value{name: []byte("quality"), text: []byte("null"), null: true}
	if readDigest(IoT, null, false) != sentDigest(IoT, vals, ends, true) {
		t.Error("a withheld field shown as null should equal one left out")
	}
}
