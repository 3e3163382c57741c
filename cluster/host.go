// Package cluster hosts the shards of one node: consensus, log and state.
package cluster

import (
	"context"
	"log/slog"
	"time"

	"holdfast/storage"
	"holdfast/storage/seal"
)

// ShardID names a shard: 0..63 hold members' data, Meta the rest.
type ShardID uint8

const (
	// Shards is the number of data shards, fixed for ever.
	Shards = 64
	// Meta is the shard of nodes, organisations, connections and number ranges.
	Meta ShardID = 64
	// MaxCommand is the longest command, bytes.
	MaxCommand = 1<<20 - 64
)

// ShardOf returns the shard of a stored id: the top 6 of the 16 bits in its first two bytes.
func ShardOf(id [16]byte) ShardID { return ShardID(id[0] >> 2) }

// Command is one proposal on its way into the state.
type Command struct {
	Shard ShardID
	Index uint64 // raft index of the entry that carries it
	Term  uint64 // raft term of that entry
	Sub   uint32 // position within the entry
	Data  []byte // immutable; may be handed to Set, not kept longer than the transaction
}

// StateMachine is what committed commands act on.
type StateMachine interface {
	// Apply is a pure function of the state, the command and the format version.
	// Commands of a shard come in order, all from one goroutine. It must not
	// panic whatever Data holds. The result goes to the proposer's done.
	Apply(tx storage.Tx, c Command) (result any)
	// Committed is called when the transaction of a turn is visible to readers
	// and before its results are delivered.
	Committed(shards []ShardID)
	// Reset is called when a shard's state has changed other than by Apply.
	Reset(shard ShardID)
}

// Config says what a Host needs.
type Config struct {
	Dir          string
	Env          seal.Env
	BarrierCheck [32]byte
	SlotKey      seal.Secret
	SM           StateMachine
	ReserveBytes int64
	Now          func() time.Time
	Log          *slog.Logger
}

// Host runs the shards of one node.
type Host struct{}

// Open opens or founds the node in cfg.Dir.
func Open(cfg Config) (*Host, error) { return nil, ErrStopped }

// Propose hands data to shard s.
func (h *Host) Propose(s ShardID, data []byte, done func(result any, err error)) {}

// Term returns the current term of s and whether this node leads it.
func (h *Host) Term(s ShardID) (term uint64, leader bool) { return 0, false }

// View calls f with a consistent snapshot of committed state.
func (h *Host) View(f func(storage.Reader) error) error { return ErrStopped }

// ReadBarrier returns nil when a View begun afterwards sees every command acknowledged before the call.
func (h *Host) ReadBarrier(ctx context.Context, s ShardID) error { return ErrStopped }

// OnRole registers f, called from the loop on each change of role.
func (h *Host) OnRole(f func(s ShardID, leader bool, term uint64)) {}

// Slots returns the node's slot file.
func (h *Host) Slots() *storage.Slots { return nil }

// Failed is closed when the host has stopped because of an error.
func (h *Host) Failed() <-chan struct{} { return nil }

// Err returns why the host failed, or nil.
func (h *Host) Err() error { return nil }

// Status describes the host.
func (h *Host) Status() Status { return Status{} }

// Status is a picture of the host for health pages and metrics.
type Status struct {
	Shards     []ShardStatus `json:"shards"`
	DiskFree   int64         `json:"disk_free"`
	Reserve    int64         `json:"reserve"`
	LogBytes   int64         `json:"log_bytes"`
	StateBytes int64         `json:"state_bytes"`
	Writable   bool          `json:"writable"`
	Failure    string        `json:"failure,omitempty"`
}

// ShardStatus is one shard's part of Status.
type ShardStatus struct {
	Shard    ShardID `json:"shard"`
	Term     uint64  `json:"term"`
	Leader   bool    `json:"leader"`
	Applied  uint64  `json:"applied"`
	First    uint64  `json:"first"`
	Last     uint64  `json:"last"`
	LogBytes int64   `json:"log_bytes"`
}

// Close stops the host.
func (h *Host) Close() error { return nil }

// Compact flushes the state's tables and truncates the log as far as allowed.
func (h *Host) Compact() error { return nil }
