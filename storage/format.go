package storage

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/storage/seal"
)

// FormatVersion is the version of a node's directory.
//
//	1  2026-11-24  first
//
// Numbers are never reused. A release that raises it still opens the older one.
const FormatVersion = 1

const (
	lockName     = "LOCK"
	formatName   = "FORMAT"
	foundingName = "FOUNDING"
	formatSize   = 8 + 4 + 1 + 3 + 16 + 8 + 32 + 4
)

var formatMagic = [8]byte{'h', 'o', 'l', 'd', 'f', 'a', 's', 't'}

// Refusals to open a directory.
var (
	// ErrVersion: written by a version this program does not know.
	ErrVersion = errors.New("storage: unknown format version")
	// ErrEnv: a sandbox directory opened as live, or the reverse.
	ErrEnv = errors.New("storage: directory belongs to another environment")
	// ErrBarrier: the directory was founded under another barrier key.
	ErrBarrier = errors.New("storage: directory was founded under another barrier key")
	// ErrForeign: the directory holds something else.
	ErrForeign = errors.New("storage: directory is not empty and has no format file")
)

// Format is the content of the format file.
type Format struct {
	Env     seal.Env
	ID      Identity
	Replica uint64 // this node's replica id: node number << 16 | incarnation
	Check   [32]byte
}

// Append encodes f.
func (f *Format) Append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, formatMagic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, FormatVersion)
	dst = append(dst, byte(f.Env), 0, 0, 0)
	dst = append(dst, f.ID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, f.Replica)
	dst = append(dst, f.Check[:]...)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:]))
}

// ParseFormat decodes a format file. The version is read before the rest, so
// that a newer format is named as such.
func ParseFormat(b []byte) (*Format, error) {
	if len(b) < 12 || [8]byte(b[:8]) != formatMagic {
		return nil, fmt.Errorf("format file: %w", ErrDamaged)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != FormatVersion {
		return nil, fmt.Errorf("format file of version %d: %w", v, ErrVersion)
	}
	if len(b) != formatSize || binary.BigEndian.Uint32(b[formatSize-4:]) != checksum(b[:formatSize-4]) {
		return nil, fmt.Errorf("format file: %w", ErrDamaged)
	}
	f := &Format{Env: seal.Env(b[12])}
	if b[13]|b[14]|b[15] != 0 {
		return nil, fmt.Errorf("format file: %w", ErrDamaged)
	}
	copy(f.ID[:], b[16:])
	f.Replica = binary.BigEndian.Uint64(b[32:])
	copy(f.Check[:], b[40:])
	if f.Replica == 0 {
		return nil, fmt.Errorf("format file: %w", ErrDamaged)
	}
	return f, nil
}

// OpenDir reads the format of dir and compares it with what the caller expects.
// An empty directory (or one whose founding was interrupted) is prepared for founding:
// founding is then true and the caller calls Founded once everything else is
// written.
func OpenDir(dir string, env seal.Env, check [32]byte) (f *Format, founding bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, formatName))
	switch {
	case err == nil:
		f, err := ParseFormat(b)
		if err != nil {
			return nil, false, err
		}
		if f.Env != env {
			return nil, false, fmt.Errorf("directory is %s, program runs as %s: %w", envName(f.Env), envName(env), ErrEnv)
		}
		if f.Check != check {
			return nil, false, ErrBarrier
		}
		// Left by a crash at the very end of founding; it must not survive, or a
		// lost format file would look like an unfinished founding.
		if err := os.Remove(filepath.Join(dir, foundingName)); err == nil {
			err = syncDir(dir)
			if err != nil {
				return nil, false, err
			}
		}
		return f, false, nil
	case !os.IsNotExist(err):
		return nil, false, fmt.Errorf("format file: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, false, err
	}
	interrupted := false
	for _, n := range names {
		interrupted = interrupted || n.Name() == foundingName
	}
	for _, n := range names {
		switch n.Name() {
		case lockName, foundingName, "lost+found":
			continue
		}
		if !interrupted {
			return nil, false, fmt.Errorf("%q: %w", n.Name(), ErrForeign)
		}
		// Nothing was acknowledged before the format file existed.
		switch n.Name() {
		case LogDir, StateDir, markName, markName + ".tmp", slotNames[0], slotNames[1], formatName + ".tmp", foundingName + ".tmp":
			if err := os.RemoveAll(filepath.Join(dir, n.Name())); err != nil {
				return nil, false, err
			}
		default:
			return nil, false, fmt.Errorf("%q: %w", n.Name(), ErrForeign)
		}
	}
	if err := writeFileSync(filepath.Join(dir, foundingName), []byte("a node's directory is being founded here\n")); err != nil {
		return nil, false, err
	}
	f = &Format{Env: env, Check: check, Replica: 1<<16 | 1}
	rand.Read(f.ID[:])
	return f, true, nil
}

// Founded writes the format file: from now on the directory is a node's.
func Founded(dir string, f *Format) error {
	if err := writeFileSync(filepath.Join(dir, formatName), f.Append(nil)); err != nil {
		return fmt.Errorf("format file: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, foundingName)); err != nil {
		return err
	}
	return syncDir(dir)
}

func envName(e seal.Env) string {
	switch e {
	case 1:
		return "sandbox"
	case 2:
		return "live"
	}
	return "unknown"
}
