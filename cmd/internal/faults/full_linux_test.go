package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDiskFull(t *testing.T) {
	bin := holdfast(t)
	seed := newSeed(t)
	dir := scratch(t)
	d := newDisk(t, dir, 2048)
	const reserve = 512 // MiB, of a node that is not told otherwise
	l := &launcher{t: t, bin: bin, dir: dir, data: filepath.Join(d.mount, "data")}
	c, sub := l.seeded()
	led := newLedger(t, sub, "d")
	ctx, cancel := context.WithTimeout(t.Context(), 2*roundTimeout)
	defer cancel()
	p, err := sub.login(ctx, c.url)
	if err != nil {
		t.Fatal(err)
	}
	until := func(round int, what string, enough func() bool) {
		t.Helper()
		lctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- led.load(lctx, p, seed, round, loadWorkers) }()
		err := c.poll(what, roundTimeout, enough)
		cancel()
		if lerr := <-done; err != nil || lerr != nil {
			t.Fatalf("%v, %v", err, lerr)
		}
	}
	until(0, "loaded", func() bool { return led.acks.Load() >= 500 })
	if err := led.settle(ctx, p); err != nil {
		t.Fatal(err)
	}
	if body, ok := c.ready(); !ok || !strings.Contains(body, `"writes":"accepted"`) {
		t.Errorf("before: %s", body)
	}

	// The reserve: below it writes are refused by name, reads go on.
	d.ballast(1, (reserve-20)<<20)
	wctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	refusal := led.refusedWrite(wctx, p, rand.New(rand.NewPCG(seed, 4)), "reserve")
	if !strings.Contains(refusal, "507") || !strings.Contains(refusal, "reserve") {
		t.Errorf("a write below the reserve: %q", refusal)
	}
	t.Logf("refusal of a write below the reserve: %s", refusal)
	if body, ok := c.ready(); !ok || !strings.Contains(body, "refused") {
		t.Errorf("ready below the reserve: %v %s", ok, body)
	}
	if err := led.check(ctx, p, true); err != nil {
		t.Errorf("read below the reserve: %v", err)
	}
	if _, err := sub.login(ctx, c.url); err != nil {
		t.Errorf("token below the reserve: %v", err)
	}
	d.relieve()
	again, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if err := led.settle(again, p); err != nil {
		t.Errorf("not writable when there is space again: %v", err)
	}
	if err := led.check(ctx, p, true); err != nil {
		t.Errorf("after relief: %v", err)
	}

	// A start below the reserve serves reads.
	d.ballast(2, (reserve-20)<<20)
	if err := c.stop(); err != nil {
		t.Errorf("stop below the reserve: %v", err)
	}
	p.close()
	c = l.start()
	if p, err = sub.login(ctx, c.url); err != nil {
		t.Errorf("token after a start below the reserve: %v", err)
	} else if err := led.check(ctx, p, true); err != nil {
		t.Errorf("read after a start below the reserve: %v", err)
	}
	d.relieve()
	if p == nil {
		if p, err = sub.login(ctx, c.url); err != nil {
			t.Fatal(err)
		}
	}

	// No byte left, all at once and under load: the reserve is gone too. The
	// program may end, saying why; what it acknowledged is there afterwards.
	target := led.acks.Load() + 300
	done := make(chan error, 1)
	go func() { done <- led.load(ctx, p, seed, 1, loadWorkers) }()
	if err := c.poll("loaded", roundTimeout, func() bool { return led.acks.Load() >= target }); err != nil {
		t.Fatal(err)
	}
	d.ballast(3, 0)
	d.ballast(4, 0)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	alive := "went on"
	select {
	case <-c.exited:
		alive = "ended: " + firstLine(c.said())
		if c.crashed() || c.said() == "" {
			t.Errorf("no byte left: the program crashed: %s", c.said())
		}
	default:
		if err := led.check(ctx, p, true); err != nil {
			if errors.Is(err, errUnknown) {
				t.Errorf("no byte left: read: %v", err)
			}
			alive = "went on, reads refused: " + err.Error()
		}
	}
	t.Logf("no byte left: the program %s", alive)
	p.close()
	d.relieve()
	c.kill()
	c = l.start()
	if p, err = sub.login(ctx, c.url); err != nil {
		t.Fatal(err)
	}
	if err := led.settle(ctx, p); err != nil {
		t.Fatal(err)
	}
	if err := led.check(ctx, p, true); err != nil {
		t.Fatal(err)
	}
	led.judge()
	t.Logf("full: %s; no byte left: %s", led.counts.String(), alive)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}
