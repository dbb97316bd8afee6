package heapprof

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// namesakes are the program's own functions on each stack of testdata/alike.c, outside
// of the one that is told by the case.
var namesakes = []string{"prof_dump", "te_free", "arena_malloc_stats", "je_loop", "thread_event_loop", "main"}

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
			if name == "without a pie" {
				source = filepath.Join(dir, "jemalloc.c")
			}
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
				for _, f := range symbols.Callers(s.PCs, nil) {
					names = append(names, f.Function)
				}
				for _, f := range sampleFrames(p.Sample[i]) {
					shown = append(shown, f.Function)
				}
				at := slices.Index(names, namesakes[0])
				if at < 0 {
					continue // of a library's start
				}
				if !slices.Equal(names[at:at+len(namesakes)], namesakes) {
					t.Errorf("the stack is %q, want %q in it", names, namesakes)
				}
				if len(shown) < at || !slices.Equal(shown, names[:len(shown)]) {
					t.Errorf("in the profile the stack is %q, want %q", shown, names)
				}
				seen[strings.Join(names[:at], " < ")]++
				program := slices.IndexFunc(s.PCs, func(pc uint64) bool {
					frames := symbols.Frames(pc)
					return len(frames) > 0 && frames[len(frames)-1].Function == namesakes[0]
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

// TestMarkAllocator: of a symbol table only what is jemalloc's is marked, whatever
// prefix it was built with.
func TestMarkAllocator(t *testing.T) {
	type function struct {
		name  string
		file  string // of a static one
		index int    // of that, where two have one name
		want  bool
	}
	entries := func(prefix string) []function {
		var all []function
		for _, name := range []string{"malloc", "calloc", "mallctl", "mallctlnametomib", "mallctlbymib"} {
			all = append(all, function{prefix + name, "", 0, true})
		}
		return all
	}
	for name, functions := range map[string][]function{
		"no prefix": slices.Concat(
			[]function{{"main", "", 0, false}, {"do_rallocx", "jemalloc.c", 1, true}},
			entries(""),
			[]function{{"stats_print_atexit", "jemalloc.c", 1, true}, {"malloc_usable_size", "", 0, true}, {"do_rallocx", "jemalloc.c", 2, false}, {"prof_dump", "prof.c", 1, false}},
		),
		"a prefix": slices.Concat(
			[]function{{"malloc", "", 0, false}, {"mallocx", "", 0, false}, {"imalloc", "wrap.c", 1, false}},
			entries("_rjem_"),
			[]function{{"imalloc", "jemalloc.c", 1, true}, {"_rjem_mallocx", "", 0, true}, {"_rjem_own", "", 0, false}, {"je_malloc_default", "", 0, true}},
		),
		// Of files that the program calls jemalloc.c as well.
		"static functions of others beside it": slices.Concat(
			[]function{{"main", "", 0, false}, {"before", "jemalloc.c", 1, false}},
			entries(""),
			[]function{{"user", "", 0, false}, {"after_user", "jemalloc.c", 2, false}, {"mallocx", "", 0, true}, {"last", "jemalloc.c", 3, false}},
		),
		"another malloc":           {{"malloc", "", 0, false}, {"mallctl", "", 0, false}, {"imalloc", "jemalloc.c", 1, false}, {"calloc", "", 0, false}},
		"without mallctlbymib":     {{"malloc", "", 0, false}, {"mallctl", "", 0, false}, {"mallctlnametomib", "", 0, false}},
		"without mallctlnametomib": {{"malloc", "", 0, false}, {"mallctl", "", 0, false}, {"mallctlbymib", "", 0, false}},
		"without malloc":           {{"calloc", "", 0, false}, {"mallctl", "", 0, false}, {"mallctlnametomib", "", 0, false}, {"mallctlbymib", "", 0, false}},
		"optimized as a whole": slices.Concat(
			entries(""),
			[]function{{"user", "<artificial>", 1, false}, {"mallocx", "", 0, true}},
		),
	} {
		table := &symbolTable{names: []byte{0}}
		add := func(text string) uint32 {
			at := uint32(len(table.names))
			table.names = append(append(table.names, text...), 0)
			return at
		}
		files := make(map[string]uint32)
		for i, f := range functions {
			s := symbol{addr: uint64(0x100 * (i + 1)), size: 0x100, name: add(f.name)}
			if f.file != "" {
				key := f.file + string(rune('0'+f.index))
				if files[key] == 0 {
					table.files = append(table.files, add(f.file))
					files[key] = uint32(len(table.files))
				}
				s.file = files[key]
			}
			table.symbols = append(table.symbols, s)
		}
		table.tidy(false)
		for i, f := range functions {
			if got := table.allocator(uint64(0x100*(i+1)) + 5); got != f.want {
				t.Errorf("%s: %s of %q is jemalloc's: %v", name, f.name, f.file, got)
			}
		}
	}
}
