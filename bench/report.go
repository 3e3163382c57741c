package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Context is where and with what a figure was taken.
type Context struct {
	Machine  string    `json:"machine"`
	Commit   string    `json:"commit"`
	Go       string    `json:"go"`
	Time     time.Time `json:"time"`
	Settings string    `json:"settings"`
}

func newContext(dir, settings string) Context {
	return Context{Machine: machine(dir), Commit: commit(), Go: runtime.Version(), Time: time.Now().UTC().Truncate(time.Second), Settings: settings}
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	return rev + dirty
}

func (c Context) print(w io.Writer) {
	fmt.Fprintf(w, "machine   %s\ncommit    %s, %s, %s\nsettings  %s\n\n", c.Machine, c.Commit, c.Go, c.Time.Format(time.RFC3339), c.Settings)
}

// Result is one run of ingest. Rates count accepted rows only.
type Result struct {
	Workload                   string  `json:"workload"`
	Layout                     string  `json:"layout"`
	Batch                      int     `json:"batch"`
	Records                    int64   `json:"records"`
	RecordsPerSecond           float64 `json:"records_per_second"`
	ServerCPUSecondsPerMillion float64 `json:"server_cpu_seconds_per_million"`
	ClientCPUSecondsPerMillion float64 `json:"client_cpu_seconds_per_million"`
	P50Ms                      float64 `json:"p50_ms"`
	P99Ms                      float64 `json:"p99_ms"`
	BytesOnDiskPerRecord       float64 `json:"bytes_on_disk_per_record"`
	ResidentMiB                float64 `json:"resident_mib"`
	Lost                       int64   `json:"lost"`
	Unauthorised               int64   `json:"unauthorised"`

	Refused                    int64              `json:"refused"` // rows
	FirstRefusal               *refusal           `json:"first_refusal,omitempty"`
	Unknown                    int64              `json:"unknown"`        // rows without a clear outcome
	Unacknowledged             int64              `json:"unacknowledged"` // rows read that nobody acknowledged
	PutOff                     int64              `json:"put_off"`        // answers 429 and 503
	Probes                     int64              `json:"probes"`         // requests that had to be refused
	UndecidedProbes            int64              `json:"undecided_probes"`
	ComparedRows               int64              `json:"compared_rows"`
	ComparedMembers            int64              `json:"compared_members"`
	BodyBytesPerRecord         float64            `json:"body_bytes_per_record"`
	SettlingCPUSecondsPerM     float64            `json:"settling_cpu_seconds_per_million"`
	CameToRest                 bool               `json:"came_to_rest"`
	Compacted                  bool               `json:"compacted"` // before disk was measured
	BytesOnDiskBeforeCompacted float64            `json:"bytes_on_disk_per_record_before_compaction"`
	DiskPartsPerRecord         map[string]float64 `json:"disk_parts_per_record"`
	Status                     json.RawMessage    `json:"operator_status,omitempty"`
	Context                    Context            `json:"context"`
}

func (r *Result) ok() bool { return r.Lost == 0 && r.Unauthorised == 0 && r.Refused == 0 }

// writeJSON writes one object a line.
func writeJSON[T any](w io.Writer, results ...T) error {
	e := json.NewEncoder(w)
	for _, r := range results {
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// median of the values; the upper of the middle two, so that it is a value that
// was seen. 0 without any.
func median[T cmp.Ordered](v []T) (m T) {
	if len(v) == 0 {
		return m
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func medianOf(rs []Result, f func(*Result) float64) float64 {
	v := make([]float64, len(rs))
	for i := range rs {
		v[i] = f(&rs[i])
	}
	return median(v)
}

func printResults(w io.Writer, rs []Result) {
	if len(rs) == 0 {
		return
	}
	rs[0].Context.print(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "run\tworkload\tlayout\tbatch\trecords\trec/s\tserver s/M\tsettling s/M\tclient s/M\tp50 ms\tp99 ms\tB/rec disk\tMiB\tlost\tunauth\trefused\t")
	row := func(name string, r *Result) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.0f\t%.3f\t%.3f\t%.3f\t%.2f\t%.2f\t%.1f\t%.0f\t%d\t%d\t%d\t\n", name, r.Workload, r.Layout, r.Batch, r.Records,
			r.RecordsPerSecond, r.ServerCPUSecondsPerMillion, r.SettlingCPUSecondsPerM, r.ClientCPUSecondsPerMillion,
			r.P50Ms, r.P99Ms, r.BytesOnDiskPerRecord, r.ResidentMiB, r.Lost, r.Unauthorised, r.Refused)
	}
	for i := range rs {
		row(fmt.Sprint(i+1), &rs[i])
	}
	if len(rs) > 1 {
		m := medians(rs)
		row("median", &m)
	}
	t.Flush()
	r := &rs[len(rs)-1]
	fmt.Fprintf(w, "\nchecked   %d rows of %d members compared, %d requests that had to be refused (%d undecided), a run\n",
		r.ComparedRows, r.ComparedMembers, r.Probes, r.UndecidedProbes)
	fmt.Fprintf(w, "disk      %.1f B/rec before compaction, %.1f after", r.BytesOnDiskBeforeCompacted, r.BytesOnDiskPerRecord)
	if !r.Compacted {
		fmt.Fprint(w, " (the server offered no compaction)")
	}
	for _, p := range sortedParts(r.DiskPartsPerRecord) {
		fmt.Fprintf(w, "; %s %.1f", p, r.DiskPartsPerRecord[p])
	}
	fmt.Fprintln(w)
	if r.FirstRefusal != nil {
		fmt.Fprintf(w, "refused   first: status %d, %s\n", r.FirstRefusal.Status, r.FirstRefusal.Title)
	}
	if r.Unknown+r.Unacknowledged+r.PutOff > 0 {
		fmt.Fprintf(w, "also      %d rows without a clear outcome, %d rows nobody acknowledged, %d batches put off\n", r.Unknown, r.Unacknowledged, r.PutOff)
	}
}

func sortedParts(m map[string]float64) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

// medians takes each figure's own median and the sum of what must be zero.
func medians(rs []Result) Result {
	m := rs[0]
	m.RecordsPerSecond = medianOf(rs, func(r *Result) float64 { return r.RecordsPerSecond })
	m.ServerCPUSecondsPerMillion = medianOf(rs, func(r *Result) float64 { return r.ServerCPUSecondsPerMillion })
	m.SettlingCPUSecondsPerM = medianOf(rs, func(r *Result) float64 { return r.SettlingCPUSecondsPerM })
	m.ClientCPUSecondsPerMillion = medianOf(rs, func(r *Result) float64 { return r.ClientCPUSecondsPerMillion })
	m.P50Ms = medianOf(rs, func(r *Result) float64 { return r.P50Ms })
	m.P99Ms = medianOf(rs, func(r *Result) float64 { return r.P99Ms })
	m.BytesOnDiskPerRecord = medianOf(rs, func(r *Result) float64 { return r.BytesOnDiskPerRecord })
	m.ResidentMiB = medianOf(rs, func(r *Result) float64 { return r.ResidentMiB })
	m.Lost, m.Unauthorised, m.Refused = 0, 0, 0
	for i := range rs {
		m.Lost += rs[i].Lost
		m.Unauthorised += rs[i].Unauthorised
		m.Refused += rs[i].Refused
	}
	return m
}
