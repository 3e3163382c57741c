// Package acceptance shows with real data that a node takes what an
// organisation has and gives back the same: its tests start the program, push
// whole published data sets with `holdfast push` and the shipped maps, and read
// every row back over the published interface.
//
// What they hold the program to:
//
//   - each row of the source is read back, in file order, or stands in the
//     rejects file with its file, line, reason and text. Rows that repeat their
//     predecessor's second are kept.
//   - what is read back has the count and SHA-256, member by member, that a
//     second mapper in these tests finds in the source files. It shares no code
//     with package push.
//   - the same rows come back in one read, in pieces by filters[id], and as XML.
//   - a member exports what a subscriber delivered, and the export verifies.
//   - bad input of every kind is answered with an error that names it, and
//     changes nothing.
//
// The short forms take the first lines of each file. The whole data sets are
// for
//
//	go test ./cmd/internal/acceptance -v -args -full
package acceptance
