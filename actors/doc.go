// Package actors is the way to a member. Each member's personal data store is
// a virtual actor: it is woken by the first message, holds the keys that are
// open in memory, decides one request after another, and is put away when
// nobody has used it for a while.
//
// Directory is the only door. It finds the member's actor, or has its lane
// wake it, and hands it one message per request; a full mailbox answers busy
// at once. Lanes are the parents of the members of some shards: they sweep,
// retire and see that at most one actor of a member lives on a node.
//
// The order of effects in every actor:
//
//  1. decide, on the newest state and with opened bundles;
//  2. append: one command with all that waited, sealed data, sealed audit
//     entry, outbox, is proposed to the member's shard;
//  3. apply: every replica checks it (pds.Machine) and writes it;
//  4. reply, when the host says that it is durable and applied;
//  5. publish, from the outbox that the same command wrote.
//
// No reply before step 3, and no answer without an audit entry: a read is an
// entry too. An actor has one command in flight. When apply refuses it, the
// actor reloads, decides and seals again with fresh nonces.
//
// An activation is fenced by the member's expected sequence and by the raft
// term it was woken under, both checked by apply: two activations may exist
// for a moment, only one can write, and since reads are entries, only one can
// read.
//
// Idempotency is decided by apply: a section that carries a request id is
// refused if the request's record already has it, and only then does the actor
// look the earlier outcome up. The design had the actor look before deciding;
// this way the usual case, a first delivery, costs no read, and the check is
// exact whatever activation asks.
//
// Keys: opened bundles are found by a keyed hash of the Member Key, 10 s after
// last use and 60 s in all; a member's own keys live while a session is
// unlocked, 10 minutes idle and 60 at most. All are wiped at passivation.
//
// What is not here yet: other nodes, delegates, erasing a record for good.
package actors
