package pprof

import "time"

// Ledger divides the resident memory of the process into parts, in bytes:
//
//	RSS = GoHeap + GoStacks + GoRuntime
//	    + NativeLive + NativeFragmentation + NativeDirty + NativeMetadata
//	    + FileBacked + Other - NotResident
//
// The kernel reports how much memory is resident, and how much of that belongs to files.
// Go and jemalloc report how much they use, but not how much of it is resident. So each
// part is based on an assumption:
//
//   - GoHeap is what Go reports, but at most what is resident at the addresses of Go's
//     heap. A large table that was never written is not resident.
//   - GoStacks, NativeLive, NativeFragmentation and NativeDirty are assumed to be resident.
//     Memory that jemalloc calls retained is not counted, because jemalloc has returned it
//     to the kernel. A block that was allocated and never written (a large calloc, the rest
//     of a size class) is counted, although it is not resident.
//   - GoRuntime and NativeMetadata are tables. Both allocators reserve them in large pieces
//     and use only some of their pages. In a small process up to two thirds of them are not
//     resident. They are counted with what is reserved. If that is more than the anonymous
//     memory that the parts above leave, each gets a share of what they leave.
//   - Other is the anonymous memory that is left: data segments, stacks of threads made by
//     C, and mappings of neither allocator.
//   - NotResident is how much larger the parts are than the anonymous memory, because some
//     of it was never written or is swapped out. It is 0 unless there is more of such memory
//     than of Other.
//
// The three sources are read one after the other, within about a millisecond.
type Ledger struct {
	// Time is when the ledger was read.
	Time time.Time `json:"time"`
	// RSS is the resident set (the sum of Rss in smaps).
	RSS int64 `json:"rss_bytes"`
	// GoHeap is the resident part of Go's heap: objects, and unswept and free memory that
	// was not released.
	GoHeap int64 `json:"go_heap_bytes"`
	// GoStacks is the stacks of goroutines.
	GoStacks int64 `json:"go_stacks_bytes"`
	// GoRuntime is what Go's runtime uses itself: span and map tables, profiles, GC.
	GoRuntime int64 `json:"go_runtime_bytes"`
	// NativeLive is what C allocated and did not free, in size classes.
	NativeLive int64 `json:"native_live_bytes"`
	// NativeFragmentation is the rest of the pages of NativeLive: free slots, and what
	// threads have in their caches.
	NativeFragmentation int64 `json:"native_fragmentation_bytes"`
	// NativeDirty is free pages that jemalloc has not yet returned to the kernel.
	NativeDirty int64 `json:"native_dirty_bytes"`
	// NativeMetadata is what jemalloc uses itself, including the heap profile.
	NativeMetadata int64 `json:"native_metadata_bytes"`
	// FileBacked is code, constant data and shared memory.
	FileBacked int64 `json:"file_backed_bytes"`
	// Other is anonymous memory of neither Go nor jemalloc.
	Other int64 `json:"other_bytes"`
	// NotResident is memory that is counted in the parts but is not resident.
	NotResident int64 `json:"not_resident_bytes"`
}

// golang and native are what the two allocators report, in bytes.
type golang struct{ heap, stacks, runtime int64 }
type native struct{ live, fragmentation, dirty, metadata int64 }

// balance makes the ledger from what the three sources report.
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

// part is a part of the ledger, with the name that it has in the metrics.
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
