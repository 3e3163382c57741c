package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

const (
	northgrid    = "Northgrid Energy"
	loadMembers  = "24"
	loadWorkers  = 4
	firstAnswer  = 5 * time.Second // promised from a restart to the first answer
	roundTimeout = 3 * time.Minute
)

// seeded starts the program on a new data directory and returns the
// subscriber that loads it.
func (l *launcher) seeded() (*child, *subscriber) {
	l.t.Helper()
	c := l.start("--members", loadMembers, "--connect", northgrid)
	w, err := c.awaitWorld()
	if err != nil {
		l.t.Fatal(err)
	}
	sub := accountsOf(w, northgrid)
	if sub == nil || len(sub.accounts) == 0 {
		l.t.Fatal("the world has no generated members")
	}
	return c, sub
}

// answers waits for the first answer out of a member's store and returns how
// long after its start the child gave it.
func (c *child) answers(ctx context.Context, sub *subscriber) (*pdx, time.Duration, error) {
	if err := c.awaitReady(); err != nil {
		return nil, 0, err
	}
	p, err := sub.login(ctx, c.url)
	if err != nil {
		return nil, 0, err
	}
	_, err = p.read(ctx, &sub.accounts[0], 1<<40)
	return p, time.Since(c.begin), err
}

// killAfter ends a child as kill -9 does, a moment after so many more
// acknowledgements were counted.
func (c *child) killAfter(ctx context.Context, counter *atomic.Int64, acks int64, moment time.Duration) {
	target := counter.Load() + acks
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for counter.Load() < target {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-c.exited:
			return
		}
	}
	wait := time.NewTimer(moment)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-c.exited:
	}
	c.kill()
}

func TestKill(t *testing.T) {
	bin := holdfast(t)
	seed := newSeed(t)
	dir := scratch(t)
	l := &launcher{t: t, bin: bin, dir: dir, data: filepath.Join(dir, "data")}
	c, sub := l.seeded()
	led := newLedger(t, sub, "k")
	rng := rand.New(rand.NewPCG(seed, 1))
	ctx := t.Context()
	var slowest time.Duration
	twice := 0
	p, err := sub.login(ctx, c.url)
	if err != nil {
		t.Fatal(err)
	}
	for round := range *killRounds {
		func() {
			ctx, cancel := context.WithTimeout(ctx, roundTimeout)
			defer cancel()
			acks, moment := int64(1+rng.IntN(1500)), time.Duration(rng.IntN(20_000))*time.Microsecond
			killed := make(chan struct{})
			go func() { c.killAfter(ctx, &led.acks, acks, moment); close(killed) }()
			if err := led.load(ctx, p, seed, round, loadWorkers); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			<-killed
			p.close()
			if !c.wasKilled() || c.crashed() {
				t.Fatalf("round %d: the program ended by itself: %s", round, c.said())
			}
			if rng.IntN(3) == 0 { // and once more while it starts
				twice++
				if c, err = l.spawn(); err != nil {
					t.Fatal(err)
				}
				wait := time.NewTimer(time.Duration(rng.IntN(700)) * time.Millisecond)
				select {
				case <-wait.C:
				case <-c.exited:
					t.Fatalf("round %d: start failed: %s", round, c.said())
				}
				c.kill()
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
			if err := led.check(ctx, p, round%10 == 9 || round == *killRounds-1); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if testing.Verbose() {
				t.Logf("round %d: killed after %d sections, restart %.2f s (ready %.2f), %s", round, acks, took.Seconds(), c.readyAfter.Seconds(), led.counts.String())
			}
		}()
	}
	led.judge()
	t.Logf("kill: %d rounds (%d killed again while starting), %s, slowest restart %.1f s", *killRounds, twice, led.counts.String(), slowest.Seconds())
	if err := c.stop(); err != nil && !errors.Is(err, errEnded) {
		t.Error(err)
	}
}

// judge fails the test if a promise was broken.
func (l *ledger) judge() {
	if n := l.counts.wrong(); n > 0 {
		l.report("%d rows are not as acknowledged", n)
	}
	for what, n := range l.failures {
		l.report("%d sections refused: %s", n, what)
	}
	if l.counts.sections == 0 {
		l.report("nothing was acknowledged: the run says nothing")
	}
}
