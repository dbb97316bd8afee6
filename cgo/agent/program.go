package agent

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Program describes a program's file, as far as it matters to the agent.
type Program struct {
	Path string

	// Script is whether the file is a script. The rest is then about the program that
	// interprets it.
	Script bool

	Class       elf.Class
	Machine     elf.Machine
	Interpreter string // the dynamic loader; empty if the program is linked statically
	Sanitizer   string // the library of a sanitizer that the program is linked with, or ""
	Loader      bool   // the program is a dynamic loader, which loads the program that it is called with

	Go        bool   // whether it is a Go program
	GoVersion string // such as go1.26.1; empty if it is not known

	// C is whether the program has C code: whether it is linked with a C library. It is true
	// of all programs that are not Go.
	C bool

	// OwnMalloc is whether the program's file exports a malloc. It then comes before the
	// agent's, in all libraries too.
	OwnMalloc bool

	// Privilege says what gives the program more rights than its caller has: "setuid",
	// "setgid", "capabilities" or nothing. The dynamic loader then ignores LD_PRELOAD.
	Privilege string
}

// Obstacle is the reason why the agent cannot work in a program.
type Obstacle struct {
	Short string // for a table: "static"
	Long  string // a sentence that says what to do
}

func (o *Obstacle) Error() string { return o.Long }

// ErrNoProgram means that a file is neither a program nor a script.
var ErrNoProgram = errors.New("neither an ELF program nor a script with #! in its first line")

// Inspect looks at the file of a program or script.
func Inspect(path string) (*Program, error) {
	p, err := inspect(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// InspectProcess looks at the program that a process runs. The error is as that of Find.
func InspectProcess(pid int) (*Program, error) {
	p, err := readProcess(pid)
	if err != nil {
		return nil, err
	}
	program, err := inspect(p.path("exe"))
	if err != nil {
		return nil, p.explain(err)
	}
	program.Path = p.exe()
	return program, nil
}

func inspect(path string) (*Program, error) {
	// A FIFO is not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Unwrap(err) // without the path
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, ErrNoProgram
	}
	if interpreter, ok := readScript(f); ok {
		p, err := inspect(interpreter)
		if err != nil {
			return nil, fmt.Errorf("its interpreter %s: %w", interpreter, err)
		}
		p.Path, p.Script = path, true
		return p, nil
	}
	p, err := readELF(f)
	if err != nil {
		return nil, err
	}
	p.Path, p.Privilege = path, privilege(f, info)
	return p, nil
}

// readScript returns the interpreter of a script.
func readScript(f *os.File) (string, bool) {
	line, _ := bufio.NewReader(io.NewSectionReader(f, 0, 4096)).ReadString('\n')
	rest, ok := strings.CutPrefix(line, "#!")
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		return "", false
	}
	return words[0], true
}

func readELF(file *os.File) (*Program, error) {
	f, err := elf.NewFile(file)
	if err != nil || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return nil, ErrNoProgram
	}
	p := &Program{Class: f.Class, Machine: f.Machine}
	for _, seg := range f.Progs {
		if seg.Type == elf.PT_INTERP {
			text := make([]byte, min(seg.Filesz, 4096))
			if _, err := seg.ReadAt(text, 0); err == nil {
				p.Interpreter = printable(string(bytes.TrimRight(text, "\x00")))
			}
		}
	}
	p.Go, p.GoVersion = readGo(file, f)
	p.C = !p.Go || linksC(f, p.Interpreter != "")
	p.OwnMalloc = exportsMalloc(f)
	p.Loader = isLoader(f)
	p.Sanitizer = sanitizer(f)
	return p, nil
}

// readGo reports whether a program is a Go program, and of which version.
func readGo(file *os.File, f *elf.File) (is bool, version string) {
	if info, err := buildinfo.Read(file); err == nil {
		version := info.GoVersion
		if !strings.HasPrefix(version, "go") && !strings.HasPrefix(version, "devel") {
			version = "" // tools that hide what a program is made of replace it
		}
		return true, printable(version)
	}
	return hasPCLN(f), ""
}

// hasPCLN reports whether a program has the table by which Go's runtime finds functions. It
// is in every Go program, whatever was stripped or overwritten.
func hasPCLN(f *elf.File) bool {
	const most = 64 << 20 // bytes of a file that are searched
	left := uint64(most)
	for _, seg := range f.Progs {
		if seg.Type != elf.PT_LOAD || seg.Flags&elf.PF_X != 0 {
			continue
		}
		n := min(seg.Filesz, left)
		left -= n
		if searchPCLN(io.NewSectionReader(seg, 0, int64(n)), f.ByteOrder.Uint32) {
			return true
		}
	}
	return false
}

// pclnMagics begin the tables of Go 1.2, 1.16, 1.18 and 1.20.
var pclnMagics = []uint32{0xfffffffb, 0xfffffffa, 0xfffffff0, 0xfffffff1}

// searchPCLN searches for the header of the table: a magic number, two zeros, the size of an
// instruction and that of a pointer. It begins at a multiple of the latter.
func searchPCLN(r io.Reader, number func([]byte) uint32) bool {
	const header = 8
	buf := make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(r, buf)
		for i := 0; i+header <= n; i += header {
			b := buf[i : i+header]
			if b[4] == 0 && b[5] == 0 && (b[6] == 1 || b[6] == 2 || b[6] == 4) && (b[7] == 4 || b[7] == 8) && slices.Contains(pclnMagics, number(b)) {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
}

// linksC reports whether a Go program is linked with a C library. If Go's linker alone has
// made the program, it needs no library even if a dynamic loader loads it, and it has no
// tables for unwinding C code.
func linksC(f *elf.File, dynamic bool) bool {
	if len(f.Sections) == 0 {
		return true // not known
	}
	if dynamic {
		libraries, err := f.ImportedLibraries()
		return err != nil || len(libraries) > 0
	}
	return f.Section(".eh_frame") != nil
}

// isLoader reports whether a file is a dynamic loader.
func isLoader(f *elf.File) bool {
	names, err := f.DynString(elf.DT_SONAME)
	return err == nil && len(names) == 1 && (strings.HasPrefix(names[0], "ld-linux") || strings.HasPrefix(names[0], "ld-musl"))
}

// sanitizer returns the library of a sanitizer that has a malloc of its own.
func sanitizer(f *elf.File) string {
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return ""
	}
	for _, library := range libraries {
		for _, prefix := range []string{"libasan.", "liblsan.", "libtsan.", "libhwasan.", "libclang_rt."} {
			if strings.HasPrefix(library, prefix) {
				return library
			}
		}
	}
	return ""
}

func exportsMalloc(f *elf.File) bool {
	symbols, err := f.DynamicSymbols()
	return err == nil && slices.ContainsFunc(symbols, func(s elf.Symbol) bool {
		return s.Name == "malloc" && s.Section != elf.SHN_UNDEF
	})
}

// privilege returns what gives a program more rights than this process has.
func privilege(f *os.File, info os.FileInfo) string {
	stat := info.Sys().(*syscall.Stat_t)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err == nil && fs.Flags&unix.ST_NOSUID != 0 {
		return ""
	}
	const groupExec = 0o010
	switch {
	case info.Mode()&os.ModeSetuid != 0 && int(stat.Uid) != os.Geteuid():
		return "setuid"
	case info.Mode()&os.ModeSetgid != 0 && info.Mode()&groupExec != 0 && int(stat.Gid) != os.Getegid():
		return "setgid"
	}
	// Root has all of them anyway, so the program has no more.
	if n, err := unix.Fgetxattr(int(f.Fd()), "security.capability", nil); err == nil && n > 0 && os.Geteuid() != 0 {
		return "capabilities"
	}
	return ""
}

// machines are the values of Program.Machine of the architectures for which there may be an
// agent.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Obstacle returns the reason why the agent cannot work in the program, or nil.
func (p *Program) Obstacle() *Obstacle {
	if p.Class != elf.ELFCLASS64 || p.Machine != machines[runtime.GOARCH] {
		what := fmt.Sprintf("%s, %s", p.Machine, p.Class)
		return &Obstacle{"other architecture", fmt.Sprintf("%s is for another architecture (%s): this agent is for %s", p.Path, what, runtime.GOARCH)}
	}
	static := p.Interpreter == ""
	loader := filepath.Base(p.Interpreter)
	switch {
	case !p.C:
		return &Obstacle{"no C code", fmt.Sprintf("%s is a Go program without C code (cgo), so there is no C memory: net/http/pprof shows the memory of Go", p.Path)}
	case static && (p.Script || p.Loader):
		// A shell: the agent does nothing in it, but the programs that it starts have the agent.
		// Or the dynamic loader itself, called with a program.
	case static:
		return &Obstacle{"static", fmt.Sprintf("%s is linked statically, so no dynamic loader runs that could load the agent: link it dynamically (without -static)", p.Path)}
	case !static && !strings.HasPrefix(loader, "ld-linux") && !strings.HasPrefix(loader, "ld-musl"):
		return &Obstacle{"other C library", fmt.Sprintf("%s is loaded by %s, which is neither that of glibc nor that of musl: build it for one of these", p.Path, p.Interpreter)}
	case p.OwnMalloc:
		return &Obstacle{"own malloc", fmt.Sprintf("%s has a malloc of its own, which comes before the agent's: link the allocator as a shared library, or leave it out", p.Path)}
	case p.Sanitizer != "":
		return &Obstacle{"sanitizer", fmt.Sprintf("%s is built with a sanitizer (%s), whose malloc has to come first: ASan and LSan report leaks themselves; build it without for the agent", p.Path, p.Sanitizer)}
	case p.Privilege != "":
		return &Obstacle{p.Privilege, fmt.Sprintf("%s gets more rights than its caller (%s), so the dynamic loader ignores LD_PRELOAD: start it as the user whose rights it gets", p.Path, p.Privilege)}
	}
	return nil
}
