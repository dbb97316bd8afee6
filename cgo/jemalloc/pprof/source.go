package pprof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
)

// Source is a process whose native memory a Recorder watches. A Recorder uses only these
// methods, so a Source may also be another process.
//
// A Recorder calls the methods from many goroutines at once, except Dump and Collect, of
// which only one call is under way at a time. Requests may use the Source after the
// Recorder's Close. The Recorder does not close it. Whoever opened the Source closes it
// once nothing serves the Recorder's handlers any more.
//
// The process may be stopped. So a method that asks another process returns when its
// context ends, or if the process does not answer within a usual time. Until then the
// Recorder waits, and so do requests for a profile. The Source of the Recorder's own
// process never waits and uses no context.
//
// Errors are sentences for people. Handlers answer with them (status 500). The Recorder
// logs an error once, and asks again at the next time. Two kinds are treated differently:
//   - ErrNotProfiled: there is no profile, and that is no fault. Handlers answer with
//     status 503, and the Recorder does not log it.
//   - errors.ErrUnsupported: this kind of Source cannot do it. Handlers answer with
//     status 501.
type Source interface {
	// Process describes the process and its dumps. A Recorder calls it once, so the result
	// must not change, and the call may be slow.
	Process() Process

	// Stats returns the allocator's counters. A Recorder calls it each
	// Config.PollInterval, 1 s by default, and for each profile and scrape, so it should
	// take microseconds.
	Stats(context.Context) (Stats, error)

	// Ledger returns how the resident memory is divided. A Recorder calls it for each dump
	// that it keeps and for each scrape. The kernel takes about a millisecond for each
	// resident GB.
	Ledger(context.Context) (Ledger, error)

	// Dump writes the heap profile in jemalloc's format heap_v2, with the memory map at its
	// end (heapprof.Parse reads it). A Recorder calls it for each profile and each
	// Config.SampleInterval, 15 s by default. It may take tens of milliseconds of processor
	// time, and as much memory as the profile is long. Config.MaxShare bounds the processor
	// time of the calling thread, not that of another process. w is a buffer in memory. If
	// Dump fails, what it has written is not used.
	Dump(ctx context.Context, w io.Writer) error

	// SetActive switches sampling on or off. Memory that is allocated while sampling is off
	// is never in a profile.
	SetActive(ctx context.Context, on bool) error

	// Collect runs the garbage collector of the process's Go code, whose finalizers and
	// cleanups free C memory. Requests can ask for it before a dump.
	Collect(context.Context) error
}

// Process describes the process of a Source.
type Process struct {
	PID     int
	Started time.Time // approximately; no two processes have the same PID and Started
	Args    []string  // the command line

	// Sampler is the name of the allocator that counts and samples, such as "jemalloc".
	Sampler string
	// Unwinder says which stacks dumps have, and UnwinderReason why they have no Go frames.
	Unwinder       jemalloc.UnwinderKind
	UnwinderReason string

	// Symbols says how the names of addresses are found: those of Go code, the files of the
	// process, and the libraries that were closed. A Recorder sets DebugDirs and
	// MaxDebugBytes from its Config. It calls the functions of Symbols for each profile and
	// each light sample, from one goroutine at a time. It calls Symbols.Go for each new
	// address, so that function should need no I/O.
	Symbols heapprof.SymbolizerConfig
}

// stacks returns which stacks dumps have, and why they have no Go frames.
func (p Process) stacks() string {
	if p.UnwinderReason != "" {
		return fmt.Sprintf("%s: %s", p.Unwinder, p.UnwinderReason)
	}
	return string(p.Unwinder)
}

// isGo reports whether a return address is in Go code that the Source can name.
func (p Process) isGo(pc uint64) bool { return p.Symbols.Go != nil && p.Symbols.Go(pc) != nil }

// Stats are an allocator's counters, in bytes. A Source that cannot count may estimate
// them from its samples.
type Stats struct {
	// Live is what C allocated and did not free. Growth is growth of Live.
	Live int64
	// Internal is the part of Live that the allocator uses itself and never samples.
	Internal int64
	// Active is whether allocations are sampled now.
	Active bool
}

// ErrNotProfiled means that a Source has no profile for a reason that is no fault:
// profiling was switched off when the process was started, or the process has ended. A
// Source's own error wraps it and has the reason.
var ErrNotProfiled = errors.New("the process is not profiled")

// sampled reports whether allocations are sampled now. If that is not known, it returns
// true.
func (r *Recorder) sampled(ctx context.Context) bool {
	stats, err := r.source.Stats(ctx)
	return stats.Active || err != nil
}
