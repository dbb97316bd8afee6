package shops_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// TestFreshness: what each wish gets from what is held, with ZooKeeper there and
// away.
func TestFreshness(t *testing.T) {
	const second = time.Second
	type options = discovery.ReadOptions
	for _, tt := range []struct {
		name   string
		age    time.Duration
		status discovery.CacheStatus
		away   bool
		opt    options
		want   string // the X-Cache of the answer, or 503
	}{
		{"no wish", 30 * second, discovery.Stale, true, options{}, "STALE"},
		{"young enough", 3 * second, discovery.Stale, false, options{MaxAge: 3 * second}, "STALE"},
		{"too old", 3*second + 1, discovery.Stale, false, options{MaxAge: 3 * second}, "MISS"},
		{"too old and away", 4 * second, discovery.Stale, true, options{MaxAge: 3 * second}, "503"},
		{"too old, away, and old will do", 4 * second, discovery.Stale, true, options{MaxAge: 3 * second, StaleIfError: 4 * second}, "STALE"},
		{"older than what will do", 5 * second, discovery.Stale, true, options{MaxAge: 3 * second, StaleIfError: 4 * second}, "503"},
		{"fresh and away", second, discovery.Stale, true, options{Fresh: true}, "503"},
		{"fresh, away, and old will do", second, discovery.Stale, true, options{Fresh: true, StaleIfError: second}, "STALE"},
		{"fresh, away, and nothing will do", second, discovery.Stale, true, options{Fresh: true, StaleIfError: -1}, "503"},
		{"a bound for errors only", 5 * second, discovery.Stale, true, options{StaleIfError: 4 * second}, "503"},
		{"within that bound", 4 * second, discovery.Stale, true, options{StaleIfError: 4 * second}, "STALE"},
		{"nothing stale", second, discovery.Stale, true, options{StaleIfError: -1}, "503"},
		{"nothing stale, and ZooKeeper is there", second, discovery.Stale, false, options{StaleIfError: -1}, "MISS"},
		{"a change that is being read is not stale", 2 * second, discovery.Updating, true, options{StaleIfError: second}, "UPDATING"},
		{"nor is it young for that", 2 * second, discovery.Updating, false, options{MaxAge: second}, "MISS"},
		{"a hit is not stale", 2 * second, discovery.Hit, true, options{StaleIfError: second}, "HIT"},
		{"not beyond max-stale", 50 * second, discovery.Stale, true, options{Fresh: true, StaleIfError: 90 * second}, "STALE"},
		{"beyond max-stale", 70 * second, discovery.Stale, true, options{Fresh: true, StaleIfError: 90 * second}, "503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := shopstest.New()
			r.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1"})
			r.SetShop("42", "ash1")
			r.SetStaleness(tt.age, tt.status)
			if tt.away {
				r.SetFreshErr(discovery.ErrUnavailable)
			}
			s, err := shops.New(shops.Config{Reader: r, MaxStale: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			for _, ask := range []func() (discovery.Meta, error){
				func() (discovery.Meta, error) { _, m, err := s.Shop(ctx, "42", tt.opt); return m.Meta, err },
				func() (discovery.Meta, error) { _, m, err := s.Datacenters(ctx, tt.opt); return m.Meta, err },
				func() (discovery.Meta, error) { _, m, err := s.BadCitizens(ctx, tt.opt); return m.Meta, err },
				func() (discovery.Meta, error) {
					_, m, err := s.Shop(ctx, "absent", tt.opt)
					if errors.Is(err, discovery.ErrNotFound) {
						err = nil // that there is none is an answer like others
					}
					return m.Meta, err
				},
				func() (discovery.Meta, error) {
					out := make([]shops.ShopResult, 1)
					m, err := s.Lookup(ctx, []string{"42"}, tt.opt, out)
					if err == nil {
						err = out[0].Err
					}
					return m, err
				},
			} {
				meta, err := ask()
				got := meta.Cache.String()
				if errors.Is(err, discovery.ErrUnavailable) {
					got = "503"
				} else if err != nil {
					t.Fatal(err)
				}
				if got != tt.want {
					t.Errorf("got %s (%v), want %s", got, err, tt.want)
				}
			}
		})
	}
}

// broken shows one shop as it was long ago, whatever is asked for.
type broken struct{ *shopstest.Reader }

func (b broken) Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []shops.ShopRead) {
	b.Reader.Shops(ctx, names, opt, out)
	for i, name := range names {
		if name == "broken" {
			out[i].Meta = discovery.Meta{Age: time.Hour, Cache: discovery.Stale}
		}
	}
}

// TestLookupRefusesWhatIsTooOld: one shop whose record does not parse takes no
// others along.
func TestLookupRefusesWhatIsTooOld(t *testing.T) {
	r := broken{shopstest.New()}
	r.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1"})
	r.SetShop("42", "ash1")
	r.SetShop("broken", "ash1")
	s, err := shops.New(shops.Config{Reader: r})
	if err != nil {
		t.Fatal(err)
	}
	for _, opt := range []discovery.ReadOptions{{MaxAge: time.Second}, {StaleIfError: time.Second}, {Fresh: true, StaleIfError: time.Second}} {
		out := make([]shops.ShopResult, 3)
		meta, err := s.Lookup(t.Context(), []string{"42", "broken", "absent"}, opt, out)
		if err != nil || meta.Cache != discovery.Stale {
			t.Errorf("%+v: %+v, %v", opt, meta, err)
		}
		for i, want := range []shops.ShopStatus{shops.Found, shops.Unavailable, shops.NotFound} {
			if out[i].Status != want || want == shops.Unavailable && out[i].Answer != (shops.ShopAnswer{Shop: "broken"}) {
				t.Errorf("%+v: %+v, want %v", opt, out[i], want)
			}
		}
		if _, err := s.Lookup(t.Context(), []string{"broken"}, opt, out); !errors.Is(err, discovery.ErrUnavailable) {
			t.Errorf("%+v: %v where nothing is left", opt, err)
		}
	}
}

func TestMinZxid(t *testing.T) {
	r := shopstest.New()
	r.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1"})
	zxid := r.SetShop("42", "ash1")
	s, err := shops.New(shops.Config{Reader: r})
	if err != nil {
		t.Fatal(err)
	}
	for min, want := range map[int64]error{zxid: nil, zxid + 1: discovery.ErrZxidNotReached, -1: discovery.ErrInvalidRequest} {
		opt := discovery.ReadOptions{MinZxid: min}
		if _, _, err := s.Shop(context.Background(), "42", opt); !errors.Is(err, want) {
			t.Errorf("shop since %d: %v, want %v", min, err, want)
		}
		if _, _, err := s.Regions(context.Background(), opt); !errors.Is(err, want) {
			t.Errorf("regions since %d: %v, want %v", min, err, want)
		}
	}
}
