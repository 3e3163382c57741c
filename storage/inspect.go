package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

const asideDir = "aside"

// aside holds files that the engine is about to delete or shorten, until it is
// known that they are not needed.
type aside struct {
	dir string
}

// inspectState prepares the state's directory for the engine, which opens damaged
// files by dropping what it cannot read:
//
//   - every table that the manifest names must exist and pass its checks;
//   - tables it does not name are unfinished work of a crash, or the sign of a cut
//     manifest: they are set aside;
//   - memory tables, value logs and the key registry hold nothing that counts
//     and are removed.
func inspectState(dir string) (*aside, error) {
	a := &aside{dir: dir}
	if err := a.restore(); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, damage(err)
	}
	var tables []string
	manifest := false
	for _, n := range names {
		name := n.Name()
		switch {
		case strings.HasSuffix(name, ".sst"):
			tables = append(tables, name)
		case name == badger.ManifestFilename:
			manifest = true
		case strings.HasSuffix(name, ".mem"), strings.HasSuffix(name, ".vlog"),
			name == "DISCARD", name == "KEYREGISTRY", name == "REWRITE-KEYREGISTRY", name == "MANIFEST-REWRITE":
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	if !manifest {
		if len(tables) > 0 {
			return nil, fmt.Errorf("the manifest of %d tables is missing: %w", len(tables), ErrDamaged)
		}
		return a, nil
	}
	path := filepath.Join(dir, badger.ManifestFilename)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if whole := wholeManifest(b); whole < len(b) {
		if err := a.keepManifest(b); err != nil {
			return nil, err
		}
		if err := os.Truncate(path, int64(whole)); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
	}
	named, err := readManifest(path)
	if err != nil {
		_ = a.restore()
		return nil, err
	}
	for _, name := range tables {
		id, ok := table.ParseFileID(name)
		if !ok {
			return nil, fmt.Errorf("table name %q: %w", name, ErrDamaged)
		}
		if _, ok := named[id]; !ok {
			if err := a.move(name); err != nil {
				return nil, err
			}
			continue
		}
		delete(named, id)
		if err := checkTable(filepath.Join(dir, name)); err != nil {
			_ = a.restore()
			return nil, err
		}
	}
	for id := range named {
		_ = a.restore()
		return nil, fmt.Errorf("table %06d is missing: %w", id, ErrDamaged)
	}
	return a, nil
}

// wholeManifest returns the length of the manifest without a change that its end
// cuts short, which is what a power cut leaves of the change being
// written. The engine refuses some of these. Layout: 8 bytes of header, then per
// change its length and checksum, 4 bytes each, big endian, and the change.
func wholeManifest(b []byte) int {
	const header, head = 8, 8
	at := header
	for {
		if len(b)-at < head {
			return min(at, len(b))
		}
		n := uint64(binary.BigEndian.Uint32(b[at:]))
		if n > uint64(len(b)-at-head) {
			return at
		}
		at += head + int(n)
	}
}

// readManifest lists the tables named by a manifest.
func readManifest(path string) (named map[uint64]struct{}, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("manifest: %w", damage(panicked(r)))
		}
	}()
	opt := badger.DefaultOptions("").WithLogger(nil)
	m, _, err := badger.ReplayManifestFile(f, opt.ExternalMagicVersion, opt)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", damage(err))
	}
	named = make(map[uint64]struct{}, len(m.Tables))
	for id := range m.Tables {
		named[id] = struct{}{}
	}
	return named, nil
}

// checkTable verifies all checksums of one table. The engine would do so on
// goroutines of its own, where a panic is the end of the process.
func checkTable(path string) (err error) {
	name := filepath.Base(path)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("table %s: %w", name, damage(panicked(r)))
		}
	}()
	mf, err := z.OpenMmapFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("table %s: %w", name, damage(err))
	}
	t, err := table.OpenTable(mf, table.Options{ChkMode: options.OnTableAndBlockRead, BlockSize: 4096})
	if err != nil {
		return fmt.Errorf("table %s: %w", name, damage(err))
	}
	if err := t.Close(-1); err != nil {
		return fmt.Errorf("table %s: %w", name, err)
	}
	return nil
}

func (a *aside) path(name string) string { return filepath.Join(a.dir, asideDir, name) }

func (a *aside) move(name string) error {
	if err := os.MkdirAll(filepath.Join(a.dir, asideDir), 0o700); err != nil {
		return err
	}
	return os.Rename(filepath.Join(a.dir, name), a.path(name))
}

func (a *aside) keepManifest(b []byte) error {
	if err := os.MkdirAll(filepath.Join(a.dir, asideDir), 0o700); err != nil {
		return err
	}
	return os.WriteFile(a.path(badger.ManifestFilename), b, 0o600)
}

// restore puts back what is set aside, also after a crash in between. What
// the engine has made anew in the meantime stays.
func (a *aside) restore() error {
	names, err := os.ReadDir(filepath.Join(a.dir, asideDir))
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	for _, n := range names {
		to := filepath.Join(a.dir, n.Name())
		if n.Name() == badger.ManifestFilename {
			old, err := os.ReadFile(a.path(n.Name()))
			if err != nil {
				return err
			}
			now, err := os.ReadFile(to)
			if err == nil && !bytes.HasPrefix(old, now) {
				continue
			}
		} else if _, err := os.Lstat(to); err == nil {
			continue
		}
		if err := os.Rename(a.path(n.Name()), to); err != nil {
			return err
		}
	}
	return a.discard()
}

// discard gives the files up.
func (a *aside) discard() error { return os.RemoveAll(filepath.Join(a.dir, asideDir)) }
