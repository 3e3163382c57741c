package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden vectors; a change means that stored data no longer opens")

const goldenFile = "vectors.json"

// computed returns every deterministic output of the package for fixed input.
func computed() map[string][]byte {
	out := map[string][]byte{}
	key, other := fixedSecret(0x10), fixedSecret(0x50)
	wide := NewSecret(fixed(0x80, 64))
	put := func(name string, s Secret) { out[name] = bytes.Clone(s.Bytes()) }

	out["info/no parts"] = Info(Live, "unit")
	out["info/parts"] = Info(Sandbox, "block/unit-1", []byte("ab"), nil, fixed(1, 16))
	put("derive/live", Derive(&key, Live, "unit", []byte("f")))
	put("derive/sandbox", Derive(&key, Sandbox, "unit", []byte("f")))
	put("derive/long info", Derive(&key, Live, "unit", fixed(0, 1000)))
	put("derive/64-byte key", Derive(&wide, Live, "unit"))
	put("derive64", Derive64(&key, Live, "unit", []byte("f")))
	put("join", Join(&key, &other))
	put("join/three", Join(&key, &other, &wide))
	id := HMAC16(&key, Live, "store-id", []byte("uid"))
	out["hmac16"] = id[:]
	h := SlotHash(Live, &key)
	out["slot hash"] = h[:]

	mk, _ := ParseMemberKey([]byte("abcdefghijklmnopqrstuvwxyz234567"))
	ck, com := mk.Connection(Live, &key, fixed16(1), fixed16(101))
	put("connection/ck", ck)
	out["connection/commitment"] = com[:]

	_, pub := DeriveKeyPair(&key)
	out["hpke/public"] = pub

	floor, _ := KDFByVersion(KDFFloor, Live)
	sand, _ := KDFByVersion(KDFSandbox, Sandbox)
	put("kdf/1", floor.Stretch([]byte("correct horse"), fixed16(7)))
	put("kdf/128", sand.Stretch([]byte("correct horse"), fixed16(7)))

	b := Barrier{Secret: fixedSecret(0x20), Env: Live}
	out["barrier/text"] = b.Encode()
	put("barrier/pepper", b.Pepper())
	put("barrier/dk", b.DK())
	put("barrier/slots", b.SlotFileKey())
	put("barrier/nodes", b.NodeKeyWrap())
	put("barrier/ca", b.CASeed())
	put("barrier/other", b.Key("token", []byte("x")))
	check := b.Check()
	out["barrier/check"] = check[:]

	st := goldenStatement()
	hash := st.Hash()
	spub := SignKeyPublic(&key)
	out["statement"], out["statement/hash"], out["statement/signature"] = st.Encode(), hash[:], st.Sign(&key)
	out["sign/public"] = spub[:]
	out["sign/verifier key"] = []byte(NewVerifier("holdfast.example/log", spub).String())
	json := Commitment([32]byte(fixed(9, 32)), []byte(`{"a":1}`))
	out["commitment"] = json[:]
	return out
}

func goldenStatement() *Statement {
	key := fixedSecret(0x10)
	return &Statement{
		Format: StatementFormat, Env: Live, Kind: Approve, Store: fixed16(1), Conn: fixed16(101),
		Number: 0x0102030405060708, Previous: [32]byte(fixed(60, 32)), Version: 0x0a0b0c0d,
		NotAfter: 1893456000, Time: 1767225600, KeyID: KeyID(SignKeyPublic(&key)), Commitment: [32]byte(fixed(120, 32)),
	}
}

// sealedOnce returns ciphertexts with random parts; the golden file keeps one
// of each, which every later version must still open to "kept".
func sealedOnce(t *testing.T) map[string][]byte {
	key := fixedSecret(0x10)
	_, pub := DeriveKeyPair(&key)
	toPub, err := SealTo(pub, Info(Live, "golden"), []byte("aad"), []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	b := Barrier{Secret: fixedSecret(0x20), Env: Live}
	kept := NewSecret([]byte("kept"))
	return map[string][]byte{
		"opens/wrap":     Wrap(&key, Info(Live, "golden"), []byte("kept")),
		"opens/box":      SealBox(NewCipher(&key), nil, []byte("kept"), Info(Live, "golden")),
		"opens/hpke":     toPub,
		"opens/node key": b.WrapKey(&kept, "log", []byte("n1")),
		"opens/password": []byte(HashPassword("kept", Live)),
	}
}

func openKept(name string, sealed []byte) (got []byte, err error) {
	key := fixedSecret(0x10)
	switch name {
	case "opens/wrap":
		return Unwrap(&key, Info(Live, "golden"), sealed)
	case "opens/box":
		return OpenBox(NewCipher(&key), nil, sealed, Info(Live, "golden"))
	case "opens/hpke":
		priv, _ := DeriveKeyPair(&key)
		return priv.Open(Info(Live, "golden"), []byte("aad"), sealed)
	case "opens/node key":
		b := Barrier{Secret: fixedSecret(0x20), Env: Live}
		s, err := b.UnwrapKey(sealed, "log", []byte("n1"))
		return s.Bytes(), err
	case "opens/password":
		if VerifyPassword("kept", string(sealed), Live) {
			return []byte("kept"), nil
		}
	}
	return nil, ErrOpen
}

func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", goldenFile)
	want, kept := computed(), sealedOnce(t)
	if *update {
		all := map[string]string{}
		for name, b := range want {
			all[name] = hex.EncodeToString(b)
		}
		var old map[string]unhex
		if text, err := os.ReadFile(path); err == nil {
			_ = json.Unmarshal(text, &old)
		}
		for name, b := range kept {
			if _, err := openKept(name, old[name]); err == nil {
				b = old[name] // the older the better
			}
			all[name] = hex.EncodeToString(b)
		}
		text, err := json.MarshalIndent(all, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]unhex
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file) != len(want)+len(kept) {
		t.Errorf("file has %d vectors, want %d", len(file), len(want)+len(kept))
	}
	for name, w := range want {
		if !bytes.Equal(file[name], w) {
			t.Errorf("%s: now %x, was %x", name, w, file[name])
		}
	}
	for name := range kept {
		got, err := openKept(name, file[name])
		if err != nil || string(got) != "kept" {
			t.Errorf("%s no longer opens: %v", name, err)
		}
	}
	seen := map[string]string{}
	for name, w := range want {
		if prev, ok := seen[string(w)]; ok {
			t.Errorf("%s and %s are the same", name, prev)
		}
		seen[string(w)] = name
	}
}
