package pds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"

	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
)

// UseCases are the fifteen categories an agreement may name (E3). All values
// are kept apart, also those that read alike.
var UseCases = []string{
	"core_function", "contracted_service", "delivery", "contact_requested", "personalised_experience",
	"marketing", "marketing_third_parties", "use_delivery", "marketing_disclosure", "disclosure_third_party",
	"legal_data_retention", "law_enforcement", "protecting_your_health", "protecting_interests", "improve_performance",
}

// Confirmations are the five obligatory GDPR confirmations (E5).
var Confirmations = []string{"data_minimisation", "informed_consent", "transparency", "single_use", "data_portability"}

// Template is a subscriber's offer: one version of one connection's Data
// Sharing and Services Agreement. Its canonical form is RFC 8785 JSON.
type Template struct {
	NID          NID             `json:"nid"`
	Version      uint32          `json:"version"`
	Name         string          `json:"name"`
	Purpose      string          `json:"purpose"`
	Subscriber   string          `json:"subscriber"`
	Law          string          `json:"law"`
	Environment  string          `json:"environment"` // sandbox or live
	Roles        string          `json:"roles"`
	UseCases     []TemplateUse   `json:"use_cases"`
	Gdpr         map[string]bool `json:"gdpr"`
	TermsVersion string          `json:"terms_version"`
	DeclaredBy   string          `json:"declared_by"`
	DeclaredAt   int64           `json:"declared_at"`
	Datasets     []TemplateData  `json:"datasets"`
	Features     []string        `json:"feature_blocks,omitempty"`
	Retention    string          `json:"retention"`
	Logo         string          `json:"logo,omitempty"`
	Callback     string          `json:"callback,omitempty"`
	NotAfterDays int             `json:"not_after_days,omitempty"`
}

// TemplateUse is one use case, mandatory or left to the member.
type TemplateUse struct {
	Category  string `json:"category"`
	Mandatory bool   `json:"mandatory"`
}

// TemplateData is one dataset of an offer. Methods are Read, Create, Update
// and Delete in lower case; a field without its own list has the dataset's.
type TemplateData struct {
	Dataset    string          `json:"dataset"`
	Methods    []string        `json:"methods"`
	SoftDelete bool            `json:"soft_delete"`
	Notify     bool            `json:"notify,omitempty"`
	Fields     []TemplateField `json:"fields"`
}

// TemplateField is one field of an offer: optional unless mandatory (E7).
type TemplateField struct {
	Field     string   `json:"field"`
	Mandatory bool     `json:"mandatory"`
	Methods   []string `json:"methods,omitempty"`
}

// Choices are the member's: which optional parts are on, and for which
// instances. A dataset that is missing in Instances means instance 0.
type Choices struct {
	UseCases  []string            `json:"use_cases"` // optional ones switched on
	Fields    map[string][]string `json:"fields"`    // dataset -> optional fields switched on
	Instances map[string][]uint32 `json:"instances,omitempty"`
}

// AgreementDoc is what a consent statement commits to.
type AgreementDoc struct {
	Template string  `json:"template"` // hex SHA-256 of the canonical template
	Choices  Choices `json:"choices"`
	Text     string  `json:"text"` // hex SHA-256 of the text as shown
	NID      NID     `json:"nid"`
	Version  uint32  `json:"version"`
}

// Grant is a compiled rule: what a connection may do in one dataset instance.
type Grant struct {
	Dataset  string
	Instance uint32
	Masks    [4]Mask // read, create, update, delete; delete is all or nothing
	Soft     bool    // deletes are soft
	Notify   bool
}

// Mask returns the fields on which m is granted.
func (g *Grant) Mask(m Method) Mask {
	switch m {
	case Read:
		return g.Masks[0]
	case Create:
		return g.Masks[1]
	case Update:
		return g.Masks[2]
	case Delete:
		return g.Masks[3]
	}
	return 0
}

func parseMethods(names []string) (Method, error) {
	var m Method
	for _, n := range names {
		switch n {
		case "read":
			m |= Read
		case "create":
			m |= Create
		case "update":
			m |= Update
		case "delete":
			m |= Delete
		default:
			return 0, fmt.Errorf("unknown method %.20q", n)
		}
	}
	return m, nil
}

// Check reports what is wrong with a template, naming the part.
func (t *Template) Check(cat *schema.Catalogue) error {
	if t.Name == "" || t.Purpose == "" || t.Subscriber == "" {
		return fmt.Errorf("name, purpose and subscriber are required")
	}
	if t.Version == 0 || t.NID == 0 {
		return fmt.Errorf("nid and version start at 1")
	}
	if t.Law != "English law" {
		return fmt.Errorf("law: agreements are under English law")
	}
	if t.Environment != "sandbox" && t.Environment != "live" {
		return fmt.Errorf("environment: sandbox or live")
	}
	for _, c := range Confirmations {
		if !t.Gdpr[c] {
			return fmt.Errorf("gdpr: confirmation %q is missing", c)
		}
	}
	for c := range t.Gdpr {
		if !slices.Contains(Confirmations, c) {
			return fmt.Errorf("gdpr: unknown confirmation %.40q", c)
		}
	}
	if t.TermsVersion == "" || t.DeclaredBy == "" || t.DeclaredAt == 0 {
		return fmt.Errorf("terms_version, declared_by and declared_at are required")
	}
	seenUse := map[string]bool{}
	for _, u := range t.UseCases {
		if !slices.Contains(UseCases, u.Category) {
			return fmt.Errorf("use_cases: unknown category %.40q", u.Category)
		}
		if seenUse[u.Category] {
			return fmt.Errorf("use_cases: %q stands twice", u.Category)
		}
		seenUse[u.Category] = true
	}
	if len(t.UseCases) == 0 {
		return fmt.Errorf("use_cases: at least one is required")
	}
	if len(t.Datasets) == 0 {
		return fmt.Errorf("datasets: at least one is required")
	}
	seen := map[string]bool{}
	for _, td := range t.Datasets {
		ds, ok := cat.Dataset(td.Dataset)
		if !ok || ds.Name != td.Dataset {
			return fmt.Errorf("datasets: unknown dataset %.64q", td.Dataset)
		}
		if seen[ds.Name] {
			return fmt.Errorf("datasets: %s stands twice", ds.Name)
		}
		seen[ds.Name] = true
		if m, err := parseMethods(td.Methods); err != nil {
			return fmt.Errorf("datasets: %s: %w", ds.Name, err)
		} else if m == 0 {
			return fmt.Errorf("datasets: %s: no method", ds.Name)
		}
		if len(td.Fields) == 0 {
			return fmt.Errorf("datasets: %s: no field", ds.Name)
		}
		fields := map[string]bool{}
		for _, tf := range td.Fields {
			if _, ok := ds.Field(tf.Field); !ok {
				return fmt.Errorf("datasets: %s: unknown field %.64q", ds.Name, tf.Field)
			}
			if fields[tf.Field] {
				return fmt.Errorf("datasets: %s: %s stands twice", ds.Name, tf.Field)
			}
			fields[tf.Field] = true
			if _, err := parseMethods(tf.Methods); err != nil {
				return fmt.Errorf("datasets: %s.%s: %w", ds.Name, tf.Field, err)
			}
		}
	}
	return nil
}

// Canonical returns the RFC 8785 form of the template and its SHA-256 in hex.
func (t *Template) Canonical() ([]byte, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return seal.Canonical(b)
}

// DecodeTemplate reads a template strictly.
func DecodeTemplate(b []byte) (*Template, error) {
	var t Template
	if err := strict(b, &t); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	return &t, nil
}

// DecodeDoc reads a signed document strictly.
func DecodeDoc(b []byte) (*AgreementDoc, error) {
	var d AgreementDoc
	if err := strict(b, &d); err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return &d, nil
}

func strict(b []byte, v any) error {
	if len(b) > 1<<20 {
		return fmt.Errorf("too large")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("not of the documented form")
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("trailing data")
	}
	return nil
}

// Compile turns a template and a member's choices into grants, sorted by
// dataset and instance. Mandatory parts are always on; a choice that the
// template does not offer is refused.
func Compile(t *Template, c *Choices, cat *schema.Catalogue) ([]Grant, *Error) {
	for _, u := range c.UseCases {
		if !slices.ContainsFunc(t.UseCases, func(tu TemplateUse) bool { return tu.Category == u }) {
			return nil, Refuse(Invalid, CodeMandatoryPart)
		}
	}
	offered := map[string]bool{}
	var out []Grant
	for _, td := range t.Datasets {
		offered[td.Dataset] = true
		ds, ok := cat.Dataset(td.Dataset)
		if !ok {
			return nil, Refuse(Invalid, CodeUnknownDataset).In(td.Dataset, "")
		}
		base, err := parseMethods(td.Methods)
		if err != nil {
			return nil, Refuse(Invalid, CodeMalformed).In(td.Dataset, "")
		}
		on := c.Fields[td.Dataset]
		for _, f := range on {
			if !slices.ContainsFunc(td.Fields, func(tf TemplateField) bool { return tf.Field == f }) {
				return nil, Refuse(Invalid, CodeFieldNotGranted).In(td.Dataset, f)
			}
		}
		g := Grant{Dataset: ds.Name, Soft: td.SoftDelete, Notify: td.Notify}
		for _, tf := range td.Fields {
			if !tf.Mandatory && !slices.Contains(on, tf.Field) {
				continue
			}
			f, ok := ds.Field(tf.Field)
			if !ok {
				return nil, Refuse(Invalid, CodeUnknownField).In(ds.Name, tf.Field)
			}
			m := base
			if len(tf.Methods) > 0 {
				own, err := parseMethods(tf.Methods)
				if err != nil {
					return nil, Refuse(Invalid, CodeMalformed).In(ds.Name, tf.Field)
				}
				m &= own
			}
			for i, bit := range [4]Method{Read, Create, Update, Delete} {
				if m&bit != 0 {
					g.Masks[i] |= 1 << f.Number
				}
			}
		}
		if g.Masks == [4]Mask{} {
			continue
		}
		inst := c.Instances[td.Dataset]
		if len(inst) == 0 {
			inst = []uint32{0}
		}
		for i, n := range inst {
			if slices.Contains(inst[:i], n) {
				return nil, Refuse(Invalid, CodeMalformed).In(ds.Name, "")
			}
			gi := g
			gi.Instance = n
			out = append(out, gi)
		}
	}
	for ds := range c.Fields {
		if !offered[ds] {
			return nil, Refuse(Invalid, CodeDatasetNotGranted).In(ds, "")
		}
	}
	for ds := range c.Instances {
		if !offered[ds] {
			return nil, Refuse(Invalid, CodeDatasetNotGranted).In(ds, "")
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Dataset != out[j].Dataset {
			return out[i].Dataset < out[j].Dataset
		}
		return out[i].Instance < out[j].Instance
	})
	return out, nil
}
