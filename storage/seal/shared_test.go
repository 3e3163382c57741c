package seal

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared returns the folder of public test vectors or skips the test.
func shared(t *testing.T) string {
	t.Helper()
	root := os.Getenv("HOLDFAST_SHARED")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			up := filepath.Dir(dir)
			if up == dir {
				t.Skip("shared data absent")
			}
			dir = up
		}
		root = filepath.Join(dir, "..", "shared")
	}
	dir := filepath.Join(root, "data", "crypto-vectors")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared data absent")
	}
	return dir
}

// unhex is a byte string in a vector file.
type unhex []byte

func (u *unhex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var err error
	*u, err = hex.DecodeString(s)
	return err
}

type wycheproof struct {
	NumberOfTests int
	TestGroups    []struct {
		IVSize, KeySize, TagSize int
		PublicKey                struct{ PK unhex }
		Tests                    []struct {
			TcID                      int
			Comment, Result           string
			Key, IV, AAD, Msg, CT     unhex
			Tag, Sig, IKM, Salt, Info unhex
			OKM                       unhex
			Size                      int
		}
	}
}

func readWycheproof(t *testing.T, name string) (w wycheproof) {
	t.Helper()
	f, err := os.Open(filepath.Join(shared(t), "wycheproof", name))
	if err != nil {
		t.Skip("shared data absent")
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.NewDecoder(r).Decode(&w); err != nil {
		t.Fatal(err)
	}
	return w
}
