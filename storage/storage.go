package storage

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Reader reads one consistent version of the state.
//
// A value or key that Reader hands out is borrowed: a Get result is valid until
// the transaction or view it came from ends; a Scan's key and val are valid
// only until the callback returns. A caller that keeps bytes copies them. None may be
// written to.
type Reader interface {
	// Get returns the value under key, or ok false when there is none.
	Get(key []byte) (val []byte, ok bool, err error)
	// Scan calls f for each key that begins with prefix, in ascending order, or
	// descending when reverse is set, until f returns false or an error.
	// When from is not nil the scan begins at from (inclusive), which must begin with prefix;
	// in reverse it begins at the greatest key not above from. Writes of the
	// same transaction are seen. f must not write through the same Tx.
	Scan(prefix, from []byte, reverse bool, f func(key, val []byte) (more bool, err error)) error
}

// Tx is a Reader that writes. Its reads see its own writes.
type Tx interface {
	Reader
	// Set stores val under key. The transaction keeps both slices until it
	// commits: the caller must not change them.
	Set(key, val []byte) error
	// Delete removes key. It keeps the slice until the transaction commits.
	Delete(key []byte) error
}

// Errors that callers may branch on.
var (
	// ErrErased: the slot existed and its value was overwritten.
	ErrErased = errors.New("storage: slot is erased")
	// ErrNoSlot: no slot has this id.
	ErrNoSlot = errors.New("storage: no such slot")
	// ErrClosed: the state was closed.
	ErrClosed = errors.New("storage: closed")
	// ErrDamaged is wrapped by every refusal to serve files that fail a check.
	ErrDamaged = errors.New("storage: damaged")
	// ErrKeySize: a key is empty, longer than 1 KiB, or in the reserved space.
	ErrKeySize = errors.New("storage: key size or space not allowed")
	// ErrValueSize: a value is longer than MaxValue.
	ErrValueSize = errors.New("storage: value too long")
)

// damage marks an engine's complaint as ErrDamaged and keeps its first line,
// where the engines say what is wrong; the rest is for their authors. What the
// operating system refused, such as a file's rights or a failing disk, says
// nothing of the content and stays what it is.
func damage(err error) error {
	if errors.Is(err, ErrDamaged) || systemError(err) {
		return err
	}
	reason := err.Error()
	for line := range strings.Lines(reason) {
		// A heading says that there is damage, the line below it which.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "==") {
			reason = line
			break
		}
	}
	return fmt.Errorf("%w: %s", ErrDamaged, reason)
}

// systemError reports whether the operating system refused something. That a
// file is missing, or too short to be mapped, is about the content.
func systemError(err error) bool {
	var e syscall.Errno
	return errors.As(err, &e) && e != syscall.ENOENT && e != syscall.EINVAL
}

// panicked is the error that an engine panicked with.
func panicked(v any) error {
	if err, ok := v.(error); ok {
		return err
	}
	return fmt.Errorf("%v", v)
}
