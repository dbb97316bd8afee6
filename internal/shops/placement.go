package shops

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/discovery"
)

// Policy says how a datacenter is chosen for a new shop.
type Policy string

const (
	// Weighted is weighted rendezvous hashing: each datacenter gets new shops
	// in proportion to its headroom, the same shop always gets the same answer
	// while the headrooms are the same, and when a datacenter leaves only the
	// shops it would have had go elsewhere. It is the default.
	Weighted Policy = "weighted"
	// LeastLoaded takes the datacenter with the greatest free share of its
	// capacity; of equal ones the one Weighted would take.
	LeastLoaded Policy = "least-loaded"
)

// PlacementRequest asks where a new shop should go.
type PlacementRequest struct {
	// Shop is the new shop's name. Whether it exists already is not looked at.
	Shop string
	// Policy is Weighted where empty.
	Policy Policy
	// Exclude names regions and datacenters that are out of the question; it
	// wins over Prefer. Unknown names are an error in both: they are typing
	// errors, and ignoring one would place the shop where it must not go.
	Exclude []string
	// Prefer names regions and datacenters to choose from as long as any of
	// them is a candidate; otherwise all candidates are chosen from.
	Prefer []string
}

// Placement is where a new shop should go, and why.
type Placement struct {
	Shop, Region, Datacenter string
	Policy                   Policy
	// Candidates could take the shop, the best first: it is the answer.
	Candidates []Candidate
	// Rejected cannot take it, ordered by datacenter.
	Rejected []Rejection
}

// Candidate is a datacenter that can take the shop.
type Candidate struct {
	Datacenter, Region string
	// Headroom is the number of shops there is room for, at least 1.
	Headroom int64
	// Score is what candidates are ordered by, greater first, within the
	// preferred and the others. By Weighted it is -headroom/ln(u) for a number
	// u between 0 and 1 that depends on the names of shop and datacenter; by
	// LeastLoaded it is the free share of the capacity.
	Score float64
	// Preferred: named by the request's Prefer, itself or by its region.
	Preferred bool
}

// Rejection is a datacenter that cannot take the shop.
type Rejection struct {
	Datacenter, Region string
	Reason             RejectReason
}

// RejectReason says why a datacenter cannot take a shop. Where several reasons
// hold, the first in the order of the constants is given.
type RejectReason string

// The reasons.
const (
	Excluded      RejectReason = "excluded"       // by the request
	RegionUnknown RejectReason = "region unknown" // it names a region that is not there
	RegionClosed  RejectReason = "region closed"
	Closed        RejectReason = "closed"
	NoHeadroom    RejectReason = "no headroom" // as many shops are assigned as there is capacity for
)

// ErrNoCapacity is the error where no open datacenter has headroom for a new shop.
var ErrNoCapacity = errors.New("no capacity")

// Place chooses a datacenter for a new shop. The answer depends on the topology
// and the request alone: it is the same on every replica, machine and release.
//
// Errors wrap [discovery.ErrInvalidName], [discovery.ErrInvalidRequest] or [ErrNoCapacity]; with
// the last the placement's Rejected says why in full.
func Place(t *Topology, req PlacementRequest) (Placement, error) {
	if err := discovery.ValidateName(req.Shop); err != nil {
		return Placement{}, err
	}
	p := Placement{Shop: req.Shop, Policy: cmp.Or(req.Policy, Weighted)}
	if p.Policy != Weighted && p.Policy != LeastLoaded {
		return Placement{}, fmt.Errorf("%w: policy %q is neither %s nor %s", discovery.ErrInvalidRequest, req.Policy, Weighted, LeastLoaded)
	}
	if err := t.checkNames("exclude", req.Exclude); err != nil {
		return Placement{}, err
	}
	if err := t.checkNames("prefer", req.Prefer); err != nil {
		return Placement{}, err
	}

	type ranked struct {
		Candidate
		weighted float64
	}
	candidates := make([]ranked, 0, len(t.datacenters))
	for i := range t.datacenters {
		d := &t.datacenters[i]
		if reason := t.reject(d, req.Exclude); reason != "" {
			p.Rejected = append(p.Rejected, Rejection{Datacenter: d.Name, Region: d.Region, Reason: reason})
			continue
		}
		c := ranked{
			Candidate: Candidate{
				Datacenter: d.Name, Region: d.Region, Headroom: d.Headroom(),
				Preferred: d.isNamed(req.Prefer),
			},
			weighted: rendezvousScore(req.Shop, d.Name, d.Headroom()),
		}
		if c.Score = c.weighted; p.Policy == LeastLoaded {
			c.Score = float64(d.Headroom()) / float64(d.Capacity)
		}
		candidates = append(candidates, c)
	}
	if len(candidates) == 0 {
		return p, noCapacity(p.Rejected)
	}
	slices.SortFunc(candidates, func(a, b ranked) int {
		if a.Preferred != b.Preferred {
			if a.Preferred {
				return -1
			}
			return 1
		}
		return cmp.Or(
			cmp.Compare(b.Score, a.Score),
			cmp.Compare(b.weighted, a.weighted),
			strings.Compare(a.Datacenter, b.Datacenter))
	})
	p.Candidates = make([]Candidate, len(candidates))
	for i := range candidates {
		p.Candidates[i] = candidates[i].Candidate
	}
	p.Datacenter, p.Region = p.Candidates[0].Datacenter, p.Candidates[0].Region
	return p, nil
}

// checkNames refuses names that are neither a region's nor a datacenter's.
func (t *Topology) checkNames(argument string, names []string) error {
	for _, name := range names {
		if t.region[name] == nil && t.datacenter[name] == nil {
			return fmt.Errorf("%w: %s=%q is neither a region nor a datacenter", discovery.ErrInvalidRequest, argument, name)
		}
	}
	return nil
}

// isNamed reports whether names has the datacenter or its region.
func (d *Datacenter) isNamed(names []string) bool {
	return slices.Contains(names, d.Name) || slices.Contains(names, d.Region)
}

// reject returns why d cannot take a shop, or "".
func (t *Topology) reject(d *Datacenter, exclude []string) RejectReason {
	region := t.region[d.Region]
	switch {
	case d.isNamed(exclude):
		return Excluded
	case region == nil:
		return RegionUnknown
	case !region.Open:
		return RegionClosed
	case !d.Open:
		return Closed
	case d.Headroom() <= 0:
		return NoHeadroom
	}
	return ""
}

// noCapacity sums up why there is no candidate.
func noCapacity(rejected []Rejection) error {
	if len(rejected) == 0 {
		return fmt.Errorf("%w: there is no datacenter; import some first", ErrNoCapacity)
	}
	var why []string
	for _, reason := range []RejectReason{Excluded, RegionUnknown, RegionClosed, Closed, NoHeadroom} {
		n := 0
		for _, r := range rejected {
			if r.Reason == reason {
				n++
			}
		}
		if n > 0 {
			why = append(why, fmt.Sprintf("%d %s", n, reason))
		}
	}
	return fmt.Errorf("%w: none of %d datacenters can take a shop (%s)", ErrNoCapacity, len(rejected), strings.Join(why, ", "))
}

// rendezvousScore is -headroom/ln(u), where u is the 64-bit XXH64 hash, seed 0,
// of the shop's name, a zero byte and the datacenter's name, read as a fraction
// of 2^64. The zero byte stands in no name, so no two pairs hash the same bytes.
//
// That the greatest of such scores falls to each datacenter in proportion to its
// headroom is shown in "Weighted Distributed Hash Tables" (Schindelhauer and
// Schomaker, 2005).
func rendezvousScore(shop, datacenter string, headroom int64) float64 {
	var buf [2*discovery.MaxNameBytes + 1]byte
	b := append(buf[:0], shop...)
	b = append(b, 0)
	b = append(b, datacenter...)
	return float64(headroom) / negLn(xxhash.Sum64(b))
}

// negLn is -ln(h/2^64), never zero. It counts in integers and divides once: the
// result of math.Log differs in its last bits from one processor architecture to
// another, and with it the score, and the ETag, of two replicas.
func negLn(h uint64) float64 {
	const fraction = 48 // bits behind the binary point
	h |= 1              // zero has no logarithm
	zeros := bits.LeadingZeros64(h)
	m := h << zeros // the mantissa, 1 <= m < 2, with 63 bits behind the point
	log2 := uint64(63 - zeros)
	for range fraction {
		// Squaring doubles the logarithm: whether m passes 2 is its next bit.
		hi, lo := bits.Mul64(m, m)
		log2 <<= 1
		if hi>>63 == 1 {
			log2 |= 1
			m = hi
		} else {
			m = hi<<1 | lo>>63
		}
	}
	return float64(max(64<<fraction-log2, 1)) * (math.Ln2 / (1 << fraction))
}
