// Package schema is the catalogue of datasets: what a member's store can hold,
// field by field. It is plain data and rules about single values; it knows no
// member, no agreement and no storage.
//
// One dataset is one file of datasets/, one list of accepted values one file of
// lookups/. Adding a dataset is adding a file, here or in the directory given to
// Load when a node starts:
//
//	{
//	  "name": "ds_bicycles",            also the file's name; ds_ and a-z, 0-9, _
//	  "display": "Bicycles",
//	  "description": "The bicycles of a member",
//	  "kind": "metadata",               or transactional
//	  "status": "Live",                 Implement, In Development, Hold
//	  "environment": "Production",      Sandbox, Dev
//	  "category": "Travel",             aspect of the member's life
//	  "aliases": ["ds_bikes"],          older names, optional
//	  "reserved": [4],                  numbers out of use, optional
//	  "fields": [
//	    {"number": 1, "name": "colour", "display": "Colour", "type": "text", "example": "Blue"}
//	  ]
//	}
//
// A field may further have description, lookup, default, status, not_null and
// length (bytes; by default 64 KiB for text, 256 KiB for blob, 128 otherwise).
// Every other key is refused, and so is an example that Check refuses.
//
// A field has a number, 1 to 63, which storage and masks use in place of its
// name. A number is never given to another field: a field that goes out of use
// keeps its number with status "Retired", or leaves it in "reserved". Mask bit n
// stands for field number n; bit 0 is never set. testdata/numbers.txt holds every
// number ever given, and a test compares.
//
// Field types follow the published catalogue, with one exception: the published
// pages call energy readings int and give 1123.25 as example, so here they are
// number. Where a published page names no type, a field is text.
//
// A loaded Catalogue is never changed, so it may be shared and its strings kept.
package schema
