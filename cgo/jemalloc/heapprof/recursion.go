package heapprof

import "slices"

// A recursive function appears on a different stack for each depth of the recursion. If it
// leaks, each of these stacks would be a suspect. So when stacks are compared, consecutive
// calls of a function by itself count as one call. If several functions call each other in
// turn, each of them counts as one call.

// maxCycle is how many functions may call each other in turn.
const maxCycle = 8

// folder folds stacks, one at a time.
type folder struct {
	ids, pcs []uint64
	times    []int
}

// fold returns a stack without the repetitions of its functions. The innermost call of
// each remains. times has how often each function that is left was there, and is nil if
// there is no repetition. Both results are valid until the next call.
func (f *folder) fold(stack []uint64, code func(pc uint64) Code) (pcs []uint64, times []int) {
	f.ids, f.pcs, f.times = f.ids[:0], f.pcs[:0], f.times[:0]
	for _, pc := range stack {
		c := code(pc)
		once := 1
		if c.Part { // the rest of the function is counted instead
			once = 0
		}
		f.ids, f.pcs, f.times = append(f.ids, c.ID), append(f.pcs, pc), append(f.times, once)
		n := len(f.ids)
		for cycle := 1; cycle <= min(maxCycle, n/2); cycle++ {
			from := n - cycle
			if f.ids[from-1] != c.ID { // quick test, which usually fails
				continue
			}
			if !slices.Equal(f.ids[from-cycle:from], f.ids[from:]) {
				continue
			}
			for i := from; i < n; i++ {
				f.times[i-cycle] += f.times[i]
			}
			f.ids, f.pcs, f.times = f.ids[:from], f.pcs[:from], f.times[:from]
			break
		}
	}
	if len(f.pcs) == len(stack) {
		return stack, nil
	}
	for i := range f.times {
		f.times[i] = max(1, f.times[i])
	}
	return f.pcs, f.times
}

// deeper returns, for two stacks that are the same when folded, the larger of both counts
// of each function. It changes neither argument.
func deeper(a, b []int) []int {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return slices.Clone(b)
	}
	merged := slices.Clone(a)
	for i := range merged {
		merged[i] = max(a[i], b[i])
	}
	return merged
}

// timesOf returns the part of times for the addresses [from, to).
func timesOf(times []int, from, to int) []int {
	if len(times) == 0 {
		return nil
	}
	return times[from:to]
}
