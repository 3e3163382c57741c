package faults

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// markers are texts that must not be found, in any usual encoding.
type markers struct {
	at    map[uint32][]pattern // by the first four bytes
	sieve [1 << 16]bool        // of their hashes
	n     int
}

type pattern struct {
	bytes []byte
	what  string
}

func sieveOf(x uint32) uint32 { return x * 2654435761 >> 16 }

func (m *markers) pattern(what string, b []byte) {
	if len(b) < 8 {
		return // would be found by chance
	}
	if m.at == nil {
		m.at = map[uint32][]pattern{}
	}
	x := binary.LittleEndian.Uint32(b)
	for _, p := range m.at[x] {
		if bytes.Equal(p.bytes, b) {
			return
		}
	}
	m.at[x] = append(m.at[x], pattern{bytes.Clone(b), what})
	m.sieve[sieveOf(x)] = true
	m.n++
}

// add plants a text: what it is must not itself tell the text.
func (m *markers) add(what, text string) {
	if len(text) < 7 {
		panic("a marker of " + what + " is too short to mean anything")
	}
	for _, form := range []struct{ name, text string }{{"", text}, {" lower", strings.ToLower(text)}, {" upper", strings.ToUpper(text)}} {
		m.encodings(what+form.name, []byte(form.text))
	}
	// What a secret's text stands for, too.
	tail := text[strings.LastIndexByte(text, '_')+1:]
	if b, err := base64.RawURLEncoding.DecodeString(tail); err == nil && len(b) >= 16 {
		m.encodings(what+" decoded", b)
	}
	if b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(text)); err == nil && len(b) >= 16 {
		m.encodings(what+" decoded", b)
	}
}

func (m *markers) encodings(what string, b []byte) {
	m.pattern(what, b)
	m.pattern(what+" in hex", []byte(hex.EncodeToString(b)))
	m.pattern(what+" in hex", []byte(strings.ToUpper(hex.EncodeToString(b))))
	m.pattern(what+" in URL form", []byte(url.QueryEscape(string(b))))
	m.pattern(what+" in URL form", []byte(url.PathEscape(string(b))))
	if j, err := json.Marshal(string(b)); err == nil {
		m.pattern(what+" in JSON", j[1:len(j)-1])
	}
	m.pattern(what+" in ASCII", bytes.Trim(fmt.Appendf(nil, "%+q", b), `"`))
	var le, be []byte
	for _, u := range utf16.Encode([]rune(string(b))) {
		le, be = binary.LittleEndian.AppendUint16(le, u), binary.BigEndian.AppendUint16(be, u)
	}
	m.pattern(what+" in UTF-16", le)
	m.pattern(what+" in UTF-16", be)
	// Within a longer text, base64 and base32 look different for each place
	// that b may begin at; the characters that its neighbours reach are left out.
	for shift := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			s := e.EncodeToString(append(make([]byte, shift), b...))
			m.pattern(what+" in base64", []byte(s[(shift*8+5)/6:(shift+len(b))*8/6]))
		}
	}
	for shift := range 5 {
		s := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(make([]byte, shift), b...))
		s = s[(shift*8+4)/5 : (shift+len(b))*8/5]
		m.pattern(what+" in base32", []byte(s))
		m.pattern(what+" in base32", []byte(strings.ToLower(s)))
	}
}

// find calls f for each marker found in b.
func (m *markers) find(b []byte, f func(what string, at int)) {
	for i := 0; i+4 <= len(b); i++ {
		x := binary.LittleEndian.Uint32(b[i:])
		if !m.sieve[sieveOf(x)] {
			continue
		}
		for _, p := range m.at[x] {
			if bytes.HasPrefix(b[i:], p.bytes) {
				f(p.what, i)
			}
		}
	}
}

// scan looks through every file, and every file's name, below root.
func (m *markers) scan(t *testing.T, root string) (files int, size int64, hits int) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		report := func(what string, at int) {
			if hits++; hits <= 20 {
				t.Errorf("%s stands in %s at %d", what, rel, at)
			}
		}
		m.find([]byte(rel), report)
		if e.IsDir() {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		files++
		size += int64(len(b))
		m.find(b, report)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, size, hits
}

// The scanner itself must find what it looks for, wherever it begins.
func TestMarkers_ScannerFinds(t *testing.T) {
	const text = "Märker värde 7/8+9 & more"
	var m markers
	m.add("text", text)
	var key [20]byte
	copy(key[:], "abcdefghij0123456789")
	m.add("key", strings.ToLower(base32.StdEncoding.EncodeToString(key[:])))
	j, _ := json.Marshal(text)
	u16 := func(order binary.AppendByteOrder) (b []byte) {
		for _, u := range utf16.Encode([]rune(text)) {
			b = order.AppendUint16(b, u)
		}
		return b
	}
	for before := range 7 {
		pre := strings.Repeat("x", before)
		for name, b := range map[string]string{
			"plain": text, "upper": strings.ToUpper(text), "lower": strings.ToLower(text), "json": string(j), "query": url.QueryEscape(text), "path": url.PathEscape(text),
			"hex": hex.EncodeToString([]byte(text)), "utf-16le": string(u16(binary.LittleEndian)), "utf-16be": string(u16(binary.BigEndian)),
			"base64": base64.StdEncoding.EncodeToString([]byte(pre + text + "yz")), "base64url": base64.URLEncoding.EncodeToString([]byte(pre + text + "yz")),
			"base32": base32.StdEncoding.EncodeToString([]byte(pre + text + "yz")), "go": fmt.Sprintf("%q", text), "decoded": string(key[:]),
		} {
			found := false
			m.find([]byte(pre+b+"zz"), func(string, int) { found = true })
			if !found {
				t.Errorf("not found in %s after %d bytes", name, before)
			}
		}
	}
	m.find([]byte(strings.Repeat("Märker värde 7/8+9 & mor, nothing else. ", 50)), func(what string, at int) { t.Errorf("%s found where it is not, at %d", what, at) })
}
