package ndjson

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// The rows of performance.md: IoT about 100 bytes, transactions about 280.
var iotFields = NewFields([]string{"ts", "sensor", "value", "unit", "quality"}, []uint8{1, 2, 3, 4, 5})

var txFields = NewFields([]string{"transaction_id", "booking_date", "amount", "currency", "creditor_name",
	"creditor_account", "debtor_account", "mcc", "description"}, []uint8{1, 2, 3, 4, 5, 6, 7, 8, 9})

func iotLines(n int) (l [][]byte) {
	for i := range n {
		l = append(l, fmt.Appendf(nil, `{"ts":"2026-01-%02dT10:%02d:%02dZ","sensor":"temp-living","value":%d.%02d,"unit":"Cel","quality":"good"}`,
			1+i%28, i%60, i*7%60, 15+i%10, i*13%100))
	}
	return l
}

func txLines(n int) (l [][]byte) {
	for i := range n {
		l = append(l, fmt.Appendf(nil, `{"transaction_id":"%016x","booking_date":"2026-01-%02d","amount":"%d.%02d","currency":"EUR","creditor_name":"Grocer Market %d",`+
			`"creditor_account":"DE89370400440%09d","debtor_account":"NL91ABNA041000000013","mcc":"5411","description":"CARD PAYMENT Grocer Market REF %d"}`,
			uint64(i+1)*0x9e3779b97f4a7c15, 1+i%28, i%250, i*7%100, i%400, i*7919, i*104729%16777216))
	}
	return l
}

func benchRows(b *testing.B, f *Fields, lines [][]byte) {
	var s Scanner
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	b.SetBytes(int64(size / len(lines)))
	b.ReportAllocs()
	for i := 0; i < b.N; {
		s.Reset()
		for j := 0; j < len(lines); j += 20 {
			s.Begin(f)
			for _, l := range lines[j : j+20] {
				if err := s.Row(l); err != nil {
					b.Fatal(err)
				}
				i++
			}
		}
	}
}

func BenchmarkRow_IoT(b *testing.B) { benchRows(b, iotFields, iotLines(1000)) }
func BenchmarkRow_Tx(b *testing.B)  { benchRows(b, txFields, txLines(1000)) }

// Spaces after commas and colons, as Python's json writes them.
func BenchmarkRow_IoTSpaced(b *testing.B) {
	l := iotLines(1000)
	for i := range l {
		var o []byte
		for j, c := range l[i] {
			o = append(o, c)
			if c == ',' || c == ':' && l[i][j-1] == '"' {
				o = append(o, ' ')
			}
		}
		l[i] = o
	}
	benchRows(b, iotFields, l)
}

// Every other row has one name elsewhere.
func BenchmarkRow_TxOtherOrder(b *testing.B) {
	l := txLines(1000)
	mcc := []byte(`"mcc":"5411",`)
	for i := 1; i < len(l); i += 2 {
		rest := bytes.Replace(l[i][1:], mcc, nil, 1)
		l[i] = slices.Concat([]byte("{"), mcc, rest)
	}
	benchRows(b, txFields, l)
}

func TestRow_DoesNotAllocate(t *testing.T) {
	lines := txLines(1000)
	lines[500] = []byte(`{"description":"caf\u00e9 \"x\"","mcc":"1"}`)
	var s Scanner
	run := func() {
		s.Reset()
		for j := 0; j < len(lines); j += 20 {
			s.Begin(txFields)
			for _, l := range lines[j : j+20] {
				if err := s.Row(l); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for range 4 { // memory doubles until a batch fits
		run()
	}
	if n := testing.AllocsPerRun(10, run); n != 0 {
		t.Fatalf("%v allocations for 1,000 rows", n)
	}
}
