package schema

import (
	"bytes"
	"flag"
	"fmt"
	"math/bits"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "append new fields to testdata/numbers.txt")

const small = `{"name":"ds_extra","display":"Extra","kind":"transactional","status":"Live","environment":"Sandbox","category":"Test","fields":[%s]}`

func file(fields string) string { return strings.Replace(small, "%s", fields, 1) }

func loadOne(name, content string) (*Catalogue, error) {
	return Load(fstest.MapFS{name: {Data: []byte(content)}})
}

func TestLoad_RefusesAndNamesFileAndField(t *testing.T) {
	ok := `{"number":1,"name":"a","type":"text"}`
	many := make([]string, 64)
	for i := range many {
		many[i] = fmt.Sprintf(`{"number":%d,"name":"f%d","type":"text"}`, i+1, i)
	}
	tests := []struct{ name, content, want string }{
		{"unknown key", file(`{"number":1,"name":"a","type":"text","colour":"red"}`), "colour"},
		{"unknown top key", strings.Replace(file(ok), `"display"`, `"shape":"x","display"`, 1), "shape"},
		{"key in other case", strings.Replace(file(ok), `"display"`, `"Display"`, 1), "Display"},
		{"key twice", strings.Replace(file(ok), `"display"`, `"kind":"metadata","display"`, 1), "kind"},
		{"trailing bytes", file(ok) + "{}", "after the end"},
		{"no JSON", "hello", "invalid"},
		{"cut off", file(ok)[:40], "EOF"},
		{"not UTF-8", file("{\"number\":1,\"name\":\"a\",\"type\":\"text\",\"example\":\"\xff\"}"), "UTF-8"},
		{"too deep", strings.Repeat("[", 100000), "deep"},
		{"number twice", file(ok + `,{"number":1,"name":"b","type":"text"}`), `field "b": number 1 is used twice`},
		{"name twice", file(ok + `,{"number":2,"name":"a","type":"text"}`), `field "a": name is used twice`},
		{"number 0", file(`{"number":0,"name":"a","type":"text"}`), `field "a": number 0`},
		{"number 64", file(`{"number":64,"name":"a","type":"text"}`), `field "a": number 64`},
		{"number negative", file(`{"number":-1,"name":"a","type":"text"}`), `field "a": number -1`},
		{"64 fields", file(strings.Join(many, ",")), "64 fields"},
		{"no field", file(""), "needs a field"},
		{"con_id", file(`{"number":1,"name":"con_id","type":"text"}`), `field "con_id": this name is taken`},
		{"system column", file(`{"number":1,"name":"created_timestamp","type":"int"}`), "column of every row"},
		{"field name", file(`{"number":1,"name":"A-b","type":"text"}`), `field "A-b": no field name`},
		{"type", file(`{"number":1,"name":"a","type":"money"}`), `field "a": type "money"`},
		{"lookup", file(`{"number":1,"name":"a","type":"text","lookup":"moods"}`), `no lookup "moods"`},
		{"lookup on a number", file(`{"number":1,"name":"a","type":"int","lookup":"gender"}`), "must be text"},
		{"example", file(`{"number":1,"name":"a","type":"int","example":"x"}`), `field "a": example`},
		{"length", file(`{"number":1,"name":"a","type":"text","length":-1}`), "length -1"},
		{"reserved", strings.Replace(file(ok), `"fields"`, `"reserved":[1],"fields"`, 1), "number 1 is reserved"},
		{"machine name", strings.Replace(file(ok), "ds_extra", "ds_Extra", 1), `name "ds_Extra"`},
		{"no prefix", strings.Replace(file(ok), "ds_extra", "extra", 1), `name "extra"`},
		{"other name than file", strings.Replace(file(ok), "ds_extra", "ds_other", 1), "differs from the file name"},
		{"kind", strings.Replace(file(ok), "transactional", "other", 1), `kind "other"`},
		{"status", strings.Replace(file(ok), `"Live"`, `"live"`, 1), `status "live"`},
		{"environment", strings.Replace(file(ok), `"Sandbox"`, `"Moon"`, 1), `environment "Moon"`},
		{"alias taken", strings.Replace(file(ok), `"fields"`, `"aliases":["ds_home"],"fields"`, 1), `alias "ds_home"`},
		{"too large", file(ok) + strings.Repeat(" ", 1<<20), "1 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadOne("datasets/ds_extra.json", tt.content)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "ds_extra") {
				t.Errorf("error %q does not name the file and %q", err, tt.want)
			}
		})
	}
}

func TestLoad_AddsADatasetFromADirectory(t *testing.T) {
	fields := make([]string, 63)
	for i := range fields {
		fields[i] = fmt.Sprintf(`{"number":%d,"name":"f%d","type":"text"}`, i+1, i+1)
	}
	for _, name := range []string{"datasets/ds_extra.json", "ds_extra.json"} {
		c, err := loadOne(name, file(strings.Join(fields, ",")))
		if err != nil {
			t.Fatal(err)
		}
		d, ok := c.Dataset("ds_extra")
		if !ok || d.Mask() != ^uint64(1) || d.ByNumber(63).Name != "f63" || d.ByNumber(0) != nil || d.ByNumber(64) != nil || d.ByNumber(255) != nil {
			t.Errorf("%s: dataset %v, mask %x", name, ok, d.Mask())
		}
		if len(c.Datasets()) != len(Default().Datasets())+1 {
			t.Error("the embedded datasets are not all there")
		}
		if _, ok := Default().Dataset("ds_extra"); ok {
			t.Error("Load changed the default catalogue")
		}
	}
}

func TestLoad_ReplacementKeepsEveryField(t *testing.T) {
	embeddedNI, err := embedded.ReadFile("datasets/ds_ni.json")
	if err != nil {
		t.Fatal(err)
	}
	ni := string(embeddedNI)
	added := strings.Replace(ni, `"fields": [`, `"fields": [{"number":9,"name":"field_ni_letter","type":"text"},`, 1)
	c, err := loadOne("datasets/ds_ni.json", added)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := c.Dataset("ds_ni")
	if f, ok := d.Field("field_ni_letter"); !ok || f.Number != 9 || d.ByNumber(1).Name != "field_ni_name" {
		t.Error("the added field is missing or an old one has moved")
	}
	for name, content := range map[string]string{
		"renumbered": strings.Replace(ni, `"number": 1`, `"number": 5`, 1),
		"renamed":    strings.Replace(ni, "field_ni_name", "field_ni_label", 1),
		"retyped":    strings.Replace(ni, `"type": "text"`, `"type": "blob"`, 1),
		"other kind": strings.Replace(ni, `"metadata"`, `"transactional"`, 1),
	} {
		if content == ni {
			t.Fatalf("%s: the test changed nothing", name)
		}
		if _, err := loadOne("datasets/ds_ni.json", content); err == nil || !strings.Contains(err.Error(), "ds_ni.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoad_Lookups(t *testing.T) {
	c, err := loadOne("lookups/mood.json", `{"name":"mood","values":["Glad",{"group":"low","value":"Sad"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := c.Lookup("lu_mood"); !ok || strings.Join(v, ",") != "Glad,Sad" {
		t.Errorf("values %q", v)
	}
	if b, _ := c.LookupJSON("mood"); string(b) != `["Glad",{"group":"low","value":"Sad"}]` {
		t.Errorf("JSON %s", b)
	}
	if has, known := c.LookupHas("mood", "SAD"); !has || !known {
		t.Error("case is not ignored")
	}
	if has, known := c.LookupHas("mood", "angry"); has || !known {
		t.Error("accepts what is not listed")
	}
	if _, known := c.LookupHas("weather", "rain"); known {
		t.Error("knows a lookup that is not there")
	}
	for name, content := range map[string]string{
		"no value":      `{"name":"mood","values":[]}`,
		"empty value":   `{"name":"mood","values":[""]}`,
		"number":        `{"name":"mood","values":[1]}`,
		"null":          `{"name":"mood","values":[null]}`,
		"object":        `{"name":"mood","values":[{"name":"Glad"}]}`,
		"twice":         `{"name":"mood","values":["Glad","GLAD"]}`,
		"other name":    `{"name":"moods","values":["Glad"]}`,
		"unknown key":   `{"name":"mood","values":["Glad"],"sort":true}`,
		"value too big": `{"name":"mood","values":["` + strings.Repeat("x", maxLookupValue+1) + `"]}`,
	} {
		if _, err := loadOne("lookups/mood.json", content); err == nil || !strings.Contains(err.Error(), "lookups/mood.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := loadOne("lookups/title.json", `{"name":"title","values":["Mr"]}`); err == nil {
		t.Error("a replacement dropped values")
	}
}

func TestCatalogue_LegacyNames(t *testing.T) {
	c := Default()
	for name, want := range map[string]string{
		"ds_home": "ds_home", "field_ds_home": "ds_home", "field_ds_loyalty_scheme": "ds_loyalty_scheme",
		"field_ds_bank_transactions": "ds_bank_account_transactions", "field_ds_cc_transactions": "ds_card_transactions", "field_ds_journeys": "ds_journeys",
	} {
		if d, ok := c.Dataset(name); !ok || d.Name != want {
			t.Errorf("%s: %v", name, ok)
		}
	}
	for _, name := range []string{"", "field_", "home", "ds_", "field_field_ds_home", "DS_HOME", "ds_home "} {
		if _, ok := c.Dataset(name); ok {
			t.Errorf("%q is found", name)
		}
	}
}

// Every field of every dataset takes its example, has a type and an own bit.
func TestDefault_EveryFieldTakesItsExample(t *testing.T) {
	c := Default()
	meta, trans := 0, 0
	for _, d := range c.Datasets() {
		if d.Kind == Metadata {
			meta++
		} else {
			trans++
		}
		if bits.OnesCount64(d.Mask()) != len(d.Fields) || d.Mask()&1 != 0 {
			t.Errorf("%s: mask %x for %d fields", d.Name, d.Mask(), len(d.Fields))
		}
		for i := range d.Fields {
			f := &d.Fields[i]
			if f.Example == "" || f.Display == "" {
				t.Errorf("%s %s: no example or display name", d.Name, f.Name)
			}
			if err := f.Check([]byte(f.Example)); err != nil {
				t.Errorf("%s %s: %v", d.Name, f.Name, err)
			}
			if g, ok := d.Field(f.Name); !ok || g != f || d.ByNumber(f.Number) != f {
				t.Errorf("%s %s is not found by name or number", d.Name, f.Name)
			}
			if f.Type.Numeric() && f.Check([]byte("x")) == nil {
				t.Errorf("%s %s takes a letter", d.Name, f.Name)
			}
		}
	}
	if meta < 7 || trans < 22 {
		t.Errorf("%d metadata and %d transactional datasets", meta, trans)
	}
}

// Field numbers stand in stored data and in masks: none may ever change or get
// another name. -update appends new ones and leaves the rest as it is.
func TestDefault_NumbersNeverChange(t *testing.T) {
	const path = "testdata/numbers.txt"
	old, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(old)) {
		line = strings.TrimSuffix(line, "\n")
		known[line] = true
		w := strings.Fields(line)
		d, ok := Default().Dataset(w[0])
		if !ok {
			t.Errorf("dataset %s is gone", w[0])
			continue
		}
		if f, ok := d.Field(w[2]); !ok || fmt.Sprint(f.Number) != w[1] {
			t.Errorf("%s: field %s is gone or no longer number %s", w[0], w[2], w[1])
		}
	}
	var add bytes.Buffer
	for _, d := range Default().Datasets() {
		for i := range d.Fields {
			if line := fmt.Sprintf("%s %d %s", d.Name, d.Fields[i].Number, d.Fields[i].Name); !known[line] {
				fmt.Fprintln(&add, line)
			}
		}
	}
	switch {
	case add.Len() == 0:
	case *update:
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(old, add.Bytes()...), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("new fields; run with -update and review:\n%s", add.String())
	}
}

// What the published pages name must be there under the published name.
func TestDefault_PublishedFields(t *testing.T) {
	for dataset, fields := range map[string]string{
		"ds_personal_details": "field_personal_title field_personal_fname field_personal_mname field_personal_faname field_personal_maname field_personal_nickname field_personal_suffix field_personal_gender field_gender_birth field_personal_marital_status field_personal_email_address field_personal_mobile_phone",
		"ds_home":             "field_home_bedrooms field_home_date_from field_home_floor field_home_nlpg field_home_num_residents field_home_owner_telephone_no field_home_postcode field_home_property_type field_home_room field_home_street",
		"ds_passport":         "field_pp_code field_pp_date_expiry field_pp_dob field_pp_number field_pp_sex field_pp_type",
		"ds_ni":               "field_ni_name field_ni_number",
		"ds_bank_account":     "field_ba_account_name field_ba_current_balance field_ba_overdraft_limit field_ba_sort_code field_ba_type",
		"ds_credit_card":      "field_cc_account_name field_cc_credit_limit field_cc_supplier",
		"ds_utility":          "field_utility_tariff field_utility_service field_utility_payment_method",
		"ds_employment":       "field_emp_employee_id",

		"ds_assurance_log":                 "assurance_created assurance_data_used assurance_idp assurance_level assurance_matching_datasets assurance_pid",
		"ds_bank_account_transactions":     "ba_transaction_date ba_transaction_description ba_transaction_type ba_transaction_value ba_transaction_value_currency_code",
		"ds_bookmarks":                     "bookmark_annotation bookmark_media_type bookmark_url bookmark_width",
		"ds_browsing_history":              "browsing_history_url browsing_history_title browsing_history_visit_date",
		"ds_credentials":                   "cred_autofill cred_password cred_username",
		"ds_device_log":                    "action start_time end_time",
		"ds_energy_consumption":            "field_energy_homeid field_energy_reading_timestamp field_energy_reading_value field_energy_source_index_id field_energy_source_name field_energy_source_type",
		"ds_energy_consumption_aggregated": "field_energy_homeid energy_account_instance",
		"ds_events":                        "action attendee end_timestamp external_uid location organiser reminder_description start_timestamp status tags title trigger type",
		"ds_identity_services_log":         "identity_services_annotation identity_service_status identity_service_title",
		"ds_invites":                       "expire_timestamp identifier known_as name one_time_code recipient route status type",
		"ds_journal":                       "conversation_id journal_content journal_time_sent version_content version_id version_information",
		"ds_loyalty_scheme":                "ls_date ls_description ls_monetary_value ls_monetary_value_currency_code ls_points_value",
		"ds_referrals":                     "complete_time is_processed referree_availability referrer_name service_id status type",
		"ds_referrals_log":                 "action responsible_user_id service_order_id",
		"ds_utility_billing":               "utility_billing_start utility_billing_end utility_billing_total utility_billing_total_currency_code",
		"ds_utility_data_usage":            "utility_data_usage_charge_type utility_data_usage_cost utility_data_usage_data_used utility_data_usage_date",
		"ds_utility_meter_readings":        "utility_reading utility_reading_date utility_reading_estimated utility_reading_read_by utility_reading_type utility_reading_unit",
		"ds_utility_tel_calls":             "utility_tel_call_charge_type utility_tel_call_date utility_tel_call_duration utility_tel_call_incoming_outgoing utility_tel_call_number_called utility_tel_call_type",
		"ds_variables":                     "var_name var_value",
		"ds_blood_glucose_log":             "blood_glucose_level meal_type meal_type_description nutrition_log_id source_id source_instance",
		"ds_oxygen_saturation_log":         "measurement_id oxygen_saturation oxygen_therapy_administration_mode_description record_created_timestamp",
		"ds_measurements":                  "source_device_type source_name measurement_type measurement_timestamp_start measurement_timestamp_end measurement_value",
		"ds_retail_purchases":              "invoice_no stock_code description quantity invoice_date unit_price customer_id country",
		"ds_iot_readings":                  "ts sensor value unit quality",
		"ds_card_transactions":             "transaction_id booking_date amount currency creditor_name creditor_account debtor_account mcc description",
	} {
		d, ok := Default().Dataset(dataset)
		if !ok {
			t.Errorf("%s is missing", dataset)
			continue
		}
		for _, f := range strings.Fields(fields) {
			if _, ok := d.Field(f); !ok {
				t.Errorf("%s: %s is missing", dataset, f)
			}
		}
	}
}

func TestIsSystem(t *testing.T) {
	for _, n := range []string{"id", "ds_id", "instance", "source", "created_timestamp", "updated_timestamp"} {
		if !IsSystem(n) {
			t.Error(n)
		}
	}
	if IsSystem("title") || IsSystem("") {
		t.Error("an ordinary name is taken")
	}
}

// No bytes make the loader panic, and what it accepts keeps the rules.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(file(`{"number":1,"name":"a","type":"text"}`)))
	f.Add([]byte(`{"name":"ds_extra","fields":[null],"aliases":[null]}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"name":"mood","values":["Glad",{"value":"Sad"},null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := loader{datasets: map[string]*Dataset{}, lookups: map[string]*lookup{}}
		if l.addLookup("mood", b) == nil && !l.lookups["mood"].has([]byte(strings.ToUpper(l.lookups["mood"].values[0]))) &&
			strings.EqualFold(l.lookups["mood"].values[0], strings.ToUpper(l.lookups["mood"].values[0])) {
			t.Error("a lookup does not have its own value")
		}
		if l.addDataset("ds_extra", b) != nil {
			return
		}
		if _, err := l.finish(); err != nil {
			return
		}
		d := l.datasets["ds_extra"]
		if d.Mask()&1 != 0 || bits.OnesCount64(d.Mask()) != len(d.Fields) {
			t.Errorf("mask %x for %d fields", d.Mask(), len(d.Fields))
		}
		if _, ok := d.Field("con_id"); ok {
			t.Error("con_id is a field")
		}
	})
}
