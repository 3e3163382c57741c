package schema

import "testing"

func TestDefault_Loads(t *testing.T) {
	c, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(len(c.Datasets()), len(c.Lookups()))
}
