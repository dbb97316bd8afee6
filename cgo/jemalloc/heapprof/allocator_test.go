package heapprof

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// alike are the program's own functions on each stack of testdata/alike.c, outside
// of the one that is told by the case.
var alike = []string{"prof_dump", "te_free", "arena_malloc_stats", "je_loop", "thread_event_loop", "main"}

// TestAllocatorIsToldByItsPlace: of jemalloc's frames the outermost is left, and of
// the program's all are, though jemalloc has functions of these names.
func TestAllocatorIsToldByItsPlace(t *testing.T) {
	need(t, "gcc", "gcc and libjemalloc-dev")
	archive := strings.TrimSpace(run(t, exec.Command("gcc", "-print-file-name=libjemalloc.a")))
	for name, flags := range map[string][]string{
		"shared":         {"-ljemalloc"},
		"linked in":      {archive},
		"without a pie":  {"-no-pie", archive},
		"no debug lines": {"-g0", archive},
		"a file of the name prof.c, optimized as a whole": {"-flto", archive},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			source := filepath.Join(dir, "prof.c")
			text, err := os.ReadFile("testdata/alike.c")
			if err == nil {
				err = os.WriteFile(source, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, "arena")
			args := append([]string{"-Wall", "-Werror", "-g", "-O2", "-o", binary, source}, flags...)
			run(t, exec.Command("gcc", append(args, "-pthread", "-ldl", "-lm", "-lstdc++")...))
			d := mustParse(t, takeDump(t, binary))
			symbols := NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)

			p := d.Profile(ProfileOptions{Symbols: symbols})
			seen := make(map[string]int)
			for i, s := range d.Stacks {
				var names, shown []string
				for _, f := range symbols.Callers(s.PCs) {
					names = append(names, f.Function)
				}
				for _, f := range sampleFrames(p.Sample[i]) {
					shown = append(shown, f.Function)
				}
				at := slices.Index(names, alike[0])
				if at < 0 {
					continue // of a library's start
				}
				if !slices.Equal(names[at:at+len(alike)], alike) {
					t.Errorf("the stack is %q, want %q in it", names, alike)
				}
				if len(shown) < at || !slices.Equal(shown, names[:len(shown)]) {
					t.Errorf("in the profile the stack is %q, want %q", shown, names)
				}
				seen[strings.Join(names[:at], " < ")]++
				program := slices.IndexFunc(s.PCs, func(pc uint64) bool {
					frames := symbols.Frames(pc)
					return len(frames) > 0 && frames[len(frames)-1].Function == alike[0]
				})
				for j, pc := range s.PCs {
					if got := symbols.Allocator(pc); got != (j < symbols.entry(s.PCs)) && (j < symbols.entry(s.PCs) || j >= program) {
						t.Errorf("%v is the allocator's: %v", symbols.Frames(pc), got)
					}
				}
			}
			// Where a library is stripped, what malloc hands over to has no name.
			for stack, entries := range map[string][]string{
				"by_malloc":                   {"malloc", "je_malloc_default", ""},
				"by_calloc":                   {"calloc"},
				"by_aligned_alloc":            {"aligned_alloc"},
				"aligned < by_posix_memalign": {"posix_memalign"},
				"my_malloc < by_my_malloc":    {"malloc", "je_malloc_default", ""},
				"do_rallocx < by_realloc":     {"realloc", "do_rallocx", ""},
			} {
				found := 0
				for _, entry := range entries {
					found += seen[strings.TrimPrefix(entry+" < "+stack, " < ")]
				}
				if found == 0 {
					t.Errorf("no stack %s below one of %q: %v", stack, entries, seen)
				}
			}
		})
	}
}
