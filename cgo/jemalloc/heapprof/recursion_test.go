package heapprof

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestFold(t *testing.T) {
	const part = 900 // of function 40
	code := func(pc uint64) Code {
		if pc == part {
			return Code{ID: 40, Part: true}
		}
		return testCode(pc)
	}
	for name, c := range map[string]struct {
		stack, pcs []uint64
		times      []int
	}{
		"none":                  {pcsOf(malloc, 300, 400, 500), pcsOf(malloc, 300, 400, 500), nil},
		"empty":                 {nil, nil, nil},
		"one that calls itself": {pcsOf(malloc, 301, 302, 302, 302, 500), pcsOf(malloc, 301, 500), []int{1, 4, 1}},
		"by two calls":          {pcsOf(malloc, 301, 302, 303, 302, 500), pcsOf(malloc, 301, 500), []int{1, 4, 1}},
		"two that call each other": {
			pcsOf(malloc, 300, 400, 300, 400, 300, 500), pcsOf(malloc, 300, 400, 300, 500), []int{1, 2, 2, 1, 1}},
		"one within another": {
			pcsOf(malloc, 300, 300, 400, 300, 400, 500), pcsOf(malloc, 300, 400, 500), []int{1, 3, 2, 1}},
		"twice, and not in a row": {pcsOf(malloc, 300, 400, 500, 300, 600), pcsOf(malloc, 300, 400, 500, 300, 600), nil},
		"a part":                  {pcsOf(malloc, part, 400, 500), pcsOf(malloc, part, 500), []int{1, 1, 1}},
		"a part alone":            {pcsOf(malloc, part, 500), pcsOf(malloc, part, 500), nil},
		"parts that recur":        {pcsOf(malloc, part, 400, part, 400, 500), pcsOf(malloc, part, 500), []int{1, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var f folder
			f.fold(pcsOf(malloc, 300, 300), code) // nothing of it is left
			pcs, times := f.fold(c.stack, code)
			if !slices.Equal(pcs, c.pcs) || !slices.Equal(times, c.times) {
				t.Errorf("%v %v, want %v %v", pcs, times, c.pcs, c.times)
			}
		})
	}
}

// What a recursive function leaks at many depths is one suspect, whether it grows enough
// at each of them or only at all together.
func TestRecursionIsOneSuspect(t *testing.T) {
	for name, rate := range map[string]func(int) func(float64) float64{"little": little, "much": much} {
		t.Run(name, func(t *testing.T) {
			stacks := rates{}
			for depth := range 40 {
				pcs := slices.Concat(pcsOf(malloc, 301), slices.Repeat(pcsOf(302), depth), pcsOf(400, 500))
				stacks[&pcs] = rate(depth)
				other := slices.Concat(pcsOf(malloc, 701), slices.Repeat(pcsOf(702), depth), pcsOf(800, 810, 820))
				stacks[&other] = steady(0)
			}
			r := NewRanker(RankerConfig{Code: testCode, MaxStacks: 4}) // fewer than depths
			series(t, r, 600, stacks)
			if s := r.Suspects(); len(s) != 1 || s[0].Stacks != 1 || len(s[0].PCs) != 4 || !slices.Equal(s[0].Times, []int{1, 40, 1, 1}) {
				t.Fatalf("suspects %+v", s)
			}
			want := 0.0
			for i := range 40 {
				want += rate(i)(600)
			}
			if got := r.Suspects()[0].Bytes / simRate; math.Abs(got-want) > 0.01*want {
				t.Errorf("%.0f samples are live, want %.0f", got, want)
			}
			var text bytes.Buffer
			if err := WriteGrowth(&text, r.Suspects(), nil); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), fmt.Sprintf("    0x%x (up to 40 times)\n    0x%x\n", 301-1, 400-1)) {
				t.Errorf("%s", &text)
			}
		})
	}
}

// Of several stacks that grow together, each function and each way says how deep it is.
func TestRecursionInAChain(t *testing.T) {
	stacks := rates{}
	for i := range uint64(6) {
		pcs := pcsOf(malloc, dbMalloc, 400+10*i, 400+10*i, 400+10*i, dbPrepare, dbPrepare+1, stubA, cgocall, handlerA, serve, goexit)
		stacks[&pcs] = much(0)
	}
	r := NewRanker(RankerConfig{Code: testCode})
	series(t, r, 600, stacks)
	expectSuspects(t, r, []string{"6 stacks by 30: 1 11 (6) 30 100 200 250 290 291"})
	var text bytes.Buffer
	if err := WriteGrowth(&text, r.Suspects(), nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"by: 0x12b (up to 2 times), on 6 stacks\n", "\n    0x12b (up to 2 times)\n", "  0x18f (up to 3 times)\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}
