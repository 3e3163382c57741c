// Package faults is the acceptance by faults: its tests drive the real
// program as a child process, hurt it or its files, and compare what it then
// answers with what it had acknowledged.
//
// What they hold the program to:
//
//   - kill -9 at any moment, also while starting: no acknowledged section is
//     missing, none is stored twice after repeating with the same
//     Idempotency-Key, and the first answer comes within 5 s of the restart.
//   - power cut: the same, on a file system that loses everything unsynced.
//   - a flipped bit in any file of a stopped node: every answer is right, or
//     there is none. Refusing to start or to answer, and saying why, is right.
//   - disk full: no crash; reads go on, writes are refused by name and taken
//     again when there is space.
//   - planted marker strings: none in any file or log, in any usual encoding.
//
// Every row carries a text that no other row has, so a row that is lost,
// doubled or put into another store has a name. Each test prints its seed;
// -seed repeats its plan (what is sent, when it is hurt, which bit), though not
// the scheduling of two processes. The counts of rounds are flags, short by
// default:
//
//	go test ./cmd/internal/faults -v -args -rounds.kill 50 -rounds.power 20 -rounds.flip 40
//
// Power cut and disk full need root for a file system of their own, and are
// skipped without it. The package ends only processes that it started.
package faults
