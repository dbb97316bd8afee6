//go:build !asan

package pprof

import (
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A program without a dynamic loader starts, and its profile has C and Go frames.
// Its malloc is called before its stacks can be unwound: if all allocations are
// sampled, these are. If one in 16 KiB is, the unwinder's own first allocation is
// sampled in two starts of three.
func TestStaticPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("builds this test three times")
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
			binary := filepath.Join(t.TempDir(), "pprof.test")
			mustRun(t, nil, "go", append(append([]string{"test", "-c", "-o", binary}, v.flags...), ".")...)
			if static := !dynamic(t, binary); static != strings.HasPrefix(v.name, "static") {
				t.Fatalf("a static program: %v", static)
			}
			for _, conf := range append([]string{"", "lg_prof_sample:0"}, slices.Repeat([]string{"lg_prof_sample:14"}, 8)...) {
				t.Run(conf, func(t *testing.T) {
					_, _, url, _ := program(t, binary, "server", "MALLOC_CONF="+conf)
					expectStack(t, fetch(t, url+"/debug/pprof/native", 200),
						"leaktest_new_record", "leaktest_leak", "runtime.asmcgocall", "magellan/cgo/jemalloc/internal/leaktest.Leak", "magellan/cgo/jemalloc/pprof.runServer", "runtime.main")
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
