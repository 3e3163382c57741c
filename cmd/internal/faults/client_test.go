package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/cmd/internal/sandbox"
)

// account is one member's agreement with the subscriber that loads.
type account struct {
	uid        uint32
	conID, key string
}

// subscriber is a client of the PDX with its credentials, good for every run
// of the program on one data directory.
type subscriber struct {
	id, secret string
	accounts   []account
}

// accountsOf takes the generated members connected to a subscriber.
func accountsOf(w *sandbox.World, name string) *subscriber {
	for i := range w.Subscribers {
		s := &w.Subscribers[i]
		if s.Name != name {
			continue
		}
		out := &subscriber{id: s.ClientID, secret: s.ClientSecret}
		suffix := "-" + strconv.FormatUint(uint64(s.Connections[0].NID), 10)
		for _, g := range w.Generated {
			if strings.HasSuffix(g.ConID, suffix) {
				out.accounts = append(out.accounts, account{g.UID, g.ConID, g.Key})
			}
		}
		return out
	}
	return nil
}

// pdx is a subscriber at one run of the program.
type pdx struct {
	sub   *subscriber
	url   string
	http  *http.Client
	token string
}

// errUnknown: the answer did not come, or not whole.
var errUnknown = errors.New("outcome unknown")

// status is an answer other than 2xx.
type status struct {
	code int
	body string
}

func (s *status) Error() string { return fmt.Sprintf("status %d: %s", s.code, s.body) }

// login gets a token; connections are not shared with other runs.
func (s *subscriber) login(ctx context.Context, base string) (*pdx, error) {
	p := &pdx{sub: s, url: base, http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"mydex:pdx"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, "POST", base+"/oauth2/token", strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(url.QueryEscape(s.id), url.QueryEscape(s.secret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b, err := p.answer(req)
	if err != nil {
		return nil, err
	}
	var t struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(b, &t) != nil || t.AccessToken == "" {
		return nil, errors.New("no access token")
	}
	p.token = t.AccessToken
	return p, nil
}

func (p *pdx) close() { p.http.CloseIdleConnections() }

// answer returns a whole 2xx body, a *status, or errUnknown.
func (p *pdx) answer(req *http.Request) ([]byte, error) {
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	res, err := p.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnknown, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return b, fmt.Errorf("%w: %w", errUnknown, err)
	}
	if res.StatusCode/100 != 2 {
		return nil, &status{res.StatusCode, string(b)}
	}
	return b, nil
}

// verdict is the answer to one section.
type verdict struct {
	Section *int   `json:"section"`
	ConID   string `json:"con_id"`
	Rows    int    `json:"rows"`
	First   uint64 `json:"first_id"`
	Last    uint64 `json:"last_id"`
	Status  int    `json:"status"`
	Title   string `json:"title"`

	Sections *int `json:"sections"` // of the last line
}

// bulk posts a body and returns the verdicts that came. errUnknown with some
// verdicts: those sections are decided, the others are not known.
func (p *pdx) bulk(ctx context.Context, body []byte, key string) ([]verdict, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", p.url+"/pdx/v1/bulk", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Idempotency-Key", key)
	b, err := p.answer(req)
	if err != nil && !errors.Is(err, errUnknown) {
		return nil, err
	}
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		b = b[:i+1]
	} else {
		b = nil
	}
	var out []verdict
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var v verdict
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			return out, fmt.Errorf("answer not of the documented form: %w", err)
		}
		if v.Sections != nil {
			return out, nil
		}
		if v.Section == nil || *v.Section != len(out) {
			return out, errors.New("answer out of order")
		}
		out = append(out, v)
	}
	if err == nil {
		err = errUnknown // no last line
	}
	return out, err
}

const dataset = "ds_energy_consumption"

// The fields that a row of the load carries.
const (
	fieldHome  = "field_energy_homeid"
	fieldTime  = "field_energy_reading_timestamp"
	fieldValue = "field_energy_reading_value"
	fieldIndex = "field_energy_source_index_id"
	fieldName  = "field_energy_source_name"
	fieldType  = "field_energy_source_type"
)

// row is what the load writes and expects to read.
type row struct{ home, time, value, index, name string }

// read returns the rows of an account from an id on.
func (p *pdx) read(ctx context.Context, a *account, from uint64) (map[uint64]row, error) {
	q := url.Values{"con_id": {a.conID}, "source_type": {"connection"}, "dataset": {dataset}, "instance": {"0"}}
	if from > 1 {
		q.Set("filters[id][operator]", ">=")
		q.Set("filters[id][value]", strconv.FormatUint(from, 10))
	}
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/api/pds/transaction/%d.json?%s", p.url, a.uid, q.Encode()), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection-Token", a.key)
	b, err := p.answer(req)
	if err != nil {
		return nil, err
	}
	var in map[string]map[string]*string
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, fmt.Errorf("%w: answer is not whole JSON", errUnknown)
	}
	out := make(map[uint64]row, len(in))
	for id, r := range in {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil || r["id"] == nil || *r["id"] != id {
			return nil, errors.New("row without its id")
		}
		f := func(name string) string {
			if v := r[name]; v != nil {
				return *v
			}
			return "(null)"
		}
		out[n] = row{f(fieldHome), f(fieldTime), f(fieldValue), f(fieldIndex), f(fieldName)}
	}
	return out, nil
}

// change updates a row, or deletes it if body is nil.
func (p *pdx) change(ctx context.Context, a *account, id uint64, body []byte, key string) error {
	q := url.Values{"con_id": {a.conID}, "source_type": {"connection"}, "dataset": {dataset}, "instance": {"0"}, "id": {strconv.FormatUint(id, 10)}}
	method := http.MethodPut
	if body == nil {
		method = http.MethodDelete
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/api/pds/transaction/%d.json?%s", p.url, a.uid, q.Encode()), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Connection-Token", a.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	_, err = p.answer(req)
	return err
}
