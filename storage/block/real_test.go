package block

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func shared(t testing.TB, path ...string) string {
	dir := os.Getenv("HOLDFAST_SHARED")
	if dir == "" {
		for dir = "."; ; dir = filepath.Join(dir, "..") {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			if len(dir) > 100 {
				t.Skip("shared data absent")
			}
		}
		dir = filepath.Join(dir, "..", "shared")
	}
	p := filepath.Join(append([]string{dir}, path...)...)
	if _, err := os.Stat(p); err != nil {
		t.Skip("shared data absent")
	}
	return p
}

// table reads up to most rows of a CSV file, row-major, with an empty cell
// absent in every second column.
func table(t testing.TB, file string, comma rune, most int) (vals [][]byte, stride int) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = bufio.NewReader(f)
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	c := csv.NewReader(r)
	c.Comma, c.LazyQuotes, c.ReuseRecord = comma, true, true
	for n := 0; n < most; n++ {
		rec, err := c.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(file, err)
		}
		if stride == 0 {
			stride = len(rec)
			if comma == ',' {
				continue
			}
		}
		for i, s := range rec {
			if s == "" && i%2 == 1 {
				vals = append(vals, nil)
			} else {
				vals = append(vals, []byte(s))
			}
		}
	}
	return vals, stride
}

func realFiles(t testing.TB) (files []string) {
	for _, g := range [][]string{
		{"data", "transactions-retail", "*2010-12.csv.gz"}, {"data", "energy-appliance-1s", "Coffeemaker", "*"}, {"data", "health-fitbit", "*.csv*"},
		{"data", "iot-air-quality", "*Dongsi*"}, {"data", "energy-meter-30min", "*"},
	} {
		dir := shared(t, g[:len(g)-1]...)
		m, _ := filepath.Glob(filepath.Join(dir, g[len(g)-1]))
		if len(m) == 0 {
			t.Fatalf("no files in %v", g)
		}
		files = append(files, m[:min(len(m), 20)]...)
	}
	return
}

func delimiter(file string) rune {
	if strings.Contains(file, "energy-appliance") {
		return ';'
	}
	return ','
}

func TestAppendColumn_RealData(t *testing.T) {
	var c Column
	for _, file := range realFiles(t) {
		vals, stride := table(t, file, delimiter(file), 20000)
		rows := len(vals) / stride
		plain := 0
		for _, v := range vals {
			plain += len(v) + 1
		}
		line := fmt.Sprintf("%-34s %6d rows, text %6.1f B/row;", filepath.Base(file), rows, float64(plain)/float64(rows))
		for _, n := range []int{20, 1000, 20000} {
			size := 0
			hints := make([]Hint, stride)
			for a := 0; a < rows; a += n {
				k := min(n, rows-a)
				for f := range stride {
					col := AppendColumn(nil, vals, a*stride+f, stride, k, &hints[f])
					size += len(col)
					if err := c.Decode(col, k); err != nil {
						t.Fatal(file, err)
					}
					for i := range k {
						want := vals[(a+i)*stride+f]
						if v, ok := c.Value(i); ok != (want != nil) || string(v) != string(want) {
							t.Fatalf("%s row %d column %d: %q became %q", file, a+i, f, want, v)
						}
					}
				}
			}
			line += fmt.Sprintf(" by %d %.2f", n, float64(size)/float64(rows))
		}
		t.Log(line)
	}
}
