package pds

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"holdfast/storage/seal"
)

// fill sets every field of a struct to bytes that differ, so that a golden
// file shows the place of each.
type filler byte

func (f *filler) next() byte { *f += 7; return byte(*f) }
func (f *filler) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = f.next()
	}
	return b
}
func (f *filler) a16() [16]byte    { return [16]byte(f.bytes(16)) }
func (f *filler) a32() [32]byte    { return [32]byte(f.bytes(32)) }
func (f *filler) key() seal.Secret { return seal.NewSecret(f.bytes(32)) }
func (f *filler) slot() SlotRef    { return SlotRef{uint64(f.next()) << 50, f.a32()} }
func (f *filler) keys(n int) []UnitKey {
	ks := make([]UnitKey, n)
	for i := range ks {
		ks[i] = UnitKey{uint8(i * 3), f.key()}
	}
	return ks
}

func sampleLink(f *filler) Link {
	return Link{ID: f.a16(), State: LinkSuspended, Consent: 300, Version: 70000, NotAfter: 1_800_000_000, Since: 1_700_000_000_123, Commitment: f.a32(),
		Generation: 5, KeyCommit: f.a32(), Public: f.bytes(20), SlotC: f.slot(), SlotG: f.slot(), WrapKind: WrapHPKE, Wrap: f.bytes(9),
		Write: f.bytes(10), Read: f.bytes(11), Owed: true}
}

func sampleControl() *Control {
	var f filler
	return &Control{Store: f.a16(), Created: 1_700_000_000_000, SignKey: f.a32(), KeyID: [8]byte(f.bytes(8)), Number: 200, Previous: f.a32(), KDF: 0x80,
		Salt: f.a16(), Slot: f.slot(), RootWrap: f.bytes(5), SignWrap: f.bytes(6), AuditKey: f.bytes(7), Keyring: f.bytes(8),
		Comps: []Comp{{f.a16(), f.a16(), 1}, {f.a16(), LinkID{}, 400}}, Links: []Link{sampleLink(&f), sampleLink(&f)},
		Fails: []int64{1, -2}, EntryKeys: [][]byte{f.bytes(3), {}}, KeyringGen: 130}
}

func sampleJournal() *Journal {
	var f filler
	return &Journal{Index: 9, Command: f.a16(), Time: 1_700_000_000_001, Link: f.a16(), Consent: 3, Result: CodeRevoked, Digests: [][32]byte{f.a32(), f.a32()},
		KeyKind: KeyOfEntry, KeyNumber: 128, Commitment: f.a32(), Entry: f.bytes(10), Statement: f.bytes(4), Signature: f.bytes(5), Chain: f.a32()}
}

func sampleEntry() *AuditEntry {
	var f filler
	return &AuditEntry{Act: ActUpdate, NID: 1545, Behalf: 1 << 30, Version: 2, Dataset: "ds_home", Instance: 3, Fields: 1<<63 | 2, Purpose: "billing",
		Result: CodeFieldNotGranted, Field: "field_home_street", Row: 4, Rows: 20000, First: 1 << 40, Count: 7, Digest: f.bytes(32)}
}

func sampleMutation() *Mutation {
	var f filler
	l := sampleLink(&f)
	return &Mutation{Register: sampleControl(), Link: &l, Keyring: f.bytes(3), Comps: []Comp{{f.a16(), f.a16(), 1}}, Fail: 12, FailsOver: true,
		EntryKey: f.bytes(4), Erase: []uint64{1, 1 << 60}, Statement: f.bytes(5), Signature: f.bytes(6),
		Stored: []Stored{{'s', f.bytes(8), f.bytes(2)}, {'w', f.bytes(8), f.bytes(1)}}}
}

func sampleWritePart() *WritePart {
	var f filler
	return &WritePart{Version: 3, Audit: f.key(), Grants: []WriteGrant{
		{Grant: Grant{"ds_home", 1, [4]Mask{1, 2, 4, 8}, true, false}, Tag: f.a16(), Comp: 200, Epoch: 2, Owns: true, Keys: f.keys(2)},
		{Grant: Grant{"ds_energy_consumption", 0, [4]Mask{1 << 63}, false, true}, Tag: f.a16()}}}
}

func sampleReadPart() *ReadPart {
	var f filler
	return &ReadPart{Grants: []ReadGrant{{"ds_home", 1, f.a16(), []ReadComp{{0, 1, "user", f.keys(3)}, {7, 300, "1-2", f.keys(1)}}}, {"x", 0, f.a16(), nil}}}
}

func sampleKeyring() *Keyring {
	var f filler
	return &Keyring{Audit: f.key(), Comps: []KeyComp{{0, "ds_home", 1, 0, 1, f.key()}, {1, "ds_home", 1, 1545, 3, f.key()}},
		Links:     []KeyLink{{1545, 2, []Grant{{"ds_home", 1, [4]Mask{1, 2, 4, 8}, true, true}}}, {1, 1, nil}},
		Instances: []InstanceCount{{"ds_home", 3}}}
}

func sampleCommand() []byte {
	var f filler
	var b Builder
	b.Begin(f.a16(), 8, 3, 1_700_000_000_000, 0)
	ops := []Operation{
		{Link: f.a16(), Active: true, Command: f.a16(), Consent: 2, Generation: 3, Request: f.a16(), Section: 129},
		{Command: f.a16(), Result: CodeRevoked, Mutation: (&Mutation{EntryKey: f.bytes(3)}).Encode(), OutboxSlot: 77, Outbox: f.bytes(4)},
	}
	for i := range ops {
		n := 2 * (1 - i)
		b.BeginOp(&ops[i], n)
		for range n {
			b.EndRecord(append(b.BeginRecord(f.a16()), f.bytes(6)...))
		}
		b.Digests(func(r []byte) [32]byte { return f.a32() })
		b.EndOp(uint8(i+1), 200, f.a32(), f.bytes(8))
	}
	return b.Bytes()
}

func encodeJournal(j *Journal) []byte { return append(appendJournal(nil, j), j.Chain[:]...) }

// form is one encoding with its decoder, which gives back the bytes that the
// decoded value encodes to.
type form struct {
	name   string
	sample func() []byte
	again  func([]byte) ([]byte, error)
}

var forms = []form{
	{"control", func() []byte { return sampleControl().Encode() }, func(b []byte) ([]byte, error) {
		c, err := DecodeControl(b)
		if err != nil {
			return nil, err
		}
		return c.Encode(), nil
	}},
	{"journal", func() []byte { return encodeJournal(sampleJournal()) }, func(b []byte) ([]byte, error) {
		var j Journal
		if err := DecodeJournal(b, &j); err != nil {
			return nil, err
		}
		return encodeJournal(&j), nil
	}},
	{"entry", func() []byte { return AppendEntry(nil, sampleEntry()) }, func(b []byte) ([]byte, error) {
		a, err := DecodeEntry(b)
		if err != nil {
			return nil, err
		}
		return AppendEntry(nil, &a), nil
	}},
	{"mutation", func() []byte { return sampleMutation().Encode() }, func(b []byte) ([]byte, error) {
		m, err := DecodeMutation(b)
		if err != nil {
			return nil, err
		}
		return m.Encode(), nil
	}},
	{"write-part", func() []byte { return sampleWritePart().Encode() }, func(b []byte) ([]byte, error) {
		w, err := DecodeWritePart(b)
		if err != nil {
			return nil, err
		}
		return w.Encode(), nil
	}},
	{"read-part", func() []byte { return sampleReadPart().Encode() }, func(b []byte) ([]byte, error) {
		r, err := DecodeReadPart(b)
		if err != nil {
			return nil, err
		}
		return r.Encode(), nil
	}},
	{"keyring", func() []byte { return sampleKeyring().Encode() }, func(b []byte) ([]byte, error) {
		k, err := DecodeKeyring(b)
		if err != nil {
			return nil, err
		}
		return k.Encode(), nil
	}},
	{"command", sampleCommand, nil},
}

// A format that has been written is read for ever: the golden files are what
// the first version wrote.
func TestForms_Golden(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			got := f.sample()
			path := filepath.Join("testdata", f.name+".golden.hex")
			if *update {
				var out strings.Builder
				for b := got; len(b) > 0; b = b[min(32, len(b)):] {
					out.WriteString(hex.EncodeToString(b[:min(32, len(b))]) + "\n")
				}
				if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatal("the encoding has changed")
			}
		})
	}
}

// Every shorter, longer or re-versioned form is refused, and what is
// accepted encodes back to the same bytes.
func TestForms_RoundTripAndRefuse(t *testing.T) {
	for _, f := range forms {
		if f.again == nil {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			b := f.sample()
			again, err := f.again(b)
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("does not come back: %v", err)
			}
			for n := range b {
				if again, err := f.again(b[:n:n]); err == nil && !bytes.Equal(again, b[:n]) {
					t.Fatalf("%d of %d bytes were accepted as something else", n, len(b))
				} else if err == nil && f.name != "mutation" { // a mutation is a list of parts
					t.Fatalf("%d of %d bytes were accepted", n, len(b))
				}
			}
			if _, err := f.again(append(bytes.Clone(b), 0)); err == nil {
				t.Error("a byte too many was accepted")
			}
			for i := range b {
				for _, flip := range []byte{1, 0x80} {
					x := bytes.Clone(b)
					x[i] ^= flip
					if again, err := f.again(x); err == nil && !bytes.Equal(again, x) {
						t.Fatalf("byte %d changed: accepted, but encodes back otherwise", i)
					}
				}
			}
			if f.name != "mutation" {
				b[0]++
				if _, err := f.again(b); err == nil {
					t.Error("another version was accepted")
				}
			}
		})
	}
}

func TestForms_KeepEveryField(t *testing.T) {
	c, err := DecodeControl(sampleControl().Encode())
	if err != nil || !reflect.DeepEqual(c, sampleControl()) {
		t.Errorf("control: %v", err)
	}
	var j Journal
	if err := DecodeJournal(encodeJournal(sampleJournal()), &j); err != nil || !reflect.DeepEqual(&j, sampleJournal()) {
		t.Errorf("journal: %v", err)
	}
	a, err := DecodeEntry(AppendEntry(nil, sampleEntry()))
	if err != nil || !reflect.DeepEqual(&a, sampleEntry()) {
		t.Errorf("entry: %v", err)
	}
	m, err := DecodeMutation(sampleMutation().Encode())
	if err != nil || !reflect.DeepEqual(m, sampleMutation()) {
		t.Errorf("mutation: %v", err)
	}
}

func fuzzForm(f *testing.F, name string) {
	for _, x := range forms {
		if x.name != name {
			continue
		}
		f.Add(x.sample())
		f.Add([]byte{})
		f.Fuzz(func(t *testing.T, b []byte) {
			if again, err := x.again(b); err == nil && !bytes.Equal(again, b) {
				t.Fatalf("%x encodes back as %x", b, again)
			}
		})
		return
	}
	f.Fatal("no such form")
}

func FuzzDecodeControl(f *testing.F)   { fuzzForm(f, "control") }
func FuzzDecodeJournal(f *testing.F)   { fuzzForm(f, "journal") }
func FuzzDecodeEntry(f *testing.F)     { fuzzForm(f, "entry") }
func FuzzDecodeMutation(f *testing.F)  { fuzzForm(f, "mutation") }
func FuzzDecodeWritePart(f *testing.F) { fuzzForm(f, "write-part") }
func FuzzDecodeReadPart(f *testing.F)  { fuzzForm(f, "read-part") }
func FuzzDecodeKeyring(f *testing.F)   { fuzzForm(f, "keyring") }

// FuzzApply: whatever stands in the log, a Machine does not panic, and a
// command that is refused changes nothing.
func FuzzApply(f *testing.F) {
	w := newWorld()
	cmd := w.mutate("ann", w.register("ann", nil))
	f.Add(cmd)
	w.m.Apply(w.kv, shardOf(memberOf("ann")), 1, w.term, cmd)
	f.Add(w.mutate("ann", w.consent("ann", "acme", seal.Approve, nil)))
	w.m.Apply(w.kv, shardOf(memberOf("ann")), 2, w.term, w.mutate("ann", w.consent("ann", "acme", seal.Approve, nil)))
	f.Add(w.write("ann", "acme", wrong{"request": "r", "outbox": "item"}))
	f.Add(sampleCommand())
	f.Add(PutCommand([4]byte{1}, [16]byte{2}, 0, []byte("value")))
	f.Add(DeleteCommand([4]byte{1}, [16]byte{2}, 0))
	f.Add(CountCommand([16]byte{3}))
	f.Add(LeavesCommand(1, []Leaf{{}, {}, {}}))
	f.Add(LogHeadCommand([]byte("head")))
	f.Add(PurgeCommand(1))
	f.Add(SentCommand(memberOf("ann"), 1, 2))
	base := w.kv
	f.Fuzz(func(t *testing.T, b []byte) {
		kv := base.clone()
		m := NewMachine(seal.Sandbox)
		before := kv.clone()
		out := m.Apply(kv, shardOf(memberOf("ann")), 3, w.term, b)
		switch o := out.(type) {
		case *Outcome:
			if o.Code != CodeNone && !kv.equal(before) {
				t.Fatal("a refused command changed the state")
			}
			if o.Code == CodeNone && len(b) > 18 {
				if _, _, _, err := Load(kv, shardOf(memberOf("ann")), MemberID(b[2:18])); err != nil {
					t.Fatalf("the state does not load: %v", err)
				}
			}
		case *RegistryOutcome:
			if o.Code != CodeNone && !kv.equal(before) {
				t.Fatal("a refused command changed the state")
			}
		default:
			t.Fatalf("outcome %v", out)
		}
	})
}

func FuzzDecodeTemplate(f *testing.F) {
	c, err := textTemplate().Canonical()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeTemplate(b)
		if err != nil {
			return
		}
		c, err := x.Canonical()
		if err != nil {
			return
		}
		y, err := DecodeTemplate(c)
		if err != nil {
			t.Fatalf("the canonical form is refused: %v", err)
		}
		c2, err := y.Canonical()
		if err != nil || !bytes.Equal(c, c2) {
			t.Fatalf("two canonical forms: %q and %q", c, c2)
		}
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	text := CheckpointText(seal.Sandbox, 42, tlog.Hash{1, 2, 3})
	f.Add(text)
	f.Add(append(bytes.Clone(text), "\n— signature\n"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		size, root, err := ParseCheckpoint(b)
		if err != nil {
			return
		}
		body := CheckpointText(seal.Sandbox, size, root)
		_, want, _ := bytes.Cut(body, []byte("\n"))
		if _, got, _ := bytes.Cut(b, []byte("\n")); !bytes.HasPrefix(got, want) {
			t.Fatalf("%q was read as %q", b, body)
		}
	})
}
