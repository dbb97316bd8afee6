package agent

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Ways to build a program. Those without -trimpath share the standard library with the other
// programs here, which saves the time to compile it.
var (
	plain        = source{}
	strippedOnly = source{flags: []string{"-ldflags=-s -w"}}
	stripped     = source{flags: []string{"-trimpath", "-ldflags=-s -w"}}
	pie          = source{flags: []string{"-trimpath", "-buildmode=pie"}}
	smallest     = source{flags: []string{"-trimpath", "-buildmode=pie", "-ldflags=-s -w"}}
	race         = source{flags: []string{"-race"}}
	// Inlining of Go and optimization of C change what frames look like.
	unoptimized = source{env: []string{"CGO_CFLAGS=-O0 -g"}, flags: []string{"-gcflags=-N -l"}}
	pointers    = source{env: []string{"CGO_CFLAGS=-O3 -g0 -fno-omit-frame-pointer"}, flags: []string{"-ldflags=-w"}}
)

// TestStress makes stacks of many shapes at the same time, each allocation a sample, while
// the garbage collector runs all the time and goroutine stacks move. At the end the
// profile has to have exactly the stacks that were made, each as often as it was made, and
// the blocks that live.
func TestStress(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]source{
		"plain": plain, "stripped": strippedOnly, "pie": pie, "stripped pie": smallest, "race": race,
		"unoptimized": unoptimized, "frame pointers": pointers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testStress(t, way)
		})
	}
}

// TestStressWithSignals: the signals of Go's CPU profiler interrupt the agent anywhere.
func TestStressWithSignals(t *testing.T) {
	t.Parallel()
	testStress(t, plain, "-profiled")
}

// TestStressOfOlderGo is TestStress in programs that older releases of Go build.
func TestStressOfOlderGo(t *testing.T) {
	t.Parallel()
	for _, release := range older {
		for name, way := range map[string]source{"stripped": stripped, "stripped pie": smallest} {
			way.toolchain = release
			t.Run(release+" "+name, func(t *testing.T) {
				t.Parallel()
				testStress(t, way)
			})
		}
	}
}

func testStress(t *testing.T, way source, args ...string) {
	way.dir = "stress"
	binary := way.build(t)
	checkBuild(t, way, binary)
	command := []string{binary, "-calls", "10000"}
	if calls := os.Getenv("MAGELLAN_STRESS_CALLS"); calls != "" {
		command[2] = calls
	}
	p := start(t, heapRun(t, everyBlock, append(command, args...)...))
	truth := readTruth(p)
	stacks := stacksOf(t, p.dump())
	truth.compare(t, stacks, binary)
	if truth.moves == 0 || truth.collections == 0 {
		t.Errorf("%d callbacks moved their goroutine's stack, and %d garbage collections ran", truth.moves, truth.collections)
	}
	status := p.status()
	for key, want := range map[string]string{"walks_cut": "0", "stacks_dropped": "0", "missed": "0", "unwinder": "c+go", "first": "yes", "state": "on"} {
		if status[key] != want {
			t.Errorf("%s is %q, want %q, in the status %v", key, status[key], want, status)
		}
	}
	t.Logf("%d stacks with %d samples; %d moves of a stack in a callback, %d garbage collections; status %v",
		len(stacks), total(stacks).calls, truth.moves, truth.collections, status)
}

// checkBuild checks that a program is what its flags say.
func checkBuild(t *testing.T, way source, binary string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags := strings.Join(way.flags, " ")
	if got, want := f.Section(".symtab") == nil, strings.Contains(flags, "-s "); got != want {
		t.Errorf("stripped is %v, want %v", got, want)
	}
	if got, want := f.Type == elf.ET_DYN, slices.Contains(way.flags, "-buildmode=pie"); got != want {
		t.Errorf("position-independent is %v, want %v", got, want)
	}
}

// TestInternalLinking: Go's own linker leaves out the unwind tables of C.
func TestInternalLinking(t *testing.T) {
	t.Parallel()
	for _, release := range append([]string{newest}, older...) {
		for name, flags := range map[string]string{"plain": "-linkmode=internal", "stripped": "-linkmode=internal -s -w"} {
			t.Run(strings.TrimSpace(release+" "+name), func(t *testing.T) {
				t.Parallel()
				binary := source{dir: "lookup", toolchain: release, flags: []string{"-trimpath", "-ldflags=" + flags}}.build(t)
				p := start(t, heapRun(t, everyBlock, binary))
				if f, err := elf.Open(binary); err != nil {
					t.Error(err)
				} else {
					if f.Section(".eh_frame") != nil {
						t.Error("the program has unwind tables, as those that the system's linker links")
					}
					f.Close()
				}
				p.line()
				stacks := stacksOf(t, p.dump())
				lookups := through(stacks, "main.main", "main.lookup", "os/user.LookupId")
				if total(lookups).calls < 50 {
					t.Errorf("%d allocations in 50 calls of main.lookup, in\n%v", total(lookups).calls, stacks)
				}
				for _, s := range lookups {
					for _, f := range s.frames {
						if strings.HasPrefix(f.name, "main.") && (filepath.Base(f.file) != "main.go" || f.line == 0) {
							t.Errorf("%v has the wrong line", f)
						}
					}
					inner := s.frames[len(s.frames)-1].name
					if !slices.Contains([]string{"malloc", "calloc", "realloc"}, inner) {
						t.Errorf("the innermost function is %s", inner)
					}
				}
				// Some calls that the runtime makes when it starts have no Go caller to be found.
				if walks, cut := p.number("walks"), p.number("walks_cut"); cut > walks/50 {
					t.Errorf("%d of %d stacks are cut: %v", cut, walks, p.status())
				}
			})
		}
	}
}
