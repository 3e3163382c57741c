package actors

import (
	"context"
	"encoding/binary"
	"time"

	"holdfast/actors/pds"
	"holdfast/cluster"
	"holdfast/storage"
)

// Idempotency records are kept for a day (design, section 9) and looked for
// every hour.
const (
	requestsKeep  = 24 * time.Hour
	requestsEvery = time.Hour
)

// forgetRequests removes the idempotency records that are past their day. A
// shard without any gets no command.
func (d *Directory) forgetRequests(ctx context.Context) {
	before := d.cfg.Now().Add(-requestsKeep).UnixMilli()
	for s := range cluster.Shards {
		for ctx.Err() == nil && d.hasOldRequests(uint8(s), before) {
			var out *pds.RegistryOutcome
			if err := d.propose(ctx, cluster.ShardID(s), pds.PurgeCommand(before), &out); err != nil || out.Version == 0 {
				break // the next hour tries again
			}
		}
	}
}

func (d *Directory) hasOldRequests(shard uint8, before int64) (old bool) {
	_ = d.view(func(r storage.Reader) error {
		return r.Scan(pds.IdemPrefix(shard), nil, false, func(_, v []byte) (bool, error) {
			old = len(v) >= 8 && int64(binary.BigEndian.Uint64(v)) < before
			return !old, nil
		})
	})
	return old
}
