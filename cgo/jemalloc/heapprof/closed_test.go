package heapprof

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClosedLibrary: addresses of a library that is mapped no longer, at whose place
// another one may be.
func TestClosedLibrary(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.so"), filepath.Join(dir, "second.so")
	inFirst, inSecond := library(t, first, "first"), library(t, second, "second")
	id := func(path string) string {
		f, err := openELF(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return buildID(f.File)
	}
	at := func(path string) Mapping {
		return Mapping{Start: 0x10000, Limit: 0x20000, Exec: true, File: path}
	}
	pc1, pc2 := 0x10000+inFirst+1, 0x10000+inSecond+1
	if pc1 == pc2 {
		pc1++ // the same function in both
	}
	loaded := []Loaded{{at(first), id(first), []uint64{pc1}, true}, {at(second), id(second), []uint64{pc2}, true}}
	other := loaded[0]
	other.BuildID = strings.Repeat("0", 40)
	many := loaded[0]
	many.PCs, many.All = nil, false
	both := append([]Loaded(nil), loaded...)
	both[1].PCs = []uint64{pc1, pc2}
	twice := append(append([]Loaded(nil), loaded...), loaded[0])
	for name, c := range map[string]struct {
		maps   []Mapping
		loaded []Loaded
		want   [2]string // names of the addresses
		file   string    // of the first
	}{
		"both closed":                        {nil, loaded, [2]string{"first", "second"}, first},
		"another in its place":               {[]Mapping{at(second)}, loaded, [2]string{"first", "second"}, first},
		"loaded again":                       {[]Mapping{at(first)}, loaded, [2]string{"first", "second"}, first},
		"never closed":                       {[]Mapping{at(first)}, loaded[:1], [2]string{"first", "first"}, first},
		"an address of both":                 {nil, both, [2]string{"second or first", "second"}, second},
		"of both, one there":                 {[]Mapping{at(second)}, both, [2]string{"second or first", "second"}, second},
		"noted twice":                        {nil, twice, [2]string{"first", "second"}, first},
		"not noted":                          {nil, nil, [2]string{"", ""}, unmappedFile},
		"another build":                      {nil, []Loaded{other}, [2]string{"", ""}, first},
		"too many to note":                   {nil, []Loaded{many}, [2]string{"first", "first"}, first},
		"too many, and another is there now": {[]Mapping{at(second)}, []Loaded{many, loaded[1]}, [2]string{"second", "second"}, second},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSymbolizer(SymbolizerConfig{Loaded: func() []Loaded { return append([]Loaded(nil), c.loaded...) }})
			d := &Dump{Rate: 1, Mappings: c.maps, Stacks: []Stack{{PCs: []uint64{pc1, pc2}, Inuse: Count{1, 8}}}}
			symbols := s.SymbolizeDump(d)
			for i, pc := range []uint64{pc1, pc2} {
				f := symbols.Frames(pc)
				if len(f) != 1 || f[0].Unnamed != (c.want[i] == "") || !f[0].Unnamed && f[0].Function != c.want[i] {
					t.Errorf("%#x: %+v, want %q", pc, f, c.want[i])
				}
			}
			p := d.Profile(ProfileOptions{Symbols: symbols})
			if err := p.CheckValid(); err != nil {
				t.Fatal(err)
			}
			for _, l := range p.Location {
				if m := l.Mapping; l.Address < m.Start || l.Address >= m.Limit || l.Address == pc1-1 && m.File != c.file {
					t.Errorf("%#x is in the mapping %+v, want %s", l.Address, m, c.file)
				}
			}
		})
	}

	// What was named before it was closed keeps its name, also when the file is gone.
	now := loaded[:1]
	s := NewSymbolizer(SymbolizerConfig{Loaded: func() []Loaded { return append([]Loaded(nil), now...) }})
	s.Symbolize([]Mapping{at(first)}, []uint64{pc1})
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if f := s.Symbolize(nil, []uint64{pc1}).Frames(pc1); len(f) != 1 || f[0].Function != "first" {
		t.Errorf("%+v", f)
	}
	fresh := NewSymbolizer(SymbolizerConfig{Loaded: func() []Loaded { return append([]Loaded(nil), now...) }})
	symbols := fresh.Symbolize(nil, []uint64{pc1})
	if f := symbols.Frames(pc1); len(f) != 1 || !f[0].Unnamed || !strings.HasPrefix(f[0].Function, "first.so+0x") {
		t.Errorf("from a file that is gone: %+v", f)
	}
	if len(symbols.Notes) != 1 || !strings.HasPrefix(symbols.Notes[0], "first.so: it was closed since") {
		t.Errorf("notes %q", symbols.Notes)
	}
}
