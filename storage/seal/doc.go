// Package seal holds all of Holdfast's cryptography: secrets, derivations,
// envelopes, statements, passphrases and passwords. It imports nothing of
// ours, does no I/O, reads no clock and compiles for the browser; the
// member's half is in package client below it.
//
// It promises that
//
//   - whatever is sealed opens only with its key, in its environment and at
//     its place, and every failure to open is ErrOpen, whatever the cause;
//   - no error, print or log of this package shows key material (one hazard
//     of fmt is described at Secret);
//   - an encoding once written is read by every later version, which the
//     golden vectors in testdata hold it to; numbers are never used twice.
//
// It leaves to its callers who may have which key, that a nonce of Cipher
// never returns under one key, that an unlock nonce is used once, and when a
// secret is wiped. Wiping is best effort: Go may have copied a value while it
// was on a stack, and the standard library's expanded keys cannot be reached.
//
// Panics mark misuse by the program, never input: an empty (wiped) key, a key
// of another length than the program fixed, an unknown environment or a
// malformed purpose given to Info. A caller whose slot may be erased asks
// Secret.Empty first.
//
// # Keys
//
//	P   passphrase, NFC, 8 to 128 code points                           client
//	M = Argon2id(P, salt 16 B, t=3, m=64 MiB, p=1)                      client, KDF.Stretch
//	├ SW = HKDF(M, "sign-wrap")   never leaves the client
//	└ UK = HKDF(M, "unlock")      goes to the server under HPKE (OpenUnlock)
//	KEK = HKDF(Join(UK, pepper, slot)) ─► wraps MRK, 32 random bytes
//	sign wrap  = Wrap(HKDF(MRK, "sign-outer"), Wrap(SW, Ed25519 seed))
//	MRK ─► daily root ─► index key, compartment keys, audit and circle key pairs
//	       compartment key ─► unit keys, one for each field, and "system"
//	MK  member key of one connection, 160 bits, held by the subscriber
//	CK || commitment = HKDF(Join(MK, slot), "connection", store id, connection id)
//	CK ─► HKDF(CK, "hpke") ─► DeriveKeyPair
//	barrier key ─► pepper, directory key, slot file key, node key wrap, CA seed
//
// HKDF is HKDF-SHA256 with extract and expand, an empty salt, and Info as its
// info. Join is HKDF-Extract over several secrets, each with its length. Every
// wrap of the tree has a slot joined in: random bytes kept apart, whose
// erasure makes the wrap useless in every backup and every old file.
//
// # Bytes
//
// Info, also the associated data of everything sealed:
//
//	"holdfast/v1/" purpose     a-z, 0-9, '-', '/'
//	 1 byte   environment      1 sandbox, 2 live (0 in Wrap's own, whose aad part names it)
//	 each part: 4 bytes length, big endian, and the part
//
// The purposes barrier/*, connection, node-key/*, sign-wrap, slot, statement,
// statement-hash, unlock and wrap are taken, here and in package client; others
// are the callers' to choose.
//
// Wrap, for keys under keys that may be guessable; 62 bytes longer than plain:
//
//	 1 byte   format (1)
//	 1 byte   suite (1: HKDF-SHA256, AES-256-GCM)
//	32 bytes  commitment, the second half of HKDF(key, "wrap", format suite, aad); the first is the AES key
//	12 bytes  nonce, random
//	 n bytes  ciphertext and tag
//
// Box, for records under random keys; 30 bytes longer than plain:
//
//	 1 byte   format (1)
//	 1 byte   suite (1)
//	12 bytes  nonce, random
//	 n bytes  ciphertext and tag
//
// SealTo, for the holder of a private key; 1,138 bytes longer than plain:
//
//	1 byte     format (1)
//	1 byte     suite (2: HPKE base mode, MLKEM768X25519, HKDF-SHA256, AES-256-GCM)
//	1,120 bytes  encapsulated key
//	n bytes    ciphertext and tag
//
// Statement, 135 bytes, numbers big endian:
//
//	  0   1  format (1)
//	  1   1  environment
//	  2   1  kind: 1 register, 2 approve, 3 change, 4 lift, 5 revoke, 6 rotate key, 7 close
//	  3  16  store id
//	 19  16  connection id
//	 35   8  number, the member's last and one
//	 43  32  hash of the previous statement
//	 75   4  version of the agreement
//	 79   8  not after, Unix seconds, 0 for none
//	 87   8  time, Unix seconds, as the client states
//	 95   8  key id, SHA-256(public key)[:8]
//	103  32  commitment, SHA-256(salt, 32 bytes || RFC 8785 JSON)
//
// It is signed (Ed25519) as Info(env, "statement", statement) and hashed
// (SHA-256) as Info(env, "statement-hash", statement): neither can pass for
// the other, nor for anything else that a key signs.
//
// Barrier file, one line of text:
//
//	holdfast-barrier-1 <sandbox|live> <base64: key, 32 bytes; checksum, 4 bytes>
//
// Member key: 32 characters of a-z and 2-7. Passwords: PHC strings,
// $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
//
// # Versions
//
//	format 1      2026-11  as above
//	suites 1, 2   2026-11  as above
//	KDF 1, 128    2026-11  as in KDFByVersion
//
// There is no negotiation. A writer uses the newest format and suite; a reader
// knows a closed list, which only shrinks, and refuses the rest.
package seal
