package jemalloc

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What Check reports, for errors.Is. ErrNotLinked is the fourth.
var (
	ErrTooOld      = errors.New("jemalloc is too old")
	ErrNotMalloc   = errors.New("jemalloc is linked, but something else is the malloc of this process")
	ErrNoProfiling = errors.New("jemalloc was built without profiling")
)

// linked is what Check has found out about the linked jemalloc.
type linked struct {
	version string
	prof    bool   // config.prof: it was built with --enable-prof
	moved   uint64 // how much thread.allocated grew when strdup copied probeLen bytes
}

// probeLen is what strdup must have allocated. The counter is the thread's own, and
// strdup only allocates and copies, so nothing else changes the counter meanwhile.
const probeLen = C.GOJEMALLOC_PROBE_LEN

// Check returns nil if jemalloc is linked, new enough, the malloc that libc's own
// functions call, and built with profiling. It does not check whether profiling is on:
// MALLOC_CONF decides that, and Read[bool]("opt.prof") reports it.
func Check() error {
	var l linked
	var err error
	if l.version, err = Version(); err != nil {
		return err
	}
	if l.prof, err = Read[bool]("config.prof"); err != nil {
		return err
	}
	var moved C.uint64_t
	if err = result("read", "thread.allocatedp", C.gojemalloc_strdup_moves(&moved)); err != nil {
		return err
	}
	l.moved = uint64(moved)
	return l.check()
}

func (l linked) check() error {
	switch {
	case older(l.version, minVersion):
		return fmt.Errorf("%w: it is %s and %s is needed: install a newer libjemalloc, or link the one build/native.sh builds", ErrTooOld, l.version, minVersion)
	case l.moved < probeLen:
		return fmt.Errorf("%w: strdup does not allocate from it: remove LD_PRELOAD or the other allocator that is linked", ErrNotMalloc)
	case !l.prof:
		return fmt.Errorf("%w: link one that was configured with --enable-prof, as build/native.sh and Debian's libjemalloc-dev are", ErrNoProfiling)
	}
	return nil
}

// older compares versions of the form major.minor.patch-anything. A version of another
// form is taken for a development version, which is newer.
func older(version, than string) bool {
	release, _, _ := strings.Cut(version, "-")
	have, want := strings.Split(release, "."), strings.Split(than, ".")
	for i := range min(len(have), len(want)) {
		h, err := strconv.Atoi(have[i])
		w, _ := strconv.Atoi(want[i])
		if err != nil || h > w {
			return false
		}
		if h < w {
			return true
		}
	}
	return len(have) < len(want)
}
