package heapprof

import (
	"cmp"
	"slices"
)

// Link is one element of what several stacks have in common, from malloc out to the start
// of the thread. It is either a function that is on the stacks of nine tenths of their
// growth, or a gap between two such functions, in which the stacks differ.
type Link struct {
	// PC is a return address in the function: the one on the stack that grew most. Lines
	// is how many different addresses in the function the stacks have.
	PC    uint64
	Lines int

	// Times is the largest number of calls of the function in a row, if it is above one.
	Times int

	// Ways are the ways through a gap, sorted by their part of the growth. Count is the
	// number of all ways, and at most maxWays of them are listed. PC is 0 in a gap.
	Ways  []Way
	Count int

	id      uint64 // of the function
	kind    Kind
	unnamed bool
}

// Way is how some of the stacks get from one common function to the next.
type Way struct {
	PCs   []uint64 // the innermost first; empty: one function calls the other directly
	Times []int    // as in Growth
	Share float64  // of the growth, 0 to 1
}

// maxWays bounds the ways of a gap that are listed.
const maxWays = 5

// Addresses returns all addresses whose names are needed to write the growth.
func (g *Growth) Addresses() []uint64 {
	pcs := slices.Clone(g.PCs)
	for _, l := range g.Chain {
		if l.PC != 0 {
			pcs = append(pcs, l.PC)
		}
		for _, w := range l.Ways {
			pcs = append(pcs, w.PCs...)
		}
	}
	return pcs
}

// describe returns a suspect's growth, with what its stacks have in common.
func (g *grouper) describe(s suspect) Growth {
	growth := s.growth
	if len(s.tracks) == 1 {
		growth.PCs, growth.Times = s.tracks[0].pcs, s.tracks[0].times
		return growth
	}
	c := chainOf(s.tracks, g.weights(s.tracks, growth))
	growth.Chain = c.links
	growth.PCs = nil
	for _, l := range c.links {
		if l.PC == 0 {
			break
		}
		growth.PCs = append(growth.PCs, l.PC)
	}
	growth.Cause = c.cause(g.steady)
	return growth
}

// chain collects what tracks have in common.
type chain struct {
	tracks  []*track // the track that grew most is the first
	weights []float64
	total   float64
	links   []Link
}

func chainOf(tracks []*track, weights []float64) *chain {
	c := &chain{}
	order := make([]int, len(tracks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weights[b], weights[a]) })
	for _, i := range order {
		c.tracks, c.weights = append(c.tracks, tracks[i]), append(c.weights, weights[i])
		c.total += weights[i]
	}
	// If all tracks are of one C function that Go calls, the part inside of the function
	// and the part of its callers are compared separately, because each of them may have
	// several ways.
	one := c.tracks[0]
	calls := one.entry >= 0 && !slices.ContainsFunc(c.tracks, func(t *track) bool {
		return t.entry < 0 || t.inward[t.entry] != one.inward[one.entry]
	})
	if !calls {
		c.add(func(t *track) (from, to int) { return 0, len(t.pcs) })
		return c
	}
	c.add(func(t *track) (from, to int) { return 0, t.entry + 1 })
	c.add(func(t *track) (from, to int) { return t.entry + 1, len(t.pcs) })
	return c
}

// add appends what a part of the stacks has in common at both ends. If the stacks differ
// between the ends, it appends a gap there.
func (c *chain) add(part func(*track) (from, to int)) {
	inward := func(t *track) []uint64 { from, to := part(t); return t.inward[from:to] }
	outward := func(t *track) []uint64 { from, to := part(t); n := len(t.pcs); return t.outward[n-to : n-from] }
	fromInner := func(t *track, i int) int { from, _ := part(t); return from + i }
	in, inner := shared(c.tracks, c.weights, inward)
	if !slices.ContainsFunc(c.of(inner), func(t *track) bool { return len(inward(t)) != in }) {
		c.run(c.of(inner), in, fromInner) // the stacks do not differ in this part
		return
	}
	out, outer := shared(c.tracks, c.weights, outward)
	// A stack may be shorter than both ends together. Then they overlap on it, and the
	// outer end is shortened.
	for _, i := range slices.Concat(inner, outer) {
		from, to := part(c.tracks[i])
		out = max(0, min(out, to-from-in))
	}
	c.run(c.of(inner), in, fromInner)
	c.gap(in, out, part)
	c.run(c.of(outer), out, func(t *track, i int) int { _, to := part(t); return to - out + i })
}

func (c *chain) of(indexes []int) []*track {
	var tracks []*track
	for _, i := range indexes {
		tracks = append(tracks, c.tracks[i])
	}
	return tracks
}

// run appends n functions that these tracks have in common. at returns the index of the
// i-th function on a track.
func (c *chain) run(tracks []*track, n int, at func(t *track, i int) int) {
	for i := range n {
		where := at(tracks[0], i)
		t := tracks[0]
		l := Link{PC: t.pcs[where], id: t.inward[where], kind: t.kinds[where], unnamed: t.unnamed[where]}
		lines := make(map[uint64]bool)
		for _, t := range tracks {
			lines[t.pcs[at(t, i)]] = true
			if times := timesOf(t.times, at(t, i), at(t, i)+1); times != nil && times[0] > 1 {
				l.Times = max(l.Times, times[0])
			}
		}
		l.Lines = len(lines)
		c.links = append(c.links, l)
	}
}

// gap appends the different ways between the functions that are common at both ends of a
// part. in is the number of those at the inner end, out of those at the outer end.
func (c *chain) gap(in, out int, part func(*track) (from, to int)) {
	type way struct {
		Way
		weight float64
	}
	var ways []*way
	byKey := make(map[string]*way)
	for i, t := range c.tracks {
		from, to := part(t)
		from = min(from+in, to)
		to = max(to-out, from)
		key := string(appendKey(nil, t.inward[from:to]))
		w := byKey[key]
		if w == nil {
			w = &way{Way: Way{PCs: t.pcs[from:to], Times: timesOf(t.times, from, to)}}
			byKey[key] = w
			ways = append(ways, w)
		}
		w.weight += c.weights[i]
	}
	slices.SortStableFunc(ways, func(a, b *way) int { return cmp.Compare(b.weight, a.weight) })
	l := Link{Count: len(ways)}
	for _, w := range ways[:min(len(ways), maxWays)] {
		if c.total > 0 {
			w.Share = w.weight / c.total
		}
		l.Ways = append(l.Ways, w.Way)
	}
	c.links = append(c.links, l)
}

// cause returns the index of the function that explains the growth. steady are stacks that
// are known not to grow.
func (c *chain) cause(steady []*track) int {
	gap := slices.IndexFunc(c.links, func(l Link) bool { return l.PC == 0 })
	names := func(l Link) bool { return l.PC != 0 && (l.kind == CCode || l.kind == GoCode) }
	inner := slices.IndexFunc(c.links, names)
	if gap < 0 {
		return c.beyondWrappers(max(inner, 0), len(c.links), steady)
	}
	// If the stacks differ in Go code, the common C function explains the growth. If they
	// differ in C code, the function that calls into the gap does.
	if t := c.tracks[0]; inner >= 0 && inner < gap && gap > t.entry && t.entry >= 0 {
		return c.beyondWrappers(inner, gap, steady)
	}
	if after := slices.IndexFunc(c.links[gap:], names); after >= 0 {
		return gap + after
	}
	return max(inner, 0)
}

// minCallers is how many other callers a function must have to be a wrapper.
const minCallers = 2

// beyondWrappers skips wrappers of malloc, such as xmalloc or sqlite3MemMalloc. They are on
// all stacks of a program and explain no growth. They are recognised not by their names,
// but by their other callers: if several callers allocate through the same functions
// without growing, the growth is explained by the caller that grows. beyondWrappers returns
// the index of that caller, which is below end. If there are no wrappers, it returns from.
func (c *chain) beyondWrappers(from, end int, steady []*track) int {
	cause := from
	var way []uint64 // from malloc on
	for i := from; i+1 < end && c.links[i].kind == CCode; i++ {
		way = append(way, c.links[i].id)
		next := c.links[i+1]
		callers := make(map[uint64]bool)
		for _, t := range steady {
			outside := t.inward[t.inner:]
			if at := t.inner + len(way); len(outside) > len(way) && slices.Equal(outside[:len(way)], way) && outside[len(way)] != next.id && !t.unnamed[at] {
				callers[outside[len(way)]] = true
			}
		}
		if len(callers) >= minCallers && !next.unnamed && (next.kind == CCode || next.kind == GoCode) {
			cause = i + 1
		}
	}
	return cause
}

// Link returns the frames of a link's address. If the stacks have several addresses in the
// function, it returns only the function, without a line. It returns nil for a gap and for
// the inside of the allocator.
func (s *Symbols) Link(l Link) []Frame {
	if l.PC == 0 {
		return nil
	}
	frames := s.Callers([]uint64{l.PC}, []int{l.Times})
	if l.Lines > 1 && len(frames) > 0 {
		compiled := frames[len(frames)-1]
		return []Frame{{Function: compiled.Function, Symbol: compiled.Symbol, Times: compiled.Times}}
	}
	return frames
}
