package shops

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"magellan/internal/discovery"
)

// world is a topology with one datacenter for each way to be rejected.
func world() *Topology {
	return NewTopology(1,
		[]Region{{Name: "east", Open: true}, {Name: "west", Open: true}, {Name: "south"}},
		[]Datacenter{
			{Name: "e1", Region: "east", Capacity: 1000, Assigned: 900, Open: true},
			{Name: "e2", Region: "east", Capacity: 1000, Assigned: 700, Open: true},
			{Name: "w1", Region: "west", Capacity: 4000, Assigned: 3400, Open: true},
			{Name: "full", Region: "west", Capacity: 10, Assigned: 10, Open: true},
			{Name: "over", Region: "west", Capacity: 10, Assigned: 20, Open: true},
			{Name: "shut", Region: "west", Capacity: 10},
			{Name: "s1", Region: "south", Capacity: 10, Open: true},
			{Name: "lost", Region: "atlantis", Capacity: 10, Open: true},
		})
}

func mustPlace(t testing.TB, topology *Topology, req PlacementRequest) Placement {
	t.Helper()
	p, err := Place(topology, req)
	if err != nil {
		t.Fatal(err)
	}
	if p.Datacenter != p.Candidates[0].Datacenter || p.Region != p.Candidates[0].Region || p.Shop != req.Shop {
		t.Fatalf("the answer is not the first candidate: %+v", p)
	}
	return p
}

func TestPlaceGivesReasons(t *testing.T) {
	p := mustPlace(t, world(), PlacementRequest{Shop: "42", Exclude: []string{"e1"}})
	want := []Rejection{
		{"e1", "east", Excluded},
		{"full", "west", NoHeadroom},
		{"lost", "atlantis", RegionUnknown},
		{"over", "west", NoHeadroom},
		{"s1", "south", RegionClosed},
		{"shut", "west", Closed},
	}
	if !slices.Equal(p.Rejected, want) {
		t.Errorf("rejected %v, want %v", p.Rejected, want)
	}
	if len(p.Candidates) != 2 || p.Policy != Weighted {
		t.Errorf("%+v", p)
	}
	for _, c := range p.Candidates {
		if headroom := map[string]int64{"e2": 300, "w1": 600}[c.Datacenter]; c.Headroom != headroom {
			t.Errorf("%s has headroom %d, want %d", c.Datacenter, c.Headroom, headroom)
		}
	}
	if p.Candidates[0].Score <= p.Candidates[1].Score {
		t.Errorf("not the best first: %+v", p.Candidates)
	}
}

// The numbers are pinned: a change moves shops, and makes replicas of two
// releases disagree.
func TestPlaceIsTheSameInEveryRelease(t *testing.T) {
	for _, test := range []struct {
		shop, datacenter string
		score            string
	}{
		{"42", "w1", "518.2828228665649"},
		{"43", "e1", "2419.2262560234353"},
		{"snow-devil", "w1", "699.2383791500936"},
		{"東京", "e2", "5837.543049437069"},
	} {
		p := mustPlace(t, world(), PlacementRequest{Shop: test.shop})
		if score := fmt.Sprint(p.Candidates[0].Score); p.Datacenter != test.datacenter || score != test.score {
			t.Errorf("%s is placed in %s with score %s, want %s with %s", test.shop, p.Datacenter, score, test.datacenter, test.score)
		}
	}
}

func TestNegLn(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 100_000 {
		h := random.Uint64() >> (i % 64)
		got, want := negLn(h), -math.Log(float64(h|1)/(1<<64))
		// Near 1 the absolute error counts: fixed point has 48 bits.
		if math.Abs(got-want) > 1e-14*want+4e-15 {
			t.Fatalf("negLn(%#x) = %v, math.Log says %v", h, got, want)
		}
	}
	for _, h := range []uint64{0, 1, 1 << 63, math.MaxUint64} {
		if got := negLn(h); !(got > 0) || math.IsInf(got, 0) {
			t.Errorf("negLn(%#x) = %v, want a number above zero", h, got)
		}
	}
}

// 200,000 shops fall to 12 datacenters in proportion to their headroom: the
// chi-square statistic with 11 degrees of freedom is below 31.26 in 999 of 1,000
// samples of a right distribution. The names are fixed, so the result is too.
func TestPlaceSharesFollowHeadroom(t *testing.T) {
	var datacenters []Datacenter
	total := 0.0
	for i := range 12 {
		d := Datacenter{Name: fmt.Sprint("dc", i), Region: "r", Capacity: int64(1000 + 500*i*i), Assigned: 500, Open: true}
		total += float64(d.Headroom())
		datacenters = append(datacenters, d)
	}
	topology := NewTopology(1, []Region{{Name: "r", Open: true}}, datacenters)
	const shops = 200_000
	counts := make(map[string]int)
	for i := range shops {
		counts[mustPlace(t, topology, PlacementRequest{Shop: fmt.Sprint("shop-", i)}).Datacenter]++
	}
	chi2 := 0.0
	for _, d := range datacenters {
		want := shops * float64(d.Headroom()) / total
		chi2 += (float64(counts[d.Name]) - want) * (float64(counts[d.Name]) - want) / want
	}
	if chi2 > 31.26 {
		t.Errorf("chi-square %.1f, want at most 31.26: %v", chi2, counts)
	}
}

func TestPlaceMovesNoMoreShopsThanItMust(t *testing.T) {
	regions := []Region{{Name: "r", Open: true}}
	var datacenters []Datacenter
	for i := range 20 {
		datacenters = append(datacenters, Datacenter{Name: fmt.Sprint("dc", i), Region: "r", Capacity: int64(100 * (i + 1)), Open: true})
	}
	before := NewTopology(1, regions, datacenters)

	closed := slices.Clone(datacenters)
	closed[7].Open = false
	without := NewTopology(2, regions, closed)

	grown := slices.Clone(datacenters)
	grown[7].Capacity *= 2
	more := NewTopology(3, regions, grown)

	left, joined := 0, 0
	for i := range 20_000 {
		req := PlacementRequest{Shop: fmt.Sprint("shop-", i)}
		was := mustPlace(t, before, req).Datacenter
		switch is := mustPlace(t, without, req).Datacenter; {
		case was == "dc7":
			left++
		case is != was:
			t.Fatalf("%s moved from %s to %s when dc7 closed", req.Shop, was, is)
		}
		if is := mustPlace(t, more, req).Datacenter; is != was {
			if joined++; is != "dc7" {
				t.Fatalf("%s moved from %s to %s when dc7 grew", req.Shop, was, is)
			}
		}
	}
	if left == 0 || joined == 0 {
		t.Errorf("%d shops left dc7, %d joined it: nothing was tested", left, joined)
	}
}

func TestPlaceLooksNotAtTheOrderOfTheTopology(t *testing.T) {
	topology := world()
	regions, datacenters := slices.Clone(topology.Regions()), slices.Clone(topology.Datacenters())
	slices.Reverse(regions)
	slices.Reverse(datacenters)
	reversed := NewTopology(1, regions, datacenters)
	for i := range 100 {
		for _, policy := range []Policy{Weighted, LeastLoaded} {
			req := PlacementRequest{Shop: fmt.Sprint(i), Policy: policy}
			a, b := mustPlace(t, topology, req), mustPlace(t, reversed, req)
			if !slices.Equal(a.Candidates, b.Candidates) || !slices.Equal(a.Rejected, b.Rejected) {
				t.Fatalf("%+v\n%+v", a, b)
			}
		}
	}
}

func TestPlaceLeastLoaded(t *testing.T) {
	// Free shares: e1 0.1, e2 0.3, w1 0.15.
	for i := range 50 {
		p := mustPlace(t, world(), PlacementRequest{Shop: fmt.Sprint(i), Policy: LeastLoaded})
		if names := candidateNames(p); !slices.Equal(names, []string{"e2", "w1", "e1"}) {
			t.Fatalf("candidates %v", names)
		}
		if p.Candidates[0].Score != 0.3 {
			t.Fatalf("score %v, want the free share 0.3", p.Candidates[0].Score)
		}
	}
	// Equal ones are told apart as Weighted would.
	even := NewTopology(1, []Region{{Name: "r", Open: true}}, []Datacenter{
		{Name: "a", Region: "r", Capacity: 10, Assigned: 5, Open: true},
		{Name: "b", Region: "r", Capacity: 20, Assigned: 10, Open: true},
		{Name: "c", Region: "r", Capacity: 40, Assigned: 20, Open: true},
	})
	got := make(map[string]int)
	for i := range 100 {
		weighted := mustPlace(t, even, PlacementRequest{Shop: fmt.Sprint(i)})
		least := mustPlace(t, even, PlacementRequest{Shop: fmt.Sprint(i), Policy: LeastLoaded})
		if !slices.Equal(candidateNames(weighted), candidateNames(least)) {
			t.Fatalf("weighted %v, least loaded %v", candidateNames(weighted), candidateNames(least))
		}
		got[least.Datacenter]++
	}
	if len(got) != 3 {
		t.Errorf("ties always go the same way: %v", got)
	}
}

func TestPlaceExcludeAndPrefer(t *testing.T) {
	for _, test := range []struct {
		exclude, prefer []string
		want            []string // the candidates' names in order of name
		wantFrom        []string // the answer is one of them
	}{
		{nil, nil, []string{"e1", "e2", "w1"}, []string{"e1", "e2", "w1"}},
		{[]string{"west"}, nil, []string{"e1", "e2"}, []string{"e1", "e2"}},
		{[]string{"e2", "west"}, nil, []string{"e1"}, []string{"e1"}},
		{nil, []string{"e1"}, []string{"e1", "e2", "w1"}, []string{"e1"}},
		{nil, []string{"east"}, []string{"e1", "e2", "w1"}, []string{"e1", "e2"}},
		{nil, []string{"full", "south"}, []string{"e1", "e2", "w1"}, []string{"e1", "e2", "w1"}}, // none is a candidate
		{[]string{"east"}, []string{"e1"}, []string{"w1"}, []string{"w1"}},                       // exclude wins
		{[]string{"e1", "e1"}, []string{"e2", "e2"}, []string{"e2", "w1"}, []string{"e2"}},
	} {
		for i := range 50 {
			p := mustPlace(t, world(), PlacementRequest{Shop: fmt.Sprint(i), Exclude: test.exclude, Prefer: test.prefer})
			names := candidateNames(p)
			slices.Sort(names)
			if !slices.Equal(names, test.want) || !slices.Contains(test.wantFrom, p.Datacenter) {
				t.Fatalf("exclude %v, prefer %v: %s of %v", test.exclude, test.prefer, p.Datacenter, names)
			}
			for _, c := range p.Candidates {
				if c.Preferred != (slices.Contains(test.prefer, c.Datacenter) || slices.Contains(test.prefer, c.Region)) {
					t.Fatalf("prefer %v: %+v", test.prefer, c)
				}
			}
		}
	}
}

func candidateNames(p Placement) []string {
	var names []string
	for _, c := range p.Candidates {
		names = append(names, c.Datacenter)
	}
	return names
}

func TestPlaceErrors(t *testing.T) {
	for _, test := range []struct {
		req  PlacementRequest
		kind error
		says string
	}{
		{PlacementRequest{Shop: ""}, discovery.ErrInvalidName, "empty"},
		{PlacementRequest{Shop: "a/b"}, discovery.ErrInvalidName, "slash"},
		{PlacementRequest{Shop: "1", Policy: "best"}, discovery.ErrInvalidRequest, `"best"`},
		{PlacementRequest{Shop: "1", Exclude: []string{"e1", "nowhere"}}, discovery.ErrInvalidRequest, `exclude="nowhere"`},
		{PlacementRequest{Shop: "1", Prefer: []string{""}}, discovery.ErrInvalidRequest, `prefer=""`},
		{PlacementRequest{Shop: "1", Exclude: []string{"east", "w1"}}, ErrNoCapacity,
			"none of 8 datacenters can take a shop (3 excluded, 1 region unknown, 1 region closed, 1 closed, 2 no headroom)"},
	} {
		p, err := Place(world(), test.req)
		if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: error %v, want %v that says %q", test.req, err, test.kind, test.says)
		}
		if p.Datacenter != "" || errors.Is(err, ErrNoCapacity) && len(p.Rejected) != 8 {
			t.Errorf("%+v: %+v", test.req, p)
		}
	}
	if _, err := Place(NewTopology(1, nil, nil), PlacementRequest{Shop: "1"}); !errors.Is(err, ErrNoCapacity) || !strings.Contains(err.Error(), "import") {
		t.Errorf("without a datacenter: %v", err)
	}
}

func FuzzPlace(f *testing.F) {
	f.Add("42", "e1", int64(10), int64(5))
	f.Add("x", "東京", int64(math.MaxInt64), int64(0))
	f.Fuzz(func(t *testing.T, shop, name string, capacity, assigned int64) {
		if capacity < 0 || assigned < 0 {
			return // no decoder lets them through
		}
		topology := NewTopology(1, []Region{{Name: "r", Open: true}}, []Datacenter{
			{Name: name, Region: "r", Capacity: capacity, Assigned: assigned, Open: true},
			{Name: name + "x", Region: "r", Capacity: 10, Open: true},
		})
		for _, policy := range []Policy{Weighted, LeastLoaded} {
			p, err := Place(topology, PlacementRequest{Shop: shop, Policy: policy})
			if err != nil {
				if !errors.Is(err, discovery.ErrInvalidName) || discovery.ValidateName(shop) == nil {
					t.Fatal(err)
				}
				return
			}
			for _, c := range p.Candidates {
				if !(c.Score > 0) || math.IsInf(c.Score, 0) || c.Headroom <= 0 {
					t.Fatalf("%+v", c)
				}
			}
			if len(p.Candidates)+len(p.Rejected) != 2 {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func TestTopologyIsItsOwn(t *testing.T) {
	regions := []Region{{Name: "b"}, {Name: "a", Zxid: 3}}
	datacenters := []Datacenter{{Name: "y", Region: "a"}, {Name: "x", Region: "b", Zxid: 4}}
	topology := NewTopology(9, regions, datacenters)
	clear(regions)
	clear(datacenters)
	if topology.Zxid() != 9 {
		t.Errorf("zxid %d", topology.Zxid())
	}
	if r := topology.Regions(); len(r) != 2 || r[0].Name != "a" || r[1].Name != "b" {
		t.Errorf("regions %v", r)
	}
	if d := topology.Datacenters(); len(d) != 2 || d[0].Name != "x" || d[1].Name != "y" {
		t.Errorf("datacenters %v", d)
	}
	if r, ok := topology.Region("a"); !ok || r.Zxid != 3 {
		t.Errorf("region a: %v, %v", r, ok)
	}
	if d, ok := topology.Datacenter("x"); !ok || d.Zxid != 4 {
		t.Errorf("datacenter x: %v, %v", d, ok)
	}
	if _, ok := topology.Region("x"); ok {
		t.Error("there is a region x")
	}
	if _, ok := topology.Datacenter("a"); ok {
		t.Error("there is a datacenter a")
	}
}

func hundredDatacenters() *Topology {
	regions := map[string]Region{}
	var datacenters []Datacenter
	for i := range 100 {
		region := fmt.Sprint("region-", i%10)
		regions[region] = Region{Name: region, Open: true}
		datacenters = append(datacenters, Datacenter{
			Name: fmt.Sprintf("dc-%02d", i), Region: region, Capacity: 10_000, Assigned: int64(i * 90), Open: true,
		})
	}
	return NewTopology(1, slices.Collect(maps.Values(regions)), datacenters)
}

func BenchmarkPlace(b *testing.B) {
	topology := hundredDatacenters()
	for _, policy := range []Policy{Weighted, LeastLoaded} {
		b.Run(string(policy)+",100 datacenters", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustPlace(b, topology, PlacementRequest{Shop: "42", Policy: policy})
			}
		})
	}
}
