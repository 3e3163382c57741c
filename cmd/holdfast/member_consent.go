package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/cmd/internal/memberclient"
)

type memberOffers struct {
	memberFlags
	Code string `arg:"" optional:"" help:"Show this offer: its code, or the URL that you were given."`
}

// Run lists offers or shows the text of one.
func (c *memberOffers) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	if c.Code != "" {
		o, err := m.Offer(ctx, codeOf(c.Code))
		if err != nil {
			return err
		}
		return show(c.JSON, o, func(w *table) { w.text(o.Text) })
	}
	list, err := m.Offers(ctx)
	if err != nil {
		return err
	}
	return show(c.JSON, list, func(w *table) {
		if len(list) == 0 {
			w.line("No offers.")
			return
		}
		w.row("CONNECTION", "VERSION", "FROM", "NAME", "HOW TO DECIDE")
		for _, o := range list {
			how := "holdfast member approve " + o.Code
			if o.Update {
				how = fmt.Sprintf("holdfast member change %d", o.NID)
			}
			w.row(o.NID, o.Version, o.Subscriber, o.Name, how)
		}
	})
}

// codeOf takes the code out of an offer's URL.
func codeOf(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// choiceFlags switch optional parts on and off.
type choiceFlags struct {
	All      bool     `help:"Allow every optional part."`
	None     bool     `help:"Allow no optional part."`
	Allow    []string `placeholder:"PART" help:"Allow an optional part: a use case such as marketing, or DATASET.FIELD."`
	Deny     []string `placeholder:"PART" help:"Do not allow an optional part."`
	Instance []string `placeholder:"DATASET=N" help:"Share these instances of a dataset instead of instance 0."`
	Yes      bool     `help:"Do not ask after showing the text; the Private Key is needed all the same."`
}

// apply makes choices of c out of have.
func (f *choiceFlags) apply(t *pds.Template, have pds.Choices) (pds.Choices, error) {
	if f.All && f.None {
		return have, errors.New("--all or --none, not both")
	}
	c := have
	if f.All {
		c = memberclient.Everything(t, have.Instances)
	}
	if f.None {
		c = pds.Choices{UseCases: []string{}, Fields: map[string][]string{}, Instances: have.Instances}
	}
	for _, p := range f.Allow {
		if err := switchPart(t, &c, p, true); err != nil {
			return c, err
		}
	}
	for _, p := range f.Deny {
		if err := switchPart(t, &c, p, false); err != nil {
			return c, err
		}
	}
	for _, p := range f.Instance {
		ds, n, _ := strings.Cut(p, "=")
		i, err := strconv.ParseUint(n, 10, 31)
		if err != nil {
			return c, errors.New("--instance is DATASET=N")
		}
		if c.Instances == nil {
			c.Instances = map[string][]uint32{}
		}
		c.Instances[ds] = append(c.Instances[ds], uint32(i))
	}
	return c, nil
}

func switchPart(t *pds.Template, c *pds.Choices, part string, on bool) error {
	ds, field, isField := strings.Cut(part, ".")
	if !isField {
		if !slices.ContainsFunc(t.UseCases, func(u pds.TemplateUse) bool { return u.Category == part && !u.Mandatory }) {
			return fmt.Errorf("%q is no optional use case of this offer", part)
		}
		c.UseCases = switched(c.UseCases, part, on)
		return nil
	}
	for _, d := range t.Datasets {
		if d.Dataset == ds && slices.ContainsFunc(d.Fields, func(f pds.TemplateField) bool { return f.Field == field && !f.Mandatory }) {
			c.Fields[ds] = switched(c.Fields[ds], field, on)
			return nil
		}
	}
	return fmt.Errorf("%q is no optional field of this offer", part)
}

func switched(list []string, x string, on bool) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(y string) bool { return x == y })
	if on {
		list = append(list, x)
	}
	return list
}

// decide shows the text that will be signed and asks whether to go on.
func (f *choiceFlags) decide(o *memberclient.Offer, have pds.Choices, asJSON bool) (*memberclient.Draft, error) {
	t, err := pds.DecodeTemplate(o.Canonical)
	if err != nil {
		return nil, err
	}
	if have.Fields == nil {
		have.Fields = map[string][]string{}
	}
	choices, err := f.apply(t, have)
	if err != nil {
		return nil, err
	}
	d, err := memberclient.NewDraft(o, choices, schema.Default())
	if err != nil {
		return nil, err
	}
	if asJSON {
		// The text must be seen all the same: standard output is the answer's.
		fmt.Fprintln(os.Stderr, d.Text)
	} else if err := show(false, nil, func(w *table) { w.text(d.Text); w.line("") }); err != nil {
		return nil, err
	}
	if !f.Yes {
		if err := confirm("Sign this with your Private Key? [y/N] "); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// confirm asks on the terminal.
func confirm(question string) error {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return errors.New("there is no terminal to ask; give --yes")
	}
	defer tty.Close()
	fmt.Fprint(tty, question)
	s, err := bufio.NewReader(tty).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(s)), "y") {
		return errors.New("nothing was signed")
	}
	return nil
}

type memberApprove struct {
	memberFlags
	choiceFlags
	Code        string `arg:"" help:"The offer's code, or the URL that you were given."`
	ReceiptFile string `short:"o" placeholder:"FILE" help:"Save the receipt here."`
}

// Run shows the agreement, asks for the Private Key and signs.
func (c *memberApprove) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	o, err := m.Offer(ctx, codeOf(c.Code))
	if err != nil {
		return err
	}
	d, err := c.decide(o, pds.Choices{UseCases: []string{}}, c.JSON)
	if err != nil {
		return err
	}
	return c.sign(ctx, m, c.ReceiptFile, "Approved", func(k *memberclient.Key) (*memberclient.Approved, error) { return m.Approve(ctx, k, d) })
}

// sign asks for the Private Key, acts, and keeps the receipt.
func (f *memberFlags) sign(ctx context.Context, m *memberclient.Client, receipt, what string, act func(*memberclient.Key) (*memberclient.Approved, error)) error {
	k, err := f.key(ctx, m)
	if err != nil {
		return err
	}
	defer k.Wipe()
	a, err := act(k)
	if err != nil {
		return err
	}
	if receipt != "" {
		if err := writePrivate(receipt, []byte(a.Receipt)); err != nil {
			return fmt.Errorf("it is signed, but the receipt was not saved: %w", err)
		}
	}
	return show(f.JSON, a, func(w *table) {
		w.line("%s: connection %s, statement %d.", what, a.ConID, a.Consent)
		if receipt != "" {
			w.line("Receipt: %s (check it with holdfast verify)", receipt)
		}
	})
}

type memberReject struct {
	memberFlags
	Code string `arg:"" help:"The offer's code, or the URL that you were given."`
}

// Run declines an offer.
func (c *memberReject) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	if err := m.Reject(ctx, codeOf(c.Code)); err != nil {
		return err
	}
	return done(c.JSON, "Rejected. Nothing was shared.")
}

type memberAgreements struct {
	memberFlags
	Connection string `arg:"" optional:"" help:"Show the text of this one."`
}

// Run lists connections.
func (c *memberAgreements) Run() error {
	ctx, stop := interruptible()
	defer stop()
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	all, err := m.Agreements(ctx)
	if err != nil {
		return err
	}
	if c.Connection != "" {
		nid, err := parseConnection(c.Connection)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(a memberclient.Agreement) bool { return a.NID != nid })
		if len(all) == 0 {
			return errors.New("no such connection")
		}
	}
	return show(c.JSON, all, func(w *table) {
		switch {
		case len(all) == 0:
			w.line("No connections.")
		case c.Connection != "":
			w.line("%s, %s since %s", all[0].ConID, all[0].State, clock(all[0].Since/1000))
			w.text(all[0].Text)
		default:
			w.row("CONNECTION", "STATE", "VERSION", "SINCE", "NAME")
			for _, a := range all {
				owed := ""
				if a.EpochOwed {
					owed = " (keys are still to be replaced)"
				}
				w.row(a.NID, a.State+owed, a.Version, clock(a.Since/1000), a.Name)
			}
		}
	})
}

// parseConnection takes a connection's number or a con_id.
func parseConnection(s string) (uint32, error) {
	n, err := strconv.ParseUint(s[strings.LastIndexByte(s, '-')+1:], 10, 32)
	if err != nil || n == 0 {
		return 0, errors.New("a connection is a number such as 1545, or a con_id such as 97-1545")
	}
	return uint32(n), nil
}

type memberChange struct {
	memberFlags
	choiceFlags
	Connection  string `arg:"" help:"Number of the connection, or con_id."`
	Version     uint32 `help:"Which version: the one in force or the newest. Default: the newest."`
	ReceiptFile string `short:"o" placeholder:"FILE" help:"Save the receipt here."`
}

// Run signs other choices or a newer version.
func (c *memberChange) Run() error {
	ctx, stop := interruptible()
	defer stop()
	nid, err := parseConnection(c.Connection)
	if err != nil {
		return err
	}
	m, err := c.unlocked(ctx)
	if err != nil {
		return err
	}
	o, err := m.OfferOf(ctx, nid, c.Version)
	if err != nil {
		return err
	}
	have := pds.Choices{UseCases: []string{}}
	if o.Choices != nil {
		have = *o.Choices
	}
	d, err := c.decide(o, have, c.JSON)
	if err != nil {
		return err
	}
	return c.sign(ctx, m, c.ReceiptFile, "Changed", func(k *memberclient.Key) (*memberclient.Approved, error) { return m.Change(ctx, k, d) })
}

type memberSuspend struct {
	memberFlags
	Connection string `arg:"" help:"Number of the connection, or con_id."`
}

// Run suspends a connection.
func (c *memberSuspend) Run() error {
	ctx, stop := interruptible()
	defer stop()
	nid, err := parseConnection(c.Connection)
	if err != nil {
		return err
	}
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	if err := m.Suspend(ctx, nid); err != nil {
		return err
	}
	return done(c.JSON, "Suspended. It can do nothing until you lift it.")
}

type memberLift struct {
	memberFlags
	Connection  string `arg:"" help:"Number of the connection, or con_id."`
	ReceiptFile string `short:"o" placeholder:"FILE" help:"Save the receipt here."`
}

// Run ends a suspension.
func (c *memberLift) Run() error {
	ctx, stop := interruptible()
	defer stop()
	nid, err := parseConnection(c.Connection)
	if err != nil {
		return err
	}
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	return c.sign(ctx, m, c.ReceiptFile, "Lifted", func(k *memberclient.Key) (*memberclient.Approved, error) { return m.Lift(ctx, k, nid) })
}

type memberRevoke struct {
	memberFlags
	Connection  string `arg:"" help:"Number of the connection, or con_id."`
	ReceiptFile string `short:"o" placeholder:"FILE" help:"Save the receipt here."`
}

// Run ends an agreement.
func (c *memberRevoke) Run() error {
	ctx, stop := interruptible()
	defer stop()
	nid, err := parseConnection(c.Connection)
	if err != nil {
		return err
	}
	m, err := c.signedIn(ctx)
	if err != nil {
		return err
	}
	return c.sign(ctx, m, c.ReceiptFile, "Revoked", func(k *memberclient.Key) (*memberclient.Approved, error) { return m.Revoke(ctx, k, nid) })
}
