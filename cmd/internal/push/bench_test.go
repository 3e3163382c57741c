package push

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkPush pushes shared data to a server that only counts rows, so that
// it measures this side: reading, mapping, encoding, compressing, HTTP, state.
// Each iteration checks that every row arrived.
func BenchmarkPush(b *testing.B) {
	for _, name := range []string{"energy-appliance-1s", "transactions-retail"} {
		b.Run(name, func(b *testing.B) {
			dir := shared(b, name)
			var got atomic.Int64
			mux := http.NewServeMux()
			mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, `{"access_token":"t","expires_in":3600}`)
			})
			mux.HandleFunc("/pdx/v1/bulk", func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				plain := body
				if r.Header.Get("Content-Encoding") == "zstd" {
					plain, err = unzip.DecodeAll(body, nil)
				}
				if err != nil {
					http.Error(w, "", http.StatusBadRequest)
					return
				}
				// Sections are found at their mark, so that the server costs little.
				var out bytes.Buffer
				n, all := 0, 0
				for part := range bytes.SplitSeq(plain[1:], []byte(`{"con_id":`)) {
					if len(part) == 0 || n == 0 && bytes.HasPrefix(part, []byte(`"con_id":`)) {
						part = part[min(len(part), 9):]
					}
					rows := bytes.Count(part, []byte{'\n'}) - 1
					fmt.Fprintf(&out, `{"section":%d,"rows":%d}`+"\n", n, rows)
					n, all = n+1, all+rows
				}
				fmt.Fprintf(&out, `{"sections":%d,"accepted":%d,"refused":0,"rows":%d}`+"\n", n, n, all)
				got.Add(int64(all))
				w.Write(out.Bytes())
			})
			srv := httptest.NewServer(mux)
			defer srv.Close()

			tmp := b.TempDir()
			client, _ := json.Marshal(map[string]string{"client_id": "c", "client_secret": "s", "token_url": srv.URL + "/token", "pdx_url": srv.URL})
			write(b, filepath.Join(tmp, "client"), string(client))
			m := shippedMap(b, name)
			write(b, filepath.Join(tmp, "keys"), keysFor(b, m, dir))
			rows, sent, i := int64(0), int64(0), 0
			for b.Loop() {
				i++
				got.Store(0)
				s, err := Run(b.Context(), Options{
					Map: m, Data: []string{dir}, Keys: filepath.Join(tmp, "keys"), Client: filepath.Join(tmp, "client"),
					Rejects: filepath.Join(tmp, fmt.Sprint("rejects", i)),
				})
				if err != nil {
					b.Fatal(err)
				}
				if got.Load() != s.Mapped || s.Delivered != s.Mapped {
					b.Fatalf("%d of %d rows arrived", got.Load(), s.Mapped)
				}
				rows += s.Read
				sent += s.BytesSent
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(sent)/float64(rows), "sent-B/row")
		})
	}
}

// keysFor makes a keys file with every ref that the map finds in dir.
func keysFor(b *testing.B, text []byte, dir string) string {
	m, err := ParseMap(text)
	if err != nil {
		b.Fatal(err)
	}
	ins, err := inputs([]string{dir}, m.Source.Files, nil)
	if err != nil {
		b.Fatal(err)
	}
	p := &push{m: m, ins: ins, tally: newTally()}
	p.journal = newJournal("")
	c := newCutter(b.Context(), m, nil, 10000, p.tally)
	c.out = func(*batch) error { return nil }
	if err := p.read(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	var out strings.Builder
	for ref, n := range c.anyRef {
		fmt.Fprintf(&out, `{"ref":%q,"uid":%d,"con_id":"%d-1545","key":"%032d"}`+"\n", ref, n+1, n+1, n)
	}
	return out.String()
}
