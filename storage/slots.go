package storage

import (
	"errors"

	"holdfast/storage/seal"
)

// Slots is the node's slot file.
type Slots struct{}

var errNotBuilt = errors.New("storage: not built")

// Put stores v under id; it is on disk when Put returns nil.
func (s *Slots) Put(id uint64, v *seal.Secret) error { return errNotBuilt }

// Get returns the value of slot id, or ErrErased or ErrNoSlot.
func (s *Slots) Get(id uint64) (seal.Secret, error) { return seal.Secret{}, errNotBuilt }

// Erase overwrites slot id.
func (s *Slots) Erase(id uint64) error { return errNotBuilt }
