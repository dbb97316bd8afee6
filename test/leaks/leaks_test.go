package main

import (
	"os/exec"
	"strings"
	"testing"

	"magellan/internal/childproc"
)

// The leaks fit magellan's sources. leakhunt and the image for the hunt build them.
func TestLeaksBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds magellan")
	}
	file, err := write("../..", t.TempDir(), names())
	if err != nil {
		t.Fatal(err)
	}
	// go vet reads cgo files from the disk, not from the overlay.
	build := exec.Command("go", "build", "-overlay", file, "-o", t.TempDir(), "./cmd/magellan")
	build.Dir = "../.."
	if _, err := childproc.Run(t.Context(), build); err != nil {
		t.Error(err)
	}
}

func TestLeakThatIsNone(t *testing.T) {
	if _, err := write("../..", t.TempDir(), []string{"leakvector", "leek"}); err == nil || !strings.Contains(err.Error(), `no leak "leek"`) {
		t.Errorf("got %v", err)
	}
}
