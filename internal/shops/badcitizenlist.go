package shops

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxLineErrors bounds what is kept of a list that is no list at all.
const maxLineErrors = 100

// BadCitizenList is what ZooKeeper holds of one list. Its entries are not changed
// once it has been decoded: copies of it share them, and so does what is decoded
// after it.
type BadCitizenList struct {
	Name string
	// Zxid is the transaction that last changed the znode.
	Zxid int64
	// BadLines counts the lines that were left out because they do not parse;
	// LineErrors are the first 100 of them.
	BadLines   int
	LineErrors []LineError

	blocks []*block
}

// Len is the number of entries: one for each line, expired ones included.
func (l BadCitizenList) Len() (n int) {
	for _, b := range l.blocks {
		n += len(b.entries)
	}
	return n
}

// Current is the number of entries that have not expired.
func (l BadCitizenList) Current(now time.Time) (n int) {
	at := momentOf(now)
	for _, b := range l.blocks {
		for i := range b.entries {
			if !b.entries[i].expired(at) {
				n++
			}
		}
	}
	return n
}

// String tells operators how long the list is; GET /v1/bad-citizens has its entries.
func (l BadCitizenList) String() string {
	return fmt.Sprintf("%d entries, %d bad lines", l.Len(), l.BadLines)
}

// LineError says why a line of a list was left out.
type LineError struct {
	// Line counts from 1.
	Line int
	Err  error
}

// Error names the line.
func (e LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns Err.
func (e LineError) Unwrap() error { return e.Err }

// block is what some lines of a list hold that follow one another. A list that has
// changed is mostly made of the blocks that it was made of before.
type block struct {
	hash uint64 // of the lines' bytes
	// entries are in the order of their lines.
	entries []entry
	lines   int
	// badLines and lineErrors are as in BadCitizenList; lines count from the
	// block's first.
	badLines   int
	lineErrors []LineError
}

const (
	// meanBlock is how many lines a block has on average, and maxBlock how many at
	// most. A line that changes has its block parsed anew.
	meanBlock = 64
	maxBlock  = 16 * meanBlock
)

// blockSeed makes hashes that nobody outside can know, so that nobody can write
// other lines with the same hash.
var blockSeed = maphash.MakeSeed()

// blockLen is the length of the block that data begins with. A block ends after
// a line whose own hash says so: where lines are added or taken out, all blocks but
// those around them remain what they were.
func blockLen(data []byte) int {
	n := 0
	for range maxBlock {
		i := bytes.IndexByte(data[n:], '\n')
		if i < 0 {
			return len(data)
		}
		line := data[n : n+i]
		if n += i + 1; maphash.Bytes(blockSeed, line)%meanBlock == 0 {
			break
		}
	}
	return n
}

// parseBlock parses the lines of a block.
func parseBlock(hash uint64, data []byte, labels *labels) *block {
	b := &block{hash: hash}
	parse := parseLine
	if !utf8.Valid(data) {
		parse = ParseBadCitizen // looks at each line, to say which one is not
	}
	lines := bytes.Count(data, []byte{'\n'})
	if !bytes.HasSuffix(data, []byte{'\n'}) {
		lines++
	}
	b.entries = make([]entry, 0, lines)
	// One string for all lines. Nothing that is kept may be a part of it.
	for line := range strings.Lines(string(data)) {
		b.lines++
		parsed, ok, err := parse(line)
		switch {
		case err != nil:
			if b.badLines++; b.badLines <= maxLineErrors {
				b.lineErrors = append(b.lineErrors, LineError{Line: b.lines, Err: err})
			}
		case ok:
			b.entries = append(b.entries, labels.entry(&parsed))
		}
	}
	if len(b.entries) < cap(b.entries) {
		b.entries = slices.Clone(b.entries)
	}
	return b
}

// DecodeBadCitizens decodes the data of a bad-citizen list's znode, the lines
// of which [ParseBadCitizen] describes. zxid is the transaction that last
// changed the znode.
//
// A list with bad lines is a list all the same: one typing error must not let
// everybody else in. The lines that parse count, the others are reported in
// LineErrors. But where no line at all parses, the znode holds something else
// than a list, and the error is a [*DecodeError]; the LineErrors are filled in
// then as well. A znode without data, or with comments only, is an empty list.
func DecodeBadCitizens(name string, data []byte, zxid int64) (BadCitizenList, error) {
	return BadCitizenList{}.decode(name, data, zxid)
}

// DecodeBadCitizens is the function of that name, and quicker where b has the list
// as it was before: what is the same in both is not parsed again, and they share
// it. b may be nil.
func (b *Blocklist) DecodeBadCitizens(name string, data []byte, zxid int64) (BadCitizenList, error) {
	var was BadCitizenList
	if b != nil {
		was.blocks = b.lists[name]
	}
	return was.decode(name, data, zxid)
}

func (was BadCitizenList) decode(name string, data []byte, zxid int64) (BadCitizenList, error) {
	list := BadCitizenList{Name: name, Zxid: zxid}
	known := make(map[uint64]*block, len(was.blocks))
	for _, b := range was.blocks {
		known[b.hash] = b
	}
	labels := newLabels(name)
	lines := 0
	for data = bytes.TrimPrefix(data, []byte(bom)); len(data) > 0; {
		n := blockLen(data)
		hash := maphash.Bytes(blockSeed, data[:n])
		b := known[hash]
		if b == nil {
			b = parseBlock(hash, data[:n], labels)
			known[hash] = b
		}
		list.blocks = append(list.blocks, b)
		list.BadLines += b.badLines
		for _, e := range b.lineErrors {
			if len(list.LineErrors) < maxLineErrors {
				e.Line += lines
				list.LineErrors = append(list.LineErrors, e)
			}
		}
		lines += b.lines
		data = data[n:]
	}
	if list.BadLines > 0 && list.Len() == 0 {
		return list, &DecodeError{
			Record: "bad-citizen list", Name: name,
			Reason: fmt.Sprintf("none of its lines is an entry; the first of %d: %v", list.BadLines, list.LineErrors[0]),
		}
	}
	return list, nil
}
