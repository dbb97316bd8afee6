//go:build !asan

package pprof

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

// places is how many places in libraries were given away.
var places int

// newPlace returns a place for the code of a library, in its text, at which no other
// library of this process has code, also if this test runs again: wherever they are
// loaded, no address is one of several.
func newPlace() int {
	const size, page = 64, 4096
	places++
	return places * size % page
}

// plugin builds a library in which function calls inner, which calls malloc. Their code is
// at the given place, see newPlace.
func plugin(t *testing.T, path, function, inner string, place int, flags ...string) {
	t.Helper()
	source := strings.TrimSuffix(path, ".so") + ".c"
	text := `#include <stdlib.h>
__asm__(".text\n.skip ` + strconv.Itoa(place) + `");
__attribute__((noinline)) static void *` + inner + `(size_t n) { void *volatile p = malloc(n); return p; }
void *` + function + `(size_t n) { void *volatile p = ` + inner + `(n); return p; }
`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "gcc", append([]string{"gcc", "-g", "-O2", "-shared", "-fPIC", "-Wl,--build-id", "-o", path, source}, flags...)...)
}

// leakIn opens a library, leaks in it, and says where its code is.
func leakIn(t *testing.T, path, function string) (leaktest.Library, jemalloc.Library) {
	t.Helper()
	lib, err := leaktest.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	block, err := lib.Leak(function, 16*mib) // so large that it is sampled
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leaktest.FreeBlock(block) })
	all, _ := jemalloc.Libraries()
	for _, l := range all {
		if l.File == path {
			return lib, l
		}
	}
	t.Fatalf("%s was not noted: %+v", path, all)
	return lib, jemalloc.Library{}
}

// What a library allocated is named by that library after it was closed, and when
// another one, or another build of it, has taken its place.
func TestClosedLibraries(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text := func() string {
		t.Helper()
		body, err := r.now(t.Context(), false, heapprof.WriteText)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	stack := func(file, function, inner string) *regexp.Regexp {
		return regexp.MustCompile(`\n    ` + inner + ` ` + file + `\.c:3\n    ` + function + ` ` + file + `\.c:4\n`)
	}
	first, second := filepath.Join(dir, "first.so"), filepath.Join(dir, "second.so")
	shared := newPlace() // of the second library and the third
	plugin(t, first, "leak_first", "in_first", newPlace())
	plugin(t, second, "leak_second", "in_second", shared)

	lib, was := leakIn(t, first, "leak_first")
	if was.BuildID == "" || len(was.PCs) != 2 || !was.All {
		t.Errorf("noted is %+v", was)
	}
	lib.Close()
	if out := text(); !stack("first", "leak_first", "in_first").MatchString(out) {
		t.Errorf("after it was closed, not seen before:\n%s", out)
	}
	body, err := r.now(t.Context(), false, writeProfile)
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range p.Mapping {
		if m.File == first {
			found++
			if m.Start != was.Start || m.Limit != was.Limit || m.Offset != was.Offset || m.BuildID != was.BuildID || !m.HasFunctions {
				t.Errorf("its mapping is %+v, it was %+v", m, was)
			}
		}
	}
	if found != 1 {
		t.Errorf("it has %d mappings", found)
	}
	if !strings.Contains(strings.Join(p.Comments, "\n"), "first.so: it was closed since; 2 of its addresses are on stacks") {
		t.Errorf("nothing is said of it: %q", p.Comments)
	}

	// The kernel puts the next one where the last one was, if nothing comes between.
	third := filepath.Join(dir, "third.so")
	plugin(t, third, "leak_third", "in_third", shared)
	lib1, was := leakIn(t, third, "leak_third")
	lib1.Close()
	lib2, is := leakIn(t, second, "leak_second")
	// Each address is on stacks in both then, as the two have the same code.
	both := []*regexp.Regexp{stack("third", "leak_third", "in_third"), stack("second", "leak_second", "in_second")}
	if is.Start == was.Start {
		both = []*regexp.Regexp{regexp.MustCompile(`\n    in_second or in_third\n    leak_second or leak_third\n`)}
	}
	for _, when := range []string{"while another library is at its place", "after that was closed, too"} {
		out := text()
		for _, want := range append(both, stack("first", "leak_first", "in_first")) {
			if !want.MatchString(out) {
				t.Errorf("%s: no %v in\n%s", when, want, out)
			}
		}
		if when != "after that was closed, too" {
			lib2.Close()
		}
	}

	// A new build of the same name: at the same place the addresses are other functions.
	older := r
	r = newTestRecorder(t, quiet(t)) // to which the first build is new
	plugin(t, filepath.Join(dir, "new.so"), "leak_first", "in_other", newPlace())
	if err := os.Rename(filepath.Join(dir, "new.so"), first); err != nil {
		t.Fatal(err)
	}
	lib3, _ := leakIn(t, first, "leak_first")
	defer lib3.Close()
	out := text()
	if !regexp.MustCompile(`\n    first\.so\+0x[0-9a-f]+\n    first\.so\+0x[0-9a-f]+\n`).MatchString(out) ||
		stack("first", "leak_first", "in_first").MatchString(out) || !strings.Contains(out, "in_other") {
		t.Errorf("the names of the file that is gone are not known, and those of the new one are:\n%s", out)
	}
	r = older
	if out := text(); !stack("first", "leak_first", "in_first").MatchString(out) || !strings.Contains(out, "in_other") {
		t.Errorf("who has named it before knows the names:\n%s", out)
	}

	// The difference of two profiles, of which one was taken before it was closed.
	lib4, _ := leakIn(t, second, "leak_second")
	now := func() *profile.Profile {
		_, heap, err := r.takeNow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r.profileOf(t.Context(), heap)
	}
	before := now()
	lib4.Close()
	delta, err := heapprof.Delta(before, now())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := heapprof.WriteText(&b, delta); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "in_second") {
		t.Errorf("nothing changed:\n%s", &b)
	}
}

// One without a build-id is known again by its headers, which are the same in memory
// and in its file.
func TestClosedLibraryWithoutBuildID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plain.so")
	plugin(t, path, "leak_plain", "in_plain", newPlace(), "-Wl,--build-id=none")
	lib, was := leakIn(t, path, "leak_plain")
	if was.BuildID != "" || was.Headers == 0 {
		t.Errorf("noted is %+v", was)
	}
	lib.Close()
	body, err := newTestRecorder(t, quiet(t)).now(t.Context(), false, heapprof.WriteText)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(body, []byte("\n    in_plain plain.c:3\n    leak_plain plain.c:4\n")) {
		t.Errorf("%s", body)
	}
}
