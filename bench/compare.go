package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// CompareOptions name the straw-man pipeline to run beside the server.
type CompareOptions struct {
	Pipe string // path of peerbench's pipe
	Mode string // its store mode; "block" if empty

	Limit float64 // fail if the server takes more than so many times the pipe's CPU; 0 for no limit
}

// Comparison is the outcome of alternating runs; figures are medians.
type Comparison struct {
	Scenario string  `json:"scenario"`
	Workload string  `json:"workload"`
	Layout   string  `json:"layout"`
	Batch    int     `json:"batch"`
	Records  int     `json:"records"`
	Runs     int     `json:"runs"`
	Ours     float64 `json:"server_cpu_seconds_per_million"`
	Settling float64 `json:"settling_cpu_seconds_per_million"`
	Pipe     float64 `json:"pipe_cpu_seconds_per_million"`
	Ratio    float64 `json:"cpu_ratio"` // ours over pipe's

	OursRate  float64   `json:"records_per_second"`
	PipeRate  float64   `json:"pipe_records_per_second"`
	OursP99   float64   `json:"p99_ms"`
	PipeP99   float64   `json:"pipe_p99_ms"`
	OursRuns  []float64 `json:"server_cpu_runs"`
	PipeRuns  []float64 `json:"pipe_cpu_runs"`
	PipeBytes float64   `json:"pipe_bytes_on_disk_per_record"`
	OursBytes float64   `json:"bytes_on_disk_per_record"`
	Lost      int64     `json:"lost"`
	Unauth    int64     `json:"unauthorised"`
	Refused   int64     `json:"refused"`
	Context   Context   `json:"context"`
}

// pipeRun is the line that the pipe prints.
type pipeRun struct {
	Name  string  `json:"name"`
	Recs  int     `json:"recs"`
	CPU   float64 `json:"cpu_s"`
	Rate  float64 `json:"rec_per_wall_s"`
	Extra struct {
		P99  float64 `json:"p99_ms"`
		Disk float64 `json:"disk_B_per_rec"`
	} `json:"extra"`
}

// Compare alternates runs of the pipe and of a server under the same workload.
func Compare(ctx context.Context, l Launch, o IngestOptions, c CompareOptions, out, js io.Writer) error {
	if c.Mode == "" {
		c.Mode = "block"
	}
	if err := errors.Join(l.fill(), o.fill()); err != nil {
		return err
	}
	var pipes []pipeRun
	rs, err := ingestRuns(ctx, &l, o, func(int) error {
		p, err := c.run(ctx, &l, &o)
		if err != nil {
			return fmt.Errorf("pipe: %w", err)
		}
		l.logf("pipe: %.3f CPU s a million", p.CPU*1e6/float64(p.Recs))
		pipes = append(pipes, p)
		return nil
	})
	printResults(out, rs)
	if err != nil {
		return err
	}
	if len(rs) == 0 {
		return errors.New("nothing to compare")
	}
	r := compare(rs, pipes)
	r.Records = o.Records
	fmt.Fprintf(out, "\npipe      CPU s/M %s; median %.3f, %.0f rec/s, p99 %.2f ms, %.1f B/rec\n", list(r.PipeRuns), r.Pipe, r.PipeRate, r.PipeP99, r.PipeBytes)
	fmt.Fprintf(out, "holdfast  CPU s/M %s; median %.3f, %.0f rec/s, p99 %.2f ms, %.1f B/rec\n", list(r.OursRuns), r.Ours, r.OursRate, r.OursP99, r.OursBytes)
	fmt.Fprintf(out, "ratio     %.2f of the pipe's CPU; %.2f with settling\n", r.Ratio, (r.Ours+r.Settling)/r.Pipe)
	if js != nil {
		if err := writeJSON(js, r); err != nil {
			return err
		}
	}
	if c.Limit > 0 && r.Ratio > c.Limit {
		fmt.Fprintf(out, "failed    the limit is %.2f\n", c.Limit)
		return ErrCheck
	}
	return verdict(rs)
}

func compare(rs []Result, pipes []pipeRun) Comparison {
	m := medians(rs)
	r := Comparison{Scenario: "compare", Workload: m.Workload, Layout: m.Layout, Batch: m.Batch, Runs: len(rs),
		Ours: m.ServerCPUSecondsPerMillion, Settling: m.SettlingCPUSecondsPerM, OursRate: m.RecordsPerSecond, OursP99: m.P99Ms,
		OursBytes: m.BytesOnDiskPerRecord, Lost: m.Lost, Unauth: m.Unauthorised, Refused: m.Refused, Context: m.Context}
	for i := range rs {
		r.OursRuns = append(r.OursRuns, rs[i].ServerCPUSecondsPerMillion)
	}
	var rate, p99, disk []float64
	for _, p := range pipes {
		r.PipeRuns = append(r.PipeRuns, p.CPU*1e6/float64(p.Recs))
		rate, p99, disk = append(rate, p.Rate), append(p99, p.Extra.P99), append(disk, p.Extra.Disk)
	}
	r.Pipe, r.PipeRate, r.PipeP99, r.PipeBytes = median(r.PipeRuns), median(rate), median(p99), median(disk)
	r.Ratio = r.Ours / r.Pipe
	return r
}

// run makes one run of the pipe in a directory of its own.
func (c *CompareOptions) run(ctx context.Context, l *Launch, o *IngestOptions) (p pipeRun, err error) {
	dir, err := os.MkdirTemp(l.Dir, "holdfast-pipe-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, c.Pipe, "-http", "-read=false", "-codec", "typed", "-mode", c.Mode,
		"-kind", o.Kind.String(), "-layout", o.Layout.String(), "-batch", strconv.Itoa(o.Batch), "-n", strconv.Itoa(o.Records),
		"-members", strconv.Itoa(l.Members), "-workers", strconv.Itoa(o.InFlight), "-dir", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return parsePipe(out)
}

func parsePipe(out []byte) (p pipeRun, err error) {
	for line := range bytes.Lines(out) {
		if err := json.Unmarshal(line, &p); err != nil {
			return p, err
		}
		if strings.HasPrefix(p.Name, "pipe ") && p.Recs > 0 && p.CPU > 0 {
			return p, nil
		}
	}
	return p, errors.New("no line with its figures")
}

func list(v []float64) string {
	var b strings.Builder
	for i, x := range v {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%.3f", x)
	}
	return b.String()
}
