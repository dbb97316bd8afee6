//go:build !asan

package jemalloc_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/memtest"
	"magellan/cgo/jemalloc/internal/stitchtest"
)

func TestDumpIsComplete(t *testing.T) {
	var dump bytes.Buffer
	if err := jemalloc.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	if text := dump.String(); !strings.HasPrefix(text, "heap_v2/") || !strings.Contains(text, "\nMAPPED_LIBRARIES:\n") {
		t.Errorf("%d bytes: %.100q...", len(text), text)
	}
	if _, err := parseStacks(dump.Bytes()); err != nil {
		t.Error(err)
	}
}

// Dumps at once, while memory is allocated: each is whole, and no file is left open.
func TestDumpsAtOnce(t *testing.T) {
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := files()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			block := memtest.Calloc(2 * mib)
			defer block.Free()
			var dump bytes.Buffer
			if err := jemalloc.Dump(&dump); err != nil {
				t.Error(err)
			} else if _, err := parseStacks(dump.Bytes()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if after := files(); after > before {
		t.Errorf("%d files were open, now %d are", before, after)
	}
}

type stuck struct{ entered, released chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	close(s.entered)
	<-s.released
	return 0, errors.New("the reader went away")
}

// Whoever reads slowly, or not at all, keeps nobody else from a dump.
func TestDumpDoesNotWaitForSlowReaders(t *testing.T) {
	slow := stuck{make(chan struct{}), make(chan struct{})}
	result := make(chan error)
	go func() { result <- jemalloc.Dump(slow) }()
	<-slow.entered
	if err := jemalloc.Dump(new(bytes.Buffer)); err != nil {
		t.Error(err)
	}
	close(slow.released)
	if err := <-result; err == nil || !strings.Contains(err.Error(), "the reader went away") {
		t.Errorf("the error of the reader is %v", err)
	}
}

func TestDumpFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "last.heap")
	for range 2 { // the second replaces the first
		if err := jemalloc.DumpFile(path); err != nil {
			t.Fatal(err)
		}
	}
	dump, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseStacks(dump); err != nil {
		t.Error(err)
	}
	expectFiles(t, dir, "last.heap")

	if err := jemalloc.DumpFile(filepath.Join(dir, "missing", "x.heap")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into a directory that is not there: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := jemalloc.DumpFile(filepath.Join(dir, "taken")); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("over a directory: %v", err)
	}
	expectFiles(t, dir, "last.heap", "taken") // and nothing half written
}

func TestDumpFileOnFullDisk(t *testing.T) {
	// A file system that is full needs root; one that refuses is everywhere.
	if err := jemalloc.DumpFile("/proc/last.heap"); err == nil || !strings.Contains(err.Error(), "heap profile") {
		t.Errorf("DumpFile in /proc: %v", err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	if err := jemalloc.Dump(full); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("Dump to /dev/full: %v", err)
	}
}

func expectFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("the directory holds %v, want %v", got, want)
	}
}

// What is allocated while sampling is off is not seen; the rest is.
func TestSetActive(t *testing.T) {
	if !inChild(t, everySample) {
		return
	}
	seen := func(on bool, goFrames uint8) bool {
		t.Helper()
		if err := jemalloc.SetActive(on); err != nil {
			t.Fatal(err)
		}
		if active, err := jemalloc.Active(); err != nil || active != on {
			t.Fatalf("Active() = %v, %v after SetActive(%v)", active, err, on)
		}
		plan := stitchtest.Plan{Steps: []stitchtest.Step{{Go: goFrames}}}
		plan.Run(128)
		for _, s := range dumpStacks(t) {
			if slices.Equal(stitchtest.Known(stitchtest.Names(s.pcs)), plan.Names()) {
				return true
			}
		}
		return false
	}
	if !seen(true, 1) || seen(false, 2) || !seen(true, 3) {
		t.Error("sampling does not follow SetActive")
	}
}

func TestProfilingOff(t *testing.T) {
	if !inChild(t, "prof:false") {
		return
	}
	if active, err := jemalloc.Active(); active || err != nil {
		t.Errorf("Active() = %v, %v", active, err)
	}
	if err := jemalloc.SetActive(false); err != nil {
		t.Errorf("SetActive(false), which it is: %v", err)
	}
	for name, err := range map[string]error{
		"SetActive(true)": jemalloc.SetActive(true),
		"Dump":            jemalloc.Dump(new(bytes.Buffer)),
		"DumpFile":        jemalloc.DumpFile(filepath.Join(t.TempDir(), "x")),
	} {
		if !errors.Is(err, jemalloc.ErrProfilingOff) {
			t.Errorf("%s: %v, want ErrProfilingOff", name, err)
		}
	}
	if report, err := jemalloc.ConfiguredExitReport(os.Stderr); err != nil || report != (jemalloc.ExitReport{}) {
		t.Errorf("ConfiguredExitReport() = %+v, %v", report, err)
	}
}

func BenchmarkDump(b *testing.B) {
	var dump bytes.Buffer
	for b.Loop() {
		dump.Reset()
		if err := jemalloc.Dump(&dump); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(dump.Len()), "bytes")
	runtime.KeepAlive(&dump)
}
