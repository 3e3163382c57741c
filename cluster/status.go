package cluster

import (
	"holdfast/storage"
)

// Status is a picture of the host for health pages and metrics.
type Status struct {
	Replica    uint64        `json:"replica"`
	Format     int           `json:"format"`
	Shards     []ShardStatus `json:"shards"`
	DiskFree   int64         `json:"disk_free"`
	Reserve    int64         `json:"reserve"`
	Writable   bool          `json:"writable"`
	LogEntries int64         `json:"log_entry_bytes"` // of entries not cut off, about
	LogBytes   int64         `json:"log_bytes"`       // on disk, preallocated files included
	StateBytes int64         `json:"state_bytes"`     // on disk, likewise
	Queued     int64         `json:"queued_bytes"`
	Slots      int           `json:"slots"`
	Failure    string        `json:"failure,omitempty"`
}

// ShardStatus is one shard's part of Status.
type ShardStatus struct {
	Shard    ShardID `json:"shard"`
	Term     uint64  `json:"term"`
	Leader   bool    `json:"leader"`
	Applied  uint64  `json:"applied"`
	First    uint64  `json:"first"` // of the log
	Last     uint64  `json:"last"`
	LogBytes int64   `json:"log_bytes"` // of entries, about
}

// Status describes the host. It walks over the node's files, so it is not for
// every request.
func (h *Host) Status() Status {
	s := Status{
		Replica:    h.format.Replica,
		Format:     storage.FormatVersion,
		DiskFree:   h.diskFree.Load(),
		Reserve:    h.cfg.ReserveBytes,
		LogEntries: h.log.TotalBytes(),
		LogBytes:   h.log.DiskBytes(),
		StateBytes: h.state.DiskBytes(),
		Queued:     h.in.queued.Load(),
		Slots:      h.slots.Len(),
	}
	if free, err := h.cfg.free(); err == nil {
		s.DiskFree = free
	}
	s.Writable = s.DiskFree >= s.Reserve && h.fault.Err() == nil
	if err := h.fault.Err(); err != nil {
		s.Failure = err.Error()
	}
	s.Shards = make([]ShardStatus, storage.Groups)
	for g := range s.Shards {
		term, leader := h.roles.get(ShardID(g))
		s.Shards[g] = ShardStatus{
			Shard: ShardID(g), Term: term, Leader: leader,
			Applied:  h.stats[g].applied.Load(),
			First:    h.stats[g].first.Load(),
			Last:     h.stats[g].last.Load(),
			LogBytes: h.log.Bytes(g),
		}
	}
	return s
}

// Compact finishes the state's tables and drops the part of the log that they
// hold. Commands and Views wait meanwhile.
func (h *Host) Compact() error {
	done := make(chan error, 1)
	flushed := h.apply.do(func() {
		if err := h.state.Flush(); err != nil {
			done <- err
			return
		}
		done <- nil
	})
	if !flushed {
		return stopped(h.fault.Err())
	}
	if err := h.await(done); err != nil {
		return err
	}
	if !h.in.do(func() { done <- nil }) {
		return stopped(h.fault.Err())
	}
	if err := h.await(done); err != nil {
		return err
	}
	// The loop truncated after that task's round; this one comes later.
	if !h.in.do(func() {
		if err := h.fault.Err(); err != nil {
			done <- stopped(err)
			return
		}
		done <- h.log.Flush()
	}) {
		return stopped(h.fault.Err())
	}
	return h.await(done)
}

func (h *Host) await(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-h.fault.Failed():
		return stopped(h.fault.Err())
	}
}
