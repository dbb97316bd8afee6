package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// frame is a function on a stack.
type frame struct {
	name    string // empty if the profile has none
	file    string
	line    int
	inlined bool   // into the next frame outwards
	addr    uint64 // of the call
	mapping string // the file of the code
}

func (f frame) String() string {
	name := f.name
	if name == "" {
		name = fmt.Sprintf("?%#x in %s", f.addr, f.mapping)
	}
	if f.file != "" {
		name += fmt.Sprintf(" %s:%d", f.file[strings.LastIndexByte(f.file, '/')+1:], f.line)
	}
	return name
}

// stack is a sample of a profile.
type stack struct {
	frames                 []frame // outermost first; inlined calls have one each
	calls, live, liveBytes int64
}

func (s stack) String() string {
	var b strings.Builder
	for _, f := range slices.Backward(s.frames) {
		fmt.Fprintf(&b, "\n\t%v", f)
	}
	return b.String()
}

// stacksOf returns the samples of a profile.
func stacksOf(t testing.TB, p *profile.Profile) []stack {
	t.Helper()
	var all []stack
	for _, s := range p.Sample {
		if len(s.Value) != 4 {
			t.Fatalf("a sample has %d values", len(s.Value))
		}
		one := stack{calls: s.Value[heapprof.AllocObjects], live: s.Value[heapprof.InuseObjects], liveBytes: s.Value[heapprof.InuseSpace]}
		for _, l := range slices.Backward(s.Location) {
			f := frame{addr: l.Address}
			if l.Mapping != nil {
				f.mapping = l.Mapping.File
			}
			if len(l.Line) == 0 {
				one.frames = append(one.frames, f)
			}
			for i, line := range slices.Backward(l.Line) {
				f.inlined = i < len(l.Line)-1
				f.name, f.file, f.line = line.Function.Name, line.Function.Filename, int(line.Line)
				one.frames = append(one.frames, f)
			}
		}
		all = append(all, one)
	}
	return all
}

// has reports whether a function is on the stack.
func (s stack) has(name string) bool {
	return slices.ContainsFunc(s.frames, func(f frame) bool { return f.name == name })
}

// through returns the stacks that have all of these functions.
func through(stacks []stack, names ...string) []stack {
	return slices.DeleteFunc(slices.Clone(stacks), func(s stack) bool {
		return slices.ContainsFunc(names, func(name string) bool { return !s.has(name) })
	})
}

// total adds up stacks.
func total(stacks []stack) (sum stack) {
	for _, s := range stacks {
		sum.calls += s.calls
		sum.live += s.live
		sum.liveBytes += s.liveBytes
	}
	return sum
}
