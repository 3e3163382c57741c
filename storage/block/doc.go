// Package block turns the rows of one section into typed columns and frames
// sealed columns as one stored record. It knows bytes, not members, keys or
// consent: sealing happens between AppendColumn and AppendUnit, elsewhere.
package block
