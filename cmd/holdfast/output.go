package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"unicode"
)

// out is where answers go; tests replace it.
var out io.Writer = os.Stdout

// interruptible is a context that an interrupt ends.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// table writes aligned columns and plain lines.
type table struct{ w *tabwriter.Writer }

func (t *table) row(cells ...any) {
	s := make([]string, len(cells))
	for i, c := range cells {
		s[i] = printable(fmt.Sprint(c))
	}
	fmt.Fprintln(t.w, strings.Join(s, "\t"))
}

func (t *table) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = printable(s)
		}
	}
	fmt.Fprintf(t.w, format+"\n", args...)
}

// text writes a text of several lines.
func (t *table) text(s string) {
	for l := range strings.Lines(s) {
		fmt.Fprintln(t.w, printable(strings.TrimRight(l, "\n")))
	}
}

// printable keeps what others wrote from moving the cursor, changing colours
// or turning the direction of the line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf) {
			return '\ufffd'
		}
		return r
	}, s)
}

// show prints v as JSON, or what f writes.
func show(asJSON bool, v any, f func(*table)) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	t := &table{tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)}
	f(t)
	return t.w.Flush()
}
