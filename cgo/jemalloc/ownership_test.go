//go:build !asan

package jemalloc_test

import (
	"runtime"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/memtest"
)

const mib = 1 << 20

// Every route by which this process gets C memory has to end in jemalloc: its
// statistics move by what was allocated. (arenas.lookup, which says whose a block
// is, crashes in 5.3.0 for memory that is not jemalloc's.)
func TestOneMallocForTheWholeProcess(t *testing.T) {
	for _, route := range []struct {
		name     string
		allocate func(n int) memtest.Block
	}{
		{"C.CString", memtest.CString},
		{"calloc", memtest.Calloc},
		{"libc strdup", memtest.Strdup},
		{"libc asprintf", memtest.Asprintf},
		{"libzookeeper allocate_String_vector", memtest.StringVector},
	} {
		t.Run(route.name, func(t *testing.T) {
			const size = 64 * mib // large: nothing else in this process comes near
			before := readStats(t).Allocated
			block := route.allocate(size)
			if block.Addr == nil {
				t.Fatal("no memory")
			}
			held := readStats(t).Allocated
			block.Free()
			after := readStats(t).Allocated

			if moved := int64(held - before); moved < size || moved > size+2*mib {
				t.Errorf("stats.allocated moved by %d bytes for a block of %d", moved, size)
			}
			if left := int64(after - before); left > mib {
				t.Errorf("stats.allocated is %d bytes higher after the block was freed", left)
			}
		})
	}
}

// A handle is many small blocks, so this thread's own count is looked at.
func TestZooKeeperHandleIsJemallocs(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := readUint64(t, "thread.allocated")
	zh := memtest.ZHandle()
	if zh.Addr == nil {
		t.Fatal("zookeeper_init failed")
	}
	defer zh.Free()
	// The handle alone, without its queues and locks, is larger than this.
	if moved := readUint64(t, "thread.allocated") - before; moved < 512 {
		t.Errorf("thread.allocated moved by %d bytes for a handle", moved)
	}
}

// The test of the test: memory that is not jemalloc's moves nothing.
func TestOtherMemoryIsNotCounted(t *testing.T) {
	before := readStats(t).Allocated
	block := memtest.Mapped(64 * mib)
	defer block.Free()
	onGoHeap := make([]byte, 64*mib)
	if moved := int64(readStats(t).Allocated - before); moved > mib {
		t.Errorf("stats.allocated moved by %d bytes", moved)
	}
	runtime.KeepAlive(onGoHeap)
}

func readStats(t *testing.T) jemalloc.Stats {
	t.Helper()
	s, err := jemalloc.ReadStats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readUint64(t *testing.T, name string) uint64 {
	t.Helper()
	v, err := jemalloc.Read[uint64](name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
