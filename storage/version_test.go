package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

func TestVersionsOldestReader(t *testing.T) {
	var v versions
	v.reset(7)
	a := v.begin()
	if got := v.wrote(8); a != 7 || got != 7 {
		t.Fatalf("reader at %d, discard %d; want 7, 7", a, got)
	}
	b, c := v.begin(), v.begin()
	v.end(b)
	if got := v.wrote(9); got != 7 {
		t.Fatalf("discard %d while 7 is read", got)
	}
	v.end(a)
	if got := v.wrote(10); got != 8 || c != 8 {
		t.Fatalf("discard %d while 8 is read", got)
	}
	v.end(c)
	if got := v.wrote(11); got != 11 || len(v.readers) != 0 {
		t.Fatalf("discard %d, %d readers; want 11, 0", got, len(v.readers))
	}
}

// A view keeps seeing its version while turns overwrite every key and the
// engine writes and merges tables.
func TestViewOutlivesCompaction(t *testing.T) {
	s := openState(t, t.TempDir(), true)
	defer s.Close()
	const keys = 64
	write := func(round int) {
		var val [32 << 10]byte
		binary.BigEndian.PutUint64(val[:], uint64(round))
		turn := s.NewTurn()
		turn.Begin()
		turn.Command()
		for k := range keys {
			if err := turn.Set(fmt.Appendf(nil, "k%02d", k), bytes.Clone(val[:])); err != nil {
				t.Fatal(err)
			}
		}
		a := *s.Applied()
		a[0].Index++
		if err := turn.Commit(&a); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	seen := errors.New("seen")
	err := s.View(func(r Reader) error {
		for round := 1; round < 150; round++ { // some 300 MB: tables of level zero are merged
			write(round)
		}
		for k := range keys {
			val, ok, err := r.Get(fmt.Appendf(nil, "k%02d", k))
			if err != nil || !ok || binary.BigEndian.Uint64(val) != 0 {
				t.Fatalf("key %d: found %v, error %v; want the value of round 0", k, ok, err)
			}
		}
		return seen
	})
	if err != seen {
		t.Fatal(err)
	}
	if err := s.View(func(r Reader) error {
		val, ok, err := r.Get([]byte("k00"))
		if err != nil || !ok || binary.BigEndian.Uint64(val) != 149 {
			t.Fatalf("found %v, error %v; want the value of the last round", ok, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
