package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"holdfast/actors/pds"
)

type subscriberConnection struct {
	Create subscriberConnectionCreate `cmd:"" help:"Make a connection; its secrets go into a file."`
	List   subscriberConnectionList   `cmd:"" default:"withargs" help:"List connections."`
}

type subscriberConnectionCreate struct {
	subscriberFlags
	Name     string `required:"" help:"What members see."`
	Purpose  string `required:"" help:"What the connection is for, in a sentence."`
	Callback string `required:"" placeholder:"URL" help:"Where approvals are announced."`
	Output   string `short:"o" required:"" placeholder:"FILE" help:"Where the secrets go: connection token, client id and secret. holdfast push takes it as --client."`
}

// Run makes a connection.
func (c *subscriberConnectionCreate) Run() error {
	ctx, stop := interruptible()
	defer stop()
	var n struct {
		NID pds.NID `json:"nid"`
	}
	b, err := c.call(ctx, "POST", "/manage/v1/connections", map[string]string{"name": c.Name, "purpose": c.Purpose, "callback": c.Callback}, &n)
	if err != nil {
		return err
	}
	if err := writePrivate(c.Output, b); err != nil {
		return err
	}
	return show(c.JSON, map[string]any{"nid": n.NID, "secrets": c.Output}, func(w *table) {
		w.line("Connection %d. Secrets: %s", n.NID, c.Output)
		w.line("Next: holdfast subscriber template add %d FILE", n.NID)
	})
}

type subscriberConnectionList struct{ subscriberFlags }

// Run lists connections.
func (c *subscriberConnectionList) Run() error {
	ctx, stop := interruptible()
	defer stop()
	var a struct {
		Connections []struct {
			NID     pds.NID `json:"nid"`
			Name    string  `json:"name"`
			Purpose string  `json:"purpose"`
			Last    uint32  `json:"last_version"`
			Active  uint32  `json:"active_version"`
		} `json:"connections"`
	}
	b, err := c.call(ctx, "GET", "/manage/v1/connections", nil, &a)
	if err != nil {
		return err
	}
	return show(c.JSON, json.RawMessage(b), func(w *table) {
		w.row("CONNECTION", "OFFERED", "NEWEST", "NAME", "PURPOSE")
		for _, x := range a.Connections {
			w.row(x.NID, x.Active, x.Last, x.Name, x.Purpose)
		}
	})
}

type subscriberTemplate struct {
	Add  subscriberTemplateAdd  `cmd:"" help:"Add the next version."`
	Show subscriberTemplateShow `cmd:"" help:"Print a version as members sign it."`
	List subscriberTemplateList `cmd:"" help:"List versions."`
}

type subscriberTemplateAdd struct {
	subscriberFlags
	Connection uint32 `arg:"" help:"Number of the connection."`
	File       string `arg:"" type:"existingfile" help:"The template as JSON. Connection, version, subscriber and environment are filled in."`
}

// Run adds a version.
func (c *subscriberTemplateAdd) Run() error {
	ctx, stop := interruptible()
	defer stop()
	b, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	if _, err := pds.DecodeTemplate(b); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	var a struct {
		Version uint32 `json:"version"`
		State   string `json:"state"`
		Hash    string `json:"hash"`
	}
	res, err := c.call(ctx, "POST", fmt.Sprintf("/manage/v1/connections/%d/templates", c.Connection), json.RawMessage(b), &a)
	if err != nil {
		return err
	}
	return show(c.JSON, json.RawMessage(res), func(w *table) {
		w.line("Version %d, %s, SHA-256 %s", a.Version, a.State, a.Hash)
	})
}

type subscriberTemplateShow struct {
	subscriberFlags
	Connection uint32 `arg:"" help:"Number of the connection."`
	Version    uint32 `arg:"" help:"Which version."`
}

// Run prints the canonical bytes.
func (c *subscriberTemplateShow) Run() error {
	ctx, stop := interruptible()
	defer stop()
	b, err := c.call(ctx, "GET", fmt.Sprintf("/manage/v1/connections/%d/templates/%d", c.Connection, c.Version), nil, nil)
	if err != nil {
		return err
	}
	_, err = out.Write(append(b, '\n'))
	return err
}

type subscriberTemplateList struct {
	subscriberFlags
	Connection uint32 `arg:"" help:"Number of the connection."`
}

// Run lists versions.
func (c *subscriberTemplateList) Run() error {
	ctx, stop := interruptible()
	defer stop()
	var a struct {
		Templates []struct {
			Version uint32 `json:"version"`
			State   string `json:"state"`
			Hash    string `json:"hash"`
			Created int64  `json:"created"`
		} `json:"templates"`
	}
	b, err := c.call(ctx, "GET", fmt.Sprintf("/manage/v1/connections/%d/templates", c.Connection), nil, &a)
	if err != nil {
		return err
	}
	return show(c.JSON, json.RawMessage(b), func(w *table) {
		w.row("VERSION", "STATE", "SINCE", "SHA-256")
		for _, x := range a.Templates {
			w.row(x.Version, x.State, clock(x.Created), x.Hash)
		}
	})
}

type subscriberInvite struct {
	subscriberFlags
	Connection   uint32 `arg:"" help:"Number of the connection."`
	Mydexid      string `placeholder:"ID" help:"Only this member may take it."`
	LinkingToken string `placeholder:"TEXT" help:"Your own reference of the person; the callback repeats it."`
	ReturnTo     string `placeholder:"URL" help:"Where the member's browser goes afterwards."`
	Version      uint32 `help:"Which version. Default: the one that is offered."`
	Hours        int64  `help:"For how long. Default: 30 days."`
}

// Run makes an invite.
func (c *subscriberInvite) Run() error {
	ctx, stop := interruptible()
	defer stop()
	in := map[string]any{}
	for name, v := range map[string]string{"mydexid": c.Mydexid, "linking_token": c.LinkingToken, "return_to": c.ReturnTo} {
		if v = strings.TrimSpace(v); v != "" {
			in[name] = v
		}
	}
	if c.Version > 0 {
		in["version"] = c.Version
	}
	if c.Hours > 0 {
		in["expires_in"] = c.Hours * 3600
	}
	var a struct {
		Code    string `json:"code"`
		URL     string `json:"url"`
		Expires int64  `json:"expires"`
	}
	b, err := c.call(ctx, "POST", fmt.Sprintf("/manage/v1/connections/%d/invites", c.Connection), in, &a)
	if err != nil {
		return err
	}
	return show(c.JSON, json.RawMessage(b), func(w *table) {
		w.line("%s", a.URL)
		w.line("Good once, until %s. In a terminal: holdfast member approve %s", clock(a.Expires), a.Code)
	})
}
