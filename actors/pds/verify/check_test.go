package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"holdfast/actors/pds"
)

func files(w *world) map[string][]byte {
	return map[string][]byte{
		"export":  w.export(nil),
		"receipt": w.receipt(),
		"log":     w.log(nil),
	}
}

func TestCheck_AcceptsWhatWasWritten(t *testing.T) {
	w := newWorld(t)
	for name, f := range files(w) {
		r := Check(f, Options{LogKey: w.logKey.Verifier().String(), SignKey: w.sign[:]})
		if !r.OK() || !r.Anchored || len(r.Notes) != 0 {
			t.Errorf("%s: faults %v, notes %v, anchored %v", name, r.Faults, r.Notes, r.Anchored)
		}
	}
	r := Check(w.export(nil), Options{})
	if r.Records != 4 || r.Entries != 9 || r.Opened != 9 || r.Statements != 5 || r.Agreements != 3 || r.LogSize != 5 {
		t.Errorf("counts: %+v", r)
	}
	if len(r.Notes) != 2 {
		t.Errorf("keys taken from the file must be noted: %v", r.Notes)
	}
}

func TestCheck_FilteredLogNeedsNoNeighbours(t *testing.T) {
	w := newWorld(t)
	f := w.log(func(e Entry) bool { return e.Shown.Source == "97-1545" })
	if r := Check(f, Options{}); !r.OK() {
		t.Errorf("faults %v", r.Faults)
	}
}

// Any change of a copy is found, whichever byte it hits.
func TestCheck_FindsEveryChangedByte(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, f := range files(w) {
		n := 0
		for range 1000 {
			g := bytes.Clone(f)
			g[rnd.IntN(len(g))] ^= byte(1 + rnd.IntN(255))
			if Check(g, Options{}).OK() {
				n++
			}
		}
		if n > 0 {
			t.Errorf("%s: %d of 1000 undetected", name, n)
		}
		for _, g := range [][]byte{f[:len(f)-1], append(bytes.Clone(f), '\n'), f[1:], nil, f[:len(f)/2]} {
			if Check(g, Options{}).OK() {
				t.Errorf("%s: cut or longer copy undetected", name)
			}
		}
	}
}

// redigest repairs the last member, as somebody would who edits a file.
func redigest(f []byte) []byte {
	i := bytes.LastIndex(f, []byte(`"sha256":"`))
	h := sha256.Sum256(f[:i])
	return append(bytes.Clone(f[:i]), `"sha256":"`+hex.EncodeToString(h[:])+"\"}\n"...)
}

// A change whose file digest was repaired is found by what signs and chains.
func TestCheck_FindsChangesWithRepairedDigest(t *testing.T) {
	w := newWorld(t)
	f := w.export(nil)
	for _, x := range []struct{ name, old, new, want string }{
		{"value", "SW1A", "SW1B", "differs from what was exported"},
		{"source of a record", `"source":"user","origin"`, `"source":"usex","origin"`, "differs from what was exported"},
		{"count", `"instance":0,"records":3`, `"instance":0,"records":4`, "has 3 records where 4"},
		{"state", `"state":"revoked"`, `"state":"active"`, "the statements make it revoked"},
		{"text", "English law", "Welsh law!!", "the text is not the one"},
		{"rules", `"read":["field_home_postcode"]`, `"read":["field_home_street"]`, "the rules are not"},
		{"what is shown", `"field":"field_home_street"`, `"field":"field_home_town"`, "what is shown in words"},
		{"who acted", `"source":"97-1545","connection"`, `"source":"97-1546","connection"`, "what is shown in words"},
		{"con_id", `"con_id":"97-2000"`, `"con_id":"97-2001"`, "con_id is not"},
		{"unknown member", `"made":`, `"mode":`, "unknown member"},
		{"environment", `"environment":"sandbox"`, `"environment":"live"`, "other environment"},
		{"member", `"uid":97`, `"uid":98`, "is not"},
	} {
		g := bytes.Replace(f, []byte(x.old), []byte(x.new), 1)
		if bytes.Equal(f, g) {
			t.Errorf("%s: nothing to change", x.name)
			continue
		}
		r := Check(redigest(g), Options{})
		found := false
		for _, e := range r.Faults {
			found = found || strings.Contains(e.What, x.want)
		}
		if !found {
			t.Errorf("%s: want %q among %v", x.name, x.want, r.Faults)
		}
	}
}

// Edits that repair every digest of the file, and have the changed content
// named by a new journal entry, still meet the chain and the signatures.
func TestCheck_FindsEditsOfTheHistory(t *testing.T) {
	w := newWorld(t)
	renumber := func(w *world) {
		for i := range w.entries {
			w.entries[i].Sequence = Num(i + 1)
		}
	}
	for _, x := range []struct {
		name, want string
		edit       func(*world)
	}{
		{"dropped record", "are missing", func(w *world) { w.entries = append(w.entries[:3:3], w.entries[4:]...) }},
		{"dropped and renumbered", "does not follow", func(w *world) { w.entries = append(w.entries[:3:3], w.entries[4:]...); renumber(w) }},
		{"dropped first", "does not begin with record 1", func(w *world) { w.entries = w.entries[1:] }},
		{"dropped newest", "are missing", func(w *world) { w.entries = w.entries[:len(w.entries)-1] }},
		{"swapped", "does not follow", func(w *world) { w.entries[3], w.entries[4] = w.entries[4], w.entries[3]; renumber(w) }},
		{"entry of another record", "not the one that was committed to", func(w *world) { w.entries[3].Entry, w.entries[3].Salt = w.entries[4].Entry, w.entries[4].Salt }},
		{"refusal made an access", "not the one that was committed to", func(w *world) {
			a, _ := pds.DecodeEntry(w.entries[4].Entry)
			a.Result = 0
			w.entries[4].Entry = pds.AppendEntry(nil, &a)
		}},
		{"words without entry", "without the entry", func(w *world) { w.entries[4].Entry, w.entries[4].Salt = nil, nil }},
		{"altered record", "does not follow", func(w *world) {
			r := bytes.Clone(w.entries[1].Record)
			r[30]++
			w.entries[1].Record = r
		}},
		{"document of another agreement", "not the one that was signed", func(w *world) { w.agreed[0].Document = w.agreed[1].Document }},
		{"another template", "template is not the one", func(w *world) { w.agreed[0].Template = w.agreed[1].Template }},
		{"another signature", "signature of its statement does not hold", func(w *world) { w.agreed[0].Signature = w.agreed[1].Signature }},
		{"statement not in the journal", "is not in the journal", func(w *world) {
			v := *w
			v.agree(0x02, 3000, 1)
			w.agreed = v.agreed
		}},
		{"superseded shown as active", "the statements make it superseded", func(w *world) { w.agreed[0].State = "active" }},
	} {
		r := Check(w.export(x.edit), Options{})
		found := false
		for _, e := range r.Faults {
			found = found || strings.Contains(e.What, x.want)
		}
		if !found {
			t.Errorf("%s: want %q among %v", x.name, x.want, r.Faults)
		}
	}
}

func TestCheck_ProofAndKeys(t *testing.T) {
	w := newWorld(t)
	f := w.export(nil)
	other := *w
	seedKey := bytes.Repeat([]byte{1}, 32)
	if r := Check(f, Options{SignKey: seedKey}); r.OK() {
		t.Error("a signing key that was not trusted was accepted")
	}
	if r := Check(f, Options{LogKey: "log.example+00000000+AA=="}); r.OK() {
		t.Error("a log key that was not trusted was accepted")
	}
	// The proof of a shorter journal does not cover the file's last record.
	other.act(&pds.AuditEntry{Act: pds.ActSignIn}, nil, 0)
	long := other.log(nil)
	i, j := bytes.Index(long, []byte(`"proof":`)), bytes.Index(f, []byte(`"proof":`))
	mixed := redigest(append(bytes.Clone(long[:i]), f[j:]...))
	if r := Check(mixed, Options{}); r.Anchored || r.OK() {
		t.Errorf("the proof of another journal was accepted: %+v", r)
	}
	// A receipt whose record does not follow from the chain value before it.
	rc := w.receipt()
	k := bytes.Index(rc, []byte(`"before":"`)) + len(`"before":"`)
	rc[k] ^= 1
	if r := Check(redigest(rc), Options{}); r.OK() {
		t.Error("a record from nowhere was accepted")
	}
}

func FuzzCheck(f *testing.F) {
	w := newWorld(f)
	for _, b := range files(w) {
		f.Add(b)
	}
	f.Add([]byte("{}"))
	good := w.export(nil)
	good = good[:bytes.LastIndex(good, []byte(`"seal":`))]
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, g := range [][]byte{b, redigestIfAny(b)} {
			if r := Check(g, Options{LogKey: w.logKey.Verifier().String()}); r.OK() && r.Format == FormatExport && r.Anchored && !bytes.HasPrefix(g, good) {
				t.Fatal("other content passed as an export in the log")
			}
		}
	})
}

func redigestIfAny(b []byte) []byte {
	if !bytes.Contains(b, []byte(`"sha256":"`)) {
		return b
	}
	return redigest(b)
}
