package agent

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// TestLibraryPrograms runs the tests of the library itself, which are programs in C (lib/test): they
// run with the library's sampler, and without its constructor and its socket.
func TestLibraryPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the library is not written for " + runtime.GOARCH)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Parallel()
	out, err := exec.Command("lib/test/run.sh", t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
