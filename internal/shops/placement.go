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
	// Weighted is weighted rendezvous hashing. Each datacenter gets new shops in
	// proportion to its headroom. As long as the headrooms are the same, the answer for a
	// shop is the same. If a datacenter is deleted or closed, the answer changes only for
	// shops that would have been placed there. Weighted is the default.
	Weighted Policy = "weighted"
	// LeastLoaded chooses the datacenter with the greatest free share of its capacity. Of
	// equal ones it chooses the one that Weighted would choose.
	LeastLoaded Policy = "least-loaded"
)

// PlacementRequest asks where a new shop should go.
type PlacementRequest struct {
	// Shop is the new shop's name. Place does not check whether the shop exists already.
	Shop string
	// Policy is the policy to use; empty means Weighted.
	Policy Policy
	// Exclude names regions and datacenters that must not be chosen, even if Prefer names
	// them. A name that does not exist is an error in Exclude and in Prefer, because it is
	// probably a typing error, and the shop would be placed where it must not go.
	Exclude []string
	// Prefer names regions and datacenters. If any of them is a candidate, one of those
	// candidates is chosen. Otherwise one of all candidates is.
	Prefer []string
}

// Placement is where a new shop should go, and why.
type Placement struct {
	Shop, Region, Datacenter string
	Policy                   Policy
	// Candidates are the datacenters that can take the shop, the best first. The first is
	// the answer.
	Candidates []Candidate
	// Rejected are the datacenters that cannot take the shop, ordered by name.
	Rejected []Rejection
}

// Candidate is a datacenter that can take the shop.
type Candidate struct {
	Datacenter, Region string
	// Headroom is the number of shops for which there is room, at least 1.
	Headroom int64
	// Score orders the candidates: preferred ones come first, and of two that are both
	// preferred or both not the one with the greater score. With Weighted the score is
	// -headroom/ln(u), for a number u between 0 and 1 that depends on the names of the
	// shop and the datacenter. With LeastLoaded it is the free share of the capacity.
	Score float64
	// Preferred says that the request's Prefer names the datacenter or its region.
	Preferred bool
}

// Rejection is a datacenter that cannot take the shop.
type Rejection struct {
	Datacenter, Region string
	Reason             RejectReason
}

// RejectReason says why a datacenter cannot take a shop. If there are several reasons, the
// first in the order of the constants is given.
type RejectReason string

// The reasons.
const (
	Excluded      RejectReason = "excluded"       // the request excludes it or its region
	RegionUnknown RejectReason = "region unknown" // it names a region that does not exist
	RegionClosed  RejectReason = "region closed"
	Closed        RejectReason = "closed"
	NoHeadroom    RejectReason = "no headroom" // as many shops are assigned as there is capacity for
)

// ErrNoCapacity is the error if no open datacenter has headroom for a new shop.
var ErrNoCapacity = errors.New("no capacity")

// Place chooses a datacenter for a new shop. The answer depends on the topology and the
// request alone, so that it is the same on every replica and machine and in every release.
//
// Errors wrap [discovery.ErrInvalidName], [discovery.ErrInvalidRequest] or [ErrNoCapacity]. With
// ErrNoCapacity the placement's Rejected has the reason for each datacenter.
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

// checkNames returns an error if a name is neither a region's nor a datacenter's.
func (t *Topology) checkNames(argument string, names []string) error {
	for _, name := range names {
		if t.region[name] == nil && t.datacenter[name] == nil {
			return fmt.Errorf("%w: %s=%q is neither a region nor a datacenter", discovery.ErrInvalidRequest, argument, name)
		}
	}
	return nil
}

// isNamed reports whether names contains the name of the datacenter or of its region.
func (d *Datacenter) isNamed(names []string) bool {
	return slices.Contains(names, d.Name) || slices.Contains(names, d.Region)
}

// reject returns why d cannot take a shop, or "" if d can.
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

// noCapacity returns the error that says why there is no candidate.
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

// rendezvousScore is -headroom/ln(u). u is the 64-bit XXH64 hash, with seed 0, of the shop's
// name, a zero byte and the datacenter's name, divided by 2^64. No name has a zero byte, so
// no two pairs of names hash the same bytes.
//
// Schindelhauer and Schomaker show in "Weighted Distributed Hash Tables" (2005) that each
// datacenter has the greatest score with a probability in proportion to its headroom.
func rendezvousScore(shop, datacenter string, headroom int64) float64 {
	var buf [2*discovery.MaxNameBytes + 1]byte
	b := append(buf[:0], shop...)
	b = append(b, 0)
	b = append(b, datacenter...)
	return float64(headroom) / negLn(xxhash.Sum64(b))
}

// negLn is -ln(h/2^64), and is never zero. It computes with integers and converts once at the
// end. The last bits of math.Log differ between processor architectures, and so would the
// scores and ETags of two replicas.
func negLn(h uint64) float64 {
	const fraction = 48 // bits behind the binary point
	h |= 1              // because zero has no logarithm
	zeros := bits.LeadingZeros64(h)
	m := h << zeros // the mantissa, 1 <= m < 2, with 63 bits behind the point
	log2 := uint64(63 - zeros)
	for range fraction {
		// Squaring m doubles its logarithm. The next bit of the logarithm is 1 if m is at
		// least 2 then.
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
