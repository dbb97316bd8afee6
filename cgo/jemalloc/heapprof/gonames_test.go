package heapprof

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"strings"
	"testing"
)

// callers are what runtime.Callers gives, in all detail, and the return addresses
// that are on the stack: one for each function that was compiled, those that were
// inlined into it excepted. An unwinder sees only these.
type callers struct {
	want []Frame
	pcs  []uint64
}

//go:noinline
func callersHere() callers {
	pcs := make([]uintptr, 64)
	pcs = pcs[:runtime.Callers(2, pcs)]
	var c callers
	iter := runtime.CallersFrames(pcs)
	for range pcs {
		f, _ := iter.Next()
		c.want = append(c.want, Frame{Function: f.Function, File: f.File, Line: f.Line})
	}
	// For an inlined function Callers makes an address up for the one around it.
	for i := 0; i < len(pcs); {
		c.pcs = append(c.pcs, uint64(pcs[i]))
		i += physical(pcs[i:])
	}
	return c
}

// physical is how many of the addresses lie in one compiled function's frame.
func physical(pcs []uintptr) int {
	entry := func(pc uintptr) uintptr { return runtime.FuncForPC(pc - 1).Entry() }
	iter := runtime.CallersFrames(pcs)
	for n := 1; n < len(pcs); n++ {
		if f, _ := iter.Next(); f.Func != nil || entry(pcs[n]) != entry(pcs[0]) {
			return n
		}
	}
	return len(pcs)
}

// The kinds of calls by which Go code ends up in C.

func one() callers { return callersHere() }

func two() callers { return one() }

func three() callers { return two() }

//go:noinline
func handlerOfThree() callers { return three() }

type small struct{ got callers }

func (s *small) method() { s.got = one() }

func (s small) value() callers { return two() }

type caller interface{ value() callers }

func generic[T any](f func(T) callers, v T) callers { return f(v) }

type boxed[T any] struct{ v T }

func (b *boxed[T]) call(f func(T) callers) callers { return generic(f, b.v) }

//go:noinline
func (b *boxed[T]) callNoinline(f func(T) callers) callers { return b.call(f) }

//go:noinline
func run0(f func() callers) callers { return f() }

//go:noinline
func runMethod(f func()) { f() }

//go:noinline
func deferred() (c callers) {
	defer func() { c = two() }()
	return c
}

//go:noinline
func recovered() (c callers) {
	defer func() {
		if recover() != nil {
			c = two()
		}
	}()
	var nobody *small
	nobody.got.pcs = nil
	return c
}

type embedding struct{ *small }

// TestGoFramesOfInlinedCalls compares with what runtime.Callers says at the same
// place.
func TestGoFramesOfInlinedCalls(t *testing.T) {
	c := 3
	for name, call := range map[string]func() callers{
		"one deep":      func() callers { return one() },
		"two deep":      two,
		"three deep":    handlerOfThree,
		"closure":       func() callers { return run0(func() callers { c++; return two() }) },
		"method value":  func() callers { var s small; runMethod(s.method); return s.got },
		"method":        func() callers { return (&small{}).value() },
		"interface":     func() callers { return caller(&small{}).value() },
		"embedded":      func() callers { return run0(embedding{&small{}}.value) },
		"generic":       func() callers { return generic(func(int) callers { return one() }, 1) },
		"generic type":  func() callers { return (&boxed[string]{"x"}).call(func(string) callers { return two() }) },
		"not inlined":   func() callers { return (&boxed[[3]int]{}).callNoinline(func([3]int) callers { return two() }) },
		"deferred":      deferred,
		"after a panic": recovered,
		"goroutine": func() callers {
			got := make(chan callers)
			go func() { got <- two() }()
			return <-got
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := call()
			if len(c.pcs) == len(c.want) {
				t.Errorf("nothing was inlined: %v", c.want)
			}
			symbols := NewSymbolizer(SymbolizerConfig{Go: GoFrames}).Symbolize(nil, slices.Clone(c.pcs))
			if got := symbols.Stack(c.pcs); !slices.Equal(got, c.want) {
				t.Errorf("the frames are\n%v\nruntime.Callers says\n%v", got, c.want)
			}
		})
	}
}

// TestGoFramesAtTheEdges: the last call of a function, the first instruction of
// one, and what is no Go code.
func TestGoFramesAtTheEdges(t *testing.T) {
	f := runtime.FuncForPC(uintptr(callersHere().pcs[0]))
	end := f.Entry()
	for runtime.FuncForPC(end).Entry() == f.Entry() {
		end++
	}
	for name, pc := range map[string]uintptr{"first": f.Entry() + 1, "last": end} {
		if frames := GoFrames(uint64(pc)); len(frames) != 1 || frames[0].Function != f.Name() {
			t.Errorf("the %s address of %s: %v", name, f.Name(), frames)
		}
	}
	for _, pc := range []uint64{0, 1, 1 << 40, ^uint64(0)} {
		if frames := GoFrames(pc); frames != nil {
			t.Errorf("%#x: %v", pc, frames)
		}
	}
}

// TestGoFramesAgreeWithDWARF compares all calls between the Go functions of this very
// program with an independent account of what was inlined where: the compiler's
// debug information, by which Go code is named where GoFrames cannot be used.
func TestGoFramesAgreeWithDWARF(t *testing.T) {
	pcs := goCalls(t)
	symbols := NewSymbolizer(SymbolizerConfig{MaxDebugBytes: 1 << 30}).Symbolize(ownMappings(t), slices.Clone(pcs))
	inlined, wrapped, wrong := 0, 0, 0
	for _, pc := range pcs {
		want, got := symbols.Frames(pc), GoFrames(pc)
		if len(got) == 0 || got[0].File == "?" { // the runtime's first function; C code of the race detector
			continue
		}
		want = asTraceback(want, got)
		if len(want) == len(got)+1 {
			wrapped++
			want = want[:len(got)]
		}
		if len(got) > 1 {
			inlined++
		}
		if !slices.Equal(got, want) {
			if wrong++; wrong <= 5 {
				t.Errorf("%#x: the frames are\n%v\nDWARF says\n%v", pc, got, want)
			}
		}
	}
	// A wrapper that the compiler has made is left out where the function that it is
	// for was inlined into it. Nothing but the runtime knows which functions are wrappers.
	if inlined < 1000 || wrapped > inlined/20 {
		t.Errorf("of %d calls %d are inlined, and of %d the outermost function is missing", len(pcs), inlined, wrapped)
	}
	if wrong > 5 {
		t.Errorf("%d of %d calls are named otherwise", wrong, len(pcs))
	}
}

// asTraceback writes what DWARF says as the runtime does, which abbreviates what
// generic functions were made for. Some calls in the init functions that the compiler
// makes of variables have lines in DWARF alone.
func asTraceback(frames, got []Frame) []Frame {
	var out []Frame
	for i, f := range frames {
		if open := strings.Index(f.Function, "["); open >= 0 {
			f.Function = f.Function[:open] + "[...]" + f.Function[strings.LastIndex(f.Function, "]")+1:]
		}
		if strings.HasSuffix(f.Function, ".init") && i < len(got) && got[i].File == "<autogenerated>" {
			f.File, f.Line = got[i].File, got[i].Line
		}
		out = append(out, f)
	}
	return out
}

// goCalls finds the return addresses of all calls from Go functions of this program
// to others.
func goCalls(t *testing.T) []uint64 {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("it is known for amd64 only what a call looks like")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil || f.Section(".debug_info") == nil {
		t.Skip("this program was stripped: build/test.sh leaves the symbols")
	}
	var low, high, linked uint64
	entries := make(map[uint64]bool)
	for _, s := range symbols {
		switch {
		case s.Name == "runtime.text":
			low = s.Value
		case s.Name == "runtime.etext":
			high = s.Value
		case elf.ST_TYPE(s.Info) == elf.STT_FUNC:
			entries[s.Value] = true
			if strings.HasSuffix(s.Name, "heapprof.lastFunction") {
				linked = s.Value
			}
		}
	}
	section := f.Section(".text")
	code, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	var pcs []uint64
	bias := uint64(last) - 1 - linked // of a program at another address than it was linked for
	for i := low - section.Addr; i+5 < high-section.Addr; i++ {
		after := section.Addr + i + 5
		target := after + uint64(int64(int32(binary.LittleEndian.Uint32(code[i+1:]))))
		if code[i] == 0xe8 && entries[target] {
			pcs = append(pcs, after+bias)
		}
	}
	return pcs
}

// ownMappings is the memory map of this process.
func ownMappings(t *testing.T) []Mapping { return mappingsOf(t, "/proc/self") }

// mappingsOf reads the memory map of a process.
func mappingsOf(t *testing.T, proc string) []Mapping {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(proc, "maps"))
	if err != nil {
		t.Fatal(err)
	}
	var maps []Mapping
	for line := range strings.Lines(string(text)) {
		m, err := parseMapping(strings.TrimSuffix(line, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		maps = append(maps, m)
	}
	return maps
}
