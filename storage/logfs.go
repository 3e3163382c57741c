package storage

import (
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// stopFS is the file system of an open log's engine. While one WAL file
// replaces another the engine answers an error by panicking where it has given
// a lock away that it then unlocks, which Go ends the process for. So the
// engine never hears of an error of its WAL: once armed, the error goes to stop
// and whoever met it is stopped where it stands. Until then, that is while the
// engine opens, errors are returned.
type stopFS struct {
	vfs.FS
	armed *atomic.Bool
	stop  func(error)
}

// check returns err, or does not return.
func (s *stopFS) check(op string, err error) error {
	if err == nil || !s.armed.Load() {
		return err
	}
	s.stop(fmt.Errorf("log engine: %s: %w", op, err))
	select {}
}

func isWAL(name string) bool { return filepath.Ext(name) == ".log" }

func (s *stopFS) file(f vfs.File) vfs.File { return &stopFile{File: f, fs: s} }

// Create implements vfs.FS.
func (s *stopFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	if !isWAL(name) {
		return f, err
	}
	if err := s.check("create", err); err != nil {
		return nil, err
	}
	return s.file(f), nil
}

// ReuseForWrite implements vfs.FS.
func (s *stopFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(old, name, c)
	if !isWAL(name) {
		return f, err
	}
	if err := s.check("reuse", err); err != nil {
		return nil, err
	}
	return s.file(f), nil
}

// OpenDir implements vfs.FS. The directory is synced when a WAL file joins it.
func (s *stopFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return s.file(f), nil
}

// Unwrap implements vfs.FS.
func (s *stopFS) Unwrap() vfs.FS { return s.FS }

// stopFile is a WAL file or the directory. Preallocate is not checked: the
// engine goes on without.
type stopFile struct {
	vfs.File
	fs *stopFS
}

func (f *stopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.check("write", err)
}

func (f *stopFile) Stat() (vfs.FileInfo, error) {
	fi, err := f.File.Stat()
	return fi, f.fs.check("stat", err)
}

func (f *stopFile) Sync() error     { return f.fs.check("sync", f.File.Sync()) }
func (f *stopFile) SyncData() error { return f.fs.check("sync", f.File.SyncData()) }
func (f *stopFile) Close() error    { return f.fs.check("close", f.File.Close()) }

func (f *stopFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	return full, f.fs.check("sync", err)
}
