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

// A snapshot file consists of the line snapshotMagic, which has the version; the header, as JSON; the
// records; the end mark with the number of records; and the XXH64 of all bytes before it. A text has
// its length before it, and numbers are varints.
const (
	snapshotName    = "magellan snapshot "
	snapshotVersion = "4"
	snapshotMagic   = snapshotName + snapshotVersion + "\n"
	// These bound what is read, because anybody may have written the file.
	maxSnapshotHeader = 64 << 10
	maxSnapshotPath   = 16 << 10
	maxSnapshotData   = 4 << 20 // of one znode; jute.maxbuffer is mostly 1 MiB
)

// The kinds of record.
const (
	snapshotEnd       = iota
	snapshotDirectory // a directory; its members follow
	snapshotMember    // a member of a directory
	snapshotAccepted  // a member of which an operator has accepted that it cannot be read
	snapshotUnread    // a member of a tree's directory that exists and could never be read
	snapshotEntry     // an entry of a keyed kind; entries come last
)

var errBadSnapshot = errors.New("not a complete snapshot")

// snapshotHeader says of which root and ensemble a snapshot is, and when it was written.
type snapshotHeader struct {
	Root string `json:"root"`
	// RootCzxid is the transaction that created the root znode. RootCtime is its time in
	// milliseconds of Unix time. The root of another ensemble has other ones.
	RootCzxid int64 `json:"root_czxid"`
	RootCtime int64 `json:"root_ctime"`
	// Written is the time of the wall clock in nanoseconds of Unix time. Boot and Uptime
	// are what clock.Boot returned.
	Written int64         `json:"written"`
	Boot    string        `json:"boot"`
	Uptime  time.Duration `json:"uptime"`
}

// snapshotRecord is one record. Its path says of which directory or kind it is.
type snapshotRecord struct {
	kind int
	path string
	// zxid is the transaction that wrote the znode. For a directory it is the pzxid of the
	// list of children that is served.
	zxid int64
	// age is the age of the value when the snapshot was written. For a directory it is the
	// age of all its members together.
	age time.Duration
	// whole says of a directory that all its members follow.
	whole bool
	// data are the znode's bytes. For an entry, they are bytes that decode to an equal value.
	data []byte
	// heat is that of an entry.
	heat uint32
}

// snapshotWriter writes a snapshot. After the first error it writes nothing, and end returns that
// error.
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
	// The age is rounded up, so that no restored value seems younger than it is.
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

// end completes the snapshot: it writes the end mark and the checksum.
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

// snapshotReader reads a snapshot. It checks all that it reads, because anybody can write a file with
// a right checksum.
type snapshotReader struct {
	r    *bufio.Reader
	n    uint64
	last int // -1 if the record that is being read is invalid
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

// number reads a number, and marks the record as invalid if the number exceeds limit.
func (s *snapshotReader) number(limit uint64) uint64 {
	n, err := binary.ReadUvarint(s.r)
	if err != nil || n > limit {
		s.last = -1
	}
	return n
}

// next returns the next record, and io.EOF after the last one.
func (s *snapshotReader) next() (r snapshotRecord, err error) {
	s.last = 0
	defer func() {
		if s.last < 0 && err == nil {
			err = fmt.Errorf("%w: record %d is invalid", errBadSnapshot, s.n)
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
