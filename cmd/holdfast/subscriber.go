package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"holdfast/cmd/internal/memberclient"
)

// SubscriberCmd is `holdfast subscriber`: an organisation and its connections,
// by the manager API. Secrets that the server shows once go into a file that
// only its owner reads.
type SubscriberCmd struct {
	Register   subscriberRegister   `cmd:"" help:"Register an organisation, with the operator's token."`
	Connection subscriberConnection `cmd:"" help:"Make or list connections."`
	Template   subscriberTemplate   `cmd:"" help:"Add or show versions of a connection's agreement."`
	Invite     subscriberInvite     `cmd:"" help:"Offer a connection to a member: prints a one-time URL."`
}

// subscriberFlags are what every sub-command takes.
type subscriberFlags struct {
	Server      string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Address of the server."`
	Credentials string `default:"subscriber.json" placeholder:"FILE" help:"What register wrote: token, client_id and client_secret."`
	JSON        bool   `name:"json" help:"Print JSON."`
}

// credentials are an organisation's way in.
type credentials struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Token        string `json:"token"`
	TokenExpires int64  `json:"token_expires"` // Unix seconds
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// do sends in as JSON to a manager route and returns the answer's body.
func (f *subscriberFlags) do(ctx context.Context, token, method, path string, in any) ([]byte, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(f.Server, "/")+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return roundTrip(req)
}

func roundTrip(req *http.Request) ([]byte, error) {
	c := http.Client{Timeout: 60 * time.Second}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 400 {
		p := &memberclient.Problem{}
		if json.Unmarshal(b, p) != nil {
			p = &memberclient.Problem{}
		}
		p.Status = res.StatusCode
		return nil, p
	}
	return b, nil
}

// token reads the credentials and returns a token for the manager API: the
// first one while it lasts, then one of the client's.
func (f *subscriberFlags) token(ctx context.Context) (string, error) {
	file, err := os.Open(f.Credentials)
	if err != nil {
		return "", fmt.Errorf("%w: register an organisation first, or give --credentials", err)
	}
	defer file.Close()
	if err := private(file); err != nil {
		return "", err
	}
	var c credentials
	if json.NewDecoder(file).Decode(&c) != nil {
		return "", fmt.Errorf("%s does not hold credentials", f.Credentials)
	}
	if c.Token != "" && time.Now().Unix() < c.TokenExpires-60 {
		return c.Token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"manage"}}
	req, err := http.NewRequestWithContext(ctx, "POST", strings.TrimRight(f.Server, "/")+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret))
	b, err := roundTrip(req)
	if err != nil {
		return "", err
	}
	var t struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(b, &t) != nil || t.AccessToken == "" {
		return "", errors.New("the token route gave no token")
	}
	return t.AccessToken, nil
}

// call is do with the organisation's own token.
func (f *subscriberFlags) call(ctx context.Context, method, path string, in, answer any) ([]byte, error) {
	t, err := f.token(ctx)
	if err != nil {
		return nil, err
	}
	b, err := f.do(ctx, t, method, path, in)
	if err == nil && answer != nil && json.Unmarshal(b, answer) != nil {
		err = errors.New("the answer is not of the documented form")
	}
	return b, err
}

type subscriberRegister struct {
	subscriberFlags
	Name          string `arg:"" help:"Legal name of the organisation."`
	OperatorToken string `name:"operator-token-file" required:"" placeholder:"FILE" help:"File whose first line is the operator's token; - is standard input."`
}

// Run registers an organisation and writes its credentials.
func (c *subscriberRegister) Run() error {
	ctx, stop := interruptible()
	defer stop()
	if _, err := os.Stat(c.Credentials); err == nil {
		return fmt.Errorf("%s exists already; give another --credentials", c.Credentials)
	}
	t, err := readSecret(c.OperatorToken, "Operator token")
	if err != nil {
		return err
	}
	b, err := c.do(ctx, t, "POST", "/manage/v1/organisations", map[string]string{"name": c.Name})
	if err != nil {
		return err
	}
	var o credentials
	if json.Unmarshal(b, &o) != nil {
		return errors.New("the answer is not of the documented form")
	}
	if err := writePrivate(c.Credentials, b); err != nil {
		return err
	}
	return show(c.JSON, map[string]any{"id": o.ID, "name": o.Name, "credentials": c.Credentials}, func(w *table) {
		w.line("Registered %s as %s. Credentials: %s", o.Name, o.ID, c.Credentials)
	})
}
