package seal

import (
	"encoding/binary"
	"errors"
)

// Env says which world a key, ciphertext or statement belongs to. It stands
// in every Info, so that nothing made in one world opens in the other.
type Env byte

// The two environments. Zero is neither and is refused everywhere.
const (
	Sandbox Env = 1
	Live    Env = 2
)

// ErrEnv refuses an environment that is neither sandbox nor live.
var ErrEnv = errors.New("seal: unknown environment")

// Valid reports whether e is one of the two environments.
func (e Env) Valid() bool { return e == Sandbox || e == Live }

// String returns "sandbox", "live" or "unknown".
func (e Env) String() string {
	switch e {
	case Sandbox:
		return "sandbox"
	case Live:
		return "live"
	}
	return "unknown"
}

// ParseEnv is the inverse of String; ErrEnv for any other text.
func ParseEnv(s string) (Env, error) {
	switch s {
	case "sandbox":
		return Sandbox, nil
	case "live":
		return Live, nil
	}
	return 0, ErrEnv
}

const infoPrefix = "holdfast/v1/"

// noEnv stands in place of the environment where the caller's own Info,
// carried as a part, already names it (Wrap).
const noEnv Env = 0

// Info is the one encoder of HKDF info and of associated data:
//
//	"holdfast/v1/" purpose | environment, 1 byte | for each part: length, 4 bytes big endian | part
//
// It is injective: purpose is limited to a-z, 0-9, '-' and '/', so the
// environment byte (0, 1 or 2) ends it, and every part carries its length.
//
// It panics on another purpose or environment. Both are constants of the
// program, or were checked where they entered it.
func Info(env Env, purpose string, parts ...[]byte) []byte {
	return AppendInfo(make([]byte, 0, infoSize(purpose, parts)), env, purpose, parts...)
}

// AppendInfo appends Info to dst and allocates only if dst has no room.
func AppendInfo(dst []byte, env Env, purpose string, parts ...[]byte) []byte {
	mustEnv(env)
	return appendInfo(dst, env, purpose, parts)
}

func mustEnv(env Env) {
	if !env.Valid() {
		panic("seal: info without an environment")
	}
}

func infoSize(purpose string, parts [][]byte) int {
	n := len(infoPrefix) + len(purpose) + 1
	for _, p := range parts {
		n += 4 + len(p)
	}
	return n
}

func appendInfo(dst []byte, env Env, purpose string, parts [][]byte) []byte {
	if purpose == "" {
		panic("seal: info without a purpose")
	}
	for i := range len(purpose) {
		c := purpose[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '/' {
			panic("seal: purpose outside a-z, 0-9, '-', '/'")
		}
	}
	dst = append(dst, infoPrefix...)
	dst = append(dst, purpose...)
	dst = append(dst, byte(env))
	for _, p := range parts {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p)))
		dst = append(dst, p...)
	}
	return dst
}
