package services_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/services"
	"magellan/internal/services/servicestest"
)

// indexed asks a registry for a service and for the list of all, and returns what they say.
func indexed(t *testing.T, r *services.Registry, name string) (service, list services.Index, said, listed string) {
	t.Helper()
	ctx := context.Background()
	answer, service, basis, err := r.IndexedService(ctx, name, discovery.ReadOptions{})
	if err != nil && !errors.Is(err, discovery.ErrNotFound) {
		t.Fatal(err)
	}
	said = told(answer, basis, err)
	all, list, _, err := r.IndexedServices(ctx, discovery.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		for _, s := range m.Services {
			listed += fmt.Sprint(" ", m.Path, " ", s.Name, " ", len(s.Members))
		}
	}
	return service, list, said, listed
}

// TestIndex: whatever is written and deleted, a later answer that differs has a greater index, none
// has a smaller one, and two registries that see the same have the same.
func TestIndex(t *testing.T) {
	mounts := []string{"curator:/a", "serverset:/b"}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		one, two := servicestest.New(mounts...), servicestest.New(mounts...)
		first, second := one.Registry(0), two.Registry(0)
		type state struct {
			service, list services.Index
			said, listed  string
		}
		last := map[string]state{}
		there := map[string]bool{}
		for step := range 60 {
			mount := []string{"/a", "/b"}[random.IntN(2)]
			path := fmt.Sprintf("%s/%s/%d", mount, []string{"x", "y", "y/deep", "."}[random.IntN(4)], random.IntN(3))
			path = strings.Replace(path, "/./", "/", 1) // an instance of the mount's own service
			for _, m := range []*servicestest.Mirror{one, two} {
				switch n := step % 7; {
				case n < 4:
					data := record(fmt.Sprint("h", step), 80)
					if mount == "/b" {
						data = fmt.Sprintf(`{"serviceEndpoint":{"host":"h%d","port":80},"additionalEndpoints":{},"status":"ALIVE"}`, step)
					}
					m.Set(path, data)
					there[path] = true
				case n < 6 && there[path]:
					m.Delete(path)
				case n < 6:
				case step%14 == 6:
					m.DeleteDirectory(mount)
				default:
					m.DeleteDirectory(mount + "/y")
				}
			}
			if step%7 >= 4 {
				clear(there)
			}
			for _, name := range []string{"x", "y", "y/deep", "never", "a", "b"} {
				var s state
				s.service, s.list, s.said, s.listed = indexed(t, first, name)
				was, asked := last[name]
				switch {
				case s.service == 0 || s.list == 0:
					t.Fatalf("seed %d, step %d: %s has the index %d, the list %d", seed, step, name, s.service, s.list)
				case asked && (s.service < was.service || s.list < was.list):
					t.Fatalf("seed %d, step %d: %s went back from %+v to %+v", seed, step, name, was, s)
				case asked && (s.said != was.said && s.service == was.service || s.listed != was.listed && s.list == was.list):
					t.Fatalf("seed %d, step %d: %s: another answer under the index of the one before: %+v and %+v", seed, step, name, was, s)
				}
				service, list, _, _ := indexed(t, second, name)
				if service != s.service || list != s.list {
					t.Fatalf("seed %d, step %d: %s has the indexes %d and %d, of another replica %d and %d", seed, step, name, s.service, s.list, service, list)
				}
				last[name] = s
			}
		}
	}
}

// TestIndexWithoutTransaction: what changes an answer without a newer transaction raises its index.
func TestIndexWithoutTransaction(t *testing.T) {
	for name, dir := range map[string]string{"cart": "/a/cart", "a": "/a"} { // the mount's own service, too
		t.Run(name, func(t *testing.T) { indexWithoutTransaction(t, name, dir) })
	}
}

func indexWithoutTransaction(t *testing.T, name, dir string) {
	m := servicestest.New("curator:/a")
	r := m.Registry(time.Minute)
	m.Set(dir+"/1", record("h1", 80))
	m.Set(dir+"/2", record("h2", 80))
	was, list, _, _ := indexed(t, r, name)
	higher := func(what string) {
		t.Helper()
		is, now, said, _ := indexed(t, r, name)
		if is <= was || now <= list {
			t.Errorf("%s: the index goes from %d to %d, the list's from %d to %d: %s", what, was, is, list, now, said)
		}
		if is>>8 != was>>8 {
			t.Errorf("%s: the index is of another transaction: %d, %d", what, was, is)
		}
		was, list = is, now
	}
	held := discovery.Doubt{Name: "1", Reason: "no longer parses", Held: true, Since: time.Now()}
	m.Doubt(dir, held)
	higher("a record does not parse any more")
	again, _, _, _ := indexed(t, r, name)
	if again != was {
		t.Errorf("asked again: %d, then %d", was, again)
	}
	held.Since = time.Now().Add(-time.Hour)
	m.Doubt(dir, held)
	higher("its last good value is too old")
	m.Doubt(dir)
	higher("it parses again")
	m.Set(dir+"/1", record("h1", 80))
	if is, _, _, _ := indexed(t, r, name); is <= was || is&0xff != 0 {
		t.Errorf("after a transaction the index is %#x, before it was %#x", is, was)
	}
}

// TestHeldBack: while something is being read, an answer with an index is held back, but not for long.
func TestHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := servicestest.New("curator:/a")
		r := m.Registry(0)
		m.Set("/a/cart/1", record("h1", 80))
		m.SetMeta("/a", 0, discovery.Updating)
		ask := func() (took time.Duration, said, listed string) {
			began := time.Now()
			_, _, said, listed = indexed(t, r, "cart")
			return time.Since(began), said, listed
		}
		if took, said, _ := ask(); took < 400*time.Millisecond || took > time.Second || said != "/a/h1 UPDATING" {
			t.Errorf("for two answers that do not become known: %q after %v", said, took)
		}
		time.AfterFunc(20*time.Millisecond, func() {
			m.Set("/a/cart/2", record("h2", 80))
			m.SetMeta("/a", 0, discovery.Hit)
		})
		if took, said, listed := ask(); took < 20*time.Millisecond || took >= 200*time.Millisecond || said != "/a/h1 /a/h2 HIT" || listed != " /a cart 2" {
			t.Errorf("for what becomes known after 20 ms: %q and %q after %v", said, listed, took)
		}
	})
}

// TestIndexesAtOnce: who asks at the same time as others, and as changes come in, never sees an index
// go back, and no two answers under one index.
func TestIndexesAtOnce(t *testing.T) {
	m := servicestest.New("curator:/a", "curator:/b")
	r := m.Registry(0)
	m.Set("/a/x/0", record("h", 1))
	m.Set("/b/x/0", record("h", 1))
	var mu sync.Mutex
	told, listsTold := map[services.Index]string{}, map[services.Index]string{}
	done := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			var last, lastList services.Index
			for over := false; !over; {
				select {
				case <-done:
					over = true
				default:
				}
				service, list, said, listed := indexed(t, r, "x")
				mu.Lock()
				if was, before := told[service]; before && was != said || service < last {
					t.Errorf("index %d after %d: %q and %q", service, last, was, said)
				}
				if was, before := listsTold[list]; before && was != listed || list < lastList {
					t.Errorf("list %d after %d: %q and %q", list, lastList, was, listed)
				}
				told[service], listsTold[list] = said, listed
				last, lastList = service, list
				mu.Unlock()
			}
		})
	}
	for i := range 300 {
		switch mount := []string{"/a", "/b"}[i%2]; {
		case i%50 == 49:
			m.DeleteDirectory(mount)
		case i%5 == 4:
			m.DeleteDirectory(mount + "/x")
		default:
			m.Set(mount+"/x/"+fmt.Sprint(i%3), record("h", i+1))
		}
	}
	close(done)
	asking.Wait()
}

// TestIndexBetweenReads: whatever changes between two of the reads that an answer is made of, the answer
// has an index of its own, and a later list is not an older one.
func TestIndexBetweenReads(t *testing.T) {
	ctx := context.Background()
	for at := range 30 {
		m := servicestest.New("curator:/a", "curator:/b")
		reads, change := 0, func() {}
		m.BeforeRead = func() {
			if reads++; reads == at {
				change()
			}
		}
		r := m.Registry(0)
		m.Set("/a/x/1", record("h1", 80))
		m.Set("/b/x/1", record("h2", 80))
		first, firstList, said, listed := indexed(t, r, "x")
		reads, change = 0, func() { m.Delete("/a/x/1") }
		second, secondList, saidThen, listedThen := indexed(t, r, "x")
		if first == second && said != saidThen || firstList == secondList && listed != listedThen {
			t.Errorf("a change before read %d: %d is %q, then %d is %q; %d is %q, then %d is %q", at, first, said, second, saidThen, firstList, listed, secondList, listedThen)
		}
		var other []services.MountAnswer
		reads, change = 0, func() {
			m.Set("/a/y/1", record("h3", 80))
			other, _, _, _ = r.IndexedServices(ctx, discovery.ReadOptions{})
		}
		later, _, _, err := r.IndexedServices(ctx, discovery.ReadOptions{})
		if err != nil || other != nil && len(later[0].Services) != len(other[0].Services) {
			t.Errorf("a list is told before read %d, and then an older one: %v, %v", at, later, err)
		}
	}
}
