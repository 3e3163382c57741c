package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/actors"
	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// Callback is what a subscriber is told: an approved connection, or a changed
// agreement (then its Key is empty: it is still the same).
type Callback = actors.Callback

// Delivery is one attempt, without anything of the member.
type Delivery struct {
	Time   int64  `json:"time"`             // Unix seconds
	Method string `json:"method"`           // POST or PUT
	Status int    `json:"status,omitempty"` // 0: no answer
	Fault  string `json:"fault,omitempty"`
}

// DeliveryLog is the last attempts of a connection, newest last.
type DeliveryLog struct {
	Deliveries []Delivery `json:"deliveries"`
}

const keptDeliveries = 50

// Callbacks delivers approvals to subscribers' callback URLs (pdx-api section 6):
// form-encoded, with the hash of the Connection Token in the header
// Authentication. It follows no redirect, reads little of the answer, and dials
// no private address; loopback is allowed in the sandbox.
type Callbacks struct {
	reg    Registry
	cat    *schema.Catalogue
	env    seal.Env
	now    func() time.Time
	client *http.Client
}

// ErrCallback says that a delivery did not succeed and should be repeated.
var ErrCallback = errors.New("api: callback not delivered")

// NewCallbacks makes a deliverer. now may be nil.
func NewCallbacks(reg Registry, cat *schema.Catalogue, env seal.Env, now func() time.Time) *Callbacks {
	if now == nil {
		now = time.Now
	}
	d := &net.Dialer{Timeout: 5 * time.Second, ControlContext: guardDial(env)}
	return &Callbacks{reg: reg, cat: cat, env: env, now: now, client: &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// guardDial refuses addresses that a subscriber must not make a node call. It
// sees the address after the name was resolved, so no spelling and no name
// server gets round it.
func guardDial(env seal.Env) func(ctx context.Context, network, address string, c syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return ErrCallback
		}
		if allowedAddress(ap.Addr(), env) {
			return nil
		}
		return ErrCallback
	}
}

var refusedNets = func() (out []netip.Prefix) {
	for _, s := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "64:ff9b::/96", "2001:db8::/32"} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

func allowedAddress(a netip.Addr, env seal.Env) bool {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		return env == seal.Sandbox
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range refusedNets {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// Deliver makes one attempt. nil means that the subscriber answered 2xx; any
// error means that it should be repeated. The key is not wiped: it is the
// caller's.
func (c *Callbacks) Deliver(ctx context.Context, m *Callback) error {
	var con ConnectionRecord
	if err := getRecord(ctx, c.reg, KindConnection, ConnectionName(m.NID), &con); err != nil {
		return err
	}
	d := Delivery{Time: c.now().Unix(), Method: http.MethodPost}
	if m.Update {
		d.Method = http.MethodPut
	}
	body := c.form(m)
	req, err := http.NewRequestWithContext(ctx, d.Method, con.Callback, strings.NewReader(body))
	if err != nil {
		return ErrCallback
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authentication", con.TokenHash)
	req.Header.Set("User-Agent", "holdfast")
	resp, err := c.client.Do(req)
	if err != nil {
		// The library's error holds the URL, which is the subscriber's secret to keep.
		d.Fault = "no connection"
		if errors.Is(err, ErrCallback) {
			d.Fault = "address not allowed"
		} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			d.Fault = "timeout"
		}
		c.note(ctx, m.NID, d)
		return fmt.Errorf("%w: %s", ErrCallback, d.Fault)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	d.Status = resp.StatusCode
	c.note(ctx, m.NID, d)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("%w: status %d", ErrCallback, resp.StatusCode)
	}
	return nil
}

// form is the published body. In fields, r and w stand for read and write, a is
// 1 or 0 for granted or not, s is A: shared automatically.
func (c *Callbacks) form(m *Callback) string {
	var b strings.Builder
	add := func(k, v string) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(k))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(v))
	}
	add("connection_id", pds.ConID(m.UID, m.NID))
	add("uid", utoa(uint64(m.UID)))
	add("mydexid", m.Mydexid)
	if m.Key != (seal.MemberKey{}) {
		add("key", m.Key.Reveal())
	}
	if m.LinkingToken != "" {
		add("linking_token", m.LinkingToken)
	}
	for i := range m.Grants {
		g := &m.Grants[i]
		ds, ok := c.cat.Dataset(g.Dataset)
		if !ok {
			continue
		}
		read, write := g.Masks[0], g.Masks[1]|g.Masks[2]|g.Masks[3]
		for j := range ds.Fields {
			f := &ds.Fields[j]
			if !(read | write).Has(f.Number) {
				continue
			}
			at := "fields[" + g.Dataset + "][" + strconv.FormatUint(uint64(g.Instance), 10) + "][" + f.Name + "][access]"
			add(at+"[r][a]", bit(read.Has(f.Number)))
			add(at+"[r][s]", "A")
			add(at+"[w][a]", bit(write.Has(f.Number)))
			add(at+"[w][s]", "A")
		}
	}
	return b.String()
}

func bit(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// note keeps an attempt for the subscriber to see. A note that loses a race is
// dropped: it is a convenience, not evidence.
func (c *Callbacks) note(ctx context.Context, nid pds.NID, d Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var log DeliveryLog
	v, err := getVersion(ctx, c.reg, KindDelivery, ConnectionName(nid), &log)
	if err != nil && !isNotFound(err) {
		return
	}
	log.Deliveries = append(log.Deliveries, d)
	if n := len(log.Deliveries) - keptDeliveries; n > 0 {
		log.Deliveries = log.Deliveries[n:]
	}
	_ = putRecord(ctx, c.reg, KindDelivery, ConnectionName(nid), log, v)
}
