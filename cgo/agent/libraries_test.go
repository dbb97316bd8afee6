package agent

import (
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"magellan/cgo/jemalloc/heapprof"
)

const librariesText = `more yes
library 0x7f0000001000-0x7f0000003000
offset 0x1000
build_id 00ff12ab
path ./plugins/a library.so
pcs 0x7f0000001010 0x7f0000002020
all yes
some_day more
library 0x7f0000001000-0x7f0000002000
offset 0x2000
headers 0xfedcba9876543210
path /usr/lib/b.so
pcs
all no
`

func TestLibraries(t *testing.T) {
	answer := librariesText
	serve(t, func(request string) ([]string, error) {
		if request != "libraries" {
			return []string{"error unknown request"}, nil
		}
		return []string{"ok", answer[:40], answer[40:]}, nil
	})
	c := findSelf(t)
	got, more, err := c.Libraries(t.Context())
	want := []heapprof.Loaded{{
		Mapping: heapprof.Mapping{Start: 0x7f0000001000, Limit: 0x7f0000003000, Offset: 0x1000, Exec: true, File: "./plugins/a library.so"},
		BuildID: "00ff12ab", PCs: []uint64{0x7f0000001010, 0x7f0000002020}, All: true,
	}, {
		Mapping: heapprof.Mapping{Start: 0x7f0000001000, Limit: 0x7f0000002000, Offset: 0x2000, Exec: true, File: "/usr/lib/b.so"},
		Headers: 0xfedcba9876543210,
	}}
	if err != nil || !more || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v, %v\nwant %+v", got, more, err, want)
	}
	answer = strings.Repeat("x", maxText+1)
	if _, _, err := c.Libraries(t.Context()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an answer without an end: %v", err)
	}
}

func TestParseLibraries(t *testing.T) {
	// whole is a library, with the value of one key replaced.
	whole := func(key, value string) string {
		var out strings.Builder
		for _, line := range []string{"library 0x1000-0x2000", "offset 0x0", "build_id ab", "path /b.so", "pcs 0x1001", "all yes"} {
			name, _, _ := strings.Cut(line, " ")
			if name == key {
				line = key + " " + value
			}
			out.WriteString(line + "\n")
		}
		return out.String()
	}
	addresses := func(n int) string { return strings.Repeat(" 0x1001", n) }
	for name, c := range map[string]struct {
		text string
		n    int
		want error
	}{
		"nothing":                     {"", 0, nil},
		"none":                        {"more no\n", 0, nil},
		"lines before the first":      {"path /a.so\npcs x\n" + whole("", ""), 1, nil},
		"one":                         {whole("", ""), 1, nil},
		"any bytes in the path":       {whole("path", "/\xff\x1b[2J \t.so"), 1, nil},
		"as many as are accepted":     {strings.Repeat(whole("", ""), maxLibraries), maxLibraries, nil},
		"one more":                    {strings.Repeat(whole("", ""), maxLibraries+1), 0, ErrTooLarge},
		"a path as long as can be":    {whole("path", "/"+strings.Repeat("x", maxLibraryPath-1)), 1, nil},
		"a longer one":                {whole("path", "/"+strings.Repeat("x", maxLibraryPath)), 0, ErrTooLarge},
		"as many addresses as can be": {whole("pcs", addresses(maxLibraryPCs)), 1, nil},
		"more addresses":              {whole("pcs", addresses(maxLibraryPCs+1)), 0, ErrTooLarge},
		"more addresses in two lines": {whole("pcs", addresses(maxLibraryPCs)+"\npcs 0x1001"), 0, ErrTooLarge},
		"a long build-id":             {whole("build_id", strings.Repeat("ab", maxBuildID+1)), 0, ErrTooLarge},
		"no build-id":                 {whole("build_id", ""), 0, ErrProtocol},
		"no digits":                   {whole("build_id", "xy"), 0, ErrProtocol},
		"headers that are no number":  {whole("build_id", "\nheaders -"), 0, ErrProtocol},
		"no path":                     {whole("path", ""), 0, ErrProtocol},
		"no addresses":                {whole("library", ""), 0, ErrProtocol},
		"no end":                      {whole("library", "0x1000-"), 0, ErrProtocol},
		"the end before the start":    {whole("library", "0x2000-0x1000"), 0, ErrProtocol},
		"an offset below 0":           {whole("offset", "-1"), 0, ErrProtocol},
		"a name for an address":       {whole("pcs", "0x1001 malloc"), 0, ErrProtocol},
	} {
		if all, _, err := parseLibraries(c.text); !errors.Is(err, c.want) || len(all) != c.n {
			t.Errorf("%s: %d, %v; want %d, %v", name, len(all), err, c.n, c.want)
		}
	}
}

func FuzzParseLibraries(f *testing.F) {
	f.Add(librariesText)
	f.Fuzz(func(t *testing.T, text string) {
		all, _, err := parseLibraries(text)
		if err != nil && all != nil {
			t.Error("libraries and an error")
		}
		for _, l := range all {
			if l.Start >= l.Limit || l.File == "" || len(l.PCs) > maxLibraryPCs || len(l.File) > maxLibraryPath {
				t.Errorf("%+v", l)
			}
		}
	})
}

func TestFileSystemReal(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/lib", "app"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"lib": "usr/lib", "usr/lib/b.so": "b.so.1", "usr/lib/b.so.1": "/lib/b.so.1.2", // absolute, in that root
		"app/up": "../../../../usr", "loop": "loop/loop", "app/gone": "/nowhere/x",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	fs := fileSystem{root: root, working: "/app"}
	for path, want := range map[string]string{
		"/usr/lib/b.so.1.2": "/usr/lib/b.so.1.2",
		"/lib/b.so":         "/usr/lib/b.so.1.2",
		"p.so":              "/app/p.so",
		"./p.so":            "/app/p.so",
		"../lib/b.so":       "/usr/lib/b.so.1.2",
		"../../../../lib//": "/usr/lib", // above the root is the root
		"up/lib/../b.so":    "/usr/b.so",
		"gone":              "/nowhere/x",
	} {
		if got := fs.real(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := fs.real("/loop"); !strings.HasPrefix(got, "/loop") {
		t.Errorf("links in a circle lead to %s", got)
	}
}

func TestFileSystemOf(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if got := fileSystemOf(os.Getpid(), ""); got != (fileSystem{working: dir}) {
		t.Errorf("of this process: %+v", got)
	}
	for _, c := range [][3]string{
		{"/", "/app/x", "/app/x"}, {"/srv", "/srv/app", "/app"}, {"/srv", "/srv", "/"}, {"/srv", "/srv2/app", "/srv2/app"}, {"/srv", "/", "/"},
	} {
		if got := within(c[0], c[1]); got != c[2] {
			t.Errorf("%s in %s is %s, want %s", c[1], c[0], got, c[2])
		}
	}
	if got := fileSystemOf(1<<30, "/none"); got != (fileSystem{"/none", "/"}) {
		t.Errorf("of no process: %+v", got)
	}
}

// compileLibrary compiles a library with one function, and returns the build-id and the
// function's address in the file.
func compileLibrary(t *testing.T, path, function string) (buildID string, address uint64) {
	t.Helper()
	source := path + ".c"
	if err := os.WriteFile(source, []byte("int "+function+"(int n) { return n * n + 1; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-O2", "-shared", "-fPIC", "-Wl,--build-id=sha1", "-o", path, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	notes, err := f.Section(".note.gnu.build-id").Data()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == function {
			return hex.EncodeToString(notes[len(notes)-20:]), s.Value
		}
	}
	t.Fatalf("%s has no function %s", path, function)
	return "", 0
}

// TestProfilerClosedLibrary: a library has allocated and was closed, and another one has its
// place. The first was opened by a path that is relative and has a symbolic link in it.
func TestProfilerClosedLibrary(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	firstID, inFirst := compileLibrary(t, filepath.Join(dir, "one", "lib.so"), "first")
	secondID, inSecond := compileLibrary(t, filepath.Join(dir, "two", "lib.so"), "second")
	link := func(to string) {
		t.Helper()
		os.Remove("current")
		if err := os.Symlink(to, "current"); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	const start = 0x7f0000000000
	firstPC, secondPC := start+inFirst+1, start+inSecond+2 // the functions are at the same place
	text := func(id, path string, pc uint64) string {
		return fmt.Sprintf("library %#x-%#x\noffset 0x0\nbuild_id %s\npath %s\npcs %#x\nall yes\n", start, start+0x10000, id, path, pc)
	}
	count := "  t*: 1: 1024 [1: 1024]\n"
	mapped := fmt.Sprintf("%x-%x r-xp 00000000 08:01 77 %s/two/lib.so\n", start, start+0x10000, dir)
	f := serve(t, func(request string) ([]string, error) {
		switch request {
		case "status":
			return []string{"ok", "protocol 1\nstate on\nsample 1024\nfirst yes\ngo_text 0x1-0x2\n"}, nil
		case "dump":
			return []string{"ok", "heap_v2/1024\n", count, fmt.Sprintf("@ %#x %#x\n", firstPC, secondPC), count, "\nMAPPED_LIBRARIES:\n" + mapped}, nil
		case "libraries":
			return []string{"ok", "more no\n", text(firstID, "./current/lib.so", firstPC), text(secondID, "two/lib.so", secondPC)}, nil
		}
		return []string{"error unknown request"}, nil
	})
	p, err := NewProfiler(t.Context(), findSelf(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at first", "after the link was changed"} {
		got, err := p.Profile(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if names := stack(t, got); len(names) != 2 || names[0] != "first" || names[1] != "second" {
			t.Errorf("%s: %q", when, names)
		}
		if comments := strings.Join(got.Comments, "\n"); !strings.Contains(comments, "lib.so: it was closed since") {
			t.Errorf("%s: %s", when, comments)
		}
		link("two")
	}
	if asked := strings.Join(f.asked(), " "); !strings.HasSuffix(asked, "status dump libraries") {
		t.Errorf("the libraries are not asked for after the dump: %s", asked)
	}
}

// A profile whose libraries are not known would have wrong names.
func TestProfilerWithoutLibraries(t *testing.T) {
	serve(t, func(request string) ([]string, error) {
		switch request {
		case "status":
			return []string{"ok", "protocol 1\n"}, nil
		case "dump":
			return []string{"ok", "heap_v2/1024\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n"}, nil
		}
		return []string{"ok", "more no\n"}, errHangUp
	})
	p, err := NewProfiler(t.Context(), findSelf(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Profile(t.Context()); !errors.Is(err, ErrCut) {
		t.Errorf("a profile: %v, %v", got, err)
	}
}
