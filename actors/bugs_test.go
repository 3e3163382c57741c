package actors

import (
	"testing"
	"time"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage/seal"
)

// The first delivery under a reissued generation carries the re-wrap of its
// key and so changes the control state; its rows must be in the index that a
// reader made before.
func TestDeliver_AfterReissueIsSeenByEarlierReaders(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	a.mustPut(energy, 0, value, "1")
	wantRows(t, "before", a.see(energy, 0), "1/0 "+value+"=1")
	p.approve(offer(2, 1, share(energy, rw, value)), pds.Choices{}) // reissues connection 1
	a.see(energy, 0)
	p.see(energy, 0, false)
	// Make the wrap HPKE again, with an index that is complete.
	p.approve(offer(3, 1, share(energy, rw, value)), pds.Choices{})
	p.see(energy, 0, false)
	a.mustPut(energy, 0, value, "2")
	wantRows(t, "the member", p.see(energy, 0, false), "1/0 "+value+"=1", "2/0 "+value+"=2")
	wantRows(t, "the writer", a.see(energy, 0), "1/0 "+value+"=1", "2/0 "+value+"=2")
}

// A refusal that is decided again, because its command was refused for
// another section's sake, is still answered with an entry only.
func TestRefusal_DecidedAgainHasItsEntry(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	first := a.section(energy, 0, []string{value}, []string{"1"})
	first.Request, first.Command = [16]byte{1}, [16]byte{2}
	a.deliver(first)
	again := a.section(energy, 0, []string{value}, []string{"1"})
	again.Request, again.Command = [16]byte{1}, [16]byte{2}
	bad := a.section(energy, 0, []string{stamp}, []string{"1"})
	a.deliver(again, bad)
	if !again.Replayed || again.First != first.First {
		t.Fatalf("the repeat: %+v", again)
	}
	wantCode(t, "the refused section", asErr(bad.Refused), pds.CodeFieldNotGranted)
	n := 0
	for _, e := range p.audit() {
		if e.Entry.Act == pds.ActCreate && e.Entry.Result == pds.CodeFieldNotGranted {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d entries for the refusal", n)
	}
}

// An equal refusal is answered only when the entry that stands for it is
// durable: if that entry is lost, nobody was answered on its account.
func TestRefusal_EqualOnesWaitForTheEntry(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	lose := func(cluster.Command) (bool, any) { return false, errInjected }
	r.sm.fault.Store(&lose)
	one, two := a.section(energy, 0, []string{stamp}, []string{"1"}), a.section(energy, 0, []string{stamp}, []string{"1"})
	a.deliver(one, two)
	r.sm.fault.Store(nil)
	for i, s := range []*Section{one, two} {
		if got := codeOf(t, asErr(s.Refused)); got == pds.CodeFieldNotGranted {
			t.Errorf("section %d was told of the rule without an entry", i+1)
		}
	}
	three := a.section(energy, 0, []string{stamp}, []string{"1"})
	a.deliver(three)
	wantCode(t, "afterwards", asErr(three.Refused), pds.CodeFieldNotGranted)
	n := 0
	for _, e := range p.audit() {
		if e.Entry.Result == pds.CodeFieldNotGranted {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d entries for the refusal", n)
	}
}

// A wall clock that is set back does not stop a shard: command time is the
// greater of the shard's last and the clock.
func TestClock_SetBackDoesNotStopWriting(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	a.mustPut(energy, 0, value, "1")
	r.clock.Advance(-10 * time.Second)
	if _, e := a.put(energy, 0, value, "2"); e != nil {
		t.Fatalf("after the clock went back: %v", e)
	}
	last := int64(0)
	for _, e := range p.audit() {
		if e.Time < last-1000 {
			t.Fatalf("entry %d has a time before the one before it", e.Sequence)
		}
		last = max(last, e.Time)
	}
}

// A panic outside of a decision costs its caller an answer, not the member.
func TestMember_SurvivesAPanicAfterApply(t *testing.T) {
	r := newRig(t)
	p := r.member()
	if err := r.d.do(r.ctx(), p.uid, &panicky{}); err == nil {
		t.Fatal("a panic was answered as a success")
	}
	if _, err := r.d.StatementHead(r.ctx(), p.s); err != nil {
		t.Fatalf("the member after a panic: %v", err)
	}
}

type panicky struct{ waited }

func (w *panicky) prepare(m *member, b *pds.Builder) bool {
	se, mu := m.ownSealer(nil)
	m.addOp(b, &pds.Operation{Command: newCommand()}, mu, se, &pds.AuditEntry{Act: pds.ActSignIn})
	return true
}
func (w *panicky) applied(*member, uint64) { panic("in applied") }

// More callbacks than one look takes are all delivered.
func TestOutbox_MoreThanOneLookTakes(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{})
	_ = a
	r.out.mu.Lock()
	r.out.told = nil
	r.out.mu.Unlock()
	const n = 600
	if err := r.d.do(r.ctx(), p.uid, &manyItems{r: r, n: n}); err != nil {
		t.Fatal(err)
	}
	for range n/60 - 1 {
		if err := r.d.do(r.ctx(), p.uid, &manyItems{r: r, n: n}); err != nil {
			t.Fatal(err)
		}
	}
	r.d.outbox.poke()
	await(t, "all callbacks", func() bool {
		r.out.mu.Lock()
		defer r.out.mu.Unlock()
		return len(r.out.told) == n
	})
}

// manyItems adds 60 outbox items in one command.
type manyItems struct {
	waited
	r *rig
	n int
}

func (w *manyItems) applied(*member, uint64) {}
func (w *manyItems) prepare(m *member, b *pds.Builder) bool {
	for range 60 {
		op := pds.Operation{Command: newCommand()}
		if e := m.d.outbox.item(m, &op, &Callback{UID: m.h.uid, NID: 9, Key: seal.NewMemberKey(), Version: 1, Update: true}); e != nil {
			m.end(w, e)
			return false
		}
		se, mu := m.ownSealer(nil)
		m.addOp(b, &op, mu, se, &pds.AuditEntry{Act: pds.ActKeys})
	}
	return true
}

// Guesses that arrive together count one by one.
func TestUnlock_TenFailuresHoweverTheyArrive(t *testing.T) {
	r := newRig(t)
	p := r.join("a passphrase of some length")
	const n = 40
	codes := make(chan pds.Code, n)
	for i := range n {
		go func() {
			q := *p
			codes <- codeOf(t, q.unlock("wrong passphrase number "+string(rune('a'+i))))
		}()
	}
	wrong := 0
	for range n {
		switch c := <-codes; c {
		case pds.CodeWrongPassphrase:
			wrong++
		case pds.CodeTooManyTries:
		default:
			t.Errorf("a guess was answered with %s", c.Title())
		}
	}
	if wrong != pds.MaxFails {
		t.Fatalf("%d guesses were tried, %d are allowed", wrong, pds.MaxFails)
	}
	if c := codeOf(t, p.unlock(p.pass)); c != pds.CodeTooManyTries {
		t.Fatalf("the right one after them: %s", c.Title())
	}
	r.clock.Advance(time.Hour + time.Second)
	if err := p.unlock(p.pass); err != nil {
		t.Fatalf("an hour later: %v", err)
	}
}
