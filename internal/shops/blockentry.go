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

// A million bad citizens are held in memory as entries, in 40 bytes each, half of
// what a [BadCitizen] takes, and with one pointer for the garbage collector to
// follow where that has four.

// entry is a [BadCitizen] as it is held.
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

// compare orders IPv4 before IPv6, then by address, shorter prefixes first.
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

// fact is what an entry says of its prefix. The zero fact says nothing: that there
// is no entry.
type fact struct {
	seconds int64 // when it expires, as Unix time, or never
	label   unique.Handle[label]
}

// label is what the entries of a list mostly share, held once for all of them.
type label struct {
	list, reason string
	nanos        int32 // of the expiry, below the second: mostly 0
}

// never is the expiry of what does not expire: later than all others.
const never = math.MaxInt64

// compare orders facts of one prefix: the one that counts comes first. That is the
// one that never expires, or expires last; then the one whose list comes first by
// name; then the one whose reason does.
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

// moment is a [time.Time] as facts are compared with it.
type moment struct {
	seconds int64
	nanos   int32
}

func momentOf(t time.Time) moment { return moment{t.Unix(), int32(t.Nanosecond())} }

func (m moment) time() time.Time { return time.Unix(m.seconds, int64(m.nanos)).UTC() }

func (m moment) compare(o moment) int {
	return cmp.Or(cmp.Compare(m.seconds, o.seconds), cmp.Compare(m.nanos, o.nanos))
}

// expiry is when the fact expires; never for ever.
func (f fact) expiry() moment {
	if f.seconds == never {
		return moment{seconds: never}
	}
	return moment{f.seconds, f.label.Value().nanos}
}

// expired reports whether the entry is over: from its expiry on, that instant
// included. The zero fact has expired.
func (f fact) expired(at moment) bool {
	return f == (fact{}) || at.seconds > f.seconds || at.seconds == f.seconds && at.nanos >= f.label.Value().nanos
}

// badCitizen is the fact as an entry of prefix.
func (f fact) badCitizen(prefix netip.Prefix) BadCitizen {
	l := f.label.Value()
	b := BadCitizen{Prefix: prefix, List: l.list, Reason: l.reason}
	if f.seconds != never {
		b.Expires = f.expiry().time()
	}
	return b
}

// labels makes the entries of one list: it knows the labels that it has made.
type labels struct {
	list  string
	known map[labelKey]unique.Handle[label]
	// last is the label of the last entry: mostly the next one's, too.
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

// entry keeps nothing of what b's Reason is a part of.
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
		h = unique.Make(label{list: l.list, reason: key.reason, nanos: key.nanos}) // clones what it keeps
		key.reason = h.Value().reason
		l.known[key] = h
	}
	return h
}
