package readers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	promconsul "github.com/prometheus/prometheus/discovery/consul"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"magellan/test/world"
)

// consulSD is Prometheus' discovery by Consul, and what it has found.
type consulSD struct {
	*world.World
	registry *prometheus.Registry

	mu     sync.Mutex
	groups map[string]*targetgroup.Group // by service
	empty  []string                      // the services whose groups became empty, or were dropped
}

// newConsulSD starts the discovery with that configuration.
func newConsulSD(w *world.World, configure func(*promconsul.SDConfig)) *consulSD {
	w.Helper()
	d := &consulSD{World: w, registry: prometheus.NewRegistry(), groups: map[string]*targetgroup.Group{}}
	cfg := promconsul.DefaultSDConfig
	cfg.Server = w.Serve()
	w.Must(cfg.RefreshInterval.Set("100ms"))
	if configure != nil {
		configure(&cfg)
	}
	metrics := cfg.NewDiscovererMetrics(d.registry, nil)
	w.Must(metrics.Register())
	discoverer, err := cfg.NewDiscoverer(discovery.DiscovererOptions{Metrics: metrics})
	w.Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	found, ended := make(chan []*targetgroup.Group), make(chan struct{})
	go func() {
		defer close(ended)
		discoverer.Run(ctx, found)
	}()
	go func() {
		for {
			select {
			case groups := <-found:
				d.take(groups)
			case <-ctx.Done():
				return
			}
		}
	}()
	w.Cleanup(func() {
		cancel()
		<-ended // it may be asleep, for the 15 s after a failure
	})
	return d
}

func (d *consulSD) take(groups []*targetgroup.Group) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range groups {
		if was := d.groups[g.Source]; was != nil && len(was.Targets) > 0 && len(g.Targets) == 0 {
			d.empty = append(d.empty, g.Source)
		}
		d.groups[g.Source] = g
	}
}

// found returns "ADDRESS HEALTH" of each target of a service, in order.
func (d *consulSD) found(service string) (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.groups[service]; g != nil {
		for _, labels := range g.Targets {
			all = append(all, fmt.Sprint(labels["__address__"], " ", labels["__meta_consul_health"]))
		}
	}
	return all
}

// want waits until a service has these targets.
func (d *consulSD) want(service string, want ...string) {
	d.Helper()
	d.Eventually("targets of "+service, func() error { return equal(d.found(service), want) })
}

// failures counts the requests that have failed.
func (d *consulSD) failures() (n float64) {
	families, err := d.registry.Gather()
	d.Must(err)
	for _, f := range families {
		if f.GetName() == "prometheus_sd_consul_rpc_failures_total" {
			n += f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return n
}

// emptied returns the services that have lost all of their targets so far.
func (d *consulSD) emptied() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.empty)
}

// TestPrometheusConsul: what Prometheus discovers by its own client of Consul comes, changes and goes with
// the services.
func TestPrometheusConsul(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	register(w, "cart", "a", "10.2.0.7", 8080, `,"sslPort":8443`+spring(`"zone":"z1","app version":"7","tags":"blue,eu"`))
	d := newConsulSD(w, nil)
	d.want("cart", "10.2.0.7:8443 passing") // Spring's clients use TLS if they can
	d.mu.Lock()
	group := d.groups["cart"]
	d.mu.Unlock()
	labels := map[string]string{}
	for name, value := range group.Labels {
		labels[string(name)] = string(value)
	}
	for name, value := range group.Targets[0] {
		labels[string(name)] = string(value)
	}
	for name, want := range map[string]string{
		"__meta_consul_service":                      "cart",
		"__meta_consul_dc":                           "dc1",
		"__meta_consul_node":                         "10.2.0.7",
		"__meta_consul_address":                      "10.2.0.7",
		"__meta_consul_service_address":              "10.2.0.7",
		"__meta_consul_service_port":                 "8443",
		"__meta_consul_service_id":                   "a",
		"__meta_consul_service_metadata_zone":        "z1",
		"__meta_consul_service_metadata_app_version": "7",
		"__meta_consul_tags":                         ",blue,eu,",
	} {
		if got := labels[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	register(w, "cart", "b", "2001:db8::7", 8080, `,"enabled":false`)
	d.want("cart", "10.2.0.7:8443 passing", "[2001:db8::7]:8080 maintenance")
	register(w, "blog", "x", "10.3.0.1", 80, "")
	d.want("blog", "10.3.0.1:80 passing")
	register(w, "cart", "a", "10.2.0.9", 8080, "")
	d.want("cart", "10.2.0.9:8080 passing", "[2001:db8::7]:8080 maintenance")
	w.Delete("/services/cart")
	d.want("cart")
	d.want("blog", "10.3.0.1:80 passing")
	w.Delete("/services/blog/x") // the last one
	d.want("blog")
	register(w, "blog", "y", "10.3.0.2", 80, "")
	d.want("blog", "10.3.0.2:80 passing")
	if n := d.failures(); n != 0 {
		t.Errorf("%v requests have failed", n)
	}
}

// TestPrometheusConsulBroken: while no record of a service can be read, Prometheus keeps the targets that it
// has, of this service and of the others.
func TestPrometheusConsulBroken(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	register(w, "cart", "a", "10.2.0.7", 8080, "")
	register(w, "blog", "x", "10.3.0.1", 80, "")
	d := newConsulSD(w, nil)
	named := newConsulSD(w, func(cfg *promconsul.SDConfig) { cfg.Services = []string{"cart"} })
	d.want("cart", "10.2.0.7:8080 passing")
	d.want("blog", "10.3.0.1:80 passing")
	named.want("cart", "10.2.0.7:8080 passing")
	w.Put("/services/cart/broken", "{broken")
	w.Delete("/services/cart/a")
	c := consulOf(w)
	w.Eventually("the list of services", func() error {
		if _, _, err := c.Catalog().Services(nil); err == nil || !strings.Contains(err.Error(), "503") {
			return fmt.Errorf("%v, want 503", err)
		}
		return nil
	})
	register(w, "blog", "y", "10.3.0.2", 80, "")
	d.want("blog", "10.3.0.1:80 passing", "10.3.0.2:80 passing") // it goes on following what can be read
	// A new discovery has no list of services, and asks at once.
	fresh := newConsulSD(w, nil)
	w.Eventually("a failure", func() error {
		if fresh.failures() == 0 {
			return fmt.Errorf("no request has failed")
		}
		return nil
	})
	for _, d := range []*consulSD{d, named} {
		if err := equal(d.found("cart"), []string{"10.2.0.7:8080 passing"}); err != nil {
			t.Error("targets of a service that cannot be read:", err)
		}
	}
	register(w, "cart", "broken", "10.2.0.8", 8080, "")
	for _, d := range []*consulSD{d, named, fresh} {
		d.want("cart", "10.2.0.8:8080 passing")
		if empty := d.emptied(); len(empty) > 0 {
			t.Errorf("these were without targets: %q", empty)
		}
	}
	fresh.want("blog", "10.3.0.1:80 passing", "10.3.0.2:80 passing")
}
