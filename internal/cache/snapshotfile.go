package cache

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A snapshot file is: the line snapshotMagic, which names the version; the header
// as JSON; records; the end mark with the number of records; the XXH64 of all
// bytes before it. Text and numbers are length-prefixed and varints.
const (
	snapshotName    = "magellan snapshot "
	snapshotVersion = "3"
	snapshotMagic   = snapshotName + snapshotVersion + "\n"
	// Bounds of what is read: a file is not trusted, whoever wrote it.
	maxSnapshotHeader = 64 << 10
	maxSnapshotPath   = 16 << 10
	maxSnapshotData   = 4 << 20 // of one znode; jute.maxbuffer is 1 MiB mostly
)

// The kinds of record.
const (
	snapshotEnd       = iota
	snapshotDirectory // a directory: its members follow
	snapshotMember    // a member of a directory
	snapshotAccepted  // a member that cannot be read, as was accepted
	snapshotEntry     // an entry of a keyed kind; these come last
)

var errBadSnapshot = errors.New("not a whole snapshot")

// snapshotHeader says whose snapshot it is and when it was taken.
type snapshotHeader struct {
	Root string `json:"root"`
	// RootCzxid created the root znode, at RootCtime in milliseconds of Unix time:
	// another ensemble's will be another.
	RootCzxid int64 `json:"root_czxid"`
	RootCtime int64 `json:"root_ctime"`
	// Written is the wall clock in nanoseconds of Unix time; Boot and Uptime are
	// the clock's Boot.
	Written int64         `json:"written"`
	Boot    string        `json:"boot"`
	Uptime  time.Duration `json:"uptime"`
}

// snapshotRecord is one record. Which directory or kind it is of follows from its path.
type snapshotRecord struct {
	kind int
	path string
	// zxid wrote the znode; of a directory it is the pzxid of what is served.
	zxid int64
	// age is how old the value was known to be when the snapshot was written; of a
	// directory, the age of all its members together.
	age time.Duration
	// whole: all members of the directory follow.
	whole bool
	// data are the znode's bytes; of an entry, such that decode to an equal value.
	data []byte
	// heat is the entry's.
	heat uint32
}

// snapshotWriter writes a snapshot. The first error stays.
type snapshotWriter struct {
	w     *bufio.Writer
	hash  *xxhash.Digest
	n     uint64
	bytes int64
	buf   []byte
	err   error
}

func newSnapshotWriter(w io.Writer, h snapshotHeader) *snapshotWriter {
	s := &snapshotWriter{w: bufio.NewWriterSize(w, 1<<16), hash: xxhash.New()}
	header, err := json.Marshal(h)
	s.err = err
	s.put(append([]byte(snapshotMagic), text(nil, header)...))
	return s
}

func text[T string | []byte](dst []byte, t T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(t))), t...)
}

func (s *snapshotWriter) put(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
		_, _ = s.hash.Write(b) // never fails
		s.bytes += int64(len(b))
	}
}

func (s *snapshotWriter) record(r *snapshotRecord) {
	s.n++
	b := binary.AppendUvarint(s.buf[:0], uint64(r.kind))
	b = text(b, r.path)
	b = binary.AppendUvarint(b, uint64(r.zxid))
	// Rounded up: no value is younger than it was.
	b = binary.AppendUvarint(b, uint64((max(r.age, 0)+time.Millisecond-1)/time.Millisecond))
	switch r.kind {
	case snapshotDirectory:
		if r.whole {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	case snapshotMember:
		b = text(b, r.data)
	case snapshotEntry:
		b = text(b, r.data)
		b = binary.AppendUvarint(b, uint64(r.heat))
	}
	s.buf = b
	s.put(b)
}

// end writes what makes the snapshot whole.
func (s *snapshotWriter) end() error {
	s.put(binary.AppendUvarint(binary.AppendUvarint(nil, snapshotEnd), s.n))
	s.put(binary.BigEndian.AppendUint64(nil, s.hash.Sum64()))
	if s.err == nil {
		s.err = s.w.Flush()
	}
	return s.err
}

// verifySnapshot reads all of a file of the given size and compares its checksum.
func verifySnapshot(r io.Reader, size int64) error {
	if size < int64(len(snapshotMagic))+8 {
		return fmt.Errorf("%w: %d bytes are too few", errBadSnapshot, size)
	}
	hash := xxhash.New()
	if _, err := io.CopyN(hash, r, size-8); err != nil {
		return fmt.Errorf("%w: %w", errBadSnapshot, err)
	}
	var sum [8]byte
	if _, err := io.ReadFull(r, sum[:]); err != nil {
		return fmt.Errorf("%w: %w", errBadSnapshot, err)
	}
	if binary.BigEndian.Uint64(sum[:]) != hash.Sum64() {
		return fmt.Errorf("%w: the checksum is wrong", errBadSnapshot)
	}
	return nil
}

// snapshotReader reads a snapshot. It takes nothing for granted: a checksum is
// no signature.
type snapshotReader struct {
	r    *bufio.Reader
	n    uint64
	last int // kind of the last record
}

func newSnapshotReader(r io.Reader) (*snapshotReader, snapshotHeader, error) {
	s := &snapshotReader{r: bufio.NewReaderSize(r, 1<<16)}
	var h snapshotHeader
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(s.r, magic); err != nil || string(magic) != snapshotMagic {
		if other, is := strings.CutPrefix(string(magic), snapshotName); is && err == nil {
			return nil, h, fmt.Errorf("it is of version %q, and this magellan reads version %s", strings.TrimSpace(other), snapshotVersion)
		}
		return nil, h, fmt.Errorf("%w: it does not begin with %q", errBadSnapshot, snapshotMagic)
	}
	header, err := s.text(maxSnapshotHeader)
	if err == nil {
		err = json.Unmarshal(header, &h)
	}
	if err != nil {
		return nil, h, fmt.Errorf("%w: its header: %w", errBadSnapshot, err)
	}
	return s, h, nil
}

func (s *snapshotReader) text(limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(s.r)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("a text of %d bytes, more than %d", n, limit)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(s.r, b)
	return b, err
}

// number reads a number up to limit.
func (s *snapshotReader) number(limit uint64) uint64 {
	n, err := binary.ReadUvarint(s.r)
	if err != nil || n > limit {
		s.last = -1
	}
	return n
}

// next returns the next record, io.EOF after the last.
func (s *snapshotReader) next() (r snapshotRecord, err error) {
	s.last = 0
	defer func() {
		if s.last < 0 && err == nil {
			err = fmt.Errorf("%w: record %d makes no sense", errBadSnapshot, s.n)
		}
	}()
	r.kind = int(s.number(snapshotEntry))
	if s.last < 0 {
		return r, nil
	}
	if r.kind == snapshotEnd {
		if s.number(s.n) != s.n || s.last < 0 {
			return r, fmt.Errorf("%w: records are missing", errBadSnapshot)
		}
		return r, io.EOF
	}
	s.n++
	fail := func(err error) (snapshotRecord, error) {
		return r, fmt.Errorf("%w: record %d: %w", errBadSnapshot, s.n, err)
	}
	path, err := s.text(maxSnapshotPath)
	if err != nil {
		return fail(err)
	}
	r.path = string(path)
	r.zxid = int64(s.number(1<<63 - 1))
	r.age = time.Duration(s.number(uint64(maxSnapshotAge/time.Millisecond))) * time.Millisecond
	switch r.kind {
	case snapshotDirectory:
		r.whole = s.number(1) == 1
		return r, nil
	case snapshotMember, snapshotEntry:
		if r.data, err = s.text(maxSnapshotData); err != nil {
			return fail(err)
		}
	}
	if r.kind == snapshotEntry {
		r.heat = uint32(s.number(1<<32 - 1))
	}
	if r.zxid == 0 {
		s.last = -1
	}
	return r, nil
}
