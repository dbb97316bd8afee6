package heapprof

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// need skips a test whose tool is not installed, except in CI.
func need(tb testing.TB, tool, install string) {
	tb.Helper()
	if _, err := exec.LookPath(tool); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s is missing: install %s", tool, install)
	}
	tb.Skipf("%s is missing: install %s", tool, install)
}

func run(tb testing.TB, cmd *exec.Cmd) string {
	tb.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	return string(out)
}

// compile builds testdata/stacks.c.
func compile(tb testing.TB, flags ...string) (binary string) {
	tb.Helper()
	need(tb, "gcc", "gcc and libjemalloc-dev")
	binary = filepath.Join(tb.TempDir(), "stacks")
	args := append([]string{"-D_GNU_SOURCE", "-Wall", "-Werror", "-O2", "-o", binary, "testdata/stacks.c"}, flags...)
	run(tb, exec.Command("gcc", append(args, "-ljemalloc", "-pthread")...))
	return binary
}

// takeDump runs the program and returns the text of its dump, every
// allocation sampled.
func takeDump(tb testing.TB, binary string) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "dump.heap")
	cmd := exec.Command(binary, path)
	cmd.Env = append(os.Environ(), "MALLOC_CONF=prof:true,lg_prof_sample:0,prof_accum:true,prof_sys_thread_name:true")
	run(tb, cmd)
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// marks returns the lines of testdata/stacks.c by the name of their mark.
func marks(tb testing.TB) map[string]int {
	tb.Helper()
	source, err := os.ReadFile("testdata/stacks.c")
	if err != nil {
		tb.Fatal(err)
	}
	lines := make(map[string]int)
	for i, line := range strings.Split(string(source), "\n") {
		if _, name, ok := strings.Cut(line, "// MARK "); ok {
			lines[name] = i + 1
		}
	}
	return lines
}

// programFrames returns the frames of the program's own file on the stack
// that holds so many objects, as "function:line".
func programFrames(tb testing.TB, d *Dump, symbols *Symbols, objects uint64) []string {
	tb.Helper()
	for _, s := range d.Stacks {
		if s.Inuse.Objects != objects {
			continue
		}
		var frames []string
		for _, pc := range s.PCs {
			if m := findMapping(d.Mappings, pc-1); m != nil && filepath.Base(m.File) == "stacks" {
				for _, f := range symbols.Frames(pc) {
					frames = append(frames, fmt.Sprintf("%s:%d", f.Function, f.Line))
				}
			}
		}
		return frames
	}
	tb.Fatalf("no stack of %d objects", objects)
	return nil
}

// TestCSymbols compares names and lines with the marks in the source, for the
// ways in which programs are built.
func TestCSymbols(t *testing.T) {
	line := marks(t)
	at := func(function, mark string) string { return fmt.Sprintf("%s:%d", function, line[mark]) }
	inlined := []string{at("inner_inline", "inner_inline"), at("outer_inline", "outer_inline"), at("leak_inlined", "leak_inlined"), at("main", "main_inlined")}
	static := []string{at("leak_static", "leak_static"), at("main", "main_static")}
	thread := []string{at("leak_exported", "leak_exported"), at("thread_main", "thread_main")}
	builds := map[string][]string{
		"pie":                {"-g"},
		"no-pie":             {"-g", "-no-pie"},
		"frame pointers":     {"-g", "-fno-omit-frame-pointer"},
		"dwarf 4":            {"-gdwarf-4"},
		"dwarf 5":            {"-gdwarf-5"},
		"compressed":         {"-g", "-gz=zlib"},
		"sections":           {"-g", "-ffunction-sections", "-Wl,--gc-sections"},
		"no frame pointers":  {"-g", "-fomit-frame-pointer"},
		"large load segment": {"-g", "-Wl,-z,noseparate-code"},
	}
	for name, flags := range builds {
		t.Run(name, func(t *testing.T) {
			d := mustParse(t, takeDump(t, compile(t, flags...)))
			symbols := NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)
			for objects, want := range map[uint64][]string{50: inlined, 30: static, 20: thread} {
				got := programFrames(t, d, symbols, objects)
				if len(got) > len(want) { // below main: _start
					got = got[:len(want)]
				}
				if !slices.Equal(got, want) {
					t.Errorf("stack of %d objects: %q, want %q", objects, got, want)
				}
			}
		})
	}
}

// TestStrippedFileNamesNothingWrong: what a symbol table has lost is written
// as file and offset, never as the symbol before it.
func TestStrippedFileNamesNothingWrong(t *testing.T) {
	need(t, "strip", "binutils")
	binary := compile(t, "-g", "-rdynamic") // leak_exported and leak_inlined stay in .dynsym
	run(t, exec.Command("strip", binary))
	d := mustParse(t, takeDump(t, binary))
	symbols := NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)
	if got := programFrames(t, d, symbols, 50); got[0] != "leak_inlined:0" || got[1] != "main:0" {
		t.Errorf("exported functions: %q", got)
	}
	got := programFrames(t, d, symbols, 30)
	if !strings.HasPrefix(got[0], "stacks+0x") {
		t.Errorf("a stripped static function is named %q, want stacks+0x...", got[0])
	}
	if got = programFrames(t, d, symbols, 20); got[0] != "leak_exported:0" || !strings.HasPrefix(got[1], "stacks+0x") {
		t.Errorf("stack of a thread: %q", got)
	}
}

// TestSeparateDebugFile finds debug files by build-id, and by .gnu_debuglink
// if the build-id agrees.
func TestSeparateDebugFile(t *testing.T) {
	need(t, "objcopy", "binutils")
	line := marks(t)
	want := fmt.Sprintf("leak_static:%d", line["leak_static"])
	binary := compile(t, "-g")
	debug := binary + ".debug"
	run(t, exec.Command("objcopy", "--only-keep-debug", binary, debug))
	run(t, exec.Command("strip", binary))
	d := mustParse(t, takeDump(t, binary))
	frame := func(cfg SymbolizerConfig) string {
		return programFrames(t, d, NewSymbolizer(cfg).SymbolizeDump(d), 30)[0]
	}
	if got := frame(SymbolizerConfig{}); !strings.HasPrefix(got, "stacks+0x") {
		t.Errorf("without the debug file: %q", got)
	}

	f, err := openELF(binary)
	if err != nil {
		t.Fatal(err)
	}
	id := buildID(f.File)
	f.Close()
	notes := run(t, exec.Command("readelf", "-n", binary))
	if id == "" || !strings.Contains(notes, id) {
		t.Fatalf("build-id %q is not in\n%s", id, notes)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".build-id", id[:2]), 0o755); err != nil {
		t.Fatal(err)
	}
	running := NewSymbolizer(SymbolizerConfig{DebugDirs: []string{dir}})
	early := func() string { return programFrames(t, d, running.SymbolizeDump(d), 30)[0] }
	if got := early(); !strings.HasPrefix(got, "stacks+0x") {
		t.Errorf("before the debug file is there: %q", got)
	}
	if err := os.Symlink(debug, filepath.Join(dir, ".build-id", id[:2], id[2:]+".debug")); err != nil {
		t.Fatal(err)
	}
	// Who looked too early looks again, once a minute.
	for _, e := range running.objects {
		e.Value.(*object).looked = time.Now().Add(-debugFileLook)
	}
	if got := early(); got != want {
		t.Errorf("once the debug file is there: %q, want %q", got, want)
	}
	if got := frame(SymbolizerConfig{DebugDirs: []string{dir}}); got != want {
		t.Errorf("by build-id: %q, want %q", got, want)
	}

	run(t, exec.Command("objcopy", "--add-gnu-debuglink="+debug, binary))
	if got := frame(SymbolizerConfig{}); got != want {
		t.Errorf("by debug link: %q, want %q", got, want)
	}
	// A debug file of another build must not be used.
	other := compile(t, "-g", "-O1")
	run(t, exec.Command("objcopy", "--only-keep-debug", other, debug))
	if got := frame(SymbolizerConfig{}); !strings.HasPrefix(got, "stacks+0x") {
		t.Errorf("by the debug file of another build: %q", got)
	}
}

// TestSymbolizerLimits: above the limits there are names without lines, and a
// note; and a small cache changes no answer.
func TestSymbolizerLimits(t *testing.T) {
	binary := compile(t, "-g")
	d := mustParse(t, takeDump(t, binary))
	all := NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)

	f, err := openELF(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var debug int64
	for _, name := range dwarfSections {
		if s := f.Section(".debug_" + name); s != nil {
			debug += int64(s.Size)
		}
	}
	small := NewSymbolizer(SymbolizerConfig{MaxDebugBytes: debug - 1})
	symbols := small.SymbolizeDump(d)
	if got := programFrames(t, d, symbols, 30)[0]; got != "leak_static:0" {
		t.Errorf("DWARF above the limit: %q", got)
	}
	if !slices.ContainsFunc(symbols.Notes, func(n string) bool { return strings.HasPrefix(n, "stacks: no line numbers: ") }) {
		t.Errorf("notes %q", symbols.Notes)
	}

	tight := NewSymbolizer(SymbolizerConfig{MaxCacheBytes: 1})
	for range 2 {
		if got := tight.SymbolizeDump(d); !reflect.DeepEqual(got.frames, all.frames) {
			t.Error("a cache of one byte changes the answer")
		}
		if n := tight.used.Len(); n != 0 || len(tight.objects) != 0 {
			t.Errorf("%d files kept in a cache of one byte", n)
		}
	}
}

// TestSymbolizerKeepsWhatItLearned: the second dump is named from memory.
func TestSymbolizerKeepsWhatItLearned(t *testing.T) {
	binary := compile(t, "-g")
	d := mustParse(t, takeDump(t, binary))
	s := NewSymbolizer(SymbolizerConfig{})
	first := s.SymbolizeDump(d)
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	again := s.SymbolizeDump(d)
	if first.DebugRead == 0 || again.DebugRead != 0 {
		t.Errorf("debug information of %d files was read, then of %d", first.DebugRead, again.DebugRead)
	}
	if again.DebugRead = first.DebugRead; !reflect.DeepEqual(first, again) {
		t.Error("the second answer differs")
	}
	fresh := NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)
	if got := programFrames(t, d, fresh, 30)[0]; !strings.HasPrefix(got, "stacks+0x") {
		t.Errorf("from a file that is gone: %q", got)
	}
	if !slices.ContainsFunc(fresh.Notes, func(n string) bool { return strings.HasPrefix(n, "stacks: no symbols: ") }) {
		t.Errorf("notes %q", fresh.Notes)
	}
}

// TestSymbolizerOpensRegularFilesOnly: a dump can name any path.
func TestSymbolizerOpensRegularFilesOnly(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("\x7fELF and no more"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/dev/zero", t.TempDir(), "/nowhere", text} {
		maps := []Mapping{{Start: 0x1000, Limit: 0x2000, Exec: true, File: path}}
		symbols := NewSymbolizer(SymbolizerConfig{}).Symbolize(maps, []uint64{0x1235})
		if want := unnamed(filepath.Base(path) + "+0x234"); !reflect.DeepEqual(symbols.Frames(0x1235), want) {
			t.Errorf("%s: %v, want %v", path, symbols.Frames(0x1235), want)
		}
		if len(symbols.Notes) != 1 {
			t.Errorf("%s: notes %q", path, symbols.Notes)
		}
	}
}

func TestUnmappedAddresses(t *testing.T) {
	maps := []Mapping{
		{Start: 0x1000, Limit: 0x2000, Exec: true, File: "[vdso]"},
		{Start: 0x3000, Limit: 0x4000},
		{Start: 0x5000, Limit: 0x6000, File: "/data/only"},
	}
	symbols := NewSymbolizer(SymbolizerConfig{}).Symbolize(maps, []uint64{0x1011, 0x3011, 0x5011, 0x9011, 0})
	for pc, want := range map[uint64]string{
		0x1011: "[vdso]+0x10", 0x3011: "0x3010", 0x5011: "only+0x10", 0x9011: "0x9010", 0: "0xffffffffffffffff",
	} {
		if got := symbols.Frames(pc); len(got) != 1 || got[0].Function != want {
			t.Errorf("%#x: %v, want %s", pc, got, want)
		}
	}
}

//go:noinline
func goCaller(pcs []uintptr) int { return runtime.Callers(1, pcs) }

func TestGoFrames(t *testing.T) {
	pcs := make([]uintptr, 8)
	goCaller(pcs)
	symbols := NewSymbolizer(SymbolizerConfig{Go: GoFrames}).Symbolize(nil, []uint64{uint64(pcs[0]), uint64(pcs[1]), 0x10})
	for i, want := range []string{"goCaller", "TestGoFrames"} {
		f := symbols.Frames(uint64(pcs[i]))
		if len(f) == 0 || !strings.HasSuffix(f[0].Function, "heapprof."+want) || filepath.Base(f[0].File) != "symbolizer_test.go" || f[0].Line == 0 {
			t.Errorf("frames of %s: %v", want, f)
		}
	}
	if f := symbols.Frames(0x10); f[0].Function != "0xf" {
		t.Errorf("an address without code: %v", f)
	}
}

// TestGoSymbolsAreLeftOut: where Go code is named by somebody else its symbols are
// not kept, and C's are, on either side of Go's code.
func TestGoSymbolsAreLeftOut(t *testing.T) {
	for _, withoutGo := range []bool{false, true} {
		table := &symbolTable{
			names:   []byte("\x00runtime.text\x00main.main\x00runtime.etext\x00_start\x00strdup\x00"),
			symbols: []symbol{{0x80, 0x10, 38, 0}, {0x100, 0, 1, 0}, {0x100, 0x40, 14, 0}, {0x200, 0, 24, 0}, {0x200, 0x10, 45, 0}},
		}
		table.tidy(withoutGo)
		want := map[uint64]string{0x80: "_start", 0x100: "main.main", 0x200: "strdup"}
		names := "_start\x00main.main\x00strdup\x00"
		if withoutGo {
			want[0x100], names = "", "_start\x00strdup\x00"
		}
		for addr, name := range want {
			if got := table.name(addr); got != name {
				t.Errorf("without Go %v: %#x is named %q, want %q", withoutGo, addr, got, name)
			}
		}
		if string(table.names) != names {
			t.Errorf("without Go %v: the names kept are %q, want %q", withoutGo, table.names, names)
		}
	}
}

func TestSymbolSizeBoundsItsName(t *testing.T) {
	table := &symbolTable{
		names:   []byte("\x00__malloc\x00malloc\x00inner\x00outer\x00"),
		symbols: []symbol{{0x100, 0x10, 1, 0}, {0x100, 0x10, 10, 0}, {0x200, 0x100, 23, 0}, {0x220, 0x10, 17, 0}},
	}
	table.tidy(false)
	for addr, want := range map[uint64]string{
		0xff: "", 0x100: "malloc", 0x10f: "malloc", 0x110: "", 0x200: "outer", 0x225: "inner", 0x230: "outer", 0x2ff: "outer", 0x300: "",
	} {
		if got := table.name(addr); got != want {
			t.Errorf("%#x is named %q, want %q", addr, got, want)
		}
	}
}

// The program of another process that runs is read where the process has it, also after
// it was removed.
func TestRemovedProgramOfAnotherProcess(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cat")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	fmt.Fprintln(in, "runs")
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
	maps := mappingsOf(t, proc)
	i := slices.IndexFunc(maps, func(m Mapping) bool { return m.Exec && m.File == path && m.Deleted })
	if i < 0 {
		t.Fatalf("the program is not mapped: %v", maps)
	}
	for _, c := range []struct {
		proc string
		read bool
	}{{proc, true}, {"", false}} {
		id := NewSymbolizer(SymbolizerConfig{Proc: c.proc}).Symbolize(maps, nil).BuildID(&maps[i])
		if (id != "") != c.read {
			t.Errorf("by %q the build-id is %q", c.proc, id)
		}
	}
}

// A library that is upgraded under a running process keeps the names it had, and
// gets none from its successor.
func TestReplacedFile(t *testing.T) {
	binary := compile(t, "-g")
	text := takeDump(t, binary)
	before, err := Parse(bytes.NewReader(text), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := Parse(bytes.NewReader(bytes.ReplaceAll(text, []byte(binary+"\n"), []byte(binary+" (deleted)\n"))), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSymbolizer(SymbolizerConfig{})
	fresh := NewSymbolizer(SymbolizerConfig{})
	want := s.SymbolizeDump(before)
	other := compile(t, "-g", "-DOTHER", "-fno-inline")
	if err := os.Rename(other, binary); err != nil {
		t.Fatal(err)
	}
	got := s.SymbolizeDump(after)
	for _, pc := range before.PCs() {
		if !reflect.DeepEqual(got.Frames(pc), want.Frames(pc)) {
			t.Errorf("%#x: %v, want %v", pc, got.Frames(pc), want.Frames(pc))
		}
	}
	for i := range before.Mappings {
		was, is := want.BuildID(&before.Mappings[i]), got.BuildID(&after.Mappings[i])
		if m := before.Mappings[i]; is != was || m.Exec && m.File == binary && was == "" {
			t.Errorf("build-id %q, want %q", is, was)
		}
	}
	unknown := fresh.SymbolizeDump(after)
	if !slices.ContainsFunc(unknown.Notes, func(note string) bool { return strings.Contains(note, "removed or replaced") }) {
		t.Errorf("nothing is said of it: %q", unknown.Notes)
	}
	for _, pc := range after.PCs() {
		if m := findMapping(after.Mappings, pc-1); m != nil && m.File == binary {
			if name := unknown.Frames(pc)[0].Function; !strings.HasPrefix(name, "stacks+0x") {
				t.Errorf("%#x is %s by another file", pc, name)
			}
		}
	}
}

// library builds a library with one function of the given name, and returns where
// in the file that is.
func library(t *testing.T, path, function string, flags ...string) (offset uint64) {
	t.Helper()
	need(t, "gcc", "gcc")
	source := path + ".c"
	if err := os.WriteFile(source, []byte("int "+function+"(int n) { return n * n + 1; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("gcc", append(flags, "-g", "-O2", "-shared", "-fPIC", "-o", path, source)...))
	f, err := openELF(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != function {
			continue
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && s.Value-p.Vaddr < p.Filesz {
				return s.Value - p.Vaddr + p.Off
			}
		}
	}
	t.Fatalf("%s is not in %s", function, path)
	return 0
}

// Two files that have had one path are both mapped, the older one twice: a plugin
// that is replaced and loaded again, and one that dlmopen loads.
func TestFilesOfOnePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin.so")
	first := library(t, path, "first")
	mapping := func(start, inode uint64, deleted bool) Mapping {
		return Mapping{Start: start, Limit: start + 0x10000, Inode: inode, Exec: true, File: path, Deleted: deleted}
	}
	s := NewSymbolizer(SymbolizerConfig{})
	before := s.Symbolize([]Mapping{mapping(0x10000, 1, false)}, []uint64{0x10000 + first + 1})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := library(t, path, "second")
	maps := []Mapping{mapping(0x10000, 1, true), mapping(0x30000, 2, false), mapping(0x50000, 1, true)}
	symbols := s.Symbolize(maps, []uint64{0x10000 + first + 1, 0x30000 + second + 1, 0x50000 + first + 1})
	for pc, want := range map[uint64]string{0x10000 + first + 1: "first", 0x30000 + second + 1: "second", 0x50000 + first + 1: "first"} {
		if f := symbols.Frames(pc); len(f) != 1 || f[0].Function != want || f[0].Line != 1 {
			t.Errorf("%#x: %v, want %s", pc, f, want)
		}
	}
	ids := []string{symbols.BuildID(&maps[0]), symbols.BuildID(&maps[1]), symbols.BuildID(&maps[2])}
	if ids[0] == "" || ids[0] == ids[1] || ids[0] != ids[2] || ids[0] != before.BuildID(&Mapping{File: path, Inode: 1}) {
		t.Errorf("build-ids %q", ids)
	}
	d := &Dump{Rate: 1, Mappings: maps}
	for i, m := range d.Profile(ProfileOptions{Symbols: symbols}).Mapping {
		if m.BuildID != ids[i] {
			t.Errorf("mapping %d has the build-id %q, want %q", i, m.BuildID, ids[i])
		}
	}
}

// A file system gives the inode of a removed file to the next one.
func TestInodeUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin.so")
	maps := []Mapping{{Start: 0x10000, Limit: 0x20000, Inode: 1, Exec: true, File: path}}
	s := NewSymbolizer(SymbolizerConfig{})
	for _, function := range []string{"first", "second", "another"} {
		pc := 0x10000 + library(t, path+".new", function) + 1
		text, err := os.ReadFile(path + ".new")
		if err != nil {
			t.Fatal(err)
		}
		// Written into the same file, which so keeps its inode.
		if err := os.WriteFile(path, append(text, function...), 0o700); err != nil {
			t.Fatal(err)
		}
		if f := s.Symbolize(maps, []uint64{pc}).Frames(pc); len(f) != 1 || f[0].Function != function {
			t.Errorf("%v, want %s", f, function)
		}
	}
}
