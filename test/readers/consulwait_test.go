package readers

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	consul "github.com/hashicorp/consul/api"

	"magellan/test/world"
)

// blocking is a client that waits for changes of one thing, as Consul's documentation has clients do it.
type blocking struct {
	*world.World
	what string
	// known is the last answer, and index its index.
	known string
	index uint64
	ask   asking
}

// asking asks a magellan with the given options, and returns what the answer says in one line.
type asking func(*consul.QueryOptions) (string, *consul.QueryMeta, error)

// until asks again and again until the answer is the wanted one. Each time it waits for an index above
// the last one. A test fails if the index is less than the last one, and if an answer
// changes with the index unchanged.
func (b *blocking) until(want string) {
	b.Helper()
	last := b.index
	b.Eventually(b.what, func() error {
		got, meta, err := b.ask(&consul.QueryOptions{WaitIndex: b.index, WaitTime: world.Patience / 4})
		switch {
		case err != nil:
			return err
		case meta.LastIndex == 0 || meta.LastIndex < b.index:
			b.Fatalf("%s: the index is %d after %d", b.what, meta.LastIndex, b.index)
		case b.index != 0 && got != b.known && meta.LastIndex == b.index:
			b.Fatalf("%s: index %d was %s, and is %s", b.what, b.index, b.known, got)
		}
		b.index, b.known = meta.LastIndex, got
		if got != want {
			return fmt.Errorf("got %s, want %s", got, want)
		}
		return nil
	})
	if last != 0 && b.index == last {
		b.Fatalf("%s: %s still has index %d", b.what, want, last)
	}
}

// still asks for a short wait, whose end must bring what the client has already. A change that does
// not concern the answer may end a wait with a greater index, as of Consul; then still asks again.
func (b *blocking) still() {
	b.Helper()
	const wait = 500 * time.Millisecond
	b.Eventually(b.what+", a wait for nothing", func() error {
		begin := time.Now()
		got, meta, err := b.ask(&consul.QueryOptions{WaitIndex: b.index, WaitTime: wait})
		b.Must(err)
		index := b.index
		b.index = meta.LastIndex
		switch waited := time.Since(begin); {
		case got != b.known || meta.LastIndex < index:
			b.Fatalf("%s: after a wait for nothing %s of index %d, want %s of %d", b.what, got, meta.LastIndex, b.known, index)
		case meta.LastIndex > index:
			return fmt.Errorf("index %d after %d", meta.LastIndex, index)
		case waited < wait/2:
			b.Fatalf("%s: the wait took %v, want %v", b.what, waited, wait)
		}
		return nil
	})
}

// health asks for the health of a service: "ID HOST:PORT STATE" of each instance.
func health(c *consul.Client, service string) asking {
	return func(q *consul.QueryOptions) (string, *consul.QueryMeta, error) {
		all, meta, err := c.Health().Service(service, "", false, q)
		return strings.Join(healthOf(all), ", "), meta, err
	}
}

// catalog asks the catalog for a service: "ID HOST:PORT" of each instance.
func catalog(c *consul.Client, service string) asking {
	return func(q *consul.QueryOptions) (string, *consul.QueryMeta, error) {
		all, meta, err := c.Catalog().Service(service, "", q)
		var ids []string
		for _, s := range all {
			ids = append(ids, fmt.Sprintf("%s %s:%d", s.ServiceID, s.ServiceAddress, s.ServicePort))
		}
		return strings.Join(ids, ", "), meta, err
	}
}

// names asks for the names of all services.
func names(c *consul.Client) asking {
	return func(q *consul.QueryOptions) (string, *consul.QueryMeta, error) {
		all, meta, err := c.Catalog().Services(q)
		return strings.Join(slices.Sorted(maps.Keys(all)), ", "), meta, err
	}
}

// checks asks for the checks of all services: "SERVICE/ID STATE" each.
func checks(c *consul.Client) asking {
	return func(q *consul.QueryOptions) (string, *consul.QueryMeta, error) {
		all, meta, err := c.Health().State("any", q)
		var ids []string
		for _, one := range all {
			ids = append(ids, one.ServiceName+"/"+one.ServiceID+" "+one.Status)
		}
		return strings.Join(ids, ", "), meta, err
	}
}

// TestConsulBlocking: a query that waits returns for each change of what it is about, and for nothing
// else.
func TestConsulBlocking(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services", "serverset:/svc")
	c := consulOf(w)
	register(w, "other", "x", "10.9.0.1", 80, "")
	wantHealth(w, c, "other", "x 10.9.0.1:80 passing")
	inHealth := &blocking{World: w, what: "health", ask: health(c, "cart")}
	inCatalog := &blocking{World: w, what: "catalog", ask: catalog(c, "cart")}
	inList := &blocking{World: w, what: "services", ask: names(c)}
	inChecks := &blocking{World: w, what: "checks", ask: checks(c)}
	want := func(health, catalog, list, checks string) {
		t.Helper()
		inHealth.until(health)
		inCatalog.until(catalog)
		inList.until(list)
		inChecks.until(checks)
	}
	want("", "", "other", "other/x passing")
	register(w, "cart", "a", "10.2.0.7", 80, "") // the service appears
	want("a 10.2.0.7:80 passing", "a 10.2.0.7:80", "cart, other", "cart/a passing, other/x passing")

	// From here on the list of services stays the same, until the service vanishes.
	register(w, "cart", "b", "10.2.0.8", 80, "") // an instance registers
	inHealth.until("a 10.2.0.7:80 passing, b 10.2.0.8:80 passing")
	inCatalog.until("a 10.2.0.7:80, b 10.2.0.8:80")
	inChecks.until("cart/a passing, cart/b passing, other/x passing")
	register(w, "cart", "b", "10.2.0.8", 80, `,"enabled":false`) // it is taken out of service
	inHealth.until("a 10.2.0.7:80 passing, b 10.2.0.8:80 maintenance")
	inChecks.until("cart/a passing, cart/b critical, other/x passing")
	w.Delete("/services/cart/b") // it unregisters
	inHealth.until("a 10.2.0.7:80 passing")
	inCatalog.until("a 10.2.0.7:80")
	inChecks.until("cart/a passing, other/x passing")
	for _, b := range []*blocking{inHealth, inCatalog, inList, inChecks} {
		got, meta, err := b.ask(nil)
		w.Must(err)
		b.known, b.index = got, meta.LastIndex
		b.still()
	}
	w.Delete("/services/cart/a") // the last one unregisters
	want("", "", "other", "other/x passing")
	register(w, "cart", "c", "10.2.0.9", 80, "")
	want("c 10.2.0.9:80 passing", "c 10.2.0.9:80", "cart, other", "cart/c passing, other/x passing")
	w.Delete("/services/cart") // the service vanishes
	want("", "", "other", "other/x passing")
	for _, b := range []*blocking{inHealth, inCatalog} {
		b.still()
	}
	w.Put("/svc/cart/member_1", `{"serviceEndpoint":{"host":"10.3.0.1","port":80},"additionalEndpoints":{},"status":"ALIVE"}`) // in another mount
	want("cart/member_1 10.3.0.1:80 passing", "cart/member_1 10.3.0.1:80", "cart, other", "other/x passing, cart/cart/member_1 passing")
	w.Delete("/services/other") // the mount has nothing left
	inList.until("cart")
	inChecks.until("cart/cart/member_1 passing")
}

// TestConsulWakes: the query is there before the change, and the change ends it, long before its
// wait does.
func TestConsulWakes(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	c := consulOf(w)
	register(w, "cart", "a", "10.2.0.7", 80, "")
	known := wantHealth(w, c, "cart", "a 10.2.0.7:80 passing")
	type result struct {
		health string
		index  uint64
		err    error
	}
	done := make(chan result, 1)
	go func() {
		got, meta, err := health(c, "cart")(&consul.QueryOptions{WaitIndex: known, WaitTime: 10 * time.Minute})
		if err != nil {
			meta = &consul.QueryMeta{}
		}
		done <- result{got, meta.LastIndex, err}
	}()
	select {
	case r := <-done:
		t.Fatalf("the query does not wait: %+v", r)
	case <-time.After(time.Second): // a second in which nothing may happen
	}
	register(w, "cart", "b", "10.2.0.8", 80, "")
	select {
	case r := <-done:
		if r.err != nil || r.health != "a 10.2.0.7:80 passing, b 10.2.0.8:80 passing" || r.index <= known {
			t.Errorf("the query returned %+v, and the client had index %d", r, known)
		}
	case <-time.After(world.Patience):
		t.Error("the change does not end the query")
	}
}

// TestConsulReplicas: two magellans give the same index once both have seen the last write, so that a client
// may go from one to the other.
func TestConsulReplicas(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services", "serverset:/svc")
	replica := w.Replica()
	first, second := consulOf(w), consulOf(replica)
	for i := range 20 {
		register(w, fmt.Sprint("s", i%5), fmt.Sprint(i), "10.2.0.7", 1000+i, "")
		if i%3 == 2 {
			w.Delete(fmt.Sprintf("/services/s%d/%d", i%5, i))
		}
	}
	w.Delete("/services/s4")
	w.Put("/svc/s1/member_1", `{"serviceEndpoint":{"host":"10.3.0.1","port":80},"additionalEndpoints":{},"status":"ALIVE"}`)
	register(w, "s0", "last", "10.2.0.7", 80, "")
	// A question that is asked while changes come in may leave one replica ahead until the next change.
	w.Eventually("both replicas have all changes", func() error {
		var said []string
		for _, one := range []*world.World{w, replica} {
			rec := httptest.NewRecorder()
			one.Handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/sd/prometheus", nil))
			if cache := rec.Header().Get("X-Cache"); cache != "HIT" || !strings.Contains(rec.Body.String(), `"last"`) {
				return fmt.Errorf("%d %s %s", rec.Code, cache, rec.Body)
			}
			said = append(said, rec.Body.String())
		}
		return equal(said[:1], said[1:])
	})
	type question func(*consul.Client) asking
	of := func(service string) question {
		return func(c *consul.Client) asking {
			return health(c, service)
		}
	}
	for name, ask := range map[string]question{"s0": of("s0"), "s1": of("s1"), "s3": of("s3"), "s4": of("s4"), "none": of("none"), "services": names, "checks": checks} {
		w.Eventually("both replicas' index of "+name, func() error {
			one, metaOne, err := ask(first)(nil)
			if err != nil {
				return err
			}
			other, metaOther, err := ask(second)(nil)
			switch {
			case err != nil:
				return err
			case one != other || metaOne.LastIndex != metaOther.LastIndex:
				return fmt.Errorf("%s of %d, and %s of %d", one, metaOne.LastIndex, other, metaOther.LastIndex)
			case name == "s0" && !strings.Contains(one, "last "):
				return fmt.Errorf("the last write is not there yet: %s", one)
			}
			return nil
		})
	}
}
