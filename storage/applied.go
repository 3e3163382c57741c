package storage

import (
	"encoding/binary"
	"fmt"
)

// AppliedAt says how far a group's log is in the state: everything up to and
// including entry Index, and the first Sub commands of the entry after it.
type AppliedAt struct {
	Index, Term uint64
	Sub         uint32
}

// Applied is the applied position of every group. It changes in the same
// transaction as the state it describes.
type Applied [Groups]AppliedAt

const (
	appliedVersion = 1
	appliedEntry   = 8 + 8 + 4
	appliedSize    = 1 + 16 + Groups*appliedEntry + 4
)

// appendApplied encodes a with the identity of the node's directory.
func appendApplied(dst []byte, id Identity, a *Applied) []byte {
	at := len(dst)
	dst = append(dst, appliedVersion)
	dst = append(dst, id[:]...)
	for g := range a {
		dst = binary.BigEndian.AppendUint64(dst, a[g].Index)
		dst = binary.BigEndian.AppendUint64(dst, a[g].Term)
		dst = binary.BigEndian.AppendUint32(dst, a[g].Sub)
	}
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:]))
}

func parseApplied(b []byte) (a Applied, id Identity, err error) {
	if err := checkRecord(b, appliedSize, appliedVersion); err != nil {
		return a, id, fmt.Errorf("applied positions: %w", err)
	}
	id = Identity(b[1:17])
	for g := range a {
		at := b[17+g*appliedEntry:]
		a[g].Index = binary.BigEndian.Uint64(at)
		a[g].Term = binary.BigEndian.Uint64(at[8:])
		a[g].Sub = binary.BigEndian.Uint32(at[16:])
	}
	return a, id, nil
}
