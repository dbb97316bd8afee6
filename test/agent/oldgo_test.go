package agent

import (
	"debug/buildinfo"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnknownGo: of a release of Go that the agent does not know, magellan does not start the
// program, or the agent has stacks of C and gives the reason.
func TestUnknownGo(t *testing.T) {
	t.Parallel()
	// The module proxy has no complete toolchains that are so old, but systems have programs:
	// Debian 12 builds its own with Go 1.19.
	const program = "/usr/bin/containerd"
	info, err := buildinfo.ReadFile(program)
	if err != nil || !strings.HasPrefix(info.GoVersion, "go1.1") {
		t.Skipf("%s is no program of a Go before 1.20 here", program)
	}
	version := heapRun(t, everyBlock, program, "--version")
	switch got := outcomeOf(t, version); {
	case got == outcomeOf(t, exec.Command(program, "--version")):
	case got.ended == "exit status 1" && strings.HasPrefix(got.stderr, "magellan: ") && strings.Contains(got.stderr, "1.20"):
		return // it is refused
	default:
		t.Fatalf("%+v", got)
	}
	needRoot(t)
	dir := t.TempDir()
	p := start(t, heapRun(t, everyBlock, program, "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"),
		"--address", filepath.Join(dir, "socket")))
	defer p.kill()
	eventually(t, "it has an agent", func() error {
		_, err := socketOf(p.pid)
		return err
	})
	if status := p.status(); status["unwinder"] != "c" || !strings.Contains(status["unwinder_reason"], "Go") {
		t.Errorf("status %v", status)
	}
	p.dump()
}
