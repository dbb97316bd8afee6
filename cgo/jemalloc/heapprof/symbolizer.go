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
	// Go returns the frames of a return address in the process's Go code, and nil for all
	// other addresses. Use GoFrames if the dumps are of this process. If Go is nil, Go
	// code is looked up in the files like C code.
	Go func(pc uint64) []Frame

	// GoText returns the range of addresses of that Go code. Use the function GoText if the
	// dumps are of this process. It is called once for each Symbolize. If it is nil, the
	// range is not known. Then the file that has both Go code and C code has one mapping in
	// the profile, which counts as named only if all addresses in it have names.
	GoText func() (start, end uint64)

	// Proc is the directory of the process in /proc, such as /proc/self, if the process
	// runs. Files that were deleted or replaced since they were mapped are read there. If
	// it is empty, such files are not read.
	Proc string

	// Loaded lists libraries of the process, in the order in which they were first seen.
	// It includes libraries that were closed since, so that addresses in them have names.
	// more is true if there were libraries that it did not record. If Loaded is nil,
	// addresses in closed libraries have no names. It must not call the Symbolizer.
	Loaded func() (all []Loaded, more bool)

	// DebugDirs are searched for separate debug files, by build-id and by the name in
	// .gnu_debuglink. If there is no such file, they are searched again after a minute.
	// Default: /usr/lib/debug.
	DebugDirs []string

	// Root is prepended to the paths of mapped files and of DebugDirs. It is for dumps of
	// a process with another file system, such as /proc/PID/root. Default: none.
	Root string

	// MaxDebugBytes bounds the uncompressed debug sections that are in memory while the
	// addresses of one file are looked up. If a file has more, its addresses have names
	// without lines. Default: 40 MiB.
	MaxDebugBytes int64

	// MaxCacheBytes bounds the memory that is kept between calls. The files that were not
	// used for longest are evicted first. Default: 16 MiB.
	MaxCacheBytes int64
}

// Symbolizer names addresses, and caches what it has read of the files. It holds no file
// open between calls. It may be used from many goroutines. Their calls run one after the
// other, which bounds the memory.
type Symbolizer struct {
	cfg SymbolizerConfig

	mu      sync.Mutex
	objects map[objectKey]*list.Element // of *object
	used    *list.List                  // front: used last
}

// objectKey identifies a mapped file. It differs from the key of another file that later
// has the same path, as long as both are mapped.
type objectKey struct {
	path    string
	inode   uint64
	deleted bool   // at path there is another file or none
	build   string // the identity of a library that is not mapped any more
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

// Symbolize names return addresses of a process whose memory map is maps. It does not
// fail. An address of which nothing is known gets the name of its file and its offset,
// and Symbols.Notes has the reason.
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
		// The return address is after the call, so it may belong to the next line. If the
		// called function never returns, it may even belong to the next function.
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

	var scratch scratch // for the debug sections of one file at a time
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
	// What is left are addresses in mappings that are not executable. They come from a
	// damaged stack.
	for key, rest := range wanted {
		for _, at := range rest {
			out.frames[at.pc] = unnamed(offsetName(key.path, at.offset))
		}
	}
	s.nameClosed(&closed, gone, &scratch, out)
	s.evict()
	return out
}

// unnamed returns the frames of an address that no symbol covers.
func unnamed(place string) []Frame { return []Frame{{Function: place, Unnamed: true}} }

// located is a return address and the offset of its call in a mapped file.
type located struct {
	pc, offset uint64
}

func unmappedName(m *Mapping, call uint64) string {
	if m == nil || m.File == "" {
		return offsetName("", call)
	}
	return fmt.Sprintf("%s+0x%x", m.File, call-m.Start) // [vdso], [heap]
}

// object returns the object of a mapped file. It opens the file the first time.
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

// file returns the path at which a mapped file can be read. A file may have been deleted
// or replaced, for example by the installation of a new version while the old one runs.
// The kernel keeps it in /proc until the process ends. Everybody may read the program
// there. Libraries may be read only by those with the permission for map_files.
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

// evict removes the files that were not used for longest, until the rest is within the
// limit.
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

// sortedAddrs sorts link-time addresses and returns them without duplicates.
func sortedAddrs(addrs []uint64) []uint64 {
	slices.Sort(addrs)
	return slices.Compact(addrs)
}
