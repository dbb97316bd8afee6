package pprof

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Errors of a store.
var (
	errUnknownDump = errors.New("no such dump is kept")
	errNoProfile   = errors.New("the process ended before it could name this dump's addresses: take format=heap and use jeprof with the program's binary")
	errTooLarge    = errors.New("the dump alone is above the bound on what is kept")
	errTaken       = errors.New("another process that runs keeps its dumps there: give each a directory of its own")
)

// store keeps dumps, in a directory or in memory, within bounds. On disk a dump has the
// files ID.heap, ID.pb.gz and ID.json. They are written in the order heap, json, profile,
// json, so that the files are useful even if the process is killed in between.
type store struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex
	lock  *os.File // locked file in Dir, while Dir belongs to this process
	kept  []*entry // sorted by ID, and so by time
	fault string   // why Dir is not used now; empty: it is used
	cause error    // of fault: the system's error number, if there is one
}

type entry struct {
	dump          Dump
	heap, profile blob
}

// blob is data that is kept: a file, or in memory compressed with gzip.
type blob struct {
	path string
	gz   []byte
	size int64 // bytes of the data as it is served
}

func (e *entry) onDisk() bool { return e.heap.path != "" }

// cost returns how many bytes of the two bounds an entry takes.
func (e *entry) cost() (disk, memory int64) {
	for _, b := range []blob{e.heap, e.profile} {
		if b.path != "" {
			disk += b.size
		}
		memory += int64(len(b.gz))
	}
	return disk, memory
}

// openStore reads what an earlier process left in the directory.
func openStore(cfg Config) *store {
	s := &store{cfg: cfg, log: cfg.Logger}
	if cfg.Dir == "" {
		return s
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		s.failed(err)
		return s
	}
	err := s.claim()
	if err != nil && !errors.Is(err, errTaken) {
		err = s.load() // the directory may be readable even if it cannot be written
	}
	if err != nil {
		s.failed(err)
	}
	s.trim(nil)
	return s
}

// lockName is the file that is locked by the process that uses the directory.
const lockName = ".lock"

// claim locks the directory for this process and reads the dumps of earlier processes. Two
// processes with one directory would drop each other's dumps to make room. The kernel
// releases the lock when the process ends, even if it is killed.
func (s *store) claim() error {
	if s.lock != nil {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(s.cfg.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		f.Close()
		return errTaken
	}
	s.lock = f // also if the file system has no locks
	return s.load()
}

// failed records that the directory cannot be used. It logs a reason only if the last one
// was another.
func (s *store) failed(err error) {
	cause := err
	var number syscall.Errno
	if errors.As(err, &number) { // err's text has a file's name, which differs each time
		cause = number
	}
	if s.cause == nil || cause.Error() != s.cause.Error() {
		s.log.Warn("heap dumps are kept in memory until their directory can be written", "dir", s.cfg.Dir, "error", err)
	}
	s.fault, s.cause = err.Error(), cause
}

func (s *store) load() error {
	files, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue // not made by a store; reading a pipe may never end, and a link may lead anywhere
		}
		if strings.HasPrefix(f.Name(), tempPrefix) {
			os.Remove(filepath.Join(s.cfg.Dir, f.Name())) // an incomplete file of a process that was killed
			continue
		}
		id, isHeap := strings.CutSuffix(f.Name(), ".heap")
		if t, valid := idTime(id); isHeap && valid && s.find(id) == nil {
			e := &entry{dump: Dump{ID: id, Time: t, Reason: Found, Stored: "disk"}}
			s.readEntry(e)
			s.kept = append(s.kept, e)
		}
	}
	slices.SortFunc(s.kept, func(a, b *entry) int { return strings.Compare(a.dump.ID, b.dump.ID) })
	return nil
}

// readEntry fills in an entry from its files. Fields that the files do not have keep their
// values.
func (s *store) readEntry(e *entry) {
	id := e.dump.ID
	if b := s.blobAt(s.path(id, ".json")); b.path != "" {
		var d Dump
		text, err := os.ReadFile(b.path)
		if err == nil && json.Unmarshal(text, &d) == nil && d.ID == id {
			switch { // earlier versions wrote what HoldsMost has to Grown, and did not write Since
			case d.Grown != nil && d.Grown.Since == "":
				d.Grown, d.HoldsMost = nil, d.Grown
			case d.Grown != nil:
				d.Since = d.Grown.Since
			}
			e.dump = d
		}
	}
	e.heap = s.blobAt(s.path(id, ".heap"))
	e.profile = s.blobAt(s.path(id, ".pb.gz"))
	e.dump.Stored, e.dump.HeapBytes, e.dump.ProfileBytes = "disk", e.heap.size, e.profile.size
}

func (s *store) path(id, ext string) string { return filepath.Join(s.cfg.Dir, id+ext) }

func (s *store) blobAt(path string) blob {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return blob{}
	}
	return blob{path: path, size: info.Size()}
}

// add keeps a dump as jemalloc wrote it. When add returns, the dump is on disk. If it
// cannot be written there, it is in memory, and the description says so. add fails with
// fs.ErrExist if another process has a dump with the same ID in the directory.
func (s *store) add(d Dump, heap []byte) (Dump, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.HeapBytes, d.Stored = int64(len(heap)), "disk"
	e := &entry{dump: d}
	err := s.addFile(e, heap)
	if errors.Is(err, fs.ErrExist) {
		return d, err
	}
	if err != nil {
		if s.cfg.Dir != "" {
			s.failed(err)
			e.dump.Note = "kept in memory: " + err.Error()
		}
		e.dump.Stored = "memory"
		if e.heap, err = compressed(heap); err != nil {
			return d, err
		}
		if n := int64(len(e.heap.gz)); n > s.cfg.MaxMemoryBytes {
			return d, fmt.Errorf("keep the dump: %w: %d bytes, raise Config.MaxMemoryBytes", errTooLarge, n)
		}
	}
	s.kept = append(s.kept, e)
	s.trim(e)
	return e.dump, nil
}

func (s *store) addFile(e *entry, heap []byte) error {
	switch {
	case s.cfg.Dir == "":
		return errors.New("no directory is configured")
	case int64(len(heap)) > s.cfg.MaxBytes:
		return fmt.Errorf("%w: %d bytes, raise Config.MaxBytes", errTooLarge, len(heap))
	}
	if err := s.claim(); errors.Is(err, errTaken) {
		return err
	}
	if err := s.write(e, ".heap", heap); err != nil {
		return err
	}
	e.heap = blob{path: s.path(e.dump.ID, ".heap"), size: int64(len(heap))}
	if err := s.describe(e); err != nil {
		s.remove(e)
		e.heap = blob{}
		return err
	}
	return nil
}

// finish adds the profile to a dump, and the description that was made from it.
func (s *store) finish(d Dump, profile []byte) (Dump, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(d.ID)
	if e == nil {
		return d, errUnknownDump
	}
	d.ProfileBytes = int64(len(profile))
	var fault error
	if e.onDisk() {
		if fault = s.write(e, ".pb.gz", profile); fault == nil {
			e.profile = blob{path: s.path(d.ID, ".pb.gz"), size: d.ProfileBytes}
		} else {
			d.Note = "its profile is kept in memory: " + fault.Error()
		}
	}
	if e.profile.path == "" {
		var err error
		if e.profile, err = compressed(profile); err != nil {
			return d, err
		}
	}
	e.dump = d
	if e.onDisk() {
		if fault = errors.Join(fault, s.describe(e)); fault == nil {
			s.fault, s.cause = "", nil // all files of the dump were written
		} else {
			s.failed(fault)
		}
	}
	s.trim(e)
	return d, nil
}

func (s *store) describe(e *entry) error {
	text, err := json.MarshalIndent(e.dump, "", "  ")
	if err != nil {
		return err
	}
	return s.write(e, ".json", append(text, '\n'))
}

// write writes a file. If the disk is full, it drops one dump and tries once more. It drops
// no more than that, because otherwise all dumps would be dropped if another program fills
// the disk. If the directory was removed or could not be made at the start, it is made.
func (s *store) write(e *entry, ext string, text []byte) error {
	path := s.path(e.dump.ID, ext)
	replace := ext != ".heap" // .heap is written first; if there is one, it belongs to another process
	err := writeFile(path, text, replace)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
			return err
		}
		err = writeFile(path, text, replace)
	}
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	i := victim(s.descriptions(), func(i int) bool { return s.kept[i] != e && s.kept[i].onDisk() })
	if i < 0 {
		return err
	}
	s.drop(i)
	return writeFile(path, text, replace)
}

// trim drops dumps until the rest is within the bounds. It never drops keep.
func (s *store) trim(keep *entry) {
	for {
		var disk, memory int64
		for _, e := range s.kept {
			d, m := e.cost()
			disk, memory = disk+d, memory+m
		}
		droppable := func(i int) bool {
			d, m := s.kept[i].cost()
			return s.kept[i] != keep && (len(s.kept) > s.cfg.MaxDumps ||
				disk > s.cfg.MaxBytes && d > 0 || memory > s.cfg.MaxMemoryBytes && m > 0)
		}
		i := victim(s.descriptions(), droppable)
		if i < 0 {
			return
		}
		s.drop(i)
	}
}

// victim returns the index of the dump to drop next, among those for which may returns true,
// or -1 if there is none. It is the oldest that does not belong to the last series of
// growth, or else the oldest of that series. Two dumps are dropped last: the first of the
// series, with which the others are compared, and the newest.
func victim(dumps []Dump, may func(int) bool) int {
	last := ""
	for _, d := range dumps {
		if d.Ramp != "" {
			last = d.Ramp
		}
	}
	best, rank := -1, 0
	for i, d := range dumps {
		if !may(i) {
			continue
		}
		r := 1 // of the newest dump, and of the first one of the last series
		switch {
		case i == len(dumps)-1 || d.ID == last:
		case d.Ramp == last && last != "":
			r = 2
		default:
			r = 3
		}
		if r > rank {
			best, rank = i, r
		}
	}
	return best
}

func (s *store) drop(i int) {
	s.remove(s.kept[i])
	s.kept = slices.Delete(s.kept, i, i+1)
}

func (s *store) remove(e *entry) {
	if !e.onDisk() {
		return
	}
	// The .heap file is removed last. If the process is killed in between, load still finds
	// it, and the dump can be removed later. load does not find the other files without it.
	for _, ext := range []string{".json", ".pb.gz", ".heap"} {
		if err := os.Remove(s.path(e.dump.ID, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("a heap dump cannot be removed", "dump", e.dump.ID, "error", err)
		}
	}
}

// forget removes the entries of dumps whose files somebody has deleted.
func (s *store) forget() {
	s.kept = slices.DeleteFunc(s.kept, func(e *entry) bool {
		return e.onDisk() && s.blobAt(e.heap.path).path == ""
	})
}

func (s *store) find(id string) *entry {
	for _, e := range s.kept {
		if e.dump.ID == id {
			return e
		}
	}
	return nil
}

func (s *store) descriptions() []Dump {
	out := make([]Dump, len(s.kept))
	for i, e := range s.kept {
		out[i] = e.dump
	}
	return out
}

// list describes the dumps that are kept, the oldest first. fault is the reason why Dir is
// not used, or empty.
func (s *store) list() (dumps []Dump, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	return s.descriptions(), s.fault
}

// get describes a dump.
func (s *store) get(id string) (Dump, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	if e := s.find(id); e != nil {
		return e.dump, nil
	}
	return Dump{}, fmt.Errorf("%w: %q", errUnknownDump, id)
}

// heap opens a dump as jemalloc wrote it.
func (s *store) heap(id string) (io.ReadCloser, error) {
	return s.open(id, func(e *entry) blob { return e.heap })
}

// profile opens a dump's profile, which is compressed protobuf.
func (s *store) profile(id string) (io.ReadCloser, error) {
	return s.open(id, func(e *entry) blob { return e.profile })
}

func (s *store) open(id string, which func(*entry) blob) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	e := s.find(id)
	if e == nil {
		return nil, fmt.Errorf("%w: %q", errUnknownDump, id)
	}
	switch b := which(e); {
	case b.path != "":
		return os.Open(b.path)
	case b.gz != nil:
		return gzip.NewReader(bytes.NewReader(b.gz))
	}
	return nil, errNoProfile
}

// size returns the number of the dumps that are kept, and their bytes.
func (s *store) size() (dumps int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.kept {
		disk, memory := e.cost()
		bytes += disk + memory
	}
	return len(s.kept), bytes
}

func compressed(text []byte) (blob, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return blob{}, err
	}
	if _, err := w.Write(text); err != nil {
		return blob{}, err
	}
	if err := w.Close(); err != nil {
		return blob{}, err
	}
	return blob{gz: bytes.Clone(b.Bytes()), size: int64(len(text))}, nil
}
