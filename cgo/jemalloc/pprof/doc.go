// Package pprof serves the memory that C code takes in a Go program over HTTP,
// with the manners of net/http/pprof: to native memory it is what that package is
// to Go's own.
//
// A program that links C code mounts it in three lines:
//
//	rec, err := pprof.New(pprof.Config{})                 // err: nothing could be profiled, or the Config makes no sense
//	http.Handle("GET /debug/pprof/native", rec.Native())  // go tool pprof http://HOST/debug/pprof/native
//	http.Handle("/debug/jeprof/", rec.Handler("/debug/jeprof"))
//
// The method in the second line is needed beside net/http/pprof, which registers
// "GET /debug/pprof/": http.ServeMux panics at a pattern without a method inside
// of one that has a method. HEAD is part of GET. For the same reason a mux that
// has a pattern such as "GET /" takes the third line once for each of the methods
// GET, POST and PUT. With GODEBUG=httpmuxgo121=1 patterns have no methods, and
// net/http/pprof registers none: leave "GET " away. Other routers know no such
// conflict: give them Native at its path before a route for all of /debug/pprof/,
// and Handler for all paths below its prefix, without stripping that off.
//
// Importing it links jemalloc as the malloc of the process, profiling on (package
// jemalloc, which also says how to turn it off). The handlers ask for no
// password. Profiles show what a program does and where its sources are: mount
// them where only operators reach them.
//
// # What is served
//
// [Recorder.Native] is one profile, or with ?seconds=30 what changed in that time,
// C and Go in one stack. [Recorder.Memory] is the [Ledger]: which part of the
// resident set is whose. [Recorder.Handler] is the rest, below one path:
//
//	POST dump                         take a dump now and keep it: 201, its description, its Location
//	GET  dumps                        descriptions of all that are kept
//	GET  dumps/ID?format=FORMAT       one: json (the description), heap (as jemalloc wrote it, for jeprof),
//	                                  pprof, collapsed (for flame graph scripts), text
//	GET  diff?from=ID&to=ID           what grew between two: format=pprof or text
//	GET  leaks?format=json|text       what leaks, ranked by growth: stacks, and those that are one leak together,
//	                                  with the function that explains it and both ends of their stacks;
//	                                  &all=1 for stacks that are no suspects as well. Numbers are estimates
//	                                  from samples: text marks them with ~, json says so in "estimated"
//	GET, PUT active                   whether allocations are sampled: {"active":true}
//	GET  pprof/heap, symbol, cmdline  jeprof's remote protocol: jeprof http://HOST/debug/jeprof/pprof/heap;
//	                                  go tool pprof cannot read that, and is told to ask Native
//	GET  ui/                          flame graph, graph, top, peek and source of what is kept, in the browser
//
// go tool pprof asks for names that a profile lacks at an address beside the one it
// had the profile from, by POST, and fails where nothing answers. Handler answers for
// its own profiles (symbolz). For Native somebody has to: net/http/pprof registers its
// Symbol for GET only, so that this line is needed beside the three above:
//
//	http.HandleFunc("POST /debug/pprof/symbol", gopprof.Symbol) // import gopprof "net/http/pprof"
//
// Without it Native names what has no name by where it is ("lib.so+0x1234"), and tools
// that look for names later, by build-id, leave that as it is; see [Config.SymbolServed].
//
// A debug file of objcopy --only-keep-debug, as distributions have them in
// /usr/lib/debug/.build-id, gives a Recorder functions and lines; see [Config]. Of the
// tools that read a profile without names later, go tool pprof can use one that lies at
// the program's own path. google/pprof, which looks for build-ids in PPROF_BINARY_PATH,
// cannot: give it the whole program, which eu-unstrip puts together from the stripped
// one and its debug file.
//
// Errors of these are problem documents (RFC 9457); errors of Native are plain
// text, as go tool pprof prints them.
//
// # What a Recorder does by itself
//
// It looks at the bytes that C holds once a second, which costs microseconds, and
// keeps a dump, with the ledger beside it, at each step of growth: 20 % and at
// least 16 MiB over the last high water. So when a process is killed for its
// memory, the dumps of its way there are in Config.Dir. One log line each names
// the stack that grew most, or if there is no dump before to compare with, the one
// that holds most. Every 15 seconds it takes a light sample, which it
// does not keep, to rank stacks by how they grow (package heapprof). A budget
// bounds what all that may cost, see [Config.MaxShare]. When samples that are due
// are not taken, GET leaks says since when and why ([Paused]), and so do the page of
// all dumps and the metric native_heap_samples_paused_seconds.
//
// A dump is kept whole: jemalloc's text, the profile with its symbols (so that it
// can be read after the program was replaced by another), the description. Files
// appear complete or not at all, whenever the process ends. Where Config.Dir
// cannot be written or is full, dumps are kept in memory, and Dump.Note says so.
//
// # One at a time
//
// Taking a dump and turning it into a profile is done by one request at a time.
// Those who POST dump meanwhile share the next dump, which begins after they
// asked. Others wait; more than a few of them are sent away with status 429 and
// Retry-After. Nobody waits for a slow reader. What the Recorder does by itself goes
// before all that wait.
//
// # Whose memory
//
// A Recorder learns of the process by a [Source]: what the allocator counts, a dump, the
// ledger, and how addresses are named. Without a Config.Source that is the process that
// the Recorder is in. Another process is another implementation; nothing else in this
// package knows whose memory it is.
//
// # What it is not for
//
// It reads no dumps that somebody has in files: package heapprof does. Go's own heap is
// served by net/http/pprof. All methods may be called from many goroutines;
// [Recorder.Close] ends those that the Recorder started.
package pprof
