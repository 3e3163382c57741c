package actors

import (
	"runtime"
	"sync"
)

// inline runs a mailbox on the goroutine that sent the message. A delivery of
// many members is then decided and sealed in one go by the request's own
// goroutine: a goroutine for every wake-up, as protoactor has it, moved each
// section across cores and grew a new stack each time, a third of the CPU of a
// bulk load. The mailbox still lets only one goroutine in at a time.
type inline struct{}

// Schedule implements actor.Dispatcher.
func (inline) Schedule(f func()) { f() }

// Throughput implements actor.Dispatcher: messages before others have a turn.
func (inline) Throughput() int { return 64 }

// finisher hands outcomes back to their members. The host's goroutine only
// appends to a list; few goroutines empty it, many members at a time.
type finisher struct {
	mu     sync.Mutex
	list   []*member
	wake   chan struct{}
	closed bool
	wg     sync.WaitGroup
}

const finisherShare = 32 // members taken at a time, so that another may help

func newFinisher() *finisher {
	f := &finisher{wake: make(chan struct{}, 1)}
	for range max(2, runtime.GOMAXPROCS(0)) {
		f.wg.Go(f.run)
	}
	return f
}

func (f *finisher) add(m *member) {
	f.mu.Lock()
	f.list = append(f.list, m)
	f.mu.Unlock()
	f.poke()
}

func (f *finisher) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *finisher) run() {
	var mine []*member
	for range f.wake {
		for {
			f.mu.Lock()
			n := min(len(f.list), finisherShare)
			mine = append(mine[:0], f.list[:n]...)
			rest := copy(f.list, f.list[n:])
			clear(f.list[rest:])
			f.list = f.list[:rest]
			closed := f.closed
			f.mu.Unlock()
			if rest > 0 {
				f.poke()
			}
			if n == 0 {
				if closed {
					f.poke() // the next one ends too
					return
				}
				break
			}
			for _, m := range mine {
				m.root.Send(m.self, outcome{})
			}
			clear(mine)
		}
	}
}

func (f *finisher) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.poke()
	f.wg.Wait()
}
