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
	times       []int    // how often each of pcs is there in a row; nil: once each
	points      []point
	objects     float64 // now, unbiased
	first, last time.Time

	// What grouping needs to know of the functions on the stack, see learn.
	place
	kinds           []Kind
	unnamed         []bool
	inward, outward []uint64 // their IDs from the innermost on, and from the outermost
}

// point is what a stack held at one dump.
type point struct {
	bytes   float32 // unbiased
	samples float32 // objects that were sampled
	peak    float32 // most samples since the point before, including dumps that are not kept
}

// maxPoints is how many dumps are kept: those of 20 minutes if there is one each 15 s, or
// those of days, with longer distances between the older ones.
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
	seed, seen := maphash.MakeSeed(), make(map[uint64]int) // indexes in fresh, by the hash of the key
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
			if times != nil { // otherwise pcs is the dump's and stays valid
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

// add adds a stack to the last point. Several stacks of a dump may have one track, if they
// are the same when folded.
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

// newcomer is a stack of the new dump that is not followed yet.
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

// admit begins to follow new stacks. If there are too many, the new and the followed stacks
// that hold the least are dropped. If a new one holds as much as a followed one, the new
// one is dropped, so that short-lived stacks do not replace those that grow slowly.
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

// choose drops as many of the followed and the fresh stacks as excess says. It returns the
// fresh ones that are left.
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

// thin drops the dump whose neighbours are closest together in relation to its age. So the
// distance between two kept dumps grows with their age. A stack that has no samples in any
// dump that is left is not followed any more.
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
	// Stacks is how many stacks grow together.
	//
	// PCs are the return addresses of a single stack, the innermost first. If there are
	// several stacks, PCs has only the functions at the inner end that most of the growth
	// has in common. Chain then has all that it has in common; for a single stack Chain is
	// empty.
	//
	// Cause is the index in Chain of the function that explains the growth. If the stacks
	// differ inside of C code, it is the innermost common function outside of the
	// difference. If only their callers differ, it is the innermost function outside of
	// malloc and of wrappers of malloc, which other callers use without growing.
	//
	// Functions that call themselves, or each other in turn, are in PCs once. Times is the
	// largest number of calls in a row for each of PCs. It is nil if all of them are 1.
	Stacks int
	PCs    []uint64
	Times  []int
	Chain  []Link
	Cause  int

	// BytesPerHour and ObjectsPerHour are the slopes of the live bytes and objects over
	// the window [From, To]. BytesPerHourError is the standard deviation of BytesPerHour
	// that results from the sampling alone.
	BytesPerHour, BytesPerHourError float64
	ObjectsPerHour                  float64
	From, To                        time.Time

	// Samples is the growth in sampled objects, from which the estimates are made. Their
	// relative error is about 1/sqrt(Samples).
	Samples float64

	// Confidence is the probability, 0 to 1, that the sampling error alone does not make
	// any of the stacks that are followed seem to grow like this.
	Confidence float64

	// Verdict says whether it is a suspect, or the reason why it is not.
	Verdict Verdict

	// Bytes and Objects are live now.
	Bytes, Objects float64

	// FirstSeen and LastSeen are the first and the last dump with a live
	// sample of it.
	FirstSeen, LastSeen time.Time
}

// Ranking returns the growth of all stacks that are followed: the suspects first, then the
// others, each by bytes per hour, the fastest first.
func (r *Ranker) Ranking() []Growth {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rank()
}

// Suspects returns what leaks, the fastest first: stacks, and groups of them (see grouper).
// No stack is in two of them. A stack or a group is a suspect if its growth
//   - is larger than the sampling error of a constant heap, given the number of stacks that
//     are judged;
//   - continues: a cache that fills up and stays full is not a suspect;
//   - remains: in the last third of the time it never falls back to an earlier level, as a
//     buffer does that is emptied now and then;
//   - came in several steps.
//
// A cache that fills evenly for longer than MinSpan cannot be distinguished from a leak
// before it is full. It is a suspect until then.
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
		return nil // there is no dump yet, or none has a sample
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

// address is the default of RankerConfig.Code: each address counts as a function of its
// own.
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
