package heapprof

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// object is what the Symbolizer keeps of one mapped file: its symbols, the ranges of its
// compilation units, and the frames that were looked up. Addresses are those in the file
// (link-time), so one object is enough for all processes and load addresses.
type object struct {
	key       objectKey
	path      string // of the file, with the root
	debugPath string // of the file with the DWARF: path, or a separate one
	buildID   string // hex; empty if the file has none
	identity  string // differs between builds: the build-id, or a hash of the headers
	note      string // a sentence for people: what is missing
	info      os.FileInfo
	looked    time.Time // when findDebugFile was called last
	segments  []segment

	symbols *symbolTable // nil until needed
	units   *unitIndex   // nil until needed
	frames  map[uint64][]Frame
	strings int64 // approximate bytes of the frames' names
}

// segment is a loaded part of the file.
type segment struct {
	offset, size, addr uint64
}

// newObject reads the segments and the build-id of a file. If the file cannot be read,
// newObject returns an object without names, so that the file is not opened again for
// each dump. path is where the file is. It is empty if the file does not exist any more.
func newObject(cfg *SymbolizerConfig, key objectKey, path string) *object {
	o := &object{key: key, path: path, frames: make(map[uint64][]Frame)}
	if path == "" {
		o.note = noteDeleted
		return o
	}
	f, err := openELF(o.path)
	if err != nil && key.deleted {
		o.path, o.note = "", noteDeleted
		return o
	}
	if err != nil {
		o.note = "no symbols: " + reason(err)
		return o
	}
	defer f.Close()
	o.info, _ = f.file.Stat()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			o.segments = append(o.segments, segment{p.Off, p.Filesz, p.Vaddr})
		}
	}
	o.buildID = buildID(f.File)
	o.identity = identity(o.buildID, headers(f.file))
	o.debugPath, o.looked = o.findDebugFile(cfg, f.File), time.Now()
	return o
}

const noteDeleted = "the file was removed or replaced while the process runs: addresses in it that were not named before have no name until the process is restarted"

// inherit takes over what was read of the file before it was deleted.
func (o *object) inherit(old *object) {
	o.segments, o.buildID, o.identity, o.symbols, o.units, o.frames, o.strings = old.segments, old.buildID, old.identity, old.symbols, old.units, old.frames, old.strings
	if old.debugPath != old.path { // a separate debug file, whose build-id was compared
		o.debugPath = old.debugPath
	}
}

// debugFileLook is the time between two searches for a debug file that was not found.
// Somebody may install it while the process runs, to read its profiles.
const debugFileLook = time.Minute

// outdated reports whether the file has to be read again: another file has its path and
// its inode (file systems reuse the inodes of deleted files), or there is now a debug
// file.
func (o *object) outdated(cfg *SymbolizerConfig) bool {
	if o.info == nil || o.key.deleted {
		return false
	}
	now, err := os.Stat(o.path)
	if err != nil || !os.SameFile(o.info, now) {
		return false
	}
	if !unchanged(o.info, now) {
		return true
	}
	if o.debugPath != "" || time.Since(o.looked) < debugFileLook {
		return false
	}
	o.looked = time.Now()
	f, err := openELF(o.path)
	if err != nil {
		return false
	}
	defer f.Close()
	return o.findDebugFile(cfg, f.File) != ""
}

// addr converts an offset in the file to a link-time address.
func (o *object) addr(offset uint64) (uint64, bool) {
	for _, s := range o.segments {
		if offset-s.offset < s.size { // if offset is less than s.offset, this wraps around to a large number
			return offset - s.offset + s.addr, true
		}
	}
	return 0, false
}

// resolve writes the frames of the given places to out. It reports whether it had to
// read the file for that.
func (o *object) resolve(cfg *SymbolizerConfig, places []located, buf *scratch, out *Symbols) (read bool) {
	var fresh []uint64
	for _, at := range places {
		if addr, ok := o.addr(at.offset); ok && o.frames[addr] == nil {
			fresh = append(fresh, addr)
		}
	}
	if len(fresh) > 0 {
		o.lookup(cfg, sortedAddrs(fresh), buf)
	}
	allocator := jemallocFile(o.key.path)
	for _, at := range places {
		addr, ok := o.addr(at.offset)
		if ok {
			out.frames[at.pc] = o.frames[addr]
		} else {
			out.frames[at.pc] = unnamed(offsetName(o.key.path, at.offset))
		}
		if allocator || ok && o.symbols.allocator(addr) {
			out.allocator[at.pc] = true
		}
	}
	return len(fresh) > 0
}

// lookup fills o.frames for sorted link-time addresses.
func (o *object) lookup(cfg *SymbolizerConfig, addrs []uint64, buf *scratch) {
	if o.symbols == nil {
		var err error
		if o.symbols, err = o.readSymbols(cfg); err != nil {
			o.note = "no symbols: " + reason(err)
		}
	}
	lines, err := o.readLines(cfg.MaxDebugBytes, addrs, buf)
	if err != nil && o.note == "" {
		o.note = "no line numbers: " + reason(err)
	}
	for _, addr := range addrs {
		frames := lines[addr]
		name := o.symbols.name(addr)
		if len(frames) == 0 {
			frames = []Frame{{}}
		}
		// The symbol names the same function as the outermost frame. The symbol's name is
		// used if the DWARF has an internal name (__strdup instead of strdup), or no name,
		// as for hand-written assembly.
		outer := &frames[len(frames)-1]
		if outer.Function == "" || name != "" && underscores(name) < underscores(outer.Function) {
			outer.Function = name
		}
		if whole, ok := splitFrom(name); ok {
			if outer.Function == name {
				outer.Function = whole
			}
			outer.Symbol = name
		}
		if outer.Function == "" {
			outer.Function, outer.Unnamed = offsetName(o.key.path, addr), true
		}
		for i := range frames {
			f := &frames[i]
			f.readable()
			o.strings += int64(len(f.Function) + len(f.File) + len(f.Symbol))
		}
		o.frames[addr] = frames
	}
}

// readLines looks the addresses up in the DWARF. The package debug/dwarf does not promise
// that it returns an error for damaged input, and has panicked on some. The panic is
// recovered, because a library with damaged debug information must not end the program
// that loaded the library.
func (o *object) readLines(limit int64, addrs []uint64, buf *scratch) (lines map[uint64][]Frame, err error) {
	if o.debugPath == "" {
		return nil, nil // o.note has the reason, if there is one
	}
	f, err := o.open(o.debugPath)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer func() {
		if p := recover(); p != nil {
			lines, err = nil, fmt.Errorf("damaged debug information: %v", p)
		}
	}()
	data, err := readDWARF(f.File, limit, buf)
	if data == nil || err != nil {
		return nil, err
	}
	if o.units == nil {
		o.units = data.index()
	}
	return data.frames(o.units, addrs), nil
}

// open opens the file again, or its debug file. It fails if another build has that path
// now, because another build has other functions at the same addresses.
func (o *object) open(path string) (*elfFile, error) {
	f, err := openELF(path)
	if err != nil {
		return nil, err
	}
	same := buildID(f.File) == o.buildID
	if path == o.path {
		now, err := f.file.Stat()
		same = err == nil && unchanged(o.info, now) || identity(buildID(f.File), headers(f.file)) == o.identity
	}
	if !same {
		f.Close()
		return nil, errReplaced
	}
	return f, nil
}

var errReplaced = errors.New("another file has its path now: what was not named before has no name")

// unchanged reports whether both are the same file with the same content.
func unchanged(was, is os.FileInfo) bool {
	return os.SameFile(was, is) && is.Size() == was.Size() && is.ModTime().Equal(was.ModTime())
}

// bytes returns approximately how much memory the object takes.
func (o *object) bytes() int64 {
	const perObject, perFrame = 512, 200
	return perObject + perFrame*int64(len(o.frames)) + o.strings + o.symbols.bytes() + o.units.bytes()
}

// findDebugFile returns the path of the file that has the DWARF: the file itself, or a
// file with the same build-id at one of the places where distributions install debug
// files. It returns "" if there is none.
func (o *object) findDebugFile(cfg *SymbolizerConfig, f *elf.File) string {
	if hasDWARF(f) {
		return o.path
	}
	if len(o.buildID) < 4 {
		return ""
	}
	var candidates []string
	for _, dir := range cfg.DebugDirs {
		candidates = append(candidates, filepath.Join(cfg.Root, dir, ".build-id", o.buildID[:2], o.buildID[2:]+".debug"))
	}
	if link := debugLink(f); link != "" {
		dir := filepath.Dir(o.key.path)
		candidates = append(candidates, filepath.Join(cfg.Root, dir, link), filepath.Join(cfg.Root, dir, ".debug", link))
		for _, debugDir := range cfg.DebugDirs {
			candidates = append(candidates, filepath.Join(cfg.Root, debugDir, dir, link))
		}
	}
	for _, path := range candidates {
		d, err := openELF(path)
		if err != nil {
			continue
		}
		ok := buildID(d.File) == o.buildID
		d.Close()
		if ok {
			return path
		}
	}
	return ""
}

// elfFile is an elf.File whose Close closes the os.File.
type elfFile struct {
	*elf.File
	file *os.File
}

func (f *elfFile) Close() error { return f.file.Close() }

// openELF opens regular files only. The path comes from a dump, and opening a pipe or a
// device may block or have side effects.
func openELF(path string) (*elfFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &elfFile{f, file}, nil
}

// buildID returns the GNU build-id in hex. It reads the note segments, because they are
// in the file even if the section headers were stripped.
func buildID(f *elf.File) string {
	const maxNotes = 64 << 10
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > maxNotes {
			continue
		}
		notes, err := io.ReadAll(p.Open())
		if err != nil {
			continue
		}
		for len(notes) >= 12 {
			nameLen, descLen := int64(f.ByteOrder.Uint32(notes)), int64(f.ByteOrder.Uint32(notes[4:]))
			kind := f.ByteOrder.Uint32(notes[8:])
			desc := 12 + (nameLen+3)&^3
			end := desc + (descLen+3)&^3
			if desc+descLen > int64(len(notes)) {
				break
			}
			const gnuBuildID = 3
			if kind == gnuBuildID && string(notes[12:12+nameLen]) == "GNU\x00" {
				return hex.EncodeToString(notes[desc : desc+descLen])
			}
			notes = notes[min(end, int64(len(notes))):]
		}
	}
	return ""
}

// headers returns a hash of the ELF headers of a 64-bit file. It differs between most
// builds, because the headers have the sizes of the segments and the end of the sections.
// It is 0 if the headers cannot be read.
func headers(file io.ReaderAt) uint64 {
	header := make([]byte, 64)
	if _, err := file.ReadAt(header, 0); err != nil {
		return 0
	}
	order := binary.LittleEndian
	const segment = 56 // bytes
	segments := make([]byte, segment*int(order.Uint16(header[56:])))
	if _, err := file.ReadAt(segments, int64(order.Uint64(header[32:]))); err != nil {
		return 0
	}
	const prime = 0x100000001b3
	var hash uint64
	for words := append(header, segments...); len(words) > 0; words = words[8:] {
		hash = (hash ^ order.Uint64(words)) * prime
	}
	return hash
}

// identity returns a string that differs between builds of one file. It is empty if
// there is neither a build-id nor a hash of the headers.
func identity(buildID string, headers uint64) string {
	if buildID == "" && headers != 0 {
		return fmt.Sprintf("headers %x", headers)
	}
	return buildID
}

// debugLink returns the file name in .gnu_debuglink.
func debugLink(f *elf.File) string {
	s := f.Section(".gnu_debuglink")
	if s == nil || s.Size > 4096 {
		return ""
	}
	data, err := s.Data()
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(data), "\x00")
	if name != filepath.Base(name) {
		return ""
	}
	return name
}

// reason returns the text of an error without the path, because a note begins with the
// file's name.
func reason(err error) string {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return perr.Err.Error()
	}
	return err.Error()
}

func underscores(name string) int { return len(name) - len(strings.TrimLeft(name, "_")) }
