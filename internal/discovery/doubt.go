package discovery

import (
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"
)

// Doubt says that the cache does not hold what ZooKeeper holds of a record, which is a
// member of a directory. The record's newest bytes do not parse, may not be read, or are
// held back by the shrink guard. Even if no value of it is held the record exists, and no
// answer may be given as if it did not.
type Doubt struct {
	// Name is the record's name. An empty name stands for the list of records: it is
	// not known which records there are.
	Name string
	// Reason names the znode, and says why what ZooKeeper holds there cannot be served
	// and what an operator can do about it.
	Reason string
	// Held reports that there is a last good value.
	Held bool
	// Since is when the last good value was last known to be what ZooKeeper holds. If
	// there is no such value, Since is when all records were last known and this one was
	// not among them. It is zero if that was never so.
	Since time.Time
	// Zxid is the transaction that wrote the last good value, 0 if none is held.
	Zxid int64
	// Gone reports that the shrink guard serves the last value of a record that does not exist
	// any more, or is back and has not been read yet.
	Gone bool
	// Accepted reports that an operator has accepted that the record cannot be read.
	// Answers are given without it. Only a request for the record itself fails.
	Accepted bool
}

// Doubts are the doubts about the members of one directory. The zero value has no doubt.
// Doubts are immutable.
type Doubts struct {
	byName  map[string]*Doubt
	listing *Doubt
	whole   *Doubt
}

// NewDoubts returns the given doubts, of which at most one may have each name.
func NewDoubts(all []Doubt) Doubts {
	var d Doubts
	if len(all) == 0 {
		return d
	}
	d.byName = make(map[string]*Doubt, len(all))
	var counted []*Doubt
	for i := range all {
		one := &all[i]
		if one.Name == "" {
			d.listing = one
		} else {
			d.byName[one.Name] = one
		}
		if !one.Accepted {
			counted = append(counted, one)
		}
	}
	d.whole = join(counted)
	return d
}

// join returns one doubt about all records together. It is as old as the oldest of the
// given doubts.
func join(all []*Doubt) *Doubt {
	if len(all) == 0 {
		return nil
	}
	never := 0
	for _, one := range all {
		if one.Since.IsZero() {
			never++
		}
	}
	whole := &Doubt{Held: true, Since: all[0].Since, Zxid: all[0].Zxid}
	var reasons []string
	for _, one := range all {
		if never > 0 && !one.Since.IsZero() {
			continue // nothing was ever known of the others: they are why there is no answer
		}
		reasons = append(reasons, one.Reason)
		whole.Zxid = min(whole.Zxid, one.Zxid)
		if never > 0 {
			whole.Since, whole.Held = time.Time{}, false
		} else if one.Since.Before(whole.Since) {
			whole.Since = one.Since
		}
	}
	const most = 5
	if n := len(reasons) - most; n > 0 {
		reasons = append(reasons[:most], fmt.Sprintf("and %d more, which /admin/problems lists", n))
	}
	whole.Reason = strings.Join(reasons, "; ")
	return whole
}

// Of returns the doubt about the record of that name, nil if there is none.
func (d *Doubts) Of(name string) *Doubt { return d.byName[name] }

// Whole returns the doubt about all records together, nil if there is none. Its Since is
// zero if there was never a time at which all of them were known.
func (d Doubts) Whole() *Doubt { return d.whole }

// About returns the doubt about the record of that name, nil if there is none. found says
// whether a value of the record is held. If none is held, there is as much doubt about
// whether the record exists as about which records there are.
func (d *Doubts) About(name string, found bool) *Doubt {
	if one := d.byName[name]; one != nil {
		return one
	}
	if found {
		return nil
	}
	return d.listing
}

// All yields every doubt about a record, with the record's name. It leaves out the doubt
// about which records there are.
func (d *Doubts) All() iter.Seq2[string, *Doubt] { return maps.All(d.byName) }

// Same reports whether other has doubts about the same records, and each of them is [Alike]
// the one here. So must be the doubts about which records there are.
func (d Doubts) Same(other Doubts) bool {
	if len(d.byName) != len(other.byName) || !Alike(d.listing, other.listing) {
		return false
	}
	for name, one := range d.byName {
		if !Alike(one, other.byName[name]) {
			return false
		}
	}
	return true
}

// Alike reports whether two doubts, either of which may be nil, are equal in Held, in
// Accepted, and in whether Since is zero. Their ages may differ.
func Alike(a, b *Doubt) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Held == b.Held && a.Accepted == b.Accepted && a.Since.IsZero() == b.Since.IsZero()
}
