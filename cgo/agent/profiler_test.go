package agent

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// place is a return address in this function, and its number is n.
func place(n int) uint64 {
	return uint64(reflect.ValueOf(place).Pointer()) + 1 + uint64(n)
}

// fakeProfile answers as the agent of this process would, with one stack in Go code, which
// holds more from dump to dump.
func fakeProfile(t *testing.T, growing *int, state string) *fake {
	held := 1 << 20
	return serve(t, func(request string) ([]string, error) {
		word, rest, _ := strings.Cut(request, " ")
		switch word {
		case "status":
			start, end := heapprof.GoText()
			return []string{"ok", fmt.Sprintf("protocol 1\nstate %s\nsample 1024\nunwinder c+go\nfirst yes\ngo_text %#x-%#x\n", state, start, end)}, nil
		case "dump":
			maps, err := os.ReadFile("/proc/self/maps")
			count := fmt.Sprintf("  t*: 1: %d [1: %d]\n", held, held)
			held += *growing // from dump to dump
			return []string{"ok", "heap_v2/1024\n", count, fmt.Sprintf("@ %#x %#x\n", place(0), place(1)), count, "\nMAPPED_LIBRARIES:\n" + string(maps)}, err
		case "libraries":
			return []string{"ok", "more no\n"}, nil
		case "names":
			frames := []string{"ok"}
			for _, pc := range strings.Fields(rest) {
				n, _ := strconv.ParseUint(pc, 0, 64)
				frames = append(frames, fmt.Sprintf("%s\n\tmain.inlined\t/src/in.go\t7\n\tmain.at%d\t/src/main.go\t12\n", pc, n-place(0)))
			}
			return frames, nil
		}
		return nil, io.ErrUnexpectedEOF
	})
}

func TestProfiler(t *testing.T) {
	growing := 0
	f := fakeProfile(t, &growing, "off")
	p, err := NewProfiler(t.Context(), findSelf(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Profile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := got.CheckValid(); err != nil {
		t.Error(err)
	}
	if want := []string{"main.inlined in.go:7", "main.at0 main.go:12", "main.inlined in.go:7", "main.at1 main.go:12"}; !slices.Equal(stack(t, got), want) {
		t.Errorf("stack %q, want %q", stack(t, got), want)
	}
	if v := got.Sample[0].Value[heapprof.InuseSpace]; v != 1<<20 {
		t.Errorf("%d bytes", v)
	}
	comments := strings.Join(got.Comments, "\n")
	for _, want := range []string{"of process " + strconv.Itoa(os.Getpid()) + ",", "stacks: c+go\n", "one allocation in each 1.0KiB is sampled", "sampling is off"} {
		if !strings.Contains(comments, want) {
			t.Errorf("no %q in\n%s", want, comments)
		}
	}
	// What is known is not asked again.
	change, err := p.Change(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(change.Comments[0], "what changed from ") || len(change.Sample) > 0 {
		t.Errorf("nothing has changed, but: %v", change)
	}
	growing = 1 << 10
	if change, err = p.Change(t.Context(), 1); err != nil || change.Sample[0].Value[heapprof.InuseSpace] != 1<<10 {
		t.Errorf("1 KiB more: %v, %v", change, err)
	}
	names := slices.DeleteFunc(f.asked(), func(request string) bool { return !strings.HasPrefix(request, "names") })
	if len(names) != 1 {
		t.Errorf("asked for names: %q", names)
	}
}

// TestProfilerAsks: the agent is asked for all addresses in Go code, and for each only once,
// also if it does not know it.
func TestProfilerAsks(t *testing.T) {
	f := serve(t, func(request string) ([]string, error) {
		if request == "status" {
			return []string{"ok", "protocol 1\ngo_text 0x1000-0x2000\n"}, nil
		}
		return []string{"ok"}, nil
	})
	p, err := NewProfiler(t.Context(), findSelf(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.ask(t.Context(), []uint64{0xfff, 0x1000, 0x1001, 0x2000, 0x2001}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"status", "names 0x1001 0x2000"}; !slices.Equal(f.asked(), want) {
		t.Errorf("requests %q, want %q", f.asked(), want)
	}
}

// TestProfilerOtherRate: the rate changes between two profiles.
func TestProfilerOtherRate(t *testing.T) {
	rate := 1024
	serve(t, func(request string) ([]string, error) {
		switch request {
		case "status":
			return []string{"ok", fmt.Sprintf("protocol 1\nsample %d\n", rate)}, nil
		case "dump":
			rate *= 2
			return []string{"ok", fmt.Sprintf("heap_v2/%d\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n", rate)}, nil
		}
		return []string{"ok", "more no\n"}, nil
	})
	p, err := NewProfiler(t.Context(), findSelf(t))
	if err != nil {
		t.Fatal(err)
	}
	change, err := p.Change(t.Context(), 1)
	if err != nil || !strings.Contains(strings.Join(change.Comments, "\n"), "the sample rate was changed meanwhile") {
		t.Errorf("got %v, %v", change, err)
	}
}

// TestComments: a profile says what it does not have.
func TestComments(t *testing.T) {
	got := strings.Join(comments(7, &Status{Unwinder: "c", UnwinderReason: "no Go", FirstOther: "/lib/a.so", Missed: 3}, &heapprof.Dump{Rate: 1}), "\n")
	for _, want := range []string{"stacks: c: no Go\n", "calls of malloc go to /lib/a.so and not to the agent", "sampling is off", "3 samples are missing"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	got = strings.Join(comments(7, &Status{Unwinder: "c+go", First: true, Active: true}, &heapprof.Dump{Rate: 1}), "\n")
	if want := "native memory of process 7, by magellan's agent\nstacks: c+go"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// stack returns the frames of a profile's only sample.
func stack(t *testing.T, p *profile.Profile) (frames []string) {
	t.Helper()
	if len(p.Sample) != 1 {
		t.Fatalf("%d samples", len(p.Sample))
	}
	for _, l := range p.Sample[0].Location {
		for _, line := range l.Line {
			frames = append(frames, heapprof.Frame{Function: line.Function.Name, File: line.Function.Filename, Line: int(line.Line)}.String())
		}
	}
	return frames
}

// TestProfilerCut: a dump that lacks its end is none.
func TestProfilerCut(t *testing.T) {
	start, end := heapprof.GoText()
	serve(t, func(request string) ([]string, error) {
		if request == "status" {
			return []string{"ok", fmt.Sprintf("protocol 1\ngo_text %#x-%#x\n", start, end)}, nil
		}
		return []string{"ok", "heap_v2/1024\n  t*: 1: 16 [1: 16]\n@ 0x10"}, nil
	})
	p, err := NewProfiler(t.Context(), findSelf(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Profile(t.Context()); err == nil {
		t.Errorf("a profile: %v", got)
	}
}

func TestRoot(t *testing.T) {
	if got := root(os.Getpid()); got != "" {
		t.Errorf("this process has another root: %q", got)
	}
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		cmd := helper(t, "serve")
		cmd.SysProcAttr = otherRoot()
		pid, _ := startHelper(t, cmd)
		if got := root(pid); got != procPath(pid, "root") {
			t.Errorf("another mount namespace: %q", got)
		}
	}
}
