//go:build !asan

package jemalloc_test

import (
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/stitchtest"
)

// stressPlans are stacks of one to three Go and C segments, on goroutines and on
// C's threads. None is longer than the 128 frames that jemalloc keeps.
func stressPlans() []stitchtest.Plan {
	var steps []stitchtest.Step
	for _, goFrames := range []uint8{0, 1, 7} {
		for _, cFrames := range []uint8{0, 5} {
			steps = append(steps, stitchtest.Step{Go: goFrames, C: cFrames})
		}
	}
	var plans []stitchtest.Plan
	for _, onThread := range []bool{false, true} {
		var extend func(prefix []stitchtest.Step)
		extend = func(prefix []stitchtest.Step) {
			for _, step := range steps {
				steps := append(slices.Clip(prefix), step)
				plans = append(plans, stitchtest.Plan{OnThread: onThread, Steps: steps})
				if len(steps) < 3 {
					extend(steps)
				}
			}
		}
		extend(nil)
	}
	return plans
}

// TestStress makes stacks of every shape at once, each allocation a sample, while
// the garbage collector runs all the time and goroutine stacks move under the
// feet of C. At the end the profile has to hold exactly the stacks that were made,
// each as often as it was made. MAGELLAN_STRESS=60s makes it longer than the
// usual 5 s.
func TestStress(t *testing.T) {
	if !inChild(t, everySample, "GOGC=5") {
		return
	}
	duration := 5 * time.Second
	if s := os.Getenv("MAGELLAN_STRESS"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	plans := stressPlans()
	made := make([]atomic.Int64, len(plans))
	deadline := time.Now().Add(duration)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				// Each once, then at random: threads cost more, and are the rarer.
				i := int(next.Add(1)) - 1
				if i >= len(plans) {
					if time.Now().After(deadline) {
						return
					}
					if i = rand.IntN(len(plans)); plans[i].OnThread && rand.IntN(8) != 0 {
						i = rand.IntN(len(plans) / 2)
					}
				}
				made[i].Add(1)
				plans[i].Run(128)
			}
		})
	}
	wg.Wait()

	want := make(map[string]int64, len(plans))
	var total, samples int64
	for i, plan := range plans {
		want[inShort(plan.Names())] = made[i].Load()
		total += made[i].Load()
	}
	stacks := dumpStacks(t)
	for _, s := range stacks {
		samples += int64(s.everObjects)
	}
	expectStacks(t, stacks, want)
	if stitchtest.Moves() == 0 {
		t.Error("no goroutine's stack moved in a callback")
	}
	whole, cut, broken := jemalloc.CountWalks()
	if broken != 0 || cut != 0 || int64(whole) < total {
		t.Errorf("%d walks to the start of a stack, %d that were cut, %d that met what they do not know; %d allocations", whole, cut, broken, total)
	}
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	kind, _ := jemalloc.Unwinder()
	t.Logf("%s %s, unwinder %s: %v, %d allocations of %d plans, %d stacks with %d samples in the dump, %d whole walks, %d moves of a stack in a callback, %d garbage collections",
		runtime.Version(), runtime.GOARCH, kind, duration, total, len(plans), len(stacks), samples, whole, stitchtest.Moves(), gc.NumGC)
}
