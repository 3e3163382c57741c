// Package block turns the rows of one section into typed columns, and frames
// sealed columns as one stored record. It knows bytes, not members, keys or
// consent: sealing happens between AppendColumn and AppendUnit, elsewhere.
//
// A column gives back every value exactly as it was, absent and empty ones
// apart. Decoders refuse with ErrCorrupt whatever no encoder wrote to its end,
// never panic, and hold no more than MaxColumn bytes of values.
//
// # Record
//
//	 1 byte   version (1)
//	 1 byte   suite (1: AES-256-GCM)
//	 1 byte   environment (1 sandbox, 2 live)
//	 1 byte   kind (Kind)
//	 1 byte   number of units, at most 64
//	12 bytes  nonce
//	 uvarint  compartment, 32 bits
//	 uvarint  epoch, 32 bits
//	 uvarint  id of the first row
//	 uvarint  rows, at most 2^20
//	  varint  highest id allotted, less that of the last row: 0 in a new block
//	then each unit
//	 1 byte   field, 0 to 63, each once; 0 is the system unit
//	 uvarint  length, at most 16 MiB
//	 n bytes  sealed
//
// uvarint and varint are those of encoding/binary, varint being zigzag. An
// encoding longer than needed is refused. Nothing follows the last unit.
//
// # System unit
//
//	1 byte   bit 0 deleted, 1 updated follows, 2 version follows, 3 origin
//	         follows, 4 to 7 origin if below 16
//	 varint  created
//	 varint  updated less created, not 0    if bit 1; else equal to created
//	uvarint  version, 32 bits, not 1        if bit 2; else 1
//	1 byte   origin, above 15               if bit 3
//
// # Column
//
// The number of values n comes from outside: rows in the record's header.
//
//	1 byte   bits 0 to 3 kind; 4 shared start and end; 5 the rest is an S2
//	         block; 6 presence; 7 zero
//	n/8      presence, lowest bit first, 1 is present    if bit 6
//	uvarint, bytes; uvarint, bytes: what all values      if bit 4, in kinds
//	         start and end with                          2, 4, 6, 7
//
// and then, for the m values that are present and not the other text, by kind:
//
//	0 none      nothing: no value is present
//	1 constant  the value, to the end
//	2 decimal   chunks, before each 1 byte least | most<<4 of digits after the
//	            point, at most 15; integers are values times 10^most, written
//	            with most such digits less the zeros at the end beyond least
//	3 time      1 byte date | precision<<3 | zone<<6; 1 byte space | hour<<1;
//	            6 bytes ±hh:mm if zone is 2; chunks of smallest units since
//	            1970-01-01 without zone
//	            date 0 Y-M-D, 1 D/M/Y, 2 M/D/Y, 3 and 4 the same without zeros
//	            precision 0 day, 1 minute, 2 second, 3 ms, 4 µs
//	            zone 0 none, 1 Z, 2 as given; space 1, or T; hour 0 two
//	            digits, 1 no zeros, 2 and 3 no zeros or two, with AM or PM
//	4 hex       1 byte: 1 upper case | 2 UUID; 1 byte size unless UUID; bytes
//	5 dict      1 byte entries - 1; each entry uvarint, bytes; indices of the
//	            bits that entries - 1 has
//	6 raw       chunks of lengths; bytes
//	7 digits    1 byte width, 1 to 18; chunks of numbers of that many digits
//
// A chunk is up to 128 integers, all chunks but a column's last being full:
//
//	 1 byte   form<<6 | w
//	form 0    varint least; m numbers of w bits: value - least
//	form 1    varint first; varint least difference; m-1 numbers of w bits:
//	          difference - least
//	form 2    varint first; m-1 varint differences; w is 0
//
// Numbers of w bits follow one another from the lowest bit of the first byte
// on; the last byte is filled with zeros.
package block
