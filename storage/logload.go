package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// load reads and checks everything, or founds an empty log.
func (l *Log) load() (*[Groups]GroupLog, error) {
	var groups [Groups]GroupLog
	if l.cfg.Found {
		for g := range l.trunc {
			l.trunc[g] = link{Position: l.cfg.Start}
			l.last[g] = l.trunc[g]
			groups[g] = GroupLog{Trunc: l.cfg.Start, Last: l.cfg.Start,
				Hard: HardState{Term: l.cfg.Start.Term, Commit: l.cfg.Start.Index}}
		}
		if err := l.found(&groups); err != nil {
			return nil, fmt.Errorf("found log: %w", err)
		}
	} else if err := l.read(&groups); err != nil {
		return nil, err
	}
	m, t, err := openMark(l.cfg.Dir, l.cfg.ID)
	if err != nil {
		return nil, err
	}
	if err := l.compare(&t); err != nil {
		_ = m.close()
		return nil, err
	}
	t = tails{seq: l.seq, links: l.last}
	m.set(l.cfg.ID, &t)
	l.mark = m
	return &groups, nil
}

func (l *Log) found(groups *[Groups]GroupLog) error {
	b := l.db.NewBatch()
	_ = b.Set(keyIdentity, appendIdentity(nil, l.cfg.ID), nil)
	_ = b.Set(keySeq, appendSeq(nil, 0), nil)
	for g := range groups {
		_ = b.Set([]byte{'g', byte(g)}, appendLink(nil, l.trunc[g]), nil)
		_ = b.Set([]byte{'h', byte(g)}, appendHard(nil, groups[g].Hard), nil)
	}
	if err := l.commit(b); err != nil {
		return err
	}
	return createMark(l.cfg.Dir, l.cfg.ID, &tails{links: l.last})
}

func appendIdentity(dst []byte, id Identity) []byte {
	at := len(dst)
	dst = append(dst, id[:]...)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:]))
}

func (l *Log) get(key []byte, f func(val []byte) error) error {
	val, c, err := l.db.Get(key)
	if err != nil {
		return fmt.Errorf("record %q: %w", key, damage(err))
	}
	defer c.Close()
	return f(val)
}

func (l *Log) read(groups *[Groups]GroupLog) error {
	if err := l.get(keyIdentity, func(val []byte) error {
		if !bytes.Equal(val, appendIdentity(nil, l.cfg.ID)) {
			return fmt.Errorf("log of another directory: %w", ErrDamaged)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := l.get(keySeq, func(val []byte) (err error) {
		l.seq, err = parseSeq(val)
		return err
	}); err != nil {
		return err
	}
	for g := range groups {
		if err := l.readGroup(g, &groups[g]); err != nil {
			return fmt.Errorf("log of shard %d: %w", g, err)
		}
	}
	return nil
}

func (l *Log) readGroup(g int, gl *GroupLog) error {
	if err := l.get([]byte{'g', byte(g)}, func(val []byte) (err error) {
		l.trunc[g], err = parseLink(val)
		return err
	}); err != nil {
		return err
	}
	if err := l.get([]byte{'h', byte(g)}, func(val []byte) (err error) {
		gl.Hard, err = parseHard(val)
		return err
	}); err != nil {
		return err
	}
	at := l.trunc[g]
	it, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: entryKey(nil, g, at.Index+1),
		UpperBound: []byte{'e', byte(g + 1)},
	})
	if err != nil {
		return err
	}
	defer it.Close()
	var size int64
	for ok := it.First(); ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("after index %d: %w", at.Index, damage(err))
		}
		e, prev, sum, err := parseEntry(it.Key(), val)
		switch {
		case err != nil:
			return fmt.Errorf("after index %d: %w", at.Index, err)
		case e.Index != at.Index+1:
			return fmt.Errorf("index %d follows %d: %w", e.Index, at.Index, ErrDamaged)
		case prev != at.sum || e.Term < at.Term:
			return fmt.Errorf("index %d does not continue %d: %w", e.Index, at.Index, ErrDamaged)
		}
		at = link{Position{e.Index, e.Term}, sum}
		size += int64(len(val))
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("after index %d: %w", at.Index, damage(err))
	}
	l.last[g] = at
	l.bytes[g].Store(size)
	gl.Trunc, gl.Last = l.trunc[g].Position, at.Position
	return nil
}

// compare checks the log's end against the tail mark.
func (l *Log) compare(t *tails) error {
	var wrong []string
	for g := range t.links {
		want, have := t.links[g], l.last[g]
		bad := false
		switch {
		case t.seq == l.seq:
			bad = want != have
		case have.Index < want.Index:
			// A later turn may have replaced a tail by a shorter one of a newer term.
			bad = t.seq > l.seq || have.Term <= want.Term
		}
		if bad {
			wrong = append(wrong, fmt.Sprintf("shard %d ends at index %d (term %d), the tail mark says %d (term %d)",
				g, have.Index, have.Term, want.Index, want.Term))
		}
	}
	if len(wrong) > 4 {
		wrong = append(wrong[:4], fmt.Sprintf("and %d more shards", len(wrong)-4))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the log has lost entries: %s: %w", strings.Join(wrong, "; "), ErrDamaged)
	}
	if t.seq > l.seq {
		return fmt.Errorf("the log ends at turn %d, the tail mark says %d: %w", l.seq, t.seq, ErrDamaged)
	}
	return nil
}
