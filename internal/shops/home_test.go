package shops

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestHomesAreShared: there is one Home of each datacenter, whoever asks for it.
func TestHomesAreShared(t *testing.T) {
	var known homes
	all := make([][50]*Home, 8)
	var asking sync.WaitGroup
	for i := range all {
		asking.Go(func() {
			for d := range all[i] {
				all[i][d] = known.of(fmt.Append(nil, "dc", d))
			}
		})
	}
	asking.Wait()
	for i := range all {
		for d, home := range all[i] {
			if home != all[0][d] || home.Datacenter != fmt.Sprint("dc", d) {
				t.Fatalf("goroutine %d has %p %q of dc%d, goroutine 0 has %p", i, home, home.Datacenter, d, all[0][d])
			}
		}
	}
	runtime.KeepAlive(all)
	name := []byte("dc7")
	if n := testing.AllocsPerRun(100, func() { known.of(name) }); n != 0 {
		t.Errorf("%v allocations for a home that exists", n)
	}
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
