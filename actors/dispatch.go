package actors

// dispatcher runs mailboxes on a few goroutines that stay: a goroutine for
// every wake-up, as protoactor has it, grows a new stack each time, which was
// a tenth of the CPU of a bulk load. What finds the queue full gets a
// goroutine of its own, so a mailbox that waits for a disk delays others, but
// never stops them.
type dispatcher struct{ queue chan func() }

const (
	dispatchers   = 8
	dispatchQueue = 512
)

func newDispatcher() *dispatcher {
	d := &dispatcher{queue: make(chan func(), dispatchQueue)}
	for range dispatchers {
		go func() {
			for f := range d.queue {
				f()
			}
		}()
	}
	return d
}

// Schedule implements actor.Dispatcher.
func (d *dispatcher) Schedule(f func()) {
	select {
	case d.queue <- f:
	default:
		go f()
	}
}

// Throughput implements actor.Dispatcher: messages before others have a turn.
func (d *dispatcher) Throughput() int { return 64 }
