package agent

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestLibrary(t *testing.T) {
	if _, err := libraryIn(fstest.MapFS{"built/README.md": {}}); !errors.Is(err, ErrNotBuilt) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("none: %v", err)
	}
	name := "built/libmagellan-agent-" + runtime.GOARCH + ".so"
	if got, err := libraryIn(fstest.MapFS{name: {Data: []byte("x")}}); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := built.ReadFile("built/README.md"); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	memory, err := inMemory([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	for _, c := range []struct {
		cfg  RunConfig
		env  []string
		want []string
	}{
		{RunConfig{}, []string{"A=1"}, []string{"A=1", "LD_PRELOAD=/proc/self/fd/9", "MAGELLAN_AGENT=sample=524288,children=0,off=0"}},
		{RunConfig{Sample: 1, Children: true, Off: true}, nil, []string{"LD_PRELOAD=/proc/self/fd/9", "MAGELLAN_AGENT=sample=1,children=1,off=1"}},
		{RunConfig{}, []string{"LD_PRELOAD=/lib/a.so b.so::/lib/c.so", "MAGELLAN_AGENT=sample=7", "LD_PRELOADS=x"},
			[]string{"LD_PRELOADS=x", "LD_PRELOAD=/proc/self/fd/9:/lib/a.so:b.so:/lib/c.so", "MAGELLAN_AGENT=sample=524288,children=0,off=0"}},
		{RunConfig{}, []string{"LD_PRELOAD=" + dir + "/" + LibraryName + ":/lib/a.so:/proc/self/fd/" + filepath.Base(fdPath(memory))},
			[]string{"LD_PRELOAD=/proc/self/fd/9:/lib/a.so", "MAGELLAN_AGENT=sample=524288,children=0,off=0"}},
	} {
		given := slices.Clone(c.env)
		if got := c.cfg.environment(c.env, 9); !slices.Equal(got, c.want) {
			t.Errorf("%q:\ngot  %q\nwant %q", c.env, got, c.want)
		}
		if !slices.Equal(c.env, given) {
			t.Errorf("the caller's environment is changed: %q", c.env)
		}
	}
}

func fdPath(f *os.File) string {
	for _, e := range must(os.ReadDir("/proc/self/fd")) {
		path := "/proc/self/fd/" + e.Name()
		if a, err := os.Stat(path); err == nil {
			if b, err := f.Stat(); err == nil && os.SameFile(a, b) {
				return path
			}
		}
	}
	return ""
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestInMemory(t *testing.T) {
	f, err := inMemory([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Fd() < 100 {
		t.Errorf("descriptor %d may be one that shell scripts use", f.Fd())
	}
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("it can be written: %v", err)
	}
	if err := f.Truncate(0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("it can be shortened: %v", err)
	}
	if err := f.Truncate(1 << 20); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("it can be made longer: %v", err)
	}
	out, err := exec.Command("cat", fdPath(f)).Output() // inherited, and read from its start
	if err != nil || string(out) != "content" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCommandRefuses(t *testing.T) {
	text := write(t, t.TempDir()+"/text", "echo\n")
	plain := filepath.Dir(text) + "/plain"
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	pure := build(t, pureGo, []string{"CGO_ENABLED=0"}, "go", "build")
	for arg, want := range map[string]string{
		"nothing-has-this-name": "nothing-has-this-name is in no directory of PATH: check the name, or give the path of the program",
		"./nothing":             "./nothing cannot be started: stat ./nothing: no such file or directory",
		plain:                   plain + " cannot be started: permission denied",
		text:                    text + ": neither an ELF program nor a script with #! in its first line",
		pure:                    pure + " is a Go program without C code (cgo), so there is no C memory: net/http/pprof shows the memory of Go",
	} {
		_, err := Command(RunConfig{Args: []string{arg}})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", arg, err, want)
		}
	}
	if _, err := Command(RunConfig{}); err == nil {
		t.Error("no command is accepted")
	}
	if _, err := (&RunConfig{Args: []string{"true"}}).command(func() ([]byte, error) { return nil, ErrNotBuilt }); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("without a library: %v", err)
	}
}

// library is one that says that it is loaded.
const library = `#include <unistd.h>
__attribute__((constructor)) static void hello(void) { (void)!write(1, "loaded\n", 7); }
`

// TestExec starts programs under a library, in place of a process.
func TestExec(t *testing.T) {
	so := build(t, library, nil, "gcc", "-shared", "-fPIC")
	script := write(t, t.TempDir()+"/script", "#!/bin/sh\necho $$ \"$@\"\nexec 3>&1\nexit 7\n")
	cmd := helper(t, "exec", so, script, "a b", "c")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit code 7 is not passed on: %v", err)
	}
	if want := "loaded\n" + itoa(cmd.Process.Pid) + " a b c\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	// What a shell starts has the library too.
	text, err := helper(t, "exec", so, "sh", "-c", "env; exit 0").CombinedOutput()
	if err != nil || strings.Count(string(text), "loaded\n") != 2 || !strings.Contains(string(text), "\nMAGELLAN_AGENT=sample=4096,children=0,off=0\n") {
		t.Errorf("%v\n%s", err, text)
	}
}

func itoa(n int) string { return filepath.Base(procPath(n, "")) }

// TestExecAgent starts a program under the agent itself, if it was built.
func TestExecAgent(t *testing.T) {
	library, err := Library()
	if errors.Is(err, ErrNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(strings.NewReader(string(library)))
	if err != nil {
		t.Fatal(err)
	}
	if needed, err := f.ImportedLibraries(); err != nil || len(needed) > 0 {
		t.Errorf("the agent needs libraries, which a process may not have: %q, %v", needed, err)
	}
	file := write(t, t.TempDir()+"/"+LibraryName, string(library))
	for _, command := range [][]string{{"env"}, {"sh", "-c", "env"}, {"sh", "-c", "sh -c env"}} {
		cmd := helper(t, "exec", append([]string{file}, command...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.String() != "" {
			t.Errorf("%q: %v\n%s", command, err, stderr.String())
		}
		for _, want := range []string{"\nLD_PRELOAD=/proc/self/fd/1", "\nMAGELLAN_AGENT=sample=4096,children=0,off=0\n"} {
			if !strings.Contains("\n"+string(out), want) {
				t.Errorf("%q: no %q in\n%s", command, want, out)
			}
		}
	}
}
