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

// resident is what the kernel reports of a process, in bytes.
type resident struct {
	rss, anonymous int64
	arena          int64 // anonymous memory of the arena, where Go's heap and stacks are; below 0: unknown
	moved          bool  // the map changed while it was read, and a mapping is in it twice
}

// readResident reads smaps in proc, the directory of a process in /proc. inHeap is an
// address in the process's Go heap, or 0 if none is known. Reading smaps takes as long as
// reading its sum, smaps_rollup, because the kernel visits all pages for both.
//
// The kernel writes the text in pieces, each as of another moment. A mapping that grew
// between two pieces may be in both. Then readResident reads everything again.
func readResident(proc string, inHeap uintptr) (k resident, err error) {
	f, err := os.Open(filepath.Join(proc, "smaps"))
	if err != nil {
		return readStatm(proc) // the kernel has no smaps
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

// parseSmaps adds up the mappings. The arena is the mapping with the address inHeap, and
// the mappings on both sides of it up to the next gap, because Go reserves its heap in one
// piece, far from all other mappings.
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

// readStatm reads the same from statm. Its numbers may be slightly old, because the kernel
// counts pages per thread first.
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
