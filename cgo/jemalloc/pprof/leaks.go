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

// ranking is the stacks by growth, as of a light sample.
type ranking struct {
	at      time.Time
	span    time.Duration // between the first and the last light sample
	samples int           // that are kept of them
	stacks  []heapprof.Growth
	maps    []heapprof.Mapping
	rate    uint64 // bytes between two samples, on average
}

// suspects is how many of them are suspects; those come first.
func (k ranking) suspects() int {
	for i, g := range k.stacks {
		if g.Verdict != heapprof.Suspect {
			return i
		}
	}
	return len(k.stacks)
}

// rank takes a light sample into account. One goroutine calls it.
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
	if d.Live().Objects > 0 { // or there is nothing to rank
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

// learn finds out what functions the addresses of a light sample lie in, all at once:
// to name a single one takes as long, where its file's debug information has to be
// read for it, and a program has thousands.
func (r *Recorder) learn(d *heapprof.Dump) {
	const many = 1 << 16
	if r.code == nil || len(r.code) >= many {
		r.code = make(map[uint64]heapprof.Code)
	}
	var fresh []uint64
	for i := range d.Stacks {
		if d.Stacks[i].Inuse.Objects == 0 {
			continue // not ranked
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

// leaks is what GET leaks answers.
type leaks struct {
	// Time is when the last light sample was taken, SpanSeconds how long before it
	// the first one was, Samples how many of them the ranking rests on.
	Time        time.Time `json:"time,omitzero"`
	SpanSeconds float64   `json:"span_seconds"`
	Samples     int       `json:"samples"`
	// Estimated says that all numbers of bytes and objects are estimates, and from what.
	// Missing: each allocation was sampled, or nothing yet.
	Estimated string `json:"estimated,omitempty"`
	// Unwinder says which stacks there are, see package jemalloc.
	Unwinder string `json:"unwinder"`
	// Suspects is how many of the stacks grow as a leak does. They come first.
	Suspects int    `json:"suspects"`
	Stacks   []leak `json:"stacks"`
	// Paused says since when and why no light samples are taken; missing: they are.
	Paused *Paused `json:"paused,omitempty"`
	// Note says why there may be nothing to see. That samples are paused is in it.
	Note string `json:"note,omitempty"`
}

// leak is one stack and how it grows, see leaks.Estimated.
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
	// Ways is how many stacks grow together. Stack is what they have in common at the
	// inner end, of a single one all of it: the innermost first, jemalloc's own frames
	// left out. Of several, Callers is what they have in common at the outer end, Cause
	// the function that explains the growth, and Chain all that they have in common,
	// from the inner end to the outer, with the ways where they differ.
	Ways    int     `json:"ways"`
	Stack   []frame `json:"stack"`
	Cause   *frame  `json:"cause,omitempty"`
	Callers []frame `json:"callers,omitempty"`
	Chain   []link  `json:"chain,omitempty"`
}

// link is a function that nine tenths of the growth go through, or the ways from one
// such function to the next.
type link struct {
	Function string `json:"function,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Times    int    `json:"times,omitempty"`  // as in frame
	Places   int    `json:"places,omitempty"` // in the function, if the stacks go through several
	Ways     []way  `json:"ways,omitempty"`   // those that most of the growth goes, the first one most
	Count    int    `json:"count,omitempty"`  // of all ways
}

// way is how some of the growth gets from one common function to the next.
type way struct {
	Share float64 `json:"share"` // of the growth
	Stack []frame `json:"stack"` // the innermost first
}

// frame is one function on a stack.
type frame struct {
	Function string `json:"function"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Times    int    `json:"times,omitempty"` // how often in a row, at most, if it is recursive
}

// maxRows bounds a ranking without a bound of its own, which would name all
// addresses of the process.
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

// note says why a ranking has nothing to say yet, or nothing new.
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

// frames is frames as they are served.
func frames(named []heapprof.Frame) []frame {
	out := []frame{}
	for _, f := range named {
		out = append(out, frame{Function: f.Function, File: f.File, Line: f.Line, Times: f.Times})
	}
	return out
}
