package heapprof

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// simRate is the default sample rate of the profiler, 2^19.
const simRate = 512 << 10

// simSite allocates at one stack. It is simulated as jemalloc samples it:
// only sampled objects exist.
type simSite struct {
	kind string // for messages
	pcs  []uint64
	size func() float64 // size class of the next object
	// sampled returns how many objects are sampled, on average, between two
	// times in seconds.
	sampled func(from, to float64) float64
	// end returns when an object allocated at the given time is freed.
	end  func(at float64) float64
	live []simObject
}

type simObject struct {
	size, end float64
}

// simProcess is a process that allocates, sampled.
type simProcess struct {
	rng   *rand.Rand
	sites []*simSite
	now   float64 // seconds
}

var simStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// advance runs the process for some seconds.
func (p *simProcess) advance(seconds float64) {
	from, to := p.now, p.now+seconds
	for _, s := range p.sites {
		for range poisson(p.rng, s.sampled(from, to)) {
			at := from + p.rng.Float64()*seconds
			s.live = append(s.live, simObject{s.size(), s.end(at)})
		}
		kept := s.live[:0]
		for _, o := range s.live {
			if o.end > to {
				kept = append(kept, o)
			}
		}
		s.live = kept
	}
	p.now = to
}

// dump writes the counts as jemalloc 5.3 does: such that unbiasing the sums of
// a stack gives the sum of the unbiased objects.
func (p *simProcess) dump() *Dump {
	d := &Dump{Rate: simRate, Time: simStart.Add(time.Duration(p.now * float64(time.Second)))}
	for _, s := range p.sites {
		var objects, bytes float64
		for _, o := range s.live {
			chance := -math.Expm1(-o.size / simRate)
			objects += 1 / chance
			bytes += o.size / chance
		}
		if objects == 0 {
			continue
		}
		chance := -math.Expm1(-bytes / objects / simRate)
		d.Stacks = append(d.Stacks, Stack{PCs: s.pcs, Inuse: Count{
			Objects: uint64(math.Round(objects * chance)),
			Bytes:   uint64(math.Round(bytes * chance)),
		}})
	}
	return d
}

// kinds names the patterns behind a stack or a common part of stacks.
func (p *simProcess) kinds(pcs []uint64) []string {
	var kinds []string
	for _, s := range p.sites {
		if len(s.pcs) >= len(pcs) && slices.Equal(s.pcs[:len(pcs)], pcs) {
			kinds = append(kinds, s.kind)
		}
	}
	return kinds
}

func poisson(rng *rand.Rand, mean float64) int {
	if mean > 500 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*rng.NormFloat64())))
	}
	n, product, limit := 0, rng.Float64(), math.Exp(-mean)
	for product > limit {
		n++
		product *= rng.Float64()
	}
	return n
}

func (p *simProcess) add(s *simSite) {
	if s.pcs == nil {
		n := uint64(len(p.sites) + 1)
		// Stacks share their outer frames and the allocator.
		s.pcs = []uint64{0x10, 0x20, 0x1000 + n%7, 0x2000 + n%31, 0x3000 + n, 0x4000 + n%5, 0x5000}
	}
	p.sites = append(p.sites, s)
}

// simCode takes the stacks of simulated sites for C that Go calls: 31 C functions that
// allocate in 7 others, for hundreds of Go functions.
func simCode(pc uint64) Code {
	c := Code{ID: pc}
	switch {
	case pc < 0x1000:
		c.Kind = AllocatorCode
	case pc >= 0x3000:
		c.Kind = GoCode
	}
	return c
}

func (p *simProcess) uniform(low, high float64) float64 { return low + (high-low)*p.rng.Float64() }

func (p *simProcess) logUniform(low, high float64) float64 {
	return low * math.Exp(p.rng.Float64()*math.Log(high/low))
}

func (p *simProcess) fixed(size float64) func() float64 { return func() float64 { return size } }

func never(float64) float64 { return math.Inf(1) }

// steady adds a site with a constant level of live samples that come and go.
func (p *simProcess) steady(size, level, lifetime float64) {
	s := &simSite{kind: "steady", size: p.fixed(size)}
	s.sampled = func(from, to float64) float64 { return level / lifetime * (to - from) }
	s.end = func(at float64) float64 { return at + p.rng.ExpFloat64()*lifetime }
	for range poisson(p.rng, level) {
		s.live = append(s.live, simObject{size, p.now + p.rng.ExpFloat64()*lifetime})
	}
	p.add(s)
}

// filling adds a cache whose expected samples follow a curve, and stay.
func (p *simProcess) filling(kind string, size float64, curve func(t float64) float64) {
	p.add(&simSite{
		kind:    kind,
		size:    p.fixed(size),
		sampled: func(from, to float64) float64 { return curve(to) - curve(from) },
		end:     never,
	})
}

// sawtooth adds a buffer that grows by perSecond samples and is emptied every
// period seconds.
func (p *simProcess) sawtooth(size, perSecond, period, phase float64) {
	p.add(&simSite{
		kind:    "sawtooth",
		size:    p.fixed(size),
		sampled: func(from, to float64) float64 { return perSecond * (to - from) },
		end:     func(at float64) float64 { return (math.Floor((at+phase)/period)+1)*period - phase },
	})
}

// newCleanProcess has every pattern that a server without a leak shows.
func newCleanProcess(seed uint64) *simProcess {
	p := &simProcess{rng: rand.New(rand.NewPCG(seed, 1))}
	size := func() float64 { return p.logUniform(8, 256<<10) }
	for range 250 {
		p.steady(size(), p.logUniform(0.05, 50), p.logUniform(0.1, 1200))
	}
	p.steady(80, 0.3, 0.001) // getaddrinfo, 580 times a second
	for range 8 {
		level, tau := p.logUniform(3, 300), p.uniform(5, 60)
		p.filling("warm-up", size(), func(t float64) float64 { return -level * math.Expm1(-t/tau) })
	}
	for range 8 { // a pool that is filled at a constant rate, at some time
		level, begin, length := p.logUniform(3, 300), p.uniform(0, 600), p.uniform(1, 90)
		p.filling("pool", size(), func(t float64) float64 { return level * min(1, max(0, (t-begin)/length)) })
	}
	for range 4 { // a cache filled by requests, some of whose keys are rare
		level, tau := p.logUniform(3, 300), p.logUniform(2, 15)
		p.filling("cache", size(), func(t float64) float64 { return level * t / (t + tau) })
	}
	for range 15 {
		p.sawtooth(size(), p.logUniform(0.02, 3), p.uniform(5, 120), p.uniform(0, 120))
	}
	for range 3 { // buffers of all sizes, some far above the sample rate
		s := &simSite{kind: "mixed sizes", size: func() float64 { return p.logUniform(64, 8<<20) }}
		s.sampled = func(from, to float64) float64 { return 0.05 * (to - from) }
		s.end = func(at float64) float64 { return at + p.rng.ExpFloat64()*120 }
		p.add(s)
	}
	return p
}
