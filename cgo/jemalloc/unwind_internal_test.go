//go:build !asan

package jemalloc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"magellan/cgo/jemalloc/internal/stitchtest"
)

// inOwnProcess runs the test that calls it again in a process of its own, each of whose
// allocations is a sample. It is true there.
func inOwnProcess(t *testing.T) bool {
	t.Helper()
	if os.Getenv("JEMALLOC_TEST_CHILD") == t.Name() {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), "JEMALLOC_TEST_CHILD="+t.Name(), "MALLOC_CONF=lg_prof_sample:0,prof_accum:true")
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// A program whose function table is that of another Go version is not read.
func TestUnknownGoVersion(t *testing.T) {
	here, _, _, _ := runtime.Caller(0)
	image, err := findProgram(here)
	if err != nil {
		t.Skip(err)
	}
	magic := magicOf(t, unsafe.Pointer(image.names))
	was := bytes.Clone(magic)
	for _, c := range []struct {
		name string
		at   int
		is   byte
		says string
	}{
		{"the magic number of Go 1.18", 0, 0xf0, "the function table is that of a Go version that is unknown here"},
		{"a new magic number", 0, 0xf2, "the function table is that of a Go version that is unknown here"},
		{"no magic number", 1, 0xfe, "there is no function table of Go"},
		{"instructions of another size", 6, 2, "there is no function table of Go"},
		{"pointers of another size", 7, 4, "there is no function table of Go"},
	} {
		magic[c.at] = c.is
		_, err := findProgram(here)
		copy(magic, was)
		if err == nil || err.Error() != c.says {
			t.Errorf("%s: %v, want %s", c.name, err, c.says)
		}
	}
	if again, err := findProgram(here); err != nil || again != image {
		t.Errorf("the table as it was: %v, %+v, want %+v", err, again, image)
	}
	if _, err := findProgram(1); err == nil || !strings.Contains(err.Error(), "there is no function table") {
		t.Errorf("where no program is: %v", err)
	}
}

// magicOf finds the magic number of Go's function table, which is before the table of names,
// and makes it writable. The runtime looks at it when it starts, and not afterwards.
func magicOf(t *testing.T, names unsafe.Pointer) []byte {
	t.Helper()
	quantum := map[string]byte{"amd64": 1, "arm64": 4}[runtime.GOARCH]
	want := []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, quantum, 8}
	for off := -8; off > -256; off-- {
		magic := unsafe.Slice((*byte)(unsafe.Add(names, off)), len(want))
		if !bytes.Equal(magic, want) {
			continue
		}
		page := uintptr(os.Getpagesize())
		in := uintptr(unsafe.Pointer(&magic[0])) % page
		pages := unsafe.Slice((*byte)(unsafe.Add(names, off-int(in))), page)
		if err := syscall.Mprotect(pages, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Mprotect(pages, syscall.PROT_READ) })
		return magic
	}
	t.Fatal("the header of the function table is not before its names")
	return nil
}

// If the Go program is not known, the hook still gives C stacks, and Unwinder says why. If
// the landmarks are wrong, stacks end where they no longer fit, and that is counted.
func TestFallbackToC(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	here, _, _, _ := runtime.Caller(0)
	image := must(findProgram(here))
	right := must(readLandmarks(&image))
	caller, back, cross := right, right, right
	caller.asmcgocall += 16
	back.back_return++
	cross.cross_return++
	inner := []string{stitchtest.Down, "st_hop", "st_down", "st_down", "st_leaf"}
	outer := []string{"runtime.goexit", "run", "descend", "descend", "_Cfunc_st_hop", stitchtest.Down, "st_hop", "st_down", "st_down"}
	middle := []string{stitchtest.Up, "back", "descend", "descend", "_Cfunc_st_hop"}
	for _, c := range []struct {
		name    string
		install func()
		kind    UnwinderKind
		says    string
		known   []string
		end     string
		count   walks
	}{
		{"no Go program", func() { install(1) },
			UnwinderC, "stacks end where Go begins: there is no function table of Go", inner, "runtime.asmcgocall", walks{cut: 1}},
		{"unknown landmarks", func() { setHook(&image, nil, fmt.Errorf("a reason")) },
			UnwinderC, "stacks end where Go begins: a reason (" + runtime.Version() + ", " + runtime.GOARCH + ")", inner, "runtime.asmcgocall", walks{cut: 1}},
		{"another caller of C", func() { setHook(&image, &caller, nil) },
			UnwinderCGo, "", inner, "runtime.asmcgocall", walks{broken: 1}},
		{"another way back", func() { setHook(&image, &back, nil) },
			UnwinderCGo, "", slices.Concat(middle, inner), "runtime.cgocallback", walks{broken: 1}},
		{"another way back to C", func() { setHook(&image, &cross, nil) },
			UnwinderCGo, "", slices.Concat(middle, inner), "runtime.cgocallback", walks{broken: 1}},
		{"all as it is", func() { setHook(&image, &right, nil) },
			UnwinderCGo, "", slices.Concat(outer, middle, inner), "runtime.goexit", walks{whole: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.install()
			if kind, reason := Unwinder(); kind != c.kind || !strings.HasPrefix(reason, c.says) || (reason == "") != (c.says == "") {
				t.Errorf("Unwinder() = %q, %q; want %q, %q", kind, reason, c.kind, c.says)
			}
			before, stacks := countWalks(), allocations(t)
			plan := stitchtest.Plan{Steps: []stitchtest.Step{{Go: 1, C: 1}, {Go: 1, C: 1}}}
			plan.Run(128)
			after := countWalks()
			if after.whole-before.whole < c.count.whole || after.cut-before.cut < c.count.cut || after.broken-before.broken < c.count.broken ||
				(after.broken > before.broken) != (c.count.broken > 0) {
				t.Errorf("walks: %+v, and %+v before; want at least %+v more", after, before, c.count)
			}
			seen := 0
			for stack, n := range allocations(t) {
				names := stitchtest.Names(addresses(t, stack))
				if n -= stacks[stack]; n == 0 || !slices.Contains(names, "st_leaf") {
					continue
				}
				seen += n
				if got := stitchtest.Known(names); !slices.Equal(got, c.known) || names[len(names)-1] != c.end {
					t.Errorf("the stack is\n%v\nin short\n%v\nwant\n%v\nfrom %s on", names, got, c.known, c.end)
				}
			}
			if seen != 1 {
				t.Errorf("%d allocations of st_leaf, want 1", seen)
			}
		})
	}
}

// Between the frames of the program may be those of code that is not the program's. They are
// believed if the stack ends as it must. Here the program's own code is taken for such code,
// from an address on.
func TestFramesOfOtherCode(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	here, _, _, _ := runtime.Caller(0)
	image := must(findProgram(here))
	landmarks := must(readLandmarks(&image))
	run := func() (pcs []uintptr, names []string) {
		t.Helper()
		before := allocations(t)
		stitchtest.Plan{Steps: []stitchtest.Step{{Go: 1}, {Go: 1}}}.Run(128)
		for stack, n := range allocations(t) {
			if p := addresses(t, stack); n > before[stack] && slices.Contains(stitchtest.Names(p), "st_leaf") {
				pcs = p
			}
		}
		return pcs, stitchtest.Names(pcs)
	}
	pcs, names := run()
	entry := func(name string) uintptr { return runtime.FuncForPC(pcs[slices.Index(names, name)] - 1).Entry() }

	other := image
	other.etext = 0
	for i, name := range names {
		if at := runtime.FuncForPC(pcs[i] - 1); strings.HasPrefix(name, "stitchtest.") && (other.etext == 0 || at.Entry() < uintptr(other.etext)) {
			move(&other.etext, at.Entry()-uintptr(other.etext))
		}
	}
	if entry("runtime.goexit") > uintptr(other.etext) || entry("runtime.cgocall") > uintptr(other.etext) {
		t.Fatal("the runtime is not before this package: take other code for unknown")
	}
	setHook(&other, &landmarks, nil)
	before := countWalks()
	if _, got := run(); !slices.Equal(got, names) {
		t.Errorf("the stack is\n%v\nwant\n%v", got, names)
	}
	if after := countWalks(); after.whole == before.whole || after.broken != before.broken {
		t.Errorf("walks: %+v, and %+v before", after, before)
	}

	// A stack that ends in other code has not ended as it must.
	move(&other.etext, entry("runtime.goexit")-uintptr(other.etext))
	if entry("runtime.cgocall") > uintptr(other.etext) {
		t.Fatal("runtime.goexit is before runtime.cgocall: take other code for unknown")
	}
	setHook(&other, &landmarks, nil)
	before = countWalks()
	last := len(names) - 1
	for names[last] != "runtime.cgocall" {
		last--
	}
	if _, got := run(); !slices.Equal(got, names[:last+1]) {
		t.Errorf("the stack is\n%v\nwant\n%v", got, names[:last+1])
	}
	if after := countWalks(); after.broken == before.broken {
		t.Errorf("walks: %+v, and %+v before", after, before)
	}
}

// allocations returns how often each stack of a dump has allocated.
func allocations(t *testing.T) map[string]int {
	t.Helper()
	var dump bytes.Buffer
	if err := Dump(&dump); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	var stack string
	for line := range strings.Lines(dump.String()) {
		var inuse, inuseBytes, objects, objectBytes int
		if rest, found := strings.CutPrefix(line, "@ "); found {
			stack = rest
		} else if _, err := fmt.Sscanf(line, "  t*: %d: %d [%d: %d]", &inuse, &inuseBytes, &objects, &objectBytes); err == nil && stack != "" {
			counts[stack] = objects
		}
	}
	return counts
}

func addresses(t *testing.T, stack string) (pcs []uintptr) {
	t.Helper()
	for _, field := range strings.Fields(stack) {
		pc, err := strconv.ParseUint(field, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		pcs = append(pcs, uintptr(pc))
	}
	return pcs
}
