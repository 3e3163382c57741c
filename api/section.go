package api

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/valyala/fasthttp"

	"holdfast/actors/pds"
	"holdfast/actors/pds/schema"
	"holdfast/api/ndjson"
	"holdfast/storage/seal"
)

// dataset is a dataset with its names ready for the scanner.
type dataset struct {
	*schema.Dataset
	names *ndjson.Fields
}

// datasets maps machine names to datasets.
func datasets(cat *schema.Catalogue) map[string]*dataset {
	m := make(map[string]*dataset)
	for _, ds := range cat.Datasets() {
		names := make([]string, len(ds.Fields))
		numbers := make([]uint8, len(ds.Fields))
		for i := range ds.Fields {
			names[i], numbers[i] = ds.Fields[i].Name, ds.Fields[i].Number
		}
		m[ds.Name] = &dataset{ds, ndjson.NewFields(names, numbers)}
	}
	return m
}

// dataset finds a dataset by machine name, an older one or field_ds_x.
func (s *Server) dataset(name []byte) *dataset {
	if d := s.fields[string(name)]; d != nil {
		return d
	}
	if len(name) > 128 {
		return nil
	}
	if ds, ok := s.cat.Dataset(string(name)); ok {
		return s.fields[ds.Name]
	}
	return nil
}

// checkValues checks n rows of values against their fields' types and returns
// what is wrong with the first bad row, or nil.
func checkValues(ds *dataset, fields []uint8, vals [][]byte, n int) *pds.Error {
	stride := len(fields)
	bad, at := n, (*schema.Field)(nil)
	for c, num := range fields {
		f := ds.ByNumber(num)
		for i, row := c, 0; row < bad; i, row = i+stride, row+1 {
			if v := vals[i]; v != nil && f.Check(v) != nil {
				bad, at = row, f
				break
			}
		}
	}
	if at == nil {
		return nil
	}
	e := pds.Refuse(pds.Invalid, pds.CodeWrongType).In(ds.Name, at.Name)
	e.Row = bad + 1
	return e
}

// scanError turns a scanner's finding into a refusal.
func scanError(ds *dataset, e *ndjson.Error, row int) *pds.Error {
	r := pds.Refuse(pds.Invalid, pds.CodeMalformed)
	switch e.Code {
	case ndjson.UnknownField:
		r.Code = pds.CodeUnknownField
	case ndjson.TooLong:
		r.Code = pds.CodeTooLarge
	}
	if ds != nil {
		r.Dataset = ds.Name
	}
	r.Field, r.Row = notKey(e.Field), row
	return r
}

// notKey leaves out a name in which a Member Key could stand, sent in the wrong
// place: 32 of its characters in a row.
func notKey(name string) string {
	run := 0
	for i := range len(name) {
		if c := name[i]; c >= 'a' && c <= 'z' || c >= '2' && c <= '7' {
			if run++; run == len(seal.MemberKey{}) {
				return ""
			}
		} else {
			run = 0
		}
	}
	return name
}

// idempotency makes the ids by which a repeated request is known. Without the
// header every request is a new one and all ids are zero.
type idempotency struct {
	on      bool
	prefix  []byte // subscriber and key, length-prefixed
	request [16]byte
	h       hash.Hash
	sum     [sha256.Size]byte
}

// idempotencyOf reads the Idempotency-Key of a request of who.
func idempotencyOf(ctx *fasthttp.RequestCtx, who *subscriber) (id idempotency, err error) {
	v := ctx.Request.Header.Peek("Idempotency-Key")
	if len(v) == 0 {
		return id, nil
	}
	if len(v) > 255 {
		return id, errIdempotency
	}
	for _, c := range v {
		if c <= ' ' || c > '~' {
			return id, errIdempotency
		}
	}
	return newIdempotency(who.org, v), nil
}

func newIdempotency(org string, key []byte) (id idempotency) {
	id.on, id.h = true, sha256.New()
	id.prefix = appendPart(appendPart(nil, []byte(org)), key)
	id.h.Write(id.prefix)
	copy(id.request[:], id.h.Sum(id.sum[:0]))
	return id
}

func appendPart(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

// begin starts the command id of a section.
func (id *idempotency) begin(number uint32) {
	if !id.on {
		return
	}
	id.h.Reset()
	id.h.Write(id.prefix)
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], number)
	id.h.Write(n[:])
}

// add adds bytes of the section.
func (id *idempotency) add(b []byte) {
	if id.on {
		id.h.Write(b)
	}
}

// command is SHA-256(subscriber, key, number, section bytes)[:16], zero
// without a key.
func (id *idempotency) command() (c [16]byte) {
	if id.on {
		copy(c[:], id.h.Sum(id.sum[:0]))
	}
	return c
}
