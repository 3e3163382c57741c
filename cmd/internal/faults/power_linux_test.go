package faults

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

func TestPowerCut(t *testing.T) {
	bin := holdfast(t)
	seed := newSeed(t)
	dir := scratch(t)
	d := newDisk(t, dir, 2048)
	l := &launcher{t: t, bin: bin, dir: dir, data: filepath.Join(d.mount, "data"), args: []string{"--reserve", "320"}}
	c, sub := l.seeded()
	led := newLedger(t, sub, "p")
	rng := rand.New(rand.NewPCG(seed, 3))
	ctx := t.Context()
	var slowest time.Duration
	starting := 0
	p, err := sub.login(ctx, c.url)
	if err != nil {
		t.Fatal(err)
	}
	for round := range *powerRounds {
		func() {
			ctx, cancel := context.WithTimeout(ctx, roundTimeout)
			defer cancel()
			target, moment := led.acks.Load()+int64(1+rng.IntN(1500)), time.Duration(rng.IntN(20_000))*time.Microsecond
			loaded := make(chan error, 1)
			go func() { loaded <- led.load(ctx, p, seed, round, loadWorkers) }()
			if err := c.poll("loaded", roundTimeout, func() bool { return led.acks.Load() >= target || len(loaded) > 0 }); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			l.cutAndRemount(d, c, led, moment)
			if err := <-loaded; err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			led.listen(true)
			p.close()
			if rng.IntN(3) == 0 { // and once more while it starts
				starting++
				if c, err = l.spawn(); err != nil {
					t.Fatal(err)
				}
				l.cutAndRemount(d, c, led, time.Duration(rng.IntN(700))*time.Millisecond)
				led.listen(true)
			}
			if c, err = l.spawn(); err != nil {
				t.Fatal(err)
			}
			var took time.Duration
			if p, took, err = c.answers(ctx, sub); err != nil {
				t.Fatalf("round %d: restart: %v", round, err)
			}
			slowest = max(slowest, took)
			c.slow(t, round, took)
			if err := led.settle(ctx, p); err != nil {
				t.Fatalf("round %d: %v: %s", round, err, c.said())
			}
			if err := led.check(ctx, p, round%10 == 9 || round == *powerRounds-1); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if testing.Verbose() {
				t.Logf("round %d: restart %.2f s (ready %.2f), %s", round, took.Seconds(), c.readyAfter.Seconds(), led.counts.String())
			}
		}()
	}
	led.judge()
	t.Logf("power: %d cuts (and %d while starting), %s, slowest restart %.1f s", *powerRounds, starting, led.counts.String(), slowest.Seconds())
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// cutAndRemount takes the power away after a moment, ends the child, which
// would go with it, and mounts what is on the disk.
//
// Answers after the cut do not count, as nobody gets one from a machine without
// power. They would be wrong, too: a sync that waits for the journal while the
// file system is shut down may return without an error (Linux 6.18,
// jbd2_complete_transaction: nothing to wait for once the transaction has
// been given up).
func (l *launcher) cutAndRemount(d *disk, c *child, led *ledger, moment time.Duration) {
	l.t.Helper()
	wait := time.NewTimer(moment)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-c.exited:
		l.t.Fatalf("the program ended before the power was cut: %s", c.said())
	}
	led.listen(false)
	if err := d.cut(); err != nil {
		l.t.Fatal(err)
	}
	c.kill()
	if c.crashed() { // which loses nothing, but should be a sentence
		l.t.Logf("the program crashed when its disk was gone: %s", c.said())
	}
	d.detach()
	if err := d.attach(); err != nil {
		l.t.Fatal(err)
	}
}
