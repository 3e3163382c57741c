package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What the operating system refuses is not called damage: whoever is told that
// files are damaged would restore a backup over good ones.
func TestDamage_IsAboutContent(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errors.New("bad checksum"), true},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, true},
		{&os.SyscallError{Syscall: "mmap", Err: syscall.EINVAL}, true}, // an empty file
		{fmt.Errorf("engine: %w", &os.PathError{Op: "read", Path: "x", Err: syscall.EIO}), false},
		{syscall.EACCES, false},
		{syscall.EMFILE, false},
		{syscall.ENOSPC, false},
		{fmt.Errorf("%w: %w", ErrDamaged, syscall.EIO), true},
	} {
		if got := errors.Is(damage(c.err), ErrDamaged); got != c.want {
			t.Errorf("%v: damaged %v", c.err, got)
		}
		if got := errors.Is(damage(panicked(c.err)), ErrDamaged); got != c.want {
			t.Errorf("panic of %v: damaged %v", c.err, got)
		}
	}
}

func TestOpenBadger_ErrorOfTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lg := &stateLogger{s: s, opening: true}
	manifest := filepath.Join(s.dir, "MANIFEST")
	if err := os.Rename(manifest, manifest+".x"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(manifest, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := openBadger(s.options(lg))
	if err == nil {
		_ = db.Close()
		t.Fatal("opened")
	}
	if errors.Is(err, ErrDamaged) || !errors.Is(err, syscall.EISDIR) {
		t.Errorf("%v", err)
	}
}

// A damaged table is named with what is wrong about it.
func TestCheckTable_SaysWhy(t *testing.T) {
	for name, content := range map[string][]byte{"empty": nil, "short": []byte("abc"), "zeros": make([]byte, 4096), "ones": []byte(strings.Repeat("\xff", 4096))} {
		path := filepath.Join(t.TempDir(), "000007.sst")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		err := checkTable(path)
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: %v", name, err)
		}
		prefix := "table 000007.sst: " + ErrDamaged.Error() + ": "
		if got := err.Error(); !strings.HasPrefix(got, prefix) || len(got) == len(prefix) || strings.Contains(got, "\n") {
			t.Errorf("%s: %q", name, got)
		} else {
			t.Log(got)
		}
	}
}
