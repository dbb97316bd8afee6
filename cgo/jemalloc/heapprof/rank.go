package heapprof

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"
)

// RankerConfig configures a Ranker. All fields may be zero.
type RankerConfig struct {
	// MaxStacks bounds the number of stacks that are followed. If there are more, the
	// Ranker drops those that hold the least. Default: 4,096, about 8 MB.
	MaxStacks int

	// MinSpan is how long at least a stack must grow before it is a suspect. Growth that
	// ends within half of this time is rarely reported. Default: DefaultMinSpan.
	MinSpan time.Duration

	// Allocator reports whether a return address is in the allocator itself. The
	// allocator's frames are not taken for the common cause of growth. Default: addresses
	// in a mapping with "jemalloc" in its name. If jemalloc is linked statically, use
	// Symbols.Allocator. If Code is set, Allocator is not used.
	Allocator func(pc uint64) bool

	// Code returns the function of a return address; see Symbols.Code. The Ranker calls it
	// for all addresses of each dump, so it must be quick. Default: each address counts as a
	// function of its own, in C or in the allocator. Then stacks have addresses in common
	// instead of functions, and their Go frames are not known.
	Code func(pc uint64) Code
}

// What a suspect needs at least.
const (
	DefaultMinSpan = 220 * time.Second // between the first dump and the last, see RankerConfig.MinSpan
	MinDumps       = minPoints
)

// Ranker follows every stack through a series of dumps of one process and finds those
// that grow. Its memory does not depend on the number of dumps, because it keeps fewer of
// the older dumps. It may be used from many goroutines.
type Ranker struct {
	cfg RankerConfig

	mu     sync.Mutex
	rate   uint64
	times  []time.Time // of the dumps that are kept, rising
	tracks map[string]*track
	maps   []Mapping // of the last dump
	folder folder
}

// track is one stack's history, a point for each of Ranker.times.
type track struct {
	pcs         []uint64 // folded, see folder
	times       []int    // how often each is there; nil: once
	points      []point
	objects     float64 // now, unbiased
	first, last time.Time

	// What grouping knows of the functions on the stack, see learn.
	place
	kinds           []Kind
	unnamed         []bool
	inward, outward []uint64 // their IDs from the innermost on, and from the outermost
}

// point is what a stack held at one dump.
type point struct {
	bytes   float32 // unbiased
	samples float32 // objects that were sampled
	peak    float32 // most samples since the point before, dumps not kept included
}

// maxPoints is how many dumps are kept: 20 minutes at one in 15 s, and days
// at a falling density.
const maxPoints = 96

// NewRanker returns an empty Ranker.
func NewRanker(cfg RankerConfig) *Ranker {
	if cfg.MaxStacks <= 0 {
		cfg.MaxStacks = 4096
	}
	if cfg.MinSpan <= 0 {
		cfg.MinSpan = DefaultMinSpan
	}
	return &Ranker{cfg: cfg, tracks: make(map[string]*track)}
}

// Errors of Ranker.Add. Start a new Ranker after ErrOtherProfile.
var (
	// ErrNoTime: Dump.Time is zero or not after that of the dump before.
	ErrNoTime = errors.New("the dump's time is not set or not after the last one's")
	// ErrOtherProfile: the dump is of a process with another sample rate.
	ErrOtherProfile = errors.New("the dump has another sample rate than those before")
)

// Add adds the next dump of the process. It keeps only the dump's addresses and map. Dumps
// every 10 to 15 seconds work best. A suspect needs at least 12 dumps.
//
// Use one Ranker for each process, and another one after a prof.reset.
func (r *Ranker) Add(d *Dump) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.Time.IsZero() || len(r.times) > 0 && !d.Time.After(r.times[len(r.times)-1]) {
		return fmt.Errorf("add to ranking: %w", ErrNoTime)
	}
	if r.rate != 0 && r.rate != d.Rate {
		return fmt.Errorf("add to ranking: %w", ErrOtherProfile)
	}
	r.rate, r.maps = d.Rate, d.Mappings
	r.times = append(r.times, d.Time)
	for _, t := range r.tracks {
		t.points = append(t.points, point{})
		t.objects = 0
	}
	code := r.cfg.Code
	if code == nil {
		code = func(pc uint64) Code { return Code{ID: pc} }
	}
	var key []byte
	var fresh []newcomer
	seed, seen := maphash.MakeSeed(), make(map[uint64]int) // fresh, by their keys
	for i := range d.Stacks {
		s := &d.Stacks[i]
		if s.Inuse.Objects == 0 {
			continue
		}
		pcs, times := r.folder.fold(s.PCs, code)
		key = appendKey(key[:0], pcs)
		if t := r.tracks[string(key)]; t != nil {
			t.add(d, s, times)
			continue
		}
		hash := maphash.Bytes(seed, key)
		n, ok := seen[hash]
		if !ok {
			n = len(fresh)
			seen[hash] = n
			if times != nil { // else they are the dump's
				pcs = slices.Clone(pcs)
			}
			fresh = append(fresh, newcomer{pcs: pcs})
		}
		fresh[n].add(d, s, times)
	}
	r.admit(d, fresh)
	if len(r.times) > maxPoints {
		r.thin()
	}
	return nil
}

// add adds a stack to the last point: several may be one when they are folded.
func (t *track) add(d *Dump, s *Stack, times []int) {
	t.points[len(t.points)-1].add(d, s)
	t.objects += s.Inuse.Unbias(d.Rate).Objects
	t.times = deeper(t.times, times)
	t.last = d.Time
}

func (p *point) add(d *Dump, s *Stack) {
	p.bytes += float32(s.Inuse.Unbias(d.Rate).Bytes)
	p.samples += float32(s.Inuse.Objects)
	p.peak = p.samples
}

// newcomer is a stack that was not seen before, or is not followed.
type newcomer struct {
	pcs     []uint64
	times   []int
	point   point
	objects float64
}

func (n *newcomer) add(d *Dump, s *Stack, times []int) {
	n.point.add(d, s)
	n.objects += s.Inuse.Unbias(d.Rate).Objects
	n.times = deeper(n.times, times)
}

// admit begins to follow new stacks. If there are too many, those that hold
// the least are left out or forgotten; at the same size the new ones, so that
// what comes and goes does not push out what grows slowly.
func (r *Ranker) admit(d *Dump, fresh []newcomer) {
	if excess := len(r.tracks) + len(fresh) - r.cfg.MaxStacks; excess > 0 {
		fresh = r.choose(fresh, excess)
	}
	for _, n := range fresh {
		t := &track{pcs: slices.Clone(n.pcs), times: n.times, points: make([]point, len(r.times), maxPoints+1), objects: n.objects, first: d.Time, last: d.Time}
		t.points[len(t.points)-1] = n.point
		r.tracks[string(appendKey(nil, n.pcs))] = t
	}
}

// choose drops excess stacks, of those that are followed and the fresh ones,
// and returns the fresh ones that are left.
func (r *Ranker) choose(fresh []newcomer, excess int) []newcomer {
	slices.SortFunc(fresh, func(a, b newcomer) int { return cmp.Compare(b.point.bytes, a.point.bytes) })

	type held struct {
		key   string
		bytes float32
		last  time.Time
	}
	followed := make([]held, 0, len(r.tracks))
	for key, t := range r.tracks {
		followed = append(followed, held{key, t.points[len(t.points)-1].bytes, t.last})
	}
	slices.SortFunc(followed, func(a, b held) int {
		return cmp.Or(cmp.Compare(a.bytes, b.bytes), a.last.Compare(b.last), strings.Compare(a.key, b.key))
	})
	for ; excess > 0; excess-- {
		last := len(fresh) - 1
		if last < 0 || len(followed) > 0 && followed[0].bytes < fresh[last].point.bytes {
			delete(r.tracks, followed[0].key)
			followed = followed[1:]
		} else {
			fresh = fresh[:last]
		}
	}
	return fresh
}

// thin drops the dump that is closest to its neighbours, seen from now: the
// distance between two kept dumps grows with their age. A stack without a
// point left is forgotten.
func (r *Ranker) thin() {
	last := len(r.times) - 1
	drop, least := 1, 0.0
	for j := 1; j < last; j++ {
		gap := float64(r.times[j+1].Sub(r.times[j-1])) / float64(r.times[last].Sub(r.times[j]))
		if j == 1 || gap < least {
			drop, least = j, gap
		}
	}
	r.times = slices.Delete(r.times, drop, drop+1)
	for key, t := range r.tracks {
		next := &t.points[drop+1]
		next.peak = max(next.peak, t.points[drop].peak)
		t.points = slices.Delete(t.points, drop, drop+1)
		if !slices.ContainsFunc(t.points, func(p point) bool { return p.samples != 0 }) {
			delete(r.tracks, key)
		}
	}
}

// Growth is how one stack, or several that leak together, change over time.
type Growth struct {
	// Stacks is how many stacks grow together. PCs are the return addresses of the
	// stack, the innermost first; of several, those of the functions at the inner end
	// that most of the growth has in common, and Chain is all that it has in common.
	// It is empty for a single stack. Cause is the index in Chain of the function that
	// explains the growth: the innermost that all calls go through before their ways
	// part, or where they part in the callers only, the innermost outside of malloc and
	// of what other callers allocate by that do not grow.
	//
	// Functions that call themselves, or each other in turn, are there once. Times is
	// how often each of PCs is there in a row, at most; it is nil if all are once.
	Stacks int
	PCs    []uint64
	Times  []int
	Chain  []Link
	Cause  int

	// BytesPerHour and ObjectsPerHour are the slopes of the live bytes and
	// objects over the window [From, To]; BytesPerHourError is the standard
	// deviation of BytesPerHour by the sampling alone.
	BytesPerHour, BytesPerHourError float64
	ObjectsPerHour                  float64
	From, To                        time.Time

	// Samples is the growth in sampled objects: what the estimate rests on.
	// Its relative error is about 1/sqrt(Samples).
	Samples float64

	// Confidence is the probability, 0 to 1, that sampling alone does not
	// make any of the stacks followed seem to grow like this.
	Confidence float64

	// Verdict says whether it is a suspect, and if not, why.
	Verdict Verdict

	// Bytes and Objects are live now.
	Bytes, Objects float64

	// FirstSeen and LastSeen are the first and the last dump with a live
	// sample of it.
	FirstSeen, LastSeen time.Time
}

// Ranking returns all stacks that are followed: suspects first, then by
// bytes per hour, the fastest first.
func (r *Ranker) Ranking() []Growth {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rank()
}

// Suspects returns what leaks, the fastest first: stacks, and groups of them (see
// grouper). No stack is in two of them. It is one if
// its growth
//   - is above what sampling makes of a constant heap, given the number of
//     stacks that are looked at;
//   - goes on: what fills up and stays (a cache) is none;
//   - stays: in the last third of the time it never comes down to where it
//     has been before (a buffer that is emptied now and then);
//   - came in several steps.
//
// A cache that fills evenly for longer than MinSpan cannot be told from a
// leak before it is full; it is a suspect until then.
func (r *Ranker) Suspects() []Growth {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(r.rank(), func(g Growth) bool { return g.Verdict != Suspect })
}

// Span returns the time between the first and the last dump, and the number
// of dumps that are kept.
func (r *Ranker) Span() (time.Duration, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.times) == 0 {
		return 0, 0
	}
	return r.times[len(r.times)-1].Sub(r.times[0]), len(r.times)
}

func (r *Ranker) rank() []Growth {
	if len(r.tracks) == 0 {
		return nil // no dump yet, or none with a sample
	}
	large := 0
	tracks := make([]*track, 0, len(r.tracks))
	for _, t := range r.tracks {
		tracks = append(tracks, t)
		if t.points[len(t.points)-1].samples >= minSamples {
			large++
		}
	}
	code := r.cfg.Code
	if code == nil {
		code = r.address
	}
	for _, t := range tracks {
		t.learn(code)
	}
	slices.SortFunc(tracks, func(a, b *track) int { return slices.Compare(a.pcs, b.pcs) })
	g := grouper{judge: newJudge(r.times, r.cfg.MinSpan, large)}
	ranking := g.rank(tracks)
	slices.SortStableFunc(ranking, byGrowth)
	return ranking
}

// address takes each address for a function of its own.
func (r *Ranker) address(pc uint64) Code {
	in := r.cfg.Allocator
	if in == nil {
		in = func(pc uint64) bool {
			m := findMapping(r.maps, pc-1)
			return m != nil && strings.Contains(m.File, "jemalloc")
		}
	}
	if in(pc) {
		return Code{ID: pc, Kind: AllocatorCode}
	}
	return Code{ID: pc}
}
