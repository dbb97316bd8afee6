package jemalloc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The header of a jemalloc with a prefix is refused by name. Without that, the first
// to fail would be the linker, for want of mallctl.
func TestHeaderWithPrefixIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "jemalloc"), 0o755); err != nil {
		t.Fatal(err)
	}
	header := "#include_next <jemalloc/jemalloc.h>\n#undef je_mallctl\n#define je_mallctl je_mallctl\n"
	if err := os.WriteFile(filepath.Join(dir, "jemalloc", "jemalloc.h"), []byte(header), 0o644); err != nil {
		t.Fatal(err)
	}
	flags := append(strings.Fields(os.Getenv("CGO_CFLAGS")), "-fsyntax-only", "shim.c")
	if out, err := exec.Command("cc", flags...).CombinedOutput(); err != nil {
		t.Fatalf("cc %v: %v\n%s", flags, err, out)
	}
	out, err := exec.Command("cc", append([]string{"-I" + dir}, flags...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--with-jemalloc-prefix") {
		t.Errorf("with that header: %v\n%s", err, out)
	}
}
