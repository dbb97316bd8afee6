package services_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"magellan/internal/alloctest"
	"magellan/internal/discovery"
	"magellan/internal/services"
	"magellan/internal/services/servicestest"
)

func record(host string, port int) string {
	return fmt.Sprintf(`{"name":"x","id":"%s","address":"%s","port":%d}`, host, host, port)
}

// told is an answer in one line.
func told(a services.Answer, basis discovery.Basis, err error) string {
	if err != nil {
		return err.Error()
	}
	var all []string
	unreadable := 0
	for s := range a.All {
		for i := range s.Members {
			all = append(all, fmt.Sprint(s.Mount.Path, "/", s.Members[i].Main().Host))
		}
		unreadable += s.Unreadable
	}
	if unreadable > 0 {
		all = append(all, fmt.Sprint("unreadable ", unreadable))
	}
	return strings.Join(append(all, basis.Cache.String()), " ")
}

// TestService: what is answered about a service, in one mount and in two, with doubts and without.
func TestService(t *testing.T) {
	ctx := context.Background()
	m := servicestest.New("curator:/a", "curator:/b", "kafka:/k")
	r := m.Registry(time.Hour)
	want := func(name, mount, want string) {
		t.Helper()
		if got := told(r.Service(ctx, name, mount, discovery.ReadOptions{})); !strings.Contains(got, want) {
			t.Errorf("%s in %q: %s, want %s", name, mount, got, want)
		}
	}
	want("cart", "", "not found")
	want("cart", "/a", "not found")
	want("cart", "/c", "no such mount")
	want("", "", "invalid name")
	want("a//b", "", "invalid name")
	m.Set("/a/cart/2", record("h2", 80))
	m.Set("/a/cart/1", record("h1", 80))
	want("cart", "", "/a/h1 /a/h2 HIT")
	want("cart", "/a", "/a/h1 /a/h2 HIT")
	want("cart", "curator:/a", "/a/h1 /a/h2 HIT")
	want("cart", "nerve:/a", "no such mount")
	want("cart", "/b", "not found")
	m.Set("/b/cart/3", record("h3", 80))
	want("cart", "", "/a/h1 /a/h2 /b/h3 HIT")

	// Directories in directories: only the inner one is a service.
	m.Set("/a/web/prod/blog/1", record("h4", 80))
	want("web/prod/blog", "", "/a/h4 HIT")
	want("web/prod", "", "not found")
	want("web", "", "not found")

	// A service that was emptied is there, and one that is deleted is not.
	m.Delete("/a/web/prod/blog/1")
	want("web/prod/blog", "", "HIT")
	m.DeleteDirectory("/a/web")
	want("web/prod/blog", "", "not found")

	// The mount itself may be the service.
	want("k", "", "not found")
	m.Set("/k/brokers/ids/1", `{"host":"b1","port":9092}`)
	want("k", "", "/k/b1 HIT")

	// A record that does not parse is left out. If nothing else is left, there is no answer.
	m.Set("/a/cart/0", "{broken")
	want("cart", "/a", "/a/h1 /a/h2 unreadable 1 HIT")
	m.Set("/a/only/0", "{broken")
	want("only", "", "unavailable")
	if _, _, err := r.Service(ctx, "only", "", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnread) {
		t.Errorf("a service of which no record parses: %v", err)
	}

	// What is held in place of what ZooKeeper has is STALE, and left out once it is too old.
	m.Doubt("/a/cart", discovery.Doubt{Name: "1", Reason: "broken", Held: true, Since: time.Now().Add(-time.Minute), Zxid: 1})
	want("cart", "/a", "/a/h1 /a/h2 unreadable 1 STALE")
	m.Doubt("/a/cart", discovery.Doubt{Name: "1", Reason: "broken", Held: true, Since: time.Now().Add(-2 * time.Hour), Zxid: 1})
	want("cart", "/a", "/a/h2 unreadable 2 HIT")
	// It is not known which records there are.
	m.Doubt("/a/cart", discovery.Doubt{Reason: "may not be listed"})
	want("cart", "/a", "may not be listed")
	want("cart", "", "may not be listed") // although the other mount is known
	want("cart", "/b", "/b/h3 HIT")
	m.Doubt("/a/cart")

	m.SetMeta("/a", 2*time.Hour, discovery.Stale)
	want("cart", "/a", "answers older than 1h0m0s are not given")
	want("nothing", "", "answers older than 1h0m0s are not given") // that there is none is as old
	m.SetMeta("/a", 0, discovery.Hit)
	m.SetErr("/b", fmt.Errorf("%w: away", discovery.ErrUnavailable))
	want("nothing", "", "away")
	want("cart", "", "away")
}

// TestServices: the list has what each mount has, and whether it exists.
func TestServices(t *testing.T) {
	ctx := context.Background()
	m := servicestest.New("curator:/a", "serverset:/b")
	r := m.Registry(time.Hour)
	told := func(mount string) string {
		mounts, _, err := r.Services(ctx, mount, discovery.ReadOptions{})
		if err != nil {
			return err.Error()
		}
		var all []string
		for _, one := range mounts {
			all = append(all, fmt.Sprint(one.Mount, one.Exists))
			for _, s := range one.Services {
				if s.Unknown != nil {
					all = append(all, fmt.Sprint(s.Name, "=?"))
					continue
				}
				all = append(all, fmt.Sprintf("%s=%d/%d", s.Name, len(s.Members), s.Up))
			}
		}
		return strings.Join(all, " ")
	}
	want := func(mount, want string) {
		t.Helper()
		if got := told(mount); !strings.Contains(got, want) {
			t.Errorf("services of %q: %s, want %s", mount, got, want)
		}
	}
	want("", "curator:/a false serverset:/b false")
	m.Set("/a/cart/1", record("h1", 80))
	m.Set("/a/cart/2", `{"id":"2","address":"h2","port":80,"enabled":false}`)
	m.Set("/a/blog/1", record("h1", 80))
	m.Set("/b/role/env/job/member_1", `{"serviceEndpoint":{"host":"h","port":1},"status":"DEAD"}`)
	want("", "curator:/a true blog=1/1 cart=2/1 serverset:/b true role/env/job=1/0")
	want("/b", "serverset:/b true role/env/job=1/0")
	want("/c", "no such mount")
	m.Set("/a/cart/0", "{broken")
	want("/a", "blog=1/1 cart=2/1")
	m.Doubt("/a/cart", discovery.Doubt{Reason: "may not be listed"})
	want("/a", "blog=1/1 cart=?")
	m.Doubt("/a", discovery.Doubt{Reason: "may not be listed"})
	want("/a", "may not be listed")
	// Nobody knows what a child of the mount is that may not be read: perhaps an instance.
	m.Doubt("/a", discovery.Doubt{Name: "denied", Reason: "may not be read"})
	want("/a", "a=0/0 blog=1/1")
	m.DeleteDirectory("/b/role")
	want("/b", "serverset:/b true")
}

// TestUnknownRecords: a directory whose only records cannot be read is a service, of which nothing is
// known. If the guard has served a record for too long, there is no answer, rather than a shorter one.
func TestUnknownRecords(t *testing.T) {
	m := servicestest.New("curator:/a")
	r := m.Registry(time.Hour)
	get := func(name string) error {
		_, _, err := r.Service(context.Background(), name, "", discovery.ReadOptions{})
		return err
	}
	m.Set("/a/mixed/below/1", record("h1", 80))
	m.Set("/a/mixed/1", "{broken")
	if err := get("mixed"); !errors.Is(err, discovery.ErrUnread) {
		t.Errorf("a directory with a record that does not parse and another directory: %v", err)
	}
	m.Set("/a/x", "{broken")
	if err := get("a"); !errors.Is(err, discovery.ErrUnread) {
		t.Errorf("the mount's own service, of a record that does not parse: %v", err)
	}
	m.Set("/a/cart/1", record("h1", 80))
	m.Set("/a/cart/2", record("h2", 80))
	gone := discovery.Doubt{Name: "2", Reason: "it is gone", Held: true, Gone: true, Since: time.Now().Add(-time.Minute), Zxid: 1}
	m.Doubt("/a/cart", gone)
	if err := get("cart"); err != nil {
		t.Errorf("with a record that is gone: %v", err)
	}
	gone.Since = time.Now().Add(-2 * time.Hour)
	m.Doubt("/a/cart", gone)
	if err := get("cart"); !errors.Is(err, discovery.ErrTooOld) {
		t.Errorf("with a record that has been gone for too long: %v", err)
	}
}

// observer counts how often it is notified.
type observer int

func (o *observer) Changed(time.Time) { *o++ }

// TestChanges: who waits for a service, or for the list of all, is notified of what changes the answer,
// and of nothing else.
func TestChanges(t *testing.T) {
	m := servicestest.New("curator:/a")
	r := m.Registry(time.Hour)
	var cart, list observer
	defer r.Watch(services.ServiceTopic("cart"), &cart).Stop()
	defer r.Watch(services.ServicesTopic(), &list).Stop()
	for _, step := range []struct {
		what       string
		change     func()
		cart, list bool
	}{
		{"another service", func() { m.Set("/a/blog/1", record("h", 80)) }, false, true},
		{"the first instance", func() { m.Set("/a/cart/1", record("h1", 80)) }, true, true},
		{"another address", func() { m.Set("/a/cart/1", record("h2", 80)) }, true, false},
		{"a record that does not parse", func() { m.Set("/a/cart/2", "{broken") }, true, true},
		{"one that does", func() { m.Set("/a/cart/2", record("h3", 80)) }, true, true},
		{"one out of service", func() { m.Set("/a/cart/2", `{"id":"2","address":"h3","port":80,"enabled":false}`) }, true, true},
		{"a doubt", func() { m.Doubt("/a/cart", discovery.Doubt{Name: "1", Held: true, Since: time.Now()}) }, true, true},
		{"none any more", func() { m.Doubt("/a/cart") }, true, true},
		{"the end", func() { m.DeleteDirectory("/a/cart") }, true, true},
	} {
		cart, list = 0, 0
		step.change()
		if cart > 0 != step.cart || list > 0 != step.list {
			t.Errorf("%s: the service's observer was notified %d times, the list's %d times", step.what, cart, list)
		}
	}
}

// TestLookup: many services at once get the answers that each would get alone.
func TestLookup(t *testing.T) {
	m := servicestest.New("curator:/a")
	r := m.Registry(time.Hour)
	m.Set("/a/cart/1", record("h1", 80))
	names := []string{"cart", "none", "a//b", "cart"}
	for _, opt := range []discovery.ReadOptions{{}, {Fresh: true}} {
		results, meta, err := r.Lookup(context.Background(), names, "", opt)
		if err != nil || meta.Zxid == 0 {
			t.Fatal(meta, err)
		}
		for i, name := range names {
			answer, _, err := r.Service(context.Background(), name, "", opt)
			if got := results[i]; got.Answer.First != answer.First || (got.Err == nil) != (err == nil) {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
	if _, _, err := r.Lookup(context.Background(), names, "/c", discovery.ReadOptions{}); !errors.Is(err, services.ErrNoMount) {
		t.Error(err)
	}
}

// TestServiceAllocates nothing for a service that is in memory.
func TestServiceAllocates(t *testing.T) {
	m := servicestest.New("curator:/a", "curator:/b")
	r := m.Registry(time.Hour)
	m.Set("/a/cart/1", record("h1", 80))
	ctx := context.Background()
	if n := alloctest.Fewest(func() {
		if _, _, err := r.Service(ctx, "cart", "", discovery.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%d allocations", n)
	}
}

// TestParseMount: what --services takes.
func TestParseMount(t *testing.T) {
	for text, want := range map[string]string{
		"curator:/services":  "/services",
		"curator:/services/": "/services",
		"curator:/":          "/",
		"kafka:/":            "/brokers/ids",
		"kafka:/k":           "/k/brokers/ids",
		"curator":            "want LAYOUT:PATH",
		"spring:/services":   "there is no layout",
		"curator:services":   "does not start with a slash",
		"curator:/a//b":      "empty",
		"curator:/a/../b":    "relative",
	} {
		m, err := services.ParseMount(text)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = m.Root()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// valueOf makes the value of a service with one instance.
func valueOf[T any](t *testing.T, tree discovery.Tree[T, services.Service], zxid int64, data string) *services.Service {
	t.Helper()
	r, err := tree.Decode("cart", "1", []byte(data), discovery.Stat{Mzxid: zxid})
	if err != nil {
		t.Fatal(err)
	}
	return tree.Build("cart", discovery.Members[T]{Values: []T{r}, Zxid: zxid}, nil)
}

// TestChangesOfOneTransaction: the list of instances may be newer than an instance that is read after
// it. Then another value has the same transaction, and is a change all the same.
func TestChangesOfOneTransaction(t *testing.T) {
	mount, err := services.ParseMount("curator:/a")
	if err != nil {
		t.Fatal(err)
	}
	tree := mount.Tree()
	was, is := valueOf(t, tree, 7, record("h1", 80)), valueOf(t, tree, 7, record("h2", 80))
	if topics := tree.Changes("cart", was, is); !slices.Equal(topics, []discovery.Topic{services.InstancesTopic(), services.ServiceTopic("cart")}) {
		t.Errorf("another address publishes %v", topics)
	}
	tagged := valueOf(t, tree, 7, `{"id":"h1","address":"h1","port":80,"payload":{"tags":["blue"]}}`)
	if topics := tree.Changes("cart", was, tagged); !slices.Contains(topics, services.ServicesTopic()) {
		t.Errorf("other tags publish %v", topics)
	}
	if again := valueOf(t, tree, 8, record("h1", 80)); tree.Changes("cart", was, again) != nil {
		t.Error("the same data, written again, publish a change")
	}
	if topics := tree.Changes("cart", was, was); topics != nil {
		t.Errorf("the same value publishes %v", topics)
	}
}

// TestSameData: a value that says the same as the one before publishes nothing, and each part of an
// instance counts.
func TestSameData(t *testing.T) {
	mount, err := services.ParseMount("serverset:/a") // its instances are made anew for each value
	if err != nil {
		t.Fatal(err)
	}
	tree := mount.Tree()
	const data = `{"serviceEndpoint":{"host":"h1","port":80},"additionalEndpoints":{"admin":{"host":"h1","port":81}},"status":"ALIVE","shard":3}`
	was := valueOf(t, tree, 7, data)
	if topics := tree.Changes("cart", was, valueOf(t, tree, 8, data)); topics != nil {
		t.Errorf("the same data publish %v", topics)
	}
	for _, change := range [][2]string{{`"h1","port":80`, `"h2","port":80`}, {`81`, `82`}, {`"admin"`, `"other"`}, {`ALIVE`, `STARTING`}, {`ALIVE`, `WARNING`}, {`3}`, `4}`}} {
		other := strings.Replace(data, change[0], change[1], 1)
		if topics := tree.Changes("cart", was, valueOf(t, tree, 8, other)); !slices.Contains(topics, services.ServiceTopic("cart")) {
			t.Errorf("%s publishes %v", other, topics)
		}
	}
	curator, err := services.ParseMount("curator:/a")
	if err != nil {
		t.Fatal(err)
	}
	spring := func(metadata string) *services.Service {
		return valueOf(t, curator.Tree(), 7, `{"id":"1","address":"h1","port":80,"payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","metadata":{`+metadata+`}}}`)
	}
	for _, change := range [][2]string{{`"zone":"a"`, `"zone":"b"`}, {`"weight":"1"`, `"weight":"2"`}, {`"tags":"a"`, `"tags":"b"`}, {`"x":"1"`, `"x":"2"`}} {
		if topics := curator.Tree().Changes("cart", spring(change[0]), spring(change[1])); !slices.Contains(topics, services.ServiceTopic("cart")) {
			t.Errorf("%v publishes %v", change, topics)
		}
	}
}
