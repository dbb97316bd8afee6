// Package agent profiles the C memory of a Go process that was not built for it.
//
// The agent is a C library, libmagellan-agent.so (directory lib), that is loaded into a
// process by LD_PRELOAD. It takes the place of malloc in front of the process's own, hands
// every call on to that, and samples some of the blocks with their stacks of C and Go. A
// thread of the agent answers on a unix socket. This package carries the library, starts
// programs under it and speaks to it:
//
//	Inspect ─▶ Program ─▶ Obstacle    can the agent work in this program, and if not, why?
//	Command ─▶ Cmd.Exec               start a program under the agent
//	Find, List ─▶ Client              the agent of a running process: Status, Dump, Names, Libraries, SetActive, SetSample
//	NewProfiler ─▶ Profiler           profiles with the names of C and Go functions
//
// # What it is not for
//
// A program that can be built again is better served by package cgo/jemalloc and its
// handlers in cgo/jemalloc/pprof. They need no second process, and jemalloc's counters are
// exact. This package has no C code of its own and needs no cgo, but it works on Linux only.
//
// # Which process
//
// The agent listens on an abstract socket, which is visible to all processes of a network
// namespace, and any process may bind any such name. So [Find] does not trust a name: it looks
// for the socket's inode among the descriptors of the process. This needs the permission to
// look at the process, which its own user and root have. A Client holds no connection.
// Each call makes one, and fails if the process has ended since.
//
// If the process is in another network namespace (a container), a call connects from a
// thread that enters the namespace for a moment. This needs CAP_SYS_ADMIN.
//
// # Closed libraries
//
// A process may have closed a library that has allocated, and another library may have its
// addresses. The agent records the libraries that can be closed ([Client.Libraries]), so a
// [Profiler] names the functions of each by its own file. If two libraries had the same
// return address, its name is that of both.
//
// # Trust
//
// The process is not trusted. Answers are read within limits, and control characters in
// texts are replaced, so that they cannot harm a terminal. An answer that ends early is
// [ErrCut], never a shorter answer.
//
// # Concurrency
//
// A Client and a Profiler may be used from many goroutines. The agent answers one request
// after the other, so a call may wait for the one before.
package agent
