package discovery

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

// Blocklist is the union of all bad-citizen lists. It is immutable: any number
// of goroutines may use it without a lock. Its methods take the time, so that
// expired entries leave by themselves.
//
// Where several entries have the same prefix the union has one of them: the one
// that never expires, or expires last; then the one whose list comes first by
// name; then the one whose reason does.
type Blocklist struct {
	zxid int64
	// entries has one entry for each prefix, ordered by address (IPv4 first),
	// shorter prefixes first.
	entries []BadCitizen
	// index has the place of each prefix's entry.
	index bart.Table[uint32]
	// expiries has the time of every entry that expires, in order.
	expiries []time.Time
}

// NewBlocklist makes the union of lists, which are not kept.
//
// zxid is the newest transaction that changed any of it, those that created and
// deleted lists included: the greatest of all mzxids and of the parent's pzxid.
func NewBlocklist(zxid int64, lists ...BadCitizenList) *Blocklist {
	n := 0
	for _, list := range lists {
		n += len(list.Entries)
	}
	b := &Blocklist{zxid: zxid, entries: make([]BadCitizen, 0, n)}
	for _, list := range lists {
		b.entries = append(b.entries, list.Entries...)
	}
	slices.SortFunc(b.entries, compareEntries)
	b.entries = slices.CompactFunc(b.entries, func(kept, next BadCitizen) bool { return kept.Prefix == next.Prefix })
	for i, e := range b.entries {
		b.index.Insert(e.Prefix, uint32(i))
		if !e.Expires.IsZero() {
			b.expiries = append(b.expiries, e.Expires)
		}
	}
	slices.SortFunc(b.expiries, time.Time.Compare)
	return b
}

// compareEntries orders by prefix; of equal ones the one to keep comes first.
func compareEntries(x, y BadCitizen) int {
	if c := x.Prefix.Compare(y.Prefix); c != 0 {
		return c
	}
	if x.Expires.IsZero() != y.Expires.IsZero() {
		if x.Expires.IsZero() {
			return -1
		}
		return 1
	}
	return cmp.Or(y.Expires.Compare(x.Expires), strings.Compare(x.List, y.List), strings.Compare(x.Reason, y.Reason))
}

// Zxid returns what [NewBlocklist] was given.
func (b *Blocklist) Zxid() int64 { return b.zxid }

// Lookup returns the entry with the longest prefix that holds addr and has not
// expired. IPv4-mapped IPv6 addresses are looked up as IPv4. The zero address
// and addresses with a zone are in no list.
func (b *Blocklist) Lookup(addr netip.Addr, now time.Time) (BadCitizen, bool) {
	if !addr.IsValid() || addr.Zone() != "" {
		return BadCitizen{}, false
	}
	addr = addr.Unmap()
	i, ok := b.index.Lookup(addr)
	if !ok {
		return BadCitizen{}, false
	}
	if e := b.entries[i]; !e.Expired(now) {
		return e, true
	}
	for _, i := range b.index.Supernets(b.entries[i].Prefix) { // longest first
		if e := b.entries[i]; !e.Expired(now) {
			return e, true
		}
	}
	return BadCitizen{}, false
}

// Entries yields all entries that have not expired, IPv4 before IPv6, ordered by
// address, shorter prefixes first.
func (b *Blocklist) Entries(now time.Time) iter.Seq[BadCitizen] {
	return func(yield func(BadCitizen) bool) {
		for _, e := range b.entries {
			if !e.Expired(now) && !yield(e) {
				return
			}
		}
	}
}

// Len is the number of entries that have not expired.
func (b *Blocklist) Len(now time.Time) int { return len(b.entries) - b.expired(now) }

// NextExpiry is when the next entry expires and the answers change by
// themselves; false if none ever will.
func (b *Blocklist) NextExpiry(now time.Time) (time.Time, bool) {
	if i := b.expired(now); i < len(b.expiries) {
		return b.expiries[i], true
	}
	return time.Time{}, false
}

// expired is the number of entries that have expired.
func (b *Blocklist) expired(now time.Time) int {
	i, _ := slices.BinarySearchFunc(b.expiries, now, func(e, now time.Time) int {
		if now.Before(e) {
			return 1
		}
		return -1
	})
	return i
}
