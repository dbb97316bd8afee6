package pprof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// resident is what the kernel says of the process, in bytes.
type resident struct {
	rss, anonymous int64
	arena          int64 // anonymous memory where Go's heap and stacks are; below 0: unknown
	moved          bool  // the map changed under the reader, and something is in it twice
}

// readResident asks the kernel, by a directory of /proc, of the process in which inHeap
// is an address in Go's heap (0: it is not known). That takes as long as its sum, smaps_rollup, would:
// either way it goes through all pages. The text comes in pieces, each true of its
// own moment: a mapping that grew between two of them may be in both, and then all
// is read again.
func readResident(proc string, inHeap uintptr) (k resident, err error) {
	f, err := os.Open(filepath.Join(proc, "smaps"))
	if err != nil {
		return readStatm(proc) // a kernel without it
	}
	defer f.Close()
	for range 5 {
		if _, err = f.Seek(0, io.SeekStart); err != nil {
			return k, fmt.Errorf("pprof: %w", err)
		}
		if k, err = parseSmaps(f, inHeap); err != nil {
			return k, fmt.Errorf("pprof: %s: %w", f.Name(), err)
		}
		if !k.moved {
			break
		}
	}
	return k, nil
}

// parseSmaps adds up mappings. The arena is the one with the address inHeap and
// those that follow each other without a gap on both sides of it: Go reserves its
// heap in one piece, far from all others.
func parseSmaps(text io.Reader, inHeap uintptr) (k resident, err error) {
	k.arena = -1
	var run struct {
		end       uintptr
		anonymous int64
		isArena   bool
	}
	ended := func() {
		if run.isArena {
			k.arena = run.anonymous
		}
		run.anonymous, run.isArena = 0, false
	}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, rest, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		if !bytes.HasSuffix(name, []byte(":")) { // a mapping: c000000000-c000400000 rw-p ...
			from, to, _ := strings.Cut(string(name), "-")
			start, err1 := strconv.ParseUint(from, 16, 64)
			end, err2 := strconv.ParseUint(to, 16, 64)
			if err := errors.Join(err1, err2); err != nil {
				return k, err
			}
			k.moved = k.moved || uintptr(start) < run.end
			if uintptr(start) != run.end {
				ended()
			}
			run.end = uintptr(end)
			run.isArena = run.isArena || uintptr(start) <= inHeap && inHeap < uintptr(end)
			continue
		}
		isRSS, isAnonymous := string(name) == "Rss:", string(name) == "Anonymous:"
		if !isRSS && !isAnonymous {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(string(bytes.TrimSpace(rest)), " kB"), 10, 64)
		if err != nil {
			return k, err
		}
		if isRSS {
			k.rss += kb << 10
		} else {
			k.anonymous += kb << 10
			run.anonymous += kb << 10
		}
	}
	ended()
	if err := lines.Err(); err != nil {
		return k, err
	}
	if k.rss == 0 {
		return k, errors.New("there is no Rss line")
	}
	return k, nil
}

// readStatm is a little behind: the kernel counts pages there per thread.
func readStatm(proc string) (resident, error) {
	name := filepath.Join(proc, "statm")
	text, err := os.ReadFile(name)
	if err != nil {
		return resident{}, fmt.Errorf("pprof: resident memory: %w", err)
	}
	var size, pages, shared int64
	if _, err := fmt.Sscan(string(text), &size, &pages, &shared); err != nil {
		return resident{}, fmt.Errorf("pprof: %s: %w", name, err)
	}
	unit := int64(os.Getpagesize())
	return resident{rss: pages * unit, anonymous: (pages - shared) * unit, arena: -1}, nil
}
