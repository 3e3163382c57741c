package actors

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage/seal"
)

// caches runs a test with what may be cached and with all of it off: the
// results are the same.
func caches(t *testing.T, f func(t *testing.T, r *rig)) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprintf("caches off %v", off), func(t *testing.T) {
			f(t, newRig(t, func(c *Config) { c.CachesOff = off }))
		})
	}
}

// refusals counts the entries of refusals by act and rule.
func refusals(es []AuditEntry) map[string]int {
	n := map[string]int{}
	for _, e := range es {
		if e.Entry.Result != pds.CodeNone {
			n[e.Entry.Act.String()+" "+e.Entry.Result.Slug()]++
		}
		if e.Entry.Result != e.ResultCode {
			n["entry and record differ"]++
		}
	}
	return n
}

// What is granted works, and everything that is not is refused, named, and in
// the member's log.
func TestAccess_GrantedAndNothingElse(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p := r.member()
		p.write(home, 0, street, "12 Mill Lane")
		hid := p.write(home, 0, post, "DN21 6BY")
		tm := offer(7, 1,
			pds.TemplateData{Dataset: energy, Methods: rw, SoftDelete: true, Fields: []pds.TemplateField{
				{Field: value, Mandatory: true}, {Field: stamp, Mandatory: true, Methods: []string{"create"}}, {Field: source}}},
			share(home, []string{"read"}, post))
		a := p.conn(7, p.approve(tm, pds.Choices{}))

		s := a.section(energy, 0, []string{stamp, value}, []string{"1648633780", "1123.250"}, []string{"1648633790", "-"})
		a.deliver(s)
		if s.Refused != nil || s.First != 1 || s.Last != 2 {
			t.Fatalf("delivery: %+v", s)
		}
		// The field that may be created but not read is withheld.
		wantRows(t, "own rows", a.see(energy, 0), "1/0 "+value+"=1123.250", "2/0")
		wantRows(t, "one field of the home", a.see(home, 0), "1/0", fmt.Sprintf("%d/0 %s=DN21 6BY", hid, post))
		wantRows(t, "the member sees all", p.see(energy, 0, false),
			"1/0 "+stamp+"=1648633780 "+value+"=1123.250", "2/0 "+stamp+"=1648633790")
		wantRows(t, "filtered", a.see(energy, 0, pds.Filter{Name: value, Field: number(energy, value), Op: pds.Gt, Value: []byte("1123.2")}), "1/0 "+value+"=1123.250")

		// Everything else.
		put := func(ds string, inst uint32, field string) error {
			_, e := a.put(ds, inst, field, "1")
			return asErr(e)
		}
		read := func(ds string, inst int, f ...pds.Filter) error { _, _, err := a.read(ds, inst, f...); return err }
		change := func(ds, field string) error {
			_, err := r.d.Update(r.ctx(), &ChangeRequest{Caller: a.caller(), Dataset: dataset(ds), ID: 1, Fields: []uint8{number(ds, field)}, Vals: [][]byte{[]byte("2")}})
			return err
		}
		remove := func(ds string) error {
			_, err := r.d.Delete(r.ctx(), &DeleteRequest{Caller: a.caller(), Dataset: dataset(ds), ID: 1})
			return err
		}
		on := func(ds, f string) pds.Filter {
			return pds.Filter{Name: f, Field: number(ds, f), Op: pds.Eq, Value: []byte("x")}
		}
		cases := []struct {
			name string
			err  error
			code pds.Code
			log  string
		}{
			{"create in a dataset that is not granted", put("ds_bank_account", 0, dataset("ds_bank_account").Fields[0].Name), pds.CodeDatasetNotGranted, "create"},
			{"read of it", read("ds_bank_account", 0), pds.CodeDatasetNotGranted, "read"},
			{"create in an instance that is not granted", put(energy, 1, value), pds.CodeInstanceNotGranted, "create"},
			{"read of it", read(energy, 1), pds.CodeInstanceNotGranted, "read"},
			{"create of a field that was left out", put(energy, 0, source), pds.CodeFieldNotGranted, "create"},
			{"create where only read is granted", put(home, 0, post), pds.CodeMethodNotGranted, "create"},
			{"update without update", change(energy, value), pds.CodeMethodNotGranted, "update"},
			{"update of the home", change(home, post), pds.CodeMethodNotGranted, "update"},
			{"delete without delete", remove(energy), pds.CodeMethodNotGranted, "delete"},
			{"filter on a field that is withheld", read(energy, 0, on(energy, stamp)), pds.CodeFilterNotGranted, "read"},
			{"filter on another field of the home", read(home, 0, on(home, street)), pds.CodeFilterNotGranted, "read"},
		}
		want := map[string]int{}
		for _, c := range cases {
			wantCode(t, c.name, c.err, c.code)
			want[c.log+" "+c.code.Slug()]++
		}
		empty := a.section(energy, 0, []string{value})
		a.deliver(empty)
		wantCode(t, "no rows", asErr(empty.Refused), pds.CodeEmpty)
		want["create "+pds.CodeEmpty.Slug()]++
		bad := a.section(energy, 0, []string{value}, []string{"x"})
		bad.Refused = &pds.Error{Kind: pds.Invalid, Code: pds.CodeWrongType, Dataset: energy, Field: value, Row: 1}
		a.deliver(bad)
		wantCode(t, "what api refused", asErr(bad.Refused), pds.CodeWrongType)
		want["create "+pds.CodeWrongType.Slug()]++
		wantCode(t, "an access api refused", r.d.RefuseAccess(r.ctx(), a.caller(), pds.Read, "ds_nothing", 0, pds.Refuse(pds.NotFound, pds.CodeUnknownDataset)), pds.CodeUnknownDataset)
		want["read "+pds.CodeUnknownDataset.Slug()]++

		es := p.audit()
		got := refusals(es)
		for k, n := range want {
			if got[k] != n {
				t.Errorf("%d entries %q, want %d", got[k], k, n)
			}
			delete(got, k)
		}
		if len(got) != 0 {
			t.Errorf("further refusals in the log: %v", got)
		}
		// What was read and written is there too, with its counts.
		var reads, creates int
		for _, e := range es {
			if !e.Openable {
				t.Fatalf("entry %d cannot be opened by its member", e.Sequence)
			}
			if e.Entry.Result == pds.CodeNone && e.Entry.NID == 7 {
				switch e.Entry.Act {
				case pds.ActRead:
					reads++
				case pds.ActCreate:
					creates += int(e.Entry.Rows)
				}
			}
		}
		if reads != 3 || creates != 2 {
			t.Errorf("%d reads and %d created rows in the log, want 3 and 2", reads, creates)
		}
		wantRows(t, "nothing was stored on the way", a.see(energy, 0), "1/0 "+value+"=1123.250", "2/0")
	})
}

// Equal refusals share an entry a minute; the next minute has its own.
func TestRefusals_ShareAnEntryAMinute(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	for range 20 {
		if _, e := a.put(energy, 0, stamp, "1"); codeOf(t, asErr(e)) != pds.CodeFieldNotGranted {
			t.Fatalf("refusal: %v", e)
		}
	}
	r.clock.Advance(time.Minute + time.Second)
	a.put(energy, 0, stamp, "1")
	var n int
	var folded uint32
	for _, e := range p.audit() {
		if e.Entry.Result == pds.CodeFieldNotGranted {
			n++
			folded += e.Entry.Count
			if e.Entry.Field != stamp {
				t.Errorf("the entry names %q", e.Entry.Field)
			}
		}
	}
	if n != 2 || folded != 19 {
		t.Fatalf("%d entries for %d folded refusals, want 2 and 19", n, folded)
	}
}

func TestAccess_WrongKeyAndOtherPeoplesConnections(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p, q := r.member(), r.member()
		tm := offer(1, 1, share(energy, rw, value))
		a, b := p.conn(1, p.approve(tm, pds.Choices{})), q.conn(1, q.approve(tm, pds.Choices{}))
		a.mustPut(energy, 0, value, "1")
		for _, c := range []struct {
			name string
			c    conn
			code pds.Code
		}{
			{"a random key", p.conn(1, seal.NewMemberKey()), pds.CodeWrongKey},
			{"no key", p.conn(1, seal.MemberKey{}), pds.CodeWrongKey},
			{"another member's key", p.conn(1, b.key), pds.CodeWrongKey},
			{"own key on another member", q.conn(1, a.key), pds.CodeWrongKey},
			{"a connection that is not approved", p.conn(2, a.key), pds.CodeNotApproved},
			// Who is a member is nobody's business.
			{"a member who does not exist", conn{r.d, r, p.uid ^ q.uid ^ 1, 1, a.key}, pds.CodeNotApproved},
		} {
			_, e := c.c.put(energy, 0, value, "2")
			wantCode(t, c.name+", create", asErr(e), c.code)
			_, _, err := c.c.read(energy, 0)
			wantCode(t, c.name+", read", err, c.code)
			wantCode(t, c.name+", refused by api", r.d.RefuseAccess(r.ctx(), c.c.caller(), pds.Read, energy, 0, pds.Refuse(pds.Invalid, pds.CodeMalformed)), c.code)
			wantRows(t, c.name, a.see(energy, 0), "1/0 "+value+"=1")
		}
		got := refusals(p.audit())
		if got["create "+pds.CodeWrongKey.Slug()] != 1 || got["read "+pds.CodeWrongKey.Slug()] != 1 || got["read "+pds.CodeNotApproved.Slug()] == 0 {
			t.Errorf("entries: %v", got)
		}
	})
}

func TestRevoke_EndsAtOnceAndBumpsTheEpoch(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p := r.member()
		tm := func(n pds.NID) *pds.Template { return offer(n, 1, share(energy, rw, value, stamp)) }
		a, b := p.conn(1, p.approve(tm(1), pds.Choices{})), p.conn(2, p.approve(tm(2), pds.Choices{}))
		a.mustPut(energy, 0, value, "1")
		b.mustPut(energy, 0, value, "2")
		p.write(energy, 0, value, "3")
		before := r.control(t, p)
		old := *before.Link(r.d.LinkID(p.uid, 1))

		p.mustAct(seal.Revoke, 1)
		_, e := a.put(energy, 0, value, "x")
		wantCode(t, "create after revoke", asErr(e), pds.CodeRevoked)
		_, _, err := a.read(energy, 0)
		wantCode(t, "read after revoke", err, pds.CodeRevoked)
		if !strings.Contains(fmt.Sprint(refusals(p.audit())), pds.CodeRevoked.Slug()) {
			t.Error("the refusals are not in the log")
		}
		// The slots are gone: what the key opened, nothing opens.
		for _, s := range []uint64{old.SlotC.ID, old.SlotG.ID} {
			if _, err := r.host.Slots().Get(s); err == nil {
				t.Error("a slot of the revoked link can still be read")
			}
		}
		await(t, "the epoch bump", func() bool {
			c := r.control(t, p)
			return !c.Link(r.d.LinkID(p.uid, 1)).Owed
		})
		after := r.control(t, p)
		for i := range before.Comps {
			if after.Comps[i].Epoch != before.Comps[i].Epoch+1 {
				t.Errorf("compartment %d stays in epoch %d", i, after.Comps[i].Epoch)
			}
		}
		want := []string{"1/0 " + value + "=1", "2/0 " + value + "=2", "3/0 " + value + "=3"}
		wantRows(t, "the other connection reads what was", b.see(energy, 0), want...)
		b.mustPut(energy, 0, value, "4")
		p.write(energy, 0, value, "5")
		want = append(want, "4/0 "+value+"=4", "5/0 "+value+"=5")
		wantRows(t, "and what is new", b.see(energy, 0), want...)
		wantRows(t, "so does the member", p.see(energy, 0, false), want...)

		// Revoked again, lifted, suspended: nothing but a new approval helps.
		wantCode(t, "revoke twice", p.act(seal.Revoke, 1), pds.CodeNotApproved)
		wantCode(t, "lift", p.act(seal.Lift, 1), pds.CodeNotApproved)
		wantCode(t, "suspend", r.d.Suspend(r.ctx(), p.s, 1), pds.CodeNotApproved)
		a2 := p.conn(1, p.approve(tm(1), pds.Choices{}))
		if a2.key == a.key {
			t.Fatal("the Member Key came back")
		}
		_, e = a.put(energy, 0, value, "x")
		wantCode(t, "the old key", asErr(e), pds.CodeWrongKey)
		wantRows(t, "the new key", a2.see(energy, 0), want...)
		r.restart()
		p.mustUnlock()
		wantRows(t, "after a restart", p.see(energy, 0, false), want...)
		a2.d, b.d = r.d, r.d
		wantRows(t, "after a restart, a connection", b.see(energy, 0), want...)
	})
}

func (r *rig) control(t testing.TB, p *person) *pds.Control {
	t.Helper()
	c, err := r.d.control(p.uid)
	if err != nil || c == nil {
		t.Fatalf("control state: %v", err)
	}
	return c
}

// A change of the optional parts takes effect on the next call, under the
// same Member Key; a document that was not offered or shown so is refused.
func TestChange_OptionalFieldGoesAndComes(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p := r.member()
		tm := offer(1, 1, share(energy, rw, value, source+"?"))
		with := pds.Choices{Fields: map[string][]string{energy: {source}}}
		a := p.conn(1, p.approve(tm, with))
		s := a.section(energy, 0, []string{value, source}, []string{"1", "Kettle"})
		a.deliver(s)
		wantRows(t, "with the field", a.see(energy, 0), "1/0 "+value+"=1 "+source+"=Kettle")
		change := func(tm *pds.Template, c pds.Choices, bend func(*Consent, *seal.Statement)) error {
			_, err := r.d.Change(r.ctx(), p.s, p.consent(seal.Change, 1, tm, c, bend))
			return err
		}
		for name, bend := range map[string]func(*Consent, *seal.Statement){
			"another text":       func(c *Consent, st *seal.Statement) { st.Commitment[0] ^= 1 },
			"another salt":       func(c *Consent, st *seal.Statement) { c.Salt[0] ^= 1 },
			"another version":    func(c *Consent, st *seal.Statement) { st.Version++ },
			"another number":     func(c *Consent, st *seal.Statement) { st.Number++ },
			"another history":    func(c *Consent, st *seal.Statement) { st.Previous[3] ^= 1 },
			"another connection": func(c *Consent, st *seal.Statement) { st.Conn = r.d.LinkID(p.uid, 2) },
			"another store":      func(c *Consent, st *seal.Statement) { st.Store[0] ^= 1 },
			"another kind":       func(c *Consent, st *seal.Statement) { st.Kind = seal.Approve },
			"another document":   func(c *Consent, st *seal.Statement) { c.Document = append([]byte(" "), c.Document...) },
			"another template": func(c *Consent, st *seal.Statement) {
				c.Template = []byte(strings.Replace(string(c.Template), "Meter", "Heater", 1))
			},
		} {
			if err := change(tm, pds.Choices{}, bend); err == nil {
				t.Fatalf("%s was accepted", name)
			}
		}
		if err := change(tm, pds.Choices{Fields: map[string][]string{energy: {stamp}}}, nil); err == nil {
			t.Fatal("a field that is not offered was accepted")
		}
		if err := change(tm, pds.Choices{Instances: map[string][]uint32{energy: {1}}}, nil); codeOf(t, err) != pds.CodeNoSuchInstance {
			t.Fatalf("an instance that is not there: %v", err)
		}
		wantRows(t, "refused changes change nothing", a.see(energy, 0), "1/0 "+value+"=1 "+source+"=Kettle")

		if err := change(tm, pds.Choices{}, nil); err != nil {
			t.Fatal(err)
		}
		wantRows(t, "without the field", a.see(energy, 0), "1/0 "+value+"=1")
		s = a.section(energy, 0, []string{value, source}, []string{"2", "Oven"})
		a.deliver(s)
		wantCode(t, "delivering it", asErr(s.Refused), pds.CodeFieldNotGranted)
		if s.Refused.Field != source {
			t.Errorf("the refusal names %q", s.Refused.Field)
		}
		wantRows(t, "the member keeps it", p.see(energy, 0, false), "1/0 "+value+"=1 "+source+"=Kettle")
		if err := change(offer(1, 2, share(energy, []string{"read"}, value, source+"?")), with, nil); err != nil {
			t.Fatal(err)
		}
		wantRows(t, "a new version with it", a.see(energy, 0), "1/0 "+value+"=1 "+source+"=Kettle")
		_, e := a.put(energy, 0, value, "3")
		wantCode(t, "and without create", asErr(e), pds.CodeMethodNotGranted)
	})
}

// Suspending needs no more than a sign-in; lifting needs the Private Key.
func TestSuspend_WithoutUnlockLiftWithStatement(t *testing.T) {
	r := newRig(t)
	p := r.member()
	a := p.conn(1, p.approve(offer(1, 1, share(energy, rw, value)), pds.Choices{}))
	a.mustPut(energy, 0, value, "1")
	lift := p.consent(seal.Lift, 1, nil, pds.Choices{}, nil)
	if err := r.d.Lock(r.ctx(), p.s); err != nil {
		t.Fatal(err)
	}
	if err := r.d.Suspend(r.ctx(), p.s, 1); err != nil {
		t.Fatal(err)
	}
	_, e := a.put(energy, 0, value, "2")
	wantCode(t, "create while suspended", asErr(e), pds.CodeSuspended)
	_, _, err := a.read(energy, 0)
	wantCode(t, "read while suspended", err, pds.CodeSuspended)
	wantCode(t, "suspend twice", r.d.Suspend(r.ctx(), p.s, 1), pds.CodeNotApproved)
	wantCode(t, "suspend what is not there", r.d.Suspend(r.ctx(), p.s, 9), pds.CodeNotApproved)
	_, err = r.d.Lift(r.ctx(), p.s, lift)
	wantCode(t, "lift while locked", err, pds.CodeLocked)
	r.restart()
	a.d = r.d
	_, e = a.put(energy, 0, value, "2")
	wantCode(t, "create after a restart", asErr(e), pds.CodeSuspended)
	p.mustUnlock()
	stranger := seal.RandomSecret()
	bad := *p
	bad.seed = stranger
	_, err = r.d.Lift(r.ctx(), p.s, bad.consent(seal.Lift, 1, nil, pds.Choices{}, nil))
	if err == nil {
		t.Fatal("a stranger's statement lifted a suspension")
	}
	p.mustAct(seal.Lift, 1)
	a.mustPut(energy, 0, value, "2")
	wantRows(t, "after lifting", a.see(energy, 0), "1/0 "+value+"=1", "2/0 "+value+"=2")
}

// An agreement ends by itself, by command time.
func TestApprove_EndsAfterItsTime(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p := r.member()
		end := r.clock.Now().Add(5 * time.Second).Unix()
		tm := offer(1, 1, share(energy, rw, value))
		_, err := r.d.Approve(r.ctx(), p.s, p.consent(seal.Approve, 1, tm, pds.Choices{}, func(_ *Consent, st *seal.Statement) { st.NotAfter = end }))
		if err != nil {
			t.Fatal(err)
		}
		var k seal.MemberKey
		await(t, "the key", func() bool {
			r.out.mu.Lock()
			defer r.out.mu.Unlock()
			k = r.out.keys[pds.ConID(p.uid, 1)]
			return k != seal.MemberKey{}
		})
		a := p.conn(1, k)
		a.mustPut(energy, 0, value, "1")
		r.clock.Advance(6 * time.Second)
		_, e := a.put(energy, 0, value, "2")
		wantCode(t, "create", asErr(e), pds.CodeExpired)
		_, _, err = a.read(energy, 0)
		wantCode(t, "read", err, pds.CodeExpired)
		wantRows(t, "stored", p.see(energy, 0, false), "1/0 "+value+"=1")
	})
}

// An instance added after approval is not shared until it is granted (D13).
func TestInstance_NotSharedUntilGranted(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p := r.member()
		tm := offer(1, 1, share(home, all4, post))
		a := p.conn(1, p.approve(tm, pds.Choices{}))
		p.write(home, 0, post, "DN21 6BY")
		n, err := r.d.NewInstance(r.ctx(), p.s, dataset(home))
		if err != nil || n != 1 {
			t.Fatalf("new instance %d, %v", n, err)
		}
		if id := p.write(home, 1, post, "LA1 4SW"); id != 1 {
			t.Errorf("ids of an instance start at %d", id)
		}
		wantRows(t, "all instances", a.see(home, -1), "1/0 "+post+"=DN21 6BY")
		_, _, err = a.read(home, 1)
		wantCode(t, "the new one", err, pds.CodeInstanceNotGranted)
		_, e := a.put(home, 1, post, "x")
		wantCode(t, "writing there", asErr(e), pds.CodeInstanceNotGranted)
		if _, err := r.d.Change(r.ctx(), p.s, p.consent(seal.Change, 1, tm, pds.Choices{Instances: map[string][]uint32{home: {1}}}, nil)); err != nil {
			t.Fatal(err)
		}
		wantRows(t, "granted", a.see(home, -1), "1/1 "+post+"=LA1 4SW")
		_, _, err = a.read(home, 0)
		wantCode(t, "the first one, no longer", err, pds.CodeInstanceNotGranted)
		if _, _, err := r.d.MemberCreate(r.ctx(), p.s, dataset(home), 2, []uint8{number(home, post)}, [][]byte{[]byte("x")}, 1); codeOf(t, err) != pds.CodeNoSuchInstance {
			t.Fatalf("an instance that was never made: %v", err)
		}
	})
}

// Two subscribers and the member write one dataset: ids are unique over all,
// of updates the highest sequence wins per field, deletes can be undone.
func TestWriters_MergePerFieldHighestSequence(t *testing.T) {
	caches(t, func(t *testing.T, r *rig) {
		p := r.member()
		tm := func(n pds.NID) *pds.Template { return offer(n, 1, share(energy, all4, value, source)) }
		a, b := p.conn(1, p.approve(tm(1), pds.Choices{})), p.conn(2, p.approve(tm(2), pds.Choices{}))
		sec := a.section(energy, 0, []string{value, source}, []string{"1", "Kettle"}, []string{"2", "Oven"})
		a.deliver(sec)
		if id := b.mustPut(energy, 0, value, "3"); id != 3 {
			t.Fatalf("id %d", id)
		}
		if id := p.write(energy, 0, value, "4"); id != 4 {
			t.Fatalf("id %d", id)
		}
		upd := func(c conn, id uint64, f, v string) {
			t.Helper()
			if _, err := r.d.Update(r.ctx(), &ChangeRequest{Caller: c.caller(), Dataset: dataset(energy), ID: id, Fields: []uint8{number(energy, f)}, Vals: [][]byte{[]byte(v)}}); err != nil {
				t.Fatal(err)
			}
		}
		mine := func(id uint64, f, v string) {
			t.Helper()
			if err := r.d.MemberUpdate(r.ctx(), p.s, dataset(energy), 0, id, []uint8{number(energy, f)}, [][]byte{[]byte(v)}); err != nil {
				t.Fatal(err)
			}
		}
		upd(b, 1, value, "1.1") // another's record
		upd(a, 1, source, "Toaster")
		mine(1, value, "1.2")
		upd(b, 2, value, "2.1")
		mine(2, value, "2.2")
		upd(a, 2, value, "2.3")
		upd(a, 4, value, "4.1")
		want := []string{"1/0 " + value + "=1.2 " + source + "=Toaster", "2/0 " + value + "=2.3 " + source + "=Oven", "3/0 " + value + "=3", "4/0 " + value + "=4.1"}
		same := func(what string, want ...string) {
			t.Helper()
			wantRows(t, what+", first", a.see(energy, 0), want...)
			wantRows(t, what+", second", b.see(energy, 0), want...)
			wantRows(t, what+", member", p.see(energy, 0, false), want...)
		}
		same("merged", want...)
		rows, _, err := a.read(energy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if rows[0].Version != 4 || rows[0].Source != pds.ConID(p.uid, 1) || rows[0].Origin != pds.Delivered || rows[3].Source != "user" {
			t.Errorf("first row %+v, last row %+v", rows[0], rows[3])
		}
		if _, err := r.d.Delete(r.ctx(), &DeleteRequest{Caller: b.caller(), Dataset: dataset(energy), ID: 2}); err != nil {
			t.Fatal(err)
		}
		if err := r.d.MemberDelete(r.ctx(), p.s, dataset(energy), 0, 3, false); err != nil {
			t.Fatal(err)
		}
		same("deleted", want[0], want[3])
		wantRows(t, "with the deleted", p.see(energy, 0, true), want[0], want[1]+" deleted", want[2]+" deleted", want[3])
		for _, id := range []uint64{2, 3} {
			if err := r.d.MemberRestore(r.ctx(), p.s, dataset(energy), 0, id); err != nil {
				t.Fatal(err)
			}
		}
		same("restored", want...)
		for _, id := range []uint64{0, 5, 1 << 60} {
			_, err := r.d.Update(r.ctx(), &ChangeRequest{Caller: a.caller(), Dataset: dataset(energy), ID: id, Fields: []uint8{number(energy, value)}, Vals: [][]byte{[]byte("x")}})
			wantCode(t, "update of nothing", err, pds.CodeNoSuchRecord)
			wantCode(t, "delete of nothing", r.d.MemberDelete(r.ctx(), p.s, dataset(energy), 0, id, false), pds.CodeNoSuchRecord)
		}
		_, err = r.d.Delete(r.ctx(), &DeleteRequest{Caller: b.caller(), Dataset: dataset(energy), ID: 2, Hard: true})
		wantCode(t, "hard delete", err, pds.CodeNotOffered)
		r.restart()
		a.d, b.d = r.d, r.d
		p.mustUnlock()
		same("after a restart", want...)
	})
}

// A revocation is in force without the keys' replacement, which is owed until
// it is done: here at the next unlock, since its first attempt fails.
func TestRevoke_OwesTheEpochUntilTheNextUnlock(t *testing.T) {
	r := newRig(t)
	p := r.member()
	tm := func(n pds.NID) *pds.Template { return offer(n, 1, share(energy, rw, value)) }
	a, b := p.conn(1, p.approve(tm(1), pds.Choices{})), p.conn(2, p.approve(tm(2), pds.Choices{}))
	a.mustPut(energy, 0, value, "1")
	var n atomic.Int32
	fail := func(cluster.Command) (bool, any) {
		if n.Add(1) == 1 {
			return true, nil
		}
		return false, errInjected
	}
	r.sm.fault.Store(&fail)
	p.mustAct(seal.Revoke, 1)
	await(t, "the failed attempt", func() bool { return n.Load() > 1 })
	r.sm.fault.Store(nil)
	_, e := a.put(energy, 0, value, "x")
	wantCode(t, "create after revoke", asErr(e), pds.CodeRevoked)
	owed := func() bool {
		as, err := r.d.Agreements(r.ctx(), p.s)
		if err != nil {
			t.Fatal(err)
		}
		return as[0].State == "revoked" && as[0].EpochOwed
	}
	if !owed() {
		t.Fatal("what is owed is not shown")
	}
	epochs := func() (out []uint32) {
		for _, c := range r.control(t, p).Comps {
			out = append(out, c.Epoch)
		}
		return
	}
	before := epochs()
	r.restart()
	b.d = r.d
	b.mustPut(energy, 0, value, "2")
	p.mustUnlock()
	await(t, "what was owed", func() bool { return !owed() })
	for i, e := range epochs() {
		if e != before[i]+1 {
			t.Errorf("compartment %d in epoch %d after %d", i, e, before[i])
		}
	}
	b.mustPut(energy, 0, value, "3")
	want := []string{"1/0 " + value + "=1", "2/0 " + value + "=2", "3/0 " + value + "=3"}
	wantRows(t, "the other connection", b.see(energy, 0), want...)
	wantRows(t, "the member", p.see(energy, 0, false), want...)
}
