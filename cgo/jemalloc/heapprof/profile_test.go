package heapprof

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; -update writes it. Got:\n%s", path, got)
	}
}

// testSymbols names the addresses of the dump in testdata/threads.heap, which
// no file of the test machine may do.
func testSymbols(d *Dump) *Symbols {
	s := &Symbols{
		frames: make(map[uint64][]Frame), allocator: make(map[uint64]bool), buildIDs: make(map[objectKey]string),
		Notes: []string{"libgone.so: no symbols: it is gone"},
	}
	for _, pc := range d.PCs() {
		m := findMapping(d.Mappings, pc-1)
		s.frames[pc] = unnamed(offsetName(m.File, pc-1-m.Start+m.Offset))
		if jemallocFile(m.File) {
			s.allocator[pc] = true
		}
		if m.File == "/srv/app/threads" {
			s.buildIDs[keyOf(m)] = "7f7f"
		}
	}
	last := d.Stacks[2].PCs
	s.frames[last[3]] = []Frame{{Function: "calloc"}}
	s.frames[last[4]] = []Frame{{Function: "leak8", File: "/src/threads.c", Line: 6}, {Function: "worker", File: "/src/threads.c", Line: 7}}
	s.frames[last[5]] = []Frame{{Function: "start_thread", File: "/src/nptl/pthread_create.c", Line: 442}}
	return s
}

func TestProfileGolden(t *testing.T) {
	for name, text := range goldens(t) {
		d := mustParse(t, text)
		d.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		golden(t, name+".profile", d.Profile(ProfileOptions{Comments: []string{"of a test"}}).String())
	}
}

func TestReportsGolden(t *testing.T) {
	d := mustParse(t, goldens(t)["threads"])
	p := d.Profile(ProfileOptions{Symbols: testSymbols(d)})
	var b bytes.Buffer
	for _, write := range []func() error{
		func() error { return WriteTop(&b, p, TopOptions{}) },
		func() error { return WriteTop(&b, p, TopOptions{Rows: 2, Cumulative: true, Type: "alloc_objects"}) },
		func() error { return WriteStacks(&b, p, TopOptions{Rows: 2}) },
		func() error {
			return WriteStacks(&b, d.Profile(ProfileOptions{Symbols: testSymbols(d), Threads: true}), TopOptions{Rows: 1})
		},
		func() error { return WriteCollapsed(&b, p, "") },
		func() error { return WriteCollapsed(&b, p, "inuse_objects") },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		b.WriteString("----\n")
	}
	golden(t, "threads.reports", b.String())
	b.Reset()
	d.Stacks[0].Inuse = Count{} // all was freed
	if err := WriteStacks(&b, d.Profile(ProfileOptions{Symbols: testSymbols(d)}), TopOptions{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\n0B") || strings.Count(b.String(), "\n\n") != len(d.Stacks)-1 {
		t.Errorf("a stack that holds nothing is written:\n%s", &b)
	}
	if err := WriteTop(&b, p, TopOptions{Type: "no_such"}); err == nil {
		t.Error("an unknown sample type is accepted")
	}
}

// TestProfileFields: what readers of Go's heap profiles rely on.
func TestProfileFields(t *testing.T) {
	d := mustParse(t, goldens(t)["threads"])
	d.Time = time.Unix(1, 2)
	p := d.Profile(ProfileOptions{Symbols: testSymbols(d)})
	if err := p.CheckValid(); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, st := range p.SampleType {
		types = append(types, st.Type+"/"+st.Unit)
	}
	if want := []string{"alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"}; !slices.Equal(types, want) {
		t.Errorf("sample types %q", types)
	}
	if p.Period != 4096 || *p.PeriodType != (profile.ValueType{Type: "space", Unit: "bytes"}) || p.TimeNanos != 1e9+2 || p.DefaultSampleType != "inuse_space" {
		t.Errorf("period %d %v, time %d, default %q", p.Period, p.PeriodType, p.TimeNanos, p.DefaultSampleType)
	}
	if m := p.Mapping[0]; m.File != "/srv/app/threads" || m.BuildID != "7f7f" || m.Start != 0x557b9ac2d000 || m.Offset != 0x1000 {
		t.Errorf("first mapping %+v", m)
	}
	for _, l := range p.Location {
		if l.Mapping == nil || l.Address < l.Mapping.Start || l.Address >= l.Mapping.Limit {
			t.Errorf("location %#x is not in its mapping", l.Address)
		}
	}
	if !slices.Contains(p.Comments, "libgone.so: no symbols: it is gone") {
		t.Errorf("comments %q", p.Comments)
	}
	if leaf := p.Sample[2].Location[0].Line[0].Function.Name; leaf != "calloc" {
		t.Errorf("the innermost frame is %q: jemalloc's own are not left out", leaf)
	}
	if p.DropFrames != "" {
		t.Errorf("frames are hidden by their names: %q", p.DropFrames)
	}
}

func TestAddressOutsideOfTheMap(t *testing.T) {
	d := &Dump{Rate: 1, Stacks: []Stack{{PCs: []uint64{0x10, 0x20, 1 << 47, 0, math.MaxUint64}, Inuse: Count{1, 8}}}}
	p := d.Profile(ProfileOptions{})
	if err := p.CheckValid(); err != nil {
		t.Fatal(err)
	}
	for _, l := range p.Location {
		if m := l.Mapping; len(p.Mapping) != 1 || m != p.Mapping[0] || l.Address < m.Start || l.Address >= m.Limit {
			t.Errorf("%#x is not in %+v", l.Address, m)
		}
	}
	// What is the same in both is no difference, whatever else is unmapped.
	more := *d
	more.Stacks = append(slices.Clone(d.Stacks), Stack{PCs: []uint64{0x7777}, Inuse: Count{1, 8}})
	delta, err := Delta(p, more.Profile(ProfileOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(inuse(delta)), fmt.Sprint(map[uint64]int64{0x7777: 8}); got != want {
		t.Errorf("delta %s, want %s", got, want)
	}
	if !strings.Contains(strings.Join(p.Comments, "\n"), "prof_accum") {
		t.Errorf("comments %q do not say that alloc is unknown", p.Comments)
	}
}

// TestResolution: what a mapping says of itself is true of all its locations.
func TestResolution(t *testing.T) {
	line := Frame{Function: "f", File: "/src/f.c", Line: 7}
	name := Frame{Function: "g"}
	place := Frame{Function: "app+0x10", Unnamed: true}
	for title, c := range map[string]struct {
		frames [][]Frame
		want   [3]bool // functions, files, lines and inlined functions
		lines  []int   // of the locations
	}{
		"lines":             {[][]Frame{{line}, {line, line}}, [3]bool{true, true, true}, []int{1, 2}},
		"names":             {[][]Frame{{name}, {name}}, [3]bool{true, false, false}, []int{1, 1}},
		"names and lines":   {[][]Frame{{name}, {line}}, [3]bool{true, false, false}, []int{1, 1}},
		"one has none":      {[][]Frame{{line}, {place}}, [3]bool{}, []int{1, 0}},
		"none has one":      {[][]Frame{{place}, {place}}, [3]bool{}, []int{0, 0}},
		"nothing was asked": {[][]Frame{nil, nil}, [3]bool{}, []int{0, 0}},
	} {
		d := simple(100, map[uint64]uint64{0x1001: 1})
		s := &Symbols{frames: map[uint64][]Frame{0x1001: c.frames[0], 0x1999: c.frames[1]}}
		p := d.Profile(ProfileOptions{Symbols: s})
		check := func(what string, p *profile.Profile) {
			t.Helper()
			m := p.Mapping[0]
			if got := [3]bool{m.HasFunctions, m.HasFilenames, m.HasLineNumbers}; got != c.want || m.HasInlineFrames != m.HasLineNumbers {
				t.Errorf("%s, %s: %v, want %v", title, what, got, c.want)
			}
			for i, l := range p.Location {
				if len(l.Line) != c.lines[i] {
					t.Errorf("%s, %s: location %d has %d lines, want %d", title, what, i, len(l.Line), c.lines[i])
				}
			}
		}
		check("as it was taken", p)
		// A mapping is as well known as in the profile that knows it least.
		all := simple(90, map[uint64]uint64{0x1500: 1}).Profile(ProfileOptions{Symbols: &Symbols{
			frames: map[uint64][]Frame{0x1500: {line}, 0x1999: {line}},
		}})
		all.Sample[0].Location = all.Sample[0].Location[:1]
		for _, merge := range []func() (*profile.Profile, error){
			func() (*profile.Profile, error) { return Delta(all, p) },
			func() (*profile.Profile, error) { return Merge(all, p) },
		} {
			m, err := merge()
			if err != nil {
				t.Fatal(err)
			}
			m.Location = slices.DeleteFunc(m.Location, func(l *profile.Location) bool { return l.Address == 0x14ff })
			check("merged", m)
		}

		NamePlaces(p)
		if err := p.CheckValid(); err != nil {
			t.Fatal(err)
		}
		for i, l := range p.Location {
			if len(l.Line) != max(1, c.lines[i]) || c.lines[i] == 0 && l.Line[0].Function.Name != fmt.Sprintf("app+%#x", l.Address) {
				t.Errorf("%s: location %#x is shown as %+v", title, l.Address, l.Line[0].Function)
			}
		}
	}
}

// simple is a dump of stacks that hold so many sampled objects of 8 bytes at
// rate 1, so that estimates are the counts.
func simple(at int64, objects map[uint64]uint64) *Dump {
	d := &Dump{Rate: 1, Time: time.Unix(at, 0), Mappings: []Mapping{{Start: 0x1000, Limit: 0x2000, Exec: true, File: "/bin/app"}}}
	for pc, n := range objects {
		d.Stacks = append(d.Stacks, Stack{PCs: []uint64{pc, 0x1999}, Inuse: Count{n, 8 * n}})
	}
	return d
}

// inuse returns a profile's bytes by the first address.
func inuse(p *profile.Profile) map[uint64]int64 {
	m := make(map[uint64]int64)
	for _, s := range p.Sample {
		m[s.Location[0].Address+1] += s.Value[InuseSpace]
	}
	return m
}

func TestDelta(t *testing.T) {
	from := simple(100, map[uint64]uint64{0x1001: 10, 0x1002: 5, 0x1003: 7}).Profile(ProfileOptions{})
	to := simple(130, map[uint64]uint64{0x1001: 10, 0x1002: 9, 0x1004: 2}).Profile(ProfileOptions{})
	before := from.String()
	d, err := Delta(from, to)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(inuse(d)), fmt.Sprint(map[uint64]int64{0x1002: 32, 0x1003: -56, 0x1004: 16}); got != want {
		t.Errorf("delta %s, want %s", got, want)
	}
	if d.TimeNanos != to.TimeNanos || d.DurationNanos != 30e9 || d.DefaultSampleType != "inuse_space" {
		t.Errorf("time %d, duration %d, default %q", d.TimeNanos, d.DurationNanos, d.DefaultSampleType)
	}
	if from.String() != before {
		t.Error("Delta changed its argument")
	}
	if err := d.CheckValid(); err != nil {
		t.Error(err)
	}
	other := from.Copy()
	other.SampleType = other.SampleType[:1]
	for _, s := range other.Sample {
		s.Value = s.Value[:1]
	}
	if _, err := Delta(other, to); err == nil {
		t.Error("profiles of other types are accepted")
	}
}

// What grew has a share above zero, whatever shrank beside it.
func TestSharesOfADelta(t *testing.T) {
	from := simple(100, map[uint64]uint64{0x1001: 10, 0x1002: 60}).Profile(ProfileOptions{})
	to := simple(130, map[uint64]uint64{0x1001: 30}).Profile(ProfileOptions{})
	d, err := Delta(from, to)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, write := range []func() error{
		func() error { return WriteTop(&b, d, TopOptions{}) },
		func() error { return WriteStacks(&b, d, TopOptions{}) },
	} {
		b.Reset()
		if err := write(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"inuse_space: -320B in all", `160B +25\.0%`, `-480B +-75\.0%`} {
			if !regexp.MustCompile(want).Match(b.Bytes()) {
				t.Errorf("no %q in\n%s", want, &b)
			}
		}
	}
	if d, err = Delta(to, to); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := WriteTop(&b, d, TopOptions{}); err != nil || !strings.Contains(b.String(), "no samples: one allocation in each 1B is sampled") {
		t.Errorf("%v, %s", err, &b)
	}
}

func TestMerge(t *testing.T) {
	a := simple(100, map[uint64]uint64{0x1001: 10, 0x1002: 5}).Profile(ProfileOptions{})
	b := simple(130, map[uint64]uint64{0x1001: 1}).Profile(ProfileOptions{})
	m, err := Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(inuse(m)), fmt.Sprint(map[uint64]int64{0x1001: 88, 0x1002: 40}); got != want {
		t.Errorf("merged %s, want %s", got, want)
	}
	if _, err := Merge(); err == nil {
		t.Error("nothing is merged without an error")
	}
}

// TestPprofReadsOurProfiles runs the pprof tool on a real dump.
func TestPprofReadsOurProfiles(t *testing.T) {
	need(t, "go", "Go")
	d := mustParse(t, takeDump(t, compile(t, "-g")))
	d.Time = time.Now()
	p := d.Profile(ProfileOptions{Symbols: NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)})
	path := filepath.Join(t.TempDir(), "heap.pb.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{"inuse_space", "alloc_objects"} {
		out := run(t, exec.Command("go", "tool", "pprof", "-top", "-lines", "-nodecount=50", "-sample_index="+typ, path))
		for _, want := range []string{"Type: " + typ, "leak_inlined", "outer_inline", "stacks.c:" + strconv.Itoa(marks(t)["leak_static"])} {
			if !strings.Contains(out, want) {
				t.Errorf("go tool pprof -sample_index=%s does not say %q:\n%s", typ, want, out)
			}
		}
		if strings.Contains(out, "libjemalloc.so") || strings.Contains(out, "prof_backtrace") {
			t.Errorf("jemalloc's own frames are shown:\n%s", out)
		}
	}
}

// TestTotalsAgreeWithJeprof compares the sums with jeprof's on the same dump.
func TestTotalsAgreeWithJeprof(t *testing.T) {
	need(t, "jeprof", "libjemalloc-dev")
	binary := compile(t, "-g")
	total := regexp.MustCompile(`Total: (\d+)`)
	for name, text := range goldens(t) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		p := mustParse(t, text).Profile(ProfileOptions{})
		for index, st := range p.SampleType {
			var ours int64
			for _, s := range p.Sample {
				ours += s.Value[index]
			}
			out := run(t, exec.Command("jeprof", "--text", "--show_bytes", "--"+st.Type, binary, path))
			match := total.FindStringSubmatch(out)
			if match == nil {
				t.Fatalf("no total in\n%s", out)
			}
			theirs, err := strconv.ParseInt(match[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			// jeprof cuts each stack's value to an integer, we round.
			if diff := ours - theirs; diff < 0 || diff > int64(len(p.Sample)) {
				t.Errorf("%s %s: %d, jeprof says %d", name, st.Type, ours, theirs)
			}
		}
	}
}

// The place of a location is the address that addr2line takes: in a program that is
// mapped where it was linked that is its own, whatever its offset in the file.
func TestPlaceName(t *testing.T) {
	for _, c := range []struct {
		m    profile.Mapping
		addr uint64
		want string
	}{
		{profile.Mapping{Start: 0x800000, Limit: 0xc00000, Offset: 0x3ff000, File: "/bin/prog"}, 0xb3a0cb, "prog+0xb3a0cb"},
		{profile.Mapping{Start: 0x7f0000001000, Limit: 0x7f0000002000, Offset: 0x1000, File: "/lib/libfoo.so"}, 0x7f000000112b, "libfoo.so+0x112b"},
		{profile.Mapping{Limit: math.MaxUint64, File: unmappedFile}, 0x1234, "0x1234"},
	} {
		if got := placeName(&profile.Location{Address: c.addr, Mapping: &c.m}); got != c.want {
			t.Errorf("%+v at %#x: %s, want %s", c.m, c.addr, got, c.want)
		}
	}
}

// A stack without frames is shown as such, by us and by others, and counts.
func TestStackWithoutFrames(t *testing.T) {
	d := &Dump{Rate: 1, Stacks: []Stack{{Inuse: Count{10, 1000}}, {PCs: []uint64{2}, Inuse: Count{20, 3000}}}, Mappings: []Mapping{{Start: 1, Limit: 0x1000, Exec: true, File: "/a"}}}
	for name, symbols := range map[string]*Symbols{"with symbols": NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d), "without": nil} {
		p := d.Profile(ProfileOptions{Symbols: symbols})
		if err := p.CheckValid(); err != nil {
			t.Fatal(err)
		}
		var stacks, top, collapsed, growth bytes.Buffer
		err := errors.Join(WriteStacks(&stacks, p, TopOptions{}), WriteTop(&top, p, TopOptions{}), WriteCollapsed(&collapsed, p, ""),
			WriteGrowth(&growth, []Growth{{Bytes: 1000}}, symbols))
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[*bytes.Buffer]string{&stacks: "\n1000B 25.0%\n    [no frames]\n", &top: "1000B  25.0% 100.0%      1000B  25.0%  [no frames]\n", &collapsed: "[no frames] 1000\n", &growth: "\n    [no frames]\n"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		bare := p.Copy() // as others write it
		bare.Sample[0].Location = nil
		var again bytes.Buffer
		if err := WriteStacks(&again, bare, TopOptions{}); err != nil || again.String() != stacks.String() {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, &again, &stacks)
		}
		path := filepath.Join(t.TempDir(), "heap.pb.gz")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Write(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		need(t, "go", "Go")
		if out := run(t, exec.Command("go", "tool", "pprof", "-symbolize=none", "-traces", path)); !regexp.MustCompile(`1000B +\[no frames\]\n`).MatchString(out) {
			t.Errorf("%s: go tool pprof shows\n%s", name, out)
		}
	}
}
