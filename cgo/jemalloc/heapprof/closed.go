package heapprof

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
)

// Loaded is a library as it was when allocations were sampled. Most are still there
// when a dump is taken; one that was closed has left no trace in the memory map of the
// dump, or another library at its place.
type Loaded struct {
	Mapping        // of its code
	BuildID string // in hex; empty if it has none
	// PCs are its return addresses that were on sampled stacks. All: there are no more.
	PCs []uint64
	All bool
}

// here reports whether the library is what the memory map has at its place.
func (s *Symbolizer) here(maps []Mapping, l *Loaded) bool {
	m := findMapping(maps, l.Start)
	if m == nil || !m.Exec || !m.hasFile() || m.Start != l.Start {
		return false
	}
	if l.BuildID == "" {
		return m.File == l.File
	}
	return s.object(m).buildID == l.BuildID
}

// closed are the libraries that are not in the memory map any more.
type closed struct {
	all  []Loaded // the newest first
	here []bool
}

// closedIn compares what was loaded with the memory map.
func (s *Symbolizer) closedIn(maps []Mapping) closed {
	if s.cfg.Loaded == nil {
		return closed{}
	}
	c := closed{all: s.cfg.Loaded()}
	slices.Reverse(c.all)
	gone := false
	for i := range c.all {
		c.here = append(c.here, s.here(maps, &c.all[i]))
		gone = gone || !c.here[i]
	}
	if !gone {
		return closed{}
	}
	return c
}

// find returns the libraries that a return address was in, if one of them was
// closed, the newest first: more than one if it was on stacks in each. The newest is nil
// if it is what is mapped there now.
func (c *closed) find(pc uint64, mapped bool) []*Loaded {
	var found []*Loaded
	for i := range c.all {
		l := &c.all[i]
		if !l.contains(pc-1) || !slices.Contains(l.PCs, pc) {
			continue
		}
		switch {
		case slices.ContainsFunc(found, l.same):
		case c.here[i] && len(found) == 0:
			found = append(found, nil)
		case !c.here[i]:
			found = append(found, l)
		}
	}
	if len(found) > 0 || mapped {
		return found
	}
	for i := range c.all {
		if l := &c.all[i]; !c.here[i] && !l.All && l.contains(pc-1) {
			return []*Loaded{l}
		}
	}
	return nil
}

// same reports whether two are one library, at one place.
func (l *Loaded) same(other *Loaded) bool {
	return other != nil && l.File == other.File && l.BuildID == other.BuildID && l.Start == other.Start
}

// closedObject returns what is known of a closed library's file: of one that is
// still mapped elsewhere or was named before, or of the file at its path if that is
// the same build.
func (s *Symbolizer) closedObject(l *Loaded) *object {
	if l.BuildID != "" {
		for e := s.used.Front(); e != nil; e = e.Next() {
			if o := e.Value.(*object); o.buildID == l.BuildID && o.key.path == l.File && len(o.segments) > 0 {
				s.used.MoveToFront(e)
				return o
			}
		}
	}
	key := objectKey{path: l.File, build: l.BuildID}
	if e, ok := s.objects[key]; ok && !e.Value.(*object).outdated(&s.cfg) {
		s.used.MoveToFront(e)
		return e.Value.(*object)
	} else if ok {
		s.used.Remove(e)
	}
	o := newObject(&s.cfg, key, filepath.Join(s.cfg.Root, l.File))
	if o.buildID != l.BuildID {
		o = &object{key: key, info: o.info, path: o.path, note: "another file has its path now: what was not named before has no name", frames: make(map[uint64][]Frame)}
	}
	s.objects[key] = s.used.PushFront(o)
	return o
}

// nameClosed names the addresses that were found to be in closed libraries.
func (s *Symbolizer) nameClosed(c *closed, found map[uint64][]*Loaded, buf *scratch, out *Symbols) {
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
		these := newSymbols(len(places))
		if o.resolve(&s.cfg, places, buf, these) {
			out.DebugRead++
		}
		note := fmt.Sprintf("it was closed since; %d of its addresses are on stacks", len(places))
		if o.note != "" {
			note += "; " + o.note
		}
		out.Notes = append(out.Notes, path.Base(l.File)+": "+note)
		for _, at := range places {
			if found[at.pc][0] == l {
				out.closed[at.pc] = l
			}
			out.frames[at.pc] = either(out.frames[at.pc], these.frames[at.pc])
		}
	}
}

// either names an address that was on stacks in two libraries, one after the other: by
// both functions, unless they have one name. It has no name if the newer has none, which
// may get it later.
func either(newer, older []Frame) []Frame {
	if len(newer) == 0 {
		return older
	}
	a, b := newer[len(newer)-1], older[len(older)-1]
	if a.Function == b.Function {
		return newer
	}
	return []Frame{{Function: a.Function + " or " + b.Function, Unnamed: a.Unnamed}}
}
