package heapprof

import (
	"path"
	"slices"
	"strings"
)

// What is jemalloc's code is decided by where it is, never by a name alone:
// programs have functions of their own called prof_dump or thread_event_loop.
//
// jemalloc that is a library is all that is in its file. Where it was linked into
// something larger, it is the functions by which it is entered (malloc, mallocx,
// mallctl, ... under the one prefix it was built with), and the static functions of
// the source file that has those. The rest of jemalloc needs no mark: it is
// reached by these only, and calls nothing of the program that allocates. So on a
// stack the allocator ends with the innermost frames that are marked.

// jemallocFile reports whether a file is jemalloc as a library of its own.
func jemallocFile(file string) bool { return strings.HasPrefix(path.Base(file), "libjemalloc.so") }

// inAllocator reports whether a return address lies in code that is known to be
// jemalloc's.
func (s *Symbols) inAllocator(pc uint64) bool { return s != nil && s.allocator[pc] }

// entry returns the index of the frame by which the program called the allocator:
// malloc, calloc. Where that frame has no name it says less than its caller, which
// is returned then. It is 0 if nothing is known to be the allocator's.
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

// shown returns the frames of an address as reports show them: of what was inlined
// within jemalloc only the function it was inlined into.
func (s *Symbols) shown(pc uint64) []Frame {
	frames := s.Frames(pc)
	if s.inAllocator(pc) && len(frames) > 1 {
		frames = frames[len(frames)-1:]
	}
	return frames
}

// markInner marks what the allocator called, of which only the stacks tell.
func (s *Symbols) markInner(stacks []Stack) {
	for i := range stacks {
		pcs := stacks[i].PCs
		first := slices.IndexFunc(pcs, s.inAllocator)
		for _, pc := range pcs[:max(0, first)] {
			s.allocator[pc] = false
		}
	}
}

// Allocator reports whether a return address lies in the allocator: jemalloc's code,
// or a function that has the name of an allocation function. It is a
// RankerConfig.Allocator.
func (s *Symbols) Allocator(pc uint64) bool {
	frames := s.Frames(pc)
	_, known := s.allocator[pc]
	return known || len(frames) > 0 && frames[len(frames)-1].Allocator()
}

// Allocator reports whether a function is malloc or its like, by a name that the
// languages C and C++ reserve for them, so that no function of another purpose has
// it; or lies in the library jemalloc.
func (f Frame) Allocator() bool {
	switch f.Function {
	case "malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc":
		return true
	case "operator new", "operator new[]":
		return strings.HasPrefix(f.Symbol, "_Znw") || strings.HasPrefix(f.Symbol, "_Zna")
	}
	return jemallocFile(f.Function) // libjemalloc.so.2+0x1234
}

// entries are the functions by which a program calls jemalloc. malloc hands over
// to malloc_default, which has jemalloc's private prefix.
var entries = []string{
	"malloc", "calloc", "realloc", "free", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc",
	"mallocx", "rallocx", "xallocx", "sallocx", "dallocx", "sdallocx", "nallocx",
	"mallctl", "mallctlnametomib", "mallctlbymib", "malloc_stats_print", "malloc_usable_size",
	"je_malloc_default",
}

// markAllocator marks the functions of a jemalloc that is linked into the file.
// symbols are sorted by address; several may be at one.
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
	// A static function between two entries is of their source file, as the linker
	// keeps the code of a file together. Everything else that is static there then is,
	// too: the file is told by its own entry in the symbol table. Where the program was
	// optimized as a whole there are no such files, and the entries alone are marked.
	var files []uint32
	var between []uint32
	after := false // an entry, with static functions only since
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

// jemallocPrefixes returns what stands before "malloc" in the names of a jemalloc
// that the file defines; nothing if there is none.
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
