package heapprof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"strings"
	"unsafe"
)

// Limits bound what Parse accepts, and so the memory that it takes: about four times
// MaxBytes in the worst case. A zero field means its default.
type Limits struct {
	MaxBytes    int64 // length of the text; default 256 MiB
	MaxStacks   int   // default 1,000,000
	MaxDepth    int   // addresses of one stack; default 1,024 (jemalloc's opt.prof_bt_max is 128)
	MaxThreads  int   // default 65,536
	MaxMappings int   // default 65,536 (the kernel's vm.max_map_count is 65,530)
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = 256 << 20
	}
	def(&l.MaxStacks, 1_000_000)
	def(&l.MaxDepth, 1024)
	def(&l.MaxThreads, 65536)
	def(&l.MaxMappings, 65536)
	return l
}

// Errors that Parse wraps. The message of Parse's error has the line number.
var (
	// ErrFormat: the text is not a heap_v2 dump, or it is damaged.
	ErrFormat = errors.New("not a jemalloc heap_v2 dump")
	// ErrTruncated: the dump ends early. Take another one. The disk may have been full.
	ErrTruncated = errors.New("dump is cut short")
	// ErrDoubled: the text has a dump twice, or a stack twice.
	ErrDoubled = errors.New("dump is doubled")
	// ErrTooLarge: the dump is above one of the Limits. Raise it if the dump is trusted.
	ErrTooLarge = errors.New("dump is above the limit")
)

const (
	maxLine  = 64 << 10 // in bytes; 1,024 addresses take 20 KiB
	maxCount = 1 << 60  // more objects or bytes than any machine has
	maxRate  = 1 << 48

	chunkPCs = 1 << 14 // length of the arrays that the addresses of several stacks share
)

// Parse reads a dump in jemalloc's heap_v2 format to the end of r. If the dump is not
// complete and valid, Parse returns [ErrFormat], [ErrTruncated], [ErrDoubled],
// [ErrTooLarge], or the error of r.
func Parse(r io.Reader, limits Limits) (*Dump, error) {
	p := &parser{
		limits:  limits.withDefaults(),
		dump:    &Dump{},
		threads: make(map[uint64]int),
		seen:    make(map[uint64]struct{}),
		seed:    maphash.MakeSeed(),
	}
	p.left = p.limits.MaxBytes
	p.in = bufio.NewReaderSize(r, maxLine)
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("heap dump line %d: %w", p.line, err)
	}
	return p.dump, nil
}

type parser struct {
	limits Limits
	in     *bufio.Reader
	line   int
	left   int64 // bytes until MaxBytes
	dump   *Dump

	threads map[uint64]int      // thread ID -> index in dump.Threads
	seen    map[uint64]struct{} // hashes of the stacks
	seed    maphash.Seed

	pcs    []uint64      // the unused rest of the current chunk
	counts []ThreadCount // of all stacks
	starts []int         // the index in counts at which each stack's counts begin
}

func (p *parser) parse() error {
	header, err := p.next()
	if err == io.EOF {
		return fmt.Errorf("%w: it is empty", ErrTruncated)
	}
	if err != nil {
		return err
	}
	rate, ok := strings.CutPrefix(header, "heap_v2/")
	if !ok {
		return fmt.Errorf("%w: it begins with %.40q", ErrFormat, header)
	}
	if p.dump.Rate, err = strconv.ParseUint(rate, 10, 64); err != nil || p.dump.Rate == 0 || p.dump.Rate > maxRate {
		return fmt.Errorf("%w: sample rate %.40q", ErrFormat, rate)
	}
	if err := p.stacks(); err != nil {
		return err
	}
	p.assignCounts()
	if err := p.mappings(); err != nil {
		return err
	}
	return p.checkMappings()
}

// next returns the next line without the line end and leading blanks, or io.EOF. The line
// is valid until the next call. If the last line has no line end, the dump was cut short.
func (p *parser) next() (string, error) {
	p.line++
	b, err := p.in.ReadSlice('\n')
	p.left -= int64(len(b))
	switch {
	case p.left < 0:
		return "", fmt.Errorf("%w of %d bytes", ErrTooLarge, p.limits.MaxBytes)
	case err == bufio.ErrBufferFull:
		return "", fmt.Errorf("%w: a line of more than %d bytes", ErrFormat, maxLine)
	case err == io.EOF && len(b) > 0:
		return "", fmt.Errorf("%w: the last line has no end", ErrTruncated)
	case err != nil:
		return "", err
	}
	b = bytes.TrimLeft(bytes.TrimRight(b, "\r\n"), " \t")
	if bytes.HasPrefix(b, []byte("heap_v2/")) && p.line > 1 {
		return "", fmt.Errorf("%w: a second header", ErrDoubled)
	}
	// The buffer is not written before the next call, and the parser copies every field
	// that it keeps. So the line need not be copied to be a string.
	return unsafe.String(unsafe.SliceData(b), len(b)), nil
}

// stacks reads the summary and all stacks, up to the first line of the memory map.
func (p *parser) stacks() error {
	var stack *Stack // nil while the summary is read
	counted := false // the t* line of the summary or stack was read
	for {
		line, err := p.next()
		switch {
		case err == io.EOF:
			return fmt.Errorf("%w: there is no MAPPED_LIBRARIES section", ErrTruncated)
		case err != nil:
			return err
		case line == "":
			continue
		case line[0] == 't':
			if err := p.count(line, stack, &counted); err != nil {
				return err
			}
			continue
		case line[0] != '@' && line != "MAPPED_LIBRARIES:":
			return fmt.Errorf("%w: unknown line %.40q", ErrFormat, line)
		case !counted:
			return fmt.Errorf("%w: the section above has no t* line", ErrTruncated)
		case line[0] != '@':
			return nil
		}
		if len(p.dump.Stacks) >= p.limits.MaxStacks {
			return fmt.Errorf("%w of %d stacks", ErrTooLarge, p.limits.MaxStacks)
		}
		pcs, err := p.addresses(line[1:])
		if err != nil {
			return err
		}
		p.dump.Stacks = append(p.dump.Stacks, Stack{PCs: pcs})
		p.starts = append(p.starts, len(p.counts))
		stack, counted = &p.dump.Stacks[len(p.dump.Stacks)-1], false
	}
}

// addresses reads the addresses of a stack. It fails if there was the same stack before.
func (p *parser) addresses(line string) ([]uint64, error) {
	if cap(p.pcs) < p.limits.MaxDepth {
		p.pcs = make([]uint64, 0, max(chunkPCs, p.limits.MaxDepth))
	}
	var hash maphash.Hash
	hash.SetSeed(p.seed)
	pcs := p.pcs[:0]
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			break
		}
		field := line
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			field = line[:i]
		}
		line = line[len(field):]
		hex, ok := strings.CutPrefix(field, "0x")
		pc, err := strconv.ParseUint(hex, 16, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%w: address %.40q", ErrFormat, field)
		}
		if len(pcs) == p.limits.MaxDepth {
			return nil, fmt.Errorf("%w of %d addresses in a stack", ErrTooLarge, p.limits.MaxDepth)
		}
		pcs = append(pcs, pc)
		maphash.WriteComparable(&hash, pc)
	}
	sum := hash.Sum64()
	if _, ok := p.seen[sum]; ok {
		return nil, fmt.Errorf("%w: a stack is there twice", ErrDoubled)
	}
	p.seen[sum] = struct{}{}
	p.pcs = pcs[len(pcs):]
	return pcs[:len(pcs):len(pcs)], nil
}

// count reads "t*: objs: bytes [objs: bytes]" or "t7: ... name" into the stack, or into
// the summary if stack is nil.
func (p *parser) count(line string, stack *Stack, counted *bool) error {
	id, rest, ok := strings.Cut(line[1:], ":")
	var n [4]uint64
	for i, end := range [4]string{":", "[", ":", "]"} {
		if !ok {
			break
		}
		var field string
		if field, rest, ok = strings.Cut(rest, end); !ok {
			break
		}
		var err error
		n[i], err = strconv.ParseUint(strings.TrimSpace(field), 10, 64)
		ok = err == nil && n[i] <= maxCount
	}
	if !ok {
		return fmt.Errorf("%w: counts %.60q", ErrFormat, line)
	}
	inuse, alloc := Count{n[0], n[1]}, Count{n[2], n[3]}
	if id == "*" {
		if *counted {
			return fmt.Errorf("%w: a second t* line", ErrDoubled)
		}
		*counted = true
		if stack == nil {
			p.dump.Inuse, p.dump.Alloc = inuse, alloc
		} else {
			stack.Inuse, stack.Alloc = inuse, alloc
		}
		return nil
	}
	tid, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: thread %.40q", ErrFormat, id)
	}
	if stack == nil {
		return p.thread(Thread{ID: tid, Name: printable(strings.TrimSpace(rest)), Inuse: inuse, Alloc: alloc})
	}
	index, ok := p.threads[tid]
	if !ok {
		index = -1
	}
	p.counts = append(p.counts, ThreadCount{Thread: index, Inuse: inuse, Alloc: alloc})
	return nil
}

func (p *parser) thread(t Thread) error {
	if _, ok := p.threads[t.ID]; ok {
		return fmt.Errorf("%w: thread %d is there twice", ErrDoubled, t.ID)
	}
	if len(p.dump.Threads) >= p.limits.MaxThreads {
		return fmt.Errorf("%w of %d threads", ErrTooLarge, p.limits.MaxThreads)
	}
	p.threads[t.ID] = len(p.dump.Threads)
	p.dump.Threads = append(p.dump.Threads, t)
	return nil
}

// assignCounts gives each stack its part of the thread counts. All counts are in one
// array, so that 100,000 stacks do not need 100,000 allocations.
func (p *parser) assignCounts() {
	stacks := p.dump.Stacks
	for i := range stacks {
		end := len(p.counts)
		if i+1 < len(stacks) {
			end = p.starts[i+1]
		}
		stacks[i].Threads = p.counts[p.starts[i]:end:end]
	}
}

// mappings reads the memory map to the end of the text.
func (p *parser) mappings() error {
	var last uint64
	for {
		line, err := p.next()
		switch {
		case err == io.EOF && len(p.dump.Mappings) == 0:
			return fmt.Errorf("%w: MAPPED_LIBRARIES is empty", ErrTruncated)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case line == "":
			continue
		case len(p.dump.Mappings) >= p.limits.MaxMappings:
			return fmt.Errorf("%w of %d mappings", ErrTooLarge, p.limits.MaxMappings)
		}
		m, err := parseMapping(line)
		if err != nil {
			return fmt.Errorf("%w: %w: %.60q", ErrFormat, err, line)
		}
		if m.Limit <= last {
			return fmt.Errorf("%w: mappings do not rise", ErrFormat)
		}
		last = m.Limit
		p.dump.Mappings = append(withoutOverlap(p.dump.Mappings, m.Start), m)
	}
}

// withoutOverlap ends the mappings at an address. The kernel writes the memory map of a
// running process in pieces, each as of another moment. A mapping that grew meanwhile, or
// was merged with its neighbour, overlaps mappings that were read before. The later one is
// newer, so it is kept.
func withoutOverlap(maps []Mapping, start uint64) []Mapping {
	for len(maps) > 0 && maps[len(maps)-1].Start >= start {
		maps = maps[:len(maps)-1]
	}
	if len(maps) > 0 {
		last := &maps[len(maps)-1]
		last.Limit = min(last.Limit, start)
	}
	return maps
}

// checkMappings returns an error if the dump was cut between two lines of the memory map.
// A complete map of Linux has the main thread's stack near its end. If that is missing and
// an address of a stack is above all mappings, the end of the map is missing.
func (p *parser) checkMappings() error {
	maps := p.dump.Mappings
	for i := len(maps) - 1; i >= 0; i-- {
		if strings.HasPrefix(maps[i].File, "[stack") {
			return nil
		}
	}
	end := maps[len(maps)-1].Limit
	for i := range p.dump.Stacks {
		for _, pc := range p.dump.Stacks[i].PCs {
			if pc > end {
				return fmt.Errorf("%w: the memory map ends at %#x, before the address %#x of a stack", ErrTruncated, end, pc)
			}
		}
	}
	return nil
}
