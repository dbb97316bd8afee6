package pprof

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
)

// Reason is why a dump was kept.
type Reason string

// The reasons.
const (
	Requested Reason = "request"  // a request asked for it
	Baseline  Reason = "baseline" // the first of a series, with which later ones are compared
	Grown     Reason = "growth"   // C holds a step more than at the last high water
	Final     Reason = "exit"     // the process was about to end
	Found     Reason = "found"    // an earlier process ended before it could describe the dump
)

// Dump describes a dump that is kept.
type Dump struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`
	Reason Reason    `json:"reason"`
	PID    int       `json:"pid"`
	// Started is when the process was started. PID alone does not identify the process,
	// because it is always the same in a container.
	Started time.Time `json:"process_started,omitzero"`
	// Ramp is the ID of the first dump of the series of growth to which the dump belongs.
	Ramp string `json:"ramp,omitempty"`

	// RSS and Ledger are the resident memory at the time of the dump, and its parts.
	RSS    int64  `json:"rss_bytes"`
	Ledger Ledger `json:"ledger"`

	// LiveBytes and LiveObjects are what C held, estimated from the samples. The ledger has
	// what jemalloc counted. Stacks is the number of stacks with live samples.
	LiveBytes   int64 `json:"live_bytes"`
	LiveObjects int64 `json:"live_objects"`
	Stacks      int   `json:"stacks"`

	// LeakSummary is the line that jemalloc would print if the process ended now.
	LeakSummary string `json:"leak_summary,omitempty"`

	// Since is the ID of the previous dump of the series. It is empty if there is none to
	// compare with. Grown is the stack that grew most since then, or nil if none grew.
	// HoldsMost is the stack that holds the most. It need not have grown.
	Since     string      `json:"since,omitempty"`
	Grown     *GrownStack `json:"grown,omitempty"`
	HoldsMost *GrownStack `json:"holds_most,omitempty"`

	// HeapBytes and ProfileBytes are the sizes of jemalloc's text and of the profile, as
	// they are kept. ProfileBytes is 0 if the process ended before it could make the
	// profile.
	HeapBytes    int64 `json:"heap_bytes"`
	ProfileBytes int64 `json:"profile_bytes"`

	// Stored is "disk" or "memory". Note is the reason if it is not where Config.Dir asks for.
	Stored string `json:"stored"`
	Note   string `json:"note,omitempty"`
}

// SameProcess reports whether two dumps are of the same process, so that their difference
// is growth.
func (d Dump) SameProcess(other Dump) bool {
	return d.PID == other.PID && d.Started.Equal(other.Started)
}

// GrownStack is a stack and what it holds, or how much more it holds than before. Bytes and
// Objects are estimated from the samples.
type GrownStack struct {
	Bytes   int64    `json:"bytes"`
	Objects int64    `json:"objects"`
	Since   string   `json:"since,omitempty"` // ID of the dump with which it was compared
	Stack   []string `json:"stack"`           // "function file.c:12", the innermost first, without the allocator's frames
}

// String returns the stack in one line. It leaves out the middle of a very long stack. The
// inner end shows what allocates, and the outer end what that is called for.
func (g *GrownStack) String() string {
	const inner, outer = 32, 8
	stack := g.Stack
	if len(stack) > inner+outer {
		stack = slices.Concat(stack[:inner], []string{"..."}, stack[len(stack)-outer:])
	}
	return strings.Join(stack, " < ")
}

const idLayout = "20060102T150405.000Z"

// newID returns an ID for a dump. Sorted IDs are in the order of time.
func newID(t time.Time) string { return t.UTC().Format(idLayout) }

// idTime returns the time in an ID, and whether it is a valid ID.
func idTime(id string) (time.Time, bool) {
	t, err := time.Parse(idLayout, id)
	return t, err == nil
}

// describe fills in the fields that can be computed from the dump alone.
func (d *Dump) describe(h *heapprof.Dump) {
	live := h.Live()
	d.LiveBytes, d.LiveObjects = int64(live.Bytes), int64(live.Objects)
	for _, stack := range h.Stacks {
		if stack.Inuse.Objects != 0 {
			d.Stacks++
		}
	}
	d.LeakSummary = leakSummary(h, d.Stacks)
}

// leakSummary returns the same line as jemalloc would print. Like jemalloc it computes the
// estimate from the sum of all stacks, so it differs from LiveBytes.
func leakSummary(h *heapprof.Dump, contexts int) string {
	if h.Inuse.Objects == 0 {
		return ""
	}
	whole := h.Inuse.Unbias(h.Rate)
	s := jemalloc.LeakSummary{Bytes: uint64(math.Round(whole.Bytes)), Objects: uint64(math.Round(whole.Objects)), Contexts: uint64(contexts)}
	line, _, _ := strings.Cut(s.String(), "\n")
	return line
}

// grownSince finds the stack that grew most from one profile to the next.
func grownSince(since string, before, now *profile.Profile) (*GrownStack, error) {
	p, err := heapprof.Delta(before, now)
	if err != nil {
		return nil, err
	}
	g, err := largest(p)
	if g != nil {
		g.Since = since
	}
	return g, err
}

// largest returns the stack with the most live bytes in a profile, or nil if no stack has
// any.
func largest(p *profile.Profile) (*GrownStack, error) {
	p = p.Copy()
	if err := p.RemoveUninteresting(); err != nil {
		return nil, fmt.Errorf("hide the frames that the profile says to: %w", err)
	}
	heapprof.NamePlaces(p)
	var top *profile.Sample
	for _, s := range p.Sample {
		if s.Value[heapprof.InuseSpace] > 0 && (top == nil || s.Value[heapprof.InuseSpace] > top.Value[heapprof.InuseSpace]) {
			top = s
		}
	}
	if top == nil {
		return nil, nil
	}
	g := &GrownStack{Bytes: top.Value[heapprof.InuseSpace], Objects: top.Value[heapprof.InuseObjects]}
	for _, l := range top.Location {
		for _, line := range l.Line {
			frame := heapprof.Frame{Function: line.Function.Name, File: line.Function.Filename, Line: int(line.Line), Symbol: line.Function.SystemName}
			if len(g.Stack) == 0 && frame.Allocator() {
				continue // malloc itself tells the reader nothing
			}
			g.Stack = append(g.Stack, frame.String())
		}
	}
	return g, nil
}

// encode returns a profile as compressed protobuf, which every pprof tool can read.
func encode(p *profile.Profile) ([]byte, error) {
	var b bytes.Buffer
	err := writeProfile(&b, p)
	return b.Bytes(), err
}

func writeProfile(w io.Writer, p *profile.Profile) error {
	if err := p.Write(w); err != nil {
		return fmt.Errorf("pprof: encode the profile: %w", err)
	}
	return nil
}
