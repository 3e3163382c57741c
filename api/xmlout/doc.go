// Package xmlout writes the tree of a JSON document as XML and reads it back. The
// dataset routes use it for paths that end in .xml, in both directions.
//
// # Mapping
//
//	{"a":"x"}    <response><a>x</a></response>
//	{"5":"x"}    <response><item key="5">x</item></response>     no XML name, or "item"
//	["x","y"]    <response><item>x</item><item>y</item></response>
//	null         <response nil="true"/>
//	""           <response/>
//	{}           <response empty="object"/>
//	[]           <response empty="array"/>
//
// An element name is [A-Za-z_] followed by [A-Za-z0-9_.-], not beginning with
// "xml" in any case; every other key becomes an item with its key as attribute.
//
// XML 1.0 cannot hold all of Unicode: control characters other than tab, newline
// and carriage return, U+FFFE and U+FFFF have no form in it, not even as a
// reference. A string with one of them is written as base64 of its UTF-8 bytes in
// an element with encoding="base64"; a key with one likewise, with
// keyencoding="base64". So no value is lost.
//
// Numbers and booleans are written as JSON has them and read back as strings,
// which is what every value of a dataset is. Order of keys is kept. So for a
// document of strings, objects, arrays and null, ToJSON(AppendFromJSON(doc)) is
// doc again.
//
// # Reading
//
// ToJSON takes what AppendFromJSON writes and what a client may reasonably write
// instead: any name for the root, comments, processing instructions, CDATA,
// namespace declarations (names count by their local part), xsi:nil. It refuses
// document types, hence all entities but the five of XML and character references;
// it opens nothing and expands nothing. It also refuses text beside elements, a
// name given twice in one object, other attributes, more than 32 levels, more than
// 8 MiB, and any encoding but UTF-8. Time and memory are linear in the input.
package xmlout
