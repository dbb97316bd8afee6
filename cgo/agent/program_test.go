package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Programs that tests build. They print with println, because package fmt takes long to
// compile for another architecture.
const (
	pureGo  = "package main\n\nfunc main() { println(1) }\n"
	goWithC = "package main\n\n// int one(void) { return 1; }\nimport \"C\"\n\nfunc main() { println(C.one()) }\n"
	plainC  = "#include <stdlib.h>\nint main(void) { return malloc(1) == 0; }\n"
	// The C library calls the program's malloc, so the linker exports it.
	mallocC = "#include <stddef.h>\nstatic char block[1 << 16];\nvoid *malloc(size_t n) { return block + n % 2; }\nint main(void) { return 0; }\n"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// build runs a compiler, and returns what it has built. A line of env may set a variable.
func build(t *testing.T, source string, env []string, command ...string) string {
	t.Helper()
	dir := t.TempDir()
	name := "main.c"
	if strings.HasPrefix(source, "package") {
		name = "main.go"
	}
	write(t, filepath.Join(dir, name), source)
	out := filepath.Join(dir, "program")
	cmd := exec.Command(command[0], append(command[1:], "-o", out, name)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GO111MODULE=off", "CGO_LDFLAGS=", "CGO_CFLAGS=")
	cmd.Env = append(cmd.Env, env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	return out
}

// edited returns a copy of a file in which one text is another of the same length.
func edited(t *testing.T, path, from, to string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte(from)) {
		t.Fatalf("%s has no %q", path, from)
	}
	to += strings.Repeat("\x00", len(from)-len(to))
	return write(t, filepath.Join(t.TempDir(), "edited"), string(bytes.ReplaceAll(content, []byte(from), []byte(to))))
}

func TestInspect(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the programs are built for amd64")
	}
	withC := build(t, goWithC, []string{"CGO_ENABLED=1"}, "go", "build")
	c := build(t, plainC, nil, "gcc")
	static := build(t, plainC, nil, "gcc", "-static")
	stripped := build(t, goWithC, []string{"CGO_ENABLED=1"}, "go", "build", "-trimpath", "-buildmode=pie", "-ldflags=-s -w -linkmode=external")
	const buildinfo = "\xff Go buildinf:"
	address := build(t, mallocC, nil, "gcc", "-O1", "-fno-builtin", "-fsanitize=address", "-Dmalloc=own")
	scripts := t.TempDir()
	type want struct {
		short    string // of the obstacle
		is, c    bool   // Go, C
		noGo     bool   // the version is not known
		script   bool
		loader   bool
		notFound error
	}
	for _, p := range []struct {
		name, path string
		want       want
	}{
		{"Go", build(t, pureGo, []string{"CGO_ENABLED=0"}, "go", "build"), want{short: "no C code", is: true}},
		{"Go PIE", build(t, pureGo, []string{"CGO_ENABLED=0"}, "go", "build", "-buildmode=pie"), want{short: "no C code", is: true}},
		{"Go with C", withC, want{is: true, c: true}},
		{"Go with C, stripped PIE", stripped, want{is: true, c: true}},
		{"Go with C, static", build(t, goWithC, []string{"CGO_ENABLED=1"}, "go", "build", "-ldflags=-linkmode=external -extldflags=-static -s"), want{short: "static", is: true, c: true}},
		{"Go with C, build information overwritten", edited(t, stripped, buildinfo, ""), want{is: true, c: true, noGo: true}},
		{"Go for arm64", build(t, pureGo, []string{"CGO_ENABLED=0", "GOARCH=arm64"}, "go", "build"), want{short: "other architecture", is: true}},
		{"C", c, want{c: true}},
		{"C, static", static, want{short: "static", c: true}},
		{"C with a malloc", build(t, mallocC, nil, "gcc", "-O1", "-fno-builtin"), want{short: "own malloc", c: true}},
		{"C with musl", edited(t, c, "/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"), want{c: true}},
		{"dynamic loader", "/lib64/ld-linux-x86-64.so.2", want{c: true, loader: true}},
		{"C with AddressSanitizer", address, want{short: "sanitizer", c: true}},
		{"C with LeakSanitizer", edited(t, address, "libasan.", "liblsan."), want{short: "sanitizer", c: true}},
		{"C with ThreadSanitizer", edited(t, address, "libasan.", "libtsan."), want{short: "sanitizer", c: true}},
		{"C with another loader", edited(t, c, "/lib64/ld-linux-x86-64.so.2", "/system/bin/linker64"), want{short: "other C library", c: true}},
		{"script", write(t, scripts+"/script", "#! /bin/sh -e\necho\n"), want{c: true, script: true}},
		{"script of a static shell", write(t, scripts+"/static", "#!"+static+"\n"), want{c: true, script: true}},
		{"script without its shell", write(t, scripts+"/none", "#!/nowhere/sh\n"), want{notFound: fs.ErrNotExist}},
		{"text", write(t, scripts+"/text", "echo\n"), want{notFound: ErrNoProgram}},
		{"empty", write(t, scripts+"/empty", ""), want{notFound: ErrNoProgram}},
		{"half a program", write(t, scripts+"/half", "\x7fELF\x02\x01\x01"), want{notFound: ErrNoProgram}},
		{"directory", scripts, want{notFound: ErrNoProgram}},
		{"nothing", scripts + "/nothing", want{notFound: fs.ErrNotExist}},
	} {
		t.Run(p.name, func(t *testing.T) {
			got, err := Inspect(p.path)
			if p.want.notFound != nil {
				if !errors.Is(err, p.want.notFound) || !strings.HasPrefix(err.Error(), p.path+": ") {
					t.Errorf("%+v, %v, want %v", got, err, p.want.notFound)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Path != p.path || got.Go != p.want.is || got.C != p.want.c || got.Script != p.want.script || got.Loader != p.want.loader {
				t.Errorf("got %+v", got)
			}
			if p.want.is && (got.GoVersion == "") != p.want.noGo {
				t.Errorf("Go version %q", got.GoVersion)
			}
			short := ""
			if o := got.Obstacle(); o != nil {
				short = o.Short
			}
			if short != p.want.short {
				t.Errorf("obstacle %q, want %q", short, p.want.short)
			}
		})
	}
}

func TestInspectPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make programs of another user")
	}
	path := build(t, plainC, nil, "gcc")
	for _, c := range []struct {
		mode     os.FileMode
		uid, gid int
		want     string
	}{
		{0o755 | os.ModeSetuid, 65534, 0, "setuid"},
		{0o755 | os.ModeSetgid, 0, 65534, "setgid"},
		{0o745 | os.ModeSetgid, 0, 65534, ""}, // mandatory locking
		{0o755 | os.ModeSetuid | os.ModeSetgid, 0, 0, ""},
		{0o755, 65534, 65534, ""},
	} {
		if err := errors.Join(os.Chown(path, c.uid, c.gid), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		p, err := Inspect(path)
		if err != nil {
			t.Fatal(err)
		}
		if o := p.Obstacle(); p.Privilege != c.want || (o == nil) != (c.want == "") {
			t.Errorf("%v of %d:%d: %q, %v", c.mode, c.uid, c.gid, p.Privilege, o)
		}
	}
}

// TestInspectCapabilities: a program that gives a user capabilities gives root none.
func TestInspectCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make such programs")
	}
	path := build(t, plainC, nil, "gcc")
	if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755); err != nil { // so that others may read it
		t.Fatal(err)
	}
	// CAP_NET_BIND_SERVICE is permitted and effective (struct vfs_cap_data, version 2).
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(path, "security.capability", capability, 0); err != nil {
		t.Skipf("this system does not allow it: %v", err)
	}
	if p, err := Inspect(path); err != nil || p.Privilege != "" {
		t.Errorf("root: %+v, %v", p, err)
	}
	cmd := helper(t, "inspect", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "capabilities\n" {
		t.Errorf("a user: %v\n%s", err, out)
	}
}

// TestInspectFIFO: a file that nobody writes to is not waited for.
func TestInspectFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(path); !errors.Is(err, ErrNoProgram) {
		t.Error(err)
	}
}

func TestInspectProcess(t *testing.T) {
	p, err := InspectProcess(os.Getpid())
	exe, _ := os.Executable()
	if err != nil || !p.Go || p.GoVersion != runtime.Version() || p.Path != exe {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := InspectProcess(1 << 30); !errors.Is(err, ErrNoProcess) {
		t.Errorf("no process: %v", err)
	}
}
