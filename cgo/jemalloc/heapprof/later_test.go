package heapprof

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/pprof/driver"
)

// TestNamedLater: a profile of a stripped program gets its names when its symbols
// are there, from the tools that people have.
func TestNamedLater(t *testing.T) {
	need(t, "strip", "binutils")
	need(t, "go", "Go")
	for name, flags := range map[string][]string{
		"pie":               {"-g"},
		"with some names":   {"-g", "-rdynamic"}, // in .dynsym
		"one segment":       {"-g", "-Wl,-z,noseparate-code"},
		"of a large offset": {"-g", "-Wl,-Ttext-segment=0x7000000", "-no-pie"},
	} {
		t.Run(name, func(t *testing.T) {
			binary := compile(t, flags...)
			full := binary + ".full"
			run(t, exec.Command("objcopy", binary, full))
			run(t, exec.Command("strip", binary))
			d := mustParse(t, takeDump(t, binary))
			p := d.Profile(ProfileOptions{Symbols: NewSymbolizer(SymbolizerConfig{}).SymbolizeDump(d)})
			m := p.Mapping[0]
			if m.File != binary || m.BuildID == "" || m.HasFunctions || m.HasFilenames || m.HasLineNumbers || m.HasInlineFrames {
				t.Errorf("the program's mapping is %+v", m)
			}
			path := filepath.Join(t.TempDir(), "heap.pb.gz")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Write(f); err != nil {
				t.Fatal(err)
			}
			f.Close()
			top := func() string {
				return run(t, exec.Command("go", "tool", "pprof", "-top", "-lines", "-nodecount=50", path))
			}
			named := regexp.MustCompile(`leak_static .*stacks\.c:\d+`)
			if out := top(); named.MatchString(out) {
				t.Errorf("the program was not stripped:\n%s", out)
			}

			// By the build-id, with what google/pprof does by itself. It wants the whole
			// program: in a file of objcopy --only-keep-debug the segments' offsets are
			// others, unless the program has one segment.
			byBuildID := func(objcopy ...string) string {
				t.Helper()
				dir := t.TempDir()
				if err := os.MkdirAll(filepath.Join(dir, m.BuildID), 0o700); err != nil {
					t.Fatal(err)
				}
				run(t, exec.Command("objcopy", append(objcopy, full, filepath.Join(dir, m.BuildID, "another-name"))...))
				t.Setenv("PPROF_BINARY_PATH", dir)
				return binutilsTop(t, path)
			}
			if out := byBuildID(); !named.MatchString(out) {
				t.Errorf("pprof with PPROF_BINARY_PATH:\n%s", out)
			}
			// If it can use a debug file as well, doc.go of package pprof has to say so.
			if out := byBuildID("--only-keep-debug"); named.MatchString(out) != (name == "one segment") {
				t.Errorf("pprof with a debug file in PPROF_BINARY_PATH:\n%s", out)
			}
			// By the path: a debug file of the same build, which go tool pprof can read, and
			// the build itself, with its symbols.
			t.Setenv("PPROF_BINARY_PATH", t.TempDir())
			if err := os.Remove(binary); err != nil {
				t.Fatal(err)
			}
			run(t, exec.Command("objcopy", "--only-keep-debug", full, binary))
			if out := top(); !named.MatchString(out) {
				t.Errorf("go tool pprof with a debug file at its place:\n%s", out)
			}
			if err := os.Rename(full, binary); err != nil {
				t.Fatal(err)
			}
			if out := top(); !named.MatchString(out) {
				t.Errorf("go tool pprof with the file at its place:\n%s", out)
			}
		})
	}
}

// binutilsTop runs google/pprof, which looks into files by binutils or LLVM's tools;
// go tool pprof does that by Go's own means and knows no build-ids.
func binutilsTop(t *testing.T, path string) string {
	t.Helper()
	need(t, "addr2line", "binutils")
	var out bytes.Buffer
	err := driver.PProf(&driver.Options{Flagset: topFlags{path}, Writer: writer{&out}, UI: quietUI{&out}})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

type topFlags struct{ path string }

func (topFlags) Bool(name string, def bool, _ string) *bool {
	def = def || name == "top" || name == "lines"
	return &def
}
func (topFlags) Int(name string, def int, _ string) *int {
	if name == "nodecount" {
		def = 50
	}
	return &def
}
func (topFlags) Float64(_ string, def float64, _ string) *float64 { return &def }
func (topFlags) String(name, def, _ string) *string {
	switch name {
	case "symbolize":
		def = "local"
	case "output":
		def = "-"
	}
	return &def
}
func (topFlags) StringList(_, _, _ string) *[]*string { return new([]*string) }
func (topFlags) ExtraUsage() string                   { return "" }
func (topFlags) AddExtraUsage(string)                 {}
func (f topFlags) Parse(func()) []string              { return []string{f.path} }

type writer struct{ *bytes.Buffer }

func (w writer) Open(string) (io.WriteCloser, error) { return w, nil }
func (writer) Close() error                          { return nil }

// quietUI prints what pprof says beside its output.
type quietUI struct{ out *bytes.Buffer }

func (quietUI) ReadLine(string) (string, error)     { return "", io.EOF }
func (u quietUI) Print(args ...any)                 { fmt.Fprintln(u.out, args...) }
func (u quietUI) PrintErr(args ...any)              { fmt.Fprintln(u.out, args...) }
func (quietUI) IsTerminal() bool                    { return false }
func (quietUI) WantBrowser() bool                   { return false }
func (quietUI) SetAutoComplete(func(string) string) {}
