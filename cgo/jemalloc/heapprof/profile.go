package heapprof

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/google/pprof/profile"
)

// Indexes of the sample types that Dump.Profile writes.
const (
	AllocObjects = iota
	AllocSpace
	InuseObjects
	InuseSpace
)

var sampleTypes = [...]profile.ValueType{
	AllocObjects: {Type: "alloc_objects", Unit: "count"},
	AllocSpace:   {Type: "alloc_space", Unit: "bytes"},
	InuseObjects: {Type: "inuse_objects", Unit: "count"},
	InuseSpace:   {Type: "inuse_space", Unit: "bytes"},
}

// DropFrames matches jemalloc's own functions below malloc, in the form of
// profile.Profile.DropFrames: pprof hides them and what they call. The
// allocation functions that a program calls stay.
const DropFrames = `(je_)?prof_.*|(je_)?(imalloc|iallocztm|arena_malloc|large_malloc|large_palloc|tcache_alloc|do_rallocx|te_|thread_event).*|` +
	`libjemalloc\.so[.0-9]*\+0x.*`

// ProfileOptions say how Dump.Profile writes a dump. The zero value is useful.
type ProfileOptions struct {
	// Symbols name the addresses. Nil: none; pprof then looks them up itself.
	Symbols *Symbols

	// Threads labels each sample with its thread ("thread"), which splits the
	// samples: `go tool pprof -tagfocus=thread=NAME`, `-tagroot=thread`.
	Threads bool

	// DropFrames is a regular expression of further function names to hide,
	// such as those of a backtrace hook.
	DropFrames string

	// Comments are added to the profile's.
	Comments []string
}

// Profile converts the dump: unbiased values per stack, every executable
// mapping, and the sample types alloc_objects, alloc_space, inuse_objects and
// inuse_space, the last one shown by default. Addresses are those of the
// calls, one below the return addresses. The alloc types are zero, and a
// comment says so, unless the process runs with opt.prof_accum.
func (d *Dump) Profile(opts ProfileOptions) *profile.Profile {
	c := converter{
		symbols:   opts.Symbols,
		maps:      d.Mappings,
		mappings:  make(map[*Mapping]*profile.Mapping),
		locations: make(map[uint64]*profile.Location),
		functions: make(map[functionKey]*profile.Function),
		out: &profile.Profile{
			DefaultSampleType: sampleTypes[InuseSpace].Type,
			PeriodType:        &profile.ValueType{Type: "space", Unit: "bytes"},
			Period:            int64(d.Rate),
			DropFrames:        DropFrames,
			Comments:          slices.Clone(opts.Comments),
		},
	}
	p := c.out
	if !d.Time.IsZero() {
		p.TimeNanos = d.Time.UnixNano()
	}
	if opts.DropFrames != "" {
		p.DropFrames += "|" + opts.DropFrames
	}
	if !d.HasAlloc() {
		p.Comments = append(p.Comments, "alloc_objects and alloc_space are not known: the process runs without prof_accum:true")
	}
	if opts.Symbols != nil {
		p.Comments = append(p.Comments, opts.Symbols.Notes...)
	}
	for _, t := range sampleTypes {
		p.SampleType = append(p.SampleType, &t)
	}
	c.addMappings()
	for i := range d.Stacks {
		c.addStack(d, &d.Stacks[i], opts.Threads)
	}
	return p
}

type functionKey struct {
	name, file string
}

type converter struct {
	symbols   *Symbols
	maps      []Mapping
	out       *profile.Profile
	unmapped  *profile.Mapping
	mappings  map[*Mapping]*profile.Mapping
	locations map[uint64]*profile.Location
	functions map[functionKey]*profile.Function
}

// addMappings adds the executable mappings. The Has flags are set if there
// are symbols, or pprof would look all addresses up again, by the wrong file
// on another machine.
func (c *converter) addMappings() {
	for i := range c.maps {
		if m := &c.maps[i]; m.Exec {
			c.mappings[m] = c.addMapping(profile.Mapping{
				Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File,
			})
			if c.symbols != nil {
				c.mappings[m].BuildID = c.symbols.BuildIDs[m.File]
			}
		}
	}
}

func (c *converter) addMapping(m profile.Mapping) *profile.Mapping {
	named := c.symbols != nil
	m.ID = uint64(len(c.out.Mapping) + 1)
	m.HasFunctions, m.HasFilenames, m.HasLineNumbers, m.HasInlineFrames = named, named, named, named
	c.out.Mapping = append(c.out.Mapping, &m)
	return &m
}

// mapping returns the mapping of an address; there always is one, because
// some readers of profiles fail without.
func (c *converter) mapping(addr uint64) *profile.Mapping {
	if m := findMapping(c.maps, addr); m != nil && m.Exec {
		return c.mappings[m]
	}
	if c.unmapped == nil {
		c.unmapped = c.addMapping(profile.Mapping{File: "[unmapped]"})
	}
	return c.unmapped
}

func (c *converter) addStack(d *Dump, s *Stack, threads bool) {
	locations := make([]*profile.Location, len(s.PCs))
	for i, pc := range s.PCs {
		locations[i] = c.location(pc)
	}
	if !threads || len(s.Threads) == 0 {
		c.addSample(locations, d.Rate, s.Inuse, s.Alloc, nil)
		return
	}
	for _, t := range s.Threads {
		name := "ended thread"
		if t.Thread >= 0 {
			th := d.Threads[t.Thread]
			if name = th.Name; name == "" {
				name = fmt.Sprintf("thread %d", th.ID)
			}
		}
		c.addSample(locations, d.Rate, t.Inuse, t.Alloc, map[string][]string{"thread": {name}})
	}
}

func (c *converter) addSample(locations []*profile.Location, rate uint64, inuse, alloc Count, labels map[string][]string) {
	live, all := inuse.Unbias(rate), alloc.Unbias(rate)
	c.out.Sample = append(c.out.Sample, &profile.Sample{
		Location: locations,
		Value: []int64{
			AllocObjects: round(all.Objects), AllocSpace: round(all.Bytes),
			InuseObjects: round(live.Objects), InuseSpace: round(live.Bytes),
		},
		Label: labels,
	})
}

func (c *converter) location(pc uint64) *profile.Location {
	if l := c.locations[pc]; l != nil {
		return l
	}
	l := &profile.Location{ID: uint64(len(c.out.Location) + 1), Address: pc - 1, Mapping: c.mapping(pc - 1)}
	c.locations[pc] = l
	c.out.Location = append(c.out.Location, l)
	for _, f := range c.symbols.Frames(pc) {
		l.Line = append(l.Line, profile.Line{Function: c.function(f), Line: int64(f.Line)})
	}
	return l
}

func (c *converter) function(f Frame) *profile.Function {
	key := functionKey{f.Function, f.File}
	if fn := c.functions[key]; fn != nil {
		return fn
	}
	fn := &profile.Function{ID: uint64(len(c.out.Function) + 1), Name: f.Function, SystemName: cmp.Or(f.Symbol, f.Function), Filename: f.File}
	c.functions[key] = fn
	c.out.Function = append(c.out.Function, fn)
	return fn
}

// round keeps hostile counts within int64 and leaves room to add them up.
func round(v float64) int64 {
	const limit = 1 << 60
	return int64(math.Round(min(v, limit)))
}

// Merge adds profiles up, of several processes or times.
func Merge(profiles ...*profile.Profile) (*profile.Profile, error) {
	m, err := profile.Merge(profiles)
	if err != nil {
		return nil, fmt.Errorf("merge heap profiles: %w", err)
	}
	return m, nil
}

// Delta returns what changed from one profile to another, to minus from, per
// stack; stacks that did not change are left out. Its time is that of to, its
// duration the time between them. Both are left as they are.
func Delta(from, to *profile.Profile) (*profile.Profile, error) {
	minus := from.Copy()
	minus.Scale(-1)
	d, err := profile.Merge([]*profile.Profile{minus, to})
	if err != nil {
		return nil, fmt.Errorf("delta of heap profiles: %w", err)
	}
	d.TimeNanos = to.TimeNanos
	d.DurationNanos = max(0, to.TimeNanos-from.TimeNanos)
	return d, nil
}
