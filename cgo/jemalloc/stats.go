package jemalloc

// #include "shim.h"
import "C"

// Stats is how much memory jemalloc holds, in bytes, without the Go heap. Allocated <=
// Active <= Resident is true unless other threads allocate or free memory while the
// values are read.
type Stats struct {
	Allocated uint64 // what the program allocated and did not free, in size classes
	Active    uint64 // pages that hold allocations: Active - Allocated is fragmentation
	Metadata  uint64 // jemalloc's own book-keeping
	Resident  uint64 // at most this is in physical memory: Active, Metadata and dirty pages
	Mapped    uint64 // address space in use
	Retained  uint64 // address space kept for reuse, without physical memory
}

// ReadStats refreshes jemalloc's statistics (epoch) and reads them (stats.*). It
// takes jemalloc's locks, one arena after the other, for some microseconds: call it each
// second, not for each request.
func ReadStats() (Stats, error) {
	var s C.struct_gojemalloc_stats
	var failed *C.char
	if code := C.gojemalloc_stats_read(&s, &failed); code != 0 {
		return Stats{}, result("read", C.GoString(failed), code)
	}
	return Stats{
		Allocated: uint64(s.allocated),
		Active:    uint64(s.active),
		Metadata:  uint64(s.metadata),
		Resident:  uint64(s.resident),
		Mapped:    uint64(s.mapped),
		Retained:  uint64(s.retained),
	}, nil
}
