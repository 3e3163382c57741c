package pds

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"holdfast/storage/seal"
)

// applyRegistry applies the commands that concern no store: registry values,
// counters, the transparency log and upkeep. A value's version is the raft
// index that wrote it, so it never comes back after a delete.
func (m *Machine) applyRegistry(kv KV, shard uint8, index uint64, typ uint8, b []byte) (*RegistryOutcome, error) {
	d := dec{b: b}
	refuse := func(c Code) (*RegistryOutcome, error) { return &RegistryOutcome{Code: c}, nil }
	switch typ {
	case cmdPut, cmdDelete:
		var kind [4]byte
		copy(kind[:], d.take(4))
		hash := d.a16()
		want := d.u64()
		var val []byte
		if typ == cmdPut {
			val = d.bytes()
		}
		if !d.done() {
			return refuse(CodeMalformed)
		}
		k := RegistryKey(shard, kind, hash)
		old, ok, err := kv.Get(k)
		if err != nil {
			return nil, err
		}
		var have uint64
		if ok && len(old) >= 8 {
			have = binary.BigEndian.Uint64(old)
		}
		if typ == cmdDelete {
			if !ok {
				return refuse(CodeNoSuchRecord)
			}
			if want != 0 && want != have {
				return &RegistryOutcome{Code: CodeNotNewest, Version: have}, nil
			}
			return &RegistryOutcome{}, kv.Delete(k)
		}
		if want != have {
			return &RegistryOutcome{Code: CodeNotNewest, Version: have}, nil
		}
		v := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(val)), index)
		return &RegistryOutcome{Version: index}, kv.Set(k, append(v, val...))
	case cmdCount:
		hash := d.a16()
		if !d.done() {
			return refuse(CodeMalformed)
		}
		k := append([]byte{'c', shard}, hash[:]...)
		old, ok, err := kv.Get(k)
		if err != nil {
			return nil, err
		}
		var n uint64
		if ok && len(old) == 8 {
			n = binary.BigEndian.Uint64(old)
		}
		n++
		return &RegistryOutcome{Version: n}, kv.Set(k, binary.BigEndian.AppendUint64(nil, n))
	case cmdLeaves:
		d.u64()
		n := d.count(56)
		ls := make([]Leaf, n)
		for i := range ls {
			ls[i].Member = d.a16()
			ls[i].Sequence = d.u64()
			ls[i].Leaf = d.a32()
		}
		if !d.done() {
			return refuse(CodeMalformed)
		}
		size, err := appendLeaves(kv, shard, ls)
		return &RegistryOutcome{Version: uint64(size)}, err
	case cmdLogHead:
		v := d.bytes()
		if !d.done() {
			return refuse(CodeMalformed)
		}
		return &RegistryOutcome{}, kv.Set([]byte{'p', shard}, v)
	case cmdPurge:
		before := d.u64()
		if !d.done() {
			return refuse(CodeMalformed)
		}
		var dead [][]byte
		err := kv.Scan([]byte{'i', shard}, nil, false, func(k, v []byte) (bool, error) {
			if len(v) >= 8 && binary.BigEndian.Uint64(v) < before {
				dead = append(dead, append([]byte(nil), k...))
			}
			return len(dead) < 5000, nil
		})
		if err != nil {
			return nil, err
		}
		for _, k := range dead {
			if err := kv.Delete(k); err != nil {
				return nil, err
			}
		}
		return &RegistryOutcome{Version: uint64(len(dead))}, nil
	case cmdSent:
		id := MemberID(d.a16())
		seq := d.u64()
		slot := d.u64()
		if !d.done() {
			return refuse(CodeMalformed)
		}
		k := binary.BigEndian.AppendUint64(memberKey('o', shard, id, 8), seq)
		v, ok, err := kv.Get(k)
		if err != nil {
			return nil, err
		}
		if !ok || len(v) < 8 || binary.BigEndian.Uint64(v) != slot {
			return refuse(CodeNoSuchRecord)
		}
		if err := m.condemn(kv, shard, slot); err != nil {
			return nil, err
		}
		return &RegistryOutcome{}, kv.Delete(k)
	}
	return refuse(CodeMalformed)
}

// logReader serves stored node hashes to tlog.
type logReader struct {
	kv    KVReader
	shard uint8
}

func logKey(shard uint8, i int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'h', shard}, uint64(i))
}

func (r logReader) ReadHashes(idx []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(idx))
	for i, n := range idx {
		v, ok, err := r.kv.Get(logKey(r.shard, n))
		if err != nil {
			return nil, err
		}
		if !ok || len(v) != 32 {
			return nil, ErrCorrupt
		}
		copy(out[i][:], v)
	}
	return out, nil
}

// LogReader gives tlog the stored hashes of the transparency log.
func LogReader(kv KVReader, shard uint8) tlog.HashReader { return logReader{kv, shard} }

// LogSize is the number of leaves.
func LogSize(kv KVReader, shard uint8) (int64, error) {
	v, ok, err := kv.Get([]byte{'n', shard})
	if err != nil || !ok || len(v) != 8 {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// LogHead is the signed checkpoint, nil if none was made yet.
func LogHead(kv KVReader, shard uint8) ([]byte, error) {
	v, _, err := kv.Get([]byte{'p', shard})
	return append([]byte(nil), v...), err
}

// LastLeaf is where a member's head was last logged.
func LastLeaf(kv KVReader, shard uint8, m MemberID) (seq uint64, index int64, ok bool, err error) {
	v, ok, err := kv.Get(memberKey('l', shard, m, 0))
	if err != nil || !ok || len(v) != 16 {
		return 0, 0, false, err
	}
	return binary.BigEndian.Uint64(v), int64(binary.BigEndian.Uint64(v[8:])), true, nil
}

func appendLeaves(kv KV, shard uint8, ls []Leaf) (int64, error) {
	size, err := LogSize(kv, shard)
	if err != nil {
		return 0, err
	}
	for i := range ls {
		hs, err := tlog.StoredHashes(size, ls[i].Leaf[:], logReader{kv, shard})
		if err != nil {
			return 0, err
		}
		at := tlog.StoredHashIndex(0, size)
		for k, h := range hs {
			if err := kv.Set(logKey(shard, at+int64(k)), append([]byte(nil), h[:]...)); err != nil {
				return 0, err
			}
		}
		v := binary.BigEndian.AppendUint64(nil, ls[i].Sequence)
		v = binary.BigEndian.AppendUint64(v, uint64(size))
		if err := kv.Set(memberKey('l', shard, ls[i].Member, 0), v); err != nil {
			return 0, err
		}
		size++
	}
	return size, kv.Set([]byte{'n', shard}, binary.BigEndian.AppendUint64(nil, uint64(size)))
}

// CheckpointText is the signed body of a C2SP tlog-checkpoint: origin, size
// and root hash, a line each.
func CheckpointText(env seal.Env, size int64, root tlog.Hash) []byte {
	return []byte(CheckpointOrigin(env) + "\n" + strconv.FormatInt(size, 10) + "\n" + root.String() + "\n")
}

// CheckpointOrigin names the log of a cluster.
func CheckpointOrigin(env seal.Env) string { return "holdfast/" + env.String() }

// ParseCheckpoint reads size and root out of a checkpoint, signed or not. It
// checks no signature.
func ParseCheckpoint(text []byte) (size int64, root tlog.Hash, err error) {
	lines := strings.SplitN(string(text), "\n", 4)
	if len(lines) != 4 {
		return 0, root, ErrCorrupt
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return 0, root, ErrCorrupt
	}
	if root, err = tlog.ParseHash(lines[2]); err != nil || root.String() != lines[2] {
		return 0, root, ErrCorrupt
	}
	return size, root, nil
}

// Head reads only a member's newest sequence and chain value.
func Head(kv KVReader, shard uint8, id MemberID) (head uint64, chain [32]byte, err error) {
	err = kv.Scan(JournalKey(shard, id, 0), nil, true, func(k, val []byte) (bool, error) {
		if len(k) != 27 || len(val) < 32 {
			return false, ErrCorrupt
		}
		head = binary.BigEndian.Uint64(k[19:])
		copy(chain[:], val[len(val)-32:])
		return false, nil
	})
	return head, chain, err
}
