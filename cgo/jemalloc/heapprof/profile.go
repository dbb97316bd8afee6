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

// ProfileOptions configure Dump.Profile. The zero value is useful.
type ProfileOptions struct {
	// Symbols has the names of the addresses. Addresses without a name have none in the
	// profile, and pprof looks them up when it reads the profile. If Symbols is nil, that
	// is true of all addresses.
	Symbols *Symbols

	// Threads adds a label ("thread") with the thread to each sample. Each thread then has
	// its own samples: `go tool pprof -tagfocus=thread=NAME`, `-tagroot=thread`.
	Threads bool

	// Comments are added to the profile's comments.
	Comments []string
}

// Profile converts the dump to a profile. It has unbiased values per stack, all executable
// mappings, and the sample types alloc_objects, alloc_space, inuse_objects and inuse_space
// (the default). If the process runs without opt.prof_accum, the alloc types are zero, and
// a comment of the profile says so.
//
// Addresses are those of the calls: the return addresses minus one. A stack begins at the
// call of the allocator, if it is known where that is. No frame is left out because of its
// name. A location without a name has no lines, and its mapping is not marked as named
// (see [NamePlaces]).
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
	if !d.HasAlloc() && len(d.Stacks) > 0 { // a dump without a sample does not show it
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

// locationKey identifies a location: an address, with its innermost frame or without. The
// innermost frame is left out if it is the same call as the frame inside of it (partOf).
type locationKey struct {
	pc     uint64
	within bool // without the innermost frame
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

// addGoCode adds a mapping for Go code, with the same start as the program's mapping. A
// reader of profiles decides for each mapping whether to look up names. Go code has its
// names from the runtime, even in a stripped program. Readers must not look them up again,
// because they get wrong names from a stripped file. The C code in the same file may have
// no names, which a debug file can provide later.
func (c *converter) addGoCode() {
	if c.goCode == nil {
		return
	}
	// profile.Merge treats two mappings of a file as one if they have the same length in
	// pages.
	pages := func(m *profile.Mapping) uint64 { return (m.Limit - m.Start + 0xfff) >> 12 }
	for _, m := range c.out.Mapping {
		if m.Start == c.goCode.Start && pages(m) == pages(c.goCode) {
			c.goCode = nil
			return
		}
	}
	c.goCode = c.addMapping(*c.goCode)
}

// fileOf returns the path of a mapping's file in the profile. Readers of the profile later
// look names up in the file at that path. It may be another build by then, and go tool
// pprof does not compare build-ids. So if the file was deleted or replaced, its path gets
// the suffix that the kernel adds, and there is no file with such a path.
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

// unmappedFile is the file name of the mapping for addresses that are in no mapping.
const unmappedFile = "[unmapped]"

// mapping returns the mapping of an address. It is never nil, because some readers of
// profiles fail if a location has no mapping.
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
		// This mapping contains all addresses and has the same start in each profile.
		// Otherwise profiles could not be compared, because an address is identified by
		// its distance from the start of its mapping.
		c.unmapped = c.addMapping(profile.Mapping{File: unmappedFile, Limit: math.MaxUint64})
	}
	return c.unmapped
}

// closedMapping returns the mapping that a closed library had before it was closed.
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

// entry returns the same as Symbols.entry. If there are no symbols, it recognises
// jemalloc only by the names of the mapped files.
func (c *converter) entry(pcs []uint64) int {
	if c.symbols != nil {
		return c.symbols.entry(pcs)
	}
	return entry(pcs, func(pc uint64) bool {
		m := findMapping(c.maps, pc-1)
		return m != nil && jemallocFile(m.File)
	}, func(uint64) bool { return true })
}

// noFrames returns the location of a stack without frames. The C library's allocations
// have such stacks before the unwinder works. A sample must have a location, because
// readers of profiles count a sample without one in the total but do not show it.
func (c *converter) noFrames() *profile.Location {
	if c.nowhere == nil {
		c.nowhere = &profile.Location{ID: uint64(len(c.out.Location) + 1), Mapping: c.unmappedMapping()}
		c.nowhere.Line = []profile.Line{{Function: c.function(Frame{Function: noFrames})}}
		c.out.Location = append(c.out.Location, c.nowhere)
	}
	return c.nowhere
}

// noFrames is shown instead of the frames of a stack that has none.
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

// setResolution marks the mappings in which every location has a name, so that readers do
// not look names up there. If one location has none, the mapping is not marked. pprof looks
// up all locations of a mapping that has no flag set, and leaves those unchanged for which
// it finds no name. Parca and Pyroscope also look at whether a location has lines.
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
		m.HasInlineFrames = m.HasLineNumbers // each source of lines also has the inlined functions
	}
}

// round limits hostile counts, so that sums of them stay within int64.
func round(v float64) int64 {
	const limit = 1 << 60
	return int64(math.Round(min(v, limit)))
}

// Merge returns the sum of profiles of several processes or times.
func Merge(profiles ...*profile.Profile) (*profile.Profile, error) {
	m, err := profile.Merge(profiles)
	if err != nil {
		return nil, fmt.Errorf("merge heap profiles: %w", err)
	}
	setResolution(m)
	return m, nil
}

// renameDeleted renames the mappings of before whose files were deleted or replaced
// between the two profiles, so that the same mapping has the same name in both. Otherwise
// unchanged stacks would count as new. See fileOf.
func renameDeleted(before, now []*profile.Mapping) {
	for _, m := range before {
		for _, n := range now {
			if n.File == m.File+deletedSuffix && n.Start == m.Start && n.Limit == m.Limit && n.Offset == m.Offset {
				m.File = n.File
			}
		}
	}
}

// Delta returns what changed from one profile to another, per stack: to minus from. Stacks
// that did not change are left out. The time of the result is that of to, and its duration
// is the time between both. Delta changes neither from nor to.
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
