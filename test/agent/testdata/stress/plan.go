package main

// #include "stress.h"
import "C"

import "math/rand"

// step is a part of a stack: Go frames, then C frames that the innermost of them calls.
type step struct {
	goKind, goDepth, cKind, cDepth uint8
}

// How the innermost Go frames of a step are called.
const (
	goPlain     = iota
	goInlined   // by functions that the compiler inlines
	goGeneric   // by a generic function
	goMethod    // by a method, through an interface
	goClosure   // by a closure
	goDeferred  // by a deferred function
	goPanicking // by a deferred function, while the goroutine panics
	goReflected // through package reflect
	goKinds
)

// plan is a stack, outermost step first. The innermost C function allocates.
type plan struct {
	onThread bool // on a thread made by C, else on a goroutine
	steps    []step
	leaf     uint32
	size     int
	keep     bool
}

// makePlans returns count plans. All plans of one step are among them. Those of
// several steps are drawn.
func makePlans(count int, draw *rand.Rand) []plan {
	var plans []plan
	add := func(p plan) {
		p.leaf, p.keep = uint32(len(plans)%C.LEAVES), draw.Intn(2) == 0
		p.size = 64 * (1 + draw.Intn(64))
		if draw.Intn(40) == 0 {
			p.size = 256 << 10 // glibc maps such a block
		}
		plans = append(plans, p)
	}
	for kind := uint8(0); kind < goKinds; kind++ {
		for cKind := uint8(0); cKind < C.C_KINDS; cKind++ {
			for _, onThread := range []bool{false, true} {
				add(plan{onThread: onThread, steps: []step{{kind, kind % 3, cKind, 2 * kind % 5}}})
			}
		}
	}
	// More frames than other profilers keep.
	add(plan{steps: []step{{goPlain, 250, C.C_PLAIN, 200}}})
	add(plan{steps: []step{{goPlain, 70, C.C_PLAIN, 70}, {goClosure, 70, C.C_SORT, 70}, {goPlain, 70, C.C_PLAIN, 70}}})
	for len(plans) < count {
		p := plan{onThread: draw.Intn(4) == 0}
		for n := 2 + draw.Intn(4); len(p.steps) < n; {
			p.steps = append(p.steps, step{uint8(draw.Intn(goKinds)), uint8(draw.Intn(8)), uint8(draw.Intn(C.C_KINDS)), uint8(draw.Intn(6))})
		}
		add(p)
	}
	return plans
}

// Down and up stand for the frames of Go's runtime where Go calls C and C calls Go.
const (
	down = "(Go calls C)"
	up   = "(C calls Go)"
)

var goNames = [goKinds][]string{
	goInlined:   {"main.inlinedOuter", "main.inlinedInner"},
	goGeneric:   {"main.generic[...]"},
	goMethod:    {"main.(*caller).do"},
	goClosure:   {"main.closing", "main.call", "main.closing.func1"},
	goDeferred:  {"main.deferring", "main.deferring.func1"},
	goPanicking: {"main.panicking", "main.panicking.func1"},
	goReflected: {"main.reflecting"},
}

// names is the stack that the plan makes, outermost first: the functions of this
// program, the crossings, and the goroutine's first function.
func (p plan) names() []string {
	var names []string
	if p.onThread {
		names = append(names, "st_thread_main", "st_hop", "st_down")
	} else {
		names = append(names, "runtime.goexit", "main.run")
	}
	for i, s := range p.steps {
		if i > 0 || p.onThread {
			names = append(names, up, "main.back")
		}
		for n := 0; n <= int(s.goDepth); n++ {
			names = append(names, "main.descend")
		}
		names = append(names, goNames[s.goKind]...)
		names = append(names, "main.hop", "main._Cfunc_st_hop", down, "st_hop")
		for n := 0; n <= int(s.cDepth); n++ {
			names = append(names, "st_down")
		}
		if s.cKind == C.C_SORT {
			names = append(names, "st_sort", "st_compare")
		}
	}
	return names
}

// allocation is what the innermost function of a plan does once: a call of function,
// which allocates size bytes and is called by leaf.
type allocation struct {
	leaf, function string
	size           int
	last           bool // the block that may live on
}

func (p plan) allocations() []allocation {
	function := [C.LEAVES]string{"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"}[p.leaf]
	leaf := "st_leaf_" + function
	all := []allocation{{leaf, function, p.size, true}}
	if p.leaf == C.LEAF_REALLOC {
		all = append(all, allocation{leaf, "malloc", 8, false})
	}
	return all
}
