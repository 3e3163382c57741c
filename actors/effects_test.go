package actors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
)

func request(n, number uint32, content string) (req [16]byte, num uint32, cmd [16]byte) {
	h := sha256.Sum256(fmt.Appendf(nil, "%d/%d/%s", n, number, content))
	return [16]byte{byte(n), 0xaa}, number, [16]byte(h[:])
}

func (c conn) repeatable(n, number uint32, vals ...string) *Section {
	var rows [][]string
	for _, v := range vals {
		rows = append(rows, []string{v})
	}
	s := c.section(energy, 0, []string{value}, rows...)
	s.Request, s.Number, s.Command = request(n, number, fmt.Sprint(vals))
	return s
}

// The same request gives the same answer, however often and whatever was
// forgotten meanwhile; other bytes under the same key are a conflict.
func TestIdempotency_SameAnswerOnce(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p := r.member()
		a := p.conn(1, p.approve(offer(1, 1, share(energy, all4, value)), pds.Choices{}))
		a.mustPut(energy, 0, value, "0")
		once := []*Section{a.repeatable(1, 0, "1", "2"), a.repeatable(1, 1, "3")}
		a.deliver(once...)
		check := func(what string) {
			t.Helper()
			again := []*Section{a.repeatable(1, 0, "1", "2"), a.repeatable(1, 1, "3"), a.repeatable(1, 1, "4"), a.repeatable(2, 0, what)}
			a.deliver(again...)
			for i := range once {
				if again[i].Refused != nil || !again[i].Replayed || again[i].First != once[i].First || again[i].Last != once[i].Last {
					t.Fatalf("%s: section %d gives %d..%d (%v), gave %d..%d", what, i, again[i].First, again[i].Last, again[i].Refused, once[i].First, once[i].Last)
				}
			}
			wantCode(t, what+": other bytes", asErr(again[2].Refused), pds.CodeIdempotencyMismatch)
			if again[2].Refused.Kind != pds.Conflict {
				t.Errorf("%s: kind %v", what, again[2].Refused.Kind)
			}
		}
		check("first")
		if n := len(p.see(energy, 0, false)); n != 5 { // and one of request 2
			t.Fatalf("%d rows", n)
		}
		// Both in one message: the later sees the outcome of the earlier.
		twins := []*Section{a.repeatable(3, 0, "7"), a.repeatable(3, 0, "7"), a.repeatable(3, 0, "8")}
		a.deliver(twins...)
		if twins[0].Refused != nil || twins[1].Refused != nil || twins[0].First != twins[1].First || codeOf(t, asErr(twins[2].Refused)) != pds.CodeIdempotencyMismatch {
			t.Fatalf("twins: %+v", twins)
		}
		p.approve(offer(2, 1, share(energy, rw, value)), pds.Choices{}) // new keys for connection 1
		check("reissued")
		r.restart()
		a.d = r.d
		again := a.repeatable(1, 0, "1", "2")
		a.deliver(again)
		if !again.Replayed || again.First != once[0].First {
			t.Fatalf("after a restart: %+v", again)
		}
		// An update and a deletion.
		ch := func(v string) (bool, error) {
			q := &ChangeRequest{Caller: a.caller(), Dataset: dataset(energy), ID: 1, Fields: []uint8{number(energy, value)}, Vals: [][]byte{[]byte(v)}}
			q.Request, _, q.Command = request(9, 0, v)
			return r.d.Update(r.ctx(), q)
		}
		if rep, err := ch("a"); rep || err != nil {
			t.Fatalf("update: %v, %v", rep, err)
		}
		if rep, err := ch("a"); !rep || err != nil {
			t.Fatalf("update again: %v, %v", rep, err)
		}
		_, err := ch("b")
		wantCode(t, "another update under the same key", err, pds.CodeIdempotencyMismatch)
		p.mustUnlock()
		if n := len(p.see(energy, 0, false)); n != 6 {
			t.Fatalf("%d rows", n)
		}
	})
}

// A request is remembered for a day and then forgotten.
func TestIdempotency_ForgottenAfterADay(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	s := a.repeatable(1, 0, "1")
	a.deliver(s)
	repeat := func() *Section {
		t.Helper()
		r.d.forgetRequests(r.ctx())
		s := a.repeatable(1, 0, "1")
		a.deliver(s)
		if s.Refused != nil {
			t.Fatal(s.Refused)
		}
		return s
	}
	r.clock.Advance(24 * time.Hour)
	if s := repeat(); !s.Replayed {
		t.Fatal("forgotten within a day")
	}
	r.clock.Advance(time.Second)
	if s := repeat(); s.Replayed || s.First != 2 {
		t.Fatalf("remembered for more than a day: %+v", s)
	}
}

// A member who is put away leaves no keys behind and wakes with the same
// answers; an unlocked one stays until the session ends.
func TestPassivation_WipesAndWakes(t *testing.T) {
	r := newRig(t, func(c *Config) { c.IdleAfter = 30 * time.Second })
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	a.mustPut(energy, 0, value, "1")
	want := a.see(energy, 0)
	var links []*openLink
	var keys *memberKeys
	if err := r.d.do(r.ctx(), p.uid, &quick{f: func(m *member) *pds.Error {
		for _, l := range m.links {
			links = append(links, l)
		}
		keys = m.keys
		return nil
	}}); err != nil || len(links) != 1 || keys == nil {
		t.Fatalf("%d links open, keys %v, %v", len(links), keys != nil, err)
	}
	r.clock.Advance(time.Minute)
	before := r.d.Counts.Passivations.Load()
	r.d.SweepNow()
	if !r.d.IsUnlocked(r.ctx(), p.s) { // also waits until the sweep is through
		t.Fatal("a session ended early")
	}
	if n := r.d.Counts.Passivations.Load(); n != before {
		t.Fatalf("an unlocked member was put away")
	}
	r.clock.Advance(11 * time.Minute)
	r.d.SweepNow()
	await(t, "passivation", func() bool { r.d.SweepNow(); return r.d.Active() == 0 })
	for _, l := range links {
		if !l.parts.Empty() || l.write != nil || l.audit != nil || l.read != nil {
			t.Error("a bundle is still open after passivation")
		}
	}
	if !keys.root.Empty() || !keys.daily.Empty() || !keys.index.Empty() || keys.ring != nil || keys.audit != nil {
		t.Error("the member's keys are still there after passivation")
	}
	if r.d.IsUnlocked(r.ctx(), p.s) {
		t.Error("a session outlived its end")
	}
	wantRows(t, "awake again", a.see(energy, 0), want...)
	if id := a.mustPut(energy, 0, value, "2"); id != 2 {
		t.Errorf("id %d after waking", id)
	}
	// In use, yet past its hour: the session ends all the same.
	p.mustUnlock()
	for range 8 {
		r.clock.Advance(9 * time.Minute)
		r.d.IsUnlocked(r.ctx(), p.s)
	}
	if r.d.IsUnlocked(r.ctx(), p.s) {
		t.Error("a session lasted more than an hour")
	}
}

// The member's data needs an unlocked session of the member.
func TestMember_NeedsUnlock(t *testing.T) {
	r := newRig(t)
	p := r.join("a passphrase of some length")
	other := *p
	other.s.ID = random16()
	tm := offer(1, 1, share(energy, rw, value))
	calls := func(p *person) map[string]error {
		_, err1 := r.d.MemberRead(r.ctx(), p.s, dataset(energy), 0, nil, false, nil)
		_, _, err2 := r.d.MemberCreate(r.ctx(), p.s, dataset(energy), 0, []uint8{number(energy, value)}, [][]byte{[]byte("1")}, 1)
		err3 := r.d.MemberUpdate(r.ctx(), p.s, dataset(energy), 0, 1, []uint8{number(energy, value)}, [][]byte{[]byte("1")})
		err4 := r.d.MemberDelete(r.ctx(), p.s, dataset(energy), 0, 1, false)
		err5 := r.d.MemberRestore(r.ctx(), p.s, dataset(energy), 0, 1)
		_, err6 := r.d.NewInstance(r.ctx(), p.s, dataset(home))
		_, err7 := r.d.Instances(r.ctx(), p.s)
		_, err8 := r.d.Agreements(r.ctx(), p.s)
		_, err9 := r.d.Documents(r.ctx(), p.s)
		_, err10 := r.d.Audit(r.ctx(), p.s, AuditQuery{})
		_, err11 := r.d.ReceiptOf(r.ctx(), p.s, 1)
		err12 := r.d.NoteExport(r.ctx(), p.s, [32]byte{}, 0)
		p.seed = seal.RandomSecret()
		_, err13 := r.d.Approve(r.ctx(), p.s, p.consent(seal.Approve, 1, tm, pds.Choices{}, nil))
		return map[string]error{"read": err1, "create": err2, "update": err3, "delete": err4, "restore": err5, "instance": err6, "instances": err7,
			"agreements": err8, "documents": err9, "audit": err10, "receipt": err11, "export": err12, "approve": err13}
	}
	head := func() uint64 {
		var n uint64
		if err := r.d.do(r.ctx(), p.uid, &quick{f: func(m *member) *pds.Error { n = m.head; return nil }}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := head()
	for name, err := range calls(p) {
		wantCode(t, name+" while locked", err, pds.CodeLocked)
	}
	p.mustUnlock()
	for name, err := range calls(&other) {
		wantCode(t, name+" in another session", err, pds.CodeLocked)
	}
	if n := head(); n != before+1 {
		t.Errorf("%d entries, want the unlock only", n-before)
	}
	if err := r.d.Lock(r.ctx(), p.s); err != nil {
		t.Fatal(err)
	}
	for name, err := range calls(p) {
		wantCode(t, name+" locked again", err, pds.CodeLocked)
	}
}

// An unlock envelope serves one session, one nonce, once.
func TestUnlock_EnvelopeServesOnce(t *testing.T) {
	r := newRig(t)
	p, q := r.member(), r.member()
	u, err := r.d.UnlockParams(r.ctx(), p.s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.d.Unlock(r.ctx(), p.s, u.Nonce, []byte("no envelope"))
	wantCode(t, "no envelope", err, pds.CodeMalformed)
	_, err = r.d.Unlock(r.ctx(), p.s, u.Nonce, []byte("no envelope"))
	wantCode(t, "the nonce again", err, pds.CodeMalformed)
	u, _ = r.d.UnlockParams(r.ctx(), p.s)
	_, err = r.d.Unlock(r.ctx(), q.s, u.Nonce, nil)
	wantCode(t, "another's nonce", err, pds.CodeMalformed)
	u, _ = r.d.UnlockParams(r.ctx(), p.s)
	r.clock.Advance(6 * time.Minute)
	_, err = r.d.Unlock(r.ctx(), p.s, u.Nonce, nil)
	wantCode(t, "after five minutes", err, pds.CodeMalformed)
	if n := len(r.control(t, p).Fails); n != 0 {
		t.Errorf("%d failures counted for envelopes that were none", n)
	}
}

// Wrong passphrases have entries, also while locked; the member reads them.
func TestUnlock_WrongOnesAreInTheLog(t *testing.T) {
	r := newRig(t)
	p := r.join("a passphrase of some length")
	if err := r.d.NoteSignIn(r.ctx(), p.uid, false); err != nil {
		t.Fatal(err)
	}
	if err := r.d.NoteSignIn(r.ctx(), p.uid, true); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantCode(t, "wrong", p.unlock("not this passphrase"), pds.CodeWrongPassphrase)
	}
	r.restart() // another entry key
	wantCode(t, "wrong", p.unlock("not this passphrase"), pds.CodeWrongPassphrase)
	if n := len(r.control(t, p).Fails); n != 4 {
		t.Fatalf("%d failures in state", n)
	}
	p.mustUnlock()
	if n := len(r.control(t, p).Fails); n != 0 {
		t.Fatalf("%d failures after the right one", n)
	}
	var acts []string
	for _, e := range p.audit() {
		if !e.Openable {
			t.Fatalf("entry %d cannot be opened", e.Sequence)
		}
		acts = append(acts, fmt.Sprintf("%v %d", e.Entry.Act, e.Entry.Result))
	}
	wrong := fmt.Sprintf("unlock %d", pds.CodeWrongPassphrase)
	want := []string{"register 0", fmt.Sprintf("sign-in %d", pds.CodeWrongPassphrase), "sign-in 0", wrong, wrong, wrong, wrong, "unlock 0"}
	if !slices.Equal(acts, want) {
		t.Fatalf("log %q, want %q", acts, want)
	}
	if n := len(r.control(t, p).EntryKeys); n != 2 {
		t.Errorf("%d entry keys, want one a process", n)
	}
}

// The Private Key must differ from the password.
func TestRegister_RefusesKeyEqualToPassword(t *testing.T) {
	r := newRig(t)
	_, err := r.tryJoin(r.d, "another secret") // the rig's password
	wantCode(t, "register", err, pds.CodeKeyIsPassword)
}

// The chain holds over every record, commitments fit what was opened, and the
// head is in the signed log.
func TestAudit_ChainCommitmentsAndProof(t *testing.T) {
	r := newRig(t)
	p, q := r.member(), r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, all4, value)), pds.Choices{}))
	q.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{})
	for i := range 30 {
		a.mustPut(energy, 0, value, fmt.Sprint(i))
		a.put(energy, 0, stamp, "1")
	}
	a.see(energy, 0)
	p.mustAct(seal.Revoke, 1)
	chainHolds(t, p)
	pr, err := r.d.Proof(r.ctx(), p.s)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Open([]byte(pr.Checkpoint), note.VerifierList(r.verify))
	if err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	size, root, err := pds.ParseCheckpoint([]byte(signed.Text))
	if err != nil || size != pr.Size {
		t.Fatalf("checkpoint of size %d, %v", size, err)
	}
	leaf := leafOf(pr.LeafSalt, [32]byte(pr.Head))
	var proof tlog.RecordProof
	for _, h := range pr.Hashes {
		proof = append(proof, tlog.Hash(h))
	}
	if err := tlog.CheckRecord(proof, size, root, pr.Index, tlog.RecordHash(leaf[:])); err != nil {
		t.Fatalf("proof: %v", err)
	}
	leaf[0] ^= 1
	if tlog.CheckRecord(proof, size, root, pr.Index, tlog.RecordHash(leaf[:])) == nil {
		t.Fatal("another head is proved too")
	}
	es := p.audit()
	found := false
	for _, e := range es {
		found = found || e.Sequence == pr.Sequence && bytes.Equal(e.Record[len(e.Record)-32:], pr.Head)
	}
	if !found {
		t.Error("the logged head is not in the member's chain")
	}
	rc, err := r.d.ReceiptOf(r.ctx(), p.s, 1)
	if err != nil {
		t.Fatal(err)
	}
	st, err := seal.DecodeStatement(rc.Statement)
	if err != nil || st.Kind != seal.Revoke || st.Verify([32]byte(rc.SignKey), rc.Signature) != nil {
		t.Fatalf("receipt: %v", err)
	}
}

// chainHolds checks a member's whole journal as a stranger would.
func chainHolds(t *testing.T, p *person) []AuditEntry {
	t.Helper()
	var chain [32]byte
	es := p.audit()
	for i, e := range es {
		if e.Sequence != uint64(i+1) {
			t.Fatalf("record %d follows %d", e.Sequence, i)
		}
		if !e.Openable {
			var j pds.Journal
			_ = pds.DecodeJournal(e.Record, &j)
			t.Fatalf("record %d of %d cannot be opened: key kind %d, number %d, result %v", e.Sequence, len(es), j.KeyKind, j.KeyNumber, j.Result)
		}
		chain = pds.ChainNext(chain, e.Record[:len(e.Record)-32])
		if !bytes.Equal(chain[:], e.Record[len(e.Record)-32:]) {
			t.Fatalf("the chain breaks at %d", e.Sequence)
		}
		var j pds.Journal
		if err := pds.DecodeJournal(e.Record, &j); err != nil || pds.Commit(e.Salt, e.Plain) != j.Commitment {
			t.Fatalf("record %d: commitment, %v", e.Sequence, err)
		}
	}
	return es
}

// A receiver that is down for an hour gets the key when it is back; then its
// slot is erased. One that stays down for three days gets nothing any more.
func TestOutbox_DownForAnHourThenForGood(t *testing.T) {
	r := newRig(t)
	r.out.set(true)
	p := r.member()
	tm := func(n pds.NID) *pds.Template { return offer(n, 1, share(energy, rw, value)) }
	if err := p.tryApprove(tm(1), pds.Choices{}); err != nil {
		t.Fatal(err)
	}
	tried := func(n int) {
		t.Helper()
		await(t, "an attempt", func() bool {
			r.out.mu.Lock()
			defer r.out.mu.Unlock()
			return r.out.tries >= n
		})
	}
	tried(1)
	slot := r.outboxSlots(t)
	if len(slot) != 1 {
		t.Fatalf("%d items wait", len(slot))
	}
	for i := range 6 {
		await(t, "the next attempt", func() bool {
			r.clock.Advance(time.Second)
			r.d.outbox.poke()
			r.out.mu.Lock()
			defer r.out.mu.Unlock()
			return r.out.tries >= i+2
		})
	}
	r.restart()
	tried(8)
	if len(r.out.keys) != 0 {
		t.Fatal("a key went to a receiver that is down")
	}
	r.out.set(false)
	r.clock.Advance(time.Hour)
	r.d.outbox.poke()
	await(t, "the key", func() bool {
		r.clock.Advance(time.Second) // the last attempt may have been noted after the step before
		r.out.mu.Lock()
		defer r.out.mu.Unlock()
		_, ok := r.out.keys[pds.ConID(p.uid, 1)]
		return ok
	})
	await(t, "the end of the item", func() bool { return len(r.outboxSlots(t)) == 0 })
	if _, err := r.host.Slots().Get(slot[0]); err == nil {
		t.Error("the slot of a delivered key can be read")
	}
	a := p.conn(1, r.out.keys[pds.ConID(p.uid, 1)])
	a.mustPut(energy, 0, value, "1")

	r.out.set(true)
	p.mustUnlock()
	r.out.mu.Lock()
	n := r.out.tries
	r.out.mu.Unlock()
	if err := p.tryApprove(tm(2), pds.Choices{}); err != nil {
		t.Fatal(err)
	}
	slot = r.outboxSlots(t)
	tried(n + 1) // the next is not before the clock moves
	r.clock.Advance(72*time.Hour + time.Minute)
	r.out.set(false)
	r.d.outbox.poke()
	await(t, "the end of the item", func() bool { r.clock.Advance(time.Second); return len(r.outboxSlots(t)) == 0 })
	if _, ok := r.out.keys[pds.ConID(p.uid, 2)]; ok {
		t.Error("a key was delivered after 72 hours")
	}
	if _, err := r.host.Slots().Get(slot[0]); err == nil {
		t.Error("the slot of an expired key can be read")
	}
}

// outboxSlots lists the slots of the items that wait in the state.
func (r *rig) outboxSlots(t testing.TB) (slots []uint64) {
	t.Helper()
	err := r.host.View(func(rd storage.Reader) error {
		for s := range cluster.Shards {
			if err := rd.Scan(pds.OutboxPrefix(uint8(s)), nil, false, func(_, v []byte) (bool, error) {
				slots = append(slots, binary.BigEndian.Uint64(v))
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return slots
}

// Whether a command that failed was applied or not, nobody is told success.
func TestProposals_ThatFailAreNeverSuccesses(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied %v", applied), func(t *testing.T) {
			r := newRig(t)
			p := r.member()
			a := p.conn(1, p.approve(offer(1, 1, share(energy, all4, value)), pds.Choices{}))
			a.mustPut(energy, 0, value, "1")
			n := len(p.audit())
			fail := func(cluster.Command) (bool, any) { return applied, errInjected }
			with := func(f func() error) error {
				r.sm.fault.Store(&fail)
				defer r.sm.fault.Store(nil)
				return f()
			}
			s := a.repeatable(1, 0, "2")
			for name, f := range map[string]func() error{
				"deliver": func() error { a.deliver(s); return asErr(s.Refused) },
				"read":    func() error { _, _, err := a.read(energy, 0); return err },
				"update": func() error {
					_, err := r.d.Update(r.ctx(), &ChangeRequest{Caller: a.caller(), Dataset: dataset(energy), ID: 1, Fields: []uint8{number(energy, value)}, Vals: [][]byte{[]byte("1.1")}})
					return err
				},
				"member create": func() error {
					_, _, err := r.d.MemberCreate(r.ctx(), p.s, dataset(energy), 0, []uint8{number(energy, value)}, [][]byte{[]byte("9")}, 1)
					return err
				},
				"open":    func() error { _, err := r.d.MemberRead(r.ctx(), p.s, dataset(home), 0, nil, false, nil); return err },
				"unlock":  func() error { return p.unlock(p.pass) },
				"refusal": func() error { _, e := a.put(energy, 0, stamp, "1"); return asErr(e) },
				"suspend": func() error { return r.d.Suspend(r.ctx(), p.s, 1) },
			} {
				if applied && name == "suspend" {
					continue // would end the story
				}
				wantCode(t, name, with(f), pds.CodeUnknownOutcome)
			}
			// The repeat under the same key tells what became of it.
			again := a.repeatable(1, 0, "2")
			a.deliver(again)
			if again.Refused != nil || again.Replayed != applied {
				t.Fatalf("the repeat: %+v", again)
			}
			rows := 0
			for _, s := range p.see(energy, 0, false) {
				if s == fmt.Sprintf("%d/0 %s=2", again.First, value) {
					rows++
				}
			}
			if rows != 1 {
				t.Fatalf("%d rows of one section", rows)
			}
			es := chainHolds(t, p)
			if !applied && len(es) != n+2 { // the repeat, and the member's opening of a dataset
				t.Errorf("%d entries for what did not happen", len(es)-n-2)
			}
		})
	}
}

// A host without room, and a host that stopped, answer so.
func TestProposals_DiskReserveAndStop(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	a.mustPut(energy, 0, value, "1")
	r.close()
	r.open(1 << 50)
	a.d = r.d
	_, e := a.put(energy, 0, value, "2")
	wantCode(t, "without room", asErr(e), pds.CodeDiskReserve)
	if e.Kind != pds.Busy {
		t.Errorf("kind %v", e.Kind)
	}
	r.restart()
	a.d = r.d
	a.mustPut(energy, 0, value, "2")
	if err := r.host.Close(); err != nil {
		t.Fatal(err)
	}
	_, e = a.put(energy, 0, value, "3")
	if c := codeOf(t, asErr(e)); c != pds.CodeUnavailable && c != pds.CodeUnknownOutcome {
		t.Fatalf("after the host stopped: %s", c.Title())
	}
	r.d.Close()
	r.d, r.host = nil, nil
	r.open(0)
	a.d = r.d
	wantRows(t, "stored", a.see(energy, 0), "1/0 "+value+"=1", "2/0 "+value+"=2")
}

// Two activations of one member: each sequence is written by one of them, no
// row is lost and none is there twice.
func TestActivations_OnlyOneWritesASequence(t *testing.T) {
	r := newRig(t)
	p := r.member()
	k := p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{})
	second := r.directory()
	defer second.Close()
	ends := []conn{p.conn(1, k), {second, r, p.uid, 1, k}}
	const each = 60
	ids := make(chan uint64, 2*each)
	var wg sync.WaitGroup
	for i, c := range ends {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range each {
				for try := uint32(0); ; try++ {
					s := c.repeatable(uint32(10+i), uint32(n), fmt.Sprintf("%d.%d", i, n))
					if err := c.d.Deliver(r.ctx(), []*Section{s}); err != nil {
						t.Error(err)
						return
					}
					if s.Refused == nil {
						ids <- s.First
						break
					}
					if s.Refused.Code != pds.CodeUnavailable || try > 200 {
						t.Errorf("refused: %v", s.Refused)
						return
					}
				}
			}
		}()
	}
	wg.Wait()
	close(ids)
	seen := map[uint64]bool{}
	for id := range ids {
		if seen[id] {
			t.Fatalf("id %d was given twice", id)
		}
		seen[id] = true
	}
	for i, c := range ends {
		if n := len(c.see(energy, 0)); n != 2*each {
			t.Fatalf("activation %d sees %d rows of %d", i, n, 2*each)
		}
	}
	// Each sees at once what the other wrote, and a revocation holds for both.
	for i := range 5 {
		ends[i%2].mustPut(energy, 0, value, fmt.Sprint(i))
		if n := len(ends[1-i%2].see(energy, 0)); n != 2*each+i+1 {
			t.Fatalf("%d rows after %d", n, 2*each+i+1)
		}
	}
	p.mustAct(seal.Revoke, 1)
	for i, c := range ends {
		_, _, err := c.read(energy, 0)
		wantCode(t, fmt.Sprintf("activation %d after revoke", i), err, pds.CodeRevoked)
	}
	// The second one stored an entry key; whoever writes next learns of it.
	if err := r.d.NoteExport(r.ctx(), p.s, [32]byte{}, 0); err != nil {
		t.Fatal(err)
	}
	chainHolds(t, p)
}

// Many at once, over several members: every acknowledged row is there once.
func TestLoad_EveryAcknowledgedRowOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.IdleAfter = 5 * time.Millisecond })
	const members, workers, batches = 6, 6, 12
	var conns []conn
	var people []*person
	for range members {
		p := r.member()
		people = append(people, p)
		conns = append(conns, p.conn(1, p.approve(offer(1, 1, share(energy, all4, value)), pds.Choices{})))
	}
	var stored [members]atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range batches {
				r.clock.Advance(time.Millisecond)
				var ss []*Section
				for i, c := range conns {
					ss = append(ss, c.section(energy, 0, []string{value}, []string{fmt.Sprintf("%d", w)}, []string{fmt.Sprintf("%d", n)}))
					if n%4 == i%4 {
						ss = append(ss, c.section(energy, 0, []string{stamp}, []string{"1"})) // refused
					}
				}
				if err := r.d.Deliver(r.ctx(), ss); err != nil {
					t.Error(err)
					return
				}
				for _, s := range ss {
					for i, c := range conns {
						if c.uid == s.Caller.UID && s.Refused == nil {
							stored[i].Add(int64(s.Last - s.First + 1))
						}
					}
					if s.Refused != nil && s.Refused.Code != pds.CodeFieldNotGranted {
						t.Errorf("refused: %v", s.Refused)
					}
				}
				if n%3 == 0 {
					if _, _, err := conns[w%members].read(energy, 0); err != nil {
						t.Error(err)
					}
				}
			}
		}()
	}
	wg.Wait()
	for i, c := range conns {
		rows, _, err := c.read(energy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(rows)) != stored[i].Load() || len(rows) != workers*batches*2 {
			t.Errorf("member %d: %d rows, %d acknowledged", i, len(rows), stored[i].Load())
		}
		for k, row := range rows {
			if row.ID != uint64(k+1) {
				t.Fatalf("member %d: row %d has id %d", i, k, row.ID)
			}
		}
		chainHolds(t, people[i])
	}
}

// A member with a full queue says busy at once, and is well afterwards.
func TestBackPressure_BusyAtOnce(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	hold, held := make(chan struct{}), make(chan struct{})
	w := &quick{f: func(*member) *pds.Error { close(held); <-hold; return nil }}
	w.begin()
	posted := make(chan error, 1)
	go func() { posted <- r.d.post(r.ctx(), p.uid, &call{works: []work{w}}, r.clock.Now().UnixMilli()) }()
	<-held
	results := make(chan error, 2*maxWaiting)
	for range 2 * maxWaiting {
		go func() {
			_, e := a.put(energy, 0, value, "1")
			results <- asErr(e)
		}()
	}
	busy := 0
	for busy < maxWaiting { // these come back while the member is held
		err := <-results
		if codeOf(t, err) != pds.CodeBusy {
			t.Fatalf("while held: %v", err)
		}
		busy++
	}
	close(hold)
	for range maxWaiting {
		switch c := codeOf(t, <-results); c {
		case pds.CodeNone:
		case pds.CodeBusy:
			busy++
		default:
			t.Fatalf("afterwards: %s", c.Title())
		}
	}
	if n := len(a.see(energy, 0)); n != 2*maxWaiting-busy {
		t.Fatalf("%d rows for %d acknowledgements", n, 2*maxWaiting-busy)
	}
}

// errInjected is what a proposer is told in place of the outcome.
var errInjected = errors.New("injected")
