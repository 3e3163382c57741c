package seal

import (
	"os"
	"os/exec"
	"testing"
)

// The browser runs the client half as WebAssembly.
func TestBuildsForTheBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("builds for another platform")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	cmd := exec.Command(goTool, "build", "holdfast/storage/seal", "holdfast/storage/seal/client")
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
