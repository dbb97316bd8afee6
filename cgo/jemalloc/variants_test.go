//go:build !asan

package jemalloc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"magellan/cgo/jemalloc"
)

// Programs that are stripped, position independent, or built without optimization
// give the same stacks, with the same Go names. C that is not optimized is found by
// way of the frame pointer, a register that crosscall2 saved.
func TestBuildVariants(t *testing.T) {
	if isChild(t) {
		expectEveryPlan(t)
		return
	}
	if testing.Short() {
		t.Skip("builds this test five times")
	}
	for _, v := range []struct {
		name   string
		flags  []string
		cflags string
	}{
		{"stripped", []string{"-ldflags=-s -w", "-trimpath"}, ""},
		{"pie", []string{"-buildmode=pie"}, ""},
		{"stripped pie", []string{"-buildmode=pie", "-ldflags=-s -w", "-trimpath"}, ""},
		{"unoptimized Go", []string{"-gcflags=magellan/...=-N -l"}, ""},
		{"unoptimized C", nil, " -O0"},
	} {
		t.Run(v.name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "variant.test")
			build := exec.Command("go", append(append([]string{"test", "-c", "-o", program}, v.flags...), ".")...)
			if v.cflags != "" {
				build.Env = append(os.Environ(), "CGO_CFLAGS="+os.Getenv("CGO_CFLAGS")+v.cflags)
			}
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", build, err, out)
			}
			runChild(t, program, "TestBuildVariants", everySample)
		})
	}
}

func expectEveryPlan(t *testing.T) {
	if kind, reason := jemalloc.Unwinder(); kind != jemalloc.UnwinderCGo {
		t.Errorf("Unwinder() = %q, %q", kind, reason)
	}
	made := make(map[string]int64)
	for _, plan := range stressPlans() {
		plan.Run(128)
		made[inShort(plan.Names())] = 1
	}
	expectStacks(t, dumpStacks(t), made)
}
