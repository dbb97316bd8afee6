// Package heapprof reads jemalloc's heap dumps. It makes profiles of them that every
// pprof tool reads, the difference of two profiles, and a list of the stacks that leak.
//
// # The way of the data
//
//	Parse ─▶ Dump ─┬─▶ Symbolizer.Symbolize ─▶ Symbols
//	               ├─▶ Dump.Profile(Symbols) ─▶ *profile.Profile ─▶ Merge, Delta, WriteTop, WriteStacks, WriteCollapsed
//	               └─▶ Ranker.Add ─▶ Ranker.Suspects ─▶ WriteGrowth
//
// A [Dump] is the content of a dump in jemalloc's format heap_v2: sampled counts per
// stack, threads and the memory map. [Count.Unbias] estimates from the samples what the
// process allocated. The correction depends on the object size, so each total in this
// package is a sum of estimates per stack. [Dump.Profile] makes a profile of them, with
// alloc_objects, alloc_space, inuse_objects and inuse_space.
//
// A [Symbolizer] finds the names of addresses. A function of the caller names those in Go
// code ([GoFrames] inside the process that wrote the dump). The ELF symbols and DWARF
// lines of the mapped files, or of their separate debug files, name those in C code. The
// Symbolizer keeps what it has read, so the next dump takes less time. An address for
// which it finds no name has none in the profile, and the profile's mapping records that.
// pprof, Parca or Pyroscope can add the name later, by the build-id. [NamePlaces] names
// such addresses by their place, for readers that have only the profile.
//
// Profiles and reports do not contain jemalloc's own frames, except the function that the
// program called. jemalloc's frames are recognised by their addresses, not by names,
// because a program may have a function called prof_dump.
//
// A [Ranker] gets one dump after another and fits a line through the live bytes of each
// stack. It computes how fast a stack grows and how certain that is, given the sampling
// error. Stacks that grow steadily and never fall back are suspects. A clean process has
// none. Stacks that belong to one leak are one suspect: the different ways in which one
// call of a C function allocates, and all callers of a C function that leaks.
// [Growth.Chain] shows what these stacks have in common at both ends and where they
// differ. A recursive function counts once, whatever its depth.
//
// # What it is not for
//
// Package cgo/jemalloc takes dumps, and package cgo/jemalloc/pprof serves HTTP. This
// package does neither. It is pure Go. It also reads dumps of another machine; for their
// names it needs the files of that machine.
//
// # Trust and memory
//
// A dump is untrusted input. [Parse] reads any bytes without panic and within the memory
// that its [Limits] allow. It returns an error for a dump that was cut short or written
// twice, instead of a smaller or larger heap. A Symbolizer opens only regular files, and
// reads the debug sections of one file at a time. It refuses those above its limits. Then
// the stacks have names without lines, and [Symbols.Notes] has the reason.
//
// # Concurrency
//
// A Dump, its Stacks and a Symbols value are not changed after they were made
// and may be read from many goroutines. Symbolizer and Ranker may be used
// from many goroutines.
package heapprof
