package heapprof

import (
	"container/list"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
)

// SymbolizerConfig configures a Symbolizer. The zero value is useful.
type SymbolizerConfig struct {
	// Go names return addresses of the process's Go code and gives nil for all others:
	// GoFrames, if the dumps are of this process. Nil: Go code is looked up in the
	// files like C.
	Go func(pc uint64) []Frame

	// GoText is where that Go code is: GoText, if the dumps are of this process. It is
	// asked once for each Symbolize. Nil: not known, and a profile says of the file
	// that has both Go code and C code whether all of it is named.
	GoText func() (start, end uint64)

	// Proc is the directory of the process in /proc, such as /proc/self, if it runs:
	// files that were removed or replaced since are read there. Empty: they are not read.
	Proc string

	// Loaded lists libraries of the process, in the order in which they were first
	// seen, among them those that were closed since: what they allocated is still named
	// then. If there were more that it does not know of, it says so. Nil: addresses in
	// closed libraries have no names. It must not call the Symbolizer.
	Loaded func() (all []Loaded, more bool)

	// DebugDirs are searched for separate debug files, by build-id and by the
	// name in .gnu_debuglink; again after a minute, if there was none. Default:
	// /usr/lib/debug.
	DebugDirs []string

	// Root is prepended to the paths of mapped files and of DebugDirs, for
	// dumps of another file system such as /proc/PID/root. Default: none.
	Root string

	// MaxDebugBytes bounds the debug sections, uncompressed, that are held
	// while the addresses of one file are looked up; a file with more gives
	// names without lines. Default: 40 MiB.
	MaxDebugBytes int64

	// MaxCacheBytes bounds what is kept between calls; the files used longest
	// ago go first. Default: 16 MiB.
	MaxCacheBytes int64
}

// Symbolizer names addresses and keeps what it learned. It holds no file open
// between calls. It may be used from many goroutines; they take turns, which
// bounds the memory.
type Symbolizer struct {
	cfg SymbolizerConfig

	mu      sync.Mutex
	objects map[objectKey]*list.Element // of *object
	used    *list.List                  // front: used last
}

// objectKey tells a file from its successor of the same name, as long as both are
// mapped.
type objectKey struct {
	path    string
	inode   uint64
	deleted bool   // what is at path is another file, if anything
	build   string // which one it was, of a library that is mapped no longer
}

func keyOf(m *Mapping) objectKey { return objectKey{path: m.File, inode: m.Inode, deleted: m.Deleted} }

// NewSymbolizer returns an empty Symbolizer.
func NewSymbolizer(cfg SymbolizerConfig) *Symbolizer {
	if cfg.DebugDirs == nil {
		cfg.DebugDirs = []string{"/usr/lib/debug"}
	}
	if cfg.MaxDebugBytes <= 0 {
		cfg.MaxDebugBytes = 40 << 20
	}
	if cfg.MaxCacheBytes <= 0 {
		cfg.MaxCacheBytes = 16 << 20
	}
	return &Symbolizer{cfg: cfg, objects: make(map[objectKey]*list.Element), used: list.New()}
}

// SymbolizeDump names every address of a dump.
func (s *Symbolizer) SymbolizeDump(d *Dump) *Symbols {
	symbols := s.Symbolize(d.Mappings, d.PCs())
	symbols.markInner(d.Stacks)
	return symbols
}

// Symbolize names return addresses of a process whose memory map is maps. It
// does not fail: an address that nothing is known of is named by its file and
// offset, and Symbols.Notes says why.
func (s *Symbolizer) Symbolize(maps []Mapping, pcs []uint64) *Symbols {
	out := newSymbols(len(pcs))
	if s.cfg.GoText != nil {
		out.goText.start, out.goText.end = s.cfg.GoText()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := s.closedIn(maps)
	wanted, gone := make(map[objectKey][]located), make(map[uint64][]*Loaded)
	for _, pc := range pcs {
		if s.cfg.Go != nil {
			if frames := s.cfg.Go(pc); len(frames) > 0 {
				out.frames[pc] = frames
				continue
			}
		}
		// A return address belongs to the line, and at the end of a function
		// that never returns even to the function, after the call.
		call := pc - 1
		m := findMapping(maps, call)
		if l := closed.find(pc, m != nil && m.hasFile()); len(l) > 0 {
			gone[pc] = l
			if l[0] != stillHere {
				continue
			}
		}
		if m == nil || !m.hasFile() {
			out.frames[pc] = unnamed(unmappedName(m, call))
			continue
		}
		key := keyOf(m)
		wanted[key] = append(wanted[key], located{pc: pc, offset: call - m.Start + m.Offset})
	}

	var scratch scratch // of debug sections, one file's at a time
	defer scratch.free()
	for i := range maps {
		m := &maps[i]
		key := keyOf(m)
		if !m.Exec || !m.hasFile() {
			continue
		}
		if _, done := out.buildIDs[key]; done {
			continue
		}
		o := s.object(m)
		out.buildIDs[key] = o.buildID
		if len(wanted[key]) == 0 {
			continue
		}
		if o.resolve(&s.cfg, wanted[key], &scratch, out) {
			out.DebugRead++
		}
		delete(wanted, key)
		if o.note != "" {
			out.Notes = append(out.Notes, path.Base(m.File)+": "+o.note)
		}
	}
	// Addresses in mappings that are not executable come from a damaged stack.
	for key, rest := range wanted {
		for _, at := range rest {
			out.frames[at.pc] = unnamed(offsetName(key.path, at.offset))
		}
	}
	s.nameClosed(&closed, gone, &scratch, out)
	s.evict()
	return out
}

// unnamed is what is said of an address that no symbol covers.
func unnamed(place string) []Frame { return []Frame{{Function: place, Unnamed: true}} }

// located is a return address and the place of its call in a mapped file.
type located struct {
	pc, offset uint64
}

func unmappedName(m *Mapping, call uint64) string {
	if m == nil || m.File == "" {
		return offsetName("", call)
	}
	return fmt.Sprintf("%s+0x%x", m.File, call-m.Start) // [vdso], [heap]
}

// object returns what is known of a mapped file, opening it the first time.
func (s *Symbolizer) object(m *Mapping) *object {
	key := keyOf(m)
	if e, ok := s.objects[key]; ok {
		if o := e.Value.(*object); !o.outdated(&s.cfg) {
			s.used.MoveToFront(e)
			return o
		}
		s.used.Remove(e)
		delete(s.objects, key)
	}
	o := newObject(&s.cfg, key, s.file(m))
	before := objectKey{path: key.path, inode: key.inode}
	if e, ok := s.objects[before]; ok && key.deleted && o.path == "" {
		o.inherit(s.used.Remove(e).(*object))
		delete(s.objects, before)
	}
	s.objects[key] = s.used.PushFront(o)
	return o
}

// file is where a mapped file can be read. One that was removed or replaced, as when
// a new version is installed while the old one runs, is there as long as the process
// is: its program for everybody, its libraries for those who may look at map_files.
func (s *Symbolizer) file(m *Mapping) string {
	switch {
	case !m.Deleted:
		return filepath.Join(s.cfg.Root, m.File)
	case s.cfg.Proc == "":
		return ""
	}
	program := filepath.Join(s.cfg.Proc, "exe")
	if exe, err := os.Readlink(program); err == nil && exe == m.File+deletedSuffix {
		return program
	}
	return fmt.Sprintf("%s/map_files/%x-%x", s.cfg.Proc, m.Start, m.Limit)
}

// evict drops the files used longest ago until the rest is within the limit.
func (s *Symbolizer) evict() {
	var kept int64
	for e := s.used.Front(); e != nil; {
		o, next := e.Value.(*object), e.Next()
		kept += o.bytes()
		if kept > s.cfg.MaxCacheBytes {
			s.used.Remove(e)
			delete(s.objects, o.key)
		}
		e = next
	}
}

// sortedAddrs returns the distinct link-time addresses, rising.
func sortedAddrs(addrs []uint64) []uint64 {
	slices.Sort(addrs)
	return slices.Compact(addrs)
}
