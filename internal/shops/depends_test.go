package shops_test

import (
	"testing"
	"testing/synctest"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// TestAnswersDepend: each answer says what it is made of, and so does each answer that
// there is none, and each that cannot be given.
func TestAnswersDepend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newService(t, shops.Config{MaxStale: time.Minute})
		r.SetShop("42", "ash1")
		r.SetShop("lost", "nowhere")
		end := time.Now().Add(time.Hour)
		r.SetBadCitizens("fraud", "1.2.3.4 expires="+end.UTC().Format(time.RFC3339Nano))
		type outcome struct {
			basis discovery.Basis
			err   error
		}
		ask := func() map[string]outcome {
			all := map[string]outcome{}
			add := func(name string) func(discovery.Basis, error) {
				return func(b discovery.Basis, err error) { all[name] = outcome{b, err} }
			}
			ctx := t.Context()
			for name, shop := range map[string]string{"shop": "42", "no shop": "absent", "no datacenter": "lost"} {
				_, b, err := s.Shop(ctx, shop, take)
				add(name)(b, err)
			}
			_, b, err := s.Regions(ctx, take)
			add("regions")(b, err)
			_, b, err = s.Region(ctx, "us-east1", take)
			add("region")(b, err)
			_, b, err = s.Region(ctx, "x", take)
			add("no region")(b, err)
			_, b, err = s.Datacenters(ctx, take)
			add("datacenters")(b, err)
			_, b, err = s.Datacenter(ctx, "ash1", take)
			add("datacenter")(b, err)
			_, b, err = s.Place(ctx, shops.PlacementRequest{Shop: "new"}, take)
			add("placement")(b, err)
			_, b, err = s.BadCitizens(ctx, take)
			add("all bad citizens")(b, err)
			_, b, err = s.BadCitizen(ctx, "1.2.3.4", take)
			add("listed")(b, err)
			_, b, err = s.BadCitizen(ctx, "9.9.9.9", take)
			add("not listed")(b, err)
			return all
		}
		topology, blocklist := shops.TopologyTopic(), shops.BlocklistTopic()
		wants := map[string]struct {
			on, too discovery.Topic // too: as well
			fails   bool
			expires bool
		}{
			"shop":             {on: shops.ShopTopic("42"), too: shops.DatacenterTopic("ash1")},
			"no shop":          {on: shops.ShopTopic("absent"), fails: true},
			"no datacenter":    {on: shops.ShopTopic("lost"), too: topology, fails: true},
			"regions":          {on: topology},
			"region":           {on: topology},
			"no region":        {on: topology, fails: true},
			"datacenters":      {on: topology},
			"datacenter":       {on: topology},
			"placement":        {on: topology},
			"all bad citizens": {on: blocklist, expires: true},
			"listed":           {on: blocklist, expires: true},
			"not listed":       {on: blocklist},
		}
		for name, got := range ask() {
			want := wants[name]
			if got.basis.Topics != [2]discovery.Topic{want.on, want.too} || (got.err != nil) != want.fails {
				t.Errorf("%s: depends on %v, error %v", name, got.basis.Topics, got.err)
			}
			switch until := got.basis.Until; {
			case !want.expires && !until.IsZero():
				t.Errorf("%s: until %v", name, until)
			case want.expires && (!until.Equal(end) || !got.basis.Now.Equal(time.Now())):
				t.Errorf("%s: until %v, as seen at %v", name, until, got.basis.Now)
			}
		}
		// What is known too badly to be told is waited for as well.
		r.SetStaleness(time.Hour, discovery.Stale)
		for name, got := range ask() {
			want := wants[name]
			if want.on.Kind == shops.ShopTopic("").Kind {
				want.too = topology // nobody knows in which datacenter it is
			}
			if got.basis.Topics != [2]discovery.Topic{want.on, want.too} || !got.basis.Until.IsZero() || got.err == nil {
				t.Errorf("%s, too old: %+v, error %v", name, got.basis.Depends, got.err)
			}
		}
	})
}
