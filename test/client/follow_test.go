package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/client"
	"magellan/test/world"
)

// TestFollowersUnderFaults: while the network to one or both of two magellans is cut again and
// again, no follower goes back in time, none is told that a service is gone which is there, and in
// the end each has what ZooKeeper holds.
func TestFollowersUnderFaults(t *testing.T) {
	const services, rounds, writes = 12, 12, 25
	w := world.New(t, "plain:/svc")
	port := make([]int, services) // of the only instance of each service
	name := func(i int) string { return fmt.Sprintf("team %d/s", i) }
	write := func(i int) {
		port[i]++
		w.Put("/svc/"+name(i)+"/a", fmt.Sprintf("10.0.0.1:%d", port[i]))
	}
	for i := range services {
		write(i)
	}
	ways := []*way{newWay(t, w.Serve()), newWay(t, w.Replica().Serve())}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	seen := make([][services]atomic.Int64, 2) // the last port that each follower had
	for kind, cfg := range []client.Config{{}, {LongPolls: true, Wait: time.Second}} {
		cfg.Servers = []string{ways[0].url(), ways[1].url()}
		c, err := client.New(cfg)
		w.Must(err)
		defer c.Close()
		for i := range services {
			f := c.Service(name(i), client.Filter{}).Follow()
			watching.Go(func() {
				for a, err := range f.Changes(ctx) {
					switch {
					case err != nil:
						t.Errorf("%s: %v", name(i), err)
					case len(a.Value.Instances) != 1:
						t.Errorf("%s: %s", name(i), a.Body)
					case int64(*a.Value.Instances[0].Port) <= seen[kind][i].Load():
						t.Errorf("%s: port %d after %d, %+v", name(i), *a.Value.Instances[0].Port, seen[kind][i].Load(), a.Meta)
					default:
						seen[kind][i].Store(int64(*a.Value.Instances[0].Port))
					}
				}
			})
		}
	}
	for range rounds {
		down := rand.IntN(len(ways) + 1) // both may be
		for i, way := range ways {
			way.set(i == down || down == len(ways))
		}
		for range writes {
			write(rand.IntN(services))
			time.Sleep(4 * time.Millisecond) // a round is longer than the pauses between attempts
		}
	}
	for _, way := range ways {
		way.set(false)
	}
	for kind := range seen {
		for i := range services {
			w.Eventually(fmt.Sprintf("kind %d of follower of %s", kind, name(i)), func() error {
				if got := seen[kind][i].Load(); got != int64(port[i]) {
					return fmt.Errorf("port %d, ZooKeeper has %d", got, port[i])
				}
				return nil
			})
		}
	}
}

// TestFollowComesAndGoes: a service that appears, empties, vanishes and comes again is followed from
// before it exists, with each way to follow.
func TestFollowComesAndGoes(t *testing.T) {
	w := world.New(t, "plain:/svc")
	address := "http://" + w.Serve()
	for _, polls := range []bool{false, true} {
		c, err := client.New(client.Config{Servers: []string{address}, LongPolls: polls})
		w.Must(err)
		f := c.Service("cart", client.Filter{}).Follow()
		up := c.Service("cart", client.Filter{Statuses: []string{"UP"}}).Follow()
		all := c.Services().Follow()
		want := func(what string, instances int, absent bool) {
			w.Eventually(what, func() error {
				for _, f := range []*client.Follower[client.Service]{f, up} {
					a, err := f.Last()
					if errors.Is(err, client.ErrNotFound) != absent || !absent && err != nil || len(a.Value.Instances) != instances || a.Doubt != nil {
						return fmt.Errorf("%s %v, doubt %v", a.Body, err, a.Doubt)
					}
				}
				a, err := all.Last()
				if listed := len(a.Value.Services) == 1; err != nil || listed == absent {
					return fmt.Errorf("%s %v", a.Body, err)
				}
				return nil
			})
		}
		want("no such service", 0, true)
		w.Put("/svc/cart/a", "10.0.0.1:80")
		want("one instance", 1, false)
		w.Put("/svc/cart/b", "10.0.0.2:80")
		want("two instances", 2, false)
		w.Delete("/svc/cart/a")
		w.Delete("/svc/cart/b")
		want("none", 0, false)
		w.Delete("/svc/cart")
		want("gone", 0, true)
		w.Put("/svc/cart/c", "10.0.0.3:80")
		want("again", 1, false)
		w.Delete("/svc/cart")
		want("gone again", 0, true)
		c.Close()
	}
}

// TestFollowWithoutZooKeeper: while ZooKeeper is away the last answer stays, with a doubt and an age
// that grows, and "not known" is never told as "not there".
func TestFollowWithoutZooKeeper(t *testing.T) {
	w := world.New(t, "plain:/svc")
	w.Put("/svc/cart/a", "10.0.0.1:80")
	c, err := client.New(client.Config{Servers: []string{"http://" + w.Serve()}, LongPolls: true, Wait: time.Second})
	w.Must(err)
	defer c.Close()
	f := c.Service("cart", client.Filter{}).Follow()
	first, err := f.Wait(t.Context())
	if err != nil || first.Doubt != nil {
		t.Fatalf("%+v %v", first, err)
	}
	w.Must(w.ZooKeeper.Kill())
	w.Eventually("the doubt", func() error {
		a, err := f.Last()
		if err != nil || len(a.Value.Instances) != 1 {
			t.Fatalf("%s %v", a.Body, err)
		}
		if a.Doubt == nil || a.Cache == client.Hit && a.Age() == 0 {
			return fmt.Errorf("%+v", a.Meta)
		}
		return nil
	})
	a, err := c.Service("cart", client.Filter{}).Get(t.Context())
	if err != nil || a.Cache != client.Stale {
		t.Errorf("%+v %v", a, err)
	}
	w.Must(w.ZooKeeper.Restart())
	w.Put("/svc/cart/b", "10.0.0.2:80")
	w.Eventually("the end of the doubt", func() error {
		a, err := f.Last()
		if err != nil || len(a.Value.Instances) != 2 || a.Doubt != nil {
			return fmt.Errorf("%s %v, doubt %v", a.Body, err, a.Doubt)
		}
		return nil
	})
}

// TestLookups: the questions that are asked once.
func TestLookups(t *testing.T) {
	w := world.New(t, "plain:/svc")
	w.Put("/svc/web/prod/cart/a", "[2001:db8::7]:80")
	w.Put("/svc/empty", "")
	c, err := client.New(client.Config{Servers: []string{"http://" + w.Serve()}})
	w.Must(err)
	defer c.Close()
	w.Eventually("the services", func() error {
		a, err := c.ServicesNamed([]string{"web/prod/cart", "none", "a\x00b"}).Get(t.Context())
		if err != nil {
			return err
		}
		r := a.Value.Results
		if len(r) != 3 || r[0].Status != "found" || r[1].Status != "not found" || r[2].Status != "invalid" || r[2].Detail == "" {
			return fmt.Errorf("%s", a.Body)
		}
		i := r[0].Instances[0]
		if address, ok := i.HostPort(); address != "[2001:db8::7]:80" || !ok || !i.Up() || i.Znode != "/svc/web/prod/cart/a" {
			return fmt.Errorf("%+v", i)
		}
		return nil
	})
	// This server serves neither shops nor znodes, and says so.
	var problem *client.Problem
	if _, err := c.Shop("42").Get(t.Context()); !errors.As(err, &problem) || problem.Status != 501 || errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
	f := c.Znode("/svc").Follow()
	if _, err := f.Wait(t.Context()); !errors.As(err, &problem) || problem.Status != 501 {
		t.Error(err)
	}
}
