package shops

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"magellan/internal/discovery"
)

// DefaultMaxStale is the usual bound on the age of answers.
const DefaultMaxStale = time.Hour

// Config is what a [Service] is made of.
type Config struct {
	// Reader returns the decoded znodes. It is required. Its owner closes it after the last
	// call to the Service.
	Reader Reader
	// MaxStale is the greatest age that an answer may have. In place of an older answer
	// the Service returns [discovery.ErrTooOld]. 0 means no bound; see [DefaultMaxStale].
	MaxStale time.Duration
	// Now returns the time by which bad citizens expire. nil means time.Now.
	Now func() time.Time
}

// Service answers the questions of clients. It has no state of its own, needs no Close, and
// is safe for concurrent use.
//
// Methods return the [discovery.Basis] of their answer: what the answer depends on, and the
// meta data of all that was read, as far as these are known. They do so with an error as
// well. An error wraps [ErrNoCapacity] or one of the kinds of package discovery, or is
// ctx's.
type Service struct {
	reader Reader
	bound  discovery.Bound
	now    func() time.Time
	reads  sync.Pool // of *[]ShopRead, for Lookup
}

// New returns a Service, or an error that says what is wrong with cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Reader == nil {
		return nil, errors.New("shops: Config.Reader is nil")
	}
	if cfg.MaxStale < 0 {
		return nil, fmt.Errorf("shops: Config.MaxStale is %v, and must be positive, or 0 for no bound", cfg.MaxStale)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{reader: cfg.Reader, bound: discovery.Bound(cfg.MaxStale), now: cfg.Now}, nil
}

// ShopAnswer is where a shop lives.
type ShopAnswer struct {
	Shop, Datacenter, Region string
}

// Shop returns where a shop lives. The region is that of the shop's datacenter. If the
// datacenter does not exist, Shop returns [discovery.ErrBadData], because a client would take
// an answer without a region for a complete one.
//
// Meta.Zxid is the newer of the shop's zxid and its datacenter's, so that it changes whenever
// the answer changes. Shop allocates nothing for an answer from memory.
func (s *Service) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (answer ShopAnswer, basis discovery.Basis, err error) {
	if opt == (discovery.ReadOptions{}) { // mostly
		answer, basis.Meta, err = s.shop(ctx, name, opt)
	} else {
		answer, basis.Meta, err = discovery.Within(opt, func(opt discovery.ReadOptions) (ShopAnswer, discovery.Meta, error) { return s.shop(ctx, name, opt) })
	}
	switch {
	case err == nil:
		basis.Depends = discovery.DependsOn(ShopTopic(name), DatacenterTopic(answer.Datacenter))
	case errors.Is(err, discovery.ErrNotFound):
		basis.Depends = discovery.DependsOn(ShopTopic(name))
	default: // the datacenter may be missing
		basis.Depends = discovery.DependsOn(ShopTopic(name), TopologyTopic())
	}
	return answer, basis, err
}

func (s *Service) shop(ctx context.Context, name string, opt discovery.ReadOptions) (ShopAnswer, discovery.Meta, error) {
	home, meta, err := s.reader.Shop(ctx, name, opt)
	if err = s.bound.Check(meta, err); err != nil {
		return ShopAnswer{}, meta, err
	}
	t, tmeta, err := s.readTopology(ctx, opt)
	if err != nil {
		return ShopAnswer{}, meta.Join(tmeta), err
	}
	if t.unknown(home.Datacenter) {
		t, tmeta = s.atLeast(ctx, t, tmeta, meta.Zxid)
	}
	if t.unknown(home.Datacenter) {
		now, nowMeta, err := s.reader.Shop(ctx, name, discovery.ReadOptions{MinZxid: tmeta.Zxid})
		switch err = s.bound.Check(nowMeta, err); {
		case err == nil && now.Datacenter != home.Datacenter:
			home, meta = now, nowMeta
			t, tmeta = s.atLeast(ctx, t, tmeta, meta.Zxid)
		case err != nil && discovery.IsAnswer(err):
			return ShopAnswer{}, nowMeta, err
		}
	}
	return s.resolve(name, home, t, meta, tmeta, opt)
}

// atLeast returns a topology that has a transaction in it, in place of one that lacks the
// datacenter of a shop. If there is none to be had, it returns the topology that it was
// given.
//
// Changes of a shop and of its datacenter may arrive in any order. If both were created
// together, the topology may be behind. If the shop was moved and its old datacenter was
// deleted afterwards, the shop may be behind. So the Service reads each of them again in a
// state that has the other's last transaction in it. What is in memory mostly has that
// transaction, so that a shop whose datacenter was deleted costs no read of ZooKeeper.
func (s *Service) atLeast(ctx context.Context, t *Topology, meta discovery.Meta, zxid int64) (*Topology, discovery.Meta) {
	if now, nowMeta, err := s.readTopology(ctx, discovery.ReadOptions{MinZxid: zxid}); err == nil {
		return now, nowMeta
	}
	return t, meta
}

// resolve completes a shop with the region of its datacenter. If there is a doubt about the
// datacenter, the meta data say so, or resolve returns an error.
func (s *Service) resolve(name string, home *Home, t *Topology, meta, tmeta discovery.Meta, opt discovery.ReadOptions) (ShopAnswer, discovery.Meta, error) {
	d := t.datacenter[home.Datacenter]
	meta.Age, meta.Cache = max(meta.Age, tmeta.Age), max(meta.Cache, tmeta.Cache)
	if doubt := t.datacenterDoubts.About(home.Datacenter, d != nil); doubt != nil {
		known, err := s.bound.Allow(doubt, opt)
		meta = meta.Join(known)
		if err != nil {
			return ShopAnswer{}, meta, fmt.Errorf("shop %q: its datacenter %q: %w", name, home.Datacenter, err)
		}
	}
	if d == nil {
		meta.Zxid = max(meta.Zxid, tmeta.Zxid)
		return ShopAnswer{}, meta, fmt.Errorf("shop %q: %w: its datacenter %q does not exist; create that, or move the shop",
			name, discovery.ErrBadData, home.Datacenter)
	}
	meta.Zxid = max(meta.Zxid, d.Zxid) // the rest of the topology is no part of this answer
	return ShopAnswer{Shop: name, Datacenter: home.Datacenter, Region: d.Region}, meta, nil
}

// ShopStatus says what [Service.Lookup] has found out about one shop.
type ShopStatus uint8

const (
	// Found: Answer says where the shop lives.
	Found ShopStatus = iota
	// NotFound: there is no such shop.
	NotFound
	// Invalid: no shop can have this name.
	Invalid
	// Unavailable: there is no answer now. The client may ask again later.
	Unavailable
	// Unreadable: the shop exists, but its record is broken.
	Unreadable
)

// String returns the status in lower case.
func (s ShopStatus) String() string {
	switch s {
	case Found:
		return "found"
	case NotFound:
		return "not found"
	case Invalid:
		return "invalid"
	case Unreadable:
		return "unreadable"
	default:
		return "unavailable"
	}
}

// ShopResult is the result of [Service.Lookup] for one shop.
type ShopResult struct {
	// Answer is complete if Status is Found. Otherwise it has only the shop's name.
	Answer ShopAnswer
	Meta   discovery.Meta
	Status ShopStatus
	// Err is what [Service.Shop] would have returned.
	Err error
}

// Lookup does for many shops what [Service.Shop] does for one. The result for names[i] is
// out[i]; len(out) must be at least len(names). The meta data that Lookup returns join those
// of all results.
//
// If Lookup returns an error, the whole call has failed, for example because no shop can be
// resolved without the datacenters. out must not be used then. Lookup allocates nothing for
// answers from memory.
func (s *Service) Lookup(ctx context.Context, names []string, opt discovery.ReadOptions, out []ShopResult) (discovery.Meta, error) {
	if opt == (discovery.ReadOptions{}) {
		return s.lookup(ctx, names, opt, out)
	}
	_, meta, content, err := discovery.Freshest(opt, func(opt discovery.ReadOptions) (struct{}, discovery.Meta, error) {
		meta, err := s.lookup(ctx, names, opt, out)
		return struct{}{}, meta, err
	})
	if err != nil || content {
		return meta, err
	}
	// If some shops cannot be served as fresh as opt requires, the others are served all the
	// same.
	refused := 0
	for i := range names {
		result := &out[i]
		if !discovery.IsAnswer(result.Err) {
			continue
		}
		if refusal := opt.Refuse(result.Meta); refusal != nil {
			result.Err, err = refusal, refusal
			result.judge(names[i])
			refused++
		}
	}
	if refused < len(names) {
		err = nil
	}
	return meta, err
}

func (s *Service) lookup(ctx context.Context, names []string, opt discovery.ReadOptions, out []ShopResult) (discovery.Meta, error) {
	out = out[:len(names)]
	scratch, _ := s.reads.Get().(*[]ShopRead)
	if scratch == nil {
		scratch = new([]ShopRead)
	}
	if cap(*scratch) < len(names) {
		*scratch = make([]ShopRead, len(names))
	}
	reads := (*scratch)[:len(names)]
	defer func() {
		clear(reads) // so that the pool keeps no caller's strings in memory
		s.reads.Put(scratch)
	}()

	s.reader.Shops(ctx, names, opt, reads)
	t, tmeta, err := s.readTopology(ctx, opt)
	if err != nil {
		return tmeta, err
	}
	var lost []int // the shops whose datacenter is unknown
	for i := range reads {
		read, result := &reads[i], &out[i]
		*result = ShopResult{Meta: read.Meta, Err: s.bound.Check(read.Meta, read.Err)}
		if result.Err == nil {
			if t.unknown(read.Value.Datacenter) {
				lost = append(lost, i)
			}
			result.Answer, result.Meta, result.Err = s.resolve(names[i], read.Value, t, read.Meta, tmeta, opt)
		}
		result.judge(names[i])
	}
	if len(lost) > 0 {
		s.lookAgain(ctx, names, lost, reads, t, tmeta, opt, out)
	}
	var meta discovery.Meta
	for i := range out {
		meta = meta.Join(out[i].Meta)
	}
	return meta, nil
}

// lookAgain does, for the shops of a lookup whose datacenter is unknown, what shop does for
// one shop.
func (s *Service) lookAgain(ctx context.Context, names []string, lost []int, reads []ShopRead, t *Topology, tmeta discovery.Meta, opt discovery.ReadOptions, out []ShopResult) {
	var zxid int64
	for _, at := range lost {
		zxid = max(zxid, reads[at].Meta.Zxid)
	}
	t, tmeta = s.atLeast(ctx, t, tmeta, zxid)
	still := lost[:0]
	var again []string
	for _, at := range lost {
		read, result := &reads[at], &out[at]
		if t.unknown(read.Value.Datacenter) {
			still, again = append(still, at), append(again, names[at])
		}
		result.Answer, result.Meta, result.Err = s.resolve(names[at], read.Value, t, read.Meta, tmeta, opt)
		result.judge(names[at])
	}
	if len(still) == 0 {
		return
	}
	now := make([]ShopRead, len(still))
	s.reader.Shops(ctx, again, discovery.ReadOptions{MinZxid: tmeta.Zxid}, now)
	for i := range now {
		zxid = max(zxid, now[i].Meta.Zxid)
	}
	t, tmeta = s.atLeast(ctx, t, tmeta, zxid)
	for i, at := range still {
		read, result := &now[i], &out[at]
		switch err := s.bound.Check(read.Meta, read.Err); {
		case err == nil && read.Value.Datacenter != reads[at].Value.Datacenter:
			result.Answer, result.Meta, result.Err = s.resolve(again[i], read.Value, t, read.Meta, tmeta, opt)
		case err != nil && discovery.IsAnswer(err):
			result.Answer, result.Meta, result.Err = ShopAnswer{}, read.Meta, err
		default:
			continue
		}
		result.judge(again[i])
	}
}

// judge sets Status, and clears Answer if there is none, as follows from Err.
func (r *ShopResult) judge(name string) {
	r.Status = Found
	if r.Err != nil {
		r.Answer = ShopAnswer{Shop: name}
		r.Status = statusOf(r.Err)
	}
}

func statusOf(err error) ShopStatus {
	switch {
	case errors.Is(err, discovery.ErrNotFound):
		return NotFound
	case errors.Is(err, discovery.ErrInvalidName):
		return Invalid
	case errors.Is(err, discovery.ErrBadData):
		return Unreadable
	default:
		return Unavailable
	}
}

// RegionsAnswer has all regions and all datacenters of one [Topology], because a region's
// answer names its datacenters. The slices are ordered by name. They are shared and must not
// be changed.
type RegionsAnswer struct {
	Regions     []Region
	Datacenters []Datacenter
}

// Regions returns all regions. If one of them, or one of the datacenters, has never been read,
// it returns [discovery.ErrUnread].
func (s *Service) Regions(ctx context.Context, opt discovery.ReadOptions) (RegionsAnswer, discovery.Basis, error) {
	t, basis, err := s.topology(ctx, opt, allOfBoth)
	if err != nil {
		return RegionsAnswer{}, basis, err
	}
	return RegionsAnswer{t.Regions(), t.Datacenters()}, basis, nil
}

// RegionAnswer has one region and all datacenters of the same [Topology], also those of other
// regions. The slice is shared and must not be changed.
type RegionAnswer struct {
	Region
	Datacenters []Datacenter
}

// Region returns one region. All datacenters have to be known for that, because any of them
// may be in the region.
func (s *Service) Region(ctx context.Context, name string, opt discovery.ReadOptions) (RegionAnswer, discovery.Basis, error) {
	return fromTopology(ctx, s, "region", name, opt, func(t *Topology) (RegionAnswer, *discovery.Doubts, bool) {
		r, ok := t.Region(name)
		return RegionAnswer{r, t.Datacenters()}, &t.regionDoubts, ok
	}, func(t *Topology, _ RegionAnswer) (*discovery.Doubt, int64) {
		return t.datacenterDoubts.Whole(), t.Zxid()
	})
}

// Datacenters returns all datacenters ordered by name. The slice is shared and must not be
// changed. If one of the datacenters has never been read, Datacenters returns
// [discovery.ErrUnread].
func (s *Service) Datacenters(ctx context.Context, opt discovery.ReadOptions) ([]Datacenter, discovery.Basis, error) {
	t, basis, err := s.topology(ctx, opt, func(t *Topology) [2]*discovery.Doubt { return [2]*discovery.Doubt{t.datacenterDoubts.Whole()} })
	if err != nil {
		return nil, basis, err
	}
	return t.Datacenters(), basis, nil
}

// Datacenter returns one datacenter. Meta.Zxid is the datacenter's.
func (s *Service) Datacenter(ctx context.Context, name string, opt discovery.ReadOptions) (Datacenter, discovery.Basis, error) {
	return fromTopology(ctx, s, "datacenter", name, opt, func(t *Topology) (Datacenter, *discovery.Doubts, bool) {
		d, ok := t.Datacenter(name)
		return d, &t.datacenterDoubts, ok
	}, func(_ *Topology, d Datacenter) (*discovery.Doubt, int64) { return nil, d.Zxid })
}

// fromTopology looks one thing up by its name. Doubts about other things of its kind do not
// affect the answer. rest returns the doubt about all else that the answer needs, and the
// zxid of the answer.
func fromTopology[T any](ctx context.Context, s *Service, kind, name string, opt discovery.ReadOptions,
	lookup func(*Topology) (T, *discovery.Doubts, bool), rest func(*Topology, T) (*discovery.Doubt, int64),
) (T, discovery.Basis, error) {
	var none T
	if err := discovery.ValidateName(name); err != nil {
		return none, discovery.Basis{}, fmt.Errorf("%s: %w", kind, err)
	}
	answer, meta, err := discovery.Within(opt, func(opt discovery.ReadOptions) (T, discovery.Meta, error) {
		t, meta, err := s.readTopology(ctx, opt)
		if err != nil {
			return none, meta, err
		}
		found, doubts, ok := lookup(t)
		known, err := s.bound.Allow(doubts.About(name, ok), opt)
		meta = meta.Join(known)
		meta.Zxid = 0 // because an absent thing has none
		switch {
		case err != nil:
			return none, meta, fmt.Errorf("%s %q: %w", kind, name, err)
		case !ok:
			return none, meta, fmt.Errorf("%s %q: %w", kind, name, discovery.ErrNotFound)
		}
		doubt, zxid := rest(t, found)
		if known, err = s.bound.Allow(doubt, opt); err != nil {
			return none, meta.Join(known), err
		}
		meta = meta.Join(known)
		meta.Zxid = zxid
		return found, meta, nil
	})
	return answer, ofTopology(meta), err
}

// ofTopology returns the basis of an answer that is made of regions and datacenters.
func ofTopology(meta discovery.Meta) discovery.Basis {
	return discovery.Basis{Meta: meta, Depends: discovery.DependsOn(TopologyTopic())}
}

// allOfBoth returns the doubts about an answer that needs all regions and all datacenters.
func allOfBoth(t *Topology) [2]*discovery.Doubt {
	return [2]*discovery.Doubt{t.regionDoubts.Whole(), t.datacenterDoubts.Whole()}
}

// Place chooses a datacenter for a new shop; see the function [Place]. All regions and
// datacenters have to be known for that, because a region that is not known may be open, and
// a datacenter that is not known may be the best.
func (s *Service) Place(ctx context.Context, req PlacementRequest, opt discovery.ReadOptions) (Placement, discovery.Basis, error) {
	t, basis, err := s.topology(ctx, opt, allOfBoth)
	if err != nil {
		return Placement{}, basis, err
	}
	p, err := Place(t, req)
	return p, basis, err
}

// BadCitizensAnswer is the union of all bad-citizen lists at one time, which is Now. The
// methods of Blocklist are to be called with Now. Version is that of Blocklist at Now.
type BadCitizensAnswer struct {
	Blocklist *Blocklist
	Now       time.Time
	Version   Version
}

// BadCitizens returns all bad citizens. If one of the lists has never been read, it returns
// [discovery.ErrUnread].
func (s *Service) BadCitizens(ctx context.Context, opt discovery.ReadOptions) (BadCitizensAnswer, discovery.Basis, error) {
	answer, meta, err := discovery.Within(opt, func(opt discovery.ReadOptions) (BadCitizensAnswer, discovery.Meta, error) {
		b, meta, err := s.readBlocklist(ctx, opt)
		if err != nil {
			return BadCitizensAnswer{}, meta, err
		}
		known, err := s.bound.Allow(b.doubts.Whole(), opt)
		if meta = meta.Join(known); err != nil {
			return BadCitizensAnswer{}, meta, err
		}
		answer := BadCitizensAnswer{Blocklist: b}
		answer.Version, answer.Now = b.Version(s.now)
		return answer, meta, nil
	})
	basis := discovery.Basis{Meta: meta, Depends: discovery.DependsOn(BlocklistTopic())}
	if err == nil {
		if at, ok := answer.Blocklist.NextExpiry(answer.Now); ok {
			basis.Until, basis.Now = at, answer.Now
		}
	}
	return answer, basis, err
}

// BadCitizenAnswer says whether an address is listed.
type BadCitizenAnswer struct {
	// Addr is the address of the request. If that is IPv4-mapped, Addr is the IPv4 address.
	Addr   netip.Addr
	Listed bool
	// Entry is the matching entry with the longest prefix, if Listed is set. Entries of
	// lists that are not as fresh as the request requires do not count.
	Entry BadCitizen
	// Now is the time for which the answer holds. Entry may expire later.
	Now time.Time
}

// BadCitizen reports whether an address, IPv4 or IPv6 in text, is a bad citizen's. The error
// wraps [discovery.ErrInvalidRequest] if ip is no address or has a zone. That an address is
// not listed is no error. Meta.Zxid is that of the whole union.
//
// An entry of one list is enough to answer that an address is listed. If the list with the
// longest prefix was last known too long ago, BadCitizen answers with an entry of another
// list. To answer that an address is not listed all lists have to be known. If one of them
// has never been read, BadCitizen returns [discovery.ErrUnread].
func (s *Service) BadCitizen(ctx context.Context, ip string, opt discovery.ReadOptions) (BadCitizenAnswer, discovery.Basis, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" {
		return BadCitizenAnswer{}, discovery.Basis{}, fmt.Errorf("%w: %q is not an IP address without a zone, such as 203.0.113.7 or 2001:db8::7", discovery.ErrInvalidRequest, ip)
	}
	answer, meta, err := discovery.Within(opt, func(read discovery.ReadOptions) (BadCitizenAnswer, discovery.Meta, error) {
		b, meta, err := s.readBlocklist(ctx, read)
		if err != nil {
			return BadCitizenAnswer{}, meta, err
		}
		answer := BadCitizenAnswer{Addr: addr.Unmap(), Now: s.now()}
		answer.Entry, answer.Listed = b.Lookup(answer.Addr, answer.Now)
		doubt := b.doubts.Whole()
		if answer.Listed {
			doubt = b.doubts.Of(answer.Entry.List)
		}
		known, err := s.bound.Allow(doubt, read)
		if answer.Listed && (err != nil || !opt.Takes(known)) {
			for entry := range b.holding(answer.Addr, answer.Now) {
				other, otherErr := s.bound.Allow(b.doubts.Of(entry.List), read)
				if otherErr == nil && opt.Takes(other) {
					answer.Entry, known, err = entry, other, nil
					break
				}
			}
		}
		if meta = meta.Join(known); err != nil {
			return BadCitizenAnswer{}, meta, err
		}
		return answer, meta, nil
	})
	basis := discovery.Basis{Meta: meta, Depends: discovery.DependsOn(BlocklistTopic())}
	if err == nil && !answer.Entry.Expires.IsZero() {
		basis.Until, basis.Now = answer.Entry.Expires, answer.Now
	}
	return answer, basis, err
}

// Available returns nil if the Service can answer. Otherwise the error says why it cannot:
// ZooKeeper has been out of reach for too long. A problem of a single znode is no reason.
func (s *Service) Available(ctx context.Context) error {
	_, _, err := s.readTopology(ctx, discovery.ReadOptions{})
	return err
}

// Watch notifies o of changes of t; see [discovery.Watcher].
func (s *Service) Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch {
	return s.reader.Watch(t, o)
}

// topology reads the topology for an answer. about returns the doubts that concern the
// answer.
func (s *Service) topology(ctx context.Context, opt discovery.ReadOptions, about func(*Topology) [2]*discovery.Doubt) (*Topology, discovery.Basis, error) {
	t, meta, err := discovery.Within(opt, func(opt discovery.ReadOptions) (*Topology, discovery.Meta, error) {
		t, meta, err := s.readTopology(ctx, opt)
		if err != nil {
			return t, meta, err
		}
		for _, doubt := range about(t) {
			known, err := s.bound.Allow(doubt, opt)
			if meta = meta.Join(known); err != nil {
				return nil, meta, err
			}
		}
		return t, meta, nil
	})
	return t, ofTopology(meta), err
}

func (s *Service) readTopology(ctx context.Context, opt discovery.ReadOptions) (*Topology, discovery.Meta, error) {
	t, meta, err := s.reader.Topology(ctx, opt)
	return t, meta, s.bound.Check(meta, err)
}

func (s *Service) readBlocklist(ctx context.Context, opt discovery.ReadOptions) (*Blocklist, discovery.Meta, error) {
	b, meta, err := s.reader.Blocklist(ctx, opt)
	return b, meta, s.bound.Check(meta, err)
}
