package storage

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// The tail mark says how far the log reached when it was last synced. The log's engine
// drops a torn tail without a word; the mark is what notices.
//
// It is written through a shared mapping after each sync and never
// synced itself: after a killed process the kernel has its newest content, after a
// power cut it may be older than the log, which only makes the check weaker.
const (
	markName    = "tail-mark"
	markVersion = 1
	markSize    = 4096
	markHalf    = markSize / 2
	markEntry   = 20
	markHead    = 40
)

var markMagic = [4]byte{'H', 'F', 'T', 'M'}

// tails is the content of a tail mark.
type tails struct {
	seq   uint64
	links [Groups]link
}

// Identity is a random number given to a node's directory when it is founded.
// Each file carries it, so that parts of two directories are not mixed.
type Identity [16]byte

// putMark encodes t into one half.
func putMark(dst []byte, id Identity, t *tails) {
	clear(dst)
	copy(dst, markMagic[:])
	binary.BigEndian.PutUint32(dst[4:], markVersion)
	copy(dst[8:], id[:])
	binary.BigEndian.PutUint64(dst[24:], t.seq)
	binary.BigEndian.PutUint32(dst[32:], Groups)
	for g := range t.links {
		putMarkLink(dst, g, t.links[g])
	}
	sealMark(dst, t.seq)
}

func putMarkLink(dst []byte, group int, l link) {
	at := markHead + group*markEntry
	binary.BigEndian.PutUint64(dst[at:], l.Index)
	binary.BigEndian.PutUint64(dst[at+8:], l.Term)
	binary.BigEndian.PutUint32(dst[at+16:], l.sum)
}

func sealMark(dst []byte, seq uint64) {
	binary.BigEndian.PutUint64(dst[24:], seq)
	binary.BigEndian.PutUint32(dst[markHalf-4:], checksum(dst[:markHalf-4]))
}

// parseMarkHalf reads one half; ok is false when it is torn or damaged.
func parseMarkHalf(b []byte) (t tails, id Identity, ok bool, err error) {
	if len(b) != markHalf || [4]byte(b[:4]) != markMagic ||
		binary.BigEndian.Uint32(b[markHalf-4:]) != checksum(b[:markHalf-4]) {
		return t, id, false, nil
	}
	if v := binary.BigEndian.Uint32(b[4:]); v != markVersion {
		return t, id, false, fmt.Errorf("tail mark version %d: %w", v, ErrVersion)
	}
	if n := binary.BigEndian.Uint32(b[32:]); n != Groups {
		return t, id, false, fmt.Errorf("tail mark of %d groups: %w", n, ErrDamaged)
	}
	id = Identity(b[8:24])
	t.seq = binary.BigEndian.Uint64(b[24:])
	for g := range t.links {
		at := markHead + g*markEntry
		t.links[g].Index = binary.BigEndian.Uint64(b[at:])
		t.links[g].Term = binary.BigEndian.Uint64(b[at+8:])
		t.links[g].sum = binary.BigEndian.Uint32(b[at+16:])
	}
	return t, id, true, nil
}

// parseMark returns the newer readable half of a whole file.
func parseMark(b []byte) (tails, Identity, error) {
	if len(b) != markSize {
		return tails{}, Identity{}, fmt.Errorf("tail mark of %d bytes: %w", len(b), ErrDamaged)
	}
	a, ida, oka, err := parseMarkHalf(b[:markHalf])
	if err != nil {
		return tails{}, Identity{}, err
	}
	c, idc, okc, err := parseMarkHalf(b[markHalf:])
	switch {
	case err != nil:
		return tails{}, Identity{}, err
	case !oka && !okc:
		return tails{}, Identity{}, fmt.Errorf("both halves of the tail mark: %w", ErrDamaged)
	case oka && okc && ida != idc:
		return tails{}, Identity{}, fmt.Errorf("halves of two tail marks: %w", ErrDamaged)
	case !okc || oka && a.seq >= c.seq:
		return a, ida, nil
	}
	return c, idc, nil
}

// mark is the mapped tail mark. Owned by the goroutine that writes the log.
type mark struct {
	mem   []byte
	image [markHalf]byte
}

// createMark writes a new mark and its directory entry to disk.
func createMark(dir string, id Identity, t *tails) error {
	b := make([]byte, markSize)
	putMark(b[:markHalf], id, t)
	copy(b[markHalf:], b[:markHalf])
	return writeFileSync(filepath.Join(dir, markName), b)
}

func openMark(dir string, id Identity) (*mark, tails, error) {
	f, err := os.OpenFile(filepath.Join(dir, markName), os.O_RDWR, 0)
	if err != nil {
		return nil, tails{}, fmt.Errorf("tail mark: %w: %w", ErrDamaged, err)
	}
	defer f.Close()
	b := make([]byte, markSize+1)
	n, _ := f.ReadAt(b, 0)
	t, got, err := parseMark(b[:n])
	if err != nil {
		return nil, tails{}, err
	}
	if got != id {
		return nil, tails{}, fmt.Errorf("tail mark of another directory: %w", ErrDamaged)
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, markSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, tails{}, fmt.Errorf("map tail mark: %w", err)
	}
	return &mark{mem: mem}, t, nil
}

// set replaces the whole content, both halves.
func (m *mark) set(id Identity, t *tails) {
	putMark(m.image[:], id, t)
	copy(m.mem[:markHalf], m.image[:])
	copy(m.mem[markHalf:], m.image[:])
}

// move notes a group's new tail; publish makes it visible.
func (m *mark) move(group int, l link) { putMarkLink(m.image[:], group, l) }

// publish writes the image over the older half.
func (m *mark) publish(seq uint64) {
	sealMark(m.image[:], seq)
	copy(m.mem[int(seq%2)*markHalf:], m.image[:])
}

func (m *mark) close() error {
	if m.mem == nil {
		return nil
	}
	mem := m.mem
	m.mem = nil
	return syscall.Munmap(mem)
}
