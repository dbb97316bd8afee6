package shops

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/alloctest"
)

// TestHomesAreShared: there is one Home of each datacenter, though many ask for it at the same
// moment.
func TestHomesAreShared(t *testing.T) {
	for range 20_000 {
		var known homes
		var all [2]*Home
		var asking sync.WaitGroup
		var there atomic.Int32
		for i := range all {
			asking.Go(func() {
				for there.Add(1); int(there.Load()) < len(all); {
					runtime.Gosched() // so that both begin at the same moment
				}
				all[i] = known.of([]byte("ash1"))
			})
		}
		asking.Wait()
		for i, home := range all {
			if home != all[0] || home.Datacenter != "ash1" {
				t.Fatalf("goroutine %d has %p %q, goroutine 0 has %p", i, home, home.Datacenter, all[0])
			}
		}
		runtime.KeepAlive(all)
	}
	var known homes
	name := []byte("dc7")
	kept := known.of(name)
	if n := alloctest.Fewest(func() { known.of(name) }); n != 0 {
		t.Errorf("%d allocations for a home that exists", n)
	}
	runtime.KeepAlive(kept)
}

// TestHomesAreForgotten: the name of a datacenter that no shop lives in any more takes no
// memory, and a new shop there gets a Home all the same.
func TestHomesAreForgotten(t *testing.T) {
	var known homes
	kept := known.of([]byte("kept"))
	for d := range 100 {
		known.of(fmt.Append(nil, "dc", d))
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		known.mu.RLock()
		left := len(known.known)
		known.mu.RUnlock()
		if left == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d homes are left, want 1", left)
		}
	}
	if known.of([]byte("kept")) != kept {
		t.Error("a home that is in use was forgotten")
	}
	if home := known.of([]byte("dc5")); home.Datacenter != "dc5" {
		t.Errorf("the next one is %q", home.Datacenter)
	}
}
