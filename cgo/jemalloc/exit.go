package jemalloc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
)

// ExitReport does what jemalloc would do when the process ends. jemalloc registers its
// report with atexit, whose functions Go never runs: neither when main returns nor in
// os.Exit. So a program calls Write as the last thing before it ends.
type ExitReport struct {
	// Summary gets the two lines on memory that was not freed which jemalloc writes to
	// stderr under prof_leak:true. nil: no summary.
	Summary io.Writer
	// Dump is the file that the last heap profile is written to, as by
	// prof_final:true. Empty: no dump.
	Dump string
}

// LeakSummary is the memory that was not freed, estimated from the samples.
type LeakSummary struct {
	Bytes    uint64 // in size classes
	Objects  uint64
	Contexts uint64 // stacks that have a sample; there may be more stacks
}

// ConfiguredExitReport is the report that MALLOC_CONF asks for: a summary to
// stderr under prof_leak:true, and under prof_leak:true or prof_final:true a dump
// to PREFIX.PID.SEQ.f.heap, where PREFIX is prof_prefix ("jeprof" in the working
// directory by default, and none if empty) and SEQ the first number that is free.
// If MALLOC_CONF asks for neither, the report is the zero value, which does nothing.
func ConfiguredExitReport(stderr io.Writer) (ExitReport, error) {
	var r ExitReport
	if err := profiling(); errors.Is(err, ErrProfilingOff) {
		return r, nil
	} else if err != nil {
		return r, err
	}
	leak, err := Read[bool]("opt.prof_leak")
	if err != nil {
		return r, err
	}
	final, err := Read[bool]("opt.prof_final")
	if err != nil {
		return r, err
	}
	prefix, err := ReadString("opt.prof_prefix")
	if err != nil {
		return r, err
	}
	if leak {
		r.Summary = stderr
	}
	if (leak || final) && prefix != "" {
		r.Dump, err = unusedName(prefix)
	}
	return r, err
}

func unusedName(prefix string) (string, error) {
	for seq := 0; ; seq++ {
		name := fmt.Sprintf("%s.%d.%d.f.heap", prefix, os.Getpid(), seq)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", fmt.Errorf("jemalloc: name for the last heap profile: %w", err)
		}
	}
}

// Write takes one heap profile and makes the report of it. Like jemalloc's own report,
// it counts all memory in use, also what a running program needs. So stop first what
// still allocates, and run the garbage collector if finalizers or cleanups free C
// memory. If the dump cannot be written, the summary still is.
//
// The estimate is computed as jemalloc does, from the totals of the profile and the
// mean size of all objects. Under prof_unbias:true, the default, jemalloc corrects the
// totals of a profile for objects of different sizes, but not those of its own report.
// Then the two differ by a few percent. Under prof_unbias:false they are equal.
func (r ExitReport) Write() (LeakSummary, error) {
	if r.Summary == nil && r.Dump == "" {
		return LeakSummary{}, nil
	}
	f, err := dump()
	if err != nil {
		return LeakSummary{}, err
	}
	defer f.Close()
	return r.WriteOf(f)
}

// WriteOf makes the report of a heap profile that was taken before. It reads profile
// from its start.
func (r ExitReport) WriteOf(profile io.ReadSeeker) (LeakSummary, error) {
	leaks, err := readLeakSummary(profile)
	if err == nil && r.Summary != nil {
		if _, werr := io.WriteString(r.Summary, leaks.String()); werr != nil {
			err = fmt.Errorf("jemalloc: write the leak summary: %w", werr)
		}
	}
	if r.Dump != "" {
		if _, serr := profile.Seek(0, io.SeekStart); serr != nil {
			return leaks, errors.Join(err, serr)
		}
		err = errors.Join(err, writeFile(r.Dump, profile))
	}
	return leaks, err
}

// String returns what jemalloc prints (prof_leakcheck). It is empty if no memory is in
// use.
func (l LeakSummary) String() string {
	if l.Bytes == 0 {
		return ""
	}
	return fmt.Sprintf("<jemalloc>: Leak approximation summary: ~%d byte%s, ~%d object%s, >= %d context%s\n"+
		"<jemalloc>: Run jeprof on dump output for leak detail\n",
		l.Bytes, plural(l.Bytes), l.Objects, plural(l.Objects), l.Contexts, plural(l.Contexts))
}

func plural(n uint64) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// readLeakSummary reads a heap profile up to its list of mapped libraries:
//
//	heap_v2/524288
//	  t*: 2: 1048592 [0: 0]
//	  t0: 2: 1048592 [0: 0]
//	@ 0x401234 0x405678
//	  t*: 1: 16 [0: 0]
//	  t0: 1: 16 [0: 0]
//	@ ...
//
// The first t* line is the total. Each later t* line belongs to the stack above it.
func readLeakSummary(r io.Reader) (LeakSummary, error) {
	lines := bufio.NewReader(r)
	var period, objects, bytes, contexts uint64
	for stacks := -1; ; {
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return LeakSummary{}, fmt.Errorf("jemalloc: read the heap profile: %w", err)
		}
		switch {
		case strings.HasPrefix(line, "heap_v2/"):
			_, err = fmt.Sscanf(line, "heap_v2/%d", &period)
		case strings.HasPrefix(line, "  t*:"):
			var n, size uint64
			_, err = fmt.Sscanf(line, "  t*: %d: %d", &n, &size)
			if stacks++; stacks == 0 {
				objects, bytes = n, size
			} else if n != 0 {
				contexts++
			}
		}
		if err == io.EOF || line == "MAPPED_LIBRARIES:\n" {
			break
		}
		if err != nil {
			return LeakSummary{}, fmt.Errorf("jemalloc: heap profile of an unknown form: line %q: %w", line, err)
		}
	}
	if period == 0 {
		return LeakSummary{}, errors.New("jemalloc: heap profile of an unknown form: it does not begin with heap_v2/")
	}
	if bytes == 0 {
		return LeakSummary{}, nil
	}
	scale := 1 / (1 - math.Exp(-float64(bytes)/float64(objects)/float64(period)))
	return LeakSummary{
		Bytes:    uint64(math.Round(float64(bytes) * scale)),
		Objects:  uint64(math.Round(float64(objects) * scale)),
		Contexts: contexts,
	}, nil
}
