package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's tour, run as printed there: real binary, real curl.
func TestTour(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the tour needs %s", tool)
		}
	}
	bin := filepath.Join(t.TempDir(), "holdfast")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command("bash", filepath.Join("testdata", "tour.sh"), bin).CombinedOutput()
	if err != nil {
		t.Fatalf("tour: %v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		`agreement not approved: ds_energy_consumption: needs create"}   [403]`,
		`{"success":1,"last_insert_id":3}   [200]`,
		`value does not fit the field's type: ds_energy_consumption.field_energy_reading_value (row 2)"}   [400]`,
		`field not in agreement: ds_energy_consumption.field_energy_source_name: needs create"}   [403]`,
		`dataset not in agreement: ds_referrals: needs read"}   [403]`,
		`"field_energy_reading_value":"230.50"`,
		`<field_energy_reading_value>230.50</field_energy_reading_value>`,
		`{"success":0,"message":"agreement revoked"}   [403]`,
		"Verified.",
		"FAULT: file: the bytes differ",
		"[exit 1]",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the tour does not say %q", want)
		}
	}
	// The filter by id returned row 3 alone.
	if !regexp.MustCompile(`(?m)^\{"3":\{"id":"3",[^{]*\}\}   \[200\]$`).MatchString(text) {
		t.Error("the filtered read is not row 3 alone")
	}
	// Every one of the nine calls stands in the audit.
	audit := text[strings.Index(text, "# Her audit"):]
	for what, n := range map[string]int{"  create ": 4, "  read ": 5, "  approve ": 1, "  revoke ": 1} {
		if got := strings.Count(audit, what); got != n {
			t.Errorf("the audit has %d of%q, want %d", got, what, n)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
