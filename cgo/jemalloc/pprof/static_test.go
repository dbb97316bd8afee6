//go:build !asan

package pprof

import (
	"bytes"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
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
			build := exec.Command("go", append(append([]string{"test", "-c", "-o", binary}, v.flags...), ".")...)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", build, err, out)
			}
			if static := !dynamic(t, binary); static != strings.HasPrefix(v.name, "static") {
				t.Fatalf("%v: a static program: %v", build, static)
			}
			for _, conf := range append([]string{"", "lg_prof_sample:0"}, slices.Repeat([]string{"lg_prof_sample:14"}, 8)...) {
				_, _, url, _ := program(t, binary, "server", "MALLOC_CONF="+conf)
				p, err := profile.Parse(bytes.NewReader(fetch(t, url+"/debug/pprof/native", 200)))
				if err != nil {
					t.Fatal(err)
				}
				want := []string{"leaktest_new_record", "leaktest_leak", "runtime.asmcgocall", "magellan/cgo/jemalloc/internal/leaktest.Leak", "magellan/cgo/jemalloc/pprof.runServer", "runtime.main"}
				if !slices.ContainsFunc(p.Sample, func(s *profile.Sample) bool { return inOrder(functionsOf(s), want) }) {
					t.Errorf("MALLOC_CONF=%s: no stack has %v:\n%v", conf, want, p)
				}
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

// functionsOf names a sample's functions, innermost first.
func functionsOf(s *profile.Sample) []string {
	var names []string
	for _, l := range s.Location {
		for _, line := range l.Line {
			names = append(names, line.Function.Name)
		}
	}
	return names
}

// inOrder reports whether all of want are in names, in that order.
func inOrder(names, want []string) bool {
	for _, w := range want {
		i := slices.Index(names, w)
		if i < 0 {
			return false
		}
		names = names[i+1:]
	}
	return true
}
