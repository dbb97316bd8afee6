//go:build !asan

package jemalloc_test

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/leaktest"
)

// noteLibraries has libraries noted in a process of their own: a crash there, or a full
// table, is not this one's.
func noteLibraries(t *testing.T, paths ...string) (out string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "libraries")
	compile(t, "-o", program, filepath.Join("testdata", "libraries.c"), "-ldl")
	text, err := exec.Command(program, paths...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return string(text)
}

func compile(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("gcc", append([]string{"-O2", "-g"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
}

// smallLibrary returns a library with a function f.
func smallLibrary(t *testing.T, path string) (image []byte) {
	t.Helper()
	source := path + ".c"
	if err := os.WriteFile(source, []byte("int f(int n) { return n * n + 1; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compile(t, "-shared", "-fPIC", "-Wl,--build-id=sha1", "-o", path, source)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// The hook reads a library's headers where the dynamic linker has mapped them. What ELF
// lets a file say of them may be elsewhere in memory, or nowhere.
func TestLibrariesWithHeadersElsewhere(t *testing.T) {
	order := binary.LittleEndian
	const atHeaders, sizeofHeader = 32, 56 // e_phoff, and the size of an entry
	segments := func(image []byte) []byte {
		n := int(order.Uint16(image[56:]))
		return image[order.Uint64(image[atHeaders:]):][:n*sizeofHeader]
	}
	// notes sets a field of the entry of the notes with the build-id.
	notes := func(field int, value uint64) func(image []byte) []byte {
		return func(image []byte) []byte {
			const align = 48
			for s := segments(image); len(s) > 0; s = s[sizeofHeader:] {
				if elf.ProgType(order.Uint32(s)) == elf.PT_NOTE && order.Uint64(s[align:]) == 4 {
					order.PutUint64(s[field:], value)
				}
			}
			return image
		}
	}
	const address, size = 16, 40
	for name, c := range map[string]struct {
		change func(image []byte) []byte
		want   string // after the path; empty: it is not noted
	}{
		"as it is": {func(image []byte) []byte { return image }, ": 20 bytes of build-id, 1 addresses\n"},
		"the program headers at the end of the file": {func(image []byte) []byte {
			moved := append([]byte(nil), segments(image)...)
			clear(segments(image))
			image = append(image, make([]byte, 16<<20-len(image))...)
			order.PutUint64(image[atHeaders:], uint64(len(image)))
			return append(image, moved...)
		}, ""},
		"notes in no mapping":             {notes(address, 1<<30), ": 0 bytes of build-id, 1 addresses\n"},
		"notes longer than their mapping": {notes(size, 1<<63), ": 0 bytes of build-id, 1 addresses\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.so")
			if err := os.WriteFile(path, c.change(smallLibrary(t, path)), 0o700); err != nil {
				t.Fatal(err)
			}
			want := "all\n"
			if c.want != "" {
				want = path + c.want + want
			}
			if out := noteLibraries(t, path); out != want {
				t.Errorf("%q, want %q", out, want)
			}
		})
	}
}

// Whether a library was left out is known as soon as there is one too many.
func TestMoreLibrariesThanAreRemembered(t *testing.T) {
	dir := t.TempDir()
	image := smallLibrary(t, filepath.Join(dir, "f.so"))
	var paths []string
	for i := range 129 {
		path := filepath.Join(dir, fmt.Sprintf("f%d.so", i))
		if err := os.WriteFile(path, image, 0o700); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	more := func(paths []string) bool {
		return strings.HasSuffix(noteLibraries(t, append(paths, paths[0])...), "\nmore\n")
	}
	if more(paths[:128:128]) {
		t.Error("as many as there is room for, and more are said to be")
	}
	if !more(paths) {
		t.Error("one more than there is room for, and nothing is said of it")
	}
}

// A library has the path that it was opened by, whatever its symbolic links lead to later.
func TestLibraryHasThePathItWasOpenedBy(t *testing.T) {
	if kind, reason := jemalloc.Unwinder(); kind == jemalloc.UnwinderNone || kind == jemalloc.UnwinderStock {
		t.Skip(reason)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		source := filepath.Join(dir, name, "lib.c")
		if err := os.WriteFile(source, []byte("#include <stdlib.h>\nvoid *leak(size_t n) { void *volatile p = malloc(n); return p; }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		compile(t, "-shared", "-fPIC", "-o", filepath.Join(dir, name, "lib.so"), source)
	}
	current := filepath.Join(dir, "current")
	link := func(to string) {
		t.Helper()
		os.Remove(current)
		if err := os.Symlink(to, current); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	lib, err := leaktest.Open(filepath.Join(current, "lib.so"))
	if err != nil {
		t.Fatal(err)
	}
	defer lib.Close()
	block, err := lib.Leak("leak", 64<<20) // so large that it is sampled
	if err != nil {
		t.Fatal(err)
	}
	defer leaktest.FreeBlock(block)
	path := func() string {
		all, _ := jemalloc.Libraries()
		for _, l := range all {
			if strings.HasPrefix(l.File, dir) {
				return l.File
			}
		}
		return ""
	}
	want := filepath.Join(dir, "one", "lib.so")
	if got := path(); got != want {
		t.Errorf("it is %q, want %s", got, want)
	}
	link("two")
	if got := path(); got != want {
		t.Errorf("after its link was changed it is %q, want %s", got, want)
	}
}
