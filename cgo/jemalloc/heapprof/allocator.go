package heapprof

import (
	"path"
	"slices"
	"strings"
)

// jemalloc's code is recognised by its place, never by a name alone, because programs
// have functions of their own called prof_dump or thread_event_loop.
//
// If jemalloc is a library, all code in its file is jemalloc's. If it was linked into
// another file, two kinds of functions are marked: those by which programs call jemalloc
// (malloc, mallocx, mallctl, ... with the one prefix it was built with), and the static
// functions of the source file that has them. The rest of jemalloc needs no mark: only
// these functions call it, and it calls nothing of the program that allocates. So on a
// stack the allocator's frames end with the first run of marked frames, counted from the
// innermost.

// jemallocFile reports whether a file is jemalloc's shared library.
func jemallocFile(file string) bool { return strings.HasPrefix(path.Base(file), "libjemalloc.so") }

// inAllocator reports whether a return address lies in code that is known to be
// jemalloc's.
func (s *Symbols) inAllocator(pc uint64) bool { return s != nil && s.allocator[pc] }

// entry returns the index of the frame by which the program called the allocator, such
// as malloc or calloc. If that frame has no name, entry returns the index of its caller,
// which tells a reader more. It returns 0 if no frame is known to be the allocator's.
func (s *Symbols) entry(pcs []uint64) int {
	return entry(pcs, s.inAllocator, func(pc uint64) bool {
		frames := s.Frames(pc)
		return len(frames) > 0 && !frames[len(frames)-1].Unnamed
	})
}

func entry(pcs []uint64, allocator, named func(pc uint64) bool) int {
	first := slices.IndexFunc(pcs, allocator)
	if first < 0 {
		return 0
	}
	last := first
	for last+1 < len(pcs) && allocator(pcs[last+1]) {
		last++
	}
	if last+1 < len(pcs) && !named(pcs[last]) {
		last++
	}
	return last
}

// shown returns the frames of an address as reports show them. In jemalloc's code that
// is only the compiled function, without the functions that were inlined into it.
func (s *Symbols) shown(pc uint64) []Frame {
	frames := s.Frames(pc)
	if s.inAllocator(pc) && len(frames) > 1 {
		frames = frames[len(frames)-1:]
	}
	return frames
}

// markInner marks the addresses in functions that the allocator called. Only the stacks
// show which these are.
func (s *Symbols) markInner(stacks []Stack) {
	for i := range stacks {
		pcs := stacks[i].PCs
		first := slices.IndexFunc(pcs, s.inAllocator)
		for _, pc := range pcs[:max(0, first)] {
			s.allocator[pc] = false
		}
	}
}

// Allocator reports whether a return address lies in the allocator: in jemalloc's code,
// or in a function that has the name of an allocation function. It can be used as
// RankerConfig.Allocator.
func (s *Symbols) Allocator(pc uint64) bool {
	frames := s.Frames(pc)
	_, known := s.allocator[pc]
	return known || len(frames) > 0 && frames[len(frames)-1].Allocator()
}

// Allocator reports whether a function is an allocation function, such as malloc, or
// lies in jemalloc's library. Allocation functions are recognised by names that C and
// C++ reserve for them, so no other function has such a name.
func (f Frame) Allocator() bool {
	switch f.Function {
	case "malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc":
		return true
	case "operator new", "operator new[]":
		return strings.HasPrefix(f.Symbol, "_Znw") || strings.HasPrefix(f.Symbol, "_Zna")
	}
	return jemallocFile(f.Function) // libjemalloc.so.2+0x1234
}

// entries are the functions by which a program calls jemalloc. malloc calls
// malloc_default, which has jemalloc's private prefix.
var entries = []string{
	"malloc", "calloc", "realloc", "free", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc",
	"mallocx", "rallocx", "xallocx", "sallocx", "dallocx", "sdallocx", "nallocx",
	"mallctl", "mallctlnametomib", "mallctlbymib", "malloc_stats_print", "malloc_usable_size",
	"je_malloc_default",
}

// markAllocator marks the functions of a jemalloc that is linked into the file. The
// symbols are sorted by address. Several may have the same address.
func (t *symbolTable) markAllocator() {
	prefixes := t.jemallocPrefixes()
	if len(prefixes) == 0 {
		return
	}
	const private = "je_malloc_default"
	is := func(s symbol) bool {
		name := t.text(s)
		return name == private || slices.ContainsFunc(prefixes, func(prefix string) bool {
			rest, ok := strings.CutPrefix(name, prefix)
			return ok && slices.Contains(entries, rest)
		})
	}
	// A static function between two entries belongs to their source file, because the
	// linker keeps the code of a file together. Then all other static functions of that
	// file are jemalloc's too: the symbol table says of each static function which file
	// it is in. If the program was optimized as a whole, there are no such files, and only
	// the entries are marked.
	var files []uint32
	var between []uint32
	after := false // there was an entry, and since then only static functions
	for i := range t.symbols {
		s := &t.symbols[i]
		switch {
		case is(*s):
			s.file = ofAllocator
			if after {
				files = append(files, between...)
			}
			after, between = true, nil
		case s.file == 0:
			after, between = false, nil
		default:
			between = append(between, s.file)
		}
	}
	for i := range t.symbols {
		s := &t.symbols[i]
		if slices.Contains(files, s.file) && t.source(s.file) == "jemalloc" {
			s.file = ofAllocator
		}
	}
}

// jemallocPrefixes returns the prefixes of each jemalloc that the file defines: the text
// before "malloc" in its names. It returns none if the file defines no jemalloc.
func (t *symbolTable) jemallocPrefixes() []string {
	defines := make(map[string]bool)
	var prefixes []string
	for _, s := range t.symbols {
		name := t.text(s)
		prefix, mallctl := strings.CutSuffix(name, "mallctl")
		if mallctl {
			prefixes = append(prefixes, prefix)
		}
		if mallctl || strings.HasSuffix(name, "malloc") || strings.HasSuffix(name, "mallctlbymib") || strings.HasSuffix(name, "mallctlnametomib") {
			defines[name] = true
		}
	}
	return slices.DeleteFunc(prefixes, func(prefix string) bool {
		return !defines[prefix+"malloc"] || !defines[prefix+"mallctlbymib"] || !defines[prefix+"mallctlnametomib"]
	})
}
