// Package storage keeps the bytes of one node: the consensus log of all shards,
// the state that committed commands have made, and the slots of erasable values. It
// knows groups, indices, keys and values; not members, consent or consensus.
//
// # Promises
//
// When Log.Write returns nil, what it was given is on disk. It is the only sync on the
// path of a command.
//
// The state is not synced. It can be rebuilt: at every open the memory tables of
// its engine are deleted, whatever they hold, and the log is replayed from the position
// recorded in the finished tables, which are an exact prefix of what was applied. The
// log is cut only below State.Floor: what was applied when the oldest memory
// table whose file remains was begun, after a sync of the directory.
//
// When Slots.Put or Slots.Erase returns nil, both copies are on disk. An erased
// value is overwritten where it lay. That is as far as a program reaches: a disk
// that writes elsewhere and a copy made before are outside.
//
// Damage is refused, not served. Opening checks every entry of the log, its chain, its end
// against the tail mark, every block of every table, and that state and log meet;
// what fails is named in an error that wraps ErrDamaged. Files the engine would
// delete at open are set aside until the state has been accepted. Checksums are against
// accidents; values that must resist whoever holds the disk are sealed by the callers,
// and the slots here.
//
// Any error of writing or syncing is final (Fault): nothing is tried again, and
// everything after it fails with the first error. The process should end; the next Open judges.
//
// # A node's directory
//
//	LOCK       locked while a process has the directory
//	FORMAT     what the directory is; written last when it is founded
//	FOUNDING   present until then; founding starts over when it is found alone
//	tail-mark  how far the log reached
//	slots-a    the slot file
//	slots-b    its copy
//	log/       the log, in Pebble
//	state/     the state, in Badger; *.mem, *.vlog, DISCARD and KEYREGISTRY do not count
//	state/aside/  during open: files that are given up once the state is accepted
//
// Integers are big endian. A checksum is CRC32C of all bytes of the record before it
// unless said otherwise. The identity is 16 random bytes given at founding; parts of
// two directories do not open together. Versions are never reused; a reader refuses one it
// does not know.
//
// # FORMAT, 76 bytes
//
//	 0   8 bytes  "holdfast"
//	 8   4 bytes  version (FormatVersion)
//	12   1 byte   environment: 1 sandbox, 2 live
//	13   3 bytes  zero
//	16  16 bytes  identity
//	32   8 bytes  replica id: node number << 16 | incarnation
//	40  32 bytes  check value of the barrier key
//	72   4 bytes  checksum
//
// # tail-mark, two halves of 2048 bytes
//
// Turn n writes half n mod 2, so that one half is whole at any time. The half with
// the greater turn counts.
//
//	   0   4 bytes  "HFTM"
//	   4   4 bytes  version (1)
//	   8  16 bytes  identity
//	  24   8 bytes  turn: the number of Log.Write
//	  32   4 bytes  number of groups (65), then 4 bytes zero
//	  40  65 times  8 bytes last index, 8 bytes its term, 4 bytes its entry's checksum
//	1340            zero
//	2044   4 bytes  checksum
//
// # Keys and values of the log
//
//	'n'               identity 16, checksum 4
//	's'               turn 8, checksum 4
//	'g' group         version 1 (1), index 8, term 8, entry checksum 4, checksum 4:
//	                  the entry before the first one kept
//	'h' group         version 1 (1), term 8, vote 8, commit 8, checksum 4: hard state
//	'e' group index   an entry; group is 1 byte, index 8
//
// An entry:
//
//	 0  1 byte   version (1)
//	 1  1 byte   kind, as the consensus library numbers them
//	 2  8 bytes  term
//	10  4 bytes  checksum of the entry before
//	14  n bytes  data
//	    4 bytes  checksum of key and value before it
//
// # Keys of the state
//
// Keys that begin with a zero byte are this package's; all others are the state
// machine's, 1 to 1024 bytes long and not beginning with "!badger!".
//
//	00 'a'        applied: version 1 (1), identity 16, 65 times (index 8, term 8,
//	              commands of the next entry 4), checksum 4
//	00 'c' group  membership of the group, as the consensus library encodes it
//	00 'f' n      filler of State.Rotate; deleted again
//
// # slots-a and slots-b
//
// A header of 4096 bytes, then records of 128 bytes in the same order in both.
//
//	   0   4 bytes  "HFSL"
//	   4   1 byte   version (1)
//	   5   1 byte   environment
//	   6   1 byte   copy: 0 in slots-a, 1 in slots-b; then 1 byte zero
//	   8  16 bytes  identity
//	  24  12 bytes  nonce
//	  36  20 bytes  "HFSL" sealed under the slot key; AAD Info("slot-file", identity)
//	4092   4 bytes  checksum
//
// A record of zeros is free. Otherwise:
//
//	  0   1 byte   1 live, 2 erased; then 7 bytes zero
//	  8   8 bytes  id
//	 16  12 bytes  nonce, zero when erased
//	 28  48 bytes  value sealed under the slot key, AAD Info("slot", identity, id);
//	               zero when erased
//	 76            zero
//	124   4 bytes  checksum
//
// Copies that differ after a crash: erased wins over live, a whole record over a torn
// one. Both torn is damage.
package storage
