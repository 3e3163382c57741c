package push

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// DemoMember is one agreement that generated readings are delivered to.
type DemoMember struct {
	UID   uint32 `json:"uid"`
	ConID string `json:"con_id"`
	Key   string `json:"key"`
}

// DemoOptions say what Demo delivers.
type DemoOptions struct {
	PDX, Client, Secret string
	Dir                 string // where its files go
	Rows                int
	Members             []DemoMember
	Out                 io.Writer
}

const demoMap = `{"version":1,"name":"demo-readings","description":"Generated meter readings: ref;unix seconds;watts",
"source":{"format":"delimited","delimiter":";","header":false,"columns":["ref","at","watts"],"files":["*.csv"]},
"records":[{"dataset":"ds_energy_consumption","instance":0,"ref":{"column":"ref"},"noun":"home","fields":[
{"name":"field_energy_reading_timestamp","column":"at"},{"name":"field_energy_reading_value","column":"watts","type":"number"},
{"name":"field_energy_source_name","constant":"Smart meter"},{"name":"field_energy_source_type","constant":"Electricity"}]}]}`

// Demo generates readings, a file of them, and pushes it as any subscriber
// would, with progress and summary.
func Demo(ctx context.Context, o DemoOptions) error {
	if len(o.Members) == 0 {
		return errors.New("nobody has approved the demo agreement")
	}
	dir, err := os.MkdirTemp(o.Dir, "demo-push-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	data, keys, client := filepath.Join(dir, "readings.csv"), filepath.Join(dir, "keys.ndjson"), filepath.Join(dir, "client.json")
	if err := demoReadings(data, o.Rows, len(o.Members)); err != nil {
		return err
	}
	var k []byte
	for i, m := range o.Members {
		line, err := json.Marshal(struct {
			Ref string `json:"ref"`
			DemoMember
		}{"home-" + strconv.Itoa(i), m})
		if err != nil {
			return err
		}
		k = append(append(k, line...), '\n')
	}
	c, err := json.Marshal(map[string]string{"client_id": o.Client, "client_secret": o.Secret, "token_url": o.PDX + "/oauth2/token", "pdx_url": o.PDX})
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(keys, k, 0o600), os.WriteFile(client, c, 0o600)); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "pushing %d generated readings of %d homes\n", o.Rows, len(o.Members))
	s, err := Run(ctx, Options{Map: []byte(demoMap), Data: []string{data}, Keys: keys, Client: client, Progress: o.Out,
		Rejects: filepath.Join(dir, "rejects.ndjson"), State: filepath.Join(dir, "state"), GiveUp: time.Minute})
	if err != nil {
		return err
	}
	s.RejectsFile, s.StateFile = "", ""
	s.Print(o.Out)
	return nil
}

func demoReadings(name string, rows, members int) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	x := uint32(2463534242)
	var line []byte
	for i := range rows {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		line = append(append(line[:0], "home-"...), strconv.Itoa(i/20%members)...)
		line = append(strconv.AppendInt(append(line, ';'), at+int64(i/members), 10), ';')
		line = append(strconv.AppendUint(line, uint64(60+x%2400), 10), '.', byte('0'+(x>>8)%10), '\n')
		if _, err := w.Write(line); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}
