package pds

import "holdfast/actors/pds/schema"

// The rules of one request, decided from opened parts alone.

// Grant finds the grant of a dataset instance. The refusal tells apart a
// dataset that is not in the agreement from an instance that is not.
func (w *WritePart) Grant(ds *schema.Dataset, instance uint32) (*WriteGrant, *Error) {
	other := false
	for i := range w.Grants {
		g := &w.Grants[i]
		if g.Dataset != ds.Name {
			continue
		}
		if g.Instance == instance {
			return g, nil
		}
		other = true
	}
	if other {
		return nil, Refuse(Denied, CodeInstanceNotGranted).In(ds.Name, "")
	}
	return nil, Refuse(Denied, CodeDatasetNotGranted).In(ds.Name, "")
}

// Allow decides whether method m is granted on every one of fields.
func (g *Grant) Allow(ds *schema.Dataset, m Method, fields []uint8) *Error {
	mask := g.Mask(m)
	if mask == 0 {
		return Refuse(Denied, CodeMethodNotGranted).In(ds.Name, "")
	}
	for _, f := range fields {
		if !mask.Has(f) {
			name := ""
			if x := ds.ByNumber(f); x != nil {
				name = x.Name
			}
			return Refuse(Denied, CodeFieldNotGranted).In(ds.Name, name)
		}
	}
	return nil
}

// AllowFilters decides whether a reader may filter so: any field it filters
// on must be readable, since the answer tells about it; id and times may be
// filtered on with any Read.
func (g *Grant) AllowFilters(ds *schema.Dataset, fs []Filter) *Error {
	for i := range fs {
		f := &fs[i]
		if f.Field == 0 {
			continue
		}
		if !g.Masks[0].Has(f.Field) {
			return Refuse(Denied, CodeFilterNotGranted).In(ds.Name, f.Name)
		}
	}
	return nil
}

// Refusal is the refusal that a link's state asks for, nil if it is active
// at that time.
func (l *Link) Refusal(timeMS int64) *Error {
	switch {
	case l == nil:
		return Refuse(Denied, CodeNotApproved)
	case l.State == LinkSuspended:
		return Refuse(Denied, CodeSuspended)
	case l.State != LinkActive:
		return Refuse(Denied, CodeRevoked)
	case ended(l.NotAfter, timeMS):
		return Refuse(Denied, CodeExpired)
	}
	return nil
}
