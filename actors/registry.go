package actors

import "context"

// Registry keeps what is not a member's store: accounts, organisations,
// connections, templates, clients, tokens, callbacks. Values are sealed under
// the directory key and bound to kind, name and version; keys are keyed
// hashes. Every change is a consensus entry, durable on return.
type Registry struct{}

// Get returns a value and its version; pds.Error NotFound if absent.
func (r *Registry) Get(ctx context.Context, kind, name string) (value []byte, version uint64, err error) {
	panic("stub")
}

// Put stores value iff the present version equals version (0: absent) and
// returns the new version; pds.Error Conflict otherwise.
func (r *Registry) Put(ctx context.Context, kind, name string, value []byte, version uint64) (uint64, error) {
	panic("stub")
}

// Delete removes it iff the version fits (0: whatever it is).
func (r *Registry) Delete(ctx context.Context, kind, name string, version uint64) error {
	panic("stub")
}

// List calls f for every entry of a kind, in no stated order. name is the
// plain name, recovered from the sealed value.
func (r *Registry) List(ctx context.Context, kind string, f func(name string, value []byte, version uint64) error) error {
	panic("stub")
}

// Next increments a named counter and returns it, from 1.
func (r *Registry) Next(ctx context.Context, counter string) (uint64, error) { panic("stub") }
