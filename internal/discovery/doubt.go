package discovery

import (
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"
)

// Doubt says of a record, a member of a directory, that what is held of it is not
// what ZooKeeper holds: its newest bytes do not parse, may not be read, or are
// held back. Where nothing is held the record exists all the same, and no answer
// may be given as if it did not.
type Doubt struct {
	// Name is the record's name. It is empty for the list of records: then it is
	// not known which there are.
	Name string
	// Reason names the znode, says why what ZooKeeper holds of it cannot be
	// served, and what to do about that.
	Reason string
	// Held: there is a last good value.
	Held bool
	// Since is when the last good value was last known to be what ZooKeeper holds.
	// Where none is held, it is when all records were last known without this one.
	// Zero: never.
	Since time.Time
	// Zxid is the transaction that wrote the last good value, 0 if none is held.
	Zxid int64
	// Accepted: an operator has accepted that the record cannot be read. Answers
	// are given without it, and only who asks for the record itself is told.
	Accepted bool
}

// Doubts are the doubts about one set of records, all members of a directory. The zero value
// is none. It is immutable.
type Doubts struct {
	byName  map[string]*Doubt
	listing *Doubt
	whole   *Doubt
}

// NewDoubts returns the doubts given, at most one for each name.
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

// join returns the doubt about records as a whole: it is as old as the oldest.
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
			continue // it is not what stands in the way
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

// Whole returns the doubt about all records together, nil if there is none. Its
// Since is zero if they were never known together.
func (d Doubts) Whole() *Doubt { return d.whole }

// About returns the doubt about the record of that name, nil if there is none.
// found says that a value is held. Whether a record exists that is not held is as
// well known as which records there are.
func (d *Doubts) About(name string, found bool) *Doubt {
	if one := d.byName[name]; one != nil {
		return one
	}
	if found {
		return nil
	}
	return d.listing
}

// All yields every doubt but that about which records there are.
func (d *Doubts) All() iter.Seq2[string, *Doubt] { return maps.All(d.byName) }

// Same reports whether other says the same of what is known, its age aside.
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

// Alike reports whether two doubts, either of which may be nil, say the same of what
// is known, its age aside.
func Alike(a, b *Doubt) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Held == b.Held && a.Accepted == b.Accepted && a.Since.IsZero() == b.Since.IsZero()
}
