package pprof

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
)

// ranking has the stacks ranked by growth, as of a light sample.
type ranking struct {
	at      time.Time     // of the light sample
	span    time.Duration // between the first and the last light sample
	samples int           // number of light samples that the ranker keeps
	stacks  []heapprof.Growth
	maps    []heapprof.Mapping
	rate    uint64 // bytes between two sampled allocations, on average
}

// suspects returns how many of the stacks are suspects. They are the first ones.
func (k ranking) suspects() int {
	for i, g := range k.stacks {
		if g.Verdict != heapprof.Suspect {
			return i
		}
	}
	return len(k.stacks)
}

// rank adds a light sample to the ranking. Only one goroutine calls it.
func (r *Recorder) rank(d *heapprof.Dump) error {
	r.learn(d)
	err := r.ranker.Add(d)
	if errors.Is(err, heapprof.ErrOtherProfile) { // somebody wrote prof.reset
		r.ranker = r.newRanker()
		err = r.ranker.Add(d)
	}
	if err != nil {
		return err
	}
	k := ranking{at: d.Time, maps: d.Mappings, rate: d.Rate}
	k.span, k.samples = r.ranker.Span()
	if d.Live().Objects > 0 { // otherwise there is nothing to rank
		k.stacks = r.ranker.Ranking()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ranked = k
	return nil
}

func (r *Recorder) newRanker() *heapprof.Ranker {
	return heapprof.NewRanker(heapprof.RankerConfig{Code: func(pc uint64) heapprof.Code { return r.code[pc] }})
}

func (r *Recorder) ranking() ranking {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ranked
}

// learn finds the functions of all new addresses of a light sample in one call, because a
// program has thousands of addresses. If the debug information of a file has to be read,
// one address takes as long as all addresses of the file.
func (r *Recorder) learn(d *heapprof.Dump) {
	const many = 1 << 16
	if r.code == nil || len(r.code) >= many {
		r.code = make(map[uint64]heapprof.Code)
	}
	var fresh []uint64
	for i := range d.Stacks {
		if d.Stacks[i].Inuse.Objects == 0 {
			continue // stacks without live samples are not ranked
		}
		for _, pc := range d.Stacks[i].PCs {
			if _, known := r.code[pc]; !known {
				r.code[pc] = heapprof.Code{}
				fresh = append(fresh, pc)
			}
		}
	}
	if len(fresh) == 0 {
		return
	}
	symbols := r.symbolize(d.Mappings, fresh)
	for _, pc := range fresh {
		r.code[pc] = symbols.Code(pc, r.process.isGo(pc))
	}
}

// leaks is the answer to GET leaks.
type leaks struct {
	// Time is when the last light sample was taken. SpanSeconds is the time between the
	// first one and the last. Samples is the number of light samples that the ranking is
	// made from.
	Time        time.Time `json:"time,omitzero"`
	SpanSeconds float64   `json:"span_seconds"`
	Samples     int       `json:"samples"`
	// Estimated says that all numbers of bytes and objects are estimates, and what they are
	// estimated from. It is missing if each allocation is sampled, or if there was no light
	// sample yet.
	Estimated string `json:"estimated,omitempty"`
	// Unwinder says which stacks profiles have, see package jemalloc.
	Unwinder string `json:"unwinder"`
	// Suspects is how many of the stacks grow as a leak does. They are the first ones.
	Suspects int    `json:"suspects"`
	Stacks   []leak `json:"stacks"`
	// Paused says since when and why no light samples are taken. It is missing if they are
	// taken.
	Paused *Paused `json:"paused,omitempty"`
	// Note is the reason why the ranking may be empty or old. If samples are paused, it says
	// so too.
	Note string `json:"note,omitempty"`
}

// leak describes one stack, or several that grow together. See leaks.Estimated.
type leak struct {
	Verdict           heapprof.Verdict `json:"verdict"`
	BytesPerHour      float64          `json:"bytes_per_hour"`
	BytesPerHourError float64          `json:"bytes_per_hour_error"` // standard deviation
	ObjectsPerHour    float64          `json:"objects_per_hour"`
	Confidence        float64          `json:"confidence"`
	GrowthSamples     float64          `json:"growth_samples"`
	LiveBytes         float64          `json:"live_bytes"`
	LiveObjects       float64          `json:"live_objects"`
	FirstSeen         time.Time        `json:"first_seen"`
	LastSeen          time.Time        `json:"last_seen"`
	// Ways is how many stacks grow together. Stack has the frames of a single stack, the
	// innermost first, without jemalloc's own frames. If there are several stacks, Stack
	// has the frames that they have in common at the inner end, and Callers those at the
	// outer end. Cause is then the function that explains the growth. Chain is all that the
	// stacks have in common, from the inner end to the outer one, and the different ways
	// where they differ.
	Ways    int     `json:"ways"`
	Stack   []frame `json:"stack"`
	Cause   *frame  `json:"cause,omitempty"`
	Callers []frame `json:"callers,omitempty"`
	Chain   []link  `json:"chain,omitempty"`
}

// link is a function that is on the stacks of nine tenths of the growth, or the different
// ways from one such function to the next.
type link struct {
	Function string `json:"function,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Times    int    `json:"times,omitempty"`  // as in frame
	Places   int    `json:"places,omitempty"` // number of addresses in the function, if the stacks have several
	Ways     []way  `json:"ways,omitempty"`   // the ways with most of the growth, the largest first
	Count    int    `json:"count,omitempty"`  // number of all ways
}

// way is how some of the stacks get from one common function to the next.
type way struct {
	Share float64 `json:"share"` // of the growth, 0 to 1
	Stack []frame `json:"stack"` // the innermost first
}

// frame is one function on a stack.
type frame struct {
	Function string `json:"function"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Times    int    `json:"times,omitempty"` // largest number of calls in a row, if it is recursive
}

// maxRows bounds the number of stacks in an answer. Without a bound, ?all=1 would have to
// name all addresses of the process.
const maxRows = 50

func (r *Recorder) serveLeaks(w http.ResponseWriter, q *http.Request) {
	all, err := boolParam(q, "all")
	if err != nil {
		r.fail(w, q, err)
		return
	}
	format, err := formatParam(q, "json", "text")
	if err != nil {
		r.fail(w, q, err)
		return
	}
	k := r.ranking()
	shown := k.stacks
	if !all {
		shown = shown[:k.suspects()]
	}
	shown = shown[:min(len(shown), maxRows)]
	var pcs []uint64
	for _, g := range shown {
		pcs = append(pcs, g.Addresses()...)
	}
	if err := r.gate.enter(q.Context()); err != nil {
		r.fail(w, q, err)
		return
	}
	symbols := r.symbolize(k.maps, pcs)
	r.gate.leave()

	paused := r.paused(time.Now())
	if format == "text" {
		header(w, "text/plain; charset=utf-8", "")
		fmt.Fprintf(w, "%d suspects in %d samples over %v\n", k.suspects(), k.samples, k.span.Round(time.Second))
		if note := r.note(q.Context(), k, paused); note != "" {
			fmt.Fprintln(w, note)
		}
		if len(shown) > 0 {
			fmt.Fprintln(w)
		}
		heapprof.WriteGrowth(w, shown, symbols) // an error means that the client is gone
		return
	}
	out := leaks{
		Time: k.at, SpanSeconds: k.span.Seconds(), Samples: k.samples, Unwinder: r.process.stacks(),
		Suspects: k.suspects(), Stacks: []leak{}, Paused: paused, Note: r.note(q.Context(), k, paused),
	}
	if k.rate > 1 {
		out.Estimated = estimated(k.rate)
	}
	for _, g := range shown {
		l := leak{
			Verdict: g.Verdict, BytesPerHour: g.BytesPerHour, BytesPerHourError: g.BytesPerHourError,
			ObjectsPerHour: g.ObjectsPerHour, Confidence: g.Confidence, GrowthSamples: g.Samples,
			LiveBytes: g.Bytes, LiveObjects: g.Objects, FirstSeen: g.FirstSeen, LastSeen: g.LastSeen,
			Ways: max(1, g.Stacks), Stack: frames(symbols.Callers(g.PCs, g.Times)),
		}
		l.describe(g, symbols)
		out.Stacks = append(out.Stacks, l)
	}
	writeJSON(w, http.StatusOK, out)
}

// note returns the reason why a ranking is empty or old, or "".
func (r *Recorder) note(ctx context.Context, k ranking, paused *Paused) string {
	if r.process.Unwinder == jemalloc.UnwinderNone {
		return r.process.UnwinderReason
	}
	if !r.sampled(ctx) {
		return samplingOff
	}
	switch {
	case r.cfg.SampleInterval < 0:
		return "nothing is ranked: Config.SampleInterval is below 0"
	case paused != nil:
		return paused.String()
	case k.samples == 0:
		return fmt.Sprintf("no sample was taken yet: the first comes %v after the start", r.cfg.SampleInterval)
	case k.span < heapprof.DefaultMinSpan:
		return fmt.Sprintf("leaks stand out from the noise of sampling after %v at the earliest", heapprof.DefaultMinSpan)
	case k.samples < heapprof.MinDumps:
		return fmt.Sprintf("leaks are named after %d samples at the earliest: they are taken each %v if the machine and Config.MaxShare allow it", heapprof.MinDumps, r.cfg.SampleInterval)
	}
	return ""
}

// describe fills in what several stacks have in common.
func (l *leak) describe(g heapprof.Growth, symbols *heapprof.Symbols) {
	if len(g.Chain) == 0 {
		return
	}
	l.Stack, l.Chain = []frame{}, []link{}
	inner := true
	for i, c := range g.Chain {
		if c.PC == 0 {
			gap := link{Count: c.Count}
			for _, w := range c.Ways {
				gap.Ways = append(gap.Ways, way{w.Share, frames(symbols.Callers(w.PCs, w.Times))})
			}
			l.Chain = append(l.Chain, gap)
			l.Callers, inner = nil, false
			continue
		}
		named := frames(symbols.Link(c))
		places := 0
		if c.Lines > 1 {
			places = c.Lines
		}
		for _, f := range named {
			l.Chain = append(l.Chain, link{Function: f.Function, File: f.File, Line: f.Line, Times: f.Times, Places: places})
		}
		if inner {
			l.Stack = append(l.Stack, named...)
		} else {
			l.Callers = append(l.Callers, named...)
		}
		if i == g.Cause && len(named) > 0 {
			l.Cause = &named[len(named)-1]
		}
	}
}

// frames converts frames to those of the JSON.
func frames(named []heapprof.Frame) []frame {
	out := []frame{}
	for _, f := range named {
		out = append(out, frame{Function: f.Function, File: f.File, Line: f.Line, Times: f.Times})
	}
	return out
}
