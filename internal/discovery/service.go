package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// DefaultMaxStale is the usual bound on the age of answers.
const DefaultMaxStale = time.Hour

// Config is what a [Service] is made of.
type Config struct {
	// Reader gives the decoded znodes. Required; its owner closes it after the
	// last call to the Service.
	Reader Reader
	// MaxStale is the greatest age an answer may have: beyond it there is none
	// but [ErrUnavailable]. 0 is no bound; see [DefaultMaxStale].
	MaxStale time.Duration
	// Now tells the time by which bad citizens expire; nil is time.Now.
	Now func() time.Time
}

// Service answers the questions. It holds no state of its own, needs no Close,
// and is safe for concurrent use.
//
// Every method returns the [Meta] of all it read, with [ErrNotFound] and
// [ErrUnavailable] too where it is known. Errors wrap one of the package's
// kinds or are ctx's.
type Service struct {
	reader   Reader
	maxStale time.Duration
	now      func() time.Time
	reads    sync.Pool // of *[]ShopRead, for Lookup
}

// New returns a Service, or an error that says what is wrong with cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Reader == nil {
		return nil, errors.New("discovery: Config.Reader is nil")
	}
	if cfg.MaxStale < 0 {
		return nil, fmt.Errorf("discovery: Config.MaxStale is %v: want a duration, or 0 for no bound", cfg.MaxStale)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{reader: cfg.Reader, maxStale: cfg.MaxStale, now: cfg.Now}, nil
}

// ShopAnswer is where a shop lives.
type ShopAnswer struct {
	Shop, Datacenter, Region string
}

// Shop returns where a shop lives. The region is resolved through the
// datacenter. A shop whose datacenter does not exist has no answer but
// [ErrBadData]: half of one would be taken for a whole.
//
// Meta.Zxid is the newer of the shop's and its datacenter's: it changes whenever
// the answer does. Nothing is allocated for an answer from memory.
func (s *Service) Shop(ctx context.Context, name string, opt ReadOptions) (ShopAnswer, Meta, error) {
	if opt == (ReadOptions{}) { // mostly
		return s.shop(ctx, name, opt)
	}
	return within(opt, func(opt ReadOptions) (ShopAnswer, Meta, error) { return s.shop(ctx, name, opt) })
}

func (s *Service) shop(ctx context.Context, name string, opt ReadOptions) (ShopAnswer, Meta, error) {
	shop, meta, err := s.reader.Shop(ctx, name, opt)
	if err = s.bound(meta, err); err != nil {
		return ShopAnswer{}, meta, err
	}
	t, tmeta, err := s.readTopology(ctx, opt)
	if err != nil {
		return ShopAnswer{}, meta.Join(tmeta), err
	}
	if t.unknown(shop.Datacenter) {
		t, tmeta = s.atLeast(ctx, t, tmeta, meta.Zxid)
	}
	if t.unknown(shop.Datacenter) {
		now, nowMeta, err := s.reader.Shop(ctx, name, ReadOptions{MinZxid: tmeta.Zxid})
		switch err = s.bound(nowMeta, err); {
		case err == nil && now.Datacenter != shop.Datacenter:
			shop, meta = now, nowMeta
			t, tmeta = s.atLeast(ctx, t, tmeta, meta.Zxid)
		case err != nil && isAnswer(err):
			return ShopAnswer{}, nowMeta, err
		}
	}
	return s.resolve(shop, t, meta, tmeta, opt)
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
func (s *Service) atLeast(ctx context.Context, t *Topology, meta Meta, zxid int64) (*Topology, Meta) {
	if now, nowMeta, err := s.readTopology(ctx, ReadOptions{MinZxid: zxid}); err == nil {
		return now, nowMeta
	}
	return t, meta
}

// resolve completes a shop with the region of its datacenter, as well as that is
// known.
func (s *Service) resolve(shop Shop, t *Topology, meta, tmeta Meta, opt ReadOptions) (ShopAnswer, Meta, error) {
	d := t.datacenter[shop.Datacenter]
	meta.Age, meta.Cache = max(meta.Age, tmeta.Age), max(meta.Cache, tmeta.Cache)
	if doubt := t.datacenterDoubts.about(shop.Datacenter, d != nil); doubt != nil {
		known, err := s.allow(doubt, opt)
		meta = meta.Join(known)
		if err != nil {
			return ShopAnswer{}, meta, fmt.Errorf("shop %q: its datacenter %q: %w", shop.Name, shop.Datacenter, err)
		}
	}
	if d == nil {
		meta.Zxid = max(meta.Zxid, tmeta.Zxid)
		return ShopAnswer{}, meta, fmt.Errorf("shop %q: %w: its datacenter %q does not exist; create that, or move the shop",
			shop.Name, ErrBadData, shop.Datacenter)
	}
	meta.Zxid = max(meta.Zxid, d.Zxid) // all else in the topology is no part of this answer
	return ShopAnswer{Shop: shop.Name, Datacenter: shop.Datacenter, Region: d.Region}, meta, nil
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
	Meta   Meta
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
func (s *Service) Lookup(ctx context.Context, names []string, opt ReadOptions, out []ShopResult) (Meta, error) {
	if opt == (ReadOptions{}) {
		return s.lookup(ctx, names, opt, out)
	}
	_, meta, content, err := freshest(opt, func(opt ReadOptions) (struct{}, Meta, error) {
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
		if !isAnswer(result.Err) {
			continue
		}
		if refusal := opt.refuse(result.Meta); refusal != nil {
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

func (s *Service) lookup(ctx context.Context, names []string, opt ReadOptions, out []ShopResult) (Meta, error) {
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
		*result = ShopResult{Meta: read.Meta, Err: s.bound(read.Meta, read.Err)}
		if result.Err == nil {
			if t.unknown(read.Shop.Datacenter) {
				lost = append(lost, i)
			}
			result.Answer, result.Meta, result.Err = s.resolve(read.Shop, t, read.Meta, tmeta, opt)
		}
		result.judge(names[i])
	}
	if len(lost) > 0 {
		s.lookAgain(ctx, names, lost, reads, t, tmeta, opt, out)
	}
	var meta Meta
	for i := range out {
		meta = meta.Join(out[i].Meta)
	}
	return meta, nil
}

// lookAgain does for those shops of a lookup whose datacenter is not there what
// shop does for one.
func (s *Service) lookAgain(ctx context.Context, names []string, lost []int, reads []ShopRead, t *Topology, tmeta Meta, opt ReadOptions, out []ShopResult) {
	var zxid int64
	for _, at := range lost {
		zxid = max(zxid, reads[at].Meta.Zxid)
	}
	t, tmeta = s.atLeast(ctx, t, tmeta, zxid)
	still := lost[:0]
	var again []string
	for _, at := range lost {
		read, result := &reads[at], &out[at]
		if t.unknown(read.Shop.Datacenter) {
			still, again = append(still, at), append(again, names[at])
		}
		result.Answer, result.Meta, result.Err = s.resolve(read.Shop, t, read.Meta, tmeta, opt)
		result.judge(names[at])
	}
	if len(still) == 0 {
		return
	}
	now := make([]ShopRead, len(still))
	s.reader.Shops(ctx, again, ReadOptions{MinZxid: tmeta.Zxid}, now)
	for i := range now {
		zxid = max(zxid, now[i].Meta.Zxid)
	}
	t, tmeta = s.atLeast(ctx, t, tmeta, zxid)
	for i, at := range still {
		read, result := &now[i], &out[at]
		switch err := s.bound(read.Meta, read.Err); {
		case err == nil && read.Shop.Datacenter != reads[at].Shop.Datacenter:
			result.Answer, result.Meta, result.Err = s.resolve(read.Shop, t, read.Meta, tmeta, opt)
		case err != nil && isAnswer(err):
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
	case errors.Is(err, ErrNotFound):
		return NotFound
	case errors.Is(err, ErrInvalidName):
		return Invalid
	case errors.Is(err, ErrBadData):
		return Unreadable
	default:
		return Unavailable
	}
}

// Regions returns all regions ordered by name. The slice is shared: it must not
// be changed. Without all of them there is no answer: see [ErrUnread].
func (s *Service) Regions(ctx context.Context, opt ReadOptions) ([]Region, Meta, error) {
	t, meta, err := s.topology(ctx, opt, func(t *Topology) [2]*Doubt { return [2]*Doubt{t.regionDoubts.whole} })
	if err != nil {
		return nil, meta, err
	}
	return t.Regions(), meta, nil
}

// Region returns one region. Meta.Zxid is the region's.
func (s *Service) Region(ctx context.Context, name string, opt ReadOptions) (Region, Meta, error) {
	return fromTopology(ctx, s, "region", name, opt, (*Topology).Region,
		func(t *Topology) *Doubts { return &t.regionDoubts }, func(r Region) int64 { return r.Zxid })
}

// Datacenters returns all datacenters ordered by name. The slice is shared: it
// must not be changed. Without all of them there is no answer: see [ErrUnread].
func (s *Service) Datacenters(ctx context.Context, opt ReadOptions) ([]Datacenter, Meta, error) {
	t, meta, err := s.topology(ctx, opt, func(t *Topology) [2]*Doubt { return [2]*Doubt{t.datacenterDoubts.whole} })
	if err != nil {
		return nil, meta, err
	}
	return t.Datacenters(), meta, nil
}

// Datacenter returns one datacenter. Meta.Zxid is the datacenter's.
func (s *Service) Datacenter(ctx context.Context, name string, opt ReadOptions) (Datacenter, Meta, error) {
	return fromTopology(ctx, s, "datacenter", name, opt, (*Topology).Datacenter,
		func(t *Topology) *Doubts { return &t.datacenterDoubts }, func(d Datacenter) int64 { return d.Zxid })
}

// fromTopology looks one thing up by its name. What is doubted of others is no
// part of the answer.
func fromTopology[T any](ctx context.Context, s *Service, kind, name string, opt ReadOptions,
	lookup func(*Topology, string) (T, bool), doubts func(*Topology) *Doubts, zxid func(T) int64,
) (T, Meta, error) {
	var none T
	if err := ValidateName(name); err != nil {
		return none, Meta{}, fmt.Errorf("%s: %w", kind, err)
	}
	return within(opt, func(opt ReadOptions) (T, Meta, error) {
		t, meta, err := s.readTopology(ctx, opt)
		if err != nil {
			return none, meta, err
		}
		found, ok := lookup(t, name)
		known, err := s.allow(doubts(t).about(name, ok), opt)
		meta = meta.Join(known)
		meta.Zxid = 0 // what is absent has none
		switch {
		case err != nil:
			return none, meta, fmt.Errorf("%s %q: %w", kind, name, err)
		case !ok:
			return none, meta, fmt.Errorf("%s %q: %w", kind, name, ErrNotFound)
		}
		meta.Zxid = zxid(found)
		return found, meta, nil
	})
}

// Place chooses a datacenter for a new shop; see the function [Place].
func (s *Service) Place(ctx context.Context, req PlacementRequest, opt ReadOptions) (Placement, Meta, error) {
	// A region that is not known may be open, and a datacenter that is not known the best.
	t, meta, err := s.topology(ctx, opt, func(t *Topology) [2]*Doubt {
		return [2]*Doubt{t.regionDoubts.whole, t.datacenterDoubts.whole}
	})
	if err != nil {
		return Placement{}, meta, err
	}
	p, err := Place(t, req)
	return p, meta, err
}

// BadCitizensAnswer is the union of all bad-citizen lists at one time: the
// methods of Blocklist want Now. Version is what it holds then.
type BadCitizensAnswer struct {
	Blocklist *Blocklist
	Now       time.Time
	Version   Version
}

// BadCitizens returns all bad citizens. Without all lists there is no answer: see
// [ErrUnread].
func (s *Service) BadCitizens(ctx context.Context, opt ReadOptions) (BadCitizensAnswer, Meta, error) {
	return within(opt, func(opt ReadOptions) (BadCitizensAnswer, Meta, error) {
		b, meta, err := s.readBlocklist(ctx, opt)
		if err != nil {
			return BadCitizensAnswer{}, meta, err
		}
		known, err := s.allow(b.doubts.whole, opt)
		if meta = meta.Join(known); err != nil {
			return BadCitizensAnswer{}, meta, err
		}
		answer := BadCitizensAnswer{Blocklist: b}
		answer.Version, answer.Now = b.Version(s.now)
		return answer, meta, nil
	})
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
// citizen's. The error wraps [ErrInvalidRequest] where ip is no address, or has
// a zone. An address that is not listed is an answer, no error. Meta.Zxid is
// that of the whole union.
//
// One list is enough to say that an address is listed: if the list of the longest
// prefix may not be answered from, as it was last known too long ago, another one's
// entry is the answer. That an address is not listed takes all lists: see [ErrUnread].
func (s *Service) BadCitizen(ctx context.Context, ip string, opt ReadOptions) (BadCitizenAnswer, Meta, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" {
		return BadCitizenAnswer{}, Meta{}, fmt.Errorf("%w: %q is not an IP address without a zone, such as 203.0.113.7 or 2001:db8::7", ErrInvalidRequest, ip)
	}
	return within(opt, func(read ReadOptions) (BadCitizenAnswer, Meta, error) {
		b, meta, err := s.readBlocklist(ctx, read)
		if err != nil {
			return BadCitizenAnswer{}, meta, err
		}
		answer := BadCitizenAnswer{Addr: addr.Unmap(), Now: s.now()}
		answer.Entry, answer.Listed = b.Lookup(answer.Addr, answer.Now)
		doubt := b.doubts.whole
		if answer.Listed {
			doubt = b.doubts.byName[answer.Entry.List]
		}
		known, err := s.allow(doubt, read)
		if answer.Listed && (err != nil || !opt.takes(known)) {
			for entry := range b.holding(answer.Addr, answer.Now) {
				other, otherErr := s.allow(b.doubts.byName[entry.List], read)
				if otherErr == nil && opt.takes(other) {
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
}

// Available returns nil if there can be answers, or why there can be none: ZooKeeper
// has been away for too long. What is wrong with single znodes is no part of that.
func (s *Service) Available(ctx context.Context) error {
	_, _, err := s.readTopology(ctx, ReadOptions{})
	return err
}

// Watch tells o of changes of t; see [Reader].
func (s *Service) Watch(t Topic, o Observer) *Watch { return s.reader.Watch(t, o) }

// topology reads the topology for an answer that is subject to the doubts that about
// picks.
func (s *Service) topology(ctx context.Context, opt ReadOptions, about func(*Topology) [2]*Doubt) (*Topology, Meta, error) {
	return within(opt, func(opt ReadOptions) (*Topology, Meta, error) {
		t, meta, err := s.readTopology(ctx, opt)
		if err != nil {
			return t, meta, err
		}
		for _, doubt := range about(t) {
			known, err := s.allow(doubt, opt)
			if meta = meta.Join(known); err != nil {
				return nil, meta, err
			}
		}
		return t, meta, nil
	})
}

func (s *Service) readTopology(ctx context.Context, opt ReadOptions) (*Topology, Meta, error) {
	t, meta, err := s.reader.Topology(ctx, opt)
	return t, meta, s.bound(meta, err)
}

func (s *Service) readBlocklist(ctx context.Context, opt ReadOptions) (*Blocklist, Meta, error) {
	b, meta, err := s.reader.Blocklist(ctx, opt)
	return b, meta, s.bound(meta, err)
}

// bound turns what was last known to be true too long ago into ErrUnavailable:
// a value, but also that there is none, or that it is broken.
func (s *Service) bound(meta Meta, err error) error {
	if s.maxStale == 0 || meta.Age <= s.maxStale {
		return err
	}
	if !isAnswer(err) {
		return err
	}
	return fmt.Errorf("%w: what is held was last known to be true %v ago, and answers older than %v are not given",
		ErrTooOld, meta.Age.Round(time.Second), s.maxStale)
}
