package pprof

import (
	"runtime"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

// budget bounds the share of a processor that work nobody asked for takes. Some of
// it can be saved up, so that a process that grows quickly is seen growing. Dumps of
// growth have a budget of their own: where there are so many stacks that one light
// sample is more than light samples may take in minutes, growth would have to wait
// for its dump, and the end of the process does not.
//
// What is spent is processor time and not time that passes: on a busy machine a
// sample waits longer than it works, and nobody is helped if fewer are taken then.
type budget struct {
	share float64
	saved time.Duration // may be spent; negative: to be made up for
	at    time.Time
}

const (
	// maxSaved is what can be saved up: the first dump with all its symbols, which
	// takes half a second, and many that follow.
	maxSaved = 2 * time.Second

	// maxDelay is the longest that work is put off for what the work before it took.
	// Where one sample takes more than its share of that time, samples are taken each
	// maxDelay and take more than their share: a leak that is never named helps nobody.
	maxDelay = 5 * time.Minute
)

func newBudget(share float64, now time.Time) *budget {
	return &budget{share: share, saved: maxSaved, at: now}
}

// allows reports whether there is anything left.
func (b *budget) allows(now time.Time) bool {
	if d := now.Sub(b.at); d > 0 { // a clock that was set back takes nothing away
		b.saved, b.at = min(maxSaved, b.saved+time.Duration(float64(d)*b.share)), now
	}
	return b.saved > 0
}

// spend takes processor time off, down to what is made up for within maxDelay.
func (b *budget) spend(d time.Duration) {
	b.saved = max(b.saved-d, -time.Duration(float64(maxDelay)*b.share))
}

// until is when there will be something left, for a budget that allows nothing now.
func (b *budget) until() time.Time {
	return b.at.Add(time.Duration(float64(-b.saved)/b.share) + time.Nanosecond)
}

// processorTime is how much work takes of a processor: of the thread that does it,
// which it has to itself meanwhile, and of the garbage collections that naming
// addresses asks for. One caller does it at a time, behind the gate.
func (r *Recorder) processorTime(work func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r.collected = 0
	before := threadTime()
	work()
	return threadTime() - before + r.collected
}

// threadTime is what the calling thread has used of a processor.
func threadTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic(err) // Linux has that clock since 2.6.12
	}
	return time.Duration(used.Nano())
}

// collectionTime is about what one garbage collection takes of processors. Go's own
// workers do that work on other threads, and Go measures them by the clock, which on
// a busy machine says nothing. Marking was measured at 0.4 ns for each byte of a heap
// full of pointers: this is more than that.
func collectionTime() time.Duration {
	const perByte = 2 * time.Nanosecond
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return time.Duration(live[0].Value.Uint64()) * perByte
}
