package cluster

import (
	"errors"
	"fmt"
)

// Errors a proposal may end with. Except ErrUnknown each says that the command
// was not and will not be applied.
var (
	// ErrBusy: the queue of the shard or of the node is full. Try again later.
	ErrBusy = errors.New("cluster: too many commands waiting")
	// ErrDiskReserve: the disk has less free space than the reserve. What
	// ProposeSmall takes goes on, so that stores can still be read and closed.
	ErrDiskReserve = errors.New("cluster: disk reserve reached, writes are refused")
	// ErrStopped: the host was closed or has failed. A command that was on its
	// way when the host stopped ends with ErrUnknown instead.
	ErrStopped = errors.New("cluster: host stopped")
	// ErrUnknown: the command may or may not have been applied. Propose the
	// same command again; its own id and expected sequence tell them apart.
	ErrUnknown = errors.New("cluster: outcome unknown")
	// ErrTooLarge: a command is longer than MaxCommand.
	ErrTooLarge = errors.New("cluster: command too large")
)

// ErrNotLeader says that this node does not lead the shard.
type ErrNotLeader struct {
	Hint uint64 // replica that probably leads, or 0
}

func (e ErrNotLeader) Error() string {
	return fmt.Sprintf("cluster: not the leader of this shard (hint %d)", e.Hint)
}

// stopError says both that the host stopped and why. For a command that was
// under way it is ErrUnknown as well.
type stopError struct {
	cause   error
	unknown bool
}

func (e *stopError) Error() string {
	s := ErrStopped.Error()
	if e.unknown {
		s += ", outcome unknown"
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *stopError) Is(target error) bool {
	return target == ErrStopped || e.unknown && target == ErrUnknown
}

func (e *stopError) Unwrap() error { return e.cause }

func stopped(cause error) error { return &stopError{cause: cause} }
func unknown(cause error) error { return &stopError{cause: cause, unknown: true} }
