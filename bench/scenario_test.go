package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func fakeLaunch(t *testing.T, fault string) Launch {
	return Launch{Dir: t.TempDir(), Members: 20, rest: 40 * time.Millisecond, Args: []string{"--fault", fault}}
}

func small() IngestOptions {
	return IngestOptions{Kind: Tx, Layout: Grouped, Batch: 100, Records: 2000, Runs: 1, ProbeEvery: 5}
}

func TestIngest_StartsMeasuresChecksAndReports(t *testing.T) {
	t.Parallel()
	l := fakeLaunch(t, "")
	o := small()
	o.Runs = 2
	var out, js bytes.Buffer
	if err := Ingest(t.Context(), l, o, &out, &js); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(&js)
	for n := range 2 {
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"workload", "layout", "batch", "records", "records_per_second", "server_cpu_seconds_per_million",
			"client_cpu_seconds_per_million", "p50_ms", "p99_ms", "bytes_on_disk_per_record", "resident_mib", "lost", "unauthorised"} {
			if _, ok := m[name]; !ok {
				t.Errorf("run %d lacks %s", n, name)
			}
		}
		if m["records"] != 2000.0 || m["lost"] != 0.0 || m["unauthorised"] != 0.0 || m["workload"] != "tx" || m["layout"] != "grouped" || m["batch"] != 100.0 ||
			m["compared_members"] != 20.0 || m["resident_mib"].(float64) <= 0 || m["p99_ms"].(float64) <= 0 || m["compacted"] != true {
			t.Errorf("run %d: %v", n, m)
		}
	}
	if s := out.String(); !strings.Contains(s, "median") || !strings.Contains(s, "machine") || !strings.Contains(s, "commit") {
		t.Errorf("table:\n%s", s)
	}
	if left, _ := os.ReadDir(l.Dir); len(left) != 0 {
		t.Errorf("%d directories left behind", len(left))
	}
}

func TestIngest_FailsWhenACheckFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"lose", "leak", "refuse"} {
		var out, js bytes.Buffer
		if err := Ingest(t.Context(), fakeLaunch(t, fault), small(), &out, &js); !errors.Is(err, ErrCheck) {
			t.Errorf("%s: %v", fault, err)
		}
		if js.Len() == 0 {
			t.Errorf("%s: no result", fault)
		}
		if strings.Contains(out.String()+js.String(), "key-of-") || strings.Contains(out.String()+js.String(), "-77") {
			t.Errorf("%s: the report shows a key or a connection", fault)
		}
	}
}

func TestIngest_SaysWhenTheServerDoesNotStart(t *testing.T) {
	t.Parallel()
	l := fakeLaunch(t, "die")
	err := Ingest(t.Context(), l, small(), &bytes.Buffer{}, nil)
	if err == nil || errors.Is(err, ErrCheck) || !strings.Contains(err.Error(), "server.log") {
		t.Fatal(err)
	}
	logs, _ := filepath.Glob(filepath.Join(l.Dir, "*", "seed", "server.log"))
	if len(logs) != 1 {
		t.Fatal("its log was removed")
	}
}

func TestIngest_StopsTheServerWhenCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l := fakeLaunch(t, "")
	l.Log = writerFunc(func(b []byte) (int, error) {
		if bytes.HasPrefix(b, []byte("made in")) {
			cancel()
		}
		return len(b), nil
	})
	if err := Ingest(ctx, l, small(), &bytes.Buffer{}, nil); err == nil {
		t.Fatal("a cancelled run succeeded")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestReadback_ComparesEveryRow(t *testing.T) {
	t.Parallel()
	var out, js bytes.Buffer
	if err := Readback(t.Context(), fakeLaunch(t, ""), small(), &out, &js); err != nil {
		t.Fatal(err)
	}
	var r ReadResult
	if err := json.Unmarshal(js.Bytes(), &r); err != nil || r.Reads != 20 || r.Rows != 2000 || r.Lost+r.Unauthorised != 0 {
		t.Fatalf("%v %+v", err, r)
	}
	if err := Readback(t.Context(), fakeLaunch(t, "change"), small(), &out, &js); !errors.Is(err, ErrCheck) {
		t.Fatal(err)
	}
}

func TestMonth_CountsAndComparesRows(t *testing.T) {
	t.Parallel()
	var out, js bytes.Buffer
	if err := Month(t.Context(), fakeLaunch(t, ""), small(), MonthOptions{Readers: 4, Reads: 100}, &out, &js); err != nil {
		t.Fatal(err)
	}
	var r ReadResult
	if err := json.NewDecoder(&js).Decode(&r); err != nil || r.Readers != 4 || r.Reads != 100 || r.Rows != 100*100 || r.ComparedRows == 0 {
		t.Fatalf("%v %+v", err, r)
	}
	if err := Month(t.Context(), fakeLaunch(t, "lose"), small(), MonthOptions{Readers: 4, Reads: 100}, &out, nil); !errors.Is(err, ErrCheck) {
		t.Fatal(err)
	}
}

func TestIdle_ReopensAndReadsBack(t *testing.T) {
	t.Parallel()
	var out, js bytes.Buffer
	if err := Idle(t.Context(), fakeLaunch(t, ""), small(), IdleOptions{Wait: 5 * time.Second, Span: 50 * time.Millisecond}, &out, &js); err != nil {
		t.Fatal(err)
	}
	var r IdleResult
	if err := json.Unmarshal(js.Bytes(), &r); err != nil || r.Passivated != "reported" || r.Lost != 0 || r.ComparedRows != 2000 || r.FirstAnswerMs <= 0 {
		t.Fatalf("%v %+v", err, r)
	}
	if err := Idle(t.Context(), fakeLaunch(t, "forget"), small(), IdleOptions{Wait: 5 * time.Second, Span: 50 * time.Millisecond}, &out, &js); !errors.Is(err, ErrCheck) {
		t.Fatal("a server that forgot everything passed:", err)
	}
}

func TestCompare_AlternatesAndDivides(t *testing.T) {
	t.Parallel()
	l := fakeLaunch(t, "")
	pipe := filepath.Join(t.TempDir(), "pipe")
	script := "#!/bin/sh\nfor a; do case $a in -mode|block|-http|typed) ;; esac; done\n" +
		`echo '{"name":"pipe tx grouped","recs":2000,"cpu_s":0.004,"rec_per_wall_s":1000,"extra":{"p99_ms":2.5,"disk_B_per_rec":58}}'` + "\n"
	if err := os.WriteFile(pipe, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	o := small()
	o.Runs = 3
	var out, js bytes.Buffer
	if err := Compare(t.Context(), l, o, CompareOptions{Pipe: pipe}, &out, &js); err != nil {
		t.Fatal(err)
	}
	var c Comparison
	if err := json.Unmarshal(js.Bytes(), &c); err != nil || len(c.PipeRuns) != 3 || len(c.OursRuns) != 3 || c.Pipe != 2 || c.PipeBytes != 58 {
		t.Fatalf("%v %+v", err, c)
	}
	if c.Ratio != c.Ours/2 {
		t.Error("ratio", c.Ratio)
	}
	o.Runs, o.Records = 1, 20_000 // enough to take a clock tick of CPU
	if err := Compare(t.Context(), l, o, CompareOptions{Pipe: pipe, Limit: 1e-9}, &out, nil); !errors.Is(err, ErrCheck) {
		t.Error("over the limit:", err)
	}
}

func TestMedian(t *testing.T) {
	if median([]float64{5, 1, 3}) != 3 || median([]int{2}) != 2 || median([]int{}) != 0 || median([]int{1, 2, 3, 4}) != 3 {
		t.Fail()
	}
}

func TestCopyDir_KeepsBytesHolesAndModes(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	if err := os.Mkdir(filepath.Join(from, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(from, "sub", "f")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("head"))
	f.WriteAt([]byte("middle"), 5<<20)
	f.Truncate(64 << 20)
	f.Close()
	if err := copyDir(from, to); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(path)
	b, _ := os.ReadFile(filepath.Join(to, "sub", "f"))
	if !bytes.Equal(a, b) {
		t.Error("contents differ")
	}
	st, err := os.Stat(filepath.Join(to, "sub", "f"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Error(err, st.Mode())
	}
	u, err := usage(to)
	if err != nil || u.Total > 4<<20 || u.Parts["sub"] != u.Total {
		t.Errorf("%v: %d bytes allocated for a file of holes", err, u.Total)
	}
}
