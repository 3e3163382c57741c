package storage

import (
	"bytes"
	"errors"
	"testing"

	"holdfast/storage/seal"
)

func TestEntry_BelongsToItsPlace(t *testing.T) {
	e := Entry{Index: 7, Term: 3, Kind: 1, Data: []byte("command")}
	key := entryKey(nil, 5, 7)
	val := make([]byte, entryOverhead+len(e.Data))
	sum := putEntry(val, key, &e, 99)
	got, prev, gotSum, err := parseEntry(key, val)
	if err != nil || prev != 99 || gotSum != sum || got.Index != 7 || got.Term != 3 || got.Kind != 1 || !bytes.Equal(got.Data, e.Data) {
		t.Fatal(got, prev, gotSum, err)
	}
	for _, k := range [][]byte{entryKey(nil, 5, 8), entryKey(nil, 6, 7)} {
		if _, _, _, err := parseEntry(k, val); !errors.Is(err, ErrDamaged) {
			t.Fatal("entry served from another place:", err)
		}
	}
	for i := range val {
		for bit := range 8 {
			val[i] ^= 1 << bit
			if _, _, _, err := parseEntry(key, val); err == nil {
				t.Fatalf("bit %d of byte %d", bit, i)
			}
			val[i] ^= 1 << bit
		}
	}
}

func TestMark_OneTornHalfIsEnough(t *testing.T) {
	id := Identity{1, 2, 3}
	var old, now tails
	old.seq, now.seq = 41, 42
	for g := range old.links {
		old.links[g] = link{Position{10, 2}, 5}
		now.links[g] = link{Position{11, 2}, 6}
	}
	b := make([]byte, markSize)
	putMark(b[:markHalf], id, &now)
	putMark(b[markHalf:], id, &old)
	got, gotID, err := parseMark(b)
	if err != nil || gotID != id || got != now {
		t.Fatal(err)
	}
	b[100] ^= 1
	if got, _, err = parseMark(b); err != nil || got != old {
		t.Fatal("older half:", err)
	}
	b[markHalf+100] ^= 1
	if _, _, err = parseMark(b); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	for _, n := range []int{0, markSize - 1, markSize + 1} {
		if _, _, err := parseMark(make([]byte, n)); !errors.Is(err, ErrDamaged) {
			t.Fatal(n, err)
		}
	}
}

func TestFormat_UnknownVersionIsNamed(t *testing.T) {
	f := Format{Env: seal.Live, ID: Identity{4}, Replica: 1<<16 | 1, Check: [32]byte{9}}
	b := f.Append(nil)
	got, err := ParseFormat(b)
	if err != nil || *got != f {
		t.Fatal(got, err)
	}
	newer := bytes.Clone(b)
	newer[11] = FormatVersion + 1
	if _, err := ParseFormat(append(newer, "more"...)); !errors.Is(err, ErrVersion) {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, b[:11], b[:len(b)-1], append(bytes.Clone(b), 0)} {
		if _, err := ParseFormat(bad); !errors.Is(err, ErrDamaged) {
			t.Fatal(len(bad), err)
		}
	}
}

func TestWholeManifest_CutsOnlyATornEnd(t *testing.T) {
	b := []byte("Bdgr\x00\x00\x00\x08" + "\x00\x00\x00\x02cccc" + "xx" + "\x00\x00\x00\x03cccc" + "yyy")
	for n := range len(b) + 1 {
		want := n
		switch {
		case n > 8 && n < 18:
			want = 8
		case n > 18 && n < 29:
			want = 18
		}
		if got := wholeManifest(b[:n]); got != want {
			t.Fatalf("%d bytes: %d instead of %d", n, got, want)
		}
	}
}

func FuzzMark(f *testing.F) {
	b := make([]byte, markSize)
	putMark(b[:markHalf], Identity{1}, &tails{seq: 3})
	f.Add(b)
	f.Add([]byte("HFTM"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tl, id, err := parseMark(b)
		if err != nil {
			return
		}
		again := make([]byte, markHalf)
		putMark(again, id, &tl)
		if t2, _, ok, _ := parseMarkHalf(again); !ok || t2 != tl {
			t.Fatal("does not survive another round")
		}
	})
}

func FuzzFormat(f *testing.F) {
	g := Format{Env: seal.Sandbox, Replica: 1}
	f.Add(g.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= formatSize-4 {
			b = b[:formatSize-4]
			sum := checksum(b)
			b = append(b[:len(b):len(b)], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		}
		got, err := ParseFormat(b)
		if err == nil && !bytes.Equal(got.Append(nil), b) {
			t.Fatal("two encodings of one format")
		}
	})
}

// FuzzRecords covers the small records of the log and the applied positions.
func FuzzRecords(f *testing.F) {
	f.Add(appendLink(nil, link{Position{1, 2}, 3}))
	f.Add(appendHard(nil, HardState{1, 2, 3}))
	f.Add(appendSeq(nil, 9))
	f.Add(appendApplied(nil, Identity{1}, &Applied{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			sum := checksum(b[:len(b)-4])
			b = append(b[:len(b)-4:len(b)-4], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		}
		if l, err := parseLink(b); err == nil && !bytes.Equal(appendLink(nil, l), b) {
			t.Fatal("link")
		}
		if h, err := parseHard(b); err == nil && !bytes.Equal(appendHard(nil, h), b) {
			t.Fatal("hard state")
		}
		if s, err := parseSeq(b); err == nil && !bytes.Equal(appendSeq(nil, s), b) {
			t.Fatal("turn number")
		}
		if a, id, err := parseApplied(b); err == nil && !bytes.Equal(appendApplied(nil, id, &a), b) {
			t.Fatal("applied")
		}
		key := entryKey(nil, 1, 2)
		if e, prev, sum, err := parseEntry(key, b); err == nil {
			val := make([]byte, entryOverhead+len(e.Data))
			if putEntry(val, key, &e, prev) != sum || !bytes.Equal(val, b) {
				t.Fatal("entry")
			}
		}
	})
}
