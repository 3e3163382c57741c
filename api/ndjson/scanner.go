package ndjson

// freeCells is how many cells a batch may have beyond one for each byte
// scanned. A cell is far larger than the comma that an absent value costs its
// sender, so without a bound a small body could ask for a lot of memory. Two
// named fields a row pay for all 63 cells of the widest row.
const freeCells = 1 << 16

// Scanner scans the sections of one batch. The zero value is ready; it is
// reusable and belongs to one goroutine.
//
// A section has a slot for each field seen in it, in the order of first
// appearance. A row is expected to name its fields in the order of the slots;
// any other order costs a lookup per name.
type Scanner struct {
	f *Fields

	// The section: row r is vals[base+r*pitch:][:stride]. Cells beyond are stale.
	vals    [][]byte
	base, n int
	stride  int // slots
	pitch   int // cells from row to row; more than stride while late fields come
	high    int // cells of vals used since Reset, to be dropped by it
	nums    []uint8
	numBase int

	cells int // of earlier sections since Reset
	bytes int // scanned since Reset

	// tok[k] is the name expected at place k. For k < stride it is the name of
	// slot k; beyond, it is what an earlier section of the same Fields had.
	tok    [MaxFields]string
	tokIdx [MaxFields]uint8
	ntok   int
	slotOf [MaxFields]uint8 // by index in Fields; slot + 1

	arena []byte // unescaped text; a full one is left to its values
}

// Reset forgets all sections. Everything handed out before is invalid after
// it, and no scanned line is referred to any more.
func (s *Scanner) Reset() {
	clear(s.vals[:min(s.high, len(s.vals))])
	s.base, s.n, s.stride, s.pitch, s.high = 0, 0, 0, 0, 0
	s.nums, s.numBase = s.nums[:0], 0
	s.cells, s.bytes = 0, 0
	s.arena = s.arena[:0]
	s.slotOf = [MaxFields]uint8{}
}

// Begin starts a section of the dataset f. Earlier sections stay valid until
// Reset.
func (s *Scanner) Begin(f *Fields) {
	s.base += s.n * s.pitch
	s.cells += s.n * s.pitch
	s.n, s.stride, s.pitch = 0, 0, 0
	s.numBase = len(s.nums)
	s.slotOf = [MaxFields]uint8{}
	if f != s.f {
		s.f, s.ntok = f, 0
	}
}

// Section returns the section so far: row-major values with stride
// len(fields), nil for absent. It stays valid until Reset, unless rows are
// added to it. fields holds the number of each slot's field.
func (s *Scanner) Section() (fields []uint8, vals [][]byte, n int) {
	if s.pitch > s.stride {
		v := s.vals[s.base:]
		for r := 1; r < s.n; r++ {
			copy(v[r*s.stride:(r+1)*s.stride], v[r*s.pitch:])
		}
		s.pitch = s.stride
	}
	e := s.base + s.n*s.stride
	return s.nums[s.numBase:len(s.nums):len(s.nums)], s.vals[s.base:e:e], s.n
}

// Row scans one line, without its newline, and appends it to the section. If
// it fails, the section has the rows it had, though perhaps more slots.
func (s *Scanner) Row(line []byte) *Error {
	if len(line) > MaxLine {
		return fail(TooLong, nil, MaxLine)
	}
	i := space(line, 0)
	if i >= len(line) {
		return fail(Empty, nil, 0)
	}
	if line[i] != '{' {
		return fail(Malformed, nil, i)
	}
	s.bytes += len(line)
	if !s.room(s.pitch, s.n*s.pitch) {
		return fail(TooLong, nil, 0)
	}
	row := s.vals[s.base+s.n*s.pitch:][:s.stride]
	i++
	var seen uint64
	k := 0 // the place of the next name
	for {
		var slot int
		if k < s.ntok {
			t := s.tok[k]
			if e := i + len(t); e <= len(line) && string(line[i:e]) == t {
				i = e
				slot = k
				if k >= s.stride {
					if slot = s.slot(int(s.tokIdx[k])); slot < 0 {
						return fail(TooLong, nil, i)
					}
					row = s.vals[s.base+s.n*s.pitch:][:s.stride]
				}
				goto value
			}
		}
		{
			i = space(line, i)
			if seen == 0 && i < len(line) && line[i] == '}' {
				i++
				break
			}
			idx, next, err := s.name(line, i)
			if err != nil {
				return err
			}
			i = next
			if slot = s.slot(idx); slot < 0 {
				return fail(TooLong, nil, i)
			}
			row = s.vals[s.base+s.n*s.pitch:][:s.stride]
		}
	value:
		if seen>>slot&1 != 0 {
			return s.fail(DuplicateKey, slot, i)
		}
		seen |= 1 << slot
		k = slot + 1
		if i < len(line) && line[i] <= ' ' {
			i = space(line, i)
		}
		if i >= len(line) {
			return s.fail(Malformed, slot, i)
		}
		switch c := line[i]; {
		case c == '"':
			i++
			e := plain(line, i)
			if e < len(line) && line[e] == '"' {
				row[slot] = line[i:e:e]
				i = e + 1
				break
			}
			v, e, code := s.text(line, i)
			if code != "" {
				return s.fail(code, slot, e)
			}
			row[slot] = v
			i = e + 1
		case c-'0' <= 9 || c == '-':
			e := num(line, i)
			if e < 0 {
				return s.fail(Number, slot, i)
			}
			row[slot] = line[i:e:e]
			i = e
		case c == 't' && i+4 <= len(line) && string(line[i:i+4]) == "true":
			row[slot] = line[i : i+4 : i+4]
			i += 4
		case c == 'f' && i+5 <= len(line) && string(line[i:i+5]) == "false":
			row[slot] = line[i : i+5 : i+5]
			i += 5
		case c == 'n' && i+4 <= len(line) && string(line[i:i+4]) == "null":
			row[slot] = nil
			i += 4
		case c == '{' || c == '[':
			return s.fail(Nested, slot, i)
		default:
			return s.fail(Malformed, slot, i)
		}
		if i < len(line) && line[i] <= ' ' {
			i = space(line, i)
		}
		if i >= len(line) {
			return s.fail(Malformed, slot, i)
		}
		if line[i] == ',' {
			i++
			if i < len(line) && line[i] == ' ' {
				i++
			}
			continue
		}
		if line[i] != '}' {
			return s.fail(Malformed, slot, i)
		}
		i++
		break
	}
	if i < len(line) {
		if i = space(line, i); i < len(line) {
			return fail(Malformed, nil, i)
		}
	}
	if seen != 1<<len(row)-1 {
		for j := range row {
			if seen>>j&1 == 0 {
				row[j] = nil
			}
		}
	}
	s.n++
	return nil
}

func (s *Scanner) fail(code string, slot, at int) *Error {
	return fail(code, []byte(s.f.names[s.tokIdx[slot]]), at)
}

// room makes space for the rows so far and one more at the given pitch, and
// keeps the first keep cells. It refuses to pass the batch's share of memory.
func (s *Scanner) room(pitch, keep int) bool {
	need := (s.n + 1) * pitch
	if s.cells+need > s.bytes+freeCells {
		return false
	}
	if s.base+need > s.high {
		s.high = s.base + need
	}
	if s.high <= len(s.vals) {
		return true
	}
	// Earlier sections keep the old array, which they alone use from now on.
	v := make([][]byte, 1024+2*max(need, len(s.vals)))
	copy(v, s.vals[s.base:s.base+keep])
	s.vals, s.base, s.high = v, 0, need
	return true
}

// slot returns the slot of the field with the given index. If the section has
// none yet, it widens the rows so far, the current one included: at first to
// what is needed, later to twice that, so that a section with fields that come
// late is moved a few times only. It returns -1 if there is no memory for it.
func (s *Scanner) slot(idx int) int {
	if k := s.slotOf[idx]; k != 0 {
		return int(k) - 1
	}
	old := s.stride
	if old == s.pitch {
		n, pitch := s.n+1, old+1 // the current row moves too, stale cells and all
		if s.n > 0 {
			pitch = min(2*old+1, MaxFields)
		}
		if !s.room(pitch, n*old) {
			return -1
		}
		v := s.vals[s.base : s.base+n*pitch]
		for r := n - 1; r > 0; r-- {
			copy(v[r*pitch:r*pitch+old], v[r*old:r*old+old])
		}
		s.pitch = pitch
	}
	for r := range s.n + 1 {
		s.vals[s.base+r*s.pitch+old] = nil
	}
	s.stride++
	s.slotOf[idx] = uint8(s.stride)
	s.nums = append(s.nums, s.f.numbers[idx])
	s.tok[old], s.tokIdx[old] = s.f.tokens[idx], uint8(idx)
	s.ntok = max(s.ntok, s.stride)
	return old
}

// name scans a name in any spelling, and the colon after it.
func (s *Scanner) name(line []byte, i int) (idx, next int, err *Error) {
	if i >= len(line) || line[i] != '"' {
		return 0, i, fail(Malformed, nil, i)
	}
	name, e, code := s.text(line, i+1)
	if code != "" {
		return 0, i, fail(code, nil, e)
	}
	at := i
	i = space(line, e+1)
	if i >= len(line) || line[i] != ':' {
		return 0, i, fail(Malformed, name, i)
	}
	if idx = s.f.find(name); idx < 0 {
		return 0, i, fail(UnknownField, name, at)
	}
	return idx, i + 1, nil
}

// text scans the string that starts at line[i], after its quote, and returns
// its text and the index of the closing quote, or a code and where.
func (s *Scanner) text(line []byte, i int) (v []byte, end int, code string) {
	e, escaped, code := str(line, i)
	if code != "" {
		return nil, e, code
	}
	if !escaped {
		return line[i:e:e], e, ""
	}
	if cap(s.arena)-len(s.arena) < e-i {
		s.arena = make([]byte, 0, max(2*cap(s.arena), 2*(e-i), 4096))
	}
	a := len(s.arena)
	out, at, code := unescape(s.arena, line[i:e])
	if code != "" {
		return nil, i + at, code
	}
	s.arena = out
	return out[a:len(out):len(out)], e, ""
}
