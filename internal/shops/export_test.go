package shops

import (
	"iter"
	"time"

	"magellan/internal/discovery"
)

// Expired reports whether the entry is over: from Expires on, that instant
// included.
func (b BadCitizen) Expired(now time.Time) bool {
	return !b.Expires.IsZero() && !now.Before(b.Expires)
}

// Entries yields all entries in the order of their lines.
func (l BadCitizenList) Entries() iter.Seq[BadCitizen] {
	return func(yield func(BadCitizen) bool) {
		for _, b := range l.blocks {
			for _, e := range b.entries {
				if !yield(e.badCitizen(e.prefix())) {
					return
				}
			}
		}
	}
}

// NewBlocklist is [Blocklist.Next] without a predecessor.
func NewBlocklist(zxid int64, lists ...BadCitizenList) *Blocklist {
	var none *Blocklist
	return none.Next(time.Time{}, zxid, lists...)
}

// Len is the number of entries that have not expired. It counts them.
func (b *Blocklist) Len(now time.Time) (n int) {
	for range b.Entries(now) {
		n++
	}
	return n
}

// Doubts returns the doubts about the regions and those about the datacenters.
func (t *Topology) Doubts() (regions, datacenters discovery.Doubts) {
	return t.regionDoubts, t.datacenterDoubts
}
