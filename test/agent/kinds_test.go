package agent

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCxx: C++ allocates by operator new, and its exceptions unwind the stack as the agent
// does.
func TestCxx(t *testing.T) {
	t.Parallel()
	p := start(t, heapRun(t, everyBlock, source{dir: "cxx"}.build(t)))
	if got := p.line(); got != "caught 20000" {
		t.Fatalf("it prints %q", got)
	}
	stacks := stacksOf(t, p.dump())
	records := slices.DeleteFunc(through(stacks, "operator new", "shop::cache::put", "shop_put", "main.put", "main.main", "runtime.goexit"),
		func(s stack) bool { return s.live == 0 || s.liveBytes/s.live != 1008 })
	if got := total(records); got.live != 1000 || got.calls != 1000 {
		t.Errorf("%d records live of %d, want 1000 of 1000, in%v", got.live, got.calls, stacks)
	}
	thrown := through(stacks, "__cxa_allocate_exception", "shop_throw", "main.throw", "runtime.goexit")
	if got := total(thrown); got.live != 0 || got.calls != 20_000 {
		t.Errorf("%d exceptions live of %d, want 0 of 20000, in%v", got.live, got.calls, stacks)
	}
}

// TestLibraryForOthers: Go may be in a library of a program that is not written in Go. There the
// agent changes nothing.
func TestLibraryForOthers(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	library := source{dir: "shared", flags: []string{"-buildmode=c-shared"}}.build(t)
	code := fmt.Sprintf("import ctypes\nprint(ctypes.CDLL(%q).Sum(20000))", library)
	for _, cmd := range []*exec.Cmd{exec.Command(python, "-c", code), heapRun(t, everyBlock, python, "-c", code)} {
		if got := outcomeOf(t, cmd); got != (outcome{"160000\n", "", "exit status 0"}) {
			t.Errorf("%v: %+v", cmd.Args, got)
		}
	}
}

// TestPlugin: a plugin's Go code lies elsewhere than the program's. Its stacks may end there, but
// have no wrong names.
func TestPlugin(t *testing.T) {
	t.Parallel()
	plugin := source{dir: "plugins/plugin", flags: []string{"-buildmode=plugin"}}.build(t)
	p := start(t, heapRun(t, everyBlock, source{dir: "plugins"}.build(t), plugin))
	if got := p.line(); got != "<nil>" {
		t.Fatalf("the plugin: %s", got)
	}
	kept := through(stacksOf(t, p.dump()), "plugin_keep")
	if got := total(kept); got.live != 100 {
		t.Errorf("%d blocks live, want 100", got.live)
	}
	for _, s := range kept {
		for _, f := range s.frames {
			if strings.HasPrefix(f.name, "main.") && f.name != "main.main" && f.name != "main.call" ||
				strings.Contains(f.name, "plugin") && f.mapping != plugin && f.name != "plugin_keep" {
				t.Errorf("%v is wrong, in%v", f, s)
			}
		}
	}
	t.Logf("a stack of the plugin:%v", kept)
}

// TestUnknownGo: the stacks of a program of an older release end where Go begins, and the status
// says why.
func TestUnknownGo(t *testing.T) {
	t.Parallel()
	p := start(t, heapRun(t, everyBlock, source{dir: "old", toolchain: "go1.19.13"}.build(t)))
	if got := p.line(); got != "ready" {
		t.Fatalf("it prints %q", got)
	}
	if s := p.status(); s["unwinder"] != "c" || !strings.Contains(s["unwinder_reason"], "a Go version that is unknown") {
		t.Errorf("the status is %v", s)
	}
	if got := total(through(stacksOf(t, p.dump()), "old_keep")); got.live != 100 || got.liveBytes != 100*1008 {
		t.Errorf("%d blocks of %d bytes live, want 100 of %d", got.live, got.liveBytes, 100*1008)
	}
}
