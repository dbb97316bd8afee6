//go:build !asan

package pprof

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ristretto -tags jemalloc calls jemalloc under names with a prefix, and wants
// /usr/local/lib/libjemalloc.a. Built as doc.go of package jemalloc says, it uses the
// one jemalloc of the process, whatever lies at that place.
func TestBesideRistrettosJemalloc(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	for _, v := range []struct {
		name  string
		place func(t *testing.T, dir string)
	}{
		{"the same jemalloc", func(t *testing.T, dir string) {
			archives, err := filepath.Glob(filepath.Join(jemallocDir(t), "libjemalloc*.a"))
			if err != nil || len(archives) == 0 {
				t.Fatalf("no libjemalloc.a: %v", err)
			}
			for _, a := range archives {
				if err := os.Symlink(a, filepath.Join(dir, filepath.Base(a))); err != nil {
					t.Fatal(err)
				}
			}
		}},
		// Any use of it ends the program.
		{"a jemalloc with a prefix", func(t *testing.T, dir string) {
			source, object := filepath.Join(dir, "je.c"), filepath.Join(dir, "je.o")
			writeSource(t, source, "void je_calloc(void) { __builtin_trap(); }\nvoid je_free(void) { __builtin_trap(); }\nvoid je_mallctl(void) { __builtin_trap(); }\nvoid je_malloc_stats_print(void) { __builtin_trap(); }\n")
			mustRun(t, nil, "cc", "-c", "-o", object, source)
			mustRun(t, nil, "ar", "rc", filepath.Join(dir, "libjemalloc.a"), object)
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			dir := t.TempDir()
			place := filepath.Join(dir, "lib")
			if err := os.Mkdir(place, 0o755); err != nil {
				t.Fatal(err)
			}
			v.place(t, place)
			program := filepath.Join(dir, "prefixed")
			env := os.Environ()
			if os.Getenv("CGO_CFLAGS") == "" { // the distribution's libraries
				env = append(env, "CGO_CFLAGS=-g -O2 -DJEMALLOC_NO_DEMANGLE", "CGO_LDFLAGS=-g -O2 -L"+jemallocDir(t))
			}
			mustRun(t, env, "go", "build", "-modfile="+elsewhere(t, dir, place), "-tags=jemalloc", "-o", program, "./testdata/prefixed")
			expectStack(t, mustRun(t, nil, program), "runtime.asmcgocall", "github.com/dgraph-io/ristretto/v2/z.Calloc", "main.handler", "main.main")
		})
	}
}

// elsewhere makes a go.mod that has ristretto look into place where it looks into
// /usr/local/lib, which a test leaves alone.
func elsewhere(t *testing.T, dir, place string) string {
	t.Helper()
	const module = "github.com/dgraph-io/ristretto/v2"
	source := strings.TrimSpace(string(mustRun(t, nil, "go", "list", "-m", "-f", "{{.Dir}}", module)))
	copied := filepath.Join(dir, "ristretto")
	if err := os.CopyFS(copied, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(copied, "z", "calloc_jemalloc.go")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("/usr/local/lib/libjemalloc.a")) {
		t.Fatalf("ristretto does not name /usr/local/lib/libjemalloc.a any more: what doc.go of package jemalloc says of it has to change")
	}
	if err := os.Remove(name); err != nil { // it is read-only in the module cache
		t.Fatal(err)
	}
	writeSource(t, name, strings.ReplaceAll(string(text), "/usr/local/lib", place))

	root := filepath.Dir(strings.TrimSpace(string(mustRun(t, nil, "go", "env", "GOMOD"))))
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		writeSource(t, filepath.Join(dir, file), string(text))
	}
	modfile := filepath.Join(dir, "go.mod")
	mustRun(t, nil, "go", "mod", "edit", "-replace="+module+"="+copied, modfile)
	return modfile
}

// jemallocDir is where the jemalloc is that this test links.
func jemallocDir(t *testing.T) string {
	t.Helper()
	for _, flag := range strings.Fields(os.Getenv("CGO_LDFLAGS")) {
		if dir, ok := strings.CutPrefix(flag, "-L"); ok {
			return dir
		}
	}
	return filepath.Dir(strings.TrimSpace(string(mustRun(t, nil, "cc", "-print-file-name=libjemalloc.a"))))
}

func writeSource(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
