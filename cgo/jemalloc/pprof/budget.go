package pprof

import (
	"runtime"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

// budget bounds the share of a processor that the Recorder's own work takes, the work that
// no request asks for. Unused time is saved up to a limit, so that a process that grows
// quickly gets several dumps. Growth dumps and light samples have separate budgets. If a
// process has very many stacks, one light sample may use up minutes of a budget. A
// growth dump must not wait for that, because the process may be killed before.
//
// The budget counts processor time, not elapsed time: on a busy machine a sample mostly
// waits, and taking fewer samples would not make the machine less busy.
type budget struct {
	share float64
	saved time.Duration // what may be spent; negative: a debt
	at    time.Time
}

const (
	// maxSaved is the most that is saved up: enough for the first dump, which takes
	// half a second to read all symbols, and for many that follow.
	maxSaved = 2 * time.Second

	// maxDelay is the longest time that a debt delays work. If one sample takes more than
	// the share of that time, samples are taken each maxDelay and take more than the share,
	// because otherwise leaks would never be reported.
	maxDelay = 5 * time.Minute
)

func newBudget(share float64, now time.Time) *budget {
	return &budget{share: share, saved: maxSaved, at: now}
}

// allows reports whether some of the budget is left.
func (b *budget) allows(now time.Time) bool {
	if d := now.Sub(b.at); d > 0 { // otherwise the clock was set back
		b.saved, b.at = min(maxSaved, b.saved+time.Duration(float64(d)*b.share)), now
	}
	return b.saved > 0
}

// spend subtracts processor time. The debt is at most what maxDelay makes up for.
func (b *budget) spend(d time.Duration) {
	b.saved = max(b.saved-d, -time.Duration(float64(maxDelay)*b.share))
}

// until returns when a budget that is used up will allow work again.
func (b *budget) until() time.Time {
	return b.at.Add(time.Duration(float64(-b.saved)/b.share) + time.Nanosecond)
}

// processorTime calls work and returns how much processor time it took: that of the
// thread, which does nothing else meanwhile, and that of the garbage collections that
// the symbolizer starts. The gate allows one call at a time.
func (r *Recorder) processorTime(work func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r.collected = 0
	before := threadTime()
	work()
	return threadTime() - before + r.collected
}

// threadTime returns the processor time of the calling thread.
func threadTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic(err) // Linux has that clock since 2.6.12
	}
	return time.Duration(used.Nano())
}

// collectionTime estimates the processor time of one garbage collection. Go's workers
// run on other threads, and Go measures them by elapsed time, which on a busy machine is
// much longer. Marking took 0.4 ns for each byte of a heap full of pointers. The
// estimate is higher than that.
func collectionTime() time.Duration {
	const perByte = 2 * time.Nanosecond
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return time.Duration(live[0].Value.Uint64()) * perByte
}
