package actors

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage"
	"holdfast/storage/seal"
)

// Callback is what a subscriber's callback URL is told: an approved
// connection with its Member Key, or, with Update, a changed agreement.
type Callback struct {
	UID          pds.UID
	NID          pds.NID
	Mydexid      string
	Key          seal.MemberKey // empty with Update
	Version      uint32
	Grants       []pds.Grant
	Update       bool
	LinkingToken string
	Created      time.Time
}

// Deliverer sends a callback; an error means try again later.
type Deliverer interface {
	Deliver(ctx context.Context, c *Callback) error
}

// outboxItem is a Callback at rest.
type outboxItem struct {
	UID          pds.UID     `json:"uid"`
	NID          pds.NID     `json:"nid"`
	Mydexid      string      `json:"mydexid"`
	Key          string      `json:"key,omitempty"`
	Version      uint32      `json:"version"`
	Grants       []pds.Grant `json:"grants"`
	Update       bool        `json:"update,omitempty"`
	LinkingToken string      `json:"linking_token,omitempty"`
	Created      int64       `json:"created"`
}

// outbox delivers what commands left to be delivered. An item lies sealed
// under the directory key and a slot of its own; the first 2xx, or 72 hours,
// erase the slot, and with it every copy of the Member Key on any disk.
type outbox struct {
	d      *Directory
	kick   chan struct{}
	quit   chan struct{}
	done   chan struct{}
	cancel context.CancelFunc
	ctx    context.Context

	mu   sync.Mutex
	send Deliverer
	next map[string]retryAt
}

type retryAt struct {
	at    time.Time
	tries int
	busy  bool
}

const (
	outboxKeep     = 72 * time.Hour
	outboxFirst    = time.Second
	outboxMost     = 5 * time.Minute
	outboxParallel = 8
)

func newOutbox(d *Directory) *outbox {
	ctx, cancel := context.WithCancel(context.Background())
	o := &outbox{d: d, kick: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}), next: map[string]retryAt{}, ctx: ctx, cancel: cancel}
	go o.run()
	return o
}

// SetDeliverer starts deliveries; until then items wait.
func (d *Directory) SetDeliverer(s Deliverer) {
	d.outbox.mu.Lock()
	d.outbox.send = s
	d.outbox.mu.Unlock()
	d.outbox.poke()
}

func (o *outbox) poke() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

func (o *outbox) close() {
	o.cancel()
	close(o.quit)
	<-o.done
}

func outboxAAD(env seal.Env, slot uint64) []byte {
	var n [8]byte
	putBE64(n[:], slot)
	return seal.Info(env, "outbox", n[:])
}

// item seals a callback into the operation that causes it.
func (o *outbox) item(m *member, op *pds.Operation, c *Callback) *pds.Error {
	it := outboxItem{UID: c.UID, NID: c.NID, Mydexid: c.Mydexid, Version: c.Version, Grants: c.Grants, Update: c.Update, LinkingToken: c.LinkingToken, Created: m.now}
	if !c.Update {
		it.Key = c.Key.Reveal()
	}
	plain, err := json.Marshal(&it)
	if err != nil {
		return pds.Refuse(pds.Internal, pds.CodeInternal)
	}
	defer clear(plain)
	slot, ref, e := m.newSlot()
	if e != nil {
		return e
	}
	defer slot.Wipe()
	k := seal.Join(&m.d.dk, &slot)
	defer k.Wipe()
	op.OutboxSlot = ref.ID
	op.Outbox = seal.SealBox(seal.NewCipher(&k), nil, plain, outboxAAD(m.d.env, ref.ID))
	return nil
}

func (o *outbox) run() {
	defer close(o.done)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	gate := make(chan struct{}, outboxParallel)
	dirty := true
	for {
		select {
		case <-o.quit:
			return
		case <-o.kick:
			dirty = true
		case <-t.C:
		}
		o.mu.Lock()
		send := o.send
		waiting := len(o.next) > 0
		o.mu.Unlock()
		if send == nil || !dirty && !waiting {
			continue
		}
		due, more := o.due()
		dirty = more
		for _, p := range due {
			select {
			case gate <- struct{}{}:
			case <-o.quit:
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				o.deliver(send, p)
				<-gate
			}()
		}
	}
}

type outboxEntry struct {
	shard  cluster.ShardID
	member pds.MemberID
	seq    uint64
	slot   uint64
	box    []byte
	key    string
}

// due lists the items whose turn it is and marks them as under way; more says
// that not all of them are in the list.
func (o *outbox) due() (out []outboxEntry, more bool) {
	now := o.d.cfg.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := map[string]bool{}
	_ = o.d.view(func(r storage.Reader) error {
		for s := range cluster.Shards {
			err := r.Scan(pds.OutboxPrefix(uint8(s)), nil, false, func(k, v []byte) (bool, error) {
				seen[string(k)] = true
				n, ok := o.next[string(k)]
				if ok && (n.busy || now.Before(n.at)) || len(v) < 8 {
					return true, nil
				}
				if len(out) >= 256 {
					more = true
					return true, nil
				}
				m, seq := pds.OutboxMember(k)
				e := outboxEntry{shard: cluster.ShardID(s), member: m, seq: seq, key: string(k), box: append([]byte(nil), v[8:]...)}
				for _, b := range v[:8] {
					e.slot = e.slot<<8 | uint64(b)
				}
				n.busy = true
				o.next[e.key] = n
				out = append(out, e)
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for k := range o.next {
		if !seen[k] {
			delete(o.next, k)
		}
	}
	return out, more
}

func (o *outbox) deliver(send Deliverer, e outboxEntry) {
	done := o.attempt(send, e)
	if done {
		err := o.d.propose(o.ctx, e.shard, pds.SentCommand(e.member, e.seq, e.slot), nil)
		done = err == nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.next[e.key]
	n.busy = false
	if done {
		delete(o.next, e.key)
		return
	}
	n.tries++
	wait := outboxMost
	if n.tries < 10 {
		wait = min(outboxFirst<<(n.tries-1), outboxMost)
	}
	n.at = o.d.cfg.Now().Add(wait)
	o.next[e.key] = n
}

// attempt opens and sends one item; true means that it need not be kept.
func (o *outbox) attempt(send Deliverer, e outboxEntry) bool {
	slot, err := o.d.cfg.Host.Slots().Get(e.slot)
	if err != nil {
		return errors.Is(err, storage.ErrErased)
	}
	defer slot.Wipe()
	k := seal.Join(&o.d.dk, &slot)
	defer k.Wipe()
	plain, err := seal.OpenBox(seal.NewCipher(&k), nil, e.box, outboxAAD(o.d.env, e.slot))
	if err != nil {
		o.d.cfg.Log.Error("an outbox item could not be opened", "shard", e.shard)
		return false
	}
	defer clear(plain)
	var it outboxItem
	if json.Unmarshal(plain, &it) != nil {
		return false
	}
	created := time.UnixMilli(it.Created)
	if o.d.cfg.Now().Sub(created) > outboxKeep {
		o.d.cfg.Log.Warn("a callback was not accepted within 72 hours; its key is destroyed", "nid", it.NID)
		return true
	}
	c := &Callback{UID: it.UID, NID: it.NID, Mydexid: it.Mydexid, Version: it.Version, Grants: it.Grants, Update: it.Update, LinkingToken: it.LinkingToken, Created: created}
	if !it.Update {
		if c.Key, err = seal.ParseMemberKey([]byte(it.Key)); err != nil {
			return false
		}
		defer c.Key.Wipe()
	}
	ctx, cancel := context.WithTimeout(o.ctx, 15*time.Second)
	defer cancel()
	return send.Deliver(ctx, c) == nil
}

// OutboxWaiting is how many callbacks wait for their receiver.
func (d *Directory) OutboxWaiting() int {
	d.outbox.mu.Lock()
	defer d.outbox.mu.Unlock()
	return len(d.outbox.next)
}
