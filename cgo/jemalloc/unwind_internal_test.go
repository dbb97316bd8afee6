//go:build !asan

package jemalloc

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"magellan/cgo/jemalloc/internal/stitchtest"
)

// Each number of the layout matters: the self-test fails, and does not crash, with
// any one of them wrong. A Go version that keeps its stacks in another way differs
// in some of them.
func TestSelfTestNoticesUnknownLayout(t *testing.T) {
	right, known := goLayout()
	if !known {
		t.Skip("no unwinder is written for this processor")
	}
	if _, err := learn(&right); err != nil {
		t.Fatal(err)
	}
	n := int(unsafe.Sizeof(right) / 4)
	for i := range n {
		for _, by := range []int32{-8, 8, 4, 1 << 20, -1 << 30} {
			layout := right
			numbers := unsafe.Slice((*int32)(unsafe.Pointer(&layout)), n)
			numbers[i] += by
			_, err := learn(&layout)
			if err == nil {
				t.Errorf("number %d of the layout is wrong by %d, and that is not noticed", i, by)
			} else if !strings.Contains(err.Error(), "the self-test failed") {
				t.Errorf("number %d of the layout is wrong by %d: %v", i, by, err)
			}
		}
	}
	// Slots that changed places.
	for i := range n - 1 {
		layout := right
		numbers := unsafe.Slice((*int32)(unsafe.Pointer(&layout)), n)
		numbers[i], numbers[i+1] = numbers[i+1], numbers[i]
		if numbers[i] == numbers[i+1] {
			continue
		}
		if _, err := learn(&layout); err == nil {
			t.Errorf("numbers %d and %d of the layout are swapped, and that is not noticed", i, i+1)
		}
	}
	if _, err := learn(&right); err != nil {
		t.Errorf("the right layout, after all the wrong ones: %v", err)
	}
}

// With an unknown layout the hook still gives C stacks, and Unwinder says why.
func TestFallbackToC(t *testing.T) {
	if os.Getenv("JEMALLOC_TEST_CHILD") != t.Name() {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), "JEMALLOC_TEST_CHILD="+t.Name(), "MALLOC_CONF=lg_prof_sample:0,prof_accum:true")
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	layout, _ := goLayout()
	layout.g_hi += 8
	for _, c := range []struct {
		name  string
		known bool
		says  string
	}{
		{"unknown Go version", true, "stacks end where Go begins: " + runtime.Version()},
		{"unknown processor", false, "no unwinder for Go is written for " + runtime.GOARCH},
	} {
		install(layout, c.known)
		if kind, reason := Unwinder(); kind != UnwinderC || !strings.Contains(reason, c.says) {
			t.Errorf("%s: Unwinder() = %q, %q; want %q, %q", c.name, kind, reason, UnwinderC, c.says)
		}
	}

	plan := stitchtest.Plan{Steps: []stitchtest.Step{{Go: 1, C: 1}, {Go: 1, C: 1}}}
	plan.Run(128)

	var dump bytes.Buffer
	if err := Dump(&dump); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(dump.String()) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "@" {
			continue
		}
		var pcs []uintptr
		for _, field := range fields[1:] {
			pc, err := strconv.ParseUint(field, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			pcs = append(pcs, uintptr(pc))
		}
		names := stitchtest.Names(pcs)
		if !slices.Contains(names, "st_leaf") {
			continue
		}
		seen++
		want := []string{stitchtest.Down, "st_hop", "st_down", "st_down", "st_leaf"}
		if got := stitchtest.Known(names); !slices.Equal(got, want) || names[len(names)-1] != "runtime.asmcgocall" {
			t.Errorf("the stack is %v, want %v from %v on", names, want, "runtime.asmcgocall")
		}
	}
	if seen != 1 {
		t.Errorf("%d stacks of st_leaf, want 1", seen)
	}
}
