// Command stress allocates C memory from stacks that are known exactly: Go and C in
// turns, on goroutines and on threads made by C, while the garbage collector runs all the
// time and goroutine stacks move under the feet of C. Then it prints which stacks it has
// made and how often, and waits until its standard input is closed:
//
//	pid PID
//	function NAME START END          a C function, and the range of its code
//	stack CALLS LIVE SIZE NAMES      as the last field, outermost first, with ; between them
//	moves N                          how often a callback moved its goroutine's stack
//	collections N                    how often the garbage collector ran
//	end
//
// It is written in the language of Go 1.20, so that old toolchains build it too.
package main

// #include "stress.h"
import "C"

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
)

func main() {
	calls := flag.Int("calls", 20000, "how many stacks are made")
	count := flag.Int("plans", 400, "how many different stacks are made")
	seed := flag.Int64("seed", 1, "chooses the stacks")
	workers := flag.Int("workers", 64, "how many are made at the same time")
	profiled := flag.Bool("profiled", false, "have the signals of the CPU profiler meanwhile")
	flag.Parse()
	debug.SetGCPercent(5)
	if *profiled {
		runtime.SetCPUProfileRate(1000)
	}

	plans := makePlans(*count, rand.New(rand.NewSource(*seed)))
	made := make([]atomic.Int64, len(plans))
	var next atomic.Int64
	var running sync.WaitGroup
	for w := 0; w < *workers; w++ {
		draw := rand.New(rand.NewSource(*seed + int64(w)))
		running.Add(1)
		go func() {
			defer running.Done()
			for {
				// Each plan once, then any.
				i := int(next.Add(1)) - 1
				if i >= *calls {
					return
				}
				if i >= len(plans) {
					i = draw.Intn(len(plans))
				}
				made[i].Add(1)
				done := make(chan struct{})
				go run(plans[i], i, done)
				<-done
			}
		}()
	}
	running.Wait()
	runtime.SetCPUProfileRate(0)
	report(plans, made)
	// The test closes it when it has the dump.
	io.Copy(io.Discard, os.Stdin)
}

func report(plans []plan, made []atomic.Int64) {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	fmt.Fprintln(out, "pid", os.Getpid())
	for i := C.int(0); ; i++ {
		var start, end C.uintptr_t
		name := C.st_function(i, &start, &end)
		if name == nil {
			break
		}
		fmt.Fprintf(out, "function %s %#x %#x\n", C.GoString(name), uint64(start), uint64(end))
	}
	live := make([]C.uint64_t, len(plans))
	C.st_live(&live[0], C.uint32_t(len(plans)))
	for i, p := range plans {
		for _, a := range p.allocations() {
			n := live[i]
			if !a.last {
				n = 0
			}
			fmt.Fprintln(out, "stack", made[i].Load(), n, a.size, strings.Join(append(p.names(), a.leaf, a.function), ";"))
		}
	}
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	fmt.Fprintln(out, "moves", moved.Load())
	fmt.Fprintln(out, "collections", gc.NumGC)
	fmt.Fprintln(out, "end")
}
