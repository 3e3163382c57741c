package api

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"holdfast/actors/pds/schema"
)

func getHelper(t *testing.T, path string, want int, into any) string {
	t.Helper()
	status, body := helperRoutes.serve(path)
	if status != want {
		t.Errorf("%s: status %d, want %d: %.200s", path, status, want, body)
	}
	if !json.Valid(body) {
		t.Fatalf("%s: no JSON: %.200s", path, body)
	}
	if into != nil && status == 200 {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return string(body)
}

var helperRoutes = &validations{cat: schema.Default()}

type mdsListed struct {
	MachineName string `json:"dataset_machine_name"`
	Name        string `json:"dataset_name"`
	Status      string `json:"status"`
}

func TestValidations_Datasets(t *testing.T) {
	for _, path := range []string{"/validations/mds/datasets", "/validations/mds/datasets/", "/developer-helpers/datasets"} {
		var all []mdsListed
		body := getHelper(t, path, 200, &all)
		if len(all) != len(schema.Default().Datasets()) {
			t.Errorf("%s lists %d datasets", path, len(all))
		}
		if !strings.HasPrefix(body, `[{"dataset_machine_name":"ds_about_me","dataset_name":"About Me","status":"Implement"},`) {
			t.Errorf("%s: %.120s", path, body)
		}
		if !strings.Contains(body, `{"dataset_machine_name":"ds_address","dataset_name":"Address","status":"Implement"}`) {
			t.Errorf("%s: the published example is missing", path)
		}
	}
}

func TestValidations_DatasetsByStatusAndType(t *testing.T) {
	only := func(path string, keep func(*schema.Dataset) bool) {
		t.Helper()
		got := map[string]bool{}
		var list []mdsListed
		getHelper(t, path, 200, &list)
		for _, d := range list {
			got[d.MachineName] = true
		}
		for _, d := range schema.Default().Datasets() {
			if got[d.Name] != keep(d) {
				t.Errorf("%s: %s is listed: %v", path, d.Name, got[d.Name])
			}
		}
	}
	only("/validations/mds/datasets/live", func(d *schema.Dataset) bool { return d.Status == schema.Live })
	only("/developer-helpers/datasets/in%20development/implement", func(d *schema.Dataset) bool {
		return d.Status == schema.InDevelopment || d.Status == schema.Implement
	})
	only("/validations/mds/datasets/Live/In Development/HOLD", func(d *schema.Dataset) bool { return d.Status != schema.Implement })
	only("/validations/mds/datasets/type/metadata", func(d *schema.Dataset) bool { return d.Kind == schema.Metadata })
	only("/developer-helpers/datasetsbytype/Transactional", func(d *schema.Dataset) bool { return d.Kind == schema.Transactional })
	for _, path := range []string{"/validations/mds/datasets/lively", "/validations/mds/datasets/live//hold",
		"/validations/mds/datasets/type/other", "/developer-helpers/datasetsbytype/x"} {
		getHelper(t, path, 400, nil)
	}
	getHelper(t, "/validations/mds/datasets/live/implement/hold/live", 404, nil)
	getHelper(t, "/validations/mds/datasets/type", 404, nil)
}

func TestValidations_DatasetsAndFields(t *testing.T) {
	type withFields struct {
		mdsListed
		FileType    string                       `json:"pds_file_type"`
		Environment string                       `json:"environment"`
		Fields      map[string]map[string]string `json:"fields"`
	}
	for path, extended := range map[string]bool{"/validations/mds/datasets-and-fields": false, "/validations/mds/all-datasets-and-fields": true} {
		var groups map[string][]withFields
		getHelper(t, path, 200, &groups)
		n := 0
		for status, list := range groups {
			for _, d := range list {
				n++
				have, ok := schema.Default().Dataset(d.MachineName)
				if !ok || d.Status != status || have.Status != status || len(d.Fields) != len(have.Fields) {
					t.Errorf("%s: %s under %s", path, d.MachineName, status)
					continue
				}
				if want := map[schema.Kind]string{schema.Metadata: "JSON", schema.Transactional: "SQLite"}[have.Kind]; d.FileType != want {
					t.Errorf("%s: %s is %s", path, d.MachineName, d.FileType)
				}
				if (d.Environment != "") != extended {
					t.Errorf("%s: environment %q", path, d.Environment)
				}
				for name, f := range d.Fields {
					if f["field_name"] != name || f["display_name"] == "" || f["data_type"] == "" {
						t.Errorf("%s: %s %s: %v", path, d.MachineName, name, f)
					}
					if want := map[bool]int{false: 3, true: 10}[extended]; len(f) != want {
						t.Errorf("%s: %s has %d members, want %d", path, name, len(f), want)
					}
				}
			}
		}
		if n != len(schema.Default().Datasets()) {
			t.Errorf("%s: %d datasets", path, n)
		}
	}
}

func TestValidations_DatasetFields(t *testing.T) {
	want := `{"field_ni_name":{"field_name":"field_ni_name","display_name":"Name","data_type":"text","not_null":"false","default":"","field_description":"Name on the card","field_example":"Catherine Jones","field_order":"1","length":"65536","status":"Live"},` +
		`"field_ni_number":{"field_name":"field_ni_number","display_name":"Number","data_type":"text","not_null":"false","default":"","field_description":"","field_example":"QQ123456C","field_order":"2","length":"65536","status":"Live"}}`
	for _, path := range []string{"/validations/mds/dataset/ds_ni", "/validations/mds/dataset/field_ds_ni"} {
		if got := getHelper(t, path, 200, nil); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
	want = `{"field_ni_name":{"field_name":"field_ni_name","display_name":"Name","data_type":"text"},"field_ni_number":{"field_name":"field_ni_number","display_name":"Number","data_type":"text"}}`
	for _, path := range []string{"/validations/mds/dataset/ds_ni/fieldtypes", "/developer-helpers/types/ds_ni", "/developer-helpers/types/field_ds_ni"} {
		if got := getHelper(t, path, 200, nil); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
	for _, path := range []string{"/validations/mds/dataset/ds_none", "/validations/mds/dataset/ds_none/fieldtypes", "/developer-helpers/types/none"} {
		if got := getHelper(t, path, 400, nil); got != `{"error":{"message":"Invalid dataset name."}}` {
			t.Errorf("%s: %s", path, got)
		}
	}
	var details map[string]map[string]string
	getHelper(t, "/validations/mds/dataset/ds_variables", 200, &details)
	if details["var_name"]["not_null"] != "true" || details["var_value"]["data_type"] != "blob" {
		t.Errorf("ds_variables: %v", details)
	}
}

func TestValidations_FieldSearchSummary(t *testing.T) {
	if got := getHelper(t, "/validations/mds/field/type/blood_glucose_level", 200, nil); got != `{"field_name":"blood_glucose_level","display_name":"Blood glucose level","data_type":"floating point"}` {
		t.Error(got)
	}
	getHelper(t, "/validations/mds/field/type/none", 400, nil)
	if got := getHelper(t, "/validations/mds/search/gender", 200, nil); got != `{"search_term":"gender","matching_fields":["field_personal_gender","field_gender_birth"]}` {
		t.Error(got)
	}
	if got := getHelper(t, "/validations/mds/search/%3Czqxj%3E", 200, nil); got != `{"search_term":"<zqxj>","matching_fields":""}` {
		t.Error(got)
	}
	var s struct{ Summary map[string]string }
	getHelper(t, "/validations/mds/summary", 200, &s)
	if len(s.Summary) != 3 || s.Summary["total_datasets"] != strconv.Itoa(len(schema.Default().Datasets())) || s.Summary["total_live_datasets"] == "" || s.Summary["total_fields"] == "" {
		t.Errorf("%v", s)
	}
}

func TestValidations_Lookup(t *testing.T) {
	want := `["Broadband","Electricity","Gas","Gas & Electricity","Oil","Telephone","Water"]`
	for _, path := range []string{"/validations/lookup/utility_service", "/developer-helpers/options/lu_utility_service",
		"/validations/lookup/lu_utility_service", "/validations/lookup/field_utility_service", "/validations/lookup/Utility_Service"} {
		if got := getHelper(t, path, 200, nil); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, name := range strings.Fields("bank_acc_type comm_type country dl_group dl_issuing_authority edu_org_type gender home_tenancy marital_status medication_dosage_units mode_of_study pronouns property_type title utility_service") {
		var values []string
		getHelper(t, "/validations/lookup/"+name, 200, &values)
		for _, v := range values {
			for _, spelt := range []string{v, strings.ToUpper(v), strings.ToLower(v)} {
				if got := getHelper(t, "/validations/lookup/"+name+"/"+url.PathEscape(spelt), 200, nil); got != `{"result":"true"}` {
					t.Errorf("%s %q: %s", name, spelt, got)
				}
			}
		}
		if got := getHelper(t, "/validations/lookup/"+name+"/zqxj", 200, nil); got != `{"result":"false"}` {
			t.Errorf("%s: %s", name, got)
		}
	}
	var groups []map[string]string
	getHelper(t, "/validations/lookup/race_ethnicity", 200, &groups)
	if len(groups) == 0 || groups[0]["value"] == "" {
		t.Errorf("race_ethnicity: %v", groups)
	}
	for path, want := range map[string]string{
		"/validations/lookup/race_ethnicity/scottish":              `{"result":"true"}`,
		"/validations/lookup/pronouns/she/her":                     `{"result":"true"}`,
		"/validations/lookup/utility_service/Gas & Electricity":    `{"result":"true"}`,
		"/validations/lookup/country/united%20kingdom":             `{"result":"true"}`,
		"/validations/lookup/country/" + strings.Repeat("x", 9000): `{"result":"false"}`,
		"/validations/lookup/medication_dosage_units/%25":          `{"result":"true"}`,
		"/validations/lookup/gender/%ff":                           `{"result":"false"}`,
	} {
		if got := getHelper(t, path, 200, nil); got != want {
			t.Errorf("%.80s: %s", path, got)
		}
	}
	getHelper(t, "/validations/lookup/mood", 400, nil)
	getHelper(t, "/validations/lookup/mood/glad", 400, nil)
	getHelper(t, "/developer-helpers/options/lu_mood", 400, nil)
}

func TestValidations_NoSuchPath(t *testing.T) {
	for _, path := range []string{"", "/", "/validations", "/validations/", "/validations/mds", "/validations/lookup", "/validations/mds/dataset",
		"/validations/mds/dataset/ds_ni/other", "/validations/mds/summary/x", "/validations/mds/search", "/validations/mds/field/ds_ni",
		"/validations/mds/datasets-and-fields/x", "/developer-helpers", "/developer-helpers/types", "/developer-helpers/options",
		"/developer-helpers/options/lu_title/Mr", "/developer-helpers/types/ds_ni/x", "/validations/mts", "/other/mds/datasets", "/validations/mts/other"} {
		if got := getHelper(t, path, 404, nil); got != `{"error":{"message":"No such helper."}}` {
			t.Errorf("%q: %s", path, got)
		}
	}
}

func TestValidations_Templates(t *testing.T) {
	for _, path := range []string{"/validations/mts/templates", "/validations/mts/features"} {
		if got := getHelper(t, path, 200, nil); got != "[]" {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, path := range []string{"/validations/mts/templates/About%20Me", "/validations/mts/templates/a/b/c", "/validations/mts/features/x", "/validations/mts/features/group/y"} {
		getHelper(t, path, 400, nil)
	}
}

func FuzzValidations(f *testing.F) {
	for _, p := range []string{"/validations/mds/datasets/live", "/validations/lookup/gender/x", "/validations/mds/search/%zz", "/developer-helpers/types/ds_ni"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		status, body := helperRoutes.serve(path)
		if status != 200 && status != 400 && status != 404 || !json.Valid(body) {
			t.Errorf("%d %q", status, body)
		}
	})
}
