package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/cmd/internal/sandbox"
)

// The JSON test suite: each file as the value of a field and as a whole body
// and row. What must not parse is refused; a string that must parse is stored
// as encoding/json reads it; nothing else is stored.
func TestJSONSuite(t *testing.T) {
	dir := shared(t, "adversarial")
	n := start(t, 0)
	c := n.client("Northgrid Energy")
	ada, ben := n.agreements("Northgrid Energy")[0], n.agreements("Northgrid Energy")[1]
	var stored [2][]*string // by delivery and by bulk
	counts := map[string]int{}
	for _, name := range globbed(t, filepath.Join(dir, "json", "test_parsing", "*.json")) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		value := fmt.Sprintf(`{"field_energy_source_name":%s}`, b)
		var text *string
		if json.Unmarshal(b, &text) != nil {
			text = nil
		}
		for i, k := range []struct {
			req  *asked
			mark string // of a row that was stored
		}{
			{c.delivery(ada).text(`{"ds_energy_consumption":` + value + `}`), `"success":1`},
			{c.bulk(ben, value), `"first_id"`},
			{c.delivery(ada).text(string(b)), `"success":1`},
			{c.bulk(ben, string(b)), `"first_id"`},
		} {
			status, answer := c.do(t, k.req)
			ok := strings.Contains(answer, k.mark)
			switch {
			case status >= 500 || ok != (status == 200) && k.mark == `"success":1`:
				t.Errorf("%s, way %d: %d %.200s", base, i, status, answer)
			case ok && base[0] == 'n', ok && i > 1:
				t.Errorf("%s, way %d was stored: %.200s", base, i, answer)
			case !ok && base[0] == 'y' && i < 2 && text != nil:
				t.Errorf("%s, way %d was refused: %d %.200s", base, i, status, answer)
			case ok && base[0] == 'y' && text == nil:
				counts["y_ of another kind stored"]++
				t.Logf("%s, way %d: %s stored", base, i, b)
			case ok:
				counts[base[:2]+" stored"]++
			default:
				counts[base[:2]+" refused"]++
			}
			if ok && i < 2 {
				want := strings.TrimSpace(string(b))
				if text != nil {
					want = *text
				}
				stored[i] = append(stored[i], &want)
				if want == "null" {
					stored[i][len(stored[i])-1] = nil
				}
			}
		}
	}
	t.Logf("%v", counts)
	for i, a := range []sandbox.Agreement{ada, ben} {
		body := c.get(a, energy, "json", "", "")
		at := 0
		got, err := readRows(body, a.ConID, []string{"field_energy_source_name"}, 1, 0, func(v []*string) {
			if at < len(stored[i]) && !reflect.DeepEqual(v[0], stored[i][at]) {
				t.Errorf("row %d, way %d is not the value that was sent", at+1, i)
			}
			at++
		})
		body.Close()
		if err != nil || got != len(stored[i]) {
			t.Errorf("way %d: %d rows, %d were acknowledged (%v)", i, got, len(stored[i]), err)
		}
	}
	n.healthy(t)
}
