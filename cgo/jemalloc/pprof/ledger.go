package pprof

import (
	"errors"
	"fmt"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

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
//   - GoHeap, GoStacks, NativeLive, NativeFragmentation and NativeDirty are taken
//     to be resident. Go has given back to the kernel what it calls released, and
//     jemalloc what it calls retained; neither is counted. A block that was
//     allocated and never written (a large calloc, the rest of a size class) is
//     counted and not resident.
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
	// RSS is the resident set (smaps_rollup, Rss).
	RSS int64 `json:"rss_bytes"`
	// GoHeap is Go's heap: objects, unswept and free memory that was not released.
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
	rss, anonymous, err := readResident()
	if err != nil {
		return Ledger{}, err
	}
	l := balance(rss, anonymous, golang, native)
	l.Time = time.Now()
	return l, nil
}

// golang and native are what the two allocators say of themselves, in bytes.
type golang struct{ heap, stacks, runtime int64 }
type native struct{ live, fragmentation, dirty, metadata int64 }

// balance makes the ledger of what the three sources say.
func balance(rss, anonymous int64, g golang, n native) Ledger {
	l := Ledger{
		RSS: rss, FileBacked: rss - anonymous,
		GoHeap: g.heap, GoStacks: g.stacks,
		NativeLive: n.live, NativeFragmentation: n.fragmentation, NativeDirty: n.dirty,
	}
	left := anonymous - g.heap - g.stacks - n.live - n.fragmentation - n.dirty
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

// readResident asks the kernel for the resident set and its anonymous part.
func readResident() (rss, anonymous int64, err error) {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return readStatm() // an old kernel, or a sandbox that has no such file
	}
	fields := map[string]*int64{"Rss:": &rss, "Anonymous:": &anonymous}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || fields[f[0]] == nil {
			continue
		}
		kb, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("pprof: /proc/self/smaps_rollup: %w", err)
		}
		*fields[f[0]] = kb << 10
		delete(fields, f[0])
	}
	if len(fields) > 0 {
		return 0, 0, errors.New("pprof: /proc/self/smaps_rollup has no Rss or no Anonymous line")
	}
	return rss, anonymous, nil
}

// readStatm is a little behind: the kernel counts pages there per thread.
func readStatm() (rss, anonymous int64, err error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, fmt.Errorf("pprof: resident memory: %w", err)
	}
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared); err != nil {
		return 0, 0, fmt.Errorf("pprof: /proc/self/statm: %w", err)
	}
	unit := int64(os.Getpagesize())
	return resident * unit, (resident - shared) * unit, nil
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
