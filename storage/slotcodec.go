package storage

import (
	"encoding/binary"
	"fmt"

	"holdfast/storage/seal"
)

const (
	slotHeader  = 4096
	slotSize    = 128 // divides a disk sector, so a record is never torn across two
	slotVersion = 1

	slotFree   = 0
	slotLive   = 1
	slotErased = 2

	slotNonceAt  = 16
	slotSealedAt = 28
	slotSealed   = 32 + 16
)

var slotMagic = [4]byte{'H', 'F', 'S', 'L'}

// appendSlotHeader encodes the first 4096 bytes of copy c. The sealed check
// says whether a key is the right one before anything is read with it.
func appendSlotHeader(dst []byte, ciph *seal.Cipher, env seal.Env, id Identity, c byte) []byte {
	at := len(dst)
	dst = append(dst, slotMagic[:]...)
	dst = append(dst, slotVersion, byte(env), c, 0)
	dst = append(dst, id[:]...)
	nonce := seal.Nonce()
	dst = append(dst, nonce[:]...)
	dst = ciph.Seal(dst, &nonce, slotMagic[:], seal.Info(env, "slot-file", id[:]))
	dst = append(dst, make([]byte, slotHeader-4-(len(dst)-at))...)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:]))
}

func checkSlotHeader(b []byte, ciph *seal.Cipher, env seal.Env, id Identity, c byte) error {
	if len(b) != slotHeader || [4]byte(b[:4]) != slotMagic || binary.BigEndian.Uint32(b[slotHeader-4:]) != checksum(b[:slotHeader-4]) {
		return fmt.Errorf("header: %w", ErrDamaged)
	}
	if b[4] != slotVersion {
		return fmt.Errorf("slot file version %d: %w", b[4], ErrVersion)
	}
	if seal.Env(b[5]) != env {
		return fmt.Errorf("slot file is %s: %w", envName(seal.Env(b[5])), ErrSlotKey)
	}
	if b[6] != c || Identity(b[8:24]) != id {
		return fmt.Errorf("header of another file: %w", ErrDamaged)
	}
	nonce := [12]byte(b[24:36])
	if _, err := ciph.Open(nil, &nonce, b[36:36+4+16], seal.Info(env, "slot-file", id[:])); err != nil {
		return ErrSlotKey
	}
	return nil
}

func slotAAD(env seal.Env, file Identity, id []byte) []byte {
	return seal.Info(env, "slot", file[:], id)
}

// sealSlot encodes a live record.
func sealSlot(rec []byte, ciph *seal.Cipher, env seal.Env, file Identity, id uint64, v *seal.Secret) {
	clear(rec)
	rec[0] = slotLive
	binary.BigEndian.PutUint64(rec[8:], id)
	nonce := seal.Nonce()
	copy(rec[slotNonceAt:], nonce[:])
	ciph.Seal(rec[slotSealedAt:slotSealedAt], &nonce, v.Bytes(), slotAAD(env, file, rec[8:16]))
	binary.BigEndian.PutUint32(rec[slotSize-4:], checksum(rec[:slotSize-4]))
}

// eraseSlot encodes an erased record: id and state, and zeros where the value was.
func eraseSlot(rec []byte, id uint64) {
	clear(rec)
	rec[0] = slotErased
	binary.BigEndian.PutUint64(rec[8:], id)
	binary.BigEndian.PutUint32(rec[slotSize-4:], checksum(rec[:slotSize-4]))
}

func slotHead(rec []byte) (id uint64, state byte) {
	return binary.BigEndian.Uint64(rec[8:]), rec[0]
}

// parseSlot checks a record's form. An all-zero record is free.
func parseSlot(rec []byte) (id uint64, state byte, err error) {
	if len(rec) != slotSize {
		return 0, 0, fmt.Errorf("slot record of %d bytes: %w", len(rec), ErrDamaged)
	}
	zero := true
	for _, b := range rec {
		zero = zero && b == 0
	}
	if zero {
		return 0, slotFree, nil
	}
	if binary.BigEndian.Uint32(rec[slotSize-4:]) != checksum(rec[:slotSize-4]) {
		return 0, 0, fmt.Errorf("slot record: %w", ErrDamaged)
	}
	id, state = slotHead(rec)
	rest := rec[slotNonceAt : slotSize-4]
	if state == slotLive {
		rest = rec[slotSealedAt+slotSealed : slotSize-4]
	} else if state != slotErased {
		return 0, 0, fmt.Errorf("slot state %d: %w", state, ErrDamaged)
	}
	for _, b := range append(rec[1:8:8], rest...) {
		if b != 0 {
			return 0, 0, fmt.Errorf("slot record: %w", ErrDamaged)
		}
	}
	return id, state, nil
}

func openSlot(ciph *seal.Cipher, env seal.Env, file Identity, rec []byte) (seal.Secret, error) {
	nonce := [12]byte(rec[slotNonceAt:slotSealedAt])
	var buf [32]byte
	v, err := ciph.Open(buf[:0], &nonce, rec[slotSealedAt:slotSealedAt+slotSealed], slotAAD(env, file, rec[8:16]))
	if err != nil {
		return seal.Secret{}, fmt.Errorf("slot value does not open: %w", ErrDamaged)
	}
	defer clear(buf[:])
	return seal.NewSecret(v), nil
}

// chooseSlot says what both copies of a record should be. Erased wins over
// live, and a readable copy over a torn one. A torn copy beside a free one is a Put
// that was never acknowledged.
func chooseSlot(a, b []byte) ([]byte, error) {
	ida, sa, ea := parseSlot(a)
	idb, sb, eb := parseSlot(b)
	switch {
	case ea != nil && eb != nil:
		return nil, fmt.Errorf("both copies: %w", ErrDamaged)
	case ea != nil:
		return b, nil
	case eb != nil:
		return a, nil
	case sa != slotFree && sb != slotFree && ida != idb:
		return nil, fmt.Errorf("copies of two slots: %w", ErrDamaged)
	case sa == slotErased:
		return a, nil
	case sb == slotErased:
		return b, nil
	case sa == slotLive:
		return a, nil
	}
	return b, nil
}
