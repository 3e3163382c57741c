package api

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/actors/pds"
	"holdfast/storage/seal"
)

func decodeTemplate(t *testing.T) (out pds.Template) {
	t.Helper()
	if err := decodeStrict([]byte(offerJSON), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCallbacks_Deliver(t *testing.T) {
	w := newPDX(t, Limits{})
	ctx := context.Background()
	type got struct {
		method, auth, ct string
		form             url.Values
	}
	seen := make(chan got, 16)
	status := 200
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		v, err := url.ParseQuery(string(b))
		if err != nil {
			t.Error(err)
		}
		seen <- got{r.Method, r.Header.Get("Authentication"), r.Header.Get("Content-Type"), v}
		if status == 302 {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(status)
	}))
	defer srv.Close()
	con, err := w.s.Manager().CreateConnection(ctx, w.org.ID, ConnectionInput{Name: "c", Purpose: "p", Callback: srv.URL + "/cb"})
	if err != nil {
		t.Fatal(err)
	}
	ds, _ := w.s.cat.Dataset(home)
	post, _ := ds.Field("field_home_postcode")
	town, _ := ds.Field("field_home_town")
	cb := NewCallbacks(w.reg, w.s.cat, seal.Sandbox, w.clock.now)
	m := &Callback{NID: con.NID, UID: 97, Mydexid: "ada", Key: w.key, LinkingToken: "L&1",
		Grants: []pds.Grant{{Dataset: home, Instance: 2, Masks: [4]pds.Mask{1 << post.Number, 1 << town.Number, 1 << town.Number, 0}}}}
	if err := cb.Deliver(ctx, m); err != nil {
		t.Fatal(err)
	}
	g := <-seen
	sum := sha512.Sum512([]byte(con.Token))
	if g.method != "POST" || g.auth != hex.EncodeToString(sum[:]) || g.ct != "application/x-www-form-urlencoded" {
		t.Errorf("%+v", g)
	}
	for k, want := range map[string]string{
		"connection_id": pds.ConID(97, con.NID), "uid": "97", "mydexid": "ada", "key": w.key.Reveal(), "linking_token": "L&1",
		"fields[ds_home][2][field_home_postcode][access][r][a]": "1", "fields[ds_home][2][field_home_postcode][access][w][a]": "0",
		"fields[ds_home][2][field_home_town][access][r][a]": "0", "fields[ds_home][2][field_home_town][access][w][a]": "1", "fields[ds_home][2][field_home_town][access][r][s]": "A",
	} {
		if g.form.Get(k) != want {
			t.Errorf("%s is %q", k, g.form.Get(k))
		}
	}
	if len(g.form) != 5+8 {
		t.Errorf("%d parameters", len(g.form))
	}
	m.Update, m.Key = true, seal.MemberKey{}
	for _, s := range []int{204, 302, 404, 500} {
		status = s
		err := cb.Deliver(ctx, m)
		if (err == nil) != (s == 204) || err != nil && !errors.Is(err, ErrCallback) {
			t.Errorf("%d: %v", s, err)
		}
		if g := <-seen; g.method != "PUT" || g.form.Has("key") {
			t.Errorf("%s", g.method)
		}
	}
	if len(seen) != 0 {
		t.Error("a redirect was followed")
	}
	srv.Close()
	if err := cb.Deliver(ctx, m); !errors.Is(err, ErrCallback) || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("no server: %v", err)
	}
	var log DeliveryLog
	if err := getRecord(ctx, w.reg, KindDelivery, ConnectionName(con.NID), &log); err != nil || len(log.Deliveries) != 6 || log.Deliveries[4].Status != 500 || log.Deliveries[5].Fault != "no connection" {
		t.Errorf("%v %+v", err, log)
	}
	for _, e := range w.reg.m {
		if strings.Contains(string(e.value), w.key.Reveal()) {
			t.Errorf("the key is in %s", e.kind)
		}
	}
	// The live environment calls no loopback, by whatever name.
	live := NewCallbacks(w.reg, w.s.cat, seal.Live, w.clock.now)
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := live.Deliver(short, m); err == nil || !strings.Contains(err.Error(), "address not allowed") {
		t.Errorf("live: %v", err)
	}
}

func TestCallbacks_Addresses(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"} {
		if !allowedAddress(netip.MustParseAddr(a), seal.Sandbox) || allowedAddress(netip.MustParseAddr(a), seal.Live) {
			t.Error(a)
		}
	}
	for _, a := range []string{"0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "198.18.0.1"} {
		if allowedAddress(netip.MustParseAddr(a), seal.Sandbox) {
			t.Error(a)
		}
	}
	for _, a := range []string{"93.184.216.34", "2606:2800:220:1::1"} {
		if !allowedAddress(netip.MustParseAddr(a), seal.Live) {
			t.Error(a)
		}
	}
}
