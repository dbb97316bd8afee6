package heapprof

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestReadable(t *testing.T) {
	for name, want := range map[string]Frame{
		"malloc":                                 {Function: "malloc"},
		"_Zombie":                                {Function: "_Zombie"},
		"main._Zero":                             {Function: "main._Zero"},
		"_Znwm":                                  {Function: "operator new", Symbol: "_Znwm"},
		"_ZN4shop5cacheINS_6recordEE3putEPKS1_i": {Function: "shop::cache::put", Symbol: "_ZN4shop5cacheINS_6recordEE3putEPKS1_i"},
		"_RNvC6_123foo3bar":                      {Function: "123foo::bar", Symbol: "_RNvC6_123foo3bar"},
		"_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE": {Function: "core::fmt::Write::write_fmt", Symbol: "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"},
	} {
		f := Frame{Function: name}
		if f.readable(); f != want {
			t.Errorf("%s: %+v, want %+v", name, f, want)
		}
	}
	for name, want := range map[string]bool{"_Znwm": true, "_ZnamRKSt9nothrow_t": true, "_ZN4shopnwEm": false, "malloc": true, "my_malloc": false, "prof_dump": false} {
		f := Frame{Function: name}
		if f.readable(); f.Allocator() != want {
			t.Errorf("%s, %s, is the allocator: %v", name, f.Function, !want)
		}
	}
	// Each pair of letters doubles what is meant.
	bomb := Frame{Function: "_Z1fI1A" + strings.Repeat("PFS_S_E", 60) + "E"}
	if bomb.readable(); len(bomb.Function) > 1<<12 {
		t.Errorf("a name of %d bytes", len(bomb.Function))
	}
}

// TestMangledNames: people and the ranking read C++ as it was written, and a
// profile has the linker's name beside it.
func TestMangledNames(t *testing.T) {
	need(t, "g++", "g++ and libjemalloc-dev")
	binary := filepath.Join(t.TempDir(), "names")
	run(t, exec.Command("g++", "-g", "-O2", "-Wall", "-Werror", "-o", binary, "testdata/names.cc", "-ljemalloc"))
	d := mustParse(t, takeDump(t, binary))
	symbols := NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)
	i := slices.IndexFunc(d.Stacks, func(s Stack) bool { return s.Inuse.Objects == 40 })
	if i < 0 {
		t.Fatal("no stack of 40 objects")
	}
	pcs := d.Stacks[i].PCs
	frames := symbols.Stack(pcs)
	put := slices.IndexFunc(frames, func(f Frame) bool { return f.Function == "shop::cache::put" })
	if put < 1 || frames[put].Line != 12 || filepath.Base(frames[put].File) != "names.cc" {
		t.Fatalf("stack %+v", frames)
	}
	for _, fn := range d.Profile(ProfileOptions{Symbols: symbols}).Function {
		if fn.Name == "shop::cache::put" && fn.SystemName != "_ZN4shop5cacheINS_6recordEE3putEPKS1_i" {
			t.Errorf("system name %q", fn.SystemName)
		}
	}
}

// TestSplitFunction: a function that GCC has split is on a stack once, with its debug
// information and without, and whether the rest of it was inlined or not.
func TestSplitFunction(t *testing.T) {
	need(t, "gcc", "gcc and libjemalloc-dev")
	source, err := os.ReadFile("testdata/split.c")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(source), "// MARK load\n")
	mark := fmt.Sprintf("load split.c:%d", 1+strings.Count(line, "\n"))
	for name, debug := range map[string]string{"lines": "-g", "no lines": "-g0"} {
		t.Run(name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "split")
			run(t, exec.Command("gcc", debug, "-O2", "-fno-optimize-sibling-calls", "-Wall", "-Werror", "-o", binary, "testdata/split.c", "-ljemalloc"))
			d := mustParse(t, takeDump(t, binary))
			symbols := NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)
			var profile bytes.Buffer
			if err := WriteStacks(&profile, d.Profile(ProfileOptions{Symbols: symbols}), TopOptions{Type: "alloc_objects"}); err != nil {
				t.Fatal(err)
			}
			var growth bytes.Buffer
			split := false
			for _, s := range d.Stacks {
				if err := WriteGrowth(&growth, []Growth{{PCs: s.PCs}}, symbols); err != nil {
					t.Fatal(err)
				}
				var f folder // as the ranking has it
				pcs, times := f.fold(s.PCs, func(pc uint64) Code { return symbols.Code(pc, false) })
				if err := WriteGrowth(&growth, []Growth{{PCs: pcs, Times: times}}, symbols); err != nil {
					t.Fatal(err)
				}
				for i := range pcs[1:] {
					if symbols.Code(pcs[i], false).ID == symbols.Code(pcs[i+1], false).ID {
						t.Errorf("%v has a function twice", symbols.Callers(pcs[i:], nil))
					}
				}
				for _, f := range symbols.Stack(s.PCs) {
					split = split || f.Function == "load" && f.Symbol == "load.part.0"
				}
			}
			if !split {
				t.Fatalf("GCC has not split load: %s", &profile)
			}
			load := regexp.QuoteMeta(mark)
			if debug == "-g0" {
				load = "load"
			}
			for _, text := range []string{profile.String(), growth.String()} {
				for _, caller := range []string{"load_all", "main"} {
					if !regexp.MustCompile(`\n    ` + load + `\n    ` + caller).MatchString(text) {
						t.Errorf("no %s < %s in\n%s", load, caller, text)
					}
				}
				if regexp.MustCompile(`load(\.part\.\d+| split.*)?\n    load(\.part\.\d+| split.*)?\n`).MatchString(text) {
					t.Errorf("load is there twice:\n%s", text)
				}
				if strings.Contains(text, "times)") {
					t.Errorf("it is not recursive:\n%s", text)
				}
			}
		})
	}
	for name, want := range map[string]string{"load.part.0": "load", "load.isra.0.part.12": "load.isra.0", "load.part.0.cold": "load", "load": "", ".part.0": "", "main.part.func1": "", "load.party": ""} {
		if function, ok := splitFrom(name); ok != (want != "") || ok && function != want {
			t.Errorf("%s is a part of %q, %v, want %q", name, function, ok, want)
		}
	}
}
