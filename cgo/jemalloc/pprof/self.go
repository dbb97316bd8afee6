package pprof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"time"
	"unsafe"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
)

// self is the Source of the Recorder's own process. It reads jemalloc, the Go runtime and
// the files in /proc. Its methods never wait and use no context.
type self struct{}

var _ Source = self{}

// newSelf returns a self. It fails if all its profiles would be empty without an error.
func newSelf() (self, error) {
	if err := jemalloc.Check(); err != nil && !errors.Is(err, jemalloc.ErrNotLinked) {
		return self{}, fmt.Errorf("pprof: profiles of native memory would be empty: %w", err)
	}
	return self{}, nil
}

// started is approximately when this process was started.
var started = time.Now().UTC()

func (self) Process() Process {
	kind, reason := jemalloc.Unwinder()
	return Process{
		PID: os.Getpid(), Started: started, Args: os.Args, Sampler: "jemalloc", Unwinder: kind, UnwinderReason: reason,
		Symbols: heapprof.SymbolizerConfig{Go: heapprof.GoFrames, GoText: heapprof.GoText, Loaded: loaded, Proc: procSelf},
	}
}

// procSelf is the directory of this process.
const procSelf = "/proc/self"

func (self) Stats(context.Context) (Stats, error) {
	s, err := jemalloc.ReadStats()
	if err != nil {
		return Stats{}, choice(err)
	}
	on, err := jemalloc.Active()
	return Stats{Live: int64(s.Allocated), Internal: int64(s.Metadata), Active: on}, choice(err)
}

func (self) Ledger(context.Context) (Ledger, error) { return ReadLedger() }

func (self) Dump(_ context.Context, w io.Writer) error { return choice(jemalloc.Dump(w)) }

func (self) SetActive(_ context.Context, on bool) error { return choice(jemalloc.SetActive(on)) }

func (self) Collect(context.Context) error {
	runtime.GC()
	return nil
}

// choice makes an error match ErrNotProfiled if it is the result of somebody's choice:
// profiling is off, or jemalloc is not linked. It does not change the text.
func choice(err error) error {
	if errors.Is(err, jemalloc.ErrProfilingOff) || errors.Is(err, jemalloc.ErrNotLinked) {
		return chosen{err}
	}
	return err
}

type chosen struct{ error }

func (chosen) Is(target error) bool { return target == ErrNotProfiled }
func (c chosen) Unwrap() error      { return c.error }

// loaded returns the libraries that package jemalloc has recorded because the program can
// close them.
func loaded() (all []heapprof.Loaded, more bool) {
	libraries, more := jemalloc.Libraries()
	for _, l := range libraries {
		m := heapprof.Mapping{Start: l.Start, Limit: l.Limit, Offset: l.Offset, Exec: true, File: l.File}
		all = append(all, heapprof.Loaded{Mapping: m, BuildID: l.BuildID, Headers: l.Headers, PCs: l.PCs, All: l.All})
	}
	return all, more
}

// ReadLedger reads the ledger of this process. The kernel takes about a millisecond for
// each resident GB.
func ReadLedger() (Ledger, error) {
	native, err := readNative()
	if err != nil {
		return Ledger{}, err
	}
	golang := readGo()
	kernel, err := readOwnResident()
	if err != nil {
		return Ledger{}, err
	}
	l := balance(kernel, golang, native)
	l.Time = time.Now()
	return l, nil
}

// readNative reads jemalloc's part. It is zero if jemalloc is not linked.
func readNative() (native, error) {
	s, err := jemalloc.ReadStats() // also refreshes the statistics that are read below
	if errors.Is(err, jemalloc.ErrNotLinked) {
		return native{}, nil
	}
	if err != nil {
		return native{}, err
	}
	// What jemalloc allocates for itself in its own heap counts both as allocated and as
	// metadata. What threads have in their caches counts as allocated.
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
		if s.Value.Kind() == metrics.KindUint64 { // otherwise this Go version has no such metric
			v[i] = int64(s.Value.Uint64())
		}
	}
	heap, stacks := v[0]+v[1]+v[2], v[3]+v[4]
	return golang{heap: heap, stacks: stacks, runtime: max(0, v[6]-v[5]-heap-stacks)}
}

// readOwnResident reads the kernel's part. It allocates a page to have an address in Go's
// heap.
func readOwnResident() (resident, error) {
	inHeap := make([]byte, os.Getpagesize())
	defer runtime.KeepAlive(inHeap)
	return readResident(procSelf, uintptr(unsafe.Pointer(&inHeap[0])))
}
