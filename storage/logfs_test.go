package storage

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failFS fails one kind of operation on WAL files, or on the directory, once
// armed.
type failFS struct {
	vfs.FS
	op    string
	armed *atomic.Bool
}

func (b failFS) err(op string) error {
	if b.armed.Load() && b.op == op {
		return syscall.EIO
	}
	return nil
}

func (b failFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") {
		return b.FS.Create(name, c)
	}
	if err := b.err("create"); err != nil {
		return nil, err
	}
	f, err := b.FS.Create(name, c)
	return failFile{f, b}, err
}

func (b failFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := b.err("create"); err != nil {
		return nil, err
	}
	f, err := b.FS.ReuseForWrite(old, name, c)
	return failFile{f, b}, err
}

func (b failFS) OpenDir(name string) (vfs.File, error) {
	f, err := b.FS.OpenDir(name)
	b.op = strings.Replace(b.op, "dir", "sync", 1)
	if b.op != "sync" {
		return f, err
	}
	return failFile{f, b}, err
}

type failFile struct {
	vfs.File
	b failFS
}

func (f failFile) Write(p []byte) (int, error) {
	if err := f.b.err("write"); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f failFile) Sync() error {
	if err := f.b.err("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f failFile) SyncData() error {
	if err := f.b.err("sync"); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f failFile) Close() error {
	if err := f.b.err("close"); err != nil {
		return err
	}
	return f.File.Close()
}

// Wherever the disk fails while WAL files are written or replaced, the write
// ends with that error, the process goes on, and the log is of no more use.
func TestLog_DiskErrorsWhileTheWALIsReplaced(t *testing.T) {
	for _, op := range []string{"create", "close", "sync", "dir", "write"} {
		t.Run(op, func(t *testing.T) {
			var armed atomic.Bool
			// Not t.TempDir: the engine that is left as it is may still write tables.
			dir, err := os.MkdirTemp("", "holdfast-log-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			cfg := logConfig(dir, true)
			cfg.FS, cfg.Log = failFS{vfs.Default, op, &armed}, slog.New(slog.DiscardHandler)
			l, _, err := OpenLog(cfg)
			if err != nil {
				t.Fatal(err)
			}
			data := bytes.Repeat([]byte{7}, 1<<20)
			index := cfg.Start.Index + 1
			write := func() error {
				err := l.Write(&Write{Appends: []Append{{Group: 3, Entries: []Entry{{Index: index, Term: cfg.Start.Term, Data: data}}}}})
				index++
				return err
			}
			for range 40 { // some files are replaced, so that one can be reused
				if err := write(); err != nil {
					t.Fatal(err)
				}
			}
			armed.Store(true)
			ended := make(chan error, 1)
			go func() {
				for range 80 {
					if err := write(); err != nil {
						ended <- err
						return
					}
				}
				ended <- nil
			}()
			select {
			case err = <-ended:
			case <-time.After(30 * time.Second):
				t.Fatal("the write hangs")
			}
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("write: %v", err)
			}
			if got := cfg.Fault.Err(); !errors.Is(got, syscall.EIO) || errors.Is(got, ErrDamaged) {
				t.Errorf("fault: %v", got)
			}
			armed.Store(false) // the disk comes back; the log does not
			if err := write(); !errors.Is(err, syscall.EIO) {
				t.Errorf("a later write: %v", err)
			}
			if err := l.Flush(); !errors.Is(err, syscall.EIO) {
				t.Errorf("a later flush: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}
