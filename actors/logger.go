package actors

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// logger keeps the cluster's transparency log: a Merkle tree whose leaves are
// members' chain heads under a salt of their own, so that the log tells
// nobody who acted when. A head is logged within 60 s of a change and at once
// after a consent statement; checkpoints are signed by the log key in the
// form of C2SP tlog-checkpoint.
type logger struct {
	d     *Directory
	quit  chan struct{}
	done  chan struct{}
	kick  chan chan struct{}
	mu    sync.Mutex
	dirty map[pds.MemberID]*handle
}

const logEvery = 60 * time.Second

func newLogger(d *Directory) *logger {
	l := &logger{d: d, quit: make(chan struct{}), done: make(chan struct{}), kick: make(chan chan struct{}, 64), dirty: map[pds.MemberID]*handle{}}
	go l.run()
	return l
}

func (l *logger) close() {
	close(l.quit)
	<-l.done
}

// touch notes that a member's head has moved.
func (l *logger) touch(h *handle) {
	if h.unlogged.Load() || h.unlogged.Swap(true) {
		return
	}
	l.mu.Lock()
	l.dirty[h.id] = h
	l.mu.Unlock()
}

// want asks for a head to be logged whether or not it has moved.
func (l *logger) want(id pds.MemberID) {
	l.mu.Lock()
	if _, ok := l.dirty[id]; !ok {
		l.dirty[id] = nil
	}
	l.mu.Unlock()
}

// consent has the member's head logged now and waits for it, shortly: the
// statement is in force whether or not the log is quick.
func (l *logger) consent(u pds.UID) {
	l.want(l.d.MemberID(u))
	c := make(chan struct{})
	select {
	case l.kick <- c:
	case <-l.quit:
		return
	}
	select {
	case <-c:
	case <-l.quit:
	case <-time.After(5 * time.Second):
	}
}

func (l *logger) run() {
	defer close(l.done)
	t := time.NewTicker(logEvery)
	defer t.Stop()
	first := true
	for {
		var waiting []chan struct{}
		select {
		case <-l.quit:
			l.flush()
			return
		case <-t.C:
			if first {
				l.behind()
				first = false
			}
		case c := <-l.kick:
			waiting = append(waiting, c)
		more:
			for {
				select {
				case c := <-l.kick:
					waiting = append(waiting, c)
				default:
					break more
				}
			}
		}
		l.flush()
		for _, c := range waiting {
			close(c)
		}
	}
}

// behind finds the heads that a stop of the process kept out of the log.
func (l *logger) behind() {
	for s := range cluster.Shards {
		_ = l.d.view(func(r storage.Reader) error {
			return r.Scan(pds.ControlPrefix(uint8(s)), nil, false, func(k, _ []byte) (bool, error) {
				select {
				case <-l.quit:
					return false, nil
				default:
				}
				id := pds.MemberOf(k)
				head, _, err := pds.Head(r, uint8(s), id)
				if err != nil {
					return false, err
				}
				if seq, _, ok, err := pds.LastLeaf(r, uint8(cluster.Meta), id); err != nil {
					return false, err
				} else if !ok || seq != head {
					l.want(id)
				}
				return true, nil
			})
		})
	}
}

// leafSalt is the member's own salt of log leaves.
func (d *Directory) leafSalt(id pds.MemberID) []byte {
	s := seal.Derive(&d.dk, d.env, "leaf-salt", id[:])
	defer s.Wipe()
	return append([]byte(nil), s.Bytes()...)
}

func leafOf(salt []byte, head [32]byte) (out [32]byte) {
	h := hmac.New(sha256.New, salt)
	h.Write(head[:])
	copy(out[:], h.Sum(nil))
	return
}

// flush logs the heads of the members that have moved.
func (l *logger) flush() {
	l.mu.Lock()
	dirty := l.dirty
	l.dirty = map[pds.MemberID]*handle{}
	l.mu.Unlock()
	if len(dirty) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var leaves []pds.Leaf
	send := func() bool {
		if len(leaves) == 0 {
			return true
		}
		err := l.d.propose(ctx, cluster.Meta, pds.LeavesCommand(l.d.cfg.Now().UnixMilli(), leaves), nil)
		leaves = leaves[:0]
		return err == nil
	}
	ok := true
	for id, h := range dirty {
		if h != nil {
			h.unlogged.Store(false) // before the head is read: later moves count anew
		}
		var seq uint64
		var chain [32]byte
		err := l.d.view(func(r storage.Reader) error {
			var err error
			seq, chain, err = pds.Head(r, uint8(cluster.ShardOf(id)), id)
			return err
		})
		if err != nil || seq == 0 {
			continue
		}
		leaves = append(leaves, pds.Leaf{Member: id, Sequence: seq, Leaf: leafOf(l.d.leafSalt(id), chain)})
		if len(leaves) >= 2000 {
			ok = send() && ok
		}
	}
	if ok = send() && ok; !ok {
		l.mu.Lock()
		for id, h := range dirty {
			l.dirty[id] = h
		}
		l.mu.Unlock()
		return
	}
	l.sign(ctx)
}

// sign makes the checkpoint of the present tree.
func (l *logger) sign(ctx context.Context) {
	if l.d.cfg.SignLog == nil {
		return
	}
	var text []byte
	err := l.d.view(func(r storage.Reader) error {
		n, err := pds.LogSize(r, uint8(cluster.Meta))
		if err != nil {
			return err
		}
		h, err := tlog.TreeHash(n, pds.LogReader(r, uint8(cluster.Meta)))
		if err != nil {
			return err
		}
		text = pds.CheckpointText(l.d.env, n, h)
		return nil
	})
	if err != nil {
		l.d.cfg.Log.Error("the transparency log could not be read", "error", err)
		return
	}
	signed, err := l.d.cfg.SignLog(text)
	if err != nil {
		l.d.cfg.Log.Error("the transparency log could not be signed", "error", err)
		return
	}
	_ = l.d.propose(ctx, cluster.Meta, pds.LogHeadCommand(signed), nil)
}

// Proof places the member's last logged head in the signed log.
func (d *Directory) Proof(ctx context.Context, s Session) (*LogProof, error) {
	id := d.MemberID(s.UID)
	p := &LogProof{LeafSalt: d.leafSalt(id), LogKey: d.cfg.LogKey}
	err := d.view(func(r storage.Reader) error {
		meta := uint8(cluster.Meta)
		seq, index, ok, err := pds.LastLeaf(r, meta, id)
		if err != nil || !ok {
			return err
		}
		cp, err := pds.LogHead(r, meta)
		if err != nil || len(cp) == 0 {
			return err
		}
		size, _, err := pds.ParseCheckpoint(cp)
		if err != nil || index >= size {
			return err
		}
		rp, err := tlog.ProveRecord(size, index, pds.LogReader(r, meta))
		if err != nil {
			return err
		}
		j, ok, err := r.Get(pds.JournalKey(uint8(cluster.ShardOf(id)), id, seq))
		if err != nil || !ok || len(j) < 32 {
			return err
		}
		p.Sequence, p.Index, p.Size, p.Checkpoint = seq, index, size, string(cp)
		p.Head = append([]byte(nil), j[len(j)-32:]...)
		for _, h := range rp {
			p.Hashes = append(p.Hashes, append([]byte(nil), h[:]...))
		}
		return nil
	})
	if err != nil {
		return nil, d.unavailable("a proof could not be made", err)
	}
	return p, nil
}
