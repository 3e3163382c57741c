package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/storage/seal"
)

// dev takes only what dev made; serve takes no sandbox.
func TestDev_RefusesOtherDirectories(t *testing.T) {
	made := t.TempDir()
	a, err := devBarrier(made)
	if err != nil {
		t.Fatal(err)
	}
	b, err := devBarrier(made)
	if err != nil || a.Check() != b.Check() {
		t.Fatalf("a second start finds another key: %v", err)
	}
	node := t.TempDir()
	if err := os.WriteFile(filepath.Join(node, "FORMAT"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := devBarrier(node); err == nil || !strings.Contains(err.Error(), "not a sandbox") {
		t.Fatalf("a node's directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(node, "barrier.key")); err == nil {
		t.Fatal("the refusal left a key behind")
	}
	live := t.TempDir()
	k := seal.NewBarrier(seal.Live)
	if err := os.WriteFile(filepath.Join(live, "barrier.key"), k.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := devBarrier(live); err == nil || !strings.Contains(err.Error(), "live") {
		t.Fatalf("a live key: %v", err)
	}
	s := ServeCmd{Data: t.TempDir(), BarrierFile: filepath.Join(made, "barrier.key"), Plain: true}
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), "sandbox") {
		t.Fatalf("serve with a sandbox key: %v", err)
	}
	s = ServeCmd{Data: filepath.Join(live, "data"), BarrierFile: filepath.Join(live, "barrier.key"), Plain: true}
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), "stolen disks") {
		t.Fatalf("serve with the key on the data's disk: %v", err)
	}
}
