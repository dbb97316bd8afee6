//go:build !asan

package pprof

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
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
		arena, heap     int64 // what is resident of Go's heap and stacks, and what the heap is counted with
		runtime, tables int64 // what Go's and jemalloc's own tables are counted with
		other, not      int64
	}{
		{"something is left", 1000, 400, 150, 100, 20, 30, 20, 0},
		{"nothing is left", 1000, 380, -1, 100, 20, 30, 0, 0},
		{"half of the tables were touched", 1000, 355, -1, 100, 10, 15, 0, 0},
		{"no table was touched", 1000, 330, -1, 100, 0, 0, 0, 0},
		{"not all that is live was touched", 1000, 300, -1, 100, 0, 0, 0, 30},
		{"not all of Go's heap was touched", 1000, 360, 70, 60, 20, 30, 20, 0},
		{"nothing of Go's heap was touched", 1000, 320, 5, 0, 20, 30, 40, 0},
	} {
		l := balance(resident{rss: c.rss, anonymous: c.anonymous, arena: c.arena}, g, n)
		if l.GoHeap != c.heap || l.GoRuntime != c.runtime || l.NativeMetadata != c.tables || l.Other != c.other || l.NotResident != c.not {
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
	type comparison struct {
		what      string
		got, a, b int64 // wanted is what lies between a and b
	}
	off := map[string][]float64{} // by how much of RSS, of each part in each round
	var last Ledger
	for range 7 {
		// The process goes on growing and shrinking: the kernel is asked twice.
		first := readSmaps(t)
		l, err := ReadLedger()
		if err != nil {
			t.Fatal(err)
		}
		second := readSmaps(t)
		arena := uintptr(unsafe.Pointer(&goBlock[0]))
		heap := [2]int64{first.anonymousAt(arena), second.anonymousAt(arena)}
		for _, p := range []comparison{
			{"sum of all parts", sumOf(l), l.RSS, l.RSS},
			{"resident set", l.RSS, first.rss, second.rss},
			{"files", l.FileBacked, first.files, second.files},
			{"Go heap and stacks", l.GoHeap + l.GoStacks, heap[0], heap[1]},
			{"everything native and the rest", l.NativeLive + l.NativeFragmentation + l.NativeDirty + l.NativeMetadata + l.GoRuntime + l.Other - l.NotResident,
				first.rss - first.files - heap[0], second.rss - second.files - heap[1]},
			{"growth of live native memory", l.NativeLive - before.NativeLive, inC, inC},
		} {
			d := max(0, p.got-max(p.a, p.b), min(p.a, p.b)-p.got)
			off[p.what] = append(off[p.what], float64(d)/float64(l.RSS))
		}
		last = l
	}
	// Its three sources are read one after the other: who is stopped in between
	// reads of two different loads. So the median counts.
	for what, rounds := range off {
		slices.Sort(rounds)
		t.Logf("%s: %.4f of RSS off", what, rounds)
		if rounds[len(rounds)/2] > 0.03 {
			t.Errorf("%s: %.4f of RSS off, want 0.03 at most: %+v", what, rounds, last)
		}
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

const zeros = 256 * mib

// runZeros is a program that prints its ledger before and after it makes a large
// table, and once that is written. It ends with its standard input.
func runZeros() {
	var ledgers [3]Ledger
	read := func(i int) {
		var err error
		if ledgers[i], err = ReadLedger(); err != nil {
			panic(err)
		}
	}
	read(0)
	table := make([]byte, zeros)
	read(1)
	for i := 0; i < zeros; i += 4096 {
		table[i] = 1
	}
	read(2)
	runtime.KeepAlive(table)
	json.NewEncoder(os.Stdout).Encode(ledgers)
	io.Copy(io.Discard, os.Stdin)
}

// A large table of Go's that was never written is on Go's heap, and not resident.
// It is made where Go used nothing before, or Go would write its zeros: in a process
// of its own, in which nothing is collected.
func TestLedgerOfUntouchedGoHeap(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, _, line, _ := program(t, binary, "zeros", "GOGC=off")
	l := fromJSON[[3]Ledger](t, []byte(line))
	if made := l[1].GoHeap - l[0].GoHeap; made > zeros/2 || l[1].NotResident-l[0].NotResident > zeros/2 {
		t.Errorf("before %+v\nafter %+v", l[0], l[1])
	}
	if written := l[2].GoHeap - l[0].GoHeap; written < zeros {
		t.Errorf("before %+v\nwritten %+v", l[0], l[2])
	}
}

// parseSmaps: what lies around the address is the arena, up to a gap on each side.
func TestParseSmaps(t *testing.T) {
	mapping := func(at string, rss, anonymous int) string {
		return fmt.Sprintf("%s rw-p 00000000 00:00 0 [x]\nSize: 64 kB\nRss:  %d kB\nAnonymous:    %d kB\nTHPeligible:    0\nVmFlags: rd wr\n", at, rss, anonymous)
	}
	text := mapping("1000-2000", 8, 4) + mapping("c000000000-c000400000", 100, 100) + mapping("c000400000-c004000000", 20, 20) + mapping("7f0000000000-7f0000001000", 4, 0)
	for at, arena := range map[uintptr]int64{0xc000000000: 120 << 10, 0xc000400008: 120 << 10, 0x1fff: 4 << 10, 0x5000: -1} {
		k, err := parseSmaps(strings.NewReader(text), at)
		if want := (resident{rss: 132 << 10, anonymous: 124 << 10, arena: arena}); err != nil || k != want {
			t.Errorf("%#x: %+v, %v, want %+v", at, k, err, want)
		}
	}
	grown := mapping("1000-2000", 8, 4) + mapping("1000-3000", 8, 4)
	if k, err := parseSmaps(strings.NewReader(grown), 0); err != nil || !k.moved {
		t.Errorf("a mapping that is there twice is read as %+v, %v", k, err)
	}
	for _, text := range []string{"", "nonsense\n", "1000-2000 rw-p\nRss: many kB\n"} {
		if k, err := parseSmaps(strings.NewReader(text), 0); err == nil {
			t.Errorf("%q is read as %+v", text, k)
		}
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
