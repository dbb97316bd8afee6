package heapprof

import (
	"math"
	"time"
)

// Dump is one heap dump as jemalloc wrote it. Its counts are those of the samples, not
// estimates for the process.
type Dump struct {
	// Time is when the dump was taken. The text of a dump does not have it, so the caller
	// of Parse sets it before it calls Profile or Ranker.Add.
	Time time.Time

	// Rate is the mean number of allocated bytes between two samples
	// (2^lg_prof_sample).
	Rate uint64

	// Inuse and Alloc are the totals of the process, from the dump's summary line.
	Inuse, Alloc Count

	// Threads are the threads that allocated, in the dump's order.
	Threads []Thread

	// Stacks are the sampled stacks, each of them once.
	Stacks []Stack

	// Mappings is the memory map of the process, sorted by address.
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

	// Inuse counts the live samples, Alloc all samples since the profile began. Alloc is
	// zero unless the process runs with opt.prof_accum.
	Inuse, Alloc Count

	// Threads has the counts of each thread.
	Threads []ThreadCount
}

// ThreadCount is the share of one thread in a stack.
type ThreadCount struct {
	Thread       int // index in Dump.Threads, or -1 for a thread without a summary
	Inuse, Alloc Count
}

// Count is a number of sampled objects and their bytes. The size of an object is its size
// class, not the requested size: an object of 0 bytes counts as 8.
type Count struct {
	Objects, Bytes uint64
}

// Estimate is what the process has allocated, estimated from a Count.
type Estimate struct {
	Objects, Bytes float64
}

// Unbias estimates the numbers of the process from samples that are rate bytes apart on
// average. An object of s bytes is sampled with the probability p = 1-exp(-s/rate), so
// each sample stands for 1/p objects.
//
// The formula is right for objects of one size. It is also right for the mixed sizes of
// one stack, because jemalloc 5.3 and later write counts that this formula corrects
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

// Live returns what the process holds: the sum of the estimates of all stacks.
func (d *Dump) Live() Estimate {
	var sum Estimate
	for i := range d.Stacks {
		e := d.Stacks[i].Inuse.Unbias(d.Rate)
		sum.Objects += e.Objects
		sum.Bytes += e.Bytes
	}
	return sum
}

// HasAlloc reports whether the dump also counts memory that was freed (opt.prof_accum).
// If it does not, every Alloc is zero.
func (d *Dump) HasAlloc() bool { return d.Alloc.Objects != 0 }

// PCs returns the addresses of all stacks without duplicates, in no particular order.
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
