package api

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// exchange sends bytes and returns everything that comes back until the server
// closes. A server that waits for more fails the test.
func (w *pdxWorld) exchange(request string, end bool) (*http.Response, string) {
	w.t.Helper()
	c := dial(w.t, w)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // below Limits.ReadTimeout
	if _, err := io.WriteString(c, request); err != nil {
		w.t.Fatal(err)
	}
	if end {
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			w.t.Fatal(err)
		}
	}
	b, err := io.ReadAll(c)
	if err != nil {
		w.t.Fatalf("after %q: %v", b, err)
	}
	r := bufio.NewReader(strings.NewReader(string(b)))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatalf("%q: %v", b, err)
	}
	body, _ := io.ReadAll(resp.Body)
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		w.t.Errorf("a second answer: %q", rest)
	}
	return resp, string(body)
}

// datasetTarget is a published route with all it needs.
func (w *pdxWorld) datasetTarget() string {
	return "/api/pds/pds/97.json?source_type=connection&con_id=" + w.conID(97) + "&key=" + w.key.Reveal()
}

// What the header alone condemns is answered at once and in full, whether or
// not the client waits to be asked for the body.
func TestExpect_RefusalsFromTheHeader(t *testing.T) {
	w := newPDX(t, Limits{ReadTimeout: time.Minute, BulkTimeout: time.Minute})
	auth, nd := "Authorization: Bearer "+w.token+"\r\n", "Content-Type: application/x-ndjson\r\n"
	for _, c := range []struct {
		name, target, head string
		size               int
		status             int
		body               string
		waits              bool // only a client that asks is answered early
	}{
		{"bulk, too large", bulkPath, auth + nd, 1 << 30, 413, `"type":"/problems/too-large"`, false},
		{"bulk with a query, too large", bulkPath + "?x=1", auth + nd, 1 << 30, 413, `"type":"/problems/too-large"`, false},
		{"bulk, no token", bulkPath, nd, 100, 401, `"type":"/problems/token"`, true},
		{"bulk, no token, too large", bulkPath, nd, 1 << 30, 401, `"type":"/problems/token"`, false},
		{"bulk, media type", bulkPath, auth, 100, 415, `"type":"/problems/media-type"`, true},
		{"bulk, idempotency key", bulkPath, auth + nd + "Idempotency-Key: a b\r\n", 100, 400, `"type":"/problems/idempotency-key"`, true},
		{"dataset, too large", w.datasetTarget(), auth, 1 << 30, 413, `{"success":0,"message":"too large`, false},
		{"dataset, no token, too large", w.datasetTarget(), "", 1 << 30, 401, `"Access denied"`, false},
		{"add-measurements, too large", "/api/pds/add-measurements?uid=97&con_id=" + w.conID(97) + "&key=" + w.key.Reveal(), auth, 1 << 30, 403, `{"success":0,`, false},
		{"no route, too large", "/nowhere", "", 1 << 30, 404, `"type":"/problems/not-found"`, false},
	} {
		for _, expect := range []string{"Expect: 100-continue\r\n", "expect: 100-Continue\r\n", ""} {
			if expect == "" && c.waits {
				continue
			}
			t.Run(c.name+"/"+strings.TrimSpace(expect), func(t *testing.T) {
				before := w.store.refusals()
				resp, body := w.exchange(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n%s\r\n", c.target, c.head, c.size, expect), false)
				if resp.StatusCode != c.status || !strings.Contains(body, c.body) {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
				if resp.Header.Get("X-Request-Id") == "" || !resp.Close {
					t.Errorf("header %v", resp.Header)
				}
				if c.name == "dataset, too large" && w.store.refusals() != before+1 {
					t.Error("not journalled")
				}
			})
		}
	}
	if strings.Contains(w.logged(), w.key.Reveal()) {
		t.Error("the log shows the key")
	}
}

// What follows a refused body's header on the connection is not a request.
func TestExpect_NothingIsReadAfterARefusal(t *testing.T) {
	w := newPDX(t, Limits{})
	inner := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\n{}", w.datasetTarget(), w.token)
	resp, _ := w.exchange(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", bulkPath, 1<<30, inner), true)
	if resp.StatusCode != 401 {
		t.Errorf("%d", resp.StatusCode)
	}
	if n := w.store.refusals(); n != 0 {
		t.Errorf("%d requests came out of a body", n)
	}
}

// A small body that breaks off is answered in the route's own shape, and
// nothing of it is stored.
func TestBody_SmallCutOff(t *testing.T) {
	w := newPDX(t, Limits{})
	doc := `{"ds_home":[{"field_home_postcode":"DN21"}]}`
	for _, sent := range []int{1, 10, len(doc) - 1} {
		resp, body := w.exchange(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", w.datasetTarget(), w.token, len(doc), doc[:sent]), true)
		if resp.StatusCode != 400 || body != `{"success":0,"message":"body cut off"}` {
			t.Errorf("%d bytes: %d %s", sent, resp.StatusCode, body)
		}
		if resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("content type %q", resp.Header.Get("Content-Type"))
		}
	}
	// Where nothing came no handler was asked, which is all that is said.
	resp, body := w.exchange(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", w.datasetTarget()), true)
	if resp.StatusCode != 400 || !strings.Contains(body, `"title":"body cut off"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if w.store.count(97, "ds_home") != 0 {
		t.Error("stored what was cut off")
	}
}
