// Package pprof serves profiles of the memory that C code uses in a Go program over
// HTTP, as net/http/pprof does for Go's own memory.
//
// A program that links C code mounts it in three lines:
//
//	rec, err := pprof.New(pprof.Config{})                 // err: nothing can be profiled, or the Config is invalid
//	http.Handle("GET /debug/pprof/native", rec.Native())  // go tool pprof http://HOST/debug/pprof/native
//	http.Handle("/debug/jeprof/", rec.Handler("/debug/jeprof"))
//
// The second line needs the method if the program also imports net/http/pprof, which
// registers "GET /debug/pprof/". http.ServeMux panics if a pattern without a method is
// below one that has a method. GET includes HEAD. For the same reason, if a mux has a
// pattern such as "GET /", write the third line once for each of the methods GET, POST
// and PUT. With GODEBUG=httpmuxgo121=1 patterns have no methods, and net/http/pprof
// registers none: leave "GET " out. Other routers have no such conflict. Register Native
// there before a route for all of /debug/pprof/, and Handler for all paths below its
// prefix, without stripping the prefix.
//
// Importing the package links jemalloc as the malloc of the process, with profiling on.
// Package jemalloc describes how to turn that off. The handlers do not authenticate
// anybody. Profiles show what a program does and where its sources are, so mount the
// handlers where only operators can reach them.
//
// # What is served
//
// [Recorder.Native] serves one profile, or with ?seconds=30 what changed in that time.
// Stacks have C and Go frames. [Recorder.Memory] serves the [Ledger], which divides the
// resident set. [Recorder.Handler] serves the rest, below one path:
//
//	POST dump                         take a dump now and keep it: 201, its description, its Location
//	GET  dumps                        descriptions of all dumps that are kept
//	GET  dumps/ID?format=FORMAT       one dump: json (the description), heap (as jemalloc wrote it, for jeprof),
//	                                  pprof, collapsed (for flame graph scripts), text
//	GET  diff?from=ID&to=ID           what grew between two dumps: format=pprof or text
//	GET  leaks?format=json|text       what leaks, ranked by growth: single stacks, and stacks that are one leak,
//	                                  with the function that explains it and both ends of their stacks;
//	                                  with &all=1 also stacks that are no suspects. Numbers are estimates
//	                                  from samples: text marks them with ~, json has the field "estimated"
//	GET, PUT active                   whether allocations are sampled: {"active":true}
//	GET  pprof/heap, symbol, cmdline  jeprof's remote protocol: jeprof http://HOST/debug/jeprof/pprof/heap;
//	                                  go tool pprof cannot read that, and gets status 406 with the path of Native
//	GET  ui/                          flame graph, graph, top, peek and source of the kept dumps, in the browser
//
// If a profile has addresses without names, go tool pprof asks the server for the names: it
// sends a POST to a path beside that of the profile, and fails if nothing answers. Handler
// answers for its own profiles (symbolz). For Native the program has to answer.
// net/http/pprof registers its Symbol for GET only, so add this line to the three above:
//
//	http.HandleFunc("POST /debug/pprof/symbol", gopprof.Symbol) // import gopprof "net/http/pprof"
//
// Without this line Native names such addresses by their places ("lib.so+0x1234"). Tools
// that look names up later, by build-id, do not replace these; see [Config.SymbolServed].
//
// A Recorder reads functions and lines from debug files made by objcopy --only-keep-debug,
// such as those of distributions in /usr/lib/debug/.build-id; see [Config]. If a profile
// without names is read later, go tool pprof can use such a debug file if it is at the
// program's own path. google/pprof, which looks for build-ids in PPROF_BINARY_PATH, cannot
// use it. It needs the whole program, which eu-unstrip makes from the stripped program and
// its debug file.
//
// Errors of Handler and Memory are problem documents (RFC 9457). Errors of Native and of
// jeprof's protocol are plain text, which go tool pprof and curl print.
//
// # What a Recorder does by itself
//
// Once a second a Recorder reads how many bytes C holds, which takes microseconds. At
// each step of growth, 20 % and at least 16 MiB over the last high water, it keeps a dump
// together with the ledger. So if a process is killed for its memory, the dumps of its
// growth are in Config.Dir. For each such dump it logs the stack that grew most. If there
// is no earlier dump to compare with, it logs the stack that holds most. Every 15 seconds
// it takes a light sample, which it does not keep, and ranks stacks by their growth
// (package heapprof). A budget bounds the processor time of all that, see
// [Config.MaxShare]. If samples are due but not taken, GET leaks has the time and the
// reason ([Paused]), and so have the page of all dumps and the metric
// native_heap_samples_paused_seconds.
//
// A dump is jemalloc's text, the profile with its symbols, and the description. Because
// of the symbols it can be read after another program has replaced this one. Files appear
// complete or not at all, whenever the process ends. If Config.Dir cannot be written or is
// full, dumps are kept in memory, and Dump.Note has the reason.
//
// # One at a time
//
// Only one request at a time takes a dump and makes a profile of it. All requests that
// POST dump meanwhile share the next dump, which begins after they came. Other requests
// wait. If more than a few wait, further ones get status 429 with Retry-After. No request
// waits for another one's slow reader. The Recorder's own work goes before all requests
// that wait.
//
// # Whose memory
//
// A Recorder gets all data of the process from a [Source]: the allocator's counters, dumps,
// the ledger, and the names of addresses. Without a Config.Source it watches its own
// process. For another process, implement Source: the rest of this package depends on
// Source only.
//
// # What it is not for
//
// Package heapprof reads dumps from files, and net/http/pprof serves Go's own heap. This
// package does neither. All methods may be called from many goroutines. [Recorder.Close]
// ends the goroutines that the Recorder started.
package pprof
