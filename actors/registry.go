package actors

import (
	"context"
	"encoding/binary"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// Registry keeps what is not a member's store: accounts, organisations,
// connections, templates, clients, tokens, callbacks. Values are sealed under
// the directory key and bound to kind and name; keys are keyed hashes. Every
// change is a consensus entry, durable on return. Accounts and sessions live
// in the shard of their name's hash, everything else in the meta group.
type Registry struct{ d *Directory }

// Registry gives access to the node's registry.
func (d *Directory) Registry() *Registry { return &Registry{d} }

// spread are the kinds that grow with the members.
var spread = map[string]bool{"account": true, "email": true, "session": true, "uid": true}

func (r *Registry) place(kind, name string) (cluster.ShardID, [4]byte, [16]byte) {
	var k4 [4]byte
	h := seal.HMAC16(&r.d.dk, r.d.env, "registry-kind", []byte(kind))
	copy(k4[:], h[:])
	n := seal.HMAC16(&r.d.dk, r.d.env, "registry-name", []byte(kind), []byte(name))
	if spread[kind] {
		return cluster.ShardOf(n), k4, n
	}
	return cluster.Meta, k4, n
}

func (r *Registry) cipher() *seal.Cipher {
	k := seal.Derive(&r.d.dk, r.d.env, "registry")
	defer k.Wipe()
	return seal.NewCipher(&k)
}

func (r *Registry) aad(kind string, hash [16]byte) []byte {
	return seal.Info(r.d.env, "registry-value", []byte(kind), hash[:])
}

func (r *Registry) open(c *seal.Cipher, kind string, hash [16]byte, v []byte) (name string, value []byte, version uint64, err error) {
	if len(v) < 8 {
		return "", nil, 0, storage.ErrDamaged
	}
	plain, err := seal.OpenBox(c, nil, v[8:], r.aad(kind, hash))
	if err != nil || len(plain) < 2 {
		return "", nil, 0, storage.ErrDamaged
	}
	n := int(binary.BigEndian.Uint16(plain))
	if len(plain) < 2+n {
		return "", nil, 0, storage.ErrDamaged
	}
	return string(plain[2 : 2+n]), plain[2+n:], binary.BigEndian.Uint64(v), nil
}

// Get returns a value and its version; pds.Error NotFound if absent.
func (r *Registry) Get(ctx context.Context, kind, name string) (value []byte, version uint64, err error) {
	shard, k4, hash := r.place(kind, name)
	found := false
	err = r.d.view(func(t storage.Reader) error {
		v, ok, err := t.Get(pds.RegistryKey(uint8(shard), k4, hash))
		if err != nil || !ok {
			return err
		}
		found = true
		_, value, version, err = r.open(r.cipher(), kind, hash, v)
		return err
	})
	if err != nil {
		return nil, 0, r.d.unavailable("a registry value could not be read", err)
	}
	if !found {
		return nil, 0, pds.Refuse(pds.NotFound, pds.CodeNoSuchRecord)
	}
	return value, version, nil
}

// Put stores value iff the present version equals version (0: absent) and
// returns the new version; pds.Error Conflict otherwise.
func (r *Registry) Put(ctx context.Context, kind, name string, value []byte, version uint64) (uint64, error) {
	if len(name) > 1024 || len(value) > 512<<10 {
		return 0, pds.Refuse(pds.Invalid, pds.CodeTooLarge)
	}
	shard, k4, hash := r.place(kind, name)
	plain := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(name)+len(value)), uint16(len(name)))
	plain = append(append(plain, name...), value...)
	box := seal.SealBox(r.cipher(), nil, plain, r.aad(kind, hash))
	clear(plain)
	var out *pds.RegistryOutcome
	if err := r.d.propose(ctx, shard, pds.PutCommand(k4, hash, version, box), &out); err != nil {
		return 0, err
	}
	if out.Code != pds.CodeNone {
		return 0, pds.Refuse(pds.Conflict, pds.CodeNotNewest)
	}
	return out.Version, nil
}

// Delete removes it iff the version fits (0: whatever it is).
func (r *Registry) Delete(ctx context.Context, kind, name string, version uint64) error {
	shard, k4, hash := r.place(kind, name)
	var out *pds.RegistryOutcome
	if err := r.d.propose(ctx, shard, pds.DeleteCommand(k4, hash, version), &out); err != nil {
		return err
	}
	switch out.Code {
	case pds.CodeNone:
		return nil
	case pds.CodeNoSuchRecord:
		return pds.Refuse(pds.NotFound, pds.CodeNoSuchRecord)
	}
	return pds.Refuse(pds.Conflict, pds.CodeNotNewest)
}

// List calls f for every entry of a kind, in no stated order, outside of any
// transaction: f may use the Registry.
func (r *Registry) List(ctx context.Context, kind string, f func(name string, value []byte, version uint64) error) error {
	type item struct {
		name    string
		value   []byte
		version uint64
	}
	var items []item
	_, k4, _ := r.place(kind, "")
	c := r.cipher()
	err := r.d.view(func(t storage.Reader) error {
		for s := cluster.ShardID(0); s <= cluster.Meta; s++ {
			if spread[kind] == (s == cluster.Meta) {
				continue
			}
			p := pds.RegistryPrefix(uint8(s), k4)
			err := t.Scan(p, nil, false, func(k, v []byte) (bool, error) {
				if len(k) != len(p)+16 {
					return false, storage.ErrDamaged
				}
				n, val, ver, err := r.open(c, kind, [16]byte(k[len(p):]), v)
				if err != nil {
					return false, err
				}
				items = append(items, item{n, val, ver})
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return r.d.unavailable("the registry could not be listed", err)
	}
	for _, i := range items {
		if err := f(i.name, i.value, i.version); err != nil {
			return err
		}
	}
	return nil
}

// Next increments a named counter and returns it, from 1.
func (r *Registry) Next(ctx context.Context, counter string) (uint64, error) {
	h := seal.HMAC16(&r.d.dk, r.d.env, "registry-counter", []byte(counter))
	var out *pds.RegistryOutcome
	if err := r.d.propose(ctx, cluster.Meta, pds.CountCommand(h), &out); err != nil {
		return 0, err
	}
	if out.Code != pds.CodeNone {
		return 0, pds.Refuse(pds.Internal, pds.CodeInternal)
	}
	return out.Version, nil
}

func (d *Directory) unavailable(what string, err error) error {
	d.cfg.Log.Error(what, "error", err)
	return pds.Refuse(pds.Unavailable, pds.CodeUnavailable)
}

// maxSmall bounds the registry commands that go on below the disk's reserve,
// such as a token's, bytes.
const maxSmall = 4 << 10

// propose sends a registry command and waits for its outcome.
func (d *Directory) propose(ctx context.Context, s cluster.ShardID, cmd []byte, out **pds.RegistryOutcome) error {
	type result struct {
		v   any
		err error
	}
	c := make(chan result, 1)
	propose := d.cfg.Host.ProposeSmall
	if len(cmd) > maxSmall {
		propose = d.cfg.Host.Propose
	}
	propose(s, cmd, func(v any, err error) { c <- result{v, err} })
	select {
	case r := <-c:
		if r.err != nil {
			return refusalOf(r.err)
		}
		o, ok := r.v.(*pds.RegistryOutcome)
		if !ok {
			return pds.Refuse(pds.Unknown, pds.CodeUnknownOutcome)
		}
		if out != nil {
			*out = o
		}
		return nil
	case <-ctx.Done():
		return pds.Refuse(pds.Unknown, pds.CodeUnknownOutcome)
	}
}
