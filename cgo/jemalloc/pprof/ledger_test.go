//go:build !asan

package pprof

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"magellan/cgo/jemalloc/internal/leaktest"
)

func TestBalance(t *testing.T) {
	g, n := golang{heap: 100, stacks: 10, runtime: 20}, native{live: 200, fragmentation: 5, dirty: 15, metadata: 30}
	for _, c := range []struct {
		name            string
		rss, anonymous  int64
		runtime, tables int64 // what Go's and jemalloc's own tables are counted with
		other, not      int64
	}{
		{"something is left", 1000, 400, 20, 30, 20, 0},
		{"nothing is left", 1000, 380, 20, 30, 0, 0},
		{"half of the tables were touched", 1000, 355, 10, 15, 0, 0},
		{"no table was touched", 1000, 330, 0, 0, 0, 0},
		{"not all that is live was touched", 1000, 300, 0, 0, 0, 30},
	} {
		l := balance(c.rss, c.anonymous, g, n)
		if l.GoRuntime != c.runtime || l.NativeMetadata != c.tables || l.Other != c.other || l.NotResident != c.not {
			t.Errorf("%s: %+v", c.name, l)
		}
		if sum := sumOf(l) - l.NotResident; sum != c.rss {
			t.Errorf("%s: the parts add up to %d, not to %d: %+v", c.name, sum, c.rss, l)
		}
	}
}

func sumOf(l Ledger) (sum int64) {
	for _, p := range l.parts() {
		sum += p.bytes
	}
	return sum
}

// TestLedgerUnderLoad compares each part with what the kernel says of the mappings
// that it must be in, which the ledger does not look at, while Go and C both
// allocate and free.
func TestLedgerUnderLoad(t *testing.T) {
	before, err := ReadLedger()
	if err != nil {
		t.Fatal(err)
	}
	const inC, inGo = 160 * mib, 96 * mib
	block := leaktest.Leak(inC/1024, 1024)
	defer block.Free()
	goBlock := make([]byte, inGo)
	for i := range goBlock {
		goBlock[i] = 1
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	defer load.Wait()
	defer close(stop)
	for range 4 {
		load.Go(func() {
			var garbage [][]byte
			for {
				select {
				case <-stop:
					return
				default:
				}
				leaktest.Leak(100, 500).Free()
				// Written, as what a program allocates is.
				if garbage = append(garbage, bytes.Repeat([]byte{1}, 2000)); len(garbage) > 500 {
					garbage = nil
				}
			}
		})
	}
	runtime.GC()
	for round := range 5 {
		// The process goes on growing and shrinking: the kernel is asked twice.
		first := readSmaps(t)
		l, err := ReadLedger()
		if err != nil {
			t.Fatal(err)
		}
		second := readSmaps(t)
		tolerance := l.RSS * 3 / 100
		near := func(what string, got, a, b int64) {
			t.Helper()
			off := max(0, got-max(a, b), min(a, b)-got)
			if off > tolerance {
				t.Errorf("round %d: %s: the ledger says %d, want %d to %d (3 %% of RSS are %d)\n%+v", round, what, got, min(a, b), max(a, b), tolerance, l)
			}
			t.Logf("%s: %.2f %% of RSS off", what, 100*float64(off)/float64(l.RSS))
		}
		near("sum of all parts", sumOf(l), l.RSS, l.RSS)
		near("resident set", l.RSS, first.rss, second.rss)
		near("files", l.FileBacked, first.files, second.files)
		arena := uintptr(unsafe.Pointer(&goBlock[0]))
		heap := [2]int64{first.anonymousAt(arena), second.anonymousAt(arena)}
		near("Go heap and stacks", l.GoHeap+l.GoStacks, heap[0], heap[1])
		near("everything native and the rest", l.NativeLive+l.NativeFragmentation+l.NativeDirty+l.NativeMetadata+l.GoRuntime+l.Other-l.NotResident,
			first.rss-first.files-heap[0], second.rss-second.files-heap[1])
		near("growth of live native memory", l.NativeLive-before.NativeLive, inC, inC)
	}
	runtime.KeepAlive(goBlock)
}

// Memory that was never written is live and not resident: the ledger says so.
func TestLedgerOfUntouchedMemory(t *testing.T) {
	before, err := ReadLedger()
	if err != nil {
		t.Fatal(err)
	}
	const n = 1024 * mib // some of it may be dirty pages, which were written
	block := leaktest.Untouched(n)
	defer block.Free()
	l, err := ReadLedger()
	if err != nil {
		t.Fatal(err)
	}
	exceeds := (l.NotResident - l.Other) - (before.NotResident - before.Other)
	if l.NativeLive-before.NativeLive < n || exceeds < n/2 || sumOf(l)-l.NotResident != l.RSS {
		t.Errorf("before %+v\nafter %+v", before, l)
	}
}

type smaps struct {
	rss, files int64
	vmas       []vma
}

type vma struct {
	start, end uintptr
	anonymous  int64
}

func (s smaps) anonymousAt(addr uintptr) int64 {
	for _, v := range s.vmas {
		if addr >= v.start && addr < v.end {
			return v.anonymous
		}
	}
	return 0
}

func readSmaps(t *testing.T) smaps {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var s smaps
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if start, end, ok := strings.Cut(words[0], "-"); ok {
			var v vma
			fmt.Sscanf(start, "%x", &v.start)
			fmt.Sscanf(end, "%x", &v.end)
			s.vmas = append(s.vmas, v)
			continue
		}
		kb, _ := strconv.ParseInt(words[1], 10, 64)
		switch words[0] {
		case "Rss:":
			s.rss += kb << 10
			s.files += kb << 10
		case "Anonymous:":
			s.files -= kb << 10
			s.vmas[len(s.vmas)-1].anonymous = kb << 10
		}
	}
	return s
}
