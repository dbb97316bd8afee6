package client

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Goroutines is how many read at the same time in a Fill.
const Goroutines = 64

// Result is what a client that fills itself prints, as JSON. The time it takes to
// connect does not count.
type Result struct {
	Reads      int64
	Bytes      int64 // of data
	Seconds    float64
	CPUSeconds float64 // of the client
}

// Paths reads a file with a path in each line.
func Paths(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var paths []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		paths = append(paths, lines.Text())
	}
	return paths, lines.Err()
}

// Fill reads each znode once, as many at a time as there are Goroutines. read returns
// the bytes of one.
func Fill(paths []string, read func(path string) (bytes int, err error)) (Result, error) {
	var next atomic.Int64
	return Time(Goroutines, func(r *Result) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(paths) {
				return nil
			}
			n, err := read(paths[i])
			if err != nil {
				return fmt.Errorf("%s: %w", paths[i], err)
			}
			r.Reads++
			r.Bytes += int64(n)
		}
	})
}

// Time runs read in a number of goroutines and adds up what they have read.
func Time(goroutines int, read func(*Result) error) (Result, error) {
	results, errs := make([]Result, goroutines), make([]error, goroutines)
	start, cpu := time.Now(), ownCPU()
	var readers sync.WaitGroup
	for i := range goroutines {
		readers.Go(func() { errs[i] = read(&results[i]) })
	}
	readers.Wait()
	sum := Result{Seconds: time.Since(start).Seconds(), CPUSeconds: (ownCPU() - cpu).Seconds()}
	for i, r := range results {
		if errs[i] != nil {
			return Result{}, errs[i]
		}
		sum.Reads += r.Reads
		sum.Bytes += r.Bytes
	}
	return sum, nil
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it fails for a wrong argument only
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
