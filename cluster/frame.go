package cluster

import (
	"encoding/binary"
	"errors"
)

// A log entry carries the commands that waited for a shard when it was made:
//
//	1 byte   version (1)
//	then per command
//	4 bytes  length n, big endian
//	n bytes  command
//
// An entry without data is the first of a leader's term and carries nothing.

const (
	frameVersion  = 1
	frameOverhead = 4
	// maxEntry is the longest entry: commands, lengths and the version byte.
	maxEntry = 1 << 20
	// MaxCommand is the longest command, bytes.
	MaxCommand = maxEntry - 1 - frameOverhead
)

var errFrame = errors.New("cluster: entry cannot be decoded")

// frames walks over the commands of one entry.
type frames struct{ rest []byte }

// parseFrames checks the whole entry before any of its commands is used.
func parseFrames(data []byte) (frames, error) {
	if len(data) < 1 || len(data) > maxEntry || data[0] != frameVersion {
		return frames{}, errFrame
	}
	rest := data[1:]
	for len(rest) > 0 {
		if len(rest) < frameOverhead {
			return frames{}, errFrame
		}
		n := binary.BigEndian.Uint32(rest)
		if uint64(n) > uint64(len(rest)-frameOverhead) {
			return frames{}, errFrame
		}
		rest = rest[frameOverhead+n:]
	}
	return frames{rest: data[1:]}, nil
}

// next returns the next command, which aliases the entry.
func (f *frames) next() (cmd []byte, ok bool) {
	if len(f.rest) == 0 {
		return nil, false
	}
	n := binary.BigEndian.Uint32(f.rest)
	cmd = f.rest[frameOverhead : frameOverhead+n : frameOverhead+n]
	f.rest = f.rest[frameOverhead+n:]
	return cmd, true
}

// appendFrame adds a command to an entry begun with frameVersion.
func appendFrame(dst, cmd []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(cmd)))
	return append(dst, cmd...)
}
