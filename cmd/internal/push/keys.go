package push

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
)

// agreement is one entry of the keys file.
type agreement struct {
	conID string
	head  []byte // `{"con_id":"...","key":"...","dataset":"` of its sections; holds the Member Key
}

// keyring is the keys file, looked up by ref.
type keyring struct {
	byRef  map[string]int
	cons   []agreement
	digest string
}

// readKeys reads a keys file: NDJSON {"ref","uid","con_id","key"}, other members
// ignored. With nid, entries of other connections are left out. A ref may
// stand for one connection only. Errors name lines, never values.
func readKeys(name, nid string, warn func(string)) (*keyring, error) {
	f, err := openSecret(name, warn)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	k := &keyring{byRef: map[string]int{}}
	byCon := map[string]int{}
	keys := map[string]string{}
	h := sha256.New()
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 64<<10), 1<<20)
	for line := 1; sc.Scan(); line++ {
		if len(strings.TrimSpace(sc.Text())) == 0 {
			continue
		}
		var e struct {
			Ref   json.RawMessage `json:"ref"`
			ConID string          `json:"con_id"`
			Key   string          `json:"key"`
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("keys file, line %d: not a JSON object with ref, con_id and key", line)
		}
		ref := string(e.Ref)
		if strings.HasPrefix(ref, `"`) {
			if err := json.Unmarshal(e.Ref, &ref); err != nil {
				return nil, fmt.Errorf("keys file, line %d: ref is no text", line)
			}
		}
		if ref == "" || ref == "null" || e.ConID == "" || e.Key == "" {
			return nil, fmt.Errorf("keys file, line %d: ref, con_id or key is missing", line)
		}
		if nid != "" {
			if _, n, _ := strings.Cut(e.ConID, "-"); n != nid {
				continue
			}
		}
		at, ok := byCon[e.ConID]
		if !ok {
			at = len(k.cons)
			byCon[e.ConID] = at
			keys[e.ConID] = e.Key
			head := append([]byte(nil), `{"con_id":`...)
			var good, fine bool
			head, good = appendString(head, []byte(e.ConID))
			head, fine = appendString(append(head, `,"key":`...), []byte(e.Key))
			if !good || !fine {
				return nil, fmt.Errorf("keys file, line %d: not UTF-8", line)
			}
			k.cons = append(k.cons, agreement{e.ConID, append(head, `,"dataset":"`...)})
		} else if keys[e.ConID] != e.Key {
			return nil, fmt.Errorf("keys file, line %d: a second key for the same connection", line)
		}
		if have, ok := k.byRef[ref]; ok && have != at {
			_, a, _ := strings.Cut(k.cons[have].conID, "-")
			_, b, _ := strings.Cut(e.ConID, "-")
			return nil, fmt.Errorf("keys file, line %d: its ref has agreements on connections %s and %s; choose one with --nid", line, a, b)
		}
		k.byRef[ref] = at
		h.Write(sc.Bytes())
		h.Write([]byte{'\n'})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("keys file: %w", err)
	}
	if len(k.cons) == 0 {
		return nil, errors.New("keys file: no entries")
	}
	k.digest = hex.EncodeToString(h.Sum(nil)[:16])
	return k, nil
}

// credentials is the client file. It has no printed form.
type credentials struct {
	ClientID string `json:"client_id"`
	Secret   string `json:"client_secret"`
	TokenURL string `json:"token_url"`
	PDX      string `json:"pdx_url"`

	NID json.Number `json:"nid"` // optional: the connection whose agreements are used
}

func (credentials) String() string   { return "[redacted]" }
func (credentials) GoString() string { return "[redacted]" }

func readClient(name, override string, warn func(string)) (*credentials, error) {
	f, err := openSecret(name, warn)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("client file: %w", err)
	}
	c := new(credentials)
	if err := json.Unmarshal(b, c); err != nil {
		return nil, errors.New("client file: not a JSON object with client_id, client_secret, token_url and pdx_url")
	}
	if override != "" {
		c.PDX = override
	}
	if c.ClientID == "" || c.Secret == "" || c.TokenURL == "" || c.PDX == "" {
		return nil, errors.New("client file: client_id, client_secret, token_url or pdx_url is missing")
	}
	c.PDX = strings.TrimRight(c.PDX, "/")
	for _, u := range []string{c.TokenURL, c.PDX} {
		if err := checkURL(u); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// checkURL refuses addresses over which keys would travel in the clear.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("client file: an address is not a plain http(s) URL")
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		host := u.Hostname()
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
		return fmt.Errorf("%s: keys are sent over https only, or http to this machine", u.Host)
	}
	return errors.New("client file: an address is not a plain http(s) URL")
}

// openSecret opens a file of secrets. It refuses one that others may write and
// warns of one that others may read.
func openSecret(name string, warn func(string)) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if info.Mode().IsRegular() {
		switch mode := info.Mode().Perm(); {
		case mode&0o022 != 0:
			f.Close()
			return nil, fmt.Errorf("%s: others may write to this file of secrets; chmod 600 it", name)
		case mode&0o077 != 0:
			warn(fmt.Sprintf("%s: others may read this file of secrets; chmod 600 it", name))
		}
	}
	return f, nil
}
