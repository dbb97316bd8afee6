package readers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	consul "github.com/hashicorp/consul/api"
	"github.com/hashicorp/consul/api/watch"

	"magellan/test/world"
)

// TestConsulWatch: the watches of "consul watch" and of agents run against magellan.
func TestConsulWatch(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	c := consulOf(w)
	// each starts a watch, and returns what its handler has got last.
	each := func(params map[string]any) func() string {
		t.Helper()
		plan, err := watch.Parse(params)
		w.Must(err)
		var last atomic.Pointer[string]
		plan.Handler = func(_ uint64, result any) {
			var all []string
			switch result := result.(type) {
			case map[string][]string:
				all = slices.Sorted(maps.Keys(result))
			case []*consul.ServiceEntry:
				all = healthOf(result)
			case []*consul.HealthCheck:
				for _, check := range result {
					all = append(all, check.ServiceName+" "+check.Status)
				}
			default:
				all = []string{fmt.Sprintf("%T", result)}
			}
			text := strings.Join(all, ", ")
			last.Store(&text)
		}
		ended := make(chan error, 1)
		go func() { ended <- plan.RunWithClientAndHclog(c, nil) }()
		t.Cleanup(func() {
			plan.Stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		return func() string {
			if p := last.Load(); p != nil {
				return *p
			}
			return "nothing yet"
		}
	}
	register(w, "other", "x", "10.9.0.1", 80, "")
	wantHealth(w, c, "other", "x 10.9.0.1:80 passing")
	services := each(map[string]any{"type": "services"})
	cart := each(map[string]any{"type": "service", "service": "cart"})
	passing := each(map[string]any{"type": "service", "service": "cart", "passingonly": true, "stale": true})
	checks := each(map[string]any{"type": "checks", "state": "critical"})
	want := func(what, wantServices, wantCart, wantPassing, wantChecks string) {
		t.Helper()
		wait := func(name string, got func() string, want string) {
			t.Helper()
			w.Eventually(what+", "+name, func() error {
				if got := got(); got != want {
					return errors.New(got)
				}
				return nil
			})
		}
		wait("services", services, wantServices)
		wait("cart", cart, wantCart)
		wait("passing", passing, wantPassing)
		wait("checks", checks, wantChecks)
	}
	want("at first", "other", "", "", "")
	register(w, "cart", "a", "10.2.0.7", 80, "")
	want("an instance", "cart, other", "a 10.2.0.7:80 passing", "a 10.2.0.7:80 passing", "")
	register(w, "cart", "b", "10.2.0.8", 80, `,"enabled":false`)
	want("one out of service", "cart, other", "a 10.2.0.7:80 passing, b 10.2.0.8:80 maintenance", "a 10.2.0.7:80 passing", "cart critical")
	w.Delete("/services/cart/a") // that the directory goes too is for TestConsulVanishes
	w.Delete("/services/cart/b")
	want("all instances are gone", "other", "", "", "")
}
