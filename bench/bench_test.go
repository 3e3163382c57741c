package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkDrive shows an upper bound of what the client costs a record: it
// includes a server in this process that takes bodies and answers by rote.
func BenchmarkDrive(b *testing.B) {
	acc := newFake(10_000, "").accounts()
	url := serveB(b, 50)
	for _, k := range []Kind{IoT, Tx} {
		b.Run(k.String(), func(b *testing.B) {
			m := &maker{gen: newGenerator(k, Grouped, 10_000, 200_000, 1000), accounts: acc}
			batches := m.stretch()
			b.ReportAllocs()
			b.ResetTimer()
			cpu := ownCPU()
			for b.Loop() {
				d := &driver{session: &session{base: url}, ledger: newLedger(k, acc), inFlight: 4}
				if err := d.drive(b.Context(), batches); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((ownCPU()-cpu)*1e9/float64(b.N)/200_000, "cpu-ns/record")
		})
	}
}

// BenchmarkMaker shows what making bodies costs, before the clock of a run starts.
func BenchmarkMaker(b *testing.B) {
	acc := newFake(10_000, "").accounts()
	for _, k := range []Kind{IoT, Tx} {
		b.Run(k.String(), func(b *testing.B) {
			for b.Loop() {
				m := &maker{gen: newGenerator(k, Grouped, 10_000, 100_000, 1000), accounts: acc, compared: func(m int) bool { return m%10 == 0 }}
				for m.next() != nil {
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/record")
		})
	}
}

func serveB(b *testing.B, sections int) string {
	var answer strings.Builder
	for i := range sections {
		fmt.Fprintf(&answer, `{"section":%d,"con_id":"1234567890-77","rows":20,"first_id":21,"last_id":40}`+"\n", i)
	}
	fmt.Fprintf(&answer, `{"sections":%d,"accepted":%d,"refused":0,"rows":%d}`+"\n", sections, sections, 20*sections)
	reply := []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", answer.Len(), answer.String()))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReaderSize(c, 64<<10)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					if _, err := c.Write(reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}
