package readers

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	consul "github.com/hashicorp/consul/api"

	"magellan/test/world"
)

// consulOf returns a client of Consul that asks a magellan.
func consulOf(w *world.World) *consul.Client {
	w.Helper()
	c, err := consul.NewClient(&consul.Config{Address: w.Serve()})
	w.Must(err)
	return c
}

// register writes an instance as Curator would, with more fields of its JSON object, each behind a
// comma.
func register(w *world.World, service, id, address string, port int, more string) {
	w.Helper()
	w.Put("/services/"+service+"/"+id, fmt.Sprintf(`{"name":%q,"id":%q,"address":%q,"port":%d%s}`, service, id, address, port, more))
}

// spring is what Spring Cloud adds to Curator's object: metadata.
func spring(metadata string) string {
	return `,"payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","metadata":{` + metadata + `}}`
}

// healthOf returns "ID HOST:PORT STATE" of each entry, in order.
func healthOf(entries []*consul.ServiceEntry) (all []string) {
	for _, e := range entries {
		all = append(all, fmt.Sprintf("%s %s:%d %s", e.Service.ID, e.Service.Address, e.Service.Port, e.Checks.AggregatedStatus()))
	}
	return all
}

// equal returns an error unless two lists are equal.
func equal[E cmp.Ordered](got, want []E) error {
	if !slices.Equal(got, want) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

// wantHealth waits until a service has these instances, in the words of healthOf, and returns the
// index of that answer.
func wantHealth(w *world.World, c *consul.Client, service string, want ...string) (index uint64) {
	w.Helper()
	w.Eventually("health of "+service, func() error {
		entries, meta, err := c.Health().Service(service, "", false, nil)
		if err != nil {
			return err
		}
		index = meta.LastIndex
		return equal(healthOf(entries), want)
	})
	return index
}

// TestConsulClient: Consul's own client for Go finds the services, their instances and their states.
func TestConsulClient(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services", "serverset:/svc")
	c := consulOf(w)
	register(w, "cart", "a", "10.2.0.7", 8080, spring(`"zone":"z1","weight":"3","version":"7","tags":"blue,eu"`))
	register(w, "cart", "b", "2001:db8::7", 8080, `,"sslPort":8443`)
	register(w, "cart", "c", "cart.example", 8080, `,"enabled":false,"payload":{"tags":["blue"]}`)
	register(w, "cart", "d", "10.2.0.9", 8080, spring(`"instance_status":"SLEEPY"`))
	register(w, "cart", "e", "10.2.0.10", 8080, spring(`"instance_status":"DOWN"`))
	w.Put("/svc/web/prod/blog/member_1", `{"serviceEndpoint":{"host":"10.3.0.1","port":8080},"additionalEndpoints":{"admin":{"host":"10.3.0.1","port":9990}},"status":"ALIVE","shard":3}`)
	want := []string{
		"a 10.2.0.7:8080 passing",
		"b 2001:db8::7:8080 passing",
		"c cart.example:8080 maintenance",
		"d 10.2.0.9:8080 warning",
		"e 10.2.0.10:8080 critical",
	}
	wantHealth(w, c, "cart", want...)

	passing, _, err := c.Health().Service("cart", "", true, nil)
	w.Must(err)
	if err := equal(healthOf(passing), want[:2]); err != nil {
		t.Error("passing:", err)
	}
	a := passing[0]
	if a.Service.Meta["version"] != "7" || a.Service.Weights.Passing != 3 || a.Service.Service != "cart" || a.Node.Address != "10.2.0.7" || a.Node.Datacenter != "dc1" {
		t.Errorf("the first instance is %+v on %+v", a.Service, a.Node)
	}
	if tls := passing[1].Service.TaggedAddresses["sslPort"]; tls.Port != 8443 || tls.Address != "2001:db8::7" {
		t.Errorf("the second endpoint is %+v", passing[1].Service.TaggedAddresses)
	}

	for tags, want := range map[string]string{"blue": "a c", "blue eu": "a", "green": "", "blue green": ""} {
		var inHealth, inCatalog []string
		tagged, _, err := c.Health().ServiceMultipleTags("cart", strings.Fields(tags), false, nil)
		w.Must(err)
		for _, e := range tagged {
			inHealth = append(inHealth, e.Service.ID)
		}
		catalog, _, err := c.Catalog().ServiceMultipleTags("cart", strings.Fields(tags), nil)
		w.Must(err)
		for _, s := range catalog {
			inCatalog = append(inCatalog, s.ServiceID)
		}
		if err := errors.Join(equal(inHealth, strings.Fields(want)), equal(inCatalog, strings.Fields(want))); err != nil {
			t.Errorf("tagged %q: %v", tags, err)
		}
	}

	// Traefik takes the two together by their positions.
	all, _, err := c.Health().Service("cart", "", false, nil)
	w.Must(err)
	catalog, _, err := c.Catalog().Service("cart", "", nil)
	w.Must(err)
	var inHealth, inCatalog []string
	for _, e := range all {
		inHealth = append(inHealth, fmt.Sprint(e.Service.ID, e.Node.Node, e.Service.Address, e.Service.Port, e.Service.Meta))
	}
	for _, s := range catalog {
		inCatalog = append(inCatalog, fmt.Sprint(s.ServiceID, s.Node, s.ServiceAddress, s.ServicePort, s.ServiceMeta))
	}
	if err := equal(inCatalog, inHealth); err != nil {
		t.Error("the catalog, and health:", err)
	}

	w.Eventually("the list of services", func() error {
		services, _, err := c.Catalog().Services(nil)
		if err != nil {
			return err
		}
		return errors.Join(equal(slices.Sorted(maps.Keys(services)), []string{"cart", "web/prod/blog"}),
			equal(services["cart"], []string{"blue", "eu"}))
	})
	blog, _, err := c.Health().Service("web/prod/blog", "", true, nil)
	w.Must(err)
	if len(blog) != 1 || blog[0].Service.TaggedAddresses["admin"].Port != 9990 {
		t.Errorf("a service with slashes in its name has %v", healthOf(blog))
	}
	for state, want := range map[string]string{"any": "a b c d e", "passing": "a b", "warning": "d", "critical": "c e"} {
		checks, _, err := c.Health().State(state, nil)
		w.Must(err)
		var got []string
		for _, one := range checks {
			if one.ServiceName == "cart" {
				got = append(got, one.ServiceID)
			}
		}
		if err := equal(got, strings.Fields(want)); err != nil {
			t.Errorf("checks that are %s: %v", state, err)
		}
	}
	self, err := c.Agent().Self()
	w.Must(err)
	if dc := self["Config"]["Datacenter"]; dc != "dc1" {
		t.Errorf("the datacenter is %v", dc)
	}
}

// TestConsulOptions: what a client can ask for besides a service.
func TestConsulOptions(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	c := consulOf(w)
	register(w, "cart", "a", "10.2.0.7", 8080, "")
	want := wantHealth(w, c, "cart", "a 10.2.0.7:8080 passing")
	for name, tt := range map[string]struct {
		options consul.QueryOptions
		refused string
	}{
		"stale":                {options: consul.QueryOptions{AllowStale: true}},
		"consistent":           {options: consul.QueryOptions{RequireConsistent: true}},
		"cached":               {options: consul.QueryOptions{UseCache: true}},
		"here":                 {options: consul.QueryOptions{Datacenter: "dc1", Namespace: "default", Partition: "default", Near: "_agent", Token: "secret"}},
		"stale and consistent": {consul.QueryOptions{AllowStale: true, RequireConsistent: true}, "exclude each other"},
		"elsewhere":            {consul.QueryOptions{Datacenter: "dc2"}, "No path to datacenter"},
		"another namespace":    {consul.QueryOptions{Namespace: "team"}, "none but the default"},
		"a filter":             {consul.QueryOptions{Filter: `Service.Port == 8080`}, "filter"}, // ignored, it would give too much
	} {
		for request, ask := range map[string]func() (int, *consul.QueryMeta, error){
			"health": func() (int, *consul.QueryMeta, error) {
				all, meta, err := c.Health().Service("cart", "", true, &tt.options)
				return len(all), meta, err
			},
			"catalog": func() (int, *consul.QueryMeta, error) {
				all, meta, err := c.Catalog().Service("cart", "", &tt.options)
				return len(all), meta, err
			},
			"services": func() (int, *consul.QueryMeta, error) {
				all, meta, err := c.Catalog().Services(&tt.options)
				return len(all), meta, err
			},
		} {
			n, meta, err := ask()
			switch {
			case tt.refused != "":
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("%s, %s: %v, want %q", name, request, err, tt.refused)
				}
			case err != nil:
				t.Errorf("%s, %s: %v", name, request, err)
			case n != 1 || meta.LastIndex < want:
				t.Errorf("%s, %s: %d of index %d, want 1 of %d", name, request, n, meta.LastIndex, want)
			}
		}
	}
}

// TestConsulBroken: a service of which no record can be read is an error, because a client would
// take an empty list for the truth. So is the list of services, which would lack that one.
func TestConsulBroken(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	c := consulOf(w)
	register(w, "cart", "a", "10.2.0.7", 8080, "")
	w.Put("/services/broken/1", "{broken")
	wantHealth(w, c, "cart", "a 10.2.0.7:8080 passing")
	asked := map[string]func() error{
		"health":   func() error { _, _, err := c.Health().Service("broken", "", false, nil); return err },
		"passing":  func() error { _, _, err := c.Health().Service("broken", "", true, nil); return err },
		"catalog":  func() error { _, _, err := c.Catalog().Service("broken", "", nil); return err },
		"services": func() error { _, _, err := c.Catalog().Services(nil); return err },
		"state":    func() error { _, _, err := c.Health().State("any", nil); return err },
	}
	for name, ask := range asked {
		w.Eventually(name+" of a broken service", func() error {
			if err := ask(); err == nil || !strings.Contains(err.Error(), "503") {
				return fmt.Errorf("%v, want 503", err)
			}
			return nil
		})
	}
	wantHealth(w, c, "cart", "a 10.2.0.7:8080 passing") // another service's record does no harm
	register(w, "broken", "1", "10.2.0.8", 8080, "")
	for name, ask := range asked {
		w.Eventually(name+" of a service that was broken", ask)
	}
	wantHealth(w, c, "broken", "1 10.2.0.8:8080 passing")
}
