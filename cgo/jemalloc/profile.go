package jemalloc

// #define _GNU_SOURCE
// #include <sys/mman.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/google/renameio/v2"
)

// ErrProfilingOff means that MALLOC_CONF has switched heap profiling off for this
// process. Somebody chose that, so it is no fault of the program.
var ErrProfilingOff = errors.New("heap profiling is off: start the program without prof:false in MALLOC_CONF")

// dumping is held while jemalloc dumps. jemalloc has one dump buffer: a second dump would
// wait for it inside C, where it blocks an operating system thread.
var dumping sync.Mutex

// Active reports whether allocations are sampled (prof.active). If heap profiling is off
// (ErrProfilingOff), it returns false without an error.
func Active() (bool, error) {
	err := profiling()
	if errors.Is(err, ErrProfilingOff) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return Read[bool]("prof.active")
}

// SetActive switches sampling on or off (prof.active). Memory that is allocated while
// sampling is off never appears in a profile. Memory that was sampled before stays in
// the profile until it is freed. If heap profiling is off, SetActive(true) returns
// ErrProfilingOff.
func SetActive(on bool) error {
	err := profiling()
	if errors.Is(err, ErrProfilingOff) && !on {
		return nil
	}
	if err != nil {
		return err
	}
	return Write("prof.active", on)
}

// Dump writes the heap profile, in jemalloc's format heap_v2, to w (prof.dump).
// It needs no writable directory: jemalloc writes into a memory file, which takes as much
// memory as the profile is long until Dump returns. Only one dump is taken at a time, and
// others wait for it. No dump waits for another one's w.
func Dump(w io.Writer) error {
	f, err := dump()
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("jemalloc: write the heap profile: %w", err)
	}
	return nil
}

// DumpFile writes what Dump writes to the file path, readable by its owner only.
// If it fails, path keeps its old content. The directory of path must exist.
func DumpFile(path string) error {
	f, err := dump()
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(path, f)
}

// dump returns a memory file with a heap profile, at its start.
func dump() (*os.File, error) {
	if err := profiling(); err != nil {
		return nil, err
	}
	dumping.Lock()
	defer dumping.Unlock()

	f, err := memoryFile("heap profile")
	if err != nil {
		return nil, err
	}
	// jemalloc opens files by name. This is a name of the memory file.
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if _, err := os.Stat(path); err != nil {
		f.Close()
		return nil, fmt.Errorf("jemalloc: the heap profile needs /proc, mount it: %w", err)
	}
	// WriteString would allocate a C string, which would be in the profile.
	if err := result("write", "prof.dump", C.gojemalloc_ctl_set_string(cName("prof.dump"), cName(path))); err != nil {
		f.Close()
		if errors.Is(err, syscall.EFAULT) {
			return nil, fmt.Errorf("%w: jemalloc could not write the heap profile, it says why on stderr; is memory short?", err)
		}
		return nil, err
	}
	return f, nil
}

// memoryFile returns an empty file that is in memory only (memfd_create).
func memoryFile(name string) (*os.File, error) {
	// MFD_NOEXEC_SEAL, which older C headers lack. Kernels have it since 6.3, and
	// require it if the sysctl vm.memfd_noexec is 2.
	const noexecSeal = 8
	fd, err := C.memfd_create(cName(name), C.MFD_CLOEXEC|noexecSeal)
	if fd < 0 && errors.Is(err, syscall.EINVAL) {
		fd, err = C.memfd_create(cName(name), C.MFD_CLOEXEC)
	}
	if fd < 0 {
		return nil, fmt.Errorf("jemalloc: memory file for the heap profile (memfd_create): %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// profiling returns nil if jemalloc takes heap profiles, or the reason why it does not.
func profiling() error {
	if built, err := Read[bool]("config.prof"); err != nil {
		return err
	} else if !built {
		return ErrNoProfiling
	}
	if on, err := Read[bool]("opt.prof"); err != nil {
		return err
	} else if !on {
		return ErrProfilingOff
	}
	return nil
}

// writeFile writes what it reads from r to a file beside path, syncs that file and
// renames it to path. Also after a crash of the machine path has the old content or the
// new one.
func writeFile(path string, r io.Reader) error {
	f, err := renameio.TempFile(filepath.Dir(path), path) // readable by its owner only
	if err != nil {
		return fmt.Errorf("jemalloc: file for the heap profile: %w", err)
	}
	defer f.Cleanup()
	if _, err = io.Copy(f, r); err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err != nil {
		return fmt.Errorf("jemalloc: write the heap profile to %s: %w", path, err)
	}
	return nil
}
