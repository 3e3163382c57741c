package api

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/actors"
	"holdfast/actors/pds"
)

// nullStore takes everything at once.
type nullStore struct{ *fakeStore }

func (nullStore) Deliver(_ context.Context, secs []*actors.Section) error {
	for _, s := range secs {
		s.First, s.Last = 1, uint64(s.N)
	}
	return nil
}

// bulkBody is sections of n rows; rows in all.
func (w *pdxWorld) bulkBody(ds string, row func(i int) string, rows, n int) []byte {
	var b bytes.Buffer
	for i := range rows {
		if i%n == 0 {
			b.WriteString(w.head(pds.UID(i/n%10_000+1), ds))
		}
		b.WriteString(row(i))
	}
	return b.Bytes()
}

func iotLine(i int) string {
	return fmt.Sprintf(`{"ts":"2026-03-01T%02d:%02d:%02dZ","sensor":"s-%04d","value":"%d.%d","unit":"kWh","quality":"good"}`+"\n", i/3600%24, i/60%60, i%60, i%977, i%40, i%10)
}

func txLine(i int) string {
	return fmt.Sprintf(`{"transaction_id":"%032x","booking_date":"2026-03-%02d","amount":"-%d.%02d","currency":"GBP","creditor_name":"Corner Shop %d","creditor_account":"GB29NWBK6016133192%04d","debtor_account":"GB94BARC1020153009%04d","mcc":"54%02d","description":"Card payment to Corner Shop, contactless, terminal %d"}`+"\n",
		i*7919, i%28+1, i%300, i%100, i%500, i%10000, i%10000, i%100, i%9999)
}

// The bulk path alone: body in memory to sections, with Deliver doing nothing.
func BenchmarkBulk(b *testing.B) {
	w := newPDX(b, Limits{})
	w.s.store = nullStore{w.store}
	who, err := w.s.tokens.verify(context.Background(), w.token, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range []struct {
		name string
		ds   string
		row  func(int) string
	}{{"iot", "ds_iot_readings", iotLine}, {"tx", "ds_card_transactions", txLine}} {
		for _, n := range []int{1, 20, 1000} {
			for _, key := range []string{"", "/idempotent"} {
				b.Run(fmt.Sprintf("%s/%d%s", k.name, n, key), func(b *testing.B) {
					const rows = 10_000
					text := w.bulkBody(k.ds, k.row, rows, n)
					copied := make([]byte, len(text))
					b.ReportAllocs()
					b.SetBytes(int64(len(text)) / rows)
					for i := 0; i < b.N; i += rows {
						copy(copied, text)
						var id idempotency
						if key != "" {
							id = newIdempotency("org", []byte("key"))
						}
						r := &bodyReader{raw: bytes.NewReader(copied), length: int64(len(copied)), maxSent: 1 << 30, maxOut: 1 << 30}
						bk := bulks.Get().(*bulk)
						bk.begin(w.s, who, id, false)
						out, err := bk.run(r)
						if err != nil || !strings.HasSuffix(string(out[len(out)-20:]), `"rows":10000}`+"\n") {
							b.Fatal(err, string(out[max(0, len(out)-200):]))
						}
						bk.release()
					}
				})
			}
		}
	}
}
