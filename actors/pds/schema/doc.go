// Package schema is the catalogue of datasets: what a member's store can hold,
// field by field. It is plain data and rules about single values; it knows no
// member, no agreement and no storage.
//
// One dataset is one file of datasets/, one list of accepted values one file of
// lookups/. Adding a dataset is adding a file, here or in the directory given to
// Load when a node starts.
//
// A field has a number, 1 to 63, which storage and masks use in place of its
// name. A number is never given to another field: a field that goes out of use
// keeps its number with status "Retired" or leaves it in the dataset's
// "reserved" list. Mask bit n stands for field number n; bit 0 is never set.
//
// A loaded Catalogue is never changed, so it may be shared and its strings kept.
package schema
