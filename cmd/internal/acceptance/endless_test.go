package acceptance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/internal/sandbox"
)

// endless requests claim or send a GiB.
func (c *client) endless(t *testing.T, a sandbox.Agreement, before string) {
	t.Helper()
	const one = `{"field_energy_reading_value":"1"}`
	many := slices.Repeat([]string{one}, 1000)
	for _, k := range []struct {
		name, how string
		req       *asked
		status    int
		say       string
	}{
		{"delivery of a GiB", "Content-Length: 1073741824", c.delivery(a).text(strings.Repeat(" ", 16<<10)), 413, "too large"},
		{"delivery of a GiB, of which nothing comes", "Content-Length: 1073741824", c.delivery(a).text(""), 413, "too large"},
		{"bulk of a GiB", "Content-Length: 1073741824", c.bulk(a, many...), 413, "too large"},
		{"delivery without end", "Transfer-Encoding: chunked", c.delivery(a), 413, "too large"},
		{"bulk without end", "Transfer-Encoding: chunked", c.bulk(a), 413, "too large"},
		{"short delivery cut off", "Content-Length: 5000", c.delivery(a), 400, "cut off"},
		{"short bulk cut off", "Content-Length: 5000", c.bulk(a, one), 200, "body cut off"},
		{"delivery cut off", "Content-Length: 100000", c.delivery(a).text(`{"ds_energy_consumption":[` + strings.Join(many, ",") + `]}`), 400, "cut off"},
		{"bulk cut off", "Content-Length: 100000", c.bulk(a, many...), 200, "body cut off"},
		{"chunked delivery cut off", "Transfer-Encoding: chunked", c.delivery(a), 400, "cut off"},
		{"chunked bulk cut off", "Transfer-Encoding: chunked", c.bulk(a, one), 200, "body cut off"},
		{"both lengths", "Content-Length: 5\r\nTransfer-Encoding: chunked", c.delivery(a).text("0\r\n\r\n"), 400, ""},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.n.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
		fmt.Fprintf(conn, "%s %s?%s HTTP/1.1\r\nHost: holdfast\r\n%s\r\n", k.req.method, k.req.path, k.req.query.Encode(), k.how)
		for _, h := range slices.Sorted(maps.Keys(k.req.header)) {
			fmt.Fprintf(conn, "%s: %s\r\n", h, k.req.header.Get(h))
		}
		fmt.Fprint(conn, "\r\n")
		sent := make(chan int, 1)
		chunk := append(bytes.Repeat([]byte(" "), 1<<20-1), '\n')
		switch {
		case strings.Contains(k.name, "without end"):
			go func() {
				total := 0
				for total < 1<<30 {
					if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(chunk), chunk); err != nil {
						break
					}
					total += len(chunk)
				}
				sent <- total
			}()
		case strings.HasPrefix(k.how, "Transfer-Encoding"):
			fmt.Fprintf(conn, "%x\r\n%s\r\n", len(k.req.body), k.req.body)
			sent <- 0
		default:
			_, _ = conn.Write(k.req.body)
			sent <- 0
		}
		if strings.Contains(k.name, "cut off") {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		status, text := 0, ""
		if err == nil {
			b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
			status, text = res.StatusCode, string(b)
		}
		conn.Close()
		n := <-sent
		t.Logf("%s: %d %.120q after %d MiB (%v)", k.name, status, text, n>>20, err)
		if status != k.status || !strings.Contains(text, k.say) || n > 256<<20 {
			t.Errorf("%s: %d %.300s after %d MiB (%v)", k.name, status, text, n>>20, err)
		}
		if after := c.rows(a); after != before {
			t.Fatalf("%s: the store changed", k.name)
		}
	}
}

// replays repeats requests with their Idempotency-Key.
func (c *client) replays(t *testing.T, a sandbox.Agreement) {
	t.Helper()
	for _, k := range []struct {
		name string
		req  func() *asked
	}{
		{"delivery", func() *asked { return c.delivery(a).head("Idempotency-Key", "delivery-1") }},
		{"bulk", func() *asked {
			return c.bulk(a, `{"field_energy_reading_value":"5"}`).head("Idempotency-Key", "bulk-1")
		}},
	} {
		status, first := c.do(t, k.req())
		if status != 200 || !strings.Contains(first, `"success":1`) && !strings.Contains(first, `"accepted":1`) {
			t.Errorf("%s: %d %s", k.name, status, first)
		}
		before := c.rows(a)
		for range 3 {
			status, again := c.do(t, k.req())
			if status != 200 || strings.ReplaceAll(again, `,"replayed":true`, "") != first {
				t.Errorf("%s repeated: %d %s, first %s", k.name, status, again, first)
			}
		}
		other := k.req()
		other.body = bytes.ReplaceAll(other.body, []byte(`reading_value":"`), []byte(`reading_value":"9`))
		if status, b := c.do(t, other); !strings.Contains(b, "same idempotency key, other content") {
			t.Errorf("%s with other content: %d %s", k.name, status, b)
		}
		if after := c.rows(a); after != before {
			t.Errorf("%s repeated: the store changed from %s to %s", k.name, before, after)
		}
	}
}

// healthy holds that the node neither panicked nor grew out of bounds.
func (n *node) healthy(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(n.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"panic", "goroutine "} {
		if bytes.Contains(log, []byte(s)) {
			t.Errorf("the log has %q", s)
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return // not Linux
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		var kib int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			t.Logf("the node used at most %d MiB", kib>>10)
			if kib > 1<<20 {
				t.Errorf("the node grew to %d MiB", kib>>10)
			}
		}
	}
}
