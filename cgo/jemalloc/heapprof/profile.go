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

// ProfileOptions say how Dump.Profile writes a dump. The zero value is useful.
type ProfileOptions struct {
	// Symbols name the addresses, as far as they know names. Others are left to
	// pprof, which looks them up itself when the profile is read; all of them, if nil.
	Symbols *Symbols

	// Threads labels each sample with its thread ("thread"), which splits the
	// samples: `go tool pprof -tagfocus=thread=NAME`, `-tagroot=thread`.
	Threads bool

	// Comments are added to the profile's.
	Comments []string
}

// Profile converts the dump: unbiased values per stack, every executable
// mapping, and the sample types alloc_objects, alloc_space, inuse_objects and
// inuse_space, the last one shown by default. Addresses are those of the
// calls, one below the return addresses. Stacks begin where the program called the
// allocator, as far as it is known where that is; no frame is left out by its name. A
// location without a name has no lines, and its mapping does not claim to be
// named (see [NamePlaces]). The alloc types are zero, and a comment says so, unless
// the process runs with opt.prof_accum.
func (d *Dump) Profile(opts ProfileOptions) *profile.Profile {
	c := converter{
		symbols:   opts.Symbols,
		maps:      d.Mappings,
		mappings:  make(map[*Mapping]*profile.Mapping),
		closed:    make(map[*Loaded]*profile.Mapping),
		locations: make(map[locationKey]*profile.Location),
		functions: make(map[functionKey]*profile.Function),
		out: &profile.Profile{
			DefaultSampleType: sampleTypes[InuseSpace].Type,
			PeriodType:        &profile.ValueType{Type: "space", Unit: "bytes"},
			Period:            int64(d.Rate),
			Comments:          slices.Clone(opts.Comments),
		},
	}
	p := c.out
	if !d.Time.IsZero() {
		p.TimeNanos = d.Time.UnixNano()
	}
	if !d.HasAlloc() && len(d.Stacks) > 0 { // without a sample nobody knows
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
	setResolution(p)
	return p
}

type functionKey struct {
	name, file string
}

// locationKey is an address, with its innermost frame or without, which then is part of
// the call before.
type locationKey struct {
	pc     uint64
	within bool
}

type converter struct {
	symbols   *Symbols
	maps      []Mapping
	out       *profile.Profile
	unmapped  *profile.Mapping
	goCode    *profile.Mapping // the part of the program's mapping that is Go's
	mappings  map[*Mapping]*profile.Mapping
	closed    map[*Loaded]*profile.Mapping
	locations map[locationKey]*profile.Location
	nowhere   *profile.Location // of stacks without frames
	functions map[functionKey]*profile.Function
}

// addMappings adds the executable mappings.
func (c *converter) addMappings() {
	for i := range c.maps {
		m := &c.maps[i]
		if !m.Exec {
			continue
		}
		out := profile.Mapping{Start: m.Start, Limit: m.Limit, Offset: m.Offset, BuildID: c.symbols.BuildID(m)}
		out.File = fileOf(m, m.Deleted)
		c.mappings[m] = c.addMapping(out)
		if c.symbols != nil && m.contains(c.symbols.goText.start) && c.symbols.goText.end < m.Limit {
			out.Limit = c.symbols.goText.end
			c.goCode = &out
		}
	}
	c.addGoCode()
}

// addGoCode gives Go's code a mapping of its own, from the same start. The runtime
// has named it, also in a stripped program, and nobody may try that again: what reads
// it from a stripped file gets it wrong. The C code in the same file may be without
// names, which a debug file can give it later. A reader of profiles decides on both by
// mapping.
func (c *converter) addGoCode() {
	if c.goCode == nil {
		return
	}
	// Merging takes mappings of a file for the same that are as many pages long.
	pages := func(m *profile.Mapping) uint64 { return (m.Limit - m.Start + 0xfff) >> 12 }
	for _, m := range c.out.Mapping {
		if m.Start == c.goCode.Start && pages(m) == pages(c.goCode) {
			c.goCode = nil
			return
		}
	}
	c.goCode = c.addMapping(*c.goCode)
}

// fileOf is the file of a mapping, for those who read the profile later. They look
// names up in what is at its path then, which may be another build: go tool pprof does
// not compare build-ids. So the path of a file that is not there any more is written as
// the kernel writes it, which is the path of nothing.
func fileOf(m *Mapping, deleted bool) string {
	if deleted {
		return m.File + deletedSuffix
	}
	return m.File
}

func (c *converter) addMapping(m profile.Mapping) *profile.Mapping {
	m.ID = uint64(len(c.out.Mapping) + 1)
	c.out.Mapping = append(c.out.Mapping, &m)
	return &m
}

// unmappedFile is the mapping of addresses that lie in none.
const unmappedFile = "[unmapped]"

// mapping returns the mapping of an address; there always is one, because
// some readers of profiles fail without.
func (c *converter) mapping(pc, addr uint64) *profile.Mapping {
	if c.symbols != nil && c.symbols.closed[pc] != nil {
		return c.closedMapping(c.symbols.closed[pc])
	}
	if c.goCode != nil && c.symbols.goText.contains(addr) {
		return c.goCode
	}
	if m := findMapping(c.maps, addr); m != nil && m.Exec {
		return c.mappings[m]
	}
	return c.unmappedMapping()
}

func (c *converter) unmappedMapping() *profile.Mapping {
	if c.unmapped == nil {
		// It holds every address, and the same ones in each profile, so that profiles
		// can be compared: an address is known by its distance from the start.
		c.unmapped = c.addMapping(profile.Mapping{File: unmappedFile, Limit: math.MaxUint64})
	}
	return c.unmapped
}

// closedMapping is that of a library that was closed, as it was before.
func (c *converter) closedMapping(l *Loaded) *profile.Mapping {
	if c.closed[l] == nil {
		c.closed[l] = c.addMapping(profile.Mapping{
			Start: l.Start, Limit: l.Limit, Offset: l.Offset, BuildID: l.BuildID,
			File: fileOf(&l.Mapping, c.symbols.replaced[l]),
		})
	}
	return c.closed[l]
}

// named reports whether an address has a name.
func named(frames []Frame) bool { return len(frames) > 1 || len(frames) == 1 && !frames[0].Unnamed }

func (c *converter) addStack(d *Dump, s *Stack, threads bool) {
	pcs := s.PCs[c.entry(s.PCs):]
	locations := make([]*profile.Location, 0, len(pcs))
	for i, pc := range pcs {
		within := i > 0 && c.symbols.partOf(pcs[i-1], pc)
		if within && len(c.symbols.shown(pc)) == 1 {
			continue
		}
		locations = append(locations, c.location(locationKey{pc, within}))
	}
	if len(locations) == 0 {
		locations = append(locations, c.noFrames())
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

// entry is Symbols.entry, and where there are no symbols does what the names of the
// files allow.
func (c *converter) entry(pcs []uint64) int {
	if c.symbols != nil {
		return c.symbols.entry(pcs)
	}
	return entry(pcs, func(pc uint64) bool {
		m := findMapping(c.maps, pc-1)
		return m != nil && jemallocFile(m.File)
	}, func(uint64) bool { return true })
}

// noFrames is the location of a stack without any, as of what the C library allocates
// before stacks can be unwound. Readers of profiles count a sample without a location
// in the total and show it nowhere.
func (c *converter) noFrames() *profile.Location {
	if c.nowhere == nil {
		c.nowhere = &profile.Location{ID: uint64(len(c.out.Location) + 1), Mapping: c.unmappedMapping()}
		c.nowhere.Line = []profile.Line{{Function: c.function(Frame{Function: noFrames})}}
		c.out.Location = append(c.out.Location, c.nowhere)
	}
	return c.nowhere
}

// noFrames stands for the frames of a stack that has none.
const noFrames = "[no frames]"

func (c *converter) location(key locationKey) *profile.Location {
	if l := c.locations[key]; l != nil {
		return l
	}
	pc := key.pc
	call := max(pc, 1) - 1 // 0 comes from a damaged stack
	l := &profile.Location{ID: uint64(len(c.out.Location) + 1), Address: call, Mapping: c.mapping(pc, call)}
	c.locations[key] = l
	c.out.Location = append(c.out.Location, l)
	frames := c.symbols.shown(pc)
	if key.within {
		frames = frames[1:]
	}
	if named(frames) {
		for _, f := range frames {
			l.Line = append(l.Line, profile.Line{Function: c.function(f), Line: int64(f.Line)})
		}
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

// setResolution tells readers which mappings need no more names: those in which
// every location has one. A single one without is enough to say otherwise. For pprof
// a mapping is done if any of its flags is set; if none is, it looks up all of its
// locations, and leaves those as they are of which it finds nothing. For Parca and
// Pyroscope what counts beside is that a location has no lines.
func setResolution(p *profile.Profile) {
	seen := make(map[*profile.Mapping]bool)
	for _, m := range p.Mapping {
		m.HasFunctions, m.HasFilenames, m.HasLineNumbers, m.HasInlineFrames = false, false, false, false
	}
	for _, l := range p.Location {
		m := l.Mapping
		if !seen[m] {
			seen[m] = true
			m.HasFunctions, m.HasFilenames, m.HasLineNumbers = true, true, true
		}
		if len(l.Line) == 0 {
			m.HasFunctions = false
		}
		for _, line := range l.Line {
			m.HasFilenames = m.HasFilenames && line.Function.Filename != ""
			m.HasLineNumbers = m.HasLineNumbers && line.Line != 0
		}
	}
	for m := range seen {
		m.HasFilenames = m.HasFilenames && m.HasFunctions
		m.HasLineNumbers = m.HasLineNumbers && m.HasFunctions
		m.HasInlineFrames = m.HasLineNumbers // whatever gives us lines knows what is inlined
	}
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
	setResolution(m)
	return m, nil
}

// renameDeleted has mappings whose files were replaced since named as they are now, so
// that what did not change is not taken for something new. See fileOf.
func renameDeleted(before, now []*profile.Mapping) {
	for _, m := range before {
		for _, n := range now {
			if n.File == m.File+deletedSuffix && n.Start == m.Start && n.Limit == m.Limit && n.Offset == m.Offset {
				m.File = n.File
			}
		}
	}
}

// Delta returns what changed from one profile to another, to minus from, per
// stack; stacks that did not change are left out. Its time is that of to, its
// duration the time between them. Both are left as they are.
func Delta(from, to *profile.Profile) (*profile.Profile, error) {
	minus := from.Copy()
	minus.Scale(-1)
	renameDeleted(minus.Mapping, to.Mapping)
	d, err := profile.Merge([]*profile.Profile{minus, to})
	if err != nil {
		return nil, fmt.Errorf("delta of heap profiles: %w", err)
	}
	setResolution(d)
	d.TimeNanos = to.TimeNanos
	d.DurationNanos = max(0, to.TimeNanos-from.TimeNanos)
	return d, nil
}
