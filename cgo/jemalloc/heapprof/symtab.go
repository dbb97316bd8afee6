package heapprof

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"math"
	"path"
	"slices"
	"sort"
	"strings"
)

// symbolTable finds the function symbol that covers an address. It takes 24 bytes for
// each symbol, and the names, each with a 0 at its end.
type symbolTable struct {
	symbols []symbol // by rising address, one for each address
	names   []byte
	files   []uint32 // offsets in names of the source files' names; only while the table is read
}

type symbol struct {
	addr uint64
	size uint64
	name uint32 // offset in names
	file uint32 // ofAllocator; while the table is read also 1 + the index in files, of a static function
}

// ofAllocator marks jemalloc's functions.
const ofAllocator = math.MaxUint32

// readSymbols reads the function symbols of the debug file. If there are none, it reads
// those of the file itself, or else the exported ones. It leaves out the symbols of Go
// code, nine of ten in a Go program, if cfg.Go names Go code.
func (o *object) readSymbols(cfg *SymbolizerConfig) (*symbolTable, error) {
	table := &symbolTable{}
	type source struct {
		path string
		kind elf.SectionType
	}
	var firstErr error
	for _, src := range []source{{o.debugPath, elf.SHT_SYMTAB}, {o.path, elf.SHT_SYMTAB}, {o.path, elf.SHT_DYNSYM}} {
		if src.path == "" {
			continue
		}
		err := table.read(o, src.path, src.kind, cfg.MaxDebugBytes, cfg.Go != nil)
		if len(table.symbols) > 0 {
			return table, nil
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return table, firstErr
}

func (t *symbolTable) read(o *object, path string, kind elf.SectionType, limit int64, withoutGo bool) error {
	f, err := o.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	section := f.SectionByType(kind)
	if section == nil || int(section.Link) >= len(f.Sections) {
		return nil
	}
	names := f.Sections[section.Link]
	if section.Size > uint64(limit) || names.Size > uint64(limit)-section.Size {
		return fmt.Errorf("the symbol table is above the limit of %d bytes, which MaxDebugBytes sets", limit)
	}
	data, err := section.Data()
	if err != nil {
		return err
	}
	if t.names, err = names.Data(); err != nil {
		return err
	}
	t.symbols, t.files = functions(f.File, data)
	t.tidy(withoutGo)
	return nil
}

// tidy sorts the symbols, marks jemalloc's, and drops what is not needed for lookups.
func (t *symbolTable) tidy(withoutGo bool) {
	if withoutGo {
		t.dropGo()
	}
	t.symbols = slices.DeleteFunc(t.symbols, func(s symbol) bool { return s.size == 0 })
	t.sort()
	t.markAllocator()
	t.compact()
	t.shrink()
}

// dropGo removes the symbols between the two that Go's linker adds at the start and at the
// end of Go code.
func (t *symbolTable) dropGo() {
	var low, high uint64
	for _, s := range t.symbols {
		if s.size != 0 {
			continue
		}
		switch t.text(s) {
		case "runtime.text":
			low = s.addr
		case "runtime.etext":
			high = s.addr
		}
	}
	t.symbols = slices.DeleteFunc(t.symbols, func(s symbol) bool { return low <= s.addr && s.addr < high })
}

// shrink copies the symbols that are left and their names, so that the memory of the
// others can be freed.
func (t *symbolTable) shrink() {
	size := 0
	for _, s := range t.symbols {
		size += len(t.text(s)) + 1
	}
	names := make([]byte, 0, size)
	for i := range t.symbols {
		s := &t.symbols[i]
		at := uint32(len(names))
		names = append(append(names, t.text(*s)...), 0)
		s.name = at
	}
	t.names, t.files = names, nil
	t.symbols = slices.Clone(t.symbols)
}

// functions decodes the symbols of functions and those of source files. In the table a
// static function follows the symbol of its source file. elf.File.Symbols is not used,
// because it makes a string of each name.
func functions(f *elf.File, data []byte) (symbols []symbol, files []uint32) {
	entry := elf.Sym64Size
	if f.Class == elf.ELFCLASS32 {
		entry = elf.Sym32Size
	}
	symbols = make([]symbol, 0, len(data)/entry)
	order := f.ByteOrder
	for ; len(data) >= entry; data = data[entry:] {
		s := symbol{name: order.Uint32(data)}
		var info byte
		var section uint16
		if f.Class == elf.ELFCLASS32 {
			s.addr, s.size = uint64(order.Uint32(data[4:])), uint64(order.Uint32(data[8:]))
			info, section = data[12], order.Uint16(data[14:])
		} else {
			info, section = data[4], order.Uint16(data[6:])
			s.addr, s.size = order.Uint64(data[8:]), order.Uint64(data[16:])
		}
		kind := elf.ST_TYPE(info)
		if kind == elf.STT_FILE {
			files = append(files, s.name)
		}
		if elf.ST_BIND(info) == elf.STB_LOCAL {
			s.file = uint32(len(files))
		}
		if (kind == elf.STT_FUNC || kind == elf.STT_GNU_IFUNC) && section != uint16(elf.SHN_UNDEF) {
			symbols = append(symbols, s)
		}
	}
	return symbols, files
}

// sort sorts the symbols by address. Of those at one address (malloc, __libc_malloc) the
// name that people use comes first: the one with the fewest leading underscores, then the
// shortest.
func (t *symbolTable) sort() {
	slices.SortFunc(t.symbols, func(a, b symbol) int {
		if c := cmp.Compare(a.addr, b.addr); c != 0 {
			return c
		}
		x, y := t.text(a), t.text(b)
		return cmp.Or(cmp.Compare(underscores(x), underscores(y)), cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
}

// compact keeps the first of the symbols at one address.
func (t *symbolTable) compact() {
	for i := len(t.symbols) - 1; i > 0; i-- {
		if a, b := &t.symbols[i-1], &t.symbols[i]; a.addr == b.addr && b.file == ofAllocator {
			a.file = ofAllocator
		}
	}
	t.symbols = slices.CompactFunc(t.symbols, func(a, b symbol) bool { return a.addr == b.addr })
}

// source returns the name of a static function's source file, up to the first dot.
func (t *symbolTable) source(file uint32) string {
	name, _, _ := strings.Cut(path.Base(t.text(symbol{name: t.files[file-1]})), ".")
	return name
}

func (t *symbolTable) text(s symbol) string {
	if int64(s.name) >= int64(len(t.names)) {
		return ""
	}
	name := t.names[s.name:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return string(name)
}

// name returns the name of the symbol that covers addr, or "".
func (t *symbolTable) name(addr uint64) string {
	if s := t.find(addr); s != nil {
		return printable(t.text(*s))
	}
	return ""
}

// allocator reports whether addr is in a function of jemalloc.
func (t *symbolTable) allocator(addr uint64) bool {
	s := t.find(addr)
	return s != nil && s.file == ofAllocator
}

// find returns the symbol that covers addr, or nil. If addr is past the end of the symbol
// before it, addr is in a function whose symbol was stripped.
func (t *symbolTable) find(addr uint64) *symbol {
	if t == nil {
		return nil
	}
	i := sort.Search(len(t.symbols), func(i int) bool { return t.symbols[i].addr > addr })
	// Some symbols lie within larger ones, so a few of the symbols before are tried too.
	for back := 0; back < 4 && i > 0; back++ {
		i--
		if s := &t.symbols[i]; addr-s.addr < s.size {
			return s
		}
	}
	return nil
}

func (t *symbolTable) bytes() int64 {
	if t == nil {
		return 0
	}
	return int64(len(t.symbols))*24 + int64(len(t.names))
}
