package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
)

// A client that sends its whole body before it reads sees why it was refused,
// also when the server refused before it had read it.
func TestServer_EarlyRefusalReachesAClientThatSendsFirst(t *testing.T) {
	w := newPDX(t, Limits{})
	addr := w.s.Addr().String()
	for range 5 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		const size = 20 << 20
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", bulkPath, size)
		chunk := make([]byte, 1<<20)
		for sent := 0; sent < size; sent += len(chunk) {
			if _, err := c.Write(chunk); err != nil {
				t.Fatalf("while sending: %v", err)
			}
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("the answer was lost: %v", err)
		}
		if r.StatusCode != http.StatusUnauthorized {
			t.Fatalf("status %d", r.StatusCode)
		}
		_ = r.Body.Close()
		_ = c.Close()
	}
}
