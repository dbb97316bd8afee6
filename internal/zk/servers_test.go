package zk_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

func TestParseServers(t *testing.T) {
	for list, want := range map[string]string{
		"a:1":                            "a:1",
		"a:1,b:2":                        "a:1 b:2",
		"a, b:2 ,\tc:3":                  "a:2181 b:2 c:3",
		"a:1,,b:2,":                      "a:1 b:2",
		"a:1,b:2,a:1":                    "a:1 b:2",
		"a:02181":                        "a:2181", // libzookeeper would take it for octal
		"[::1]:1":                        "[::1]:1",
		"[::1]":                          "[::1]:2181",
		"10.0.0.1:1,[2001:db8::1]:2":     "10.0.0.1:1 [2001:db8::1]:2",
		"[fe80::1%eth0]:2181,b":          "[fe80::1%eth0]:2181 b:2181",
		"a:1/":                           "a:1",
		"a:1,b:2/prod":                   "a:1 b:2 /prod",
		"a/prod/x":                       "a:2181 /prod/x",
		"[::1]/prod":                     "[::1]:2181 /prod",
		"a:1,b:2/prod,":                  "a:1 b:2 /prod",
		"zk_1.example.org:1,xn--bcher:2": "zk_1.example.org:1 xn--bcher:2",
	} {
		servers, chroot, err := zk.ParseServers(list)
		if got := strings.TrimSpace(strings.Join(servers, " ") + " " + chroot); err != nil || got != want {
			t.Errorf("%q: %q, %v", list, got, err)
		}
		// As the command line has it, already split.
		if again, path, err := zk.ParseServers(strings.Split(list, ",")...); err != nil || !slices.Equal(again, servers) || path != chroot {
			t.Errorf("%q, split: %q, %q, %v", list, again, path, err)
		}
	}
	for list, say := range map[string]string{
		"":                   "no server is given",
		" , ,":               "no server is given",
		":2181":              `":2181" has no host: write HOST:PORT`,
		"a:":                 `the port "" is no number from 1 to 65535`,
		"a:0":                `the port "0"`,
		"a:65536":            `the port "65536"`,
		"a:x":                `the port "x"`,
		"a:+1":               `the port "+1"`,
		"::1:2181":           "an IPv6 address stands in brackets: write [::1]:2181",
		"2001:db8::1":        "an IPv6 address stands in brackets",
		"[::1":               "the bracket is not closed",
		"[::1]2181":          "behind the bracket only a port can follow: write [::1]:2181",
		"[127.0.0.1]:1":      "is no IPv6 address",
		"[host]:1":           "is no IPv6 address",
		"a:1 b:2":            "more than one colon",
		"a b":                "between servers stands a comma",
		"a:1/prod,b:2":       "stands behind the last one: write HOST:PORT,HOST:PORT/PATH",
		"a:1/prod,b:2/prod":  "stands behind the last one",
		"a:1/prod/":          `the chroot "/prod/": the path has an empty name, or a slash at its end`,
		"a:1//prod":          "the chroot",
		"a:1/../x":           "the chroot",
		"zk://a:1,b:2/mesos": "leave the scheme away",
		"a\x00:1":            "cannot stand in a host's name",
	} {
		_, _, err := zk.ParseServers(list)
		if !errors.Is(err, zk.ErrBadArguments) || !strings.Contains(err.Error(), say) || strings.Contains(err.Error(), "nil") {
			t.Errorf("%q: %v", list, err)
		}
		if _, err := zk.Open(zk.Config{Servers: []string{list}}); !errors.Is(err, zk.ErrBadArguments) {
			t.Errorf("Open of %q: %v", list, err)
		}
	}
}

// FuzzParseServers: what is accepted is read again as the same.
func FuzzParseServers(f *testing.F) {
	for _, s := range []string{"a:1,b:2/prod", "[::1]:2181", "[fe80::1%e]:1", "a,,", ":", "[", "a:1/b/", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		servers, chroot, err := zk.ParseServers(list)
		if err != nil {
			if !errors.Is(err, zk.ErrBadArguments) {
				t.Fatal(err)
			}
			return
		}
		again, path, err := zk.ParseServers(strings.Join(servers, ",") + chroot)
		if err != nil || !slices.Equal(again, servers) || path != chroot || len(servers) == 0 {
			t.Fatalf("%q: %q, %q and then %q, %q, %v", list, servers, chroot, again, path, err)
		}
	})
}

// An IPv6 address, alone and beside others: none is dropped.
func TestIPv6(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6:", err)
	} else {
		l.Close()
	}
	six := proxyAt(t, "[::1]:0", s.Addr())
	_, port, err := net.SplitHostPort(six.Listen)
	if err != nil {
		t.Fatal(err)
	}
	address := "[::1]:" + port
	c := open(t, zk.Config{Servers: []string{address}})
	if got := c.Servers(); !slices.Equal(got, []string{address}) {
		t.Errorf("servers %q", got)
	}
	create(t, c, "/a", nil)
	if _, err := c.Exists(testContext(t), "/a"); err != nil {
		t.Error(err)
	}
	// In a mixed list it is used once the other is gone.
	four := through(t, s)
	mixed := open(t, zk.Config{Servers: []string{four.Listen, address}})
	four.Stop()
	eventually(t, "the other one is used", func() bool { _, err := mixed.Exists(testContext(t), "/"); return err == nil })
}

// With a chroot all paths are below it, in both directions.
func TestChroot(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	all := open(t, zk.Config{}, s)
	create(t, all, "/prod", nil)
	p := through(t, s)
	var rec recorder
	c := open(t, rec.into(zk.Config{Servers: []string{p.Listen + "/prod/app"}, SessionTimeout: 30 * time.Second}))

	// It does not exist yet. The root below it is the znode itself.
	if _, err := c.Exists(ctx, "/"); !errors.Is(err, zk.ErrNoNode) {
		t.Errorf("the root: %v", err)
	}
	if path, _, err := c.Create(ctx, "/", nil, zk.CreateOptions{}); err != nil || path != "/" {
		t.Errorf("created %q, %v", path, err)
	}
	if path, st, err := c.Create(ctx, "/a", []byte("x"), zk.CreateOptions{}); err != nil || path != "/a" || st.Czxid == 0 {
		t.Errorf("created %q %+v, %v", path, st, err)
	}
	if path, _, err := c.Create(ctx, "/a/n-", nil, zk.CreateOptions{Mode: zk.PersistentSequential}); err != nil || path != "/a/n-0000000000" {
		t.Errorf("created %q, %v", path, err)
	}
	if data, _, err := all.Get(ctx, "/prod/app/a"); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	if names, _, err := c.Children(ctx, "/"); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("%q, %v", names, err)
	}
	results, err := c.Multi(ctx, zk.CheckOp("/a", zk.AnyVersion), zk.CreateOp("/b", nil, zk.CreateOptions{}), zk.SetOp("/b", []byte("y"), 0), zk.DeleteOp("/a/n-0000000000", zk.AnyVersion))
	if err != nil || results[1].Path != "/b" {
		t.Errorf("%+v, %v", results, err)
	}
	var e *zk.Error
	if _, err := c.Multi(ctx, zk.CheckOp("/none", 0)); !errors.As(err, &e) || e.Path != "/none" || e.Code != zk.ErrNoNode {
		t.Errorf("%v", err)
	}
	if _, err := c.Set(ctx, "/none", nil, 0); !errors.As(err, &e) || e.Path != "/none" {
		t.Errorf("%v", err)
	}
	readable := []zk.ACL{{Perms: zk.PermRead, Scheme: "world", ID: "anyone"}}
	if err := c.SetACL(ctx, "/b", readable, zk.AnyVersion); err != nil {
		t.Error(err)
	}
	if acl, _, err := all.GetACL(ctx, "/prod/app/b"); err != nil || !slices.Equal(acl, readable) {
		t.Errorf("%v, %v", acl, err)
	}

	// Watches, before and after a cut, and their removal.
	for range 2 {
		rec.reset()
		if _, _, err := c.GetW(ctx, "/a"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ChildrenW(ctx, "/"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ExistsW(ctx, "/later"); !errors.Is(err, zk.ErrNoNode) {
			t.Fatal(err)
		}
		p.Stop()
		eventually(t, "disconnected", func() bool { return c.State() == zk.Disconnected })
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		set(t, all, "/prod/app/a", "z")
		create(t, all, "/prod/app/later", nil)
		eventually(t, "three events", func() bool {
			syncNow(t, c)
			paths := map[string]bool{}
			for _, e := range rec.fired() {
				paths[e.Path] = true
			}
			for path := range paths {
				if path != "/a" && path != "/" && path != "/later" {
					t.Fatalf("an event at %q", path)
				}
			}
			return len(paths) == 3
		})
		if err := c.Delete(ctx, "/later", zk.AnyVersion); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.GetW(ctx, "/a"); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveWatch(ctx, "/a", zk.WatchData); err != nil {
		t.Error(err)
	}

	if data, _, err := c.Get(ctx, "/a"); err != nil || string(data) != "z" {
		t.Errorf("%q, %v", data, err)
	}
	// A request is refused before the server would cut the connection, chroot included.
	small := open(t, zk.Config{Servers: []string{s.Addr() + "/prod/app"}, MaxRequest: 100})
	long := make([]byte, 100-8-4-len("/prod/app/a")-4-4)
	if _, err := small.Set(ctx, "/a", long, zk.AnyVersion); err != nil {
		t.Error(err)
	}
	if _, err := small.Set(ctx, "/a", append(long, 'x'), zk.AnyVersion); !errors.Is(err, zk.ErrTooLarge) {
		t.Errorf("a byte too many: %v", err)
	}
}
