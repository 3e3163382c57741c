package cluster

import (
	"bytes"
	"testing"
)

func TestFrames_RoundTripAtTheLimits(t *testing.T) {
	for _, sizes := range [][]int{{}, {0}, {0, 0}, {1, 2, 3}, {MaxCommand}, {MaxCommand - 4, 0}} {
		data := []byte{frameVersion}
		for i, n := range sizes {
			data = appendFrame(data, bytes.Repeat([]byte{byte(i)}, n))
		}
		fs, err := parseFrames(data)
		if err != nil {
			t.Fatal(sizes, err)
		}
		for i, n := range sizes {
			cmd, ok := fs.next()
			if !ok || !bytes.Equal(cmd, bytes.Repeat([]byte{byte(i)}, n)) {
				t.Fatal(sizes, i)
			}
		}
		if _, ok := fs.next(); ok {
			t.Fatal(sizes, "too many")
		}
	}
	for _, bad := range [][]byte{nil, {2}, {1, 0}, {1, 0, 0, 0, 1}, append([]byte{1, 0xff, 0xff, 0xff, 0xff}, 0)} {
		if _, err := parseFrames(bad); err == nil {
			t.Fatalf("%x is accepted", bad)
		}
	}
	if _, err := parseFrames(appendFrame([]byte{1}, make([]byte, MaxCommand+1))); err == nil {
		t.Fatal("an entry beyond its limit is accepted")
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{1})
	f.Add(appendFrame(appendFrame([]byte{1}, []byte("a")), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		fs, err := parseFrames(data)
		if err != nil {
			return
		}
		again := []byte{frameVersion}
		for cmd, ok := fs.next(); ok; cmd, ok = fs.next() {
			again = appendFrame(again, cmd)
		}
		if !bytes.Equal(again, data) {
			t.Fatal("two encodings of the same commands")
		}
	})
}
