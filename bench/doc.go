// Package bench drives a whole Holdfast server from outside, over its published
// interface, measures what that costs, and checks what it drives.
//
// Each scenario starts a server of its own (`holdfast dev` from the same binary)
// on a temporary directory and speaks HTTP/1.1 to it over loopback with the
// credentials the server wrote for it.
//
//	Ingest    bulk deliveries: records a second, CPU, latency, bytes on disk
//	Readback  every record of every member, compared value by value
//	Month     one member's readings, many readers in flight
//	Idle      a loaded server with its members passivated; reopening it
//	Compare   ingest beside the straw-man pipeline (peerbench/cmd/pipe), runs
//	          alternating, medians and their ratio
//
// # What is counted
//
// Server CPU is user and system time of the server's process tree from the
// first request to the last answer. Work that the server puts off (flushing,
// compaction) is shown apart as settling: the CPU it used from the last answer
// until it was idle. Client CPU is that of this process in the same span.
// Bodies are made before the clock starts, as the straw-man's are. Latency is
// per batch, from handing the request to the kernel until the last byte of the
// answer. Bytes on disk are allocated blocks, after the server was told to
// compact, less what the empty world took.
//
// On a shared machine wall time is disturbed and CPU is the figure to trust.
//
// # What is checked
//
// A row is lost if the server acknowledged it and it cannot be read back with
// every granted value as sent, or if two acknowledged rows have one id. An
// answer is unauthorised if it shows a value that the member did not grant for
// reading, or is a success where the agreement or the keys demand a refusal. A
// scenario that finds either ends with ErrCheck. Every member is checked for
// ids handed out twice; values are compared for a stated number of members, and
// for sections picked while the load runs.
//
// # What is not measured
//
// TLS, networks other than loopback, several nodes. The HTTP client here is a
// minimal one over net.Conn, kept because its CPU competes with the server's for
// the same cores; it supports what this server answers and no more.
package bench
