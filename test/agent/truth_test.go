package agent

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// truth is what the program stress has made.
type truth struct {
	functions          []function
	stacks             map[string]made // by their names, outermost first, with ; between them
	moves, collections int64
}

type function struct {
	name       string
	start, end uint64
}

type made struct {
	calls, live int64
	liveBytes   int64
}

// readTruth reads what the program stress prints.
func readTruth(p *target) truth {
	p.Helper()
	all := truth{stacks: map[string]made{}}
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			p.Fatal(err)
		}
		return n
	}
	for {
		kind, rest, _ := strings.Cut(p.line(), " ")
		switch f := strings.SplitN(rest, " ", 4); kind {
		case "pid":
			p.pid = int(number(f[0]))
		case "function":
			all.functions = append(all.functions, function{f[0], uint64(number(f[1])), uint64(number(f[2]))})
		case "stack":
			m := all.stacks[f[3]]
			m.calls += number(f[0])
			m.live += number(f[1])
			m.liveBytes += number(f[1]) * ((number(f[2]) + 15) / 16 * 16) // as the agent counts
			all.stacks[f[3]] = m
		case "moves":
			all.moves = number(f[0])
		case "collections":
			all.collections = number(f[0])
		case "end":
			return all
		default:
			p.Fatalf("the program prints %q", kind)
		}
	}
}

// The runtime's frames at crossings, as the program stress names them.
const (
	down = "(Go calls C)"
	up   = "(C calls Go)"
)

// known returns of a stack what the truth has of it: the program's own functions, the
// crossings, and the function that allocates. faults are what can be said against single
// frames.
func (all truth) known(s stack, binary string) (names string, ours bool, faults []string) {
	var known []string
	for i, f := range s.frames {
		name := f.name
		if j := slices.IndexFunc(all.functions, func(fn function) bool { return fn.start <= f.addr && f.addr < fn.end }); j >= 0 {
			// A stripped program has no names of C functions, but the profile may not have wrong ones.
			if f.inlined {
				continue
			}
			if fn := all.functions[j].name; name != "" && name != fn {
				faults = append(faults, fmt.Sprintf("%s is named %s", fn, name))
			} else {
				name = fn
			}
			ours = ours || strings.HasPrefix(name, "st_leaf_")
		} else if strings.HasPrefix(name, "st_") {
			faults = append(faults, fmt.Sprintf("%#x is named %s, and is outside of it", f.addr, name))
		}
		// Go functions have names and lines in stripped programs too.
		isGo := strings.HasPrefix(name, "main.") || strings.HasPrefix(name, "runtime.") || strings.HasPrefix(name, "reflect.")
		if isGo && (f.file == "" || f.line <= 0) {
			faults = append(faults, fmt.Sprintf("%v has no line", f))
		}
		if f.mapping == "" {
			faults = append(faults, fmt.Sprintf("%v is in no file", f))
		}
		switch {
		case i == len(s.frames)-1:
			if name == "memalign" {
				name = "aligned_alloc" // they are one function in glibc
			}
			known = append(known, name) // malloc and its like
		case name == "runtime.cgocallback":
			known = append(known, up)
		case name == "runtime.asmcgocall" && (len(known) == 0 || known[len(known)-1] != down):
			known = append(known, down)
		case name == "runtime.goexit":
			known = append(known, name)
		case name == "main.goBack", strings.HasPrefix(name, "main.main."): // wrappers, which may be inlined
		case strings.HasPrefix(name, "main."), strings.HasPrefix(name, "st_"):
			known = append(known, name)
			want := "run.go"
			if strings.HasPrefix(name, "main._Cfunc_") {
				want = "_cgo_gotypes.go"
			}
			if isGo && filepath.Base(f.file) != want {
				faults = append(faults, fmt.Sprintf("%v is in %s", f, want))
			}
		case isGo, strings.HasPrefix(name, "_cgoexp_"), filepath.Base(f.mapping) != filepath.Base(binary): // runtime, libc, the agent
		case name == "", strings.HasPrefix(name, "_cgo_"), name == "goBack", name == "crosscall2", name == "innermost", name == "finish":
			// Stubs, which have names if the program is not stripped, and what C has inlined.
		default:
			faults = append(faults, fmt.Sprintf("nobody calls %v", f))
		}
	}
	return strings.Join(known, ";"), ours, faults
}

// compare compares a profile with the truth.
func (all truth) compare(t testing.TB, stacks []stack, binary string) {
	t.Helper()
	const most = 5
	got := map[string]made{}
	faulty := 0
	for _, s := range stacks {
		names, ours, faults := all.known(s, binary)
		if !ours {
			continue
		}
		m := got[names]
		m.calls += s.calls
		m.live += s.live
		m.liveBytes += s.liveBytes
		got[names] = m
		if _, ok := all.stacks[names]; !ok {
			faults = append(faults, fmt.Sprintf("nobody has made this stack, %d times", s.calls))
		}
		if len(faults) > 0 {
			if faulty++; faulty <= most {
				t.Errorf("%s, in%v\nwhich is %s", strings.Join(faults, "; "), s, names)
			}
		}
	}
	if faulty > 0 {
		t.Errorf("%d of %d stacks are wrong", faulty, len(stacks))
	}
	wrong := 0
	for _, names := range slices.Sorted(maps.Keys(all.stacks)) {
		if want := all.stacks[names]; got[names] != want {
			if wrong++; wrong <= most {
				t.Errorf("got %+v, want %+v of\n\t%s", got[names], want, strings.ReplaceAll(names, ";", "\n\t"))
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d counts are wrong", wrong, len(all.stacks))
	}
}
