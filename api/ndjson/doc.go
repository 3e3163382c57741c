// Package ndjson reads the bulk body: newline-delimited JSON rows, each one
// flat object, in one pass and without allocating per row.
//
// It accepts exactly the flat objects that encoding/json accepts, less four
// things that would let two readers see two different rows: duplicate names,
// invalid UTF-8, lone surrogates and values that are objects or arrays. It
// keeps the digits of numbers as they were sent.
//
// A Scanner collects the rows of a section as values in row-major order. The
// values are slices of the scanned lines or of the scanner's own memory, so
// whoever owns the lines must keep them until the values were used. Nothing in
// an Error comes from a value.
package ndjson
