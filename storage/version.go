package storage

import "sync"

// versions hands out the numbers that the state's engine keeps its keys under: a turn
// writes under the next one, a reader reads at the newest that is complete. The
// engine could do this itself, but by messages to goroutines of its own, which
// cost more than the writing. It is told below which version nobody reads any more.
type versions struct {
	mu      sync.Mutex
	current uint64    // complete and visible
	readers []readers // by ascending version; those at the front have some
}

type readers struct {
	version uint64
	count   int
}

func (v *versions) reset(current uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.readers = current, v.readers[:0]
}

// begin registers a reader and returns its version, to be given to end.
func (v *versions) begin() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.readers); n > 0 && v.readers[n-1].version == v.current {
		v.readers[n-1].count++
	} else {
		v.readers = append(v.readers, readers{v.current, 1})
	}
	return v.current
}

func (v *versions) end(version uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.readers {
		if v.readers[i].version == version {
			v.readers[i].count--
			break
		}
	}
	gone := 0
	for gone < len(v.readers) && v.readers[gone].count == 0 {
		gone++
	}
	v.readers = append(v.readers[:0], v.readers[gone:]...)
}

// wrote makes version the current one, and returns the greatest below which nobody
// reads or will.
func (v *versions) wrote(version uint64) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = version
	if len(v.readers) > 0 {
		return v.readers[0].version
	}
	return version
}
