package heapprof

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// In these tests an address is ten times its function and the line in it. Functions
// up to 9 are the allocator's, from 10 on C (from 100 on made by cgo), from 200 on Go.
func testCode(pc uint64) Code {
	c := Code{ID: pc / 10}
	switch {
	case c.ID < 10:
		c.Kind = AllocatorCode
	case c.ID == 200:
		c.Kind = CrossingCode
	case c.ID > 200:
		c.Kind = GoCode
	}
	return c
}

// Functions of the tests.
const (
	malloc, dbMalloc, leaky           = 10, 110, 200
	dbPrepare, dbStep, stubA, stubB   = 300, 310, 1000, 1010
	stubMalloc, cgocall, sqlDriver    = 1020, 2000, 2010
	serve, goexit, handlerA, handlerB = 2900, 2910, 2500, 2510
)

func pcsOf(pcs ...uint64) []uint64 { return pcs }

// little is so little on one stack that sampling alone may do it; much is not.
func little(i int) func(float64) float64 {
	return func(t float64) float64 { return math.Floor((t + float64(i)*100) / 150) }
}

func much(int) func(float64) float64 { return func(t float64) float64 { return math.Floor(t / 12) } }

func steady(int) func(float64) float64 { return func(float64) float64 { return 15 } }

type rates = map[*[]uint64]func(float64) float64

func (g Growth) String() string {
	var links []string
	for _, l := range g.Chain {
		if l.PC == 0 {
			links = append(links, fmt.Sprintf("(%d)", l.Count))
		} else {
			links = append(links, fmt.Sprint(l.PC/10))
		}
	}
	cause := uint64(0)
	if len(g.Chain) > 0 {
		cause = g.Chain[g.Cause].PC / 10
	}
	return fmt.Sprintf("%d stacks by %d: %s", g.Stacks, cause, strings.Join(links, " "))
}

// What leaks together is one suspect, named by the function that explains it, with
// both ends: whether each of its stacks is enough for a suspect or only all are.
func TestGroups(t *testing.T) {
	caller := func(handler uint64) []uint64 { return pcsOf(cgocall, sqlDriver, handler, serve, goexit) }
	for _, c := range []struct {
		name string
		add  func(add func(pcs ...[]uint64))
		want []string // the suspects
	}{
		{"one call, six ways", func(add func(...[]uint64)) {
			for i := range uint64(6) {
				add(pcsOf(malloc, dbMalloc, 400+10*i, 410+10*i, dbPrepare, stubA), caller(handlerA))
			}
		}, []string{"6 stacks by 30: 1 11 (6) 30 100 200 201 250 290 291"}},
		{"one call, no more in common inside than malloc", func(add func(...[]uint64)) {
			for i := range uint64(6) {
				add(pcsOf(malloc, 400+10*i, 500+10*i, dbPrepare, stubA), caller(handlerA))
			}
		}, []string{"6 stacks by 30: 1 (6) 30 100 200 201 250 290 291"}},
		{"one function, fifty callers", func(add func(...[]uint64)) {
			for i := range uint64(50) {
				add(pcsOf(malloc, leaky, stubA, cgocall, sqlDriver, 3000+10*i, serve, goexit))
			}
		}, []string{"50 stacks by 20: 1 20 100 200 201 (50) 290 291"}},
		{"one function that allocates twice, fifty callers", func(add func(...[]uint64)) {
			for i := range uint64(50) {
				add(pcsOf(malloc, leaky, stubA, cgocall, sqlDriver, 3000+10*i, serve, goexit))
				add(pcsOf(malloc, 210, leaky, stubA, cgocall, sqlDriver, 3000+10*i, serve, goexit))
			}
		}, []string{"100 stacks by 20: 1 (2) 20 100 200 201 (50) 290 291"}},
		{"one handler, several lines", func(add func(...[]uint64)) {
			for i := range uint64(6) {
				add(pcsOf(malloc, dbMalloc, dbPrepare+i, stubA), caller(handlerA+i))
			}
		}, []string{"6 stacks by 30: 1 11 30 100 200 201 250 290 291"}},
		{"two calls of different functions that allocate by the same wrapper", func(add func(...[]uint64)) {
			for i := range uint64(6) {
				add(pcsOf(malloc, dbMalloc, 120, 400+10*i, dbPrepare, stubA), caller(handlerA))
				add(pcsOf(malloc, dbMalloc, 120, 500+10*i, dbStep, stubB), caller(handlerB))
			}
		}, []string{"6 stacks by 30: 1 11 12 (6) 30 100 200 201 250 290 291", "6 stacks by 31: 1 11 12 (6) 31 101 200 201 251 290 291"}},
		{"a thread of C", func(add func(...[]uint64)) {
			for i := range uint64(6) {
				add(pcsOf(malloc, 400+10*i, 600, 610, 620, 630, 640, 650))
			}
		}, []string{"6 stacks by 60: 1 (6) 60 61 62 63 64 65"}},
		{"steady neighbours in the same wrapper", func(add func(...[]uint64)) {
			for i := range uint64(6) {
				add(pcsOf(malloc, dbMalloc, 400+10*i, 410+10*i, dbPrepare, stubA), caller(handlerA))
			}
		}, []string{"6 stacks by 30: 1 11 (6) 30 100 200 201 250 290 291"}},
	} {
		for name, rate := range map[string]func(int) func(float64) float64{"little": little, "much": much} {
			t.Run(c.name+", "+name, func(t *testing.T) {
				stacks := rates{}
				c.add(func(parts ...[]uint64) {
					pcs := slices.Concat(parts...)
					stacks[&pcs] = rate(len(stacks))
				})
				for i := range uint64(20) { // what else there is: the same wrapper, other callers
					pcs := pcsOf(malloc, dbMalloc, 700+10*i, 900, 1030, cgocall, 4000+10*i, serve, goexit)
					stacks[&pcs] = steady(0)
				}
				r := NewRanker(RankerConfig{Code: testCode})
				series(t, r, 600, stacks)
				expectSuspects(t, r, c.want)
			})
		}
	}
}

func expectSuspects(t *testing.T, r *Ranker, want []string) {
	t.Helper()
	var got []string
	named := make(map[string]bool)
	for _, g := range r.Suspects() {
		got = append(got, g.String())
		share := 0.0
		for _, l := range g.Chain {
			for _, w := range l.Ways {
				share += w.Share
				if key := fmt.Sprint(l.Count, w.PCs); named[key] && len(w.PCs) > 3 {
					t.Errorf("%v is in two suspects", w.PCs)
				}
			}
			if l.PC == 0 && l.Count <= maxWays && math.Abs(share-1) > 0.001 {
				t.Errorf("the ways make %.3f of the growth", share)
			}
			share = 0
		}
		if n := slices.IndexFunc(g.Chain, func(l Link) bool { return l.PC == 0 }); n >= 0 && len(g.PCs) != n {
			t.Errorf("the inner end is %v of %v", g.PCs, g)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("suspects\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// A function that others allocate by in the same way without growing is a wrapper of
// malloc, and explains nothing.
func TestWrappersArePassedOver(t *testing.T) {
	const inWrapper, alsoInWrapper, unnamed = 120, 130, 990
	leak := func(wrappers ...uint64) []uint64 {
		return slices.Concat(pcsOf(malloc), wrappers, pcsOf(dbPrepare, dbStep, stubA, cgocall, handlerA, serve, goexit))
	}
	held := func(caller uint64, wrappers ...uint64) []uint64 {
		return slices.Concat(pcsOf(malloc), wrappers, pcsOf(caller, 800, stubB, cgocall, handlerB, serve, goexit))
	}
	growing := func(t float64) float64 { return math.Floor(t / 150) }
	once := func(t float64) float64 { return min(1, math.Floor(t/20)) }
	late := func(t float64) float64 { return min(1, math.Floor(t/500)) }
	unsteady := func(t float64) float64 { return 14 + 8*math.Mod(math.Floor(t/12), 2) }
	for name, c := range map[string]struct {
		leak   []uint64
		others [][]uint64
		rate   func(float64) float64
		want   uint64
	}{
		"no others":                     {leak(dbMalloc), nil, nil, dbMalloc},
		"two others":                    {leak(dbMalloc), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, steady(0), dbPrepare},
		"one other":                     {leak(dbMalloc), [][]uint64{held(400, dbMalloc)}, steady(0), dbMalloc},
		"one other at two lines":        {leak(dbMalloc), [][]uint64{held(400, dbMalloc), held(401, dbMalloc)}, steady(0), dbMalloc},
		"one other of two callers":      {leak(dbMalloc), [][]uint64{held(400, dbMalloc), append(held(400, dbMalloc), 2520)}, steady(0), dbMalloc},
		"others without a name":         {leak(dbMalloc), [][]uint64{held(unnamed, dbMalloc), held(unnamed+1, dbMalloc)}, steady(0), dbMalloc},
		"others grow":                   {leak(dbMalloc), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, growing, dbMalloc},
		"others have one sample":        {leak(dbMalloc), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, once, dbMalloc},
		"others have one late sample":   {leak(dbMalloc), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, late, dbMalloc},
		"others may grow unseen":        {leak(dbMalloc), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, unsteady, dbMalloc},
		"others use malloc itself":      {leak(dbMalloc), [][]uint64{held(400), held(410)}, steady(0), dbMalloc},
		"a wrapper in a wrapper":        {leak(dbMalloc, inWrapper), [][]uint64{held(400, dbMalloc, inWrapper), held(410, dbMalloc, inWrapper)}, steady(0), dbPrepare},
		"others use the inner one only": {leak(dbMalloc, inWrapper), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, steady(0), inWrapper},
		"its caller has no name":        {leak(dbMalloc, unnamed), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, steady(0), dbMalloc},
		"its caller is Go":              {pcsOf(malloc, dbMalloc, stubMalloc, cgocall, handlerA, serve, goexit), [][]uint64{held(400, dbMalloc), held(410, dbMalloc)}, steady(0), dbMalloc},
		"others allocate another way":   {leak(dbMalloc, inWrapper), [][]uint64{held(400, alsoInWrapper, inWrapper), held(410, alsoInWrapper, inWrapper)}, steady(0), dbMalloc},
	} {
		for where, other := range map[string]uint64{"another line": serve, "another caller": handlerA} {
			t.Run(name+", "+where, func(t *testing.T) {
				second := slices.Clone(c.leak) // of the same suspect
				if at := &second[slices.Index(second, other)]; other == serve {
					*at++
				} else {
					*at += 10
				}
				stacks := rates{&c.leak: much(0), &second: much(0)}
				for i := range c.others {
					stacks[&c.others[i]] = c.rate
				}
				r := NewRanker(RankerConfig{Code: func(pc uint64) Code {
					code := testCode(pc)
					if code.Unnamed = code.ID == unnamed/10; code.Unnamed {
						code.ID = pc
					}
					return code
				}})
				series(t, r, 600, stacks)
				suspects := r.Suspects()
				if len(suspects) != 1 || suspects[0].Stacks != 2 || suspects[0].Chain[suspects[0].Cause].PC != c.want {
					t.Errorf("suspects %v, want one by %d", suspects, c.want/10)
				}
			})
		}
	}
}

// What is no one's fault in common stays apart: two handlers that forget what C.CString
// gave them, and two threads of C whose stacks share no more than that they are threads.
func TestSeparateSuspects(t *testing.T) {
	for name, stacks := range map[string][2][]uint64{
		"C.CString":      {pcsOf(malloc, stubMalloc, cgocall, sqlDriver, handlerA, serve, goexit), pcsOf(malloc, stubMalloc, cgocall, sqlDriver, handlerB, serve, goexit)},
		"threads":        {pcsOf(malloc, 400, 600, 610), pcsOf(malloc, 410, 600, 610)},
		"jobs of a loop": {pcsOf(malloc, 400, 410, 420, 600, 610, 620), pcsOf(malloc, 500, 510, 520, 600, 610, 620)},
	} {
		r := NewRanker(RankerConfig{Code: testCode})
		series(t, r, 600, rates{&stacks[0]: much(0), &stacks[1]: much(0)})
		if s := r.Suspects(); len(s) != 2 || s[0].Stacks != 1 || s[1].Stacks != 1 {
			t.Errorf("%s: %v, want two suspects", name, s)
		}
	}
}

// A group that is found by what it calls is narrowed to the caller of most of its growth.
func TestGroupIsNarrowedToItsCaller(t *testing.T) {
	stacks := rates{}
	for i := range uint64(40) {
		leaks := pcsOf(malloc, dbMalloc, 120, 400+10*i, 1000+10*i, cgocall, handlerA, serve, goexit)
		stacks[&leaks] = little(int(i))
		other := pcsOf(malloc, dbMalloc, 120, 410+10*i, 1400+10*i, cgocall, handlerB, serve, goexit)
		stacks[&other] = steady(0)
	}
	r := NewRanker(RankerConfig{Code: testCode})
	series(t, r, 600, stacks)
	expectSuspects(t, r, []string{"40 stacks by 250: 1 11 12 (40) 200 250 290 291"})
}

// The figures of a suspect of several add up, and nine tenths of the growth name it.
func TestMostOfTheGrowthNamesIt(t *testing.T) {
	stacks := rates{}
	for i := range uint64(4) {
		pcs := pcsOf(malloc, dbMalloc, 400+10*i, dbPrepare, stubA, cgocall, sqlDriver, handlerA, serve, goexit)
		stacks[&pcs] = func(t float64) float64 { return math.Floor(t / 3) }
	}
	other := pcsOf(malloc, dbMalloc, 400, dbPrepare, stubA, cgocall, sqlDriver, handlerB, serve, goexit)
	stacks[&other] = func(t float64) float64 { return math.Floor(t / 10) } // 7 % of it
	r := NewRanker(RankerConfig{Code: testCode})
	series(t, r, 600, stacks)
	expectSuspects(t, r, []string{"5 stacks by 30: 1 11 (4) 30 100 200 201 250 290 291"})
	g := r.Suspects()[0]
	const samples = 4*200 + 60
	if math.Abs(g.Samples-samples) > 5 || math.Abs(g.Bytes-samples*simRate) > 10*simRate {
		t.Errorf("%.0f samples, %.0f bytes live", g.Samples, g.Bytes)
	}
	if want := samples * simRate * 6.0; math.Abs(g.BytesPerHour-want) > 0.02*want {
		t.Errorf("%.0f bytes/h, want %.0f", g.BytesPerHour, want)
	}
}

// A stack may be shorter than both ends that the others share.
func TestShortStackInAChain(t *testing.T) {
	var tracks []*track
	for _, pcs := range [][]uint64{
		pcsOf(malloc, 400, 410, 500, 400, 410, 600), pcsOf(malloc, 400, 410, 510, 400, 410, 600), pcsOf(malloc, 400, 410, 600), pcsOf(malloc),
	} {
		track := &track{pcs: pcs}
		track.learn(testCode)
		tracks = append(tracks, track)
	}
	for n := 2; n <= len(tracks); n++ {
		for _, weights := range [][]float64{{1, 1, 1, 1}, {100, 1, 1, 1}, {1, 1, 100, 1}, {1, 1, 1, 100}, {0, 0, 0, 0}} {
			c := chainOf(tracks[:n], weights[:n])
			if len(c.links) == 0 || c.cause(nil) >= len(c.links) {
				t.Errorf("%d stacks, weights %v: %+v", n, weights, c.links)
			}
		}
	}
}

// A stack that is too little to be told from chance joins the suspect of the same call
// into C if it grows, and is not listed beside it. One that does not grow stays out.
func TestTheRestOfACallJoinsItsSuspect(t *testing.T) {
	call := func(handler uint64) []uint64 {
		return pcsOf(malloc, leaky, stubA, cgocall, sqlDriver, handler, serve, goexit)
	}
	first, few, still := call(3000), call(3010), call(3020)
	r := NewRanker(RankerConfig{Code: testCode})
	series(t, r, 600, rates{
		&first: much(0), &few: func(t float64) float64 { return math.Floor(t / 250) }, // two samples
		&still: func(float64) float64 { return 3 },
	})
	var suspects, others []int
	for _, g := range r.Ranking() {
		if g.Verdict == Suspect {
			suspects = append(suspects, max(1, g.Stacks))
		} else {
			others = append(others, max(1, g.Stacks))
		}
	}
	if !slices.Equal(suspects, []int{2}) || !slices.Equal(others, []int{1}) {
		t.Errorf("suspects of %v stacks and others of %v, want one of 2 and one of 1", suspects, others)
	}
}
