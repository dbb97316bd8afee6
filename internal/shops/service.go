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
	// Reader gives the decoded znodes. Required; its owner closes it after the
	// last call to the Service.
	Reader Reader
	// MaxStale is the greatest age an answer may have: beyond it there is none
	// but [discovery.ErrUnavailable]. 0 is no bound; see [DefaultMaxStale].
	MaxStale time.Duration
	// Now tells the time by which bad citizens expire; nil is time.Now.
	Now func() time.Time
}

// Service answers the questions. It holds no state of its own, needs no Close,
// and is safe for concurrent use.
//
// Every method returns the [discovery.Basis] of its answer, with an error too: what the
// answer depends on, and, as far as it is known, the meta data of all that was read. Errors wrap one of the package's
// kinds or are ctx's.
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
		return nil, fmt.Errorf("shops: Config.MaxStale is %v: want a duration, or 0 for no bound", cfg.MaxStale)
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

// Shop returns where a shop lives. The region is resolved through the
// datacenter. A shop whose datacenter does not exist has no answer but
// [discovery.ErrBadData]: half of one would be taken for a whole.
//
// Meta.Zxid is the newer of the shop's and its datacenter's: it changes whenever
// the answer does. Nothing is allocated for an answer from memory.
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
	default: // it may be the datacenter that is missing
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

// atLeast returns a topology that has a transaction in it, in place of one that
// lacks the datacenter of a shop. Where that cannot be had it returns what it was
// given.
//
// Nothing says in which order what belongs together is learnt of. Either may be
// behind: the topology, where shop and datacenter came into being together; the
// shop, where it moved and its datacenter was deleted then. So each is asked for
// with the other's last transaction in it. What is in memory mostly has that: a
// datacenter that is gone while shops still name it costs ZooKeeper nothing.
func (s *Service) atLeast(ctx context.Context, t *Topology, meta discovery.Meta, zxid int64) (*Topology, discovery.Meta) {
	if now, nowMeta, err := s.readTopology(ctx, discovery.ReadOptions{MinZxid: zxid}); err == nil {
		return now, nowMeta
	}
	return t, meta
}

// resolve completes a shop with the region of its datacenter, as well as that is
// known.
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
	meta.Zxid = max(meta.Zxid, d.Zxid) // all else in the topology is no part of this answer
	return ShopAnswer{Shop: name, Datacenter: home.Datacenter, Region: d.Region}, meta, nil
}

// ShopStatus is the outcome for one shop of [Service.Lookup].
type ShopStatus uint8

const (
	// Found: Answer holds where the shop lives.
	Found ShopStatus = iota
	// NotFound: there is no such shop.
	NotFound
	// Invalid: the name can be no shop's.
	Invalid
	// Unavailable: no answer now; asking again later may help.
	Unavailable
	// Unreadable: the shop exists, and its record is broken.
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

// ShopResult is the outcome for one shop of [Service.Lookup].
type ShopResult struct {
	// Answer is complete where Status is Found; elsewhere it has the shop's
	// name only.
	Answer ShopAnswer
	Meta   discovery.Meta
	Status ShopStatus
	// Err is what [Service.Shop] would have returned.
	Err error
}

// Lookup answers for many shops what [Service.Shop] answers for one, the i-th
// into out[i]; len(out) must be at least len(names). Meta joins those of all
// results.
//
// The error is about the whole call: without the datacenters no shop can be
// resolved, and out is not to be used. Nothing is allocated for answers from
// memory.
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
	// One shop that cannot be served as it should be is no reason to have none.
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
		clear(reads) // the pool keeps no one's strings alive
		s.reads.Put(scratch)
	}()

	s.reader.Shops(ctx, names, opt, reads)
	t, tmeta, err := s.readTopology(ctx, opt)
	if err != nil {
		return tmeta, err
	}
	var lost []int // those whose datacenter is not there
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

// lookAgain does for those shops of a lookup whose datacenter is not there what
// shop does for one.
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

// judge fills in what follows from the result's Err.
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

// RegionsAnswer is all regions, and all datacenters, of one [Topology]: a region's
// answer names its datacenters. The slices are ordered by name and shared: they must not
// be changed.
type RegionsAnswer struct {
	Regions     []Region
	Datacenters []Datacenter
}

// Regions returns all regions. Without all of them, and all datacenters, there is no
// answer: see [discovery.ErrUnread].
func (s *Service) Regions(ctx context.Context, opt discovery.ReadOptions) (RegionsAnswer, discovery.Basis, error) {
	t, basis, err := s.topology(ctx, opt, allOfBoth)
	if err != nil {
		return RegionsAnswer{}, basis, err
	}
	return RegionsAnswer{t.Regions(), t.Datacenters()}, basis, nil
}

// RegionAnswer is one region, and all datacenters of the same [Topology], its own
// among them. The slice is shared.
type RegionAnswer struct {
	Region
	Datacenters []Datacenter
}

// Region returns one region. It takes all datacenters, as its own may be any of them.
func (s *Service) Region(ctx context.Context, name string, opt discovery.ReadOptions) (RegionAnswer, discovery.Basis, error) {
	return fromTopology(ctx, s, "region", name, opt, func(t *Topology) (RegionAnswer, *discovery.Doubts, bool) {
		r, ok := t.Region(name)
		return RegionAnswer{r, t.Datacenters()}, &t.regionDoubts, ok
	}, func(t *Topology, _ RegionAnswer) (*discovery.Doubt, int64) {
		return t.datacenterDoubts.Whole(), t.Zxid()
	})
}

// Datacenters returns all datacenters ordered by name. The slice is shared: it
// must not be changed. Without all of them there is no answer: see [discovery.ErrUnread].
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

// fromTopology looks one thing up by its name. What is doubted of others of its kind is
// no part of the answer. rest says what is doubted of all else that the answer needs, and
// which transaction the answer is of.
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
		meta.Zxid = 0 // what is absent has none
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

// ofTopology is the basis of what is made of regions and datacenters.
func ofTopology(meta discovery.Meta) discovery.Basis {
	return discovery.Basis{Meta: meta, Depends: discovery.DependsOn(TopologyTopic())}
}

// allOfBoth are the doubts about an answer that needs all regions and all datacenters.
func allOfBoth(t *Topology) [2]*discovery.Doubt {
	return [2]*discovery.Doubt{t.regionDoubts.Whole(), t.datacenterDoubts.Whole()}
}

// Place chooses a datacenter for a new shop; see the function [Place]. A region that is
// not known may be open, and a datacenter that is not known the best, so that all of
// both are needed.
func (s *Service) Place(ctx context.Context, req PlacementRequest, opt discovery.ReadOptions) (Placement, discovery.Basis, error) {
	t, basis, err := s.topology(ctx, opt, allOfBoth)
	if err != nil {
		return Placement{}, basis, err
	}
	p, err := Place(t, req)
	return p, basis, err
}

// BadCitizensAnswer is the union of all bad-citizen lists at one time: the
// methods of Blocklist want Now. Version is what it holds then.
type BadCitizensAnswer struct {
	Blocklist *Blocklist
	Now       time.Time
	Version   Version
}

// BadCitizens returns all bad citizens. Without all lists there is no answer: see
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
	// Addr is the address asked for, IPv4 where it was IPv4-mapped.
	Addr   netip.Addr
	Listed bool
	// Entry is the matching entry with the longest prefix, where Listed: of the
	// lists that are known as well as the request asks.
	Entry BadCitizen
	// Now is the time the answer is for: Entry may have expired later.
	Now time.Time
}

// BadCitizen reports whether an address, IPv4 or IPv6 in text, is a bad
// citizen's. The error wraps [discovery.ErrInvalidRequest] where ip is no address, or has
// a zone. An address that is not listed is an answer, no error. Meta.Zxid is
// that of the whole union.
//
// One list is enough to say that an address is listed: if the list of the longest
// prefix may not be answered from, as it was last known too long ago, another one's
// entry is the answer. That an address is not listed takes all lists: see [discovery.ErrUnread].
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

// Available returns nil if there can be answers, or why there can be none: ZooKeeper
// has been away for too long. What is wrong with single znodes is no part of that.
func (s *Service) Available(ctx context.Context) error {
	_, _, err := s.readTopology(ctx, discovery.ReadOptions{})
	return err
}

// Watch tells o of changes of t; see [Reader].
func (s *Service) Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch {
	return s.reader.Watch(t, o)
}

// topology reads the topology for an answer that is subject to the doubts that about
// picks.
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
