package api

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Bodies of exactly the limit are taken, one byte more is not, for every way of
// sending them.
func TestBody_Limits(t *testing.T) {
	const limit = 4096
	w := newPDX(t, Limits{Body: limit, BulkBody: limit, BulkExpanded: limit})
	pad := func(s string, n int) string { return s + strings.Repeat(" ", n-len(s)-1) + "\n" }
	doc := `{"ds_home":{"field_home_postcode":"A"}}`
	sec := w.head(97, "ds_iot_readings") + iotRow
	for _, c := range []struct {
		n, status int
	}{{0, 400}, {1, 400}, {limit - 1, 200}, {limit, 200}, {limit + 1, 413}, {2 * limit, 413}} {
		d, b := "", ""
		switch {
		case c.n >= len(sec):
			d, b = pad(doc, c.n), pad(sec, c.n)
		case c.n == 1:
			d, b = " ", "\n"
		}
		for _, chunked := range []bool{false, true} {
			send := func(path, ct, body string) int {
				var r io.Reader = strings.NewReader(body)
				if chunked {
					r = struct{ io.Reader }{r} // of a length that the client does not know
				}
				return w.call("POST", path, r, "Authorization", "Bearer "+w.token, "Content-Type", ct, "Connection-Token", w.key.Reveal()).status
			}
			if s := send("/api/pds/pds/97.json?con_id="+w.conID(97), "application/json", d); s != c.status {
				t.Errorf("dataset, %d bytes, chunked %v: %d", c.n, chunked, s)
			}
			if s := send(bulkPath, "application/x-ndjson", b); s != c.status {
				t.Errorf("bulk, %d bytes, chunked %v: %d", c.n, chunked, s)
			}
		}
	}
	// The limit holds for what a body expands to as well.
	big := pad(doc, 3*limit)
	for _, enc := range []string{"gzip", "zstd"} {
		if a := w.pdx("POST", "/api/pds/pds/97.json", encode(t, enc, doc), "H:Content-Encoding", enc); a.status != 200 {
			t.Errorf("%s: %d %s", enc, a.status, a.body)
		}
		if a := w.pdx("POST", "/api/pds/pds/97.json", encode(t, enc, big), "H:Content-Encoding", enc); a.status != 413 {
			t.Errorf("%s: %d %s", enc, a.status, a.body)
		}
	}
}

// A client that asks first is told to go on, and its connection lives on.
func TestBody_ExpectContinue(t *testing.T) {
	w := newPDX(t, Limits{})
	c := dial(t, w)
	defer c.Close()
	r := bufio.NewReader(c)
	body := w.head(97, "ds_iot_readings") + iotRow
	for range 2 {
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", bulkPath, w.token, len(body))
		l, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(l, "HTTP/1.1 100") {
			t.Fatalf("%q %v", l, err)
		}
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, body); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || !strings.Contains(string(b), `"accepted":1`) {
			t.Errorf("%d %s", resp.StatusCode, b)
		}
	}
	for _, head := range []string{"Authorization: Bearer no", "Authorization: Bearer " + w.token + "\r\nContent-Type: application/x-ndjson\r\nX: y"} {
		c := dial(t, w)
		n := 100
		want := "HTTP/1.1 401"
		if strings.Contains(head, "X: y") {
			n, want = 1<<30, "HTTP/1.1 413"
		}
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", bulkPath, head, n)
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%v %s", err, b)
		}
		_ = c.Close()
	}
}

// A chunked body that breaks off refuses its last section.
func TestBody_ChunkedCutOff(t *testing.T) {
	w := newPDX(t, Limits{})
	whole := w.head(97, "ds_iot_readings") + iotRow
	part := w.head(98, "ds_iot_readings") + iotRow
	for _, end := range []string{"", "5\r\n{\"uni", "zz\r\n"} {
		c := dial(t, w)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n%s\r\n%s",
			bulkPath, w.token, strconv.FormatInt(int64(len(whole+part)), 16), whole+part, end)
		if cw, ok := c.(interface{ CloseWrite() error }); ok {
			_ = cw.CloseWrite()
		}
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if s := string(b); !strings.Contains(s, `"sections":2,"accepted":1,"refused":1`) {
			t.Errorf("%q: %s", end, s)
		}
	}
	if w.store.count(98, "ds_iot_readings") != 0 {
		t.Error("stored what was cut off")
	}
}
