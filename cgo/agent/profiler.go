package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// Profiler makes profiles of the memory that C holds in a process, with the names of C and
// Go functions. It keeps the names, so the next profile takes less time.
type Profiler struct {
	client     *Client
	symbolizer *heapprof.Symbolizer
	root       string // see root

	mu        sync.Mutex
	status    Status
	asked     map[uint64][]heapprof.Frame // addresses in Go code, also those without a name
	libraries []heapprof.Loaded           // with their paths in the form of the memory map
	more      bool                        // libraries are not all
	files     map[libraryKey]string       // their paths
}

// libraryKey identifies a library as the agent lists it.
type libraryKey struct {
	start         uint64
	path, buildID string
	headers       uint64
}

// NewProfiler returns a Profiler. It asks for the agent's status.
func NewProfiler(ctx context.Context, c *Client) (*Profiler, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	p := &Profiler{client: c, status: status, root: root(c.pid), asked: make(map[uint64][]heapprof.Frame)}
	p.symbolizer = heapprof.NewSymbolizer(heapprof.SymbolizerConfig{
		Go:     func(pc uint64) []heapprof.Frame { return p.asked[pc] },
		GoText: func() (start, end uint64) { return p.status.GoTextStart, p.status.GoTextEnd },
		Loaded: func() ([]heapprof.Loaded, bool) { return slices.Clone(p.libraries), p.more },
		Proc:   procPath(c.pid, ""),
		Root:   p.root,
	})
	return p, nil
}

// root returns the directory that is the root of a process, or nothing if it is ours.
func root(pid int) string {
	theirs := procPath(pid, "root")
	mounts, err := os.Readlink(procPath(pid, "ns/mnt"))
	ours, ourErr := os.Readlink("/proc/self/ns/mnt")
	a, aErr := idOf(theirs)
	b, bErr := idOf("/")
	if err == nil && ourErr == nil && aErr == nil && bErr == nil && mounts == ours && a == b {
		return ""
	}
	return theirs
}

// Profile takes a dump and returns it as a profile, with the sample types of
// heapprof.Dump.Profile.
func (p *Profiler) Profile(ctx context.Context) (*profile.Profile, error) {
	// Each profile has the state of its own time in its comments.
	status, err := p.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := p.client.Dump(ctx, &text); err != nil {
		return nil, err
	}
	taken := time.Now()
	// The agent records a library before it counts the sample. So all libraries of the dump
	// are there, if they are asked for after it.
	libraries, more, err := p.client.Libraries(ctx)
	if err != nil {
		return nil, err
	}
	dump, err := heapprof.Parse(&text, heapprof.Limits{})
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", p.client.pid, err)
	}
	dump.Time = taken
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
	p.setLibraries(libraries, more)
	if err := p.ask(ctx, dump.PCs()); err != nil {
		return nil, err
	}
	return dump.Profile(heapprof.ProfileOptions{
		Symbols:  p.symbolizer.SymbolizeDump(dump),
		Comments: comments(p.client.pid, &status, dump),
	}), nil
}

// Change returns what changes in the time d, per stack.
func (p *Profiler) Change(ctx context.Context, d time.Duration) (*profile.Profile, error) {
	from, err := p.Profile(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	to, err := p.Profile(ctx)
	if err != nil {
		return nil, err
	}
	change, err := heapprof.Delta(from, to)
	if err != nil {
		return nil, err
	}
	change.Comments = append([]string{fmt.Sprintf("what changed from %s to %s", clock(from), clock(to))}, to.Comments...)
	if from.Period != to.Period {
		change.Comments = append(change.Comments, "the sample rate was changed meanwhile, so this is no change of the memory")
	}
	return change, nil
}

func clock(p *profile.Profile) string { return time.Unix(0, p.TimeNanos).UTC().Format(time.RFC3339) }

// ask asks the agent for the frames of those addresses in Go code that are not known yet.
func (p *Profiler) ask(ctx context.Context, pcs []uint64) error {
	pcs = slices.DeleteFunc(pcs, func(pc uint64) bool {
		_, known := p.asked[pc]
		// A return address may be the end of the code, behind its last call.
		return known || pc <= p.status.GoTextStart || pc > p.status.GoTextEnd
	})
	if len(pcs) == 0 {
		return nil
	}
	names, err := p.client.Names(ctx, pcs)
	if err != nil {
		return err
	}
	for _, pc := range pcs {
		p.asked[pc] = names[pc]
	}
	return nil
}

// setLibraries sets the libraries that the agent lists, with their paths in the form of the
// memory map. Each path stays as it was when the library was first listed, because a
// symbolic link may lead to another file later.
func (p *Profiler) setLibraries(libraries []heapprof.Loaded, more bool) {
	before, fs := p.files, fileSystemOf(p.client.pid, p.root)
	p.files = make(map[libraryKey]string, len(libraries))
	for i := range libraries {
		l := &libraries[i]
		key := libraryKey{l.Start, l.File, l.BuildID, l.Headers}
		file, known := before[key]
		if !known {
			file = printable(fs.real(l.File)) // as in the memory map
		}
		p.files[key], l.File = file, file
	}
	p.libraries, p.more = libraries, more
}

// comments returns the comments of a profile: of which process it is, how its numbers were
// estimated, and what it does not contain.
func comments(pid int, s *Status, d *heapprof.Dump) []string {
	stacks := s.Unwinder
	if s.UnwinderReason != "" {
		stacks += ": " + s.UnwinderReason
	}
	all := []string{fmt.Sprintf("native memory of process %d, by magellan's agent", pid), "stacks: " + stacks}
	if d.Rate > 1 {
		all = append(all, fmt.Sprintf("all values are estimates: one allocation in each %s is sampled", heapprof.Amount(float64(d.Rate), "bytes")))
	}
	if !s.Active {
		all = append(all, "sampling is off, what is allocated meanwhile is not seen, also not later: magellan heap sampling switches it on")
	}
	if !s.First {
		all = append(all, fmt.Sprintf("calls of malloc go to %s and not to the agent, so most are not seen", s.FirstOther))
	}
	if s.Missed > 0 {
		all = append(all, fmt.Sprintf("%d samples are missing, because there was no memory for them", s.Missed))
	}
	return all
}
