package pprof

import "time"

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
