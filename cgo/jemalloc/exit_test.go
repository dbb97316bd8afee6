//go:build !asan

package jemalloc_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/memtest"
)

// The child leaks, writes our report to stdout, then ends by way of C's exit, which
// makes jemalloc write its own to stderr. They have to be the same, byte by byte.
func TestExitReportIsJemallocs(t *testing.T) {
	const mode = "JEMALLOC_TEST_EXIT"
	if os.Getenv(mode) != "" {
		for range 3000 {
			memtest.Calloc(5000)
		}
		report, err := jemalloc.ConfiguredExitReport(os.Stdout)
		if err == nil {
			_, err = report.Write()
		}
		if err != nil {
			t.Fatal(err)
		}
		memtest.ExitFromC()
	}
	for _, rate := range []string{"19", "12", "0"} {
		t.Run("lg_prof_sample:"+rate, func(t *testing.T) {
			dir := t.TempDir()
			prefix := filepath.Join(dir, "leak")
			child := exec.Command(os.Args[0], "-test.run=^TestExitReportIsJemallocs$")
			child.Env = append(os.Environ(), mode+"=1",
				"MALLOC_CONF=prof_leak:true,prof_final:true,prof_unbias:false,lg_prof_sample:"+rate+",prof_prefix:"+prefix)
			var stdout, stderr bytes.Buffer
			child.Stdout, child.Stderr = &stdout, &stderr
			if err := child.Run(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, &stdout, &stderr)
			}
			line := regexp.MustCompile(`^<jemalloc>: Leak approximation summary: ~\d+ bytes, ~\d+ objects, >= \d+ contexts?\n<jemalloc>: Run jeprof on dump output for leak detail\n$`)
			if ours, theirs := stdout.String(), stderr.String(); ours != theirs || !line.MatchString(ours) {
				t.Errorf("our report:\n%sjemalloc's own:\n%s", ours, theirs)
			}
			dumps, err := filepath.Glob(prefix + ".*.f.heap")
			if err != nil || len(dumps) == 0 {
				t.Fatalf("no dump of the name jemalloc gives its own: %v", err)
			}
			for _, name := range dumps {
				dump, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := parseStacks(dump); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// A disk that takes no dump does not take the summary away.
func TestExitReportWithoutDisk(t *testing.T) {
	block := memtest.Calloc(64 * mib) // so large that it is sampled for certain
	defer block.Free()
	var summary bytes.Buffer
	report := jemalloc.ExitReport{Summary: &summary, Dump: filepath.Join(t.TempDir(), "missing", "last.heap")}
	leaks, err := report.Write()
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
	if leaks.Bytes < 64*mib || leaks.Objects == 0 || leaks.Contexts == 0 || summary.String() != leaks.String() {
		t.Errorf("%+v, %q", leaks, &summary)
	}
}

func TestExitReportNotAskedFor(t *testing.T) {
	if leaks, err := (jemalloc.ExitReport{}).Write(); err != nil || leaks != (jemalloc.LeakSummary{}) {
		t.Errorf("Write() = %+v, %v", leaks, err)
	}
	report, err := jemalloc.ConfiguredExitReport(os.Stderr)
	if strings.Contains(os.Getenv("MALLOC_CONF"), "prof_") {
		t.Skip("MALLOC_CONF may ask for a report")
	}
	if err != nil || report != (jemalloc.ExitReport{}) {
		t.Errorf("ConfiguredExitReport() = %+v, %v", report, err)
	}
}
