package heapprof

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// A leak rarely has only one stack. One call of a C function allocates at several places,
// and one C function is called from many places. The stacks of one leak have frames in
// common at one end or at both:
//
//	malloc < dbMalloc < ( six ways ) < sqlite3_prepare_v2 < ... < handler     one call
//	malloc < leaky < ( fifty callers ) < serve                               one function
//
// grouper finds suspects in three steps:
//
//  1. It judges each stack alone.
//  2. It judges groups of the stacks that are left: first those that share their callers
//     down into C, then those that share what they call, the smallest groups first. The
//     growth of each stack of a group may be too small to be distinguished from chance,
//     but the growth of the group large enough.
//  3. It merges suspects that are one leak: those whose Go code calls the same C function,
//     and stacks without Go that have more frames in common than they differ in. Other
//     stacks of that C function join the suspect if they grow as well.
//
// Each stack is in one suspect at most.
type grouper struct {
	judge  *judge
	found  []suspect
	steady []*track // known not to grow, see isSteady
}

// suspect is a set of stacks that leak together.
type suspect struct {
	tracks []*track
	growth Growth
}

// minGroupFrames is how many frames outside the allocator a common part must have. One is
// not enough: if a program wraps malloc, unrelated allocations have the wrapper in common.
const minGroupFrames = 2

// most is the part of a group's growth whose stacks must have a frame in common. The frame
// then counts as common to the group.
const most = 0.9

// rank judges all tracks. It returns the suspects, and the growth of each stack that is in
// no suspect.
func (g *grouper) rank(tracks []*track) (all []Growth) {
	var rest []*track
	alone := make(map[*track]Growth)
	for _, t := range tracks {
		growth := g.judge.growth([]*track{t})
		if growth.Verdict == Suspect {
			g.found = append(g.found, suspect{[]*track{t}, growth})
			continue
		}
		growth.PCs, growth.Times = t.pcs, t.times
		alone[t] = growth
		rest = append(rest, t)
	}
	outer := func(t *track) []uint64 { return t.outward }
	rest = g.walk(rest, outer, func(tracks []*track, depth int) bool { return oneCall(tracks, depth) || alike(tracks) }, false)
	inner := func(t *track) []uint64 { return t.inward }
	rest = g.walk(rest, inner, func(tracks []*track, depth int) bool { return depth-tracks[0].inner >= minGroupFrames }, true)
	g.merge()
	for _, t := range g.complete(rest, alone) {
		all = append(all, alone[t])
		if isSteady(t, alone[t]) {
			g.steady = append(g.steady, t)
		}
	}
	for _, s := range g.found {
		all = append(all, g.describe(s))
	}
	return all
}

// isSteady reports whether a stack is known not to grow. It must have enough samples for a
// suspect. Two standard deviations above its measured growth must still be less than half
// of what it holds. A stack with fewer samples may leak as well, but be called rarely.
func isSteady(t *track, growth Growth) bool {
	most := growth.BytesPerHour + 2*growth.BytesPerHourError
	return t.points[len(t.points)-1].samples >= minSamples && most*growth.To.Sub(growth.From).Hours() < growth.Bytes/2
}

// complete adds stacks that grow to the suspect of the same call into C. Their own growth
// is too small to be distinguished from chance, but the call is already known to leak. It
// returns the stacks that are left.
func (g *grouper) complete(rest []*track, alone map[*track]Growth) (left []*track) {
	byCall := make(map[string]int)
	for i, s := range g.found {
		if call := callOf(s.tracks); call != "" {
			byCall[call] = i
		}
	}
	for _, t := range rest {
		one := []*track{t}
		i, ok := byCall[callOf(one)]
		if own := alone[t]; ok && own.BytesPerHour > own.BytesPerHourError {
			own.Stacks = 1
			own.Confidence = 0 // so with keeps the confidence of the suspect
			g.found[i] = g.found[i].with(suspect{one, own})
			continue
		}
		left = append(left, t)
	}
	return left
}

// walk groups tracks whose keys have the same beginning, and judges the groups, the
// smallest first. It returns the tracks that are in no suspect. If narrow is set, a group
// is made smaller if most of its growth has callers in common.
func (g *grouper) walk(tracks []*track, key func(*track) []uint64, eligible func(tracks []*track, depth int) bool, narrow bool) []*track {
	slices.SortFunc(tracks, func(a, b *track) int { return slices.Compare(key(a), key(b)) })
	var below func(tracks []*track, depth int) []*track
	below = func(tracks []*track, depth int) []*track {
		if len(tracks) < 2 {
			return tracks
		}
		// The tracks are sorted, so all have in common what the first and the last have.
		first, last := key(tracks[0]), key(tracks[len(tracks)-1])
		for depth < len(first) && depth < len(last) && first[depth] == last[depth] {
			depth++
		}
		var rest []*track
		for len(tracks) > 0 {
			n := 1
			if k := key(tracks[0]); len(k) > depth {
				for n < len(tracks) && key(tracks[n])[depth] == k[depth] {
					n++
				}
			}
			rest = append(rest, below(tracks[:n], depth)...)
			tracks = tracks[n:]
		}
		if len(rest) < 2 || !eligible(rest, depth) {
			return rest
		}
		growth := g.judge.growth(rest)
		if growth.Verdict != Suspect {
			return rest
		}
		group, others := rest, []*track(nil)
		if narrow {
			group, others, growth = g.narrow(rest, growth)
		}
		g.found = append(g.found, suspect{group, growth})
		return others
	}
	return below(tracks, 0)
}

// narrow returns the tracks of a group that share the callers of most of its growth, if
// they are a suspect without the others, and returns the others separately. Otherwise it
// returns the whole group.
func (g *grouper) narrow(tracks []*track, growth Growth) (group, others []*track, _ Growth) {
	weights := g.weights(tracks, growth)
	_, kept := shared(tracks, weights, func(t *track) []uint64 { return t.outward })
	if len(kept) < 2 || len(kept) == len(tracks) {
		return tracks, nil, growth
	}
	for i, t := range tracks {
		if slices.Contains(kept, i) {
			group = append(group, t)
		} else {
			others = append(others, t)
		}
	}
	if narrowed := g.judge.growth(group); narrowed.Verdict == Suspect {
		return group, others, narrowed
	}
	return tracks, nil, growth
}

// oneCall reports whether tracks belong to one call of a C function. Their outermost depth
// frames are the same. They are one call if these frames begin in Go and end in C.
func oneCall(tracks []*track, depth int) bool {
	t := tracks[0]
	return t.entry >= 0 && len(t.pcs)-depth <= t.entry
}

// alike reports whether stacks without Go have more frames in common than they differ in.
func alike(tracks []*track) bool {
	if slices.ContainsFunc(tracks, func(t *track) bool { return t.entry >= 0 }) {
		return false
	}
	in, out := len(tracks[0].inward), len(tracks[0].outward)
	for _, t := range tracks[1:] {
		in = common(tracks[0].inward[:in], t.inward)
		out = common(tracks[0].outward[:out], t.outward)
	}
	differ := 0
	for _, t := range tracks {
		differ = max(differ, len(t.pcs)-max(in, t.inner)-out)
	}
	agree := max(0, in-tracks[0].inner) + max(0, out-threadFrames)
	return agree >= minGroupFrames && agree > differ
}

// common returns the length of the beginning that two keys have in common.
func common(a, b []uint64) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// merge merges suspects that are one leak.
func (g *grouper) merge() {
	byCall := make(map[string]int) // index in merged
	var merged []suspect
next:
	for _, s := range g.found {
		if call := callOf(s.tracks); call != "" {
			if i, ok := byCall[call]; ok {
				merged[i] = merged[i].with(s)
				continue
			}
			byCall[call] = len(merged)
		} else {
			for i := range merged {
				if all := slices.Concat(merged[i].tracks, s.tracks); alike(all) {
					merged[i] = merged[i].with(s)
					continue next
				}
			}
		}
		merged = append(merged, s)
	}
	g.found = merged
}

// callOf returns a key for the call into C to which all tracks belong. The key is the C
// function, whichever Go code calls it. If the function only allocates, as C.CString does,
// the function itself does not leak, so the key includes the callers. The key is empty if
// the tracks belong to several calls or to none.
func callOf(tracks []*track) string {
	var call []byte
	for i, t := range tracks {
		if t.entry < 0 {
			return ""
		}
		name := t.inward[t.entry : t.entry+1]
		if !slices.Contains(t.kinds[min(t.inner, t.entry):t.entry], CCode) {
			name = t.inward[t.entry:]
		}
		key := appendKey(nil, name)
		if i > 0 && string(key) != string(call) {
			return ""
		}
		call = key
	}
	return string(call)
}

// with returns both suspects as one. The figures are added up, because no stack is in
// both.
func (s suspect) with(other suspect) suspect {
	a, b := s.growth, other.growth
	sum := a
	sum.Stacks += b.Stacks
	sum.BytesPerHour += b.BytesPerHour
	sum.BytesPerHourError = math.Hypot(a.BytesPerHourError, b.BytesPerHourError)
	sum.ObjectsPerHour += b.ObjectsPerHour
	sum.Samples += b.Samples
	sum.Confidence = max(a.Confidence, b.Confidence)
	sum.Bytes += b.Bytes
	sum.Objects += b.Objects
	if b.From.Before(a.From) {
		sum.From = b.From
	}
	if b.FirstSeen.Before(a.FirstSeen) {
		sum.FirstSeen = b.FirstSeen
	}
	if b.LastSeen.After(a.LastSeen) {
		sum.LastSeen = b.LastSeen
	}
	return suspect{slices.Concat(s.tracks, other.tracks), sum}
}

// weights returns how much each track contributes to the growth: its slope over the window,
// or 0 if it falls.
func (g *grouper) weights(tracks []*track, growth Growth) []float64 {
	from, _ := slices.BinarySearchFunc(g.judge.times, growth.From, time.Time.Compare)
	hours := g.judge.hours[from:]
	weights := make([]float64, len(tracks))
	for i, t := range tracks {
		points := t.points[from:]
		weights[i] = max(0, fit(hours, func(i int) float64 { return float64(points[i].bytes) }))
	}
	return weights
}

// shared returns the length of the beginning that keys with most of the weight have in
// common, and the indexes of their tracks. It drops a track as soon as its key differs from
// that of most of the weight.
func shared(tracks []*track, weights []float64, key func(*track) []uint64) (depth int, kept []int) {
	total := 0.0
	for i := range tracks {
		kept = append(kept, i)
		total += weights[i]
	}
	for {
		next := make(map[uint64]float64)
		best, bestWeight := uint64(0), -1.0
		for _, i := range kept {
			if k := key(tracks[i]); len(k) > depth {
				id := k[depth]
				next[id] += weights[i]
				if w := next[id]; w > bestWeight {
					best, bestWeight = id, w
				}
			}
		}
		if bestWeight < most*total || bestWeight <= 0 {
			return depth, kept
		}
		kept = slices.DeleteFunc(kept, func(i int) bool { k := key(tracks[i]); return len(k) <= depth || k[depth] != best })
		depth++
	}
}

// learn fills in what grouping needs to know of a track's functions.
func (t *track) learn(code func(pc uint64) Code) {
	if t.kinds != nil {
		return
	}
	for _, pc := range t.pcs {
		c := code(pc)
		t.inward, t.kinds, t.unnamed = append(t.inward, c.ID), append(t.kinds, c.Kind), append(t.unnamed, c.Unnamed)
	}
	t.place = placeOf(t.kinds)
	if t.entry >= t.inner { // cgo's wrapper of the C function that the source code names
		t.kinds[t.entry] = CrossingCode
	}
	t.outward = slices.Clone(t.inward)
	slices.Reverse(t.outward)
}

// appendKey appends numbers to the key of a map.
func appendKey(key []byte, numbers []uint64) []byte {
	for _, n := range numbers {
		key = binary.LittleEndian.AppendUint64(key, n)
	}
	return key
}

// byGrowth sorts suspects first, then by bytes per hour, the fastest first.
func byGrowth(a, b Growth) int {
	if x, y := a.Verdict == Suspect, b.Verdict == Suspect; x != y {
		if x {
			return -1
		}
		return 1
	}
	return cmp.Compare(b.BytesPerHour, a.BytesPerHour)
}
