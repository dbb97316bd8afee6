//go:build !asan

package jemalloc_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/stitchtest"
)

// everySample makes profiles exact: each allocation is a sample, and freed ones
// stay counted.
const everySample = "lg_prof_sample:0,prof_accum:true"

// inChild runs the test that calls it again, in a process of its own that has
// MALLOC_CONF=conf, and fails where that fails. It is true in that process.
func inChild(t testing.TB, conf string, env ...string) bool {
	t.Helper()
	if isChild(t) {
		return true
	}
	runChild(t, os.Args[0], t.Name(), conf, env...)
	return false
}

func isChild(t testing.TB) bool { return os.Getenv("JEMALLOC_TEST_CHILD") == t.Name() }

// runChild runs one test of a test program as a child.
func runChild(t testing.TB, program, test, conf string, env ...string) {
	t.Helper()
	child := exec.Command(program, "-test.run=^"+test+"$", "-test.v", "-test.timeout=20m")
	child.Env = append(os.Environ(), "JEMALLOC_TEST_CHILD="+test, "MALLOC_CONF="+conf)
	child.Env = append(child.Env, env...)
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		t.Fatalf("MALLOC_CONF=%s %s: %v\n%s", conf, program, err, out)
	}
	t.Logf("%s", out)
}

// stack is one stack of a dump.
type stack struct {
	pcs         []uintptr // innermost first
	objects     int       // in use
	everObjects int       // allocated since start
}

// parseStacks reads the stacks of a heap_v2 dump.
func parseStacks(dump []byte) ([]stack, error) {
	var stacks []stack
	lines := bufio.NewScanner(bytes.NewReader(dump))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "@"):
			var s stack
			for _, field := range strings.Fields(line)[1:] {
				pc, err := strconv.ParseUint(field, 0, 64)
				if err != nil {
					return nil, err
				}
				s.pcs = append(s.pcs, uintptr(pc))
			}
			stacks = append(stacks, s)
		case strings.HasPrefix(line, "  t*:") && len(stacks) > 0:
			s := &stacks[len(stacks)-1]
			var size, everSize int
			if _, err := fmt.Sscanf(line, "  t*: %d: %d [%d: %d]", &s.objects, &size, &s.everObjects, &everSize); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
		case line == "MAPPED_LIBRARIES:":
			return stacks, nil
		}
	}
	return nil, fmt.Errorf("the dump of %d bytes is cut short", len(dump))
}

func dumpStacks(t testing.TB) []stack {
	t.Helper()
	var dump bytes.Buffer
	if err := jemalloc.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	stacks, err := parseStacks(dump.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return stacks
}

// allocate makes each plan's stack once, and gives the names of the stacks seen.
func allocate(t testing.TB, plans ...stitchtest.Plan) [][]string {
	t.Helper()
	for _, plan := range plans {
		plan.Run(128)
	}
	var seen [][]string
	for _, s := range dumpStacks(t) {
		if names := stitchtest.Names(s.pcs); len(stitchtest.Known(names)) > 0 {
			seen = append(seen, names)
		}
	}
	return seen
}

func TestUnwinderIsProved(t *testing.T) {
	if kind, reason := jemalloc.Unwinder(); kind != jemalloc.UnwinderCGo || reason != "" {
		t.Errorf("Unwinder() = %q, %q", kind, reason)
	}
}

func TestUnwinderWhenProfilingIsOff(t *testing.T) {
	if !inChild(t, "prof:false") {
		return
	}
	if kind, reason := jemalloc.Unwinder(); kind != jemalloc.UnwinderNone || !strings.Contains(reason, "prof:false") {
		t.Errorf("Unwinder() = %q, %q", kind, reason)
	}
}

// What Check allocates to find out who malloc is is no allocation of the program's:
// it is in no profile, and what is allocated after it is.
func TestCheckIsInNoProfile(t *testing.T) {
	if !inChild(t, everySample) {
		return
	}
	runtime.LockOSThread() // Check switches sampling off and on for one thread
	defer runtime.UnlockOSThread()
	if err := jemalloc.Check(); err != nil {
		t.Fatal(err)
	}
	want, got := stitchtest.Entries(128), 0
	for _, s := range dumpStacks(t) {
		names := stitchtest.Names(s.pcs)
		if slices.Contains(names, "jemalloc.Check") {
			t.Errorf("%d objects: %v", s.everObjects, names)
		}
		if slices.Contains(names, "st_entries") {
			got += s.everObjects
		}
	}
	if got != want {
		t.Errorf("%d allocations seen after Check, want %d", got, want)
	}
}

// One call from Go to C: every frame, by name and in order.
func TestStackOfOneCall(t *testing.T) {
	if !inChild(t, everySample) {
		return
	}
	expectOne(t, stitchtest.Plan{Steps: []stitchtest.Step{{Go: 2, C: 1}}}, []string{
		"malloc", "st_leaf", "st_down", "st_down", "st_hop",
		"runtime.asmcgocall", "runtime.cgocall", "stitchtest._Cfunc_st_hop",
		"stitchtest.descend", "stitchtest.descend", "stitchtest.descend",
		"stitchtest.run", "runtime.goexit",
	})
}

// Go, C, Go, C, with the goroutine's stack moved between the two.
func TestStackOfCallback(t *testing.T) {
	if !inChild(t, everySample) {
		return
	}
	expectOne(t, stitchtest.Plan{Steps: []stitchtest.Step{{Go: 1, C: 2}, {Go: 0, C: 0}}}, []string{
		"malloc", "st_leaf", "st_down", "st_hop",
		"runtime.asmcgocall", "runtime.cgocall", "stitchtest._Cfunc_st_hop",
		"stitchtest.descend", "stitchtest.back", "_cgoexp_stBack",
		"runtime.cgocallbackg1", "runtime.cgocallbackg", "runtime.cgocallback", "crosscall2",
		"st_down", "st_down", "st_down", "st_hop",
		"runtime.asmcgocall", "runtime.cgocall", "stitchtest._Cfunc_st_hop",
		"stitchtest.descend", "stitchtest.descend",
		"stitchtest.run", "runtime.goexit",
	})
	if stitchtest.Moves() == 0 {
		t.Error("the goroutine's stack did not move: the plan does not test what it should")
	}
}

// A thread of C's own that calls Go, which calls C.
func TestStackOfThread(t *testing.T) {
	if !inChild(t, everySample) {
		return
	}
	expectOne(t, stitchtest.Plan{OnThread: true, Steps: []stitchtest.Step{{Go: 1, C: 0}}}, []string{
		"malloc", "st_leaf", "st_down", "st_hop",
		"runtime.asmcgocall", "runtime.cgocall", "stitchtest._Cfunc_st_hop",
		"stitchtest.descend", "stitchtest.descend", "stitchtest.back", "_cgoexp_stBack",
		"runtime.cgocallbackg1", "runtime.cgocallbackg", "runtime.cgocallback", "crosscall2",
		"st_down", "st_hop", "st_thread_main",
	})
}

// By whichever function jemalloc is entered, it is the first frame, and the only
// one of jemalloc's.
func TestStacksBeginAtTheAllocator(t *testing.T) {
	if !inChild(t, everySample) {
		return
	}
	want, got := stitchtest.Entries(128), 0
	for _, s := range dumpStacks(t) {
		names := stitchtest.Names(s.pcs)
		switch slices.Index(names, "st_entries") {
		case -1:
		case 1:
			got += s.everObjects
		default:
			t.Errorf("%d objects: %v", s.everObjects, names)
		}
	}
	if got != want {
		t.Errorf("%d allocations seen, want %d", got, want)
	}
}

// What a signal interrupts is named as the function that it is in, also at its first
// instruction, where one before is in another function.
func TestStackThroughASignal(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("not written for this processor")
	}
	if !inChild(t, everySample) {
		return
	}
	if !stitchtest.Signal(128) {
		t.Fatal("no signal can be handled")
	}
	for _, s := range dumpStacks(t) {
		names := stitchtest.Names(s.pcs)
		at := slices.Index(names, "st_handler")
		if at < 0 {
			continue
		}
		// Between the two is libc's way back from a handler.
		if trap := slices.Index(names, "st_trap"); trap != at+2 || names[trap+1] != "st_signal" || names[len(names)-1] != "runtime.goexit" {
			t.Errorf("%v", names)
		}
		return
	}
	t.Error("no stack of the handler")
}

// jemalloc takes 128 frames. Wherever the cut falls, what is inside it is right.
func TestDeepStackIsCut(t *testing.T) {
	if !inChild(t, everySample) {
		return
	}
	const most = 128
	inside := make(map[string]bool)
	for goFrames := range uint8(most) {
		plan := stitchtest.Plan{Steps: []stitchtest.Step{{Go: 3, C: 3}, {Go: goFrames, C: 1}}}
		whole := plan.Names()
		plan.Run(128)
		found := false
		for _, s := range dumpStacks(t) {
			names := stitchtest.Names(s.pcs)
			known := stitchtest.Known(names)
			if len(known) == 0 || inside[inShort(names)] {
				continue
			}
			found = true
			inside[inShort(names)] = true
			switch {
			case len(names) > most:
				t.Errorf("%d frames", len(names))
			case len(names) < most && !slices.Equal(known, whole),
				!slices.Equal(known, whole[len(whole)-len(known):]):
				t.Errorf("%d frames:\n%v\nof\n%v", len(names), known, whole)
			}
		}
		// Beyond the cut all stacks look the same.
		if !found && int(goFrames) < most-20 {
			t.Errorf("no stack of %d Go frames", goFrames)
		}
	}
}

// expectOne makes the plan's stack and expects it to be the only one, complete.
// Left out are frames that depend on the compiler: C code that cgo generates, and
// Go's wrappers around goroutines and between its two calling conventions.
func expectOne(t *testing.T, plan stitchtest.Plan, want []string) {
	t.Helper()
	seen := allocate(t, plan)
	if len(seen) != 1 {
		t.Fatalf("%d stacks seen, want 1:\n%v", len(seen), seen)
	}
	got := slices.Clone(seen[0])
	leaf := slices.Index(got, "st_leaf")
	// Of a jemalloc that is a library there is one frame: malloc, or the function of
	// no exported name that it jumps to. One that is part of the program has more.
	for _, name := range got[:leaf] {
		if name != "malloc" && name != "?" {
			t.Errorf("%s is called by st_leaf, want malloc", name)
		}
	}
	got = append([]string{"malloc"}, got[leaf:]...)
	if plan.OnThread { // below are libc's start_thread and clone
		got = got[:slices.Index(got, "st_thread_main")+1]
	}
	got = slices.DeleteFunc(got, func(name string) bool {
		return name == "?" || strings.Contains(name, ".gowrap") || name == "stitchtest.stBack"
	})
	got = compactRuntime(got)
	if !slices.Equal(got, want) {
		t.Errorf("the stack is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got, want := stitchtest.Known(seen[0]), plan.Names(); !slices.Equal(got, want) {
		t.Errorf("in short it is\n%v\nwant\n%v", got, want)
	}
}

func compactRuntime(names []string) []string {
	return slices.CompactFunc(names, func(a, b string) bool {
		return a == b && strings.HasPrefix(a, "runtime.")
	})
}

func inShort(names []string) string { return strings.Join(names, " < ") }

// expectStacks expects allocations from exactly the stacks of want (inShort), each
// as often as it says.
func expectStacks(t *testing.T, stacks []stack, want map[string]int64) {
	t.Helper()
	got := make(map[string]int64, len(want))
	for _, s := range stacks {
		names := stitchtest.Names(s.pcs)
		if known := stitchtest.Known(names); len(known) > 0 {
			got[inShort(known)] += int64(s.everObjects)
			if slices.Index(names, "st_leaf") != 1 {
				t.Errorf("of jemalloc's own frames not only the outermost is there: %v", names)
			}
		} else if what := wrongWithOther(names); what != "" {
			t.Errorf("%s: %v", what, names)
		}
	}
	wrong := 0
	report := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			t.Errorf(format, args...)
		}
	}
	for stack, n := range got {
		if want[stack] == 0 {
			report("%d allocations from a stack that was not made:\n%s", n, stack)
		}
	}
	for stack, n := range want {
		if got[stack] != n {
			report("%d allocations, not %d, from\n%s", got[stack], n, stack)
		}
	}
	if wrong > 5 {
		t.Errorf("%d of %d stacks are wrong", wrong, len(want))
	}
}

// wrongWithOther says what is wrong with a stack that is not of a plan's innermost
// allocation, if anything: plans take memory for themselves, and so do new threads.
func wrongWithOther(names []string) string {
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "st_") && name != "st_thread_main":
			return name + " allocates nothing itself"
		case strings.HasPrefix(name, "stitchtest.") && names[len(names)-1] != "runtime.goexit":
			return "a stack that ends in the middle of Go"
		}
	}
	return ""
}
