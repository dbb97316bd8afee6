package shops_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"magellan/internal/alloctest"
	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

var take = discovery.ReadOptions{} // what the cache has

// newService returns a service over two regions, two datacenters and the shops
// 42 (ash1) and 43 (sea1).
func newService(t testing.TB, cfg shops.Config) (*shops.Service, *shopstest.Reader) {
	t.Helper()
	r := shopstest.New()
	r.SetRegion(shops.Region{Name: "us-east1", Open: true})                                       // zxid 1
	r.SetRegion(shops.Region{Name: "us-west1"})                                                   // 2
	r.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: 10, Open: true}) // 3
	r.SetDatacenter(shops.Datacenter{Name: "sea1", Region: "us-west1", Capacity: 10, Open: true}) // 4
	r.SetShop("42", "ash1")                                                                       // 5
	r.SetShop("43", "sea1")                                                                       // 6
	cfg.Reader = r
	s, err := shops.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestNewRefuses(t *testing.T) {
	if _, err := shops.New(shops.Config{}); err == nil {
		t.Error("no error without a Reader")
	}
	if _, err := shops.New(shops.Config{Reader: shopstest.New(), MaxStale: -1}); err == nil {
		t.Error("no error with a negative MaxStale")
	}
}

func TestServiceShop(t *testing.T) {
	s, r := newService(t, shops.Config{})
	ctx := context.Background()

	want := shops.ShopAnswer{Shop: "42", Datacenter: "ash1", Region: "us-east1"}
	got, meta, err := s.Shop(ctx, "42", take)
	if err != nil || got != want || meta.Meta != (discovery.Meta{Zxid: 5}) {
		t.Errorf("%+v, %+v, %v", got, meta, err)
	}

	// A change of another datacenter is no change of this answer.
	r.SetDatacenter(shops.Datacenter{Name: "sea1", Region: "us-west1"})
	if _, meta, _ = s.Shop(ctx, "42", take); meta.Zxid != 5 {
		t.Errorf("zxid %d after a change elsewhere, want 5", meta.Zxid)
	}
	// A datacenter that moves takes its shops along.
	moved := r.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-west1"})
	want.Region = "us-west1"
	if got, meta, err = s.Shop(ctx, "42", take); err != nil || got != want || meta.Zxid != moved {
		t.Errorf("%+v, %+v, %v; want zxid %d", got, meta, err, moved)
	}

	r.SetStaleness(time.Minute, discovery.Stale)
	if _, meta, err = s.Shop(ctx, "42", take); err != nil || meta.Age != time.Minute || meta.Cache != discovery.Stale {
		t.Errorf("%+v, %v", meta, err)
	}
	if _, meta, err = s.Shop(ctx, "44", take); !errors.Is(err, discovery.ErrNotFound) || meta.Meta != (discovery.Meta{Age: time.Minute, Cache: discovery.Stale}) {
		t.Errorf("%+v, %v; want not found, with its age", meta, err)
	}
	if _, _, err = s.Shop(ctx, "a/b", take); !errors.Is(err, discovery.ErrInvalidName) {
		t.Errorf("%v", err)
	}
	if _, _, err = s.Shop(ctx, "42", discovery.ReadOptions{Fresh: true}); err != nil || r.FreshReads() != 2 {
		t.Errorf("%v, %d fresh reads, want shop and topology", err, r.FreshReads())
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err = s.Shop(canceled, "42", take); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestServiceShopWhoseDatacenterIsGone(t *testing.T) {
	s, r := newService(t, shops.Config{})
	r.DeleteDatacenter("ash1")
	got, _, err := s.Shop(context.Background(), "42", take)
	if got != (shops.ShopAnswer{}) || !errors.Is(err, discovery.ErrBadData) || !strings.Contains(err.Error(), `"ash1" does not exist`) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestServiceMaxStale(t *testing.T) {
	s, r := newService(t, shops.Config{MaxStale: time.Hour})
	r.SetBadCitizens("fraud", "1.2.3.4")
	r.SetShopErr("broken", discovery.ErrBadData)
	r.SetShopErr("busy", discovery.ErrOverloaded)
	ctx := context.Background()
	calls := map[string]func(*shops.Service) (discovery.Meta, error){
		"Shop": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.Shop(ctx, "42", take)
			return m.Meta, err
		},
		"Shop not found": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.Shop(ctx, "44", take)
			return m.Meta, err
		},
		"Shop broken": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.Shop(ctx, "broken", take)
			return m.Meta, err
		},
		"Regions": func(s *shops.Service) (discovery.Meta, error) { _, m, err := s.Regions(ctx, take); return m.Meta, err },
		"Region": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.Region(ctx, "us-east1", take)
			return m.Meta, err
		},
		"Datacenters": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.Datacenters(ctx, take)
			return m.Meta, err
		},
		"Datacenter": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.Datacenter(ctx, "x", take)
			return m.Meta, err
		},
		"Place": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.Place(ctx, shops.PlacementRequest{Shop: "1"}, take)
			return m.Meta, err
		},
		"BadCitizens": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.BadCitizens(ctx, take)
			return m.Meta, err
		},
		"BadCitizen": func(s *shops.Service) (discovery.Meta, error) {
			_, m, err := s.BadCitizen(ctx, "1.2.3.4", take)
			return m.Meta, err
		},
		"Lookup": func(s *shops.Service) (discovery.Meta, error) {
			return s.Lookup(ctx, []string{"42"}, take, make([]shops.ShopResult, 1))
		},
	}
	noBound, err := shops.New(shops.Config{Reader: r})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		r.SetStaleness(time.Hour, discovery.Stale)
		if meta, err := call(s); errors.Is(err, discovery.ErrUnavailable) || meta.Age != time.Hour {
			t.Errorf("%s at the bound: %+v, %v", name, meta, err)
		}
		r.SetStaleness(time.Hour+1, discovery.Stale)
		if meta, err := call(s); !errors.Is(err, discovery.ErrUnavailable) || meta.Age != time.Hour+1 {
			t.Errorf("%s past the bound: %+v, %v", name, meta, err)
		}
		if _, err := call(noBound); errors.Is(err, discovery.ErrUnavailable) {
			t.Errorf("%s without a bound: %v", name, err)
		}
	}
	if _, _, err := s.Shop(ctx, "busy", take); !errors.Is(err, discovery.ErrOverloaded) {
		t.Errorf("the bound hides the error %v", err)
	}
}

func TestServiceLookup(t *testing.T) {
	s, r := newService(t, shops.Config{})
	r.SetShop("dangling", "nowhere")
	r.SetShopErr("busy", fmt.Errorf("later: %w", discovery.ErrOverloaded))
	r.SetShopErr("away", discovery.ErrUnavailable)
	r.SetShopErr("broken", discovery.ErrBadData)
	names := []string{"43", "nobody", "42", "a/b", "42", "dangling", "busy", "away", "broken", ""}
	want := []shops.ShopStatus{
		shops.Found, shops.NotFound, shops.Found, shops.Invalid, shops.Found,
		shops.Unreadable, shops.Unavailable, shops.Unavailable, shops.Unreadable, shops.Invalid,
	}
	out := make([]shops.ShopResult, len(names)+1)
	out[0].Err = errors.New("left from the last call")
	for range 2 { // the second reuses everything
		meta, err := s.Lookup(context.Background(), names, take, out)
		if err != nil {
			t.Fatal(err)
		}
		if meta.Zxid != 7 {
			t.Errorf("zxid %d, want the newest, of %q", meta.Zxid, "dangling")
		}
		for i, name := range names {
			answer, m, err := s.Shop(context.Background(), name, take)
			if err != nil {
				answer.Shop = name
			}
			if got := out[i]; got.Status != want[i] || got.Answer != answer || got.Meta != m.Meta || fmt.Sprint(got.Err) != fmt.Sprint(err) {
				t.Errorf("%q: %+v, want %v as Shop says: %+v, %+v, %v", name, got, want[i], answer, m, err)
			}
		}
		if out[len(names)] != (shops.ShopResult{}) {
			t.Errorf("wrote past the last name: %+v", out[len(names)])
		}
	}
	if _, err := s.Lookup(context.Background(), nil, take, nil); err != nil {
		t.Errorf("no names: %v", err)
	}
	r.SetErr(discovery.ErrUnavailable)
	if _, err := s.Lookup(context.Background(), names, take, out); !errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("without datacenters: %v", err)
	}
}

// agedShop is a Reader that knew one shop last an hour and more ago, and
// everything else now.
type agedShop struct {
	*shopstest.Reader
	name string
}

func (r agedShop) Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []shops.ShopRead) {
	r.Reader.Shops(ctx, names, opt, out)
	for i := range names {
		if names[i] == r.name {
			out[i].Meta.Age = time.Hour + 1
		}
	}
}

func TestServiceLookupBoundsTheAgeOfEachShop(t *testing.T) {
	_, r := newService(t, shops.Config{})
	s, err := shops.New(shops.Config{Reader: agedShop{r, "42"}, MaxStale: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]shops.ShopResult, 2)
	if _, err := s.Lookup(context.Background(), []string{"42", "43"}, take, out); err != nil {
		t.Fatal(err)
	}
	if out[0].Status != shops.Unavailable || !errors.Is(out[0].Err, discovery.ErrUnavailable) || out[0].Answer.Datacenter != "" {
		t.Errorf("the one too old: %+v", out[0])
	}
	if out[1].Status != shops.Found {
		t.Errorf("the other: %+v", out[1])
	}
}

func TestServiceTopology(t *testing.T) {
	s, _ := newService(t, shops.Config{})
	ctx := context.Background()
	regions, meta, err := s.Regions(ctx, take)
	if err != nil || meta.Zxid != 4 || len(regions.Regions) != 2 || regions.Regions[0].Name != "us-east1" || len(regions.Datacenters) != 2 {
		t.Errorf("%v, %+v, %v", regions, meta, err)
	}
	datacenters, meta, err := s.Datacenters(ctx, take)
	if err != nil || meta.Zxid != 4 || len(datacenters) != 2 || datacenters[1].Name != "sea1" {
		t.Errorf("%v, %+v, %v", datacenters, meta, err)
	}
	region, meta, err := s.Region(ctx, "us-east1", take)
	if err != nil || meta.Zxid != 4 || !region.Open || len(region.Datacenters) != 2 { // the zxid is that of all datacenters, too
		t.Errorf("%v, %+v, %v", region, meta, err)
	}
	dc, meta, err := s.Datacenter(ctx, "ash1", take)
	if err != nil || meta.Zxid != 3 || dc.Region != "us-east1" {
		t.Errorf("%v, %+v, %v", dc, meta, err)
	}
	if _, meta, err = s.Region(ctx, "ash1", take); !errors.Is(err, discovery.ErrNotFound) || meta.Zxid != 0 {
		t.Errorf("%+v, %v", meta, err)
	}
	if _, _, err = s.Datacenter(ctx, "a/b", take); !errors.Is(err, discovery.ErrInvalidName) {
		t.Errorf("%v", err)
	}
	p, meta, err := s.Place(ctx, shops.PlacementRequest{Shop: "new"}, take)
	if err != nil || p.Datacenter != "ash1" || p.Region != "us-east1" || meta.Zxid != 4 {
		t.Errorf("%+v, %+v, %v", p, meta, err)
	}
}

func TestServiceBadCitizensExpireByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newService(t, shops.Config{}) // the clock is the bubble's
		ctx := context.Background()
		end := time.Now().Add(time.Hour)
		zxid := r.SetBadCitizens("fraud", "1.2.3.0/24 reason=scan expires="+end.Format(time.RFC3339))
		r.SetBadCitizens("abuse", "1.2.0.0/16")

		listed := func() string {
			answer, meta, err := s.BadCitizen(ctx, "::ffff:1.2.3.4", take)
			if err != nil || !answer.Listed || answer.Addr.String() != "1.2.3.4" || meta.Zxid != zxid+1 {
				t.Fatalf("%+v, %+v, %v", answer, meta, err)
			}
			return answer.Entry.List
		}
		count := func() int {
			all, _, err := s.BadCitizens(ctx, take)
			if err != nil {
				t.Fatal(err)
			}
			return len(slices.Collect(all.Blocklist.Entries(all.Now)))
		}
		if listed() != "fraud" || count() != 2 {
			t.Errorf("before: %s, %d entries", listed(), count())
		}
		time.Sleep(time.Until(end) - time.Nanosecond)
		if listed() != "fraud" || count() != 2 {
			t.Errorf("just before: %s, %d entries", listed(), count())
		}
		time.Sleep(time.Nanosecond)
		if listed() != "abuse" || count() != 1 {
			t.Errorf("at the instant: %s, %d entries", listed(), count())
		}

		if answer, _, err := s.BadCitizen(ctx, "9.9.9.9", take); err != nil || answer.Listed || answer.Addr.String() != "9.9.9.9" {
			t.Errorf("%+v, %v", answer, err)
		}
		for _, ip := range []string{"", "1.2.3", "1.2.3.0/24", "fe80::1%eth0", "example.com"} {
			if _, _, err := s.BadCitizen(ctx, ip, take); !errors.Is(err, discovery.ErrInvalidRequest) {
				t.Errorf("%q: %v", ip, err)
			}
		}
	})
}

// TestBadCitizenOfAnotherList: where the list that counts may not be answered from, any
// other that holds the address says as well that it is listed.
func TestBadCitizenOfAnotherList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newService(t, shops.Config{MaxStale: time.Hour})
		soon := " expires=" + time.Now().Add(3*time.Hour).Format(time.RFC3339)
		zxid := r.SetBadCitizens("aaa", "198.18.0.7\n198.18.1.0/24\n198.18.2.7")
		r.SetBadCitizens("good", "198.18.0.7\n198.18.0.0/24\n198.18.1.0/24"+soon+"\n198.18.2.0/24")
		r.SetBadCitizens("worse", "198.18.0.0/16")
		r.SetDoubts(nil, nil, []discovery.Doubt{
			{Name: "aaa", Reason: "aaa is broken", Held: true, Since: time.Now(), Zxid: zxid},
			{Name: "worse", Reason: "worse is broken", Held: true, Since: time.Now(), Zxid: zxid},
		})
		listed := func(ip string, opt discovery.ReadOptions, want string, status discovery.CacheStatus) {
			t.Helper()
			answer, meta, err := s.BadCitizen(t.Context(), ip, opt)
			if want == "" {
				if !errors.Is(err, discovery.ErrUnavailable) {
					t.Errorf("%s, %+v: %+v, %v; want none", ip, opt, answer, err)
				}
				return
			}
			if got := answer.Entry.List + " " + answer.Entry.Prefix.String(); err != nil || !answer.Listed || got != want || meta.Cache != status {
				t.Errorf("%s, %+v: %s, %v, %v; want %s, %v", ip, opt, got, meta.Cache, err, want, status)
			}
		}
		others := func(opt discovery.ReadOptions) {
			t.Helper()
			listed("198.18.0.7", opt, "good 198.18.0.7/32", discovery.Hit)
			listed("198.18.1.7", opt, "good 198.18.1.0/24", discovery.Hit) // which counts after aaa's
			listed("198.18.2.7", opt, "good 198.18.2.0/24", discovery.Hit)
			listed("198.18.3.7", opt, "", 0) // of worse alone
		}
		time.Sleep(time.Minute)
		listed("198.18.0.7", take, "aaa 198.18.0.7/32", discovery.Stale)
		listed("198.18.3.7", take, "worse 198.18.0.0/16", discovery.Stale)
		others(discovery.ReadOptions{MinZxid: zxid + 1})
		others(discovery.ReadOptions{MaxAge: time.Minute - 1})
		others(discovery.ReadOptions{StaleIfError: -1})
		time.Sleep(time.Hour)
		others(take)
		time.Sleep(2 * time.Hour)
		listed("198.18.1.7", take, "", 0) // good's has expired
	})
}

func TestMeta(t *testing.T) {
	a := discovery.Meta{Zxid: 1, Age: 2, Cache: discovery.Stale}
	b := discovery.Meta{Zxid: 3, Age: 1, Cache: discovery.Miss}
	if got, want := a.Join(b), (discovery.Meta{Zxid: 3, Age: 2, Cache: discovery.Stale}); got != want || b.Join(a) != want {
		t.Errorf("%+v and %+v, want %+v", got, b.Join(a), want)
	}
	for status, want := range map[discovery.CacheStatus]string{discovery.Hit: "HIT", discovery.Miss: "MISS", discovery.Updating: "UPDATING", discovery.Stale: "STALE"} {
		if status.String() != want {
			t.Errorf("%d is %s, want %s", status, status, want)
		}
	}
}

func TestServiceAllocatesNothingOnAHit(t *testing.T) {
	s, r := newService(t, shops.Config{MaxStale: time.Hour})
	ctx := context.Background()
	if n := alloctest.Fewest(func() {
		if _, _, err := s.Shop(ctx, "42", take); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("Shop: %d allocations", n)
	}
	names, out := manyShops(r)
	if n := alloctest.Fewest(func() {
		if _, err := s.Lookup(ctx, names, take, out); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("Lookup: %d allocations", n)
	}
}

// manyShops makes 1,000 shops.
func manyShops(r *shopstest.Reader) ([]string, []shops.ShopResult) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprint("shop-", i)
		r.SetShop(names[i], []string{"ash1", "sea1"}[i%2])
	}
	return names, make([]shops.ShopResult, len(names))
}

func BenchmarkServiceShop(b *testing.B) {
	s, _ := newService(b, shops.Config{MaxStale: time.Hour})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Shop(ctx, "42", take); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkServiceLookup1000(b *testing.B) {
	s, r := newService(b, shops.Config{MaxStale: time.Hour})
	names, out := manyShops(r)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Lookup(ctx, names, take, out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(names))*float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}

// behind shows a topology that lacks what came last, until it is asked for that.
type behind struct {
	*shopstest.Reader
	old     *shops.Topology
	reached *bool
}

func (b behind) Topology(ctx context.Context, opt discovery.ReadOptions) (*shops.Topology, discovery.Meta, error) {
	if *b.reached = *b.reached || opt.Fresh || opt.MinZxid > b.old.Zxid(); !*b.reached {
		return b.old, discovery.Meta{}, nil
	}
	return b.Reader.Topology(ctx, opt)
}

// TestDatacenterCreatedWithItsShop: the shop is read at once, the datacenter is
// on its way.
func TestDatacenterCreatedWithItsShop(t *testing.T) {
	r := behind{shopstest.New(), shops.NewTopology(0, nil, nil), new(bool)}
	r.SetDatacenter(shops.Datacenter{Name: "new1", Region: "us-east1", Capacity: 1, Open: true})
	r.SetShop("42", "new1")
	r.SetShop("dangling", "nowhere")
	s, err := shops.New(shops.Config{Reader: r})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Shop(t.Context(), "42", discovery.ReadOptions{}); err != nil || got.Region != "us-east1" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, _, err := s.Shop(t.Context(), "dangling", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrBadData) {
		t.Errorf("dangling: %v", err)
	}
	*r.reached = false
	out := make([]shops.ShopResult, 3)
	if _, err := s.Lookup(t.Context(), []string{"dangling", "42", "dangling"}, discovery.ReadOptions{}, out); err != nil {
		t.Fatal(err)
	}
	if out[1].Status != shops.Found || out[1].Answer.Region != "us-east1" || out[0].Status != shops.Unreadable || out[2].Status != shops.Unreadable {
		t.Errorf("%+v", out)
	}
	if n := r.FreshReads(); n != 0 {
		t.Errorf("%d reads asked ZooKeeper, whatever is known already", n)
	}
}

// late shows shops as they were before the datacenter was deleted.
type late struct {
	*shopstest.Reader
	old  map[string]string
	away *bool // and there is no way to know better
}

func (l late) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (*shops.Home, discovery.Meta, error) {
	old, asked := l.old[name], opt.Fresh || opt.MinZxid != 0
	if asked && *l.away {
		return nil, discovery.Meta{}, discovery.ErrUnavailable
	}
	if old != "" && !asked {
		return &shops.Home{Datacenter: old}, discovery.Meta{Cache: discovery.Stale}, nil
	}
	return l.Reader.Shop(ctx, name, opt)
}

func (l late) Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []shops.ShopRead) {
	for i, name := range names {
		out[i].Value, out[i].Meta, out[i].Err = l.Shop(ctx, name, opt)
	}
}

// TestDatacenterDeletedAfterItsShopsMoved: that it was is known, that they did is
// on its way.
func TestDatacenterDeletedAfterItsShopsMoved(t *testing.T) {
	r := late{shopstest.New(), map[string]string{"42": "old1", "43": "old1", "44": "old1"}, new(bool)}
	r.SetDatacenter(shops.Datacenter{Name: "new1", Region: "us-east1", Capacity: 1, Open: true})
	r.SetShop("42", "new1")
	r.SetShop("44", "old1") // and one did not
	s, err := shops.New(shops.Config{Reader: r})
	if err != nil {
		t.Fatal(err)
	}
	names, out := []string{"42", "43", "44"}, make([]shops.ShopResult, 3)
	if meta, err := s.Lookup(t.Context(), names, discovery.ReadOptions{}, out); err != nil || meta.Cache != discovery.Stale {
		t.Errorf("%+v, %v", meta, err)
	}
	for i, want := range []shops.ShopStatus{shops.Found, shops.NotFound, shops.Unreadable} {
		got, meta, err := s.Shop(t.Context(), names[i], discovery.ReadOptions{})
		if got.Datacenter != out[i].Answer.Datacenter || meta.Meta != out[i].Meta || (err == nil) != (out[i].Err == nil) || out[i].Status != want {
			t.Errorf("shop %s: %+v, %+v, %v; in a lookup %+v, want %v", names[i], got, meta, err, out[i], want)
		}
	}
	if n := r.FreshReads(); n != 0 {
		t.Errorf("%d reads asked ZooKeeper, whatever is known already", n)
	}
	// Where nothing newer can be had there is no better answer.
	*r.away = true
	if _, _, err := s.Shop(t.Context(), "42", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrBadData) {
		t.Errorf("while ZooKeeper is away: %v", err)
	}
}
