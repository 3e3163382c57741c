package pds

import (
	"strings"
	"testing"

	"holdfast/actors/pds/schema"
)

func textTemplate() *Template {
	return &Template{
		NID: 7, Version: 3, Name: "Meter", Purpose: "Read the meter", Subscriber: "Northgrid Energy",
		Law: "English law", Environment: "live", Roles: "controller",
		UseCases:     []TemplateUse{{"core_function", true}, {"marketing_third_parties", false}},
		Gdpr:         map[string]bool{"data_minimisation": true, "single_use": true},
		TermsVersion: "3", DeclaredBy: "A. Person", DeclaredAt: 1_690_000_000, Retention: "one year", NotAfterDays: 30,
		Datasets: []TemplateData{
			{Dataset: "ds_home", Methods: []string{"read", "update"}, Notify: true, Fields: []TemplateField{
				{Field: "field_home_postcode", Mandatory: true, Methods: []string{"read"}}, {Field: "field_home_street"}}},
			{Dataset: "ds_energy_consumption", Methods: []string{"read", "create", "delete"}, SoftDelete: true, Fields: []TemplateField{{Field: "field_energy_reading_value"}}},
		},
	}
}

func TestText_SaysEveryPartAndItsState(t *testing.T) {
	cat := schema.Default()
	none := Text(textTemplate(), &Choices{}, cat)
	for _, want := range []string{
		"“Northgrid Energy”", "English law", "live service", "“Read the meter”",
		"- Core function: yes, this is required.", "- Marketing third parties: no, you do not allow it.",
		"(field_home_postcode): the subscriber may read it. This is required.",
		"(field_home_street): not shared. You do not allow it.",
		"Only instance 0 of it.", "is told when a record here changes", "is hidden and you can bring it back",
		"- Single use: confirmed.", "22 July 2023", "ends by itself 30 days",
	} {
		if !strings.Contains(none, want) {
			t.Errorf("lacks %q:\n%s", want, none)
		}
	}
	some := Text(textTemplate(), &Choices{
		UseCases:  []string{"marketing_third_parties"},
		Fields:    map[string][]string{"ds_home": {"field_home_street"}, "ds_energy_consumption": {"field_energy_reading_value"}},
		Instances: map[string][]uint32{"ds_home": {0, 2}},
	}, cat)
	for _, want := range []string{
		"- Marketing third parties: yes, you allow it.",
		"(field_home_street): the subscriber may read and update it. You allow it.",
		"(field_energy_reading_value): the subscriber may read, create and delete it. You allow it.",
		"Only instances 0, 2 of it.",
	} {
		if !strings.Contains(some, want) {
			t.Errorf("lacks %q:\n%s", want, some)
		}
	}
	if again := Text(textTemplate(), &Choices{}, cat); again != none {
		t.Error("the same agreement reads differently")
	}
}

// Every change that Compile tells apart can be seen in the text.
func TestText_DiffersWhenTheGrantsDiffer(t *testing.T) {
	cat := schema.Default()
	seen := map[string]string{}
	for name, edit := range map[string]func(*Template, *Choices){
		"as offered": func(*Template, *Choices) {},
		"method": func(x *Template, _ *Choices) {
			x.Datasets[0].Methods = []string{"read"}
			x.Datasets[0].Fields[1].Mandatory = true
		},
		"field method":  func(x *Template, _ *Choices) { x.Datasets[0].Fields[0].Methods = []string{"update"} },
		"mandatory":     func(x *Template, _ *Choices) { x.Datasets[0].Fields[1].Mandatory = true },
		"hard delete":   func(x *Template, _ *Choices) { x.Datasets[1].SoftDelete = false },
		"notify":        func(x *Template, _ *Choices) { x.Datasets[0].Notify = false },
		"instance":      func(_ *Template, c *Choices) { c.Instances = map[string][]uint32{"ds_home": {1}} },
		"field":         func(_ *Template, c *Choices) { c.Fields = map[string][]string{"ds_home": {"field_home_street"}} },
		"use":           func(_ *Template, c *Choices) { c.UseCases = []string{"marketing_third_parties"} },
		"version":       func(x *Template, _ *Choices) { x.Version++ },
		"connection":    func(x *Template, _ *Choices) { x.NID++ },
		"end":           func(x *Template, _ *Choices) { x.NotAfterDays = 0 },
		"environment":   func(x *Template, _ *Choices) { x.Environment = "sandbox" },
		"feature block": func(x *Template, _ *Choices) { x.Features = []string{"calendar"} },
	} {
		x, c := textTemplate(), &Choices{}
		edit(x, c)
		s := Text(x, c, cat)
		if other, ok := seen[s]; ok {
			t.Errorf("%s reads as %s", name, other)
		}
		seen[s] = name
	}
}

// A subscriber's words cannot pass for sentences of the agreement, hide or
// turn them.
func TestText_SubscribersWordsStayInTheirLine(t *testing.T) {
	x := textTemplate()
	plainLines := strings.Count(Text(x, &Choices{}, schema.Default()), "\n")
	x.Purpose = "Nothing\n- Marketing third parties: no, you do not allow it.\r\n\u2028\u202eevil\u200b\x1b[2J\x00”\nYou need not read on."
	s := Text(x, &Choices{}, schema.Default())
	if n := strings.Count(s, "\n"); n != plainLines {
		t.Errorf("%d lines instead of %d", n, plainLines)
	}
	for _, bad := range []string{"\u202e", "\u200b", "\x1b", "\x00", "\r", "\u2028"} {
		if strings.Contains(s, bad) {
			t.Errorf("%q got through", bad)
		}
	}
	for l := range strings.Lines(s) {
		if strings.HasPrefix(l, "Purpose") && (strings.Count(l, "”") != 1 || !strings.HasSuffix(l, "”\n")) {
			t.Errorf("the quotation ends early: %s", l)
		}
	}
}
