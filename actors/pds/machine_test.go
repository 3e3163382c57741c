package pds

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/storage/seal"
)

// twin applies each command to two machines over two states. One of them
// forgets members, shards or everything whenever it is told to.
type twin struct {
	world
	m2  *Machine
	kv2 *memKV
}

// TestMachine_MemoryMayBeDroppedAnywhere: what a Machine remembers is a
// mirror. Whatever is forgotten between two commands, outcomes and every byte
// of the state are the same.
func TestMachine_MemoryMayBeDroppedAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := twin{world: *newWorld(), m2: NewMachine(seal.Sandbox), kv2: newMemKV()}
		names := []string{"ann", "ben"}
		conns := []string{"acme", "bank"}
		said := []string{}
		for range rapid.IntRange(5, 40).Draw(t, "commands") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			conn := rapid.SampledFrom(conns).Draw(t, "conn")
			x := wrong{}
			if rapid.IntRange(0, 5).Draw(t, "bent") == 0 {
				bad := rapid.SampledFrom([]string{"forge=signature", "number=2", "previous=zero", "signer=ben", "link=bank", "l.generation=1",
					"l.state=active", "l.state=suspended", "l.consent=2", "sequence=1", "term=2", "time=1", "consent=1", "generation=7"}).Draw(t, "how")
				k, v, _ := strings.Cut(bad, "=")
				x[k] = v
			}
			if len(said) > 0 && rapid.IntRange(0, 6).Draw(t, "replayed") == 0 {
				x["replay"] = rapid.SampledFrom(said).Draw(t, "which")
			}
			label := fmt.Sprint(len(said))
			x["as"] = label
			if rapid.Bool().Draw(t, "idempotent") {
				x["request"] = rapid.SampledFrom([]string{"r", "s"}).Draw(t, "request")
				x["section"] = fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "section"))
			}
			w.now += rapid.Int64Range(0, 1500).Draw(t, "later")
			var mu *Mutation
			switch rapid.IntRange(0, 11).Draw(t, "act") {
			case 0, 1:
				mu = w.register(name, x)
			case 2, 3:
				mu = w.consent(name, conn, seal.Approve, x)
			case 4:
				mu = w.consent(name, conn, seal.Change, x)
			case 5:
				mu = w.consent(name, conn, seal.Lift, x)
			case 6:
				mu = w.consent(name, conn, seal.Revoke, x)
			case 7:
				x["l.state"] = "suspended"
				mu = w.unsigned(name, conn, x)
			case 8:
				mu = &Mutation{Fail: w.now, EntryKey: []byte("key")}
			}
			if _, ok := w.said[label]; ok {
				said = append(said, label)
			}
			var cmd []byte
			if mu != nil {
				cmd = w.command(name, x, piece{op: w.op(name, "", x), mu: mu})
			} else {
				tag := tagOf(name, "energy")
				ps := []piece{{op: w.op(name, conn, x), tag: &tag, rec: []byte("rows")}}
				if rapid.Bool().Draw(t, "two") {
					ps = append(ps, piece{op: w.op(name, conn, nil), tag: &tag, rec: []byte("more")})
				}
				cmd = w.command(name, x, ps...)
			}
			switch rapid.IntRange(0, 4).Draw(t, "drop") {
			case 0:
				w.m2.Forget(shardOf(memberOf(name)), memberOf(name))
			case 1:
				w.m2.Reset(shardOf(memberOf(name)))
			case 2:
				w.m2 = NewMachine(seal.Sandbox)
			}
			w.index++
			shard := shardOf(memberOf(name))
			a := w.m.Apply(w.kv, shard, w.index, w.term, cmd)
			b := w.m2.Apply(w.kv2, shard, w.index, w.term, bytes.Clone(cmd))
			clear(cmd) // what is kept must not alias the command
			if !sameOutcome(a, b) {
				t.Fatalf("outcomes differ: %+v and %+v", a, b)
			}
			if !w.kv.equal(w.kv2) {
				t.Fatal("states differ")
			}
			checkStore(t, &w.world, name)
		}
	})
}

func sameOutcome(a, b any) bool {
	x, ok1 := a.(*Outcome)
	y, ok2 := b.(*Outcome)
	if !ok1 || !ok2 || x.Code != y.Code || x.Head != y.Head || x.Chain != y.Chain {
		return false
	}
	return x.Code != CodeNone || x.Control == nil || y.Control == nil || bytes.Equal(x.Control.Encode(), y.Control.Encode())
}

// checkStore holds a store's invariants: a gapless journal whose chain fits,
// digests that fit the data, and a control record that reads back.
func checkStore(t *rapid.T, w *world, name string) {
	shard, id := shardOf(memberOf(name)), memberOf(name)
	var chain [32]byte
	head := w.head(name)
	for seq := uint64(1); seq <= head; seq++ {
		rec, ok, _ := w.kv.Get(JournalKey(shard, id, seq))
		if !ok {
			t.Fatalf("journal record %d of %d is missing", seq, head)
		}
		chain = ChainNext(chain, rec[:len(rec)-32])
		if !bytes.Equal(chain[:], rec[len(rec)-32:]) {
			t.Fatalf("the chain breaks at %d", seq)
		}
	}
	if c := w.control(name); c != nil && head == 0 || c == nil && head > 0 {
		t.Fatalf("control %v with head %d", c != nil, head)
	}
}

// A command whose writes the transaction refuses has no effect, also not on
// the slots to be erased, and the machine goes on: a poisonous command must
// not stop a node for ever.
func TestMachine_RefusedWriteStopsNothing(t *testing.T) {
	w := newWorld()
	w.must(t, "ann", w.mutate("ann", w.register("ann", nil)))
	w.must(t, "ann", w.mutate("ann", w.consent("ann", "acme", seal.Approve, nil)))
	before := w.kv.clone()
	shard := shardOf(memberOf("ann"))
	cmd := w.mutate("ann", w.consent("ann", "acme", seal.Revoke, nil))
	for _, space := range []byte("dme") {
		w.kv.refuse = func(key, _ []byte) error {
			if key[0] == space {
				return errRefusedWrite
			}
			return nil
		}
		if err, ok := w.m.Apply(w.kv, shard, 100, w.term, cmd).(error); !ok || err != errRefusedWrite {
			t.Fatalf("outcome %v", err)
		}
		if w.m.Err() == nil {
			t.Fatal("a failed write goes unnoticed")
		}
		w.kv = before.clone() // the host drops the command's writes
		w.m.Reset(shard)
		if err := w.m.Err(); err != nil {
			t.Fatalf("after Reset: %v", err)
		}
		if e := w.m.TakeErased(); len(e) != 0 {
			t.Fatalf("slots %v would be erased for a command that had no effect", e)
		}
	}
	w.must(t, "ann", cmd)
	if e := w.m.TakeErased(); len(e) != 2 {
		t.Fatalf("slots to erase: %v", e)
	}
}

// After a failure of the disk nothing is applied any more.
func TestMachine_StopsAtAStorageError(t *testing.T) {
	w := newWorld()
	cmd := w.mutate("ann", w.register("ann", nil))
	w.kv.refuse = func([]byte, []byte) error { return errRefusedWrite }
	w.apply("ann", cmd)
	w.kv = newMemKV()
	if _, ok := w.apply("ann", cmd).(error); !ok {
		t.Fatal("applied after a storage error")
	}
	if len(w.kv.m) != 0 {
		t.Fatal("wrote after a storage error")
	}
}

// The transparency log on a state: every leaf can be proved in every later
// tree; the registry's versions never come back.
func TestMachine_RegistryVersions(t *testing.T) {
	w := newWorld()
	kind, hash := [4]byte{1}, [16]byte{2}
	put := func(v uint64, val string) *RegistryOutcome {
		return w.apply("", PutCommand(kind, hash, v, []byte(val))).(*RegistryOutcome)
	}
	a := put(0, "a")
	if a.Code != CodeNone {
		t.Fatal("first put refused")
	}
	if o := put(0, "b"); o.Code != CodeNotNewest || o.Version != a.Version {
		t.Fatalf("put over a present value: %+v", o)
	}
	b := put(a.Version, "b")
	if b.Code != CodeNone || b.Version <= a.Version {
		t.Fatalf("put at the present version: %+v", b)
	}
	if o := w.apply("", DeleteCommand(kind, hash, a.Version)).(*RegistryOutcome); o.Code != CodeNotNewest {
		t.Fatalf("delete of a former version: %+v", o)
	}
	if o := w.apply("", DeleteCommand(kind, hash, b.Version)).(*RegistryOutcome); o.Code != CodeNone {
		t.Fatalf("delete: %+v", o)
	}
	if o := put(b.Version, "c"); o.Code != CodeNotNewest || o.Version != 0 {
		t.Fatalf("put at a deleted version: %+v", o)
	}
	if c := put(0, "c"); c.Code != CodeNone || c.Version <= b.Version {
		t.Fatalf("put after a delete: %+v", c)
	}
	for i := uint64(1); i < 4; i++ {
		if o := w.apply("", CountCommand(hash)).(*RegistryOutcome); o.Version != i {
			t.Fatalf("counter gave %d, want %d", o.Version, i)
		}
	}
}
