package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

func (l *Log) openEngine() (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open log: %w", damage(fmt.Errorf("%v", r)))
		}
	}()
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                 l.cfg.FS,
		Cache:              cache,
		FormatMajorVersion: LogFormat,
		ErrorIfExists:      l.cfg.Found,
		ErrorIfNotExists:   !l.cfg.Found,
		MemTableSize:       logMemTable,
		// One being filled, one being written. It also bounds how many preallocated
		// WAL files of this size are kept for reuse.
		MemTableStopWritesThreshold: 2,
		// Log entries live for minutes. Truncation drops whole tables, so tables are left
		// alone until far more have gathered than a healthy node ever holds.
		L0CompactionThreshold:     64,
		L0CompactionFileThreshold: 1 << 16,
		L0StopWritesThreshold:     1 << 16,
		LBaseMaxBytes:             4 << 30,
		MaxOpenFiles:              256,
		WALBytesPerSync:           0,
		BytesPerSync:              1 << 20,
		Logger:                    engineLogger{l},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { l.fail(fmt.Errorf("log engine: %w", err)) },
			// Without this the engine would end the process where it stands.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				l.fail(fmt.Errorf("log engine: %w", damage(i.Details)))
			},
			DiskSlow: func(i pebble.DiskSlowInfo) {
				l.cfg.Log.Warn("log disk is slow", "op", i.OpType.String(), "took", i.Duration)
			},
		},
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	db, err = pebble.Open(filepath.Join(l.cfg.Dir, LogDir), opts)
	if err != nil {
		if sys := syscall.Errno(0); errors.As(err, &sys) && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open log: %w", err) // the disk or its rights, not the content
		}
		return nil, fmt.Errorf("open log: %w", damage(err))
	}
	return db, nil
}

func (l *Log) commit(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(error); ok {
				err = fmt.Errorf("write log: %w", e)
			} else {
				err = fmt.Errorf("write log: %v", r)
			}
		}
	}()
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return l.cfg.Fault.Err()
}

type engineLogger struct{ l *Log }

func (g engineLogger) Infof(string, ...any) {}

func (g engineLogger) Errorf(format string, args ...any) {
	g.l.cfg.Log.Warn("log engine", "msg", fmt.Sprintf(format, args...))
}

func (g engineLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("log engine: %s", fmt.Sprintf(format, args...))
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("log engine: %w", cause)
		}
	}
	g.l.fail(err)
	if strings.HasPrefix(format, "pebble: fatal commit error") {
		panic(err)
	}
	select {}
}
