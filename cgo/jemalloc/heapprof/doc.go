// Package heapprof turns jemalloc's heap dumps into answers: a profile that
// every pprof tool reads, the difference between two of them, and the stacks
// that leak.
//
// # The way of the data
//
//	Parse ─▶ Dump ─┬─▶ Symbolizer.Symbolize ─▶ Symbols
//	               ├─▶ Dump.Profile(Symbols) ─▶ *profile.Profile ─▶ Merge, Delta, WriteTop, WriteStacks, WriteCollapsed
//	               └─▶ Ranker.Add ─▶ Ranker.Suspects ─▶ WriteGrowth
//
// A [Dump] is what jemalloc wrote (format heap_v2): sampled counts per stack,
// threads and the memory map. [Count.Unbias] estimates from the samples what
// the process really allocated; every total in this package is a sum of such
// estimates, made per stack before summing, because the correction depends on
// the object size. [Dump.Profile] does that and gives a profile with
// alloc_objects, alloc_space, inuse_objects and inuse_space.
//
// A [Symbolizer] names addresses: Go's through a function its user supplies
// ([GoFrames] inside the process that wrote the dump), C's through the ELF
// symbols and DWARF lines of the mapped files or their separate debug files.
// It keeps what it learned, so that the next dump costs little. What has no name is
// left without one in the profile, whose mappings say so: pprof, Parca or Pyroscope
// can name it later, by the build-id. [NamePlaces] is for who reads it now.
//
// jemalloc's own frames are left out of profiles and reports, down to the function
// that the program called. They are known by their addresses and never by name: a
// program may well have a function called prof_dump.
//
// A [Ranker] is fed one dump after another and fits a line through each
// stack's live bytes. It says how fast a stack grows, how sure that is given
// the sampling error, and which stacks are suspects: those that grow, go on
// growing and never fall back. A clean process has none. Stacks that belong to one
// leak are one suspect: the ways by which one call of a C function allocates, and all
// callers of a C function that leaks. [Growth.Chain] shows what they have in common at
// both ends and where they differ.
// A recursive function counts once, whatever its depth is.
//
// # What it is not for
//
// It takes no dumps: package cgo/jemalloc does. It serves no HTTP: package
// cgo/jemalloc/pprof does. It is pure Go and works as well on a dump copied
// from another machine, as far as the files of that machine are at hand.
//
// # Trust and memory
//
// A dump is untrusted input. [Parse] reads any bytes without panic and within
// the memory that its [Limits] allow. A dump that is cut short or written
// twice is an error and not a smaller or larger heap. A Symbolizer opens only
// regular files, reads the debug sections of one file at a time, and refuses
// those above its limits: the stacks then carry names without lines, and
// [Symbols.Notes] says why.
//
// # Concurrency
//
// A Dump, its Stacks and a Symbols value are not changed after they were made
// and may be read from many goroutines. Symbolizer and Ranker may be used
// from many goroutines.
package heapprof
