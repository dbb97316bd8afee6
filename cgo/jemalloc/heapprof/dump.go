package heapprof

import (
	"math"
	"time"
)

// Dump is one heap dump as jemalloc wrote it: sampled counts, not yet
// corrected for the sampling.
type Dump struct {
	// Time is when the dump was taken. The format does not carry it: whoever
	// took the dump sets it before Profile or Ranker.Add.
	Time time.Time

	// Rate is the mean number of allocated bytes between two samples
	// (2^lg_prof_sample).
	Rate uint64

	// Inuse and Alloc are the process totals of the dump's own summary line.
	Inuse, Alloc Count

	// Threads are the threads that allocated, in the dump's order.
	Threads []Thread

	// Stacks are the sampled stacks, each one once.
	Stacks []Stack

	// Mappings is the memory map of the process, by rising address.
	Mappings []Mapping
}

// Thread is one thread's summary.
type Thread struct {
	ID           uint64 // jemalloc's own number, not the kernel's
	Name         string // empty unless the process names its threads (opt.prof_sys_thread_name)
	Inuse, Alloc Count
}

// Stack is one sampled call stack.
type Stack struct {
	// PCs are return addresses, the innermost call first.
	PCs []uint64

	// Inuse counts what is live, Alloc everything since the profile began.
	// Alloc is zero unless the process runs with opt.prof_accum.
	Inuse, Alloc Count

	// Threads splits the counts by thread.
	Threads []ThreadCount
}

// ThreadCount is the share of one thread in a stack.
type ThreadCount struct {
	Thread       int // index in Dump.Threads, or -1 for a thread without a summary
	Inuse, Alloc Count
}

// Count is a number of sampled objects and the bytes they take, size class
// and not requested size: an object of 0 bytes counts 8.
type Count struct {
	Objects, Bytes uint64
}

// Estimate is what a Count stands for in the process.
type Estimate struct {
	Objects, Bytes float64
}

// Unbias estimates the process's own numbers from samples taken every rate
// bytes on average. An object of s bytes is sampled with the probability
// 1-exp(-s/rate), so each sample stands for the inverse of that many objects.
//
// It is right for one object size, and for the mixed sizes of one stack since
// jemalloc 5.3 writes its counts so that this very formula corrects them
// (opt.prof_unbias). It must not be applied to sums over stacks.
func (c Count) Unbias(rate uint64) Estimate {
	e := Estimate{Objects: float64(c.Objects), Bytes: float64(c.Bytes)}
	if c.Objects == 0 || c.Bytes == 0 || rate <= 1 { // rate 1: every object is sampled
		return e
	}
	scale := -1 / math.Expm1(-e.Bytes/e.Objects/float64(rate))
	e.Objects *= scale
	e.Bytes *= scale
	return e
}

// Live sums the estimates of all stacks: what the process holds.
func (d *Dump) Live() Estimate {
	var sum Estimate
	for i := range d.Stacks {
		e := d.Stacks[i].Inuse.Unbias(d.Rate)
		sum.Objects += e.Objects
		sum.Bytes += e.Bytes
	}
	return sum
}

// HasAlloc reports whether the dump counts what was freed again
// (opt.prof_accum); without it every Alloc is zero.
func (d *Dump) HasAlloc() bool { return d.Alloc.Objects != 0 }

// PCs returns every distinct address of the dump's stacks, in no order.
func (d *Dump) PCs() []uint64 {
	seen := make(map[uint64]struct{})
	var pcs []uint64
	for i := range d.Stacks {
		for _, pc := range d.Stacks[i].PCs {
			if _, ok := seen[pc]; !ok {
				seen[pc] = struct{}{}
				pcs = append(pcs, pc)
			}
		}
	}
	return pcs
}
