package storage

import (
	"errors"
	"sync"
)

// Fault holds the first error that makes a node's storage unusable. After an
// error of write or sync nobody knows what the disk holds, so nothing is
// retried: the node stops and comes back by the way of Open.
type Fault struct {
	once sync.Once
	ch   chan struct{}
	err  error
}

// NewFault returns a Fault without an error.
func NewFault() *Fault { return &Fault{ch: make(chan struct{})} }

// Set records err if it is the first, and returns the first.
func (f *Fault) Set(err error) error {
	if err == nil {
		err = errors.New("storage: failed without a reason")
	}
	f.once.Do(func() {
		f.err = err
		close(f.ch)
	})
	<-f.ch
	return f.err
}

// Failed is closed once an error was set.
func (f *Fault) Failed() <-chan struct{} { return f.ch }

// Err returns the first error, or nil.
func (f *Fault) Err() error {
	select {
	case <-f.ch:
		return f.err
	default:
		return nil
	}
}
