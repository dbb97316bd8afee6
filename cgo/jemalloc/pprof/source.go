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

// Source is a process whose native memory a Recorder watches. A Recorder learns of the
// process by these methods only, so that a Source may as well be another process.
//
// A Recorder calls from many goroutines at once, but for Dump and Collect, of which one
// call is under way at a time. It goes on using a Source until after its Close, and does
// not close it: who opened it does, when nothing serves the Recorder's handlers any more.
//
// A method that asks the process returns when its context ends, or when the process
// does not answer for longer than is usual: a process may be stopped. While it waits the
// Recorder does, and so does who asks for a profile. The Source of the process that the
// Recorder is in never waits and needs no context.
//
// Errors are sentences for people: handlers answer with them (status 500), the log has
// them once, and the Recorder asks again when it is time to. Two kinds are told apart:
//   - ErrNotProfiled: there is no profile, and that is no fault. It is status 503, and
//     not logged.
//   - errors.ErrUnsupported: this kind of Source has no means for it. It is status 501.
type Source interface {
	// Process says which process it is, and what there will be of it. A Recorder asks
	// once, so it may not change and costs what it likes.
	Process() Process

	// Stats is what the allocator counts now. It is asked for at each
	// Config.PollInterval, 1 s by default, and for each profile and scrape: it should
	// cost the process microseconds.
	Stats(context.Context) (Stats, error)

	// Ledger says whose the resident memory is. It is asked for with each dump that is
	// kept and with each scrape. The kernel takes a millisecond or so for each GB
	// resident.
	Ledger(context.Context) (Ledger, error)

	// Dump writes the heap profile as it is now, in jemalloc's format heap_v2, the memory
	// map at its end (heapprof.Parse reads it). It is called for each profile, and each
	// Config.SampleInterval, 15 s by default; it may take tens of milliseconds of a
	// processor, and as much memory as the profile is long. Config.MaxShare bounds what
	// the calling thread takes: what a dump takes in another process is not in it. w is a
	// buffer in memory. What was written is of no use if there is an error.
	Dump(ctx context.Context, w io.Writer) error

	// SetActive switches sampling on or off. What is allocated while it is off is never
	// seen.
	SetActive(ctx context.Context, on bool) error

	// Collect has the garbage of the process's Go code collected, whose finalizers and
	// cleanups free C memory. A request can ask for that before a dump; it takes what a
	// garbage collection takes.
	Collect(context.Context) error
}

// Process describes the process of a Source.
type Process struct {
	PID     int
	Started time.Time // about; with PID it tells processes apart
	Args    []string  // its command line

	// Sampler names what counts and samples allocations, such as "jemalloc".
	Sampler string
	// Unwinder says which stacks dumps have, and UnwinderReason why not better ones.
	Unwinder       jemalloc.UnwinderKind
	UnwinderReason string

	// Symbols says how addresses are named: how Go code is, where its files are, and
	// which libraries were closed. A Recorder adds what its Config says (DebugDirs,
	// MaxDebugBytes). What it has is called for each profile and each light sample, by
	// one goroutine at a time: Symbols.Go for each new address, so it should answer from
	// memory.
	Symbols heapprof.SymbolizerConfig
}

// stacks says which stacks there are, and why not better ones.
func (p Process) stacks() string {
	if p.UnwinderReason != "" {
		return fmt.Sprintf("%s: %s", p.Unwinder, p.UnwinderReason)
	}
	return string(p.Unwinder)
}

// isGo reports whether a return address is in Go code, as far as the Source names that.
func (p Process) isGo(pc uint64) bool { return p.Symbols.Go != nil && p.Symbols.Go(pc) != nil }

// Stats is what an allocator counts, in bytes. A Source that cannot count may estimate
// from its samples.
type Stats struct {
	// Live is what C allocated and did not free: what growth is watched by.
	Live int64
	// Internal is the part of Live that the allocator took for itself, and never samples.
	Internal int64
	// Active says that allocations are sampled now.
	Active bool
}

// ErrNotProfiled is an error of a Source that has no profile for a reason that is no
// fault: profiling was switched off when the process was started, or the process has
// ended. A Source's own error wraps it and says the reason.
var ErrNotProfiled = errors.New("the process is not profiled")

// sampled reports whether allocations are sampled now, unless that is not known.
func (r *Recorder) sampled(ctx context.Context) bool {
	stats, err := r.source.Stats(ctx)
	return stats.Active || err != nil
}
