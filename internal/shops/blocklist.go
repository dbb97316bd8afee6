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

// Blocklist is the union of all bad-citizen lists: a snapshot that is never
// changed, so that any number of goroutines may use it without a lock. Its methods
// take the time, so that expired entries leave by themselves.
//
// Where several entries have the same prefix the union has one of them: the one
// that never expires, or expires last; then the one whose list comes first by
// name; then the one whose reason does.
//
// A change of a list makes another Blocklist, [Blocklist.Next], which shares with
// the one before all that is the same in both.
type Blocklist struct {
	zxid int64
	// lists are what each list is made of, by its name.
	lists map[string][]*block
	table *bart.Table[rule]

	history *history
	place   place // under history.mu

	// doubts are those about the lists.
	doubts discovery.Doubts
}

// rule is all that the lists say of one prefix.
type rule struct {
	// fact is the one that counts.
	fact
	// others are what other lines say, of this list and of others, in the order in
	// which they would count; mostly nil. They are never changed: snapshots share
	// them.
	others *[]fact
}

// Next makes the union of lists, which have different names, as the successor of
// b. What it costs goes by what has changed: entries that lists share with those of
// b, as [Blocklist.DecodeBadCitizens] has it, are not looked at. A b of nil is no
// predecessor.
//
// now is the time of the change, zero if it is unknown. zxid is the newest
// transaction that changed any of it, those that created and deleted lists
// included: the greatest of all mzxids and of the parent's pzxid.
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

// edit is a line that has come or gone.
type edit struct {
	entry
	gone bool
}

// appendEdits appends what makes one state of a list another one.
func appendEdits(edits []edit, was, is []*block) []edit {
	for len(was) > 0 && len(is) > 0 && was[0] == is[0] {
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && was[len(was)-1] == is[len(is)-1] {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	more := make(map[*block]int, len(is)) // how often a block is there now, less how often it was
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

// settle orders edits by prefix and takes out those that undo one another: most
// lines of a block that has changed have not.
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

// persistShare is the part of the table up to which it is cheaper to change a
// table prefix by prefix, copying the nodes above each, than to copy it whole
// first. BenchmarkBlocklistNext has both.
const persistShare = 128

// apply makes the table after edits, which are ordered by prefix, and says which
// prefixes are another union's then, unless all are. The table that it is given stays
// as it is.
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

// edited is the rule after edits of its prefix.
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

// SetDoubts sets the doubts about the lists. It is for whoever has made the union,
// before anybody else has it. A list that is not held has no entries in the union;
// that it exists is known by the doubt about it.
func (b *Blocklist) SetDoubts(lists discovery.Doubts) { b.doubts = lists }

// Zxid returns what [Blocklist.Next] was given.
func (b *Blocklist) Zxid() int64 { return b.zxid }

// Lookup returns the entry with the longest prefix that holds addr and has not
// expired. IPv4-mapped IPv6 addresses are looked up as IPv4. The zero address
// and addresses with a zone are in no list.
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

// holding yields all entries of all lists that hold addr, an address as Lookup has
// it, and have not expired: the longest prefix first, and those of one prefix in the
// order in which they count.
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

// Entries yields all entries that have not expired, IPv4 before IPv6, ordered by
// address, shorter prefixes first.
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

// expiring returns the entries of the union that expire after one instant, and no
// later than another, ordered by when they do and then by prefix.
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
	return slices.Compact(all) // an entry may stand in its list twice
}

// firstExpiry is when the first entry of the union expires after an instant; never
// if none does.
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

// eachExpiry calls f with the entries of all lists that expire after an instant.
// f returns until when to look: later ones may be left out.
func (b *Blocklist) eachExpiry(after moment, f func(e *entry, at moment) (until moment)) {
	until := moment{seconds: never}
	for _, blocks := range b.lists {
		for _, block := range blocks {
			for i := range block.entries {
				e := &block.entries[i]
				if e.seconds == never || e.seconds < after.seconds || e.seconds > until.seconds {
					continue // most of them, without a look at the label
				}
				if at := e.expiry(); after.compare(at) < 0 {
					until = f(e, at)
				}
			}
		}
	}
}

// counts reports whether an entry of a list is the union's.
func (b *Blocklist) counts(e *entry) bool {
	r, ok := b.table.Get(e.prefix())
	return ok && r.fact == e.fact
}
