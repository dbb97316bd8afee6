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

// ErrProfilingOff reports a process that takes no heap profile because
// MALLOC_CONF says so. That is a choice, not a fault.
var ErrProfilingOff = errors.New("heap profiling is off: start the program without prof:false in MALLOC_CONF")

// dumping: jemalloc has one dump buffer, and a second dump would only wait inside
// C, where it holds an operating system thread.
var dumping sync.Mutex

// Active reports whether allocations are sampled (prof.active). It is false, and
// no error, where ErrProfilingOff applies.
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

// SetActive switches sampling on or off (prof.active). What is allocated while it
// is off is never seen. What was sampled before stays in the profile, and leaves
// it when it is freed. SetActive(true) is ErrProfilingOff where it applies.
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
// It needs no directory that can be written: jemalloc writes into a memory file,
// which takes as much memory as the profile is long until Dump returns. One dump
// is taken at a time and others wait, but none waits for a slow w.
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
// The file appears complete or not at all. Its directory has to exist.
func DumpFile(path string) error {
	f, err := dump()
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(path, f)
}

// dump gives a memory file with a heap profile, to be read from its start.
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
	// jemalloc opens files by name. This name leads to the memory file.
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if _, err := os.Stat(path); err != nil {
		f.Close()
		return nil, fmt.Errorf("jemalloc: the heap profile needs /proc, mount it: %w", err)
	}
	// Not WriteString: its C string would be in the profile.
	if err := result("write", "prof.dump", C.gojemalloc_ctl_set_string(cName("prof.dump"), cName(path))); err != nil {
		f.Close()
		if errors.Is(err, syscall.EFAULT) {
			return nil, fmt.Errorf("%w: jemalloc could not write the heap profile, it says why on stderr; is memory short?", err)
		}
		return nil, err
	}
	return f, nil
}

// memoryFile gives an empty file that is in memory only (memfd_create).
func memoryFile(name string) (*os.File, error) {
	// MFD_NOEXEC_SEAL, which older C headers lack. Kernels from 6.3 on know it, and
	// insist on it where the sysctl vm.memfd_noexec is 2.
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

// profiling reports why there is no heap profile, if there is none.
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

// writeFile puts what r holds into the file path, by way of a second file beside it.
// The data is synced first: after a crash of the machine path has the old content or
// the new one.
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
