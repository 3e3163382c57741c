package cluster

import "time"

// restAfter is how long nothing must have happened before the host gives memory back,
// and restTimes how often it does so, each time after twice the wait of the time before:
// those above put their own things away some time after the last command. Then an
// idle host does nothing at all.
const (
	restAfter = 5 * time.Second
	restTimes = 5
)

// rest is the loop's view of idleness.
type rest struct {
	timer *time.Timer
	armed bool
	busy  bool // something happened since the timer was set
	times int
}

func newRest() rest {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return rest{timer: t}
}

// worked notes that something happened. The timer is left alone while it runs, so
// this costs nothing on the path of a command.
func (r *rest) worked() {
	r.busy = true
	if !r.armed {
		r.set(restAfter)
	}
	r.times = 0
}

func (r *rest) set(d time.Duration) {
	r.armed, r.busy = true, false
	r.timer.Reset(d)
}

// due is called when the timer has run out and says whether to rest now.
func (r *rest) due() bool {
	r.armed = false
	if r.busy {
		r.set(restAfter)
		return false
	}
	if r.times++; r.times < restTimes {
		r.set(restAfter << (r.times - 1))
	}
	return true
}
