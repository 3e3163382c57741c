package storage

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

func (l *Log) openEngine() (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open log: %w", damage(panicked(r)))
		}
	}()
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                 &stopFS{FS: l.cfg.FS, armed: &l.armed, stop: func(err error) { l.fail(err) }},
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
				if l.cfg.Fault.Err() != nil {
					return // what was stopped on an error looks slow
				}
				l.cfg.Log.Warn("log disk is slow", "op", i.OpType.String(), "took", i.Duration)
			},
		},
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	db, err = pebble.Open(filepath.Join(l.cfg.Dir, LogDir), opts)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", damage(err))
	}
	return db, nil
}

// commit writes b and syncs. After an error the engine may still hold b.
func (l *Log) commit(b *pebble.Batch) error {
	return l.call("write log", func() error { return b.Commit(pebble.Sync) })
}

// call runs f, which calls the engine, to its end or to the fault. The engine
// reports a failed commit by its logger's Fatalf, by panicking, or not at all
// (see stopFS); each arrives here as an error. Its locks may stay taken and f
// may never end, so after an error the engine is not called again.
func (l *Log) call(what string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- panicked(r)
			}
		}()
		done <- f()
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	case <-l.cfg.Fault.Failed():
	}
	return l.cfg.Fault.Err()
}

// engineLogger keeps the engine quiet and turns its last words into a fault.
// Fatalf must not return. On the writer's goroutine it unwinds to call; any other
// goroutine is stopped where it stands.
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
