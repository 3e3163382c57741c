// Package cluster hosts the shards of a node: 64 data shards and the meta shard, each a
// raft group over one shared log, with their state in one store. It knows
// commands as bytes and leaves their meaning to a StateMachine.
//
// # Promises
//
// When a proposal's done is called without an error, its command is on the disks of a
// quorum, it was applied, and every View begun afterwards shows it; it survives any crash.
// ErrUnknown says that it may or may not have been applied, now or later. Every other error says
// that it was not and will not be.
//
// Commands of a shard are applied one by one, in the order of the log, each exactly
// once with respect to the state: state and applied position change in one
// transaction, and a command refused by the store's limits leaves nothing behind.
//
// A node alone needs no set-up: a new directory founds all shards with one replica,
// and each elects itself. An idle node alone does nothing at all, except that it gives
// memory back a few times within minutes of its last command.
//
// An error of log, state or slots stops the host (Failed); it never tries again. Free disk
// space below the reserve is not an error: commands end with ErrDiskReserve before
// they are proposed, reads go on, and writing resumes by itself.
//
// # Goroutines and the path of a command
//
//  1. Propose puts the command into the inbox (bounded by bytes: ErrBusy).
//  2. The loop takes all that waits, makes one entry per shard, and asks the core
//     for a turn: the log writes of all shards. One batch, one sync, then the tail mark.
//  3. The next turn of the core says what is committed; it goes to the applier while
//     the loop is already syncing what came in meanwhile.
//  4. The applier calls Apply for each command and commits one transaction for all
//     shards of the turn with their applied positions in one key (split between commands
//     if the store's limit asks for it), then calls Committed, and only then done.
//
// The core is a step function without goroutines, clocks or I/O; a seeded simulator
// drives it through crashes at every step.
//
// # Entries
//
// frame.go has the bytes: the commands that waited for a shard travel in one entry of
// at most 1 MiB. Command.Sub is the position inside it.
//
// # Several nodes
//
// Peers carries messages out and Receive brings them in; membership is kept in
// the state with the applied position; a leader's appends go out before its own
// sync, everything else after. Snapshots have their place in group.Snapshot and
// StateMachine.Reset. None of this is exercised by a node alone.
package cluster
