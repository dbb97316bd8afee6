package shops

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"magellan/internal/discovery"
)

// Blocklist is the union of all bad-citizen lists. It is never changed, so that any number
// of goroutines may use it without a lock. Its methods take the time, and leave out the
// entries that have expired by then.
//
// If several entries have the same prefix the union has one of them: the one that never
// expires or expires last; of equal ones the one with the first list by name; and of these
// the one with the first reason.
//
// If a list changes, [Blocklist.Next] makes another Blocklist. The two share all that is the
// same in both.
type Blocklist struct {
	zxid int64
	// lists has the blocks of each list, by the list's name.
	lists map[string][]*block
	table *bart.Table[rule]

	history *history
	place   place // under history.mu

	// doubts are the doubts about the lists.
	doubts discovery.Doubts
}

// rule has all facts that the lists have about one prefix.
type rule struct {
	// fact is the fact that counts.
	fact
	// others are the facts of other lines, of the same list or another one, in the order
	// in which they would count. It is mostly nil. The slice is never changed, because
	// Blocklists share it.
	others *[]fact
}

// Next returns the union of lists, each of which has another name, as the successor of b. b
// is nil if there is no predecessor. The cost of Next depends on what has changed: it does
// not look at entries that lists share with b because [Blocklist.DecodeBadCitizens] has
// found them in b.
//
// now is the time of the change, zero if that is unknown. zxid is the newest transaction
// that changed, created or deleted a list: the greatest of all mzxids and of the parent's
// pzxid.
func (b *Blocklist) Next(now time.Time, zxid int64, lists ...BadCitizenList) *Blocklist {
	first := b == nil
	if first {
		b = &Blocklist{table: new(bart.Table[rule]), history: new(history)}
	}
	next := &Blocklist{zxid: zxid, lists: make(map[string][]*block, len(lists))}
	var edits []edit
	if first {
		n := 0
		for _, list := range lists {
			n += list.Len()
		}
		edits = make([]edit, 0, n)
	}
	for _, list := range lists {
		next.lists[list.Name] = list.blocks
		edits = appendEdits(edits, b.lists[list.Name], list.blocks)
	}
	for name, blocks := range b.lists {
		if _, stays := next.lists[name]; !stays {
			edits = appendEdits(edits, blocks, nil)
		}
	}
	var changes []BlocklistChange
	next.table, changes = apply(b.table, settle(edits), first)
	b.history.follow(b, next, changes, now)
	return next
}

// edit is the entry of a line that was added or, if gone is set, removed.
type edit struct {
	entry
	gone bool
}

// appendEdits appends the edits that lead from one state of a list to another.
func appendEdits(edits []edit, was, is []*block) []edit {
	for len(was) > 0 && len(is) > 0 && was[0] == is[0] {
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && was[len(was)-1] == is[len(is)-1] {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	more := make(map[*block]int, len(is)) // how often a block is in is, minus how often it is in was
	for _, b := range is {
		more[b]++
	}
	for _, b := range was {
		more[b]--
	}
	for b, n := range more {
		for ; n != 0; n -= cmp.Compare(n, 0) {
			for _, e := range b.entries {
				edits = append(edits, edit{e, n < 0})
			}
		}
	}
	return edits
}

// settle orders edits by prefix and removes those that undo one another. There are many,
// because most lines of a block that has changed are the same.
func settle(edits []edit) []edit {
	slices.SortFunc(edits, func(x, y edit) int {
		if c := x.key.compare(y.key); c != 0 {
			return c
		}
		return x.fact.compare(y.fact)
	})
	settled := edits[:0]
	for len(edits) > 0 {
		same, gone := 0, 0
		for ; same < len(edits) && edits[same].entry == edits[0].entry; same++ {
			if edits[same].gone {
				gone++
			}
		}
		e := edits[0]
		e.gone = 2*gone > same
		edits = edits[same:]
		for range max(2*gone-same, same-2*gone) {
			settled = append(settled, e)
		}
	}
	return settled
}

// persistShare says when to copy the whole table before it is changed: if more than one in
// persistShare of its prefixes change. For fewer changes it is cheaper to copy only the
// nodes above each prefix that changes. BenchmarkBlocklistNext measures both.
const persistShare = 128

// apply returns the table after edits, which are ordered by prefix, and the changes of the
// union. It returns no changes if all is set, because then the table is the first one. It
// does not change the table that it is given.
func apply(table *bart.Table[rule], edits []edit, all bool) (*bart.Table[rule], []BlocklistChange) {
	if len(edits) == 0 {
		return table, nil
	}
	whole := len(edits) > table.Size()/persistShare
	if whole {
		table = table.Clone()
	}
	var changes []BlocklistChange
	for len(edits) > 0 {
		n := 1
		for n < len(edits) && edits[n].key == edits[0].key {
			n++
		}
		c := BlocklistChange{key: edits[0].key}
		modify := func(r rule, _ bool) (rule, bool) {
			c.was = r.fact
			r = r.edited(edits[:n])
			c.is = r.fact
			return r, r.fact == fact{}
		}
		if whole {
			table.Modify(c.prefix(), modify)
		} else {
			table = table.ModifyPersist(c.prefix(), modify)
		}
		if c.was != c.is && !all {
			changes = append(changes, c)
		}
		edits = edits[n:]
	}
	return table, changes
}

// edited returns the rule after edits of its prefix.
func (r rule) edited(edits []edit) rule {
	if len(edits) == 1 && r.others == nil { // mostly
		switch {
		case r.fact == fact{}:
			return rule{fact: edits[0].fact}
		case edits[0].gone:
			return rule{}
		}
	}
	var facts []fact
	if r.fact != (fact{}) {
		facts = append(facts, r.fact)
	}
	if r.others != nil {
		facts = append(facts, *r.others...)
	}
	for _, e := range edits {
		if !e.gone {
			facts = append(facts, e.fact)
		}
	}
	slices.SortFunc(facts, fact.compare)
	for _, e := range edits {
		if e.gone {
			i, _ := slices.BinarySearchFunc(facts, e.fact, fact.compare)
			facts = slices.Delete(facts, i, i+1)
		}
	}
	switch len(facts) {
	case 0:
		return rule{}
	case 1:
		return rule{fact: facts[0]}
	}
	others := slices.Clone(facts[1:])
	return rule{fact: facts[0], others: &others}
}

// SetDoubts sets the doubts about the lists. Whoever has made the union may call it before
// anybody else has the union. A list that is not held has no entries in the union; only the
// doubt about the list shows that it exists.
func (b *Blocklist) SetDoubts(lists discovery.Doubts) { b.doubts = lists }

// Zxid returns the zxid that [Blocklist.Next] was given.
func (b *Blocklist) Zxid() int64 { return b.zxid }

// Lookup returns, of the entries that contain addr and have not expired, the one with the
// longest prefix. It looks an IPv4-mapped IPv6 address up as an IPv4 address. The zero
// address and addresses with a zone are in no list.
func (b *Blocklist) Lookup(addr netip.Addr, now time.Time) (BadCitizen, bool) {
	if !addr.IsValid() || addr.Zone() != "" {
		return BadCitizen{}, false
	}
	addr = addr.Unmap()
	prefix, r, ok := b.table.LookupPrefixLPM(netip.PrefixFrom(addr, addr.BitLen()))
	if !ok {
		return BadCitizen{}, false
	}
	at := momentOf(now)
	if !r.expired(at) {
		return r.badCitizen(prefix), true
	}
	for prefix, r := range b.table.Supernets(prefix) { // longest first
		if !r.expired(at) {
			return r.badCitizen(prefix), true
		}
	}
	return BadCitizen{}, false
}

// holding yields the entries of all lists that contain addr and have not expired. The
// longest prefix comes first, and the entries of one prefix come in the order in which they
// count. addr is valid, unmapped and without a zone.
func (b *Blocklist) holding(addr netip.Addr, now time.Time) iter.Seq[BadCitizen] {
	return func(yield func(BadCitizen) bool) {
		at := momentOf(now)
		for prefix, r := range b.table.Supernets(netip.PrefixFrom(addr, addr.BitLen())) {
			facts := []fact{r.fact}
			if r.others != nil {
				facts = append(facts, *r.others...)
			}
			for _, f := range facts {
				if !f.expired(at) && !yield(f.badCitizen(prefix)) {
					return
				}
			}
		}
	}
}

// Entries yields all entries that have not expired: IPv4 before IPv6, then by address, then
// shorter prefixes first.
func (b *Blocklist) Entries(now time.Time) iter.Seq[BadCitizen] {
	return func(yield func(BadCitizen) bool) {
		at := momentOf(now)
		for prefix, r := range b.table.AllSorted() {
			if !r.expired(at) && !yield(r.badCitizen(prefix)) {
				return
			}
		}
	}
}

// expiring returns the entries of the union that expire after one instant and no later than
// another. They are ordered by their expiry, and then by prefix.
func (b *Blocklist) expiring(after, until moment) (all []entry) {
	b.eachExpiry(after, func(e *entry, at moment) moment {
		if at.compare(until) <= 0 && b.counts(e) {
			all = append(all, *e)
		}
		return until
	})
	slices.SortFunc(all, func(x, y entry) int {
		return cmp.Or(x.expiry().compare(y.expiry()), x.key.compare(y.key))
	})
	return slices.Compact(all) // a list may have the same entry twice
}

// firstExpiry returns the first expiry of an entry of the union after an instant; never if
// there is none.
func (b *Blocklist) firstExpiry(after moment) moment {
	first := moment{seconds: never}
	b.eachExpiry(after, func(e *entry, at moment) moment {
		if at.compare(first) < 0 && b.counts(e) {
			first = at
		}
		return first
	})
	return first
}

// eachExpiry calls f for the entries of all lists that expire after an instant. f returns an
// instant: entries that expire later need not be passed to f any more.
func (b *Blocklist) eachExpiry(after moment, f func(e *entry, at moment) (until moment)) {
	until := moment{seconds: never}
	for _, blocks := range b.lists {
		for _, block := range blocks {
			for i := range block.entries {
				e := &block.entries[i]
				if e.seconds == never || e.seconds < after.seconds || e.seconds > until.seconds {
					continue // which is decided for most entries without a look at the label
				}
				if at := e.expiry(); after.compare(at) < 0 {
					until = f(e, at)
				}
			}
		}
	}
}

// counts reports whether an entry of a list is in the union.
func (b *Blocklist) counts(e *entry) bool {
	r, ok := b.table.Get(e.prefix())
	return ok && r.fact == e.fact
}
