package heapprof

import (
	"errors"
	"path"
	"sort"
	"strconv"
	"strings"
)

// Mapping is one line of the process's memory map (/proc/PID/maps).
type Mapping struct {
	Start, Limit uint64 // addresses [Start, Limit)
	Offset       uint64 // of Start in the file
	Inode        uint64 // 0 for memory without a file
	Exec         bool
	File         string // a path, a name such as "[vdso]", or empty for anonymous memory
	Deleted      bool   // the file at that path was deleted or replaced since
}

// span is a range of addresses: start is in it, end is not.
type span struct{ start, end uint64 }

func (s span) contains(pc uint64) bool { return pc >= s.start && pc < s.end }

// deletedSuffix is what the kernel adds to the path of a deleted file.
const deletedSuffix = " (deleted)"

// contains reports whether pc lies in the mapping.
func (m *Mapping) contains(pc uint64) bool { return pc >= m.Start && pc < m.Limit }

// hasFile reports whether the mapping shows a file of a file system.
func (m *Mapping) hasFile() bool { return strings.HasPrefix(m.File, "/") }

// findMapping returns the mapping that contains pc, or nil. maps are sorted by address.
func findMapping(maps []Mapping, pc uint64) *Mapping {
	i := sort.Search(len(maps), func(i int) bool { return maps[i].Limit > pc })
	if i < len(maps) && maps[i].contains(pc) {
		return &maps[i]
	}
	return nil
}

// offsetName returns a name for an address that no symbol covers: the base name of the
// file and the address in it.
func offsetName(file string, addr uint64) string {
	if file == "" {
		return "0x" + strconv.FormatUint(addr, 16)
	}
	return path.Base(file) + "+0x" + strconv.FormatUint(addr, 16)
}

var errMapping = errors.New("not a line of a memory map")

// parseMapping parses "start-limit perms offset dev inode path". The parser of
// google/pprof/profile is not used, because it expands variables that the text itself
// defines: with it a short hostile dump could use up the memory.
func parseMapping(line string) (Mapping, error) {
	var m Mapping
	span, rest, _ := strings.Cut(line, " ")
	perms, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	offset, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	dev, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	inode, file, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	start, limit, ok := strings.Cut(span, "-")
	if !ok || len(perms) != 4 || !strings.Contains(dev, ":") {
		return m, errMapping
	}
	var errs [4]error
	m.Start, errs[0] = strconv.ParseUint(start, 16, 64)
	m.Limit, errs[1] = strconv.ParseUint(limit, 16, 64)
	m.Offset, errs[2] = strconv.ParseUint(offset, 16, 64)
	m.Inode, errs[3] = strconv.ParseUint(inode, 10, 64)
	if errors.Join(errs[:]...) != nil || m.Start >= m.Limit {
		return m, errMapping
	}
	m.Exec = perms[2] == 'x'
	m.File = printable(strings.TrimLeft(file, " "))
	if m.hasFile() {
		m.File, m.Deleted = strings.CutSuffix(m.File, deletedSuffix)
	}
	return m, nil
}

// printable replaces control characters and invalid UTF-8 in text from a dump, which
// otherwise could harm a terminal or be invalid in protobuf.
func printable(s string) string {
	clean := func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}
	return strings.Map(clean, strings.ToValidUTF8(s, "?"))
}
