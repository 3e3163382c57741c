package pds

import (
	"reflect"
	"testing"

	"holdfast/actors/pds/schema"
)

func TestCompile(t *testing.T) {
	cat := schema.Default()
	home, _ := cat.Dataset("ds_home")
	bit := func(names ...string) (m Mask) {
		for _, n := range names {
			f, ok := home.Field(n)
			if !ok {
				t.Fatalf("no field %s", n)
			}
			m |= 1 << f.Number
		}
		return
	}
	const street, town, post = "field_home_street", "field_home_town", "field_home_postcode"
	if _, ok := home.Field(town); !ok {
		t.Skip("the catalogue's home has no town")
	}
	tmpl := func() *Template {
		return &Template{UseCases: []TemplateUse{{"core_function", true}, {"marketing", false}}, Datasets: []TemplateData{
			{Dataset: "ds_home", Methods: []string{"read", "update"}, SoftDelete: true, Fields: []TemplateField{
				{Field: post, Mandatory: true}, {Field: street}, {Field: town, Methods: []string{"read"}}}}}}
	}
	fields := func(names ...string) map[string][]string { return map[string][]string{"ds_home": names} }
	grant := func(inst uint32, read, create, upd, del Mask) Grant {
		return Grant{Dataset: "ds_home", Instance: inst, Masks: [4]Mask{read, create, upd, del}, Soft: true}
	}
	cases := []struct {
		name string
		edit func(*Template)
		c    Choices
		want []Grant
		code Code
	}{
		{name: "mandatory only", want: []Grant{grant(0, bit(post), 0, bit(post), 0)}},
		{name: "an optional field", c: Choices{Fields: fields(street)}, want: []Grant{grant(0, bit(post, street), 0, bit(post, street), 0)}},
		{name: "a field with fewer methods", c: Choices{Fields: fields(town)}, want: []Grant{grant(0, bit(post, town), 0, bit(post), 0)}},
		{name: "choosing what is mandatory", c: Choices{Fields: fields(post)}, want: []Grant{grant(0, bit(post), 0, bit(post), 0)}},
		{name: "instances", c: Choices{Instances: map[string][]uint32{"ds_home": {2, 1}}},
			want: []Grant{grant(1, bit(post), 0, bit(post), 0), grant(2, bit(post), 0, bit(post), 0)}},
		{name: "an instance twice", c: Choices{Instances: map[string][]uint32{"ds_home": {1, 1}}}, code: CodeMalformed},
		{name: "a use case", c: Choices{UseCases: []string{"marketing"}}, want: []Grant{grant(0, bit(post), 0, bit(post), 0)}},
		{name: "a use case that is not offered", c: Choices{UseCases: []string{"delivery"}}, code: CodeMandatoryPart},
		{name: "a field that is not offered", c: Choices{Fields: fields("field_home_tenancy")}, code: CodeFieldNotGranted},
		{name: "a dataset that is not offered", c: Choices{Fields: map[string][]string{"ds_bank_account": {"x"}}}, code: CodeDatasetNotGranted},
		{name: "an instance of a dataset that is not offered", c: Choices{Instances: map[string][]uint32{"ds_bank_account": {0}}}, code: CodeDatasetNotGranted},
		{name: "a field's methods beyond its dataset's", edit: func(t *Template) { t.Datasets[0].Fields[0].Methods = []string{"read", "delete"} },
			want: []Grant{grant(0, bit(post), 0, 0, 0)}},
		{name: "nothing mandatory and nothing chosen", edit: func(t *Template) { t.Datasets[0].Fields[0].Mandatory = false }},
		{name: "all methods", edit: func(t *Template) { t.Datasets[0].Methods = []string{"read", "create", "update", "delete"} },
			want: []Grant{grant(0, bit(post), bit(post), bit(post), bit(post))}},
		{name: "an unknown dataset", edit: func(t *Template) { t.Datasets[0].Dataset = "ds_nothing" }, code: CodeUnknownDataset},
		{name: "an unknown field", edit: func(t *Template) { t.Datasets[0].Fields[0].Field = "field_nothing" }, code: CodeUnknownField},
		{name: "an unknown method", edit: func(t *Template) { t.Datasets[0].Methods = []string{"own"} }, code: CodeMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tm := tmpl()
			if c.edit != nil {
				c.edit(tm)
			}
			got, e := Compile(tm, &c.c, cat)
			if c.code != CodeNone {
				if e == nil || e.Code != c.code || got != nil {
					t.Fatalf("got %v, %v; want refusal %q", got, e, c.code.Title())
				}
				return
			}
			if e != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %+v, %v\nwant %+v", got, e, c.want)
			}
		})
	}
}

// Grants decide by mask alone: each method and field that is not there is
// refused and named.
func TestGrant_AllowsNothingElse(t *testing.T) {
	ds, _ := schema.Default().Dataset("ds_home")
	for n := range 16 {
		g := Grant{Dataset: ds.Name}
		for i, m := range [4]Method{Read, Create, Update, Delete} {
			if n>>i&1 == 1 {
				g.Masks[i] = 1 << ds.Fields[i].Number
			}
			_ = m
		}
		for i, m := range [4]Method{Read, Create, Update, Delete} {
			for k := range ds.Fields {
				f := ds.Fields[k].Number
				e := g.Allow(ds, m, []uint8{f})
				granted := n>>i&1 == 1 && f == ds.Fields[i].Number
				switch {
				case granted != (e == nil):
					t.Fatalf("grants %04b: %s on field %d: %v", n, m, k, e)
				case e != nil && n>>i&1 == 1 && (e.Code != CodeFieldNotGranted || e.Field != ds.Fields[k].Name):
					t.Fatalf("refusal %v", e)
				case e != nil && n>>i&1 == 0 && e.Code != CodeMethodNotGranted:
					t.Fatalf("refusal %v", e)
				}
			}
		}
		for k := range ds.Fields {
			f := Filter{Name: ds.Fields[k].Name, Field: ds.Fields[k].Number, Op: Eq}
			if e := g.AllowFilters(ds, []Filter{{Name: "id"}, f}); (e == nil) != g.Masks[0].Has(f.Field) || e != nil && e.Field != f.Name {
				t.Fatalf("filter on field %d: %v", k, e)
			}
		}
	}
}

func TestDecodeTemplate_Strict(t *testing.T) {
	for _, s := range []string{``, `{`, `[]`, `{}}`, `{}]`, `{} {}`, `{}x`, `{"nid":1,"other":2}`, `{"nid":"1"}`, `{"nid":-1}`, `{"version":4294967296}`} {
		if _, err := DecodeTemplate([]byte(s)); err == nil {
			t.Errorf("accepted %q", s)
		}
		if _, err := DecodeDoc([]byte(s)); err == nil {
			t.Errorf("document: accepted %q", s)
		}
	}
	if _, err := DecodeTemplate(make([]byte, 1<<20+1)); err == nil {
		t.Error("accepted more than a MiB")
	}
}
