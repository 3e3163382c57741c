package bench

import (
	"net/http/httptest"
	"testing"
)

// driveFake delivers 2,000 readings of 20 members to a fake server and checks
// all of them.
func driveFake(t *testing.T, k Kind, l Layout, fault string, idempotency bool) (*driver, *fake, error) {
	t.Helper()
	f := newFake(20, fault)
	srv := httptest.NewServer(f.handler())
	t.Cleanup(srv.Close)
	f.url = srv.URL
	w := f.world()
	s, err := login(t.Context(), w, &w.Subscribers[0])
	if err != nil {
		t.Fatal(err)
	}
	led := newLedger(k, f.accounts())
	d := &driver{session: s, ledger: led, inFlight: 4, idempotency: idempotency, probeEvery: 5}
	m := &maker{gen: newGenerator(k, l, 20, 2000, 50), accounts: f.accounts(), compared: func(int) bool { return true }}
	if err := d.drive(t.Context(), m.stretch()); err != nil {
		return d, f, err
	}
	led.ids()
	if err := led.readAll(t.Context(), s, led.members(), 4, nil); err != nil {
		return d, f, err
	}
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for n := range 16 {
		if err := led.trespass(t.Context(), s, c, n); err != nil {
			return d, f, err
		}
	}
	return d, f, nil
}

func TestDrive_AnHonestServerPasses(t *testing.T) {
	for _, k := range []Kind{IoT, Tx} {
		for l := Single; l <= Uniform; l++ {
			d, _, err := driveFake(t, k, l, "", false)
			if err != nil {
				t.Fatal(k, l, err)
			}
			f := &d.ledger.found
			if d.load.accepted != 2000 || d.load.refused+d.load.unknown+d.load.putOff != 0 || d.latency.n != 40 {
				t.Errorf("%v %v: %+v", k, l, d.load)
			}
			if f.lost.Load()+f.unauthorised.Load()+f.unacknowledged.Load()+f.undecided.Load() != 0 {
				t.Errorf("%v %v: lost %d, unauthorised %d, unacknowledged %d", k, l, f.lost.Load(), f.unauthorised.Load(), f.unacknowledged.Load())
			}
			if f.rows.Load() < 2000 || f.probes.Load() < 16 || f.members.Load() != 20 {
				t.Errorf("%v %v: compared %d rows of %d members, %d probes", k, l, f.rows.Load(), f.members.Load(), f.probes.Load())
			}
		}
	}
}

func TestDrive_FindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		fault              string
		lost, unauthorised bool
	}{
		{"lose", true, false},      // an acknowledged row is gone
		{"change", true, false},    // a value is another
		{"leak", false, true},      // a withheld field is shown
		{"filter", false, true},    // a filter on a withheld field is answered
		{"anykey", false, true},    // any Member Key opens
		{"anywriter", false, true}, // any Member Key delivers
		{"open", false, true},      // no token needed
	} {
		d, _, err := driveFake(t, Tx, Grouped, c.fault, false)
		if err != nil {
			t.Fatal(c.fault, err)
		}
		f := &d.ledger.found
		if (f.lost.Load() > 0) != c.lost || (f.unauthorised.Load() > 0) != c.unauthorised {
			t.Errorf("%s: lost %d, unauthorised %d", c.fault, f.lost.Load(), f.unauthorised.Load())
		}
	}
}

func TestDrive_CountsRefusedRows(t *testing.T) {
	d, _, err := driveFake(t, IoT, Grouped, "refuse", false)
	if err != nil {
		t.Fatal(err)
	}
	// The first section of each batch: 20 or, at a batch's start, what was left.
	if d.load.refused == 0 || d.load.accepted+d.load.refused != 2000 || d.load.first != (refusal{403, "field not in agreement"}) {
		t.Fatalf("%+v", d.load)
	}
	if d.ledger.found.lost.Load() != 0 {
		t.Error("a refused row is not a lost one")
	}
}

func TestDrive_RepeatsWhatIsPutOff(t *testing.T) {
	d, _, err := driveFake(t, IoT, Grouped, "busy", false)
	if err != nil {
		t.Fatal(err)
	}
	if d.load.putOff == 0 || d.load.accepted != 2000 || d.ledger.found.unacknowledged.Load() != 0 {
		t.Fatalf("%+v", d.load)
	}
}

func TestDrive_UnknownOutcomes(t *testing.T) {
	for _, fault := range []string{"cut", "break"} {
		d, _, err := driveFake(t, IoT, Grouped, fault, false)
		if err != nil {
			t.Fatal(fault, err)
		}
		// The rows are stored, but nobody was told: neither lost nor a surprise.
		f := &d.ledger.found
		if d.load.unknown == 0 || d.load.accepted+d.load.unknown != 2000 || f.lost.Load()+f.unacknowledged.Load() != 0 {
			t.Errorf("%s without a key: %+v, lost %d, unacknowledged %d", fault, d.load, f.lost.Load(), f.unacknowledged.Load())
		}
		d, _, err = driveFake(t, IoT, Grouped, fault, true)
		if err != nil {
			t.Fatal(fault, err)
		}
		f = &d.ledger.found
		if d.load.unknown != 0 || d.load.accepted != 2000 || f.lost.Load()+f.unacknowledged.Load() != 0 {
			t.Errorf("%s with a key: %+v, lost %d, unacknowledged %d", fault, d.load, f.lost.Load(), f.unacknowledged.Load())
		}
	}
}

func TestLedger_OneIDForTwoRowsIsALoss(t *testing.T) {
	l := newLedger(IoT, newFake(1, "").accounts())
	l.settle([]*batch{{sections: []section{{member: 0, rows: 20, first: 1}, {member: 0, rows: 20, first: 21}}},
		{sections: []section{{member: 0, rows: 5, first: 38}, {member: 0, rows: 5}}}})
	l.ids()
	if n := l.found.lost.Load(); n != 3 {
		t.Fatalf("%d rows with an id that was taken, want 3", n)
	}
}
