//go:build !asan

package pprof

import (
	"bytes"
	"context"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A program without a dynamic loader starts, and its profile has C and Go frames.
// Its malloc is called before its stacks can be unwound: if all allocations are
// sampled, these are. If one in 16 KiB is, the unwinder's own first allocation is
// sampled in two starts of three.
func TestStaticPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program three times")
	}
	for _, v := range []struct {
		name  string
		flags []string
	}{
		{"external linking", []string{"-ldflags=-linkmode=external"}},
		{"static", []string{"-ldflags=-linkmode=external -extldflags=-static"}},
		{"static pie", []string{"-buildmode=pie", "-ldflags=-linkmode=external -extldflags=-static-pie"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "static")
			mustRun(t, nil, "go", append(append([]string{"build", "-o", binary}, v.flags...), "./testdata/static")...)
			if static := !dynamic(t, binary); static != strings.HasPrefix(v.name, "static") {
				t.Fatalf("a static program: %v", static)
			}
			for _, conf := range append([]string{"", "lg_prof_sample:0"}, slices.Repeat([]string{"lg_prof_sample:14"}, 8)...) {
				t.Run(conf, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it may wait for itself
					defer cancel()
					var text, stderr bytes.Buffer
					cmd := exec.CommandContext(ctx, binary)
					cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "MALLOC_CONF="+conf), &text, &stderr
					if err := cmd.Run(); err != nil {
						t.Fatalf("%v\n%s", err, &stderr)
					}
					expectStack(t, text.Bytes(),
						"leaktest_new_record", "leaktest_leak", "runtime.asmcgocall", "magellan/cgo/jemalloc/internal/leaktest.Leak", "main.main", "runtime.main")
				})
			}
		})
	}
}

// dynamic reports whether a program has its libraries loaded when it starts.
func dynamic(t *testing.T, binary string) bool {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
