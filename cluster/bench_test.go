package cluster

import (
	"encoding/binary"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/seal"
)

// twoSets is a state machine of the shape the product has: a block and a journal record a
// command.
type twoSets struct{}

func (twoSets) Apply(tx storage.Tx, c Command) any {
	key := make([]byte, 0, 64)
	key = append(key, 'd', byte(c.Shard))
	key = binary.BigEndian.AppendUint64(key, c.Index)
	key = binary.BigEndian.AppendUint32(key, c.Sub)
	jkey := append(key[len(key):], 'j', byte(c.Shard))
	jkey = binary.BigEndian.AppendUint64(jkey, c.Index)
	jkey = binary.BigEndian.AppendUint32(jkey, c.Sub)
	n := min(200, len(c.Data))
	if tx.Set(key, c.Data[n:]) != nil || tx.Set(jkey, c.Data[:n]) != nil {
		return nil
	}
	return nil
}
func (twoSets) Committed([]ShardID) {}
func (twoSets) Reset(ShardID)       {}

// BenchmarkHostPropose keeps 200 commands of 700 B under way, spread over all
// data shards, and reports the CPU of the whole process per command. Sub-benchmark
// "log" has a state machine that stores nothing.
func BenchmarkHostPropose(b *testing.B) {
	for _, c := range []struct {
		name string
		sm   StateMachine
	}{{"log", nothing{}}, {"two-sets", twoSets{}}} {
		b.Run(c.name, func(b *testing.B) {
			benchPropose(b, c.sm, 200)
		})
	}
}

type nothing struct{}

func (nothing) Apply(storage.Tx, Command) any { return nil }
func (nothing) Committed([]ShardID)           {}
func (nothing) Reset(ShardID)                 {}

func benchPropose(b *testing.B, sm StateMachine, inFlight int) {
	cfg := Config{Dir: b.TempDir(), Env: seal.Sandbox, SlotKey: seal.NewSecret(make([]byte, 32)), SM: sm}
	h, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	b.SetBytes(700)
	b.ReportAllocs()
	b.ResetTimer()
	var started, left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	var failed atomic.Pointer[error]
	var next func(res any, err error)
	next = func(res any, err error) {
		if err != nil {
			failed.Store(&err)
		}
		if left.Add(-1) == 0 {
			close(done)
		}
		if n := started.Add(1); n <= int64(b.N) {
			h.Propose(ShardID(n%Shards), make([]byte, 700), next)
		}
	}
	cpu, wall := cpuTime(), time.Now()
	for i := 0; i < inFlight; i++ {
		if n := started.Add(1); n <= int64(b.N) {
			h.Propose(ShardID(n%Shards), make([]byte, 700), next)
		}
	}
	<-done
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/time.Since(wall).Seconds(), "op/s")
	st := h.Status()
	b.Logf("log %d MiB, state %d MiB on disk", st.LogBytes>>20, st.StateBytes>>20)
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
