package httpapi

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/shops"
)

// The hash of a list of bad citizens is a sum of XXH64 hashes: that of the body that the
// list would have without entries, plus that of each entry. So the hash of the next version
// follows from what has changed, and nobody renders a body of 13 MB to learn its ETag. The
// hash is the same on every replica. A client that follows the list by deltas can check
// what it has: the hashed bytes are those of the answer, without the commas of JSON.

// badCitizensVersions is what is known of the versions of the list in one format.
// The zero value with a format is ready for use.
type badCitizensVersions struct {
	format *badCitizensFormat

	// work is held while a body is compressed: one at a time.
	work sync.Mutex

	mu sync.Mutex
	// current is the newest version that has been asked for.
	current *badCitizensEdition
	// hashes are those of the last versions before current, oldest first. The last one is
	// that of current itself.
	hashes []uint64
	// size is the length of the body that was rendered last.
	size int
}

// badCitizensEdition is one version of the list in one format, with the bodies
// that somebody has asked for.
type badCitizensEdition struct {
	versions *badCitizensVersions
	answer   shops.BadCitizensAnswer
	hash     uint64
	count    int // of entries

	once   sync.Once
	bodyOf *rendering

	mu sync.Mutex
	// deltas are the bodies of deltas from other versions to this one, by the hash of the
	// other version. A body is nil if the list itself is the better answer.
	deltas map[uint64]*rendering
}

const (
	// maxDeltas is how many deltas to one version are kept. Few are enough because most
	// clients that follow the list have the version before, and deltas may be long.
	maxDeltas = 4
	// smallDelta is how many changes a delta may have even if the list has fewer entries.
	smallDelta = 1000
)

// edition returns the version that is the answer, or a newer one if another request has
// been given that already. isNew: no request has been given this version before.
func (v *badCitizensVersions) edition(answer shops.BadCitizensAnswer) (e *badCitizensEdition, isNew bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e = &badCitizensEdition{versions: v, answer: answer}
	switch {
	case v.current == nil:
		v.begin(e)
	case v.current.answer.Version == answer.Version:
		return v.current, false
	default:
		if _, older := v.current.answer.Version.Since(answer.Version); older {
			return v.current, false
		}
		steps, known := answer.Version.Since(v.current.answer.Version)
		if !known {
			v.begin(e)
			break
		}
		e.hash, e.count = v.current.hash, v.current.count
		for _, step := range steps {
			hash, count := v.weigh(step)
			e.hash += hash
			e.count += count
			v.hashes = append(v.hashes, e.hash)
		}
	}
	if n := len(v.hashes); n > 2*shops.MaxVersions {
		v.hashes = slices.Clone(v.hashes[n-shops.MaxVersions:])
	}
	v.current = e
	return e, true
}

// forget drops the bodies of the current version if another version is newer, because it may
// be that nobody ever asks for this format again. It keeps what the next version's hash is
// made from.
func (v *badCitizensVersions) forget(newest shops.Version) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current == nil {
		return
	}
	if _, asNew := v.current.answer.Version.Since(newest); !asNew {
		e := v.current // requests may still read it
		v.current = &badCitizensEdition{versions: v, answer: e.answer, hash: e.hash, count: e.count}
	}
}

// begin hashes all entries, and computes from that what the hashes of the versions before
// were.
func (v *badCitizensVersions) begin(e *badCitizensEdition) {
	e.hash = xxhash.Sum64String(v.format.head + v.format.tail)
	var entry []byte
	for b := range e.answer.Blocklist.Entries(e.answer.Now) {
		entry = v.format.entry(entry[:0], &b)
		e.hash += xxhash.Sum64(entry)
		e.count++
	}
	v.hashes = []uint64{e.hash}
	before := e.hash
	for _, step := range slices.Backward(e.answer.Version.Steps(shops.MaxVersions)) {
		hash, _ := v.weigh(step)
		before -= hash
		v.hashes = append(v.hashes, before)
	}
	slices.Reverse(v.hashes)
}

// weigh returns what a step adds to the hash and to the number of entries.
func (v *badCitizensVersions) weigh(step []shops.BlocklistChange) (hash uint64, count int) {
	var entry []byte
	for _, c := range step {
		if was, ok := c.Was(); ok {
			entry = v.format.entry(entry[:0], &was)
			hash -= xxhash.Sum64(entry)
			count--
		}
		if is, ok := c.Is(); ok {
			entry = v.format.entry(entry[:0], &is)
			hash += xxhash.Sum64(entry)
			count++
		}
	}
	return hash, count
}

var _, _ sharedBody = (*badCitizensEdition)(nil), badCitizensSince{}

// rendered implements sharedBody: it returns the list itself. A caller that comes while the
// list is rendered waits. One body that is made for all callers is ready sooner than many that
// are made at the same time.
func (e *badCitizensEdition) rendered() *rendering {
	e.once.Do(func() {
		v := e.versions
		v.mu.Lock()
		size := v.size
		v.mu.Unlock()
		body := v.format.render(e.answer.Blocklist.Entries(e.answer.Now), size+size/64)
		e.bodyOf = &rendering{body: body, hash: e.hash, work: &v.work}
		v.mu.Lock()
		v.size = len(body)
		v.mu.Unlock()
	})
	return e.bodyOf
}

// badCitizensSince is the body that tells what has changed between the version with the hash
// from and an edition.
type badCitizensSince struct {
	edition *badCitizensEdition
	from    uint64
}

// rendered implements sharedBody: it returns a delta, or the list itself if there is none.
func (c badCitizensSince) rendered() *rendering {
	if delta := c.edition.delta(c.from); delta != nil {
		return delta
	}
	return c.edition.rendered()
}

// delta returns the difference between the version with the hash from and this version. It
// returns nil if that is not known, or if the list itself is the better answer.
func (e *badCitizensEdition) delta(from uint64) *rendering {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r, ok := e.deltas[from]; ok {
		return r
	}
	changes, ok := e.versions.changes(e, from)
	if !ok {
		return nil
	}
	var r *rendering
	if len(changes) <= max(smallDelta, e.count) {
		if body := e.versions.format.delta(nil, e.deltaOf(from, changes)); body != nil || len(changes) == 0 {
			r = &rendering{body: body, hash: e.hash, isDelta: true, from: from, work: &e.versions.work}
		}
	}
	if e.deltas == nil || len(e.deltas) == maxDeltas {
		e.deltas = make(map[uint64]*rendering)
	}
	e.deltas[from] = r
	return r
}

// changes returns what has changed since the version with the hash from, and whether that
// is known.
func (v *badCitizensVersions) changes(e *badCitizensEdition, from uint64) ([]shops.BlocklistChange, bool) {
	if from == e.hash {
		return nil, true
	}
	v.mu.Lock()
	hashes := v.hashes
	if v.current != e { // it is the newest no longer
		steps, ok := v.current.answer.Version.Since(e.answer.Version)
		if !ok || len(steps) > len(hashes) {
			v.mu.Unlock()
			return nil, false
		}
		hashes = hashes[:len(hashes)-len(steps)]
	}
	back := 1 // how many versions ago it was
	for back <= len(hashes) && hashes[len(hashes)-back] != from {
		back++
	}
	known := back <= len(hashes)
	v.mu.Unlock()
	if !known {
		return nil, false
	}
	steps := e.answer.Version.Steps(back - 1)
	return shops.Net(steps), len(steps) == back-1
}

// deltaOf returns the changes that are changes in this format too.
func (e *badCitizensEdition) deltaOf(from uint64, changes []shops.BlocklistChange) *badCitizensDelta {
	d := &badCitizensDelta{from: from, to: e.hash}
	entry := e.versions.format.entry
	var x, y []byte
	for _, c := range changes {
		was, gone := c.Was()
		is, come := c.Is()
		if gone && come {
			if x, y = entry(x[:0], &was), entry(y[:0], &is); bytes.Equal(x, y) {
				continue
			}
		}
		if gone {
			d.removed = append(d.removed, was)
		}
		if come {
			d.added = append(d.added, is)
		}
	}
	return d
}

// parseSince reads the version that a client has, as the client got it in an ETag or in a
// delta: with or without quotes, W/, and the suffix of an encoding. It returns false for a
// text that is no version of a list.
func parseSince(since string) (hash uint64, ok bool) {
	since = strings.TrimPrefix(trimBlanks(since), "W/")
	since = strings.Trim(since, `"`)
	since, _, _ = strings.Cut(since, "-")
	if len(since) != 16 {
		return 0, false
	}
	hash, err := strconv.ParseUint(since, 16, 64)
	return hash, err == nil
}
