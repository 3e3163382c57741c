package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"holdfast/storage/seal"
)

func slotsConfig(dir string, found bool) SlotsConfig {
	key := seal.NewSecret(bytes.Repeat([]byte{7}, 32))
	return SlotsConfig{Dir: dir, Env: seal.Sandbox, ID: Identity{1}, Key: &key, Found: found, Fault: NewFault()}
}

func openSlots(t testing.TB, dir string, found bool) *Slots {
	t.Helper()
	s, err := OpenSlots(slotsConfig(dir, found))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func slotValue(n byte) seal.Secret { return seal.NewSecret(bytes.Repeat([]byte{n}, 32)) }

func wantSlot(t testing.TB, s *Slots, id uint64, n byte) {
	t.Helper()
	v, err := s.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	if w := slotValue(n); !v.Equal(&w) {
		t.Fatalf("slot %d has another value", id)
	}
}

func TestSlots_EraseSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	s := openSlots(t, dir, true)
	for id := uint64(1); id <= 3; id++ {
		v := slotValue(byte(id))
		if err := s.Put(id<<40, &v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Erase(2 << 40); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantSlot(t, s, 1<<40, 1)
		wantSlot(t, s, 3<<40, 3)
		if _, err := s.Get(2 << 40); !errors.Is(err, ErrErased) {
			t.Fatal("erased:", err)
		}
		if _, err := s.Get(77); !errors.Is(err, ErrNoSlot) {
			t.Fatal("unknown:", err)
		}
		if err := s.Erase(2 << 40); err != nil {
			t.Fatal("erasing again:", err)
		}
		if err := s.Erase(77); !errors.Is(err, ErrNoSlot) {
			t.Fatal("erasing unknown:", err)
		}
		v := slotValue(9)
		if err := s.Put(2<<40, &v); !errors.Is(err, ErrSlotExists) {
			t.Fatal("an erased id must not come back:", err)
		}
		s.Close()
		s = openSlots(t, dir, false)
	}
}

func TestSlots_ErasedValueIsInNeitherFile(t *testing.T) {
	dir := t.TempDir()
	s := openSlots(t, dir, true)
	v := slotValue(5)
	if err := s.Put(1, &v); err != nil {
		t.Fatal(err)
	}
	var sealed [2][]byte
	for c, name := range slotNames {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sealed[c] = b[slotHeader+slotNonceAt : slotHeader+slotSealedAt+slotSealed]
		if bytes.Contains(b, v.Bytes()[:16]) {
			t.Fatal("the value is readable on disk")
		}
	}
	if err := s.Erase(1); err != nil {
		t.Fatal(err)
	}
	for c, name := range slotNames {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, sealed[c][:16]) || bytes.Contains(b, sealed[c][16:32]) {
			t.Fatalf("%s still has the sealed value", name)
		}
	}
}

// A crash can leave the copies different: each record is then either old or new,
// or torn, in one of them.
func TestSlots_ACrashBetweenTheCopies(t *testing.T) {
	ciph := seal.NewCipher(slotsConfig("", false).Key)
	var live, erased, free, torn [slotSize]byte
	v := slotValue(4)
	sealSlot(live[:], ciph, seal.Sandbox, Identity{1}, 11, &v)
	eraseSlot(erased[:], 11)
	torn = live
	torn[40] ^= 1
	for _, c := range []struct {
		name string
		a, b [slotSize]byte
		want error
	}{
		{"put reached one copy", live, free, nil},
		{"put reached the other copy", free, live, nil},
		{"erase reached one copy", erased, live, ErrErased},
		{"erase reached the other copy", live, erased, ErrErased},
		{"put torn", torn, free, ErrNoSlot},
		{"rot in one copy", torn, live, nil},
		{"rot in the other copy", live, torn, nil},
		{"erase torn", torn, erased, ErrErased},
		{"rot in both copies", torn, torn, ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			openSlots(t, dir, true).Close()
			for i, rec := range [][slotSize]byte{c.a, c.b} {
				f, err := os.OpenFile(filepath.Join(dir, slotNames[i]), os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				if rec != free {
					if _, err := f.Write(rec[:]); err != nil {
						t.Fatal(err)
					}
				}
				f.Close()
			}
			s, err := OpenSlots(slotsConfig(dir, false))
			if c.want == ErrDamaged {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Get(11); !errors.Is(err, c.want) {
				t.Fatal(err)
			}
			a, _ := os.ReadFile(filepath.Join(dir, slotNames[0]))
			b, _ := os.ReadFile(filepath.Join(dir, slotNames[1]))
			a, b = bytes.TrimRight(a[slotHeader:], "\x00"), bytes.TrimRight(b[slotHeader:], "\x00")
			if !bytes.Equal(a, b) {
				t.Fatal("the copies still differ")
			}
		})
	}
}

func TestSlots_WrongKeyOrEnvironmentIsRefused(t *testing.T) {
	dir := t.TempDir()
	openSlots(t, dir, true).Close()
	cfg := slotsConfig(dir, false)
	other := seal.RandomSecret()
	cfg.Key = &other
	if _, err := OpenSlots(cfg); !errors.Is(err, ErrSlotKey) {
		t.Fatal(err)
	}
	cfg = slotsConfig(dir, false)
	cfg.Env = seal.Live
	if _, err := OpenSlots(cfg); !errors.Is(err, ErrSlotKey) {
		t.Fatal(err)
	}
	cfg = slotsConfig(dir, false)
	cfg.ID = Identity{2}
	if _, err := OpenSlots(cfg); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func TestSlots_ARecordMovedToAnotherIdDoesNotOpen(t *testing.T) {
	ciph := seal.NewCipher(slotsConfig("", false).Key)
	var a, b [slotSize]byte
	va, vb := slotValue(1), slotValue(2)
	sealSlot(a[:], ciph, seal.Sandbox, Identity{1}, 1, &va)
	sealSlot(b[:], ciph, seal.Sandbox, Identity{1}, 2, &vb)
	copy(b[slotNonceAt:slotSealedAt+slotSealed], a[slotNonceAt:])
	if _, err := openSlot(ciph, seal.Sandbox, Identity{1}, b[:]); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func TestSlots_ManyCallersShareSyncs(t *testing.T) {
	dir := t.TempDir()
	s := openSlots(t, dir, true)
	var wg sync.WaitGroup
	for id := uint64(1); id <= 200; id++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			v := slotValue(byte(id))
			if err := s.Put(id, &v); err != nil {
				t.Error(err)
			}
			if id%2 == 0 {
				if err := s.Erase(id); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	if s.Len() != 100 {
		t.Fatalf("%d live", s.Len())
	}
	s.Close()
	s = openSlots(t, dir, false)
	for id := uint64(1); id <= 200; id++ {
		if id%2 == 1 {
			wantSlot(t, s, id, byte(id))
		} else if _, err := s.Get(id); !errors.Is(err, ErrErased) {
			t.Fatal(id, err)
		}
	}
}

func TestSlots_AFailedWriteStopsAll(t *testing.T) {
	s := openSlots(t, t.TempDir(), true)
	s.files[1].Close()
	v := slotValue(1)
	if err := s.Put(1, &v); err == nil {
		t.Fatal("acknowledged")
	}
	if s.fault.Err() == nil {
		t.Fatal("no fault")
	}
	if err := s.Put(2, &v); err == nil {
		t.Fatal("acknowledged after a fault")
	}
	if _, err := s.Get(1); err == nil {
		t.Fatal("a value that was not acknowledged is served")
	}
}

func FuzzSlot(f *testing.F) {
	var rec [slotSize]byte
	f.Add(rec[:])
	eraseSlot(rec[:], 5)
	f.Add(rec[:])
	v := slotValue(4)
	ciph := seal.NewCipher(slotsConfig("", false).Key)
	sealSlot(rec[:], ciph, seal.Sandbox, Identity{1}, 11, &v)
	f.Add(rec[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > slotSize-4 { // give the checksum a chance
			b = b[:slotSize-4]
			sum := checksum(b)
			b = append(b[:len(b):len(b)], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		}
		before := fmt.Sprintf("%x", b)
		id, state, err := parseSlot(b)
		if before != fmt.Sprintf("%x", b) {
			t.Fatal("the record was changed")
		}
		if err != nil {
			return
		}
		switch state {
		case slotErased:
			var again [slotSize]byte
			eraseSlot(again[:], id)
			if !bytes.Equal(again[:], b) {
				t.Fatal("two encodings of one erased slot")
			}
		case slotLive:
			if _, err := openSlot(ciph, seal.Sandbox, Identity{2}, b); err == nil {
				t.Fatal("opened in another file")
			}
		}
	})
}
