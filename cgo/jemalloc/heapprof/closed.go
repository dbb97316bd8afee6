package heapprof

import (
	"fmt"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Loaded is a library as it was when allocations were sampled. Most libraries are still
// loaded when a dump is taken. If one was closed before, the memory map of the dump has
// nothing at its addresses, or another library.
type Loaded struct {
	Mapping        // of its code
	BuildID string // in hex; empty if it has none
	Headers uint64 // of a library without a build-id: a hash of its ELF headers, which differs between builds
	// PCs are the return addresses in the library that were on sampled stacks. All says
	// that there were no others.
	PCs []uint64
	All bool
}

func (l *Loaded) identity() string { return identity(l.BuildID, l.Headers) }

// here reports whether the memory map has the library at its addresses.
func (s *Symbolizer) here(maps []Mapping, l *Loaded) bool {
	m := findMapping(maps, l.Start)
	return m != nil && m.Exec && m.hasFile() && m.Start == l.Start && s.object(m).identity == l.identity()
}

// closed has the recorded libraries, or none if all of them are in the memory map.
type closed struct {
	all  []Loaded // the library that was seen first is the last
	here []bool   // whether the library of the same index is in the memory map
	more bool     // there were libraries that are not in all
}

// closedIn compares the libraries that were loaded with the memory map.
func (s *Symbolizer) closedIn(maps []Mapping) closed {
	if s.cfg.Loaded == nil {
		return closed{}
	}
	var c closed
	c.all, c.more = s.cfg.Loaded()
	slices.Reverse(c.all)
	gone := false
	for i := range c.all {
		c.here = append(c.here, s.here(maps, &c.all[i]))
		gone = gone || !c.here[i]
	}
	if !gone {
		c.all = nil
	}
	return c
}

// stillHere stands in a list of closed libraries for what the memory map has at an
// address.
var stillHere *Loaded

// find returns the libraries in which a return address may have been when it was on a
// stack, if one of them was closed. There are several if stacks had the address in each
// of them, or if that is not known, because a library had too many addresses to record
// them all. The library that is mapped there now comes first.
func (c *closed) find(pc uint64, mapped bool) []*Loaded {
	var found []*Loaded
	here := mapped && c.more
	for i := range c.all {
		l := &c.all[i]
		switch {
		case !l.contains(pc-1) || l.All && !slices.Contains(l.PCs, pc):
		case c.here[i]:
			here = true
		case !slices.ContainsFunc(found, l.same):
			found = append(found, l)
		}
	}
	if here && len(found) > 0 {
		found = slices.Insert(found, 0, stillHere)
	}
	return found
}

// same reports whether both are the same build of the same file at the same address.
func (l *Loaded) same(other *Loaded) bool {
	return l.File == other.File && l.identity() == other.identity() && l.Start == other.Start
}

// closedObject returns the object of a closed library: one of the same build that is
// still mapped elsewhere or was used before, or a new one of the file at the library's
// path. If that file is another build, the object has no names.
func (s *Symbolizer) closedObject(l *Loaded) *object {
	for e := s.used.Front(); e != nil; e = e.Next() {
		if o := e.Value.(*object); o.identity == l.identity() && o.key.path == l.File && len(o.segments) > 0 {
			s.used.MoveToFront(e)
			return o
		}
	}
	key := objectKey{path: l.File, build: l.identity()}
	if e, ok := s.objects[key]; ok && !e.Value.(*object).outdated(&s.cfg) {
		s.used.MoveToFront(e)
		return e.Value.(*object)
	} else if ok {
		s.used.Remove(e)
	}
	o := newObject(&s.cfg, key, filepath.Join(s.cfg.Root, l.File))
	if o.info != nil && o.identity != l.identity() {
		o.segments, o.note = nil, errReplaced.Error()
	}
	s.objects[key] = s.used.PushFront(o)
	return o
}

// at reports whether the file at the library's path is still that library.
func (o *object) at(l *Loaded) bool {
	f, err := o.open(o.path)
	if err != nil {
		return false
	}
	f.Close()
	return o.identity == l.identity()
}

// nameClosed names the addresses that may have been in closed libraries. found has the
// libraries of each of them.
func (s *Symbolizer) nameClosed(c *closed, found map[uint64][]*Loaded, buf *scratch, out *Symbols) {
	names := make(map[uint64][][]Frame, len(found)) // the frames of an address in each of its libraries
	for pc, libraries := range found {
		if libraries[0] == stillHere {
			names[pc] = append(names[pc], out.frames[pc])
		}
	}
	var objects []*object // each once, even if it was loaded several times
	addresses := make(map[*object]int)
	for i := range c.all {
		l := &c.all[i]
		var places []located
		for pc, libraries := range found {
			if slices.Contains(libraries, l) {
				places = append(places, located{pc: pc, offset: pc - 1 - l.Start + l.Offset})
			}
		}
		if len(places) == 0 {
			continue
		}
		o := s.closedObject(l)
		if addresses[o] == 0 {
			objects = append(objects, o)
		}
		addresses[o] += len(places)
		out.replaced[l] = !o.at(l)
		these := newSymbols(len(places))
		if o.resolve(&s.cfg, places, buf, these) {
			out.DebugRead++
		}
		for _, at := range places {
			names[at.pc] = append(names[at.pc], these.frames[at.pc])
		}
	}
	for pc, libraries := range found {
		frames, sure := anyOf(names[pc])
		out.frames[pc], out.closed[pc] = frames, libraries[0]
		if !sure {
			out.closed[pc] = ambiguous
		}
	}
	for _, o := range objects {
		note := fmt.Sprintf("it was closed since; %d of its addresses are on stacks", addresses[o])
		if o.note != "" {
			note += "; " + o.note
		}
		out.Notes = append(out.Notes, path.Base(o.key.path)+": "+note)
	}
	if c.more {
		out.Notes = append(out.Notes, "more libraries were opened than are remembered: if one of the others was closed since, its addresses may have the names of the library that is mapped there now")
	}
}

// ambiguous is the mapping of addresses if it is not known in which of several libraries
// they were. Its name is not the path of a file, so that readers of the profile do not
// look names up in one of the libraries later.
var ambiguous = &Loaded{Mapping: Mapping{File: "[ambiguous]", Limit: math.MaxUint64}}

// anyOf names an address that was in one of several libraries, by the functions that
// each of them has there. sure is true if these functions do not differ.
func anyOf(libraries [][]Frame) (frames []Frame, sure bool) {
	first := libraries[0]
	differs := func(other []Frame) bool { return !named(other) || !slices.Equal(other, first) }
	if len(libraries) == 1 || !slices.ContainsFunc(libraries, differs) {
		return first, true
	}
	var names []string
	for _, frames := range libraries {
		if name := frames[len(frames)-1].Function; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return []Frame{{Function: strings.Join(names, " or ")}}, false
}
