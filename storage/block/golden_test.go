package block

import (
	"bufio"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/columns.txt")

// goldenColumns has one column of every kind and flag. Its encodings are kept
// in testdata and must be readable for ever; what the encoder writes may
// change, and then the new line is added and the old one stays.
func goldenColumns() map[string][][]byte {
	return map[string][][]byte{
		"none":      column("\x00nil", "\x00nil", "\x00nil"),
		"constant":  column("EUR", "EUR"),
		"empty":     column("", "", "\x00nil"),
		"decimal":   column("1.50", "-2.25", "1000000.00", "0.01"),
		"trimmed":   column("21.5", "22", "21.75", "\x00nil", "-3"),
		"series":    column("100", "105", "110", "115", "120", "125"),
		"outlier":   column("1", "2", "3", "4", "999999999999999999", "5", "6", "7", "8"),
		"time":      column("2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", "2026-02-28T23:59:59Z"),
		"date":      column("2024-02-29", "1969-12-31", "0001-01-01", "9999-12-31"),
		"offset":    column("2026-06-01T10:00:00+01:00", "2026-06-01T10:30:00+01:00"),
		"micro":     column("2026-06-01 10:00:00.000001", "2026-06-01 10:00:00.999999"),
		"british":   column("31/01/2026 08:05", "01/02/2026 23:59"),
		"american":  column("4/12/2016 1:00:00 AM", "4/12/2016 12:00:00 PM", "12/31/2016 12:59:59 AM"),
		"hex":       column("0011223344556677", "8899aabbccddeeff"),
		"HEX":       column("00AA223344556677BC01", "8899AABBCCDDEEFF0012"),
		"uuid":      column("0e37a9c8-1f00-4a7c-9c15-0123456789ab", "1e37a9c8-1f00-4a7c-8c15-f123456789ab"),
		"dict":      column("good", "bad", "good", "\x00nil", "good", "bad", "", "good", "bad", "good"),
		"raw":       column("naïve", "café\x00", "third one", ""),
		"affix":     column("a shared start, then one and the end", "a shared start, then something and the end"),
		"digits":    column("007", "042", "999"),
		"account":   column("DE89370400440000000001", "DE89370400440000007920", "DE89370400440000015839"),
		"numbered":  column("sensor-9 up", "sensor-10 up", "sensor-111 up"),
		"other":     column("1.5", "NA", "2.5", "\x00nil", "NA", "3.5", "4.5", "5.5", "6.5", "7.5"),
		"long text": column(strings.Repeat("the same words again ", 20), strings.Repeat("other words this time ", 20)),
	}
}

func TestDecode_Golden(t *testing.T) {
	cols := goldenColumns()
	if *update {
		var b strings.Builder
		old, _ := os.ReadFile("testdata/columns.txt")
		b.Write(old)
		for name, vals := range cols {
			line := fmt.Sprintf("%q %x\n", name, AppendColumn(nil, vals, 0, 1, len(vals), nil))
			if !strings.Contains(string(old), line) {
				b.WriteString(line)
			}
		}
		lines := strings.SplitAfter(b.String(), "\n")
		os.MkdirAll("testdata", 0o777)
		if err := os.WriteFile("testdata/columns.txt", []byte(strings.Join(lines, "")), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open("testdata/columns.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	last := map[string]string{}
	var c Column
	for in := bufio.NewScanner(f); in.Scan(); {
		q, err := strconv.QuotedPrefix(in.Text())
		if err != nil {
			t.Fatal(err)
		}
		name, _ := strconv.Unquote(q)
		col, err := hex.DecodeString(in.Text()[len(q)+1:])
		if err != nil || cols[name] == nil {
			t.Fatalf("%s: %v", q, err)
		}
		check(t, &c, col, cols[name])
		last[name] = string(col)
	}
	for name, vals := range cols {
		if got := AppendColumn(nil, vals, 0, 1, len(vals), nil); string(got) != last[name] && got[0]&flagS2 == 0 {
			t.Errorf("%s is written as %x, the file has %x; if that is meant, run with -update", name, got, last[name])
		}
	}
}

// The record of version 1, byte by byte. It never changes.
func TestParse_Golden(t *testing.T) {
	h := Header{Suite: 1, Env: 2, Kind: Block, Comp: 300, Epoch: 7, First: 1001, Rows: 20, Last: 1020, Nonce: [12]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}
	const want = "0101020102" + "0102030405060708090a0b0c" + "ac02" + "07" + "e907" + "14" + "00" + "0003616263" + "05026465"
	rec := record(&h, []Unit{{0, []byte("abc")}, {5, []byte("de")}})
	if got := hex.EncodeToString(rec); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	s := System{Created: 1767225600, Updated: 1767225660, Version: 2, Deleted: true, Origin: 3}
	if got, want := hex.EncodeToString(AppendSystem(nil, &s)), "3780e4ad950d"+"7802"; got != want {
		t.Fatalf("system unit: got %s, want %s", got, want)
	}
}
