package pprof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"magellan/cgo/jemalloc"
)

// Ledger says whose the resident memory of the process is, in bytes:
//
//	RSS = GoHeap + GoStacks + GoRuntime
//	    + NativeLive + NativeFragmentation + NativeDirty + NativeMetadata
//	    + FileBacked + Other - NotResident
//
// The kernel knows how much is resident, and how much of that is of files. Go and
// jemalloc know how much they use. Neither knows the other's side, so each part
// rests on an assumption:
//
//   - GoHeap is what Go counts, but no more than is resident where Go's heap is:
//     a large table of zeros that was never written is not.
//   - GoStacks, NativeLive, NativeFragmentation and NativeDirty are taken to be
//     resident. jemalloc has given back to the kernel what it calls retained, which
//     is not counted. A block that was allocated and never written (a large calloc,
//     the rest of a size class) is counted and not resident.
//   - GoRuntime and NativeMetadata are tables that both reserve in large pieces
//     and touch here and there: up to two thirds of them are not resident in a
//     small process. They are counted with what is reserved, and where that
//     exceeds the anonymous memory left by the parts above, with a share of it.
//   - Other is the anonymous memory that is left: data segments, stacks of
//     threads made by C, mappings made by neither allocator.
//   - NotResident is how much the parts exceed the anonymous memory by: never
//     written, or swapped out. It is 0 unless such memory outweighs Other.
//
// The three sources are read one after the other, within about a millisecond.
type Ledger struct {
	// Time is when it was read.
	Time time.Time `json:"time"`
	// RSS is the resident set (the sum of Rss in smaps).
	RSS int64 `json:"rss_bytes"`
	// GoHeap is what is resident of Go's heap: objects, unswept and free memory that
	// was not released.
	GoHeap int64 `json:"go_heap_bytes"`
	// GoStacks is the stacks of goroutines.
	GoStacks int64 `json:"go_stacks_bytes"`
	// GoRuntime is the runtime's own: span and map tables, profiles, GC.
	GoRuntime int64 `json:"go_runtime_bytes"`
	// NativeLive is what C allocated and did not free, in size classes.
	NativeLive int64 `json:"native_live_bytes"`
	// NativeFragmentation is the rest of the pages that hold it: free slots, and
	// what threads keep in their caches.
	NativeFragmentation int64 `json:"native_fragmentation_bytes"`
	// NativeDirty is free pages that jemalloc has not yet given back.
	NativeDirty int64 `json:"native_dirty_bytes"`
	// NativeMetadata is jemalloc's own, the heap profile included.
	NativeMetadata int64 `json:"native_metadata_bytes"`
	// FileBacked is code, constant data and shared memory.
	FileBacked int64 `json:"file_backed_bytes"`
	// Other is anonymous memory of neither Go nor jemalloc.
	Other int64 `json:"other_bytes"`
	// NotResident is what the parts count and the kernel does not.
	NotResident int64 `json:"not_resident_bytes"`
}

// ReadLedger reads the ledger of this process. It takes a millisecond or so for
// each GB resident, in the kernel.
func ReadLedger() (Ledger, error) {
	native, err := readNative()
	if err != nil {
		return Ledger{}, err
	}
	golang := readGo()
	kernel, err := readResident()
	if err != nil {
		return Ledger{}, err
	}
	l := balance(kernel, golang, native)
	l.Time = time.Now()
	return l, nil
}

// golang and native are what the two allocators say of themselves, in bytes.
type golang struct{ heap, stacks, runtime int64 }
type native struct{ live, fragmentation, dirty, metadata int64 }

// balance makes the ledger of what the three sources say.
func balance(k resident, g golang, n native) Ledger {
	if k.arena >= 0 {
		g.heap = min(g.heap, max(0, k.arena-g.stacks))
	}
	l := Ledger{
		RSS: k.rss, FileBacked: k.rss - k.anonymous,
		GoHeap: g.heap, GoStacks: g.stacks,
		NativeLive: n.live, NativeFragmentation: n.fragmentation, NativeDirty: n.dirty,
	}
	left := k.anonymous - g.heap - g.stacks - n.live - n.fragmentation - n.dirty
	tables := g.runtime + n.metadata
	switch {
	case left < 0:
		l.NotResident = -left
	case left < tables:
		l.GoRuntime = int64(float64(left) * float64(g.runtime) / float64(tables))
		l.NativeMetadata = left - l.GoRuntime
	default:
		l.GoRuntime, l.NativeMetadata, l.Other = g.runtime, n.metadata, left-tables
	}
	return l
}

// readNative reads jemalloc's part: nothing where it is not linked.
func readNative() (native, error) {
	s, err := jemalloc.ReadStats() // refreshes the statistics below, too
	if errors.Is(err, jemalloc.ErrNotLinked) {
		return native{}, nil
	}
	if err != nil {
		return native{}, err
	}
	// jemalloc counts what it allocates for itself in its own heap both as
	// allocated and as metadata, and what threads cache as allocated.
	const allArenas = "stats.arenas.4096." // MALLCTL_ARENAS_ALL
	var v [5]int64
	for i, name := range []string{"internal", "base", "tcache_bytes", "pdirty", "pmuzzy"} {
		n, err := jemalloc.Read[uintptr](allArenas + name)
		if err != nil {
			return native{}, err
		}
		v[i] = int64(n)
	}
	page, err := jemalloc.Read[uintptr]("arenas.page")
	if err != nil {
		return native{}, err
	}
	internal, base, cached, dirty := v[0], v[1], v[2], (v[3]+v[4])*int64(page)
	live := max(0, int64(s.Allocated)-internal-cached)
	return native{
		live:          live,
		fragmentation: max(0, int64(s.Active)-internal-live),
		dirty:         dirty,
		metadata:      base + internal,
	}, nil
}

// readGo reads the Go runtime's part.
func readGo() golang {
	const class = "/memory/classes/"
	samples := []metrics.Sample{
		{Name: class + "heap/objects:bytes"}, {Name: class + "heap/unused:bytes"}, {Name: class + "heap/free:bytes"},
		{Name: class + "heap/stacks:bytes"}, {Name: class + "os-stacks:bytes"},
		{Name: class + "heap/released:bytes"}, {Name: class + "total:bytes"},
	}
	metrics.Read(samples)
	v := make([]int64, len(samples))
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 { // or this Go has no such metric
			v[i] = int64(s.Value.Uint64())
		}
	}
	heap, stacks := v[0]+v[1]+v[2], v[3]+v[4]
	return golang{heap: heap, stacks: stacks, runtime: max(0, v[6]-v[5]-heap-stacks)}
}

// resident is what the kernel says of the process, in bytes.
type resident struct {
	rss, anonymous int64
	arena          int64 // anonymous memory where Go's heap and stacks are; below 0: unknown
	moved          bool  // the map changed under the reader, and something is in it twice
}

// readResident asks the kernel. That takes as long as its sum, smaps_rollup, would:
// either way it goes through all pages. The text comes in pieces, each true of its
// own moment: a mapping that grew between two of them may be in both, and then all
// is read again.
func readResident() (k resident, err error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return readStatm() // a kernel without it
	}
	defer f.Close()
	inHeap := make([]byte, os.Getpagesize())
	for range 5 {
		if _, err = f.Seek(0, io.SeekStart); err != nil {
			return k, fmt.Errorf("pprof: %w", err)
		}
		if k, err = parseSmaps(f, uintptr(unsafe.Pointer(&inHeap[0]))); err != nil || !k.moved {
			break
		}
	}
	runtime.KeepAlive(inHeap)
	return k, err
}

// parseSmaps adds up mappings. The arena is the one with the address inHeap and
// those that follow each other without a gap on both sides of it: Go reserves its
// heap in one piece, far from all others.
func parseSmaps(text io.Reader, inHeap uintptr) (k resident, err error) {
	k.arena = -1
	var run struct {
		end       uintptr
		anonymous int64
		isArena   bool
	}
	ended := func() {
		if run.isArena {
			k.arena = run.anonymous
		}
		run.anonymous, run.isArena = 0, false
	}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, rest, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		if !bytes.HasSuffix(name, []byte(":")) { // a mapping: c000000000-c000400000 rw-p ...
			from, to, _ := strings.Cut(string(name), "-")
			start, err1 := strconv.ParseUint(from, 16, 64)
			end, err2 := strconv.ParseUint(to, 16, 64)
			if err := errors.Join(err1, err2); err != nil {
				return k, fmt.Errorf("pprof: /proc/self/smaps: %w", err)
			}
			k.moved = k.moved || uintptr(start) < run.end
			if uintptr(start) != run.end {
				ended()
			}
			run.end = uintptr(end)
			run.isArena = run.isArena || uintptr(start) <= inHeap && inHeap < uintptr(end)
			continue
		}
		isRSS, isAnonymous := string(name) == "Rss:", string(name) == "Anonymous:"
		if !isRSS && !isAnonymous {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(string(bytes.TrimSpace(rest)), " kB"), 10, 64)
		if err != nil {
			return k, fmt.Errorf("pprof: /proc/self/smaps: %w", err)
		}
		if isRSS {
			k.rss += kb << 10
		} else {
			k.anonymous += kb << 10
			run.anonymous += kb << 10
		}
	}
	ended()
	if err := lines.Err(); err != nil {
		return k, fmt.Errorf("pprof: /proc/self/smaps: %w", err)
	}
	if k.rss == 0 {
		return k, errors.New("pprof: /proc/self/smaps has no Rss line")
	}
	return k, nil
}

// readStatm is a little behind: the kernel counts pages there per thread.
func readStatm() (resident, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return resident{}, fmt.Errorf("pprof: resident memory: %w", err)
	}
	var size, pages, shared int64
	if _, err := fmt.Sscan(string(text), &size, &pages, &shared); err != nil {
		return resident{}, fmt.Errorf("pprof: /proc/self/statm: %w", err)
	}
	unit := int64(os.Getpagesize())
	return resident{rss: pages * unit, anonymous: (pages - shared) * unit, arena: -1}, nil
}

// part is a line of the ledger, under the name that metrics have for it.
type part struct {
	name  string
	bytes int64
}

func (l Ledger) parts() []part {
	return []part{
		{"go_heap", l.GoHeap}, {"go_stacks", l.GoStacks}, {"go_runtime", l.GoRuntime},
		{"native_live", l.NativeLive}, {"native_fragmentation", l.NativeFragmentation},
		{"native_dirty", l.NativeDirty}, {"native_metadata", l.NativeMetadata},
		{"file_backed", l.FileBacked}, {"other", l.Other},
	}
}
