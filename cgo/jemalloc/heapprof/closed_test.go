package heapprof

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
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
	loaded := []Loaded{
		{Mapping: at(first), BuildID: id(first), PCs: []uint64{pc1}, All: true},
		{Mapping: at(second), BuildID: id(second), PCs: []uint64{pc2}, All: true},
	}
	other := loaded[0]
	other.BuildID = strings.Repeat("0", 40)
	many := loaded[0]
	many.PCs, many.All = nil, false
	both := append([]Loaded(nil), loaded...)
	both[1].PCs = []uint64{pc1, pc2}
	strange := append([]Loaded(nil), both...) // the newer has no names
	strange[1].BuildID = other.BuildID
	unknown := append([]Loaded(nil), both...)
	unknown[0].BuildID, unknown[1].BuildID = other.BuildID, other.BuildID
	builds := append([]Loaded(nil), unknown...)
	builds[1].File = first
	builds[1].BuildID = strings.Repeat("1", 40)
	const noFirst, noSecond = `first\.so\+0x[0-9a-f]+`, `second\.so\+0x[0-9a-f]+`
	twice := append(append([]Loaded(nil), loaded...), loaded[0])
	for name, c := range map[string]struct {
		maps   []Mapping
		loaded []Loaded
		want   [2]string // names of the addresses
		file   string    // of the first
	}{
		"both closed":                        {nil, loaded, [2]string{"first", "second"}, first},
		"another in its place":               {[]Mapping{at(second)}, loaded, [2]string{"first", "second"}, first},
		"two builds, both unknown":           {nil, builds, [2]string{noFirst, ""}, "[ambiguous]"},
		"loaded again":                       {[]Mapping{at(first)}, loaded, [2]string{"first", "second"}, first},
		"never closed":                       {[]Mapping{at(first)}, loaded[:1], [2]string{"first", "first"}, first},
		"an address of both":                 {nil, both, [2]string{"second or first", "second"}, "[ambiguous]"},
		"of both, the newer there":           {[]Mapping{at(second)}, both, [2]string{"second or first", "second"}, "[ambiguous]"},
		"of both, the older there":           {[]Mapping{at(first)}, both, [2]string{"first or second", "second"}, "[ambiguous]"},
		"of both, the newer unknown":         {nil, strange, [2]string{noSecond + " or first", ""}, "[ambiguous]"},
		"of both, both unknown":              {nil, unknown, [2]string{noSecond + " or " + noFirst, ""}, "[ambiguous]"},
		"noted twice":                        {nil, twice, [2]string{"first", "second"}, first},
		"not noted":                          {nil, nil, [2]string{"", ""}, unmappedFile},
		"another build":                      {nil, []Loaded{other}, [2]string{"", ""}, first + " (deleted)"},
		"too many to note":                   {nil, []Loaded{many}, [2]string{"first", "first"}, first},
		"too many, and another is there now": {[]Mapping{at(second)}, []Loaded{many, loaded[1]}, [2]string{"first", "second or first"}, first},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSymbolizer(SymbolizerConfig{Loaded: func() ([]Loaded, bool) { return append([]Loaded(nil), c.loaded...), false }})
			d := &Dump{Rate: 1, Mappings: c.maps, Stacks: []Stack{{PCs: []uint64{pc1, pc2}, Inuse: Count{1, 8}}}}
			symbols := s.SymbolizeDump(d)
			for i, pc := range []uint64{pc1, pc2} {
				f := symbols.Frames(pc)
				if len(f) != 1 || f[0].Unnamed != (c.want[i] == "") || !f[0].Unnamed && !regexp.MustCompile("^("+c.want[i]+")$").MatchString(f[0].Function) {
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
	s := NewSymbolizer(SymbolizerConfig{Loaded: func() ([]Loaded, bool) { return append([]Loaded(nil), now...), false }})
	s.Symbolize([]Mapping{at(first)}, []uint64{pc1})
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if f := s.Symbolize(nil, []uint64{pc1}).Frames(pc1); len(f) != 1 || f[0].Function != "first" {
		t.Errorf("%+v", f)
	}
	fresh := NewSymbolizer(SymbolizerConfig{Loaded: func() ([]Loaded, bool) { return append([]Loaded(nil), now...), false }})
	symbols := fresh.Symbolize(nil, []uint64{pc1})
	if f := symbols.Frames(pc1); len(f) != 1 || !f[0].Unnamed || !strings.HasPrefix(f[0].Function, "first.so+0x") {
		t.Errorf("from a file that is gone: %+v", f)
	}
	if len(symbols.Notes) != 1 || !strings.HasPrefix(symbols.Notes[0], "first.so: it was closed since") {
		t.Errorf("notes %q", symbols.Notes)
	}
}

// A library without a build-id is told from its next build by its headers. It was
// loaded at many places and is spoken of once.
func TestClosedLibraryWithoutBuildID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin.so")
	build := func(function string) (offset, sum uint64) {
		offset = library(t, path, function, "-Wl,--build-id=none")
		f, err := openELF(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return offset, headers(f.file)
	}
	offset, sum := build("one_of_the_first_build")
	var loaded []Loaded
	var pcs []uint64
	for start := uint64(0x10000); start < 0x50000; start += 0x10000 {
		pcs = append(pcs, start+offset+1)
		m := Mapping{Start: start, Limit: start + 0x10000, Exec: true, File: path}
		loaded = append(loaded, Loaded{Mapping: m, Headers: sum, PCs: pcs[len(pcs)-1:], All: true})
	}
	more := false
	cfg := SymbolizerConfig{Loaded: func() ([]Loaded, bool) { return append([]Loaded(nil), loaded...), more }}
	s := NewSymbolizer(cfg)
	expect := func(s *Symbolizer, maps []Mapping, want string, notes ...string) {
		t.Helper()
		symbols := s.Symbolize(maps, pcs)
		for _, pc := range pcs {
			if f := symbols.Frames(pc); len(f) != 1 || !strings.HasPrefix(f[0].Function, want) {
				t.Errorf("%#x: %+v, want %s", pc, f, want)
			}
		}
		if !slices.Equal(symbols.Notes, notes) {
			t.Errorf("notes %q, want %q", symbols.Notes, notes)
		}
	}
	expect(s, nil, "one_of_the_first_build", "plugin.so: it was closed since; 4 of its addresses are on stacks")

	// Another build has the path, and is loaded where the first one was.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	build("in_the_second_build")
	at := loaded[0].Mapping
	at.Inode = 2
	expect(s, []Mapping{at}, "one_of_the_first_build", "plugin.so: it was closed since; 4 of its addresses are on stacks")
	expect(NewSymbolizer(cfg), []Mapping{at}, "plugin.so+0x",
		"plugin.so: it was closed since; 4 of its addresses are on stacks; another file has its path now: what was not named before has no name")

	// Where not all are known, what is there now may be meant as well.
	more = true
	symbols := s.Symbolize([]Mapping{at}, pcs)
	if f := symbols.Frames(pcs[0]); len(f) != 1 || !strings.HasSuffix(f[0].Function, " or one_of_the_first_build") {
		t.Errorf("%+v", f)
	}
	if len(symbols.Notes) != 2 || !strings.HasPrefix(symbols.Notes[1], "more libraries were opened than are remembered") {
		t.Errorf("notes %q", symbols.Notes)
	}
}

// A library that was looked at while it was open, and has been closed and replaced since,
// is not named by the file that has its path now: neither what was never named before,
// nor what is asked for beside an address that was.
func TestClosedLibraryIsNotNamedByItsSuccessor(t *testing.T) {
	for name, flags := range map[string][]string{"with a build-id": {"-Wl,--build-id"}, "without": {"-Wl,--build-id=none"}} {
		for _, before := range []string{"looked at", "named"} {
			t.Run(name+", "+before, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "plugin.so")
				offset := library(t, path, "of_the_first_build", flags...)
				f, err := openELF(path)
				if err != nil {
					t.Fatal(err)
				}
				m := Mapping{Start: 0x10000, Limit: 0x20000, Exec: true, File: path, Inode: 1}
				pc1, pc2 := m.Start+offset+1, m.Start+offset+3
				loaded := []Loaded{{Mapping: m, BuildID: buildID(f.File), Headers: headers(f.file), PCs: []uint64{pc1, pc2}, All: true}}
				f.Close()
				s := NewSymbolizer(SymbolizerConfig{Loaded: func() ([]Loaded, bool) { return slices.Clone(loaded), false }})
				var pcs []uint64
				if before == "named" {
					pcs = append(pcs, pc1)
				}
				s.Symbolize([]Mapping{m}, pcs)

				other := filepath.Join(filepath.Dir(path), "other.so")
				library(t, other, "of_the_second_build", flags...)
				if err := os.Rename(other, path); err != nil {
					t.Fatal(err)
				}
				symbols := s.Symbolize(nil, []uint64{pc1, pc2})
				want := "plugin.so+0x"
				if before == "named" {
					want = "of_the_first_build" // its symbols are in memory
				}
				for _, pc := range []uint64{pc1, pc2} {
					if f := symbols.Frames(pc); len(f) != 1 || !strings.HasPrefix(f[0].Function, want) {
						t.Errorf("%#x: %+v, want %s", pc, f, want)
					}
				}
				if f := symbols.Frames(pc2); f[0].File != "" {
					t.Errorf("%#x has a line of another file: %+v", pc2, f)
				}
				if notes := strings.Join(symbols.Notes, "\n"); !strings.Contains(notes, "another file has its path now") {
					t.Errorf("nothing is said of it: %q", notes)
				}
			})
		}
	}
}

// Who reads a profile later looks names up in what is at the paths in it, and go tool
// pprof does so whatever the build-id says. A file that is not at its path any more is
// not written as if it were.
func TestReplacedFileNamesNothingLater(t *testing.T) {
	for name, flag := range map[string]string{"with a build-id": "-Wl,--build-id", "without": "-Wl,--build-id=none"} {
		t.Run(name, func(t *testing.T) { testReplacedFile(t, flag) })
	}
}

func testReplacedFile(t *testing.T, flag string) {
	path := filepath.Join(t.TempDir(), "plugin.so")
	offset := library(t, path, "of_the_first_build", flag)
	f, err := openELF(path)
	if err != nil {
		t.Fatal(err)
	}
	id, sum := buildID(f.File), headers(f.file)
	f.Close()
	const start, page = 0x7f0000010000, 0x1000 // the segment of the code begins with a page
	at := offset &^ (page - 1)
	m := Mapping{Start: start + at, Limit: start + at + page, Offset: at, Exec: true, File: path, Inode: 1}
	deleted := m
	deleted.Deleted = true
	pc := start + offset + 1
	loaded := []Loaded{{Mapping: m, BuildID: id, Headers: sum, PCs: []uint64{pc, pc + 2}, All: true}}
	var closed []Loaded
	cfg := SymbolizerConfig{Loaded: func() ([]Loaded, bool) { return slices.Clone(closed), false }}
	profileOf := func(s *Symbolizer, maps []Mapping, loaded []Loaded) *profile.Profile {
		closed = loaded
		d := &Dump{Rate: 1, Mappings: maps, Stacks: []Stack{{PCs: []uint64{pc}, Inuse: Count{1, 8 << 20}}}}
		return d.Profile(ProfileOptions{Symbols: s.SymbolizeDump(d)})
	}
	expect := func(when string, p *profile.Profile, file string) {
		t.Helper()
		if got := p.Location[0].Mapping; got.File != file {
			t.Errorf("%s: its mapping is %+v, want the file %s", when, got, file)
		}
	}
	known := NewSymbolizer(cfg)
	mapped := profileOf(known, []Mapping{m}, nil)
	expect("mapped", mapped, path)
	expect("closed", profileOf(NewSymbolizer(cfg), nil, loaded), path)

	other := filepath.Join(filepath.Dir(path), "other.so")
	library(t, other, "of_the_second_build", flag)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		when   string
		maps   []Mapping
		loaded []Loaded
	}{
		{"closed and replaced", nil, loaded},
		{"mapped and replaced", []Mapping{deleted}, nil},
	} {
		p := profileOf(NewSymbolizer(cfg), c.maps, c.loaded)
		expect(c.when, p, path+" (deleted)")
		if out := goToolTop(t, p); strings.Contains(out, "of_the_second_build") {
			t.Errorf("%s: pprof has names of another file:\n%s", c.when, out)
		}
		NamePlaces(p)
		if name := p.Location[0].Line[0].Function.Name; name != offsetName(path, pc-1-start) {
			t.Errorf("%s: its place is %s", c.when, name)
		}
		if d, err := Delta(mapped, profileOf(known, c.maps, c.loaded)); err != nil || len(d.Sample) != 0 {
			t.Errorf("%s: nothing has changed: %v\n%v", c.when, err, d)
		}
	}
}

// goToolTop is what go tool pprof prints for a profile.
func goToolTop(t *testing.T, p *profile.Profile) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "heap.pb.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := p.Write(f); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
