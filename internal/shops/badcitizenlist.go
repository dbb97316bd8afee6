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

// maxLineErrors is how many errors of one list are kept. A znode that is no list at all may
// have millions.
const maxLineErrors = 100

// BadCitizenList is what ZooKeeper holds of one list. Once a list has been decoded its
// entries are never changed, because copies of the list and its later versions share them.
type BadCitizenList struct {
	Name string
	// Zxid is the transaction that last changed the znode.
	Zxid int64
	// BadLines is the number of lines that were left out because they do not parse.
	// LineErrors are the errors of the first 100 of them.
	BadLines   int
	LineErrors []LineError

	blocks []*block
}

// Len returns the number of entries, one for each line, those included that have expired.
func (l BadCitizenList) Len() (n int) {
	for _, b := range l.blocks {
		n += len(b.entries)
	}
	return n
}

// Current returns the number of entries that have not expired.
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

// String says how long the list is, for operators. GET /v1/bad-citizens has its entries.
func (l BadCitizenList) String() string {
	return fmt.Sprintf("%d entries, %d bad lines", l.Len(), l.BadLines)
}

// LineError says why a line of a list was left out.
type LineError struct {
	// Line counts from 1.
	Line int
	Err  error
}

// Error returns the line's number and the text of Err.
func (e LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns Err.
func (e LineError) Unwrap() error { return e.Err }

// block has the entries of some consecutive lines of a list. If a list changes, most of its
// blocks stay the same.
type block struct {
	hash uint64 // of the lines' bytes
	// entries are in the order of their lines.
	entries []entry
	lines   int
	// badLines and lineErrors are as in BadCitizenList, except that the numbers of lines
	// count from the block's first line.
	badLines   int
	lineErrors []LineError
}

const (
	// meanBlock is how many lines a block has on average, and maxBlock how many at
	// most. If a line changes, its whole block is parsed again.
	meanBlock = 64
	maxBlock  = 16 * meanBlock
)

// blockSeed is random, so that nobody outside of this process can predict the hashes and
// write different lines with the same hash.
var blockSeed = maphash.MakeSeed()

// blockLen returns the length of the block that data begins with. A block ends after a line
// whose hash is a multiple of meanBlock. So where a block ends depends on its own lines: if
// lines are added or removed, only the blocks around those lines change.
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
		parse = ParseBadCitizen // which checks each line, so that the error has the line's number
	}
	lines := bytes.Count(data, []byte{'\n'})
	if !bytes.HasSuffix(data, []byte{'\n'}) {
		lines++
	}
	b.entries = make([]entry, 0, lines)
	// All lines share the memory of one string, so that nothing that is kept may be a part
	// of a line.
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

// DecodeBadCitizens decodes the data of a bad-citizen list's znode. [ParseBadCitizen]
// describes the lines. zxid is the transaction that last changed the znode.
//
// If some lines do not parse, the others still count, because one typing error must not
// unblock everybody else. LineErrors has the errors. If there are lines with an error and
// no line has an entry, the znode holds something else than a list, and the error is a
// [*DecodeError]; LineErrors is filled in as well. A znode without data, or with comments
// only, is an empty list.
func DecodeBadCitizens(name string, data []byte, zxid int64) (BadCitizenList, error) {
	return BadCitizenList{}.decode(name, data, zxid)
}

// DecodeBadCitizens returns what the function of the same name returns. If b has an earlier
// version of the list, the method is quicker: it does not parse the blocks again that both
// versions have, and both versions share these blocks. b may be nil.
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
