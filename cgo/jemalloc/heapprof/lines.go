package heapprof

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sort"
)

// dwarfSections are the sections that are needed for names and lines. Locations, types by
// signature and unwinding tables are not read.
var dwarfSections = []string{"abbrev", "info", "line", "ranges", "str", "line_str", "rnglists", "addr", "str_offsets"}

func hasDWARF(f *elf.File) bool {
	s := f.Section(".debug_info")
	return s != nil && s.Type != elf.SHT_NOBITS
}

// debugData is the DWARF of one file while its addresses are looked up.
type debugData struct {
	*dwarf.Data
	info  []byte
	order binary.ByteOrder
}

// readDWARF reads the debug sections into buf. It returns nil if there are none. The
// result is valid until buf is used again.
func readDWARF(f *elf.File, limit int64, buf *scratch) (*debugData, error) {
	var total uint64
	found := make(map[string]*elf.Section)
	for _, name := range dwarfSections {
		s := f.Section(".debug_" + name)
		if s == nil || s.Type == elf.SHT_NOBITS {
			continue
		}
		if total += s.Size; s.Size > uint64(limit) || total > uint64(limit) {
			return nil, fmt.Errorf("the debug information is above the limit of %d bytes, which MaxDebugBytes sets", limit)
		}
		found[name] = s
	}
	if found["info"] == nil {
		return nil, nil
	}
	rest, err := buf.take(total)
	if err != nil {
		return nil, err
	}
	data := make(map[string][]byte)
	for name, s := range found {
		part := rest[:s.Size:s.Size]
		rest = rest[s.Size:]
		if _, err := io.ReadFull(s.Open(), part); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
		data[name] = part
	}
	d, err := dwarf.New(data["abbrev"], nil, nil, data["info"], data["line"], nil, data["ranges"], data["str"])
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"line_str", "rnglists", "addr", "str_offsets"} {
		if part, ok := data[name]; ok {
			if err := d.AddSection(".debug_"+name, part); err != nil {
				return nil, err
			}
		}
	}
	return &debugData{Data: d, info: data["info"], order: f.ByteOrder}, nil
}

// unitIndex finds the compilation unit of an address. It takes 24 bytes for each range.
type unitIndex struct {
	ranges []unitRange // by rising low
}

type unitRange struct {
	low, high uint64
	unit      dwarf.Offset
}

func (x *unitIndex) bytes() int64 {
	if x == nil {
		return 0
	}
	return 24 * int64(len(x.ranges))
}

// find returns the unit of addr.
func (x *unitIndex) find(addr uint64) (dwarf.Offset, bool) {
	i := sort.Search(len(x.ranges), func(i int) bool { return x.ranges[i].low > addr })
	if i == 0 || addr >= x.ranges[i-1].high {
		return 0, false
	}
	return x.ranges[i-1].unit, true
}

// index reads the first entry of each compilation unit.
func (d *debugData) index() *unitIndex {
	x := &unitIndex{}
	r := d.Reader()
	for _, offset := range unitOffsets(d.info, d.order) {
		r.Seek(offset)
		entry, err := r.Next()
		if err != nil || entry == nil || entry.Tag != dwarf.TagCompileUnit {
			continue
		}
		ranges, err := d.Ranges(entry)
		if err != nil {
			continue
		}
		for _, r := range ranges {
			if r[0] != 0 && r[0] < r[1] { // the linker sets 0 for code that it dropped
				x.ranges = append(x.ranges, unitRange{r[0], r[1], offset})
			}
		}
	}
	slices.SortFunc(x.ranges, func(a, b unitRange) int { return cmp.Compare(a.low, b.low) })
	x.ranges = slices.Clip(x.ranges)
	return x
}

// unitOffsets reads the unit headers of .debug_info and returns the offset of each unit's
// first entry. debug/dwarf can find units only by reading all entries.
func unitOffsets(info []byte, order binary.ByteOrder) []dwarf.Offset {
	var offsets []dwarf.Offset
	for at := uint64(0); at+12 <= uint64(len(info)); {
		length, word := uint64(order.Uint32(info[at:])), uint64(4)
		start := at + 4
		if length == 0xffffffff {
			length, word = order.Uint64(info[at+4:]), 8
			start = at + 12
		}
		if length < 7 || length > uint64(len(info))-start {
			break
		}
		header := 2 + word + 1 // version, abbreviations, address size
		if order.Uint16(info[start:]) >= 5 {
			header++ // unit type
			switch info[start+2] {
			case 0x02, 0x06: // type units: signature and offset
				header += 8 + word
			case 0x04, 0x05: // skeleton, split: dwo_id
				header += 8
			}
		}
		offsets = append(offsets, dwarf.Offset(start+header))
		at = start + length
	}
	return offsets
}

// frames looks sorted addresses up, unit by unit.
func (d *debugData) frames(x *unitIndex, addrs []uint64) map[uint64][]Frame {
	byUnit := make(map[dwarf.Offset][]uint64)
	for _, addr := range addrs {
		if unit, ok := x.find(addr); ok {
			byUnit[unit] = append(byUnit[unit], addr)
		}
	}
	out := make(map[uint64][]Frame)
	names := &nameReader{reader: d.Reader(), names: make(map[dwarf.Offset]string)}
	for unit, addrs := range byUnit {
		d.unitFrames(unit, addrs, names, out)
	}
	return out
}

// scope is a function, or an inlined call in one, around an address.
type scope struct {
	name     string
	inlined  bool
	callFile int64
	callLine int64
}

// unitFrames adds the frames of sorted addresses of one unit to out. It leaves out
// addresses whose entries it cannot read.
func (d *debugData) unitFrames(unit dwarf.Offset, addrs []uint64, names *nameReader, out map[uint64][]Frame) {
	r := d.Reader()
	r.Seek(unit)
	entry, err := r.Next()
	if err != nil || entry == nil {
		return
	}
	lr, err := d.LineReader(entry)
	if err != nil || lr == nil {
		return
	}
	lines := rows(lr, addrs)
	files := lr.Files()
	scopes := d.scopes(r, addrs, names)
	for _, addr := range addrs {
		at := lines[addr]
		var frames []Frame
		chain := scopes[addr]
		for i := len(chain) - 1; i >= 0; i-- {
			at.Function = chain[i].name
			if at.Function == "" && chain[i].inlined {
				at.Function = "[inlined]" // its name is in a file that several share (dwz)
			}
			frames = append(frames, at)
			at = Frame{Line: int(chain[i].callLine)}
			if f := chain[i].callFile; f >= 0 && f < int64(len(files)) && files[f] != nil {
				at.File = printable(files[f].Name)
			}
			if !chain[i].inlined {
				break
			}
		}
		if frames == nil && at.File != "" {
			frames = []Frame{at} // there is only a line; lookup adds the symbol's name
		}
		if frames != nil {
			out[addr] = frames
		}
	}
}

// rows returns the line of each of the sorted addresses.
func rows(lr *dwarf.LineReader, addrs []uint64) map[uint64]Frame {
	out := make(map[uint64]Frame)
	var row, next dwarf.LineEntry
	if lr.Next(&row) != nil {
		return out
	}
	for lr.Next(&next) == nil {
		if !row.EndSequence && row.Address < next.Address {
			i, _ := slices.BinarySearch(addrs, row.Address)
			for ; i < len(addrs) && addrs[i] < next.Address; i++ {
				f := Frame{Line: row.Line}
				if row.File != nil {
					f.File = printable(row.File.Name)
				}
				out[addrs[i]] = f
			}
		}
		row = next
	}
	return out
}

// scopes reads the entries of a unit after its first. It returns for each of the sorted
// addresses the functions that contain it, the outermost first.
func (d *debugData) scopes(r *dwarf.Reader, addrs []uint64, names *nameReader) map[uint64][]scope {
	out := make(map[uint64][]scope)
	for depth := 1; depth > 0; {
		entry, err := r.Next()
		if err != nil || entry == nil {
			break
		}
		descend := false
		switch entry.Tag {
		case 0:
			depth--
			continue
		case dwarf.TagSubprogram, dwarf.TagInlinedSubroutine:
			ranges, err := d.Ranges(entry)
			if err != nil {
				break
			}
			s := scope{callFile: -1, inlined: entry.Tag == dwarf.TagInlinedSubroutine}
			for _, r := range ranges {
				i, _ := slices.BinarySearch(addrs, r[0])
				for ; i < len(addrs) && addrs[i] < r[1]; i++ {
					if !descend {
						descend = true
						s.name = names.of(entry)
						if f, ok := entry.Val(dwarf.AttrCallFile).(int64); ok {
							s.callFile = f
						}
						s.callLine, _ = entry.Val(dwarf.AttrCallLine).(int64)
					}
					out[addrs[i]] = append(out[addrs[i]], s)
				}
			}
		case dwarf.TagLexDwarfBlock, dwarf.TagNamespace:
			descend = true
		}
		switch {
		case !entry.Children:
		case descend:
			depth++
		default:
			r.SkipChildren()
		}
	}
	return out
}

// nameReader finds the name of a function entry. If the entry has none, it follows the
// references to the entries of which the function is an instance.
type nameReader struct {
	reader *dwarf.Reader
	names  map[dwarf.Offset]string
}

const maxHops = 8 // inlined call -> abstract function -> its declaration

func (n *nameReader) of(entry *dwarf.Entry) string { return n.follow(entry, maxHops) }

func (n *nameReader) follow(entry *dwarf.Entry, hops int) string {
	// The linkage name is the mangled name of a C++ or Rust function.
	for _, attr := range []dwarf.Attr{dwarf.AttrLinkageName, dwarf.AttrName} {
		if name, ok := entry.Val(attr).(string); ok {
			return printable(name)
		}
	}
	origin, ok := entry.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
	if !ok {
		origin, ok = entry.Val(dwarf.AttrSpecification).(dwarf.Offset)
	}
	if !ok || hops == 0 {
		return ""
	}
	if name, ok := n.names[origin]; ok {
		return name
	}
	n.reader.Seek(origin)
	next, err := n.reader.Next()
	if err != nil || next == nil {
		return ""
	}
	name := n.follow(next, hops-1)
	n.names[origin] = name
	return name
}
