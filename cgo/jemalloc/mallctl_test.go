//go:build !asan

package jemalloc_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/memtest"
)

func TestConfigurationIsCompiledIn(t *testing.T) {
	if os.Getenv("MALLOC_CONF") != "" {
		t.Skip("MALLOC_CONF overrides what this test looks at: unset it")
	}
	for name, want := range map[string]bool{
		"opt.prof":                 true,
		"opt.prof_accum":           true,
		"opt.prof_sys_thread_name": true,
		"prof.active":              true,
		"background_thread":        true,
	} {
		if got, err := jemalloc.Read[bool](name); err != nil || got != want {
			t.Errorf("%s = %v, %v; want %v", name, got, err, want)
		}
	}
	if got, err := jemalloc.Read[uintptr]("prof.lg_sample"); err != nil || got != 19 {
		t.Errorf("prof.lg_sample = %v, %v; want 19", got, err)
	}
	if got, err := jemalloc.Read[uintptr]("max_background_threads"); err != nil || got != 1 {
		t.Errorf("max_background_threads = %v, %v; want 1", got, err)
	}
}

// MALLOC_CONF works only when a process starts: this test is that process, too.
func TestMallocConfOverrides(t *testing.T) {
	if os.Getenv("JEMALLOC_TEST_CHILD") == "1" {
		prof, err := jemalloc.Read[bool]("opt.prof")
		if err != nil || prof {
			t.Errorf("opt.prof = %v, %v under MALLOC_CONF=prof:false", prof, err)
		}
		if err := jemalloc.Check(); err != nil {
			t.Errorf("profiling switched off is a choice, not an error: %v", err)
		}
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestMallocConfOverrides$", "-test.v")
	child.Env = append(os.Environ(), "JEMALLOC_TEST_CHILD=1", "MALLOC_CONF=prof:false,prof_active:false")
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestMallocConfOverrides") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestReadWriteCall(t *testing.T) {
	before, err := jemalloc.Read[int]("arenas.dirty_decay_ms")
	if err != nil {
		t.Fatal(err)
	}
	if err := jemalloc.Write("arenas.dirty_decay_ms", before+1); err != nil {
		t.Fatal(err)
	}
	if after, err := jemalloc.Read[int]("arenas.dirty_decay_ms"); err != nil || after != before+1 {
		t.Errorf("wrote %d, read %d, %v", before+1, after, err)
	}
	if err := jemalloc.Write("arenas.dirty_decay_ms", before); err != nil {
		t.Error(err)
	}
	if n, err := jemalloc.Read[uint32]("arenas.narenas"); err != nil || n == 0 {
		t.Errorf("arenas.narenas = %d, %v", n, err)
	}
	if err := jemalloc.Call("thread.tcache.flush"); err != nil {
		t.Error(err)
	}
	if dss, err := jemalloc.ReadString("opt.dss"); err != nil || dss == "" {
		t.Errorf("opt.dss = %q, %v", dss, err)
	}
	if err := jemalloc.WriteString("arena.0.dss", "secondary"); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	_, unknown := jemalloc.Read[bool]("no.such.control")
	_, wrongSize := jemalloc.Read[bool]("arenas.narenas")
	for _, c := range []struct {
		name  string
		err   error
		errno syscall.Errno
		says  string
	}{
		{"unknown", unknown, syscall.ENOENT, "read no.such.control"},
		{"wrong size", wrongSize, syscall.EINVAL, "read arenas.narenas"},
		{"read only", jemalloc.Write("config.prof", true), syscall.EPERM, "write config.prof"},
		{"not callable", jemalloc.Call("no.such.call"), syscall.ENOENT, "call no.such.call"},
		{"string", jemalloc.WriteString("version", "6"), syscall.EPERM, "write version"},
	} {
		var e *jemalloc.Error
		if !errors.As(c.err, &e) || !errors.Is(c.err, c.errno) || !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("%s: %v; want %v from %q", c.name, c.err, c.errno, c.says)
		}
		if errors.Is(c.err, jemalloc.ErrNotLinked) {
			t.Errorf("%s: %v claims that jemalloc is not linked", c.name, c.err)
		}
	}
}

func TestStats(t *testing.T) {
	block := memtest.Calloc(64 * mib)
	defer block.Free()
	s := readStats(t)
	if s.Allocated < 64*mib || s.Active < 64*mib || s.Mapped < s.Active || s.Resident == 0 || s.Metadata == 0 {
		t.Errorf("with 64 MiB in use: %+v", s)
	}
}

func BenchmarkReadStats(b *testing.B) {
	for b.Loop() {
		if _, err := jemalloc.ReadStats(); err != nil {
			b.Fatal(err)
		}
	}
}
