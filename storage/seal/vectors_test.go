package seal

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCipher_Wycheproof(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "aes_gcm_test.json.gz").TestGroups {
		if g.KeySize != 256 || g.IVSize != 96 || g.TagSize != 128 {
			continue // sizes this package cannot express
		}
		for _, v := range g.Tests {
			ran++
			key := NewSecret(v.Key)
			c, nonce := NewCipher(&key), [NonceSize]byte(v.IV)
			sealed := append(bytes.Clone(v.CT), v.Tag...)
			plain, err := c.Open(nil, &nonce, sealed, v.AAD)
			if v.Result != "valid" {
				if err != ErrOpen || plain != nil {
					t.Errorf("%d (%s): opened", v.TcID, v.Comment)
				}
				continue
			}
			if err != nil || !bytes.Equal(plain, v.Msg) {
				t.Errorf("%d (%s): open: %v", v.TcID, v.Comment, err)
			}
			if got := c.Seal(nil, &nonce, v.Msg, v.AAD); !bytes.Equal(got, sealed) {
				t.Errorf("%d (%s): sealed differently", v.TcID, v.Comment)
			}
		}
	}
	if ran < 60 {
		t.Errorf("only %d vectors apply", ran)
	}
}

func TestMac_Wycheproof(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "hmac_sha256_test.json").TestGroups {
		for _, v := range g.Tests {
			if len(v.Key) > SecretSize {
				continue
			}
			ran++
			sum := mac(v.Key, append(make([]byte, 64), v.Msg...))
			if got := bytes.Equal(sum[:g.TagSize/8], v.Tag); got != (v.Result == "valid") {
				t.Errorf("%d (%s): matches %v, vector is %s", v.TcID, v.Comment, got, v.Result)
			}
		}
	}
	if ran < 100 {
		t.Errorf("only %d vectors apply", ran)
	}
}

// The package's own labels stand in every info, so the public vectors drive
// mac in HKDF's shape; TestDerive_IsHKDF ties expand to crypto/hkdf.
func TestMac_WycheproofHKDF(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "hkdf_sha256_test.json").TestGroups {
		for _, v := range g.Tests {
			if v.Result != "valid" || len(v.Salt) > SecretSize {
				continue
			}
			ran++
			prk := mac(v.Salt, append(make([]byte, 64), v.IKM...))
			var okm, prev []byte
			for i := byte(1); len(okm) < v.Size; i++ {
				in := append(make([]byte, 64), prev...)
				in = append(append(in, v.Info...), i)
				sum := mac(prk[:], in)
				prev = sum[:]
				okm = append(okm, prev...)
			}
			if !bytes.Equal(okm[:v.Size], v.OKM) {
				t.Errorf("%d (%s): differs", v.TcID, v.Comment)
			}
		}
	}
	if ran < 60 {
		t.Errorf("only %d vectors apply", ran)
	}
}

func TestVerifier_WycheproofEd25519(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "ed25519_test.json").TestGroups {
		ver := NewVerifier("wycheproof", [32]byte(g.PublicKey.PK))
		for _, v := range g.Tests {
			ran++
			if ok := ver.Verify(v.Msg, v.Sig); ok != (v.Result == "valid") {
				t.Errorf("%d (%s): verified %v, vector is %s", v.TcID, v.Comment, ok, v.Result)
			}
		}
	}
	if ran < 150 {
		t.Errorf("only %d vectors", ran)
	}
}

func TestCanonical_RFC8785(t *testing.T) {
	dir := filepath.Join(shared(t), "json-canonicalization")
	in, err := filepath.Glob(filepath.Join(dir, "input", "*.json"))
	if err != nil || len(in) != 6 {
		t.Fatalf("%d inputs, %v", len(in), err)
	}
	for _, path := range in {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dump, err := os.ReadFile(filepath.Join(dir, "outhex", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(strings.Join(strings.Fields(string(dump)), ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Canonical(text)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, want)
		}
	}
}

// RFC 8785 appendix B: doubles and their one decimal form.
func TestCanonical_Numbers(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0": "0", "1.0": "1", "1e0": "1", "10e-1": "1",
		"5e-324": "5e-324", "1.7976931348623157e308": "1.7976931348623157e+308",
		"9007199254740992": "9007199254740992", "295147905179352830000": "295147905179352830000",
		"1e21": "1e+21", "999999999999999900000": "999999999999999900000",
		"1e-7": "1e-7", "0.000001": "0.000001", "333333333.33333329": "333333333.3333333",
	} {
		got, err := Canonical([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
}
