package push

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Count is a number of records under a rule or reason that names no value.
type Count struct {
	Reason string
	Rows   int64
}

// Summary is what became of a push. Read and Skipped count this run's reading;
// the rest counts the push as a whole, earlier runs included.
type Summary struct {
	Map             string
	Push            string // first digits of its name
	Files           int
	Members         int   // connections met in this run
	Read            int64 // rows of the input
	Mapped          int64 // records made of them
	Skipped         int64 // records that do not apply (when_present, empty cells of an unpivot)
	Rejected        int64 // rows the map could not map
	RejectedBy      []Count
	Delivered       int64 // records the server took
	DeliveredBefore int64 // of them in earlier runs
	RefusedRows     int64 // records in sections the server refused
	RefusedSections int64
	RefusedBy       []Count
	Requests        int64 // answered in this run
	Retries         int64
	BytesSent       int64
	Duration        time.Duration
	DryRun          bool
	AlreadyDone     bool   // an earlier run had finished; nothing was sent
	RejectsFile     string // empty if there is nothing in it
	StateFile       string
}

// ExitCode is 0 if the server took every mapped record, else 3.
func (s *Summary) ExitCode() int {
	if s.RefusedSections > 0 {
		return 3
	}
	return 0
}

func (p *push) summary() Summary {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Summary{
		Push: fmt.Sprintf("%x", p.id[:4]), Files: len(p.ins), Members: int(p.members.Load()),
		Read: p.rowsRead.Load(), Mapped: p.mapped.Load(), Skipped: p.skipped.Load(),
		RejectedBy: counts(p.rejected), Delivered: p.delivered.Load(), DeliveredBefore: p.deliveredBefore.Load(),
		RefusedRows: p.refusedRows, RefusedSections: p.refusedSections, RefusedBy: counts(p.refused),
		Requests: p.requests.Load(), BytesSent: p.bytesSent.Load(), DryRun: p.DryRun, StateFile: p.State,
	}
	if p.m != nil {
		s.Map = p.m.Name
	}
	for _, c := range s.RejectedBy {
		s.Rejected += c.Rows
	}
	if p.client != nil {
		s.Retries = p.client.retries.Load()
	}
	if p.journal != nil {
		s.AlreadyDone = p.journal.done != nil
		if s.Rejected+s.RefusedRows > 0 {
			s.RejectsFile = p.journal.path
		}
	}
	return s
}

// counts sorts by rows, most first.
func counts(m map[string]int64) []Count {
	var out []Count
	for r, n := range m {
		out = append(out, Count{r, n})
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), strings.Compare(a.Reason, b.Reason))
	})
	return out
}

// Print writes the summary for people.
func (s *Summary) Print(w io.Writer) {
	head := ""
	switch {
	case s.DryRun:
		head = ", dry run: nothing was sent"
	case s.AlreadyDone:
		head = ": was delivered before, nothing was sent"
	}
	fmt.Fprintf(w, "push %s (%s)%s\n", s.Push, s.Map, head)
	line := func(what string, n int64, note string) {
		fmt.Fprintf(w, "  %-22s %14s%s\n", what, thousands(n), note)
	}
	line("rows read", s.Read, fmt.Sprintf("  in %s files", thousands(int64(s.Files))))
	note := ""
	if s.Members > 0 {
		note = fmt.Sprintf("  of %s members", thousands(int64(s.Members)))
	}
	line("records mapped", s.Mapped, note)
	if s.Skipped > 0 {
		line("not applicable", s.Skipped, "")
	}
	if !s.DryRun {
		note = ""
		if s.DeliveredBefore > 0 && !s.AlreadyDone {
			note = fmt.Sprintf("  (%s in earlier runs)", thousands(s.DeliveredBefore))
		}
		line("delivered", s.Delivered, note)
	}
	line("rejected by the map", s.Rejected, "")
	reasons(w, s.RejectedBy)
	if !s.DryRun {
		note = ""
		if s.RefusedSections > 0 {
			note = fmt.Sprintf("  in %s sections", thousands(s.RefusedSections))
		}
		line("refused by the server", s.RefusedRows, note)
		reasons(w, s.RefusedBy)
	}
	if s.RejectsFile != "" {
		fmt.Fprintf(w, "  rejects are in %s\n", s.RejectsFile)
	}
	if s.AlreadyDone {
		return
	}
	rate := "-"
	if sec := s.Duration.Seconds(); sec > 0 {
		n := s.Delivered - s.DeliveredBefore + s.RefusedRows
		if s.DryRun {
			n = s.Mapped
		}
		rate = thousands(int64(float64(n) / sec))
	}
	fmt.Fprintf(w, "  %v, %s records/s", s.Duration.Round(10*time.Millisecond), rate)
	if !s.DryRun {
		fmt.Fprintf(w, "; %s requests, %s repeated, %.1f MiB sent", thousands(s.Requests), thousands(s.Retries), float64(s.BytesSent)/(1<<20))
	}
	fmt.Fprintln(w)
}

func reasons(w io.Writer, cs []Count) {
	for _, c := range cs {
		fmt.Fprintf(w, "    %20s  %s\n", thousands(c.Rows), c.Reason)
	}
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
