package api

import (
	"bytes"
	"errors"

	"holdfast/api/xmlout"
)

// xmlForm spells a file of package verify as XML: the tree of its JSON form
// under <response>.
type xmlForm struct{}

var (
	xmlHeader = []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	xmlOpen   = []byte("<response>")
	xmlClose  = []byte("</response>")
	errXMLOut = errors.New("api: xml of another form than expected")
)

// Begin opens the document.
func (xmlForm) Begin(dst []byte) []byte {
	return append(append(append(dst, xmlHeader...), xmlOpen...), '\n')
}

// Member writes one element.
func (xmlForm) Member(dst []byte, name string, doc []byte) ([]byte, error) {
	b := append(append(append([]byte(`{"`), name...), `":`...), doc...)
	dst, err := inner(dst, append(b, '}'))
	return append(dst, '\n'), err
}

// inner appends the children of the root of doc's XML form.
func inner(dst, doc []byte) ([]byte, error) {
	x, err := xmlout.AppendFromJSON(nil, doc)
	if err != nil {
		return dst, err
	}
	x, ok := bytes.CutPrefix(x, xmlHeader)
	x, ok2 := bytes.CutPrefix(x, xmlOpen)
	x, ok3 := bytes.CutSuffix(bytes.TrimRight(x, "\n"), xmlClose)
	if !ok || !ok2 || !ok3 {
		return dst, errXMLOut
	}
	return append(dst, x...), nil
}

// OpenList opens the element of a list.
func (xmlForm) OpenList(dst []byte, name string) []byte {
	return append(append(append(dst, '<'), name...), ">\n"...)
}

// Item is <item>…</item>.
func (xmlForm) Item(dst, doc []byte) ([]byte, error) {
	return inner(dst, append(append([]byte{'['}, doc...), ']'))
}

// Between separates items.
func (xmlForm) Between(dst []byte) []byte { return append(dst, '\n') }

// CloseList closes the element of a list.
func (xmlForm) CloseList(dst []byte, name string) []byte {
	return append(append(append(dst, "\n</"...), name...), ">\n"...)
}

// End writes the digest and closes the document.
func (xmlForm) End(dst []byte, digest string) []byte {
	return append(append(append(dst, "<sha256>"...), digest...), "</sha256></response>\n"...)
}
