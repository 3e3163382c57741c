package pds

import (
	"holdfast/storage/seal"
)

// UnitSystem is the unit of id, times, version, origin: field number 0.
const UnitSystem = 0

// UnitKey is one field's key of a compartment epoch.
type UnitKey struct {
	Field uint8
	Key   seal.Secret
}

// WriteGrant is what a connection may do in one dataset instance, with the
// keys of its own compartment.
type WriteGrant struct {
	Grant
	Tag   Tag
	Comp  uint32 // its own compartment
	Epoch uint32
	Owns  bool      // it has a compartment: it may create, update or delete
	Keys  []UnitKey // system and the fields of create and update
}

// WritePart is the part of a bundle opened on every request: masks, own
// compartments and the audit key. It never holds a key that reads others.
type WritePart struct {
	Version uint32
	Audit   seal.Secret
	Grants  []WriteGrant
}

// ReadComp is one writer's compartment as a reader may open it: the unit keys
// of granted fields in the newest epoch.
type ReadComp struct {
	Comp   uint32
	Epoch  uint32
	Source string // "user" or the writer's con_id
	Keys   []UnitKey
}

// ReadGrant is a readable dataset instance.
type ReadGrant struct {
	Dataset  string
	Instance uint32
	Tag      Tag
	Comps    []ReadComp
}

// ReadPart is the part of a bundle opened for reading.
type ReadPart struct {
	Grants []ReadGrant
}

// Wipe clears the keys.
func (w *WritePart) Wipe() {
	w.Audit.Wipe()
	for i := range w.Grants {
		for k := range w.Grants[i].Keys {
			w.Grants[i].Keys[k].Key.Wipe()
		}
	}
}

// Wipe clears the keys.
func (r *ReadPart) Wipe() {
	for i := range r.Grants {
		for c := range r.Grants[i].Comps {
			for k := range r.Grants[i].Comps[c].Keys {
				r.Grants[i].Comps[c].Keys[k].Key.Wipe()
			}
		}
	}
}

const partVersion = 1

func (e *enc) keys(ks []UnitKey) {
	e.uv(uint64(len(ks)))
	for i := range ks {
		e.u8(ks[i].Field)
		e.raw(ks[i].Key.Bytes())
	}
}

func (d *dec) keys() []UnitKey {
	n := d.count(33)
	ks := make([]UnitKey, n)
	for i := range ks {
		ks[i].Field = d.u8()
		ks[i].Key = seal.NewSecret(d.take(32))
	}
	return ks
}

// Encode gives the bytes to be sealed: 1 version · uv agreement version ·
// 32 audit key · uv n × (dataset · uv instance · 4×8 masks · 1 flags ·
// 16 tag · uv compartment · uv epoch · uv n × (1 field · 32 key)).
func (w *WritePart) Encode() []byte {
	e := enc{make([]byte, 0, 512)}
	e.u8(partVersion)
	e.uv(uint64(w.Version))
	e.raw(w.Audit.Bytes())
	e.uv(uint64(len(w.Grants)))
	for i := range w.Grants {
		g := &w.Grants[i]
		e.str(g.Dataset)
		e.uv(uint64(g.Instance))
		for _, m := range g.Masks {
			e.u64(uint64(m))
		}
		var fl uint8
		if g.Soft {
			fl |= 1
		}
		if g.Notify {
			fl |= 2
		}
		if g.Owns {
			fl |= 4
		}
		e.u8(fl)
		e.raw(g.Tag[:])
		e.uv(uint64(g.Comp))
		e.uv(uint64(g.Epoch))
		e.keys(g.Keys)
	}
	return e.b
}

// DecodeWritePart reads what Encode wrote.
func DecodeWritePart(b []byte) (*WritePart, error) {
	d := dec{b: b}
	if d.u8() != partVersion {
		return nil, ErrCorrupt
	}
	w := &WritePart{Version: d.uv32(), Audit: seal.NewSecret(d.take(32))}
	n := d.count(50)
	w.Grants = make([]WriteGrant, n)
	for i := range w.Grants {
		g := &w.Grants[i]
		g.Dataset = d.str()
		g.Instance = d.uv32()
		for k := range g.Masks {
			g.Masks[k] = Mask(d.u64())
		}
		fl := d.flags(7)
		g.Soft, g.Notify, g.Owns = fl&1 != 0, fl&2 != 0, fl&4 != 0
		g.Tag = d.a16()
		g.Comp = d.uv32()
		g.Epoch = d.uv32()
		g.Keys = d.keys()
	}
	if !d.done() {
		return nil, ErrCorrupt
	}
	return w, nil
}

// Encode gives the bytes to be sealed: 1 version · uv n × (dataset ·
// uv instance · 16 tag · uv n × (uv compartment · uv epoch · source ·
// uv n × (1 field · 32 key))).
func (r *ReadPart) Encode() []byte {
	e := enc{make([]byte, 0, 1024)}
	e.u8(partVersion)
	e.uv(uint64(len(r.Grants)))
	for i := range r.Grants {
		g := &r.Grants[i]
		e.str(g.Dataset)
		e.uv(uint64(g.Instance))
		e.raw(g.Tag[:])
		e.uv(uint64(len(g.Comps)))
		for k := range g.Comps {
			c := &g.Comps[k]
			e.uv(uint64(c.Comp))
			e.uv(uint64(c.Epoch))
			e.str(c.Source)
			e.keys(c.Keys)
		}
	}
	return e.b
}

// DecodeReadPart reads what Encode wrote.
func DecodeReadPart(b []byte) (*ReadPart, error) {
	d := dec{b: b}
	if d.u8() != partVersion {
		return nil, ErrCorrupt
	}
	r := &ReadPart{}
	n := d.count(19)
	r.Grants = make([]ReadGrant, n)
	for i := range r.Grants {
		g := &r.Grants[i]
		g.Dataset = d.str()
		g.Instance = d.uv32()
		g.Tag = d.a16()
		n := d.count(4)
		g.Comps = make([]ReadComp, n)
		for k := range g.Comps {
			c := &g.Comps[k]
			c.Comp = d.uv32()
			c.Epoch = d.uv32()
			c.Source = d.str()
			c.Keys = d.keys()
		}
	}
	if !d.done() {
		return nil, ErrCorrupt
	}
	return r, nil
}

// KeyComp is a compartment as the member's keyring knows it.
type KeyComp struct {
	Comp     uint32
	Dataset  string
	Instance uint32
	Writer   NID // 0: the member
	Epoch    uint32
	Key      seal.Secret // of that epoch
}

// KeyLink is what the member knows of a connection: its number and the rules
// compiled from what was signed.
type KeyLink struct {
	NID     NID
	Version uint32
	Grants  []Grant
}

// Keyring is what an unlocked session holds: every compartment key, the
// instances, and the rules of every connection, so that bundles can be issued
// again. It lies sealed under the daily root.
type Keyring struct {
	Comps     []KeyComp
	Links     []KeyLink
	Instances []InstanceCount
	Audit     seal.Secret // seed of the audit key pair
}

// InstanceCount is how many instances of a dataset the member has made;
// instance 0 always exists.
type InstanceCount struct {
	Dataset string
	N       uint32
}

// Wipe clears the keys.
func (k *Keyring) Wipe() {
	k.Audit.Wipe()
	for i := range k.Comps {
		k.Comps[i].Key.Wipe()
	}
}

// Clone copies the keyring deeply enough to be changed.
func (k *Keyring) Clone() *Keyring {
	n := &Keyring{Audit: k.Audit}
	n.Comps = append([]KeyComp(nil), k.Comps...)
	n.Links = append([]KeyLink(nil), k.Links...)
	n.Instances = append([]InstanceCount(nil), k.Instances...)
	return n
}

// Find returns the compartment of a writer, nil if there is none.
func (k *Keyring) Find(dataset string, instance uint32, writer NID) *KeyComp {
	for i := range k.Comps {
		c := &k.Comps[i]
		if c.Dataset == dataset && c.Instance == instance && c.Writer == writer {
			return c
		}
	}
	return nil
}

// Link returns the rules of a connection, nil if there are none.
func (k *Keyring) Link(n NID) *KeyLink {
	for i := range k.Links {
		if k.Links[i].NID == n {
			return &k.Links[i]
		}
	}
	return nil
}

// HasInstance reports whether the member has made that instance.
func (k *Keyring) HasInstance(dataset string, n uint32) bool {
	if n == 0 {
		return true
	}
	for _, i := range k.Instances {
		if i.Dataset == dataset {
			return n < i.N
		}
	}
	return false
}

func (e *enc) grant(g *Grant) {
	e.str(g.Dataset)
	e.uv(uint64(g.Instance))
	for _, m := range g.Masks {
		e.u64(uint64(m))
	}
	var fl uint8
	if g.Soft {
		fl |= 1
	}
	if g.Notify {
		fl |= 2
	}
	e.u8(fl)
}

func (d *dec) grant() (g Grant) {
	g.Dataset = d.str()
	g.Instance = d.uv32()
	for k := range g.Masks {
		g.Masks[k] = Mask(d.u64())
	}
	fl := d.flags(3)
	g.Soft, g.Notify = fl&1 != 0, fl&2 != 0
	return
}

// Encode gives the bytes to be sealed: 1 version · 32 audit seed ·
// uv n × compartment · uv n × (uv nid · uv version · uv n × grant) ·
// uv n × (dataset · uv instances).
func (k *Keyring) Encode() []byte {
	e := enc{make([]byte, 0, 1024)}
	e.u8(partVersion)
	e.raw(k.Audit.Bytes())
	e.uv(uint64(len(k.Comps)))
	for i := range k.Comps {
		c := &k.Comps[i]
		e.uv(uint64(c.Comp))
		e.str(c.Dataset)
		e.uv(uint64(c.Instance))
		e.uv(uint64(c.Writer))
		e.uv(uint64(c.Epoch))
		e.raw(c.Key.Bytes())
	}
	e.uv(uint64(len(k.Links)))
	for i := range k.Links {
		l := &k.Links[i]
		e.uv(uint64(l.NID))
		e.uv(uint64(l.Version))
		e.uv(uint64(len(l.Grants)))
		for g := range l.Grants {
			e.grant(&l.Grants[g])
		}
	}
	e.uv(uint64(len(k.Instances)))
	for _, i := range k.Instances {
		e.str(i.Dataset)
		e.uv(uint64(i.N))
	}
	return e.b
}

// DecodeKeyring reads what Encode wrote.
func DecodeKeyring(b []byte) (*Keyring, error) {
	d := dec{b: b}
	if d.u8() != partVersion {
		return nil, ErrCorrupt
	}
	k := &Keyring{Audit: seal.NewSecret(d.take(32))}
	n := d.count(37)
	k.Comps = make([]KeyComp, n)
	for i := range k.Comps {
		c := &k.Comps[i]
		c.Comp = d.uv32()
		c.Dataset = d.str()
		c.Instance = d.uv32()
		c.Writer = NID(d.uv32())
		c.Epoch = d.uv32()
		c.Key = seal.NewSecret(d.take(32))
	}
	n = d.count(3)
	k.Links = make([]KeyLink, n)
	for i := range k.Links {
		k.Links[i].NID = NID(d.uv32())
		k.Links[i].Version = d.uv32()
		m := d.count(35)
		k.Links[i].Grants = make([]Grant, m)
		for g := range k.Links[i].Grants {
			k.Links[i].Grants[g] = d.grant()
		}
	}
	n = d.count(2)
	k.Instances = make([]InstanceCount, n)
	for i := range k.Instances {
		k.Instances[i].Dataset = d.str()
		k.Instances[i].N = d.uv32()
	}
	if !d.done() {
		return nil, ErrCorrupt
	}
	return k, nil
}
