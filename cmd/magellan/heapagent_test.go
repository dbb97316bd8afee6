package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"magellan/cgo/agent"
)

func init() {
	commands["started"] = cmdStarted
	commands["running"] = cmdRunning
}

// TestScriptAgent starts programs under the agent and looks at them.
func TestScriptAgent(t *testing.T) {
	if _, err := agent.Library(); err != nil {
		if os.Getenv("CI") == "true" && runtime.GOARCH == "amd64" { // it is not written for others
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	program := func(name, source string, cgo string, flags ...string) string {
		out := filepath.Join(dir, name)
		cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, "./testdata/"+source)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "CGO_CFLAGS=-O2 -g", "CGO_LDFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, text)
		}
		return out
	}
	programs := map[string]string{
		"LEAKY":    program("leaky", "leaky", "1"),
		"STRIPPED": program("stripped", "leaky", "1", "-trimpath", "-buildmode=pie", "-ldflags=-s -w"),
		"STATIC":   program("static", "leaky", "1", "-ldflags=-linkmode=external -extldflags=-static"),
		"PURE":     program("pure", "pure", "0"),
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/agent", Cmds: commands, UpdateScripts: *update, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for name, path := range programs {
				env.Setenv(name, path)
			}
			env.Setenv("MAGELLAN_HEAP_TIMEOUT", patience.String())
			env.Setenv("MAGELLAN_HEAP_PS_TIMEOUT", patience.String())
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "namespaces" {
				return exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "true").Run() == nil, nil
			}
			return false, fmt.Errorf("no condition %s", name)
		},
	})
}

// started FILE waits for the file and sets PID to the number in it.
func cmdStarted(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "started FILE")
	var text []byte
	poll(ts, "no process number", func() (err error) {
		text, err = os.ReadFile(ts.MkAbs(args[0]))
		return err
	})
	ts.Setenv("PID", string(text))
}

// running PROGRAM waits for a process whose program has this path, and sets PID to its number.
func cmdRunning(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "running PROGRAM")
	poll(ts, "no such process", func() error {
		links, err := filepath.Glob("/proc/[0-9]*/exe")
		ts.Check(err)
		for _, link := range links {
			if path, err := os.Readlink(link); err == nil && path == args[0] {
				ts.Setenv("PID", filepath.Base(filepath.Dir(link)))
				return nil
			}
		}
		return fmt.Errorf("none of %d", len(links))
	})
}

func TestDescribeAgent(t *testing.T) {
	s := agent.Status{
		Version: "1369f28e497c3275", Sample: 512 << 10, Active: true, LiveObjects: 37, LiveBytes: 370000, LiveEstimate: 19 << 20, Objects: 40, Stacks: 3,
		OwnBytes: 2 << 20, Unwinder: "c+go", Malloc: "/lib/libc.so.6", First: true, Entered: "preload", Walks: 40,
	}
	describe := func(p *agent.Program) string {
		var out bytes.Buffer
		describeAgent(&out, 12, p, &s)
		return out.String()
	}
	want := `program   /shop (go1.26.1), process 12
agent     version 1369f28e497c3275, came into the process when the program was started (LD_PRELOAD), uses about 2.0MiB itself
sampling  on: one allocation in each 512KiB
C holds   ~19.0MiB, estimated from the samples
samples   37 live (361.3KiB) of 40 that were taken; different stacks: 3
stacks    C and Go functions
malloc    that of /lib/libc.so.6
limits    none: the agent sees all allocations that are made by malloc and its like
`
	if got := describe(&agent.Program{Path: "/shop", GoVersion: "go1.26.1"}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.Active, s.First, s.FirstOther, s.Missed, s.StacksDropped, s.WalksCut = false, false, "/lib/libtcmalloc.so", 2, 5, 4
	s.Unwinder, s.UnwinderReason, s.Sample = "c", "Go 1.19 is not known", 1
	s.WalkReasons = map[string]int64{"slots": 1, "frame": 3, "order": 0}
	got := describe(nil)
	for _, want := range []string{
		"\nsampling  off; when it is on, it takes each allocation\n", "\nstacks    C functions only, because Go 1.19 is not known\n",
		"\nlimits    calls of malloc go to /lib/libtcmalloc.so and not to the agent", "\nlimits    sampling is off:", "\nlimits    2 samples are missing",
		"\nlimits    5 stacks that hold nothing were dropped", "\nlimits    4 of 40 stacks do not reach the start of their thread or goroutine (frame 3, slots 1)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.HasPrefix(got, "program ") || strings.Contains(got, "none:") {
		t.Errorf("got\n%s", got)
	}
}
