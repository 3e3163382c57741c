package push

import (
	"os"
	"path/filepath"
	"testing"
)

// shared finds a folder of the shared sample data.
func shared(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("HOLDFAST_SHARED")
	if root == "" {
		root = filepath.Join(repoRoot(t), "..", "shared")
	}
	dir := filepath.Join(root, "data", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared data absent")
	}
	return dir
}

func repoRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

func shippedMap(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repoRoot(t), "cmd", "holdfast", "maps", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every row of the shared data is mapped or rejected for a stated reason.
func TestDryRun_SharedData(t *testing.T) {
	for _, tt := range []struct {
		name, dir                       string
		members                         int
		read, mapped, skipped, rejected int64
	}{
		{"energy-appliance-1s", "energy-appliance-1s", 8, 2311704, 2311704, 0, 0},
		{"energy-meter-30min", "energy-meter-30min", 6, 174961, 174961, 0, 0},
		{"transactions-retail", "transactions-retail", 4301, 505287, 381448, 0, 123839},
		{"fitbit-daily-activity", "health-fitbit", 33, 940, 940 * 12, 0, 0},
		{"fitbit-hourly-steps", "health-fitbit", 33, 22099, 22099, 0, 0},
		{"fitbit-minute-steps", "health-fitbit", 33, 21645, 1298700, 0, 0},
		{"fitbit-sleep", "health-fitbit", 24, 413, 413 * 3, 0, 0},
		{"fitbit-weight", "health-fitbit", 8, 67, 136, 65, 0},
		{"calls", "calls-sms", 502, 2696, 2 * 2696, 0, 0},
		{"sms", "calls-sms", 536, 19032, 2 * 19032, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && tt.read > 100000 {
				t.Skip("large")
			}
			s, err := Run(t.Context(), Options{Map: shippedMap(t, tt.name), Data: []string{shared(t, tt.dir)}, DryRun: true})
			if err != nil {
				t.Fatal(err)
			}
			if s.Read != tt.read || s.Mapped != tt.mapped || s.Skipped != tt.skipped || s.Rejected != tt.rejected || s.Members != tt.members {
				t.Fatalf("read %d, mapped %d, skipped %d, rejected %d, members %d; want %+v", s.Read, s.Mapped, s.Skipped, s.Rejected, s.Members, tt)
			}
			if tt.name == "transactions-retail" && (len(s.RejectedBy) != 1 || s.RejectedBy[0].Reason != "no customer: CustomerID is empty") {
				t.Fatalf("reasons %v", s.RejectedBy)
			}
		})
	}
}

func BenchmarkMap(b *testing.B) {
	for _, name := range []string{"energy-appliance-1s", "transactions-retail"} {
		b.Run(name, func(b *testing.B) {
			dir := shared(b, name)
			m := shippedMap(b, name)
			rows := int64(0)
			for b.Loop() {
				s, err := Run(b.Context(), Options{Map: m, Data: []string{dir}, DryRun: true})
				if err != nil {
					b.Fatal(err)
				}
				rows += s.Read
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
