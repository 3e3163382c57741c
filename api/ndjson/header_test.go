package ndjson

import "testing"

func TestParseHeader(t *testing.T) {
	const key = "abcdefghijklmnopqrstuvwxyz234567"
	for _, line := range []string{
		`{"con_id":"97-1545","key":"` + key + `","dataset":"ds_home","instance":2}`,
		`{"con_id": "97-1545", "instance": 2, "dataset": "ds_home", "key": "` + key + `"} ` + "\r",
	} {
		var h Header
		if !IsHeader([]byte(line)) {
			t.Fatalf("%s is no header", line)
		}
		if err := ParseHeader([]byte(line), &h); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if h.UID != 97 || h.NID != 1545 || string(h.Key) != key || string(h.Dataset) != "ds_home" || h.Instance != 2 {
			t.Fatalf("%s: got %+v", line, h)
		}
	}
	var h Header
	line := []byte(`{"con_id":"1-2","key":"kk","dataset":"d"}`)
	if err := ParseHeader(line, &h); err != nil || h.Instance != 0 {
		t.Fatal(err, h)
	}
	clear(h.Key)
	if string(line) != "{\"con_id\":\"1-2\",\"key\":\"\x00\x00\",\"dataset\":\"d\"}" {
		t.Fatal("the key is not in the line, so it cannot be overwritten there")
	}
}

func TestParseHeader_Refuses(t *testing.T) {
	for line, want := range map[string]Error{
		`{"key":"k","con_id":"1-2","dataset":"d"}`:                         {Malformed, "", 0},
		`{"con_id":"1-2","dataset":"d"}`:                                   {Malformed, "key", 30},
		`{"con_id":"1-2","key":"k"}`:                                       {Malformed, "dataset", 26},
		`{"con_id":"1-2","key":"k","dataset":""}`:                          {Malformed, "dataset", 36},
		`{"con_id":"12","key":"k","dataset":"d"}`:                          {Malformed, "con_id", 10},
		`{"con_id":"-2","key":"k","dataset":"d"}`:                          {Malformed, "con_id", 10},
		`{"con_id":"01-2","key":"k","dataset":"d"}`:                        {Malformed, "con_id", 10},
		`{"con_id":"1-2-3","key":"k","dataset":"d"}`:                       {Malformed, "con_id", 10},
		`{"con_id":"1-4294967296","key":"k","dataset":"d"}`:                {Malformed, "con_id", 10},
		`{"con_id":12,"key":"k","dataset":"d"}`:                            {Malformed, "con_id", 10},
		`{"con_id":"1-2","con_id":"1-2","key":"k","dataset":"d"}`:          {DuplicateKey, "con_id", 16},
		`{"con_id":"1-2","key":"k","dataset":"d","x":1}`:                   {UnknownField, "x", 40},
		`{"con_id":"1-2","key":"k","dataset":"d","instance":-1}`:           {Number, "instance", 51},
		`{"con_id":"1-2","key":"k","dataset":"d","instance":1.0}`:          {Malformed, "instance", 51},
		`{"con_id":"1-2","key":"k","dataset":"d","instance":"1"}`:          {Number, "instance", 51},
		`{"con_id":"1-2","key":"k","dataset":"d","instance":4294967296}`:   {Malformed, "instance", 51},
		`{"con_id":"1-2","key":"\u006b","dataset":"d"}`:                    {Malformed, "key", 29},
		`{"con_id":"1-2","key":"k","dataset":"d"}x`:                        {Malformed, "", 40},
		`{"con_id":"1-2","key":"k","dataset":"d"`:                          {Malformed, "dataset", 39},
		`{"con_id":"1-2","key":"k","dataset":"d",}`:                        {Malformed, "", 40},
		"{\"con_id\":\"1-2\",\"key\":\"\xff\",\"dataset\":\"d\"}":          {UTF8, "key", 23},
		"{\"con_id\":\"1-2\",\"key\":\"k\x01\",\"dataset\":\"d\"}":         {Malformed, "key", 24},
		`{"con_id":{"a":1},"key":"k","dataset":"d"}`:                       {Malformed, "con_id", 10},
		`{"con_id":null,"key":"k","dataset":"d","instance":9999999999999}`: {Malformed, "con_id", 10},
	} {
		var h Header
		if err := ParseHeader([]byte(line), &h); err == nil {
			t.Errorf("%s accepted", line)
		} else if *err != want {
			t.Errorf("%s: got %+v, want %+v", line, *err, want)
		}
	}
}
