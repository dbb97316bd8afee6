package shops

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"strings"
	"time"
	"unique"
)

// There may be a million bad citizens. An entry has 40 bytes, which is half of what a
// [BadCitizen] takes, and the garbage collector has to follow one pointer in it instead of
// four.

// entry is a [BadCitizen] as it is held in memory.
type entry struct {
	fact
	key
}

// key is a prefix.
type key struct {
	hi, lo uint64 // of the address; IPv4 is the upper half of hi
	bits   uint8
	six    bool // IPv6
}

func keyOf(p netip.Prefix) key {
	k := key{bits: uint8(p.Bits()), six: p.Addr().Is6()}
	if k.six {
		b := p.Addr().As16()
		k.hi, k.lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	} else {
		b := p.Addr().As4()
		k.hi = uint64(binary.BigEndian.Uint32(b[:])) << 32
	}
	return k
}

func (k key) prefix() netip.Prefix {
	if !k.six {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(k.hi>>32))
		return netip.PrefixFrom(netip.AddrFrom4(b), int(k.bits))
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), int(k.bits))
}

// compare orders keys: IPv4 before IPv6, then by address, then shorter prefixes first.
func (k key) compare(o key) int {
	switch {
	case k.six != o.six:
		if o.six {
			return -1
		}
		return 1
	case k.hi != o.hi:
		return cmp.Compare(k.hi, o.hi)
	case k.lo != o.lo:
		return cmp.Compare(k.lo, o.lo)
	}
	return int(k.bits) - int(o.bits)
}

// fact is all of an entry but its prefix. The zero fact stands for no entry.
type fact struct {
	seconds int64 // when it expires, as Unix time, or never
	label   unique.Handle[label]
}

// label is the part of a fact that most entries of a list have in common. It is held once
// for all of them.
type label struct {
	list, reason string
	nanos        int32 // the nanoseconds of the expiry within its second, mostly 0
}

// never is the expiry of a fact that does not expire. It is later than all others.
const never = math.MaxInt64

// compare orders the facts of one prefix. The fact that counts comes first: the one that
// never expires or expires last; of equal ones the one with the first list by name; and of
// these the one with the first reason.
func (f fact) compare(o fact) int {
	switch {
	case f.seconds != o.seconds:
		return cmp.Compare(o.seconds, f.seconds)
	case f.label == o.label:
		return 0
	}
	fl, ol := f.label.Value(), o.label.Value()
	return cmp.Or(cmp.Compare(ol.nanos, fl.nanos), strings.Compare(fl.list, ol.list), strings.Compare(fl.reason, ol.reason))
}

// moment is a [time.Time] in the form in which it is compared with facts.
type moment struct {
	seconds int64
	nanos   int32
}

func momentOf(t time.Time) moment { return moment{t.Unix(), int32(t.Nanosecond())} }

func (m moment) time() time.Time { return time.Unix(m.seconds, int64(m.nanos)).UTC() }

func (m moment) compare(o moment) int {
	return cmp.Or(cmp.Compare(m.seconds, o.seconds), cmp.Compare(m.nanos, o.nanos))
}

// expiry returns when the fact expires. Its seconds are never if the fact does not.
func (f fact) expiry() moment {
	if f.seconds == never {
		return moment{seconds: never}
	}
	return moment{f.seconds, f.label.Value().nanos}
}

// expired reports whether the fact has expired: it has at its expiry and afterwards. The
// zero fact has always expired.
func (f fact) expired(at moment) bool {
	return f == (fact{}) || at.seconds > f.seconds || at.seconds == f.seconds && at.nanos >= f.label.Value().nanos
}

// badCitizen returns the entry that says the fact about prefix.
func (f fact) badCitizen(prefix netip.Prefix) BadCitizen {
	l := f.label.Value()
	b := BadCitizen{Prefix: prefix, List: l.list, Reason: l.reason}
	if f.seconds != never {
		b.Expires = f.expiry().time()
	}
	return b
}

// labels makes the entries of one list. It keeps the labels that it has made, so that entries
// share them.
type labels struct {
	list  string
	known map[labelKey]unique.Handle[label]
	// last and lastLabel are of the last entry. The next entry mostly has the same.
	last      labelKey
	lastLabel unique.Handle[label]
}

type labelKey struct {
	reason string
	nanos  int32
}

func newLabels(list string) *labels {
	l := &labels{list: list, known: make(map[labelKey]unique.Handle[label])}
	l.lastLabel = l.label(labelKey{})
	return l
}

// entry returns the entry for b. It keeps a copy of b's Reason, which may be a part of a
// larger string.
func (l *labels) entry(b *BadCitizen) entry {
	e := entry{fact{seconds: never}, keyOf(b.Prefix)}
	key := labelKey{reason: b.Reason}
	if !b.Expires.IsZero() {
		e.seconds, key.nanos = b.Expires.Unix(), int32(b.Expires.Nanosecond())
	}
	if key != l.last {
		l.lastLabel = l.label(key)
		l.last = key
	}
	e.label = l.lastLabel
	return e
}

func (l *labels) label(key labelKey) unique.Handle[label] {
	h, ok := l.known[key]
	if !ok {
		h = unique.Make(label{list: l.list, reason: key.reason, nanos: key.nanos}) // which clones the strings that it keeps
		key.reason = h.Value().reason
		l.known[key] = h
	}
	return h
}
