package seal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// StatementKind says what a member signed. Numbers are never reused.
type StatementKind byte

// The kinds of statement.
const (
	Register  StatementKind = 1
	Approve   StatementKind = 2
	Change    StatementKind = 3
	Lift      StatementKind = 4
	Revoke    StatementKind = 5
	RotateKey StatementKind = 6
	Close     StatementKind = 7
)

// String names the kind for people.
func (k StatementKind) String() string {
	switch k {
	case Register:
		return "register"
	case Approve:
		return "approve"
	case Change:
		return "change"
	case Lift:
		return "lift"
	case Revoke:
		return "revoke"
	case RotateKey:
		return "rotate key"
	case Close:
		return "close"
	}
	return "unknown"
}

// StatementFormat is the format written today.
const StatementFormat = 1

// StatementSize is the length of an encoded statement in bytes.
const StatementSize = 3 + 16 + 16 + 8 + 32 + 4 + 8 + 8 + 8 + 32

// Failures of statements.
var (
	ErrStatement = errors.New("seal: malformed statement")
	ErrSignature = errors.New("seal: signature does not hold")
)

// Statement is what a member signs. Encoded, big endian, StatementSize bytes:
//
//	format 1 | env 1 | kind 1 | store 16 | conn 16 | number 8 | previous 32 |
//	version 4 | not after 8 | time 8 | key id 8 | commitment 32
type Statement struct {
	Format     byte // StatementFormat
	Env        Env
	Kind       StatementKind
	Store      [16]byte
	Conn       [16]byte // zero where no connection is meant
	Number     uint64   // one more than the member's last
	Previous   [32]byte // Hash of that one; zero for the first
	Version    uint32   // of the agreement's template
	NotAfter   int64    // Unix seconds, 0 for none
	Time       int64    // Unix seconds, as the client states
	KeyID      [8]byte  // KeyID of the signing key
	Commitment [32]byte // Commitment to the text and choices
}

func (s *Statement) wellFormed() bool {
	return s.Format == StatementFormat && s.Env.Valid() &&
		s.Kind >= Register && s.Kind <= Close &&
		s.NotAfter >= 0 && s.Time >= 0 // a negative limit could be taken for none
}

// Encode returns the StatementSize bytes.
func (s *Statement) Encode() []byte {
	b := make([]byte, 0, StatementSize)
	b = append(b, s.Format, byte(s.Env), byte(s.Kind))
	b = append(b, s.Store[:]...)
	b = append(b, s.Conn[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Number)
	b = append(b, s.Previous[:]...)
	b = binary.BigEndian.AppendUint32(b, s.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(s.NotAfter))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Time))
	b = append(b, s.KeyID[:]...)
	return append(b, s.Commitment[:]...)
}

// DecodeStatement is the inverse of Encode. Another length, format,
// environment or kind and negative times are ErrStatement.
func DecodeStatement(b []byte) (*Statement, error) {
	if len(b) != StatementSize {
		return nil, ErrStatement
	}
	s := &Statement{Format: b[0], Env: Env(b[1]), Kind: StatementKind(b[2])}
	b = b[3:]
	b = b[copy(s.Store[:], b):]
	b = b[copy(s.Conn[:], b):]
	s.Number, b = binary.BigEndian.Uint64(b), b[8:]
	b = b[copy(s.Previous[:], b):]
	s.Version, b = binary.BigEndian.Uint32(b), b[4:]
	s.NotAfter, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	s.Time, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	b = b[copy(s.KeyID[:], b):]
	copy(s.Commitment[:], b)
	if !s.wellFormed() {
		return nil, ErrStatement
	}
	return s, nil
}

// statementInfo is Info without its panic on an unknown environment: a
// malformed statement is somebody else's input.
func (s *Statement) info(purpose string) []byte {
	return appendInfo(nil, s.Env, purpose, [][]byte{s.Encode()})
}

// Hash is SHA-256 over Info(env, "statement-hash", encoded): what the next
// statement names as its previous one.
func (s *Statement) Hash() [32]byte { return sha256.Sum256(s.info("statement-hash")) }

// Sign returns the Ed25519 signature (RFC 8032), 64 bytes, over
// Info(env, "statement", encoded). The seed has 32 bytes, else it panics.
func (s *Statement) Sign(seed *Secret) []byte {
	k := signKey(seed)
	defer wipe(k)
	return ed25519.Sign(k, s.info("statement"))
}

// Verify returns nil if s is well formed, names pub by its KeyID, and sig is
// pub's signature over it; else ErrStatement or ErrSignature.
func (s *Statement) Verify(pub [32]byte, sig []byte) error {
	if !s.wellFormed() {
		return ErrStatement
	}
	if s.KeyID != KeyID(pub) || CheckSignKey(pub) != nil || len(sig) != ed25519.SignatureSize {
		return ErrSignature
	}
	if !ed25519.Verify(pub[:], s.info("statement"), sig) {
		return ErrSignature
	}
	return nil
}
