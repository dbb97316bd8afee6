package gozk_test

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	zookeeper "github.com/Shopify/gozk"

	"magellan/internal/zk/zktest"
)

// requests are all functions that ask a server, each with the same path. They return
// what the caller gets beside the error.
var requests = []struct {
	op  string
	ask func(conn *zookeeper.Conn, path string) (got []any, err error)
}{
	{"get", func(c *zookeeper.Conn, p string) ([]any, error) { d, s, err := c.Get(p); return []any{d, s}, err }},
	{"getw", func(c *zookeeper.Conn, p string) ([]any, error) {
		d, s, w, err := c.GetW(p)
		return []any{d, s, w}, err
	}},
	{"children", func(c *zookeeper.Conn, p string) ([]any, error) { n, s, err := c.Children(p); return []any{n, s}, err }},
	{"childrenw", func(c *zookeeper.Conn, p string) ([]any, error) {
		n, s, w, err := c.ChildrenW(p)
		return []any{n, s, w}, err
	}},
	{"exists", func(c *zookeeper.Conn, p string) ([]any, error) { s, err := c.Exists(p); return []any{s}, err }},
	{"existsw", func(c *zookeeper.Conn, p string) ([]any, error) { s, w, err := c.ExistsW(p); return []any{s, w}, err }},
	{"create", func(c *zookeeper.Conn, p string) ([]any, error) {
		n, err := c.Create(p, "", 0, everybody)
		return []any{n}, err
	}},
	{"set", func(c *zookeeper.Conn, p string) ([]any, error) { s, err := c.Set(p, "", -1); return []any{s}, err }},
	{"delete", func(c *zookeeper.Conn, p string) ([]any, error) { return nil, c.Delete(p, -1) }},
	{"acl", func(c *zookeeper.Conn, p string) ([]any, error) { a, s, err := c.ACL(p); return []any{a, s}, err }},
	{"setacl", func(c *zookeeper.Conn, p string) ([]any, error) { return nil, c.SetACL(p, everybody, -1) }},
	{"retrychange", func(c *zookeeper.Conn, p string) ([]any, error) {
		return nil, c.RetryChange(p, 0, everybody, func(string, *zookeeper.Stat) (string, error) { return "x", nil })
	}},
}

// wantAll fails unless all requests have the error, and return nothing beside it.
// RetryChange's is that of its first request.
func wantAll(t *testing.T, conn *zookeeper.Conn, path string, code zookeeper.ErrorCode) {
	t.Helper()
	for _, r := range requests {
		got, err := r.ask(conn, path)
		op := r.op
		if op == "retrychange" {
			op = "get"
		}
		wantError(t, err, code, op, path)
		for _, v := range got {
			if !reflect.ValueOf(v).IsZero() {
				t.Errorf("%s: %#v beside an error", r.op, v)
			}
		}
	}
}

func TestBadPaths(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	for _, path := range []string{"", "relative", "/slash/", "//", "/a//b", "/a/../b", "/.", "/a\x00b", "/\x01", "/\xff"} {
		wantAll(t, conn, path, zookeeper.ZBADARGUMENTS)
	}
	if n := zookeeper.CountPendingWatches(); n < 1 {
		t.Errorf("%d watches", n)
	}
	// The session has not suffered.
	if _, err := conn.Exists("/"); err != nil {
		t.Error(err)
	}
}

func TestAbsentNode(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	for _, r := range requests {
		_, err := r.ask(conn, "/none/at/all")
		switch r.op {
		case "exists", "existsw":
			must(t, err)
		case "retrychange":
			wantError(t, err, zookeeper.ZNONODE, "create", "/none/at/all") // the parent
		default:
			wantError(t, err, zookeeper.ZNONODE, r.op, "/none/at/all")
		}
	}
}

// What was written is read again, byte for byte, whatever its length.
func TestData(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, zktest.Start(t, zktest.WithJava("-Djute.maxbuffer=8388608")).Addr(), sessionTimeout)
	for i, value := range []string{"", "x", "a\x00b\xff", strings.Repeat("0123456789abcdef", 1<<16), strings.Repeat("long", 1<<20)} {
		path := fmt.Sprintf("/data%d", i)
		created, err := conn.Create(path, value, 0, everybody)
		if err != nil || created != path {
			t.Fatalf("%q, %v", created, err)
		}
		got, stat, err := conn.Get(path)
		if err != nil || got != value || stat.DataLength() != len(value) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(value), err)
		}
		if got, _, _, err := conn.GetW(path); err != nil || got != value {
			t.Fatalf("%d bytes of %d with a watch, %v", len(got), len(value), err)
		}
	}
}

// A request that is too long for the server costs the connection, and not the session.
func TestTooLong(t *testing.T) {
	t.Parallel()
	conn, session := dial(t, shared(t).Addr(), sessionTimeout)
	create(t, conn, "/a", "")
	id := conn.ClientId()
	_, err := conn.Set("/a", strings.Repeat("x", 2<<20), -1)
	wantError(t, err, zookeeper.ZCONNECTIONLOSS, "set", "/a")
	wantState(t, session, zookeeper.STATE_CONNECTING)
	wantState(t, session, zookeeper.STATE_CONNECTED)
	if !reflect.DeepEqual(conn.ClientId(), id) {
		t.Error("it is another session")
	}
}

func TestStat(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	created := time.Now()
	create(t, conn, "/a", "one")
	create(t, conn, "/a/b", "")
	must(t, conn.SetACL("/a", everybody, 0))
	time.Sleep(2 * time.Millisecond) // times are to the millisecond
	changed, err := conn.Set("/a", "three", 0)
	must(t, err)
	stat, err := conn.Exists("/a")
	must(t, err)
	if !reflect.DeepEqual(stat, changed) {
		t.Errorf("Set says %+v, Exists %+v", changed, stat)
	}
	if stat.Version() != 1 || stat.CVersion() != 1 || stat.AVersion() != 1 || stat.DataLength() != 5 || stat.NumChildren() != 1 || stat.EphemeralOwner() != 0 {
		t.Errorf("%+v", stat)
	}
	if !(0 < stat.Czxid() && stat.Czxid() < stat.Pzxid() && stat.Pzxid() < stat.Mzxid()) {
		t.Errorf("created at %d, a child at %d, changed at %d", stat.Czxid(), stat.Pzxid(), stat.Mzxid())
	}
	if !stat.MTime().After(stat.CTime()) || stat.CTime().Before(created.Truncate(time.Millisecond)) || stat.MTime().After(time.Now()) || stat.CTime().Location() != time.Local {
		t.Errorf("created at %v, changed at %v, now it is %v", stat.CTime(), stat.MTime(), time.Now())
	}
	_, err = conn.Create("/mine", "", zookeeper.EPHEMERAL, everybody)
	must(t, err)
	if _, stat, err := conn.Get("/mine"); err != nil || stat.EphemeralOwner() == 0 {
		t.Errorf("%+v, %v", stat, err)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	s := shared(t)
	conn, _ := dial(t, s.Addr(), sessionTimeout)
	for flags, want := range map[int]string{0: "^/c0-$", zookeeper.EPHEMERAL: "^/c1-$", zookeeper.SEQUENCE: `^/c2-\d{10}$`,
		zookeeper.EPHEMERAL | zookeeper.SEQUENCE: `^/c3-\d{10}$`} {
		path, err := conn.Create(fmt.Sprintf("/c%d-", flags), "", flags, everybody)
		must(t, err)
		stat, err := conn.Exists(path)
		if err != nil || stat == nil || !regexp.MustCompile(want).MatchString(path) || (stat.EphemeralOwner() != 0) != (flags&zookeeper.EPHEMERAL != 0) {
			t.Errorf("flags %d: %q, %+v, %v", flags, path, stat, err)
		}
	}
	_, err := conn.Create("/c1-", "", 0, everybody)
	wantError(t, err, zookeeper.ZNODEEXISTS, "create", "/c1-")
	_, err = conn.Create("/c1-/below", "", 0, everybody)
	wantError(t, err, zookeeper.ZNOCHILDRENFOREPHEMERALS, "create", "/c1-/below")
	_, err = conn.Create("/c", "", 8, everybody)
	wantError(t, err, zookeeper.ZBADARGUMENTS, "create", "/c")

	must(t, conn.Close())
	other, _ := dial(t, s.Addr(), sessionTimeout)
	names, stat, err := other.Children("/")
	if slices.Sort(names); err != nil || len(names) != 2 || names[0] != "c0-" || stat.NumChildren() != 2 {
		t.Errorf("after Close there are %q, %v", names, err)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	create(t, conn, "/a", "")
	create(t, conn, "/a/b", "")
	_, err := conn.Set("/a", "x", 5)
	wantError(t, err, zookeeper.ZBADVERSION, "set", "/a")
	wantError(t, conn.SetACL("/a", everybody, 5), zookeeper.ZBADVERSION, "setacl", "/a")
	wantError(t, conn.Delete("/a/b", 5), zookeeper.ZBADVERSION, "delete", "/a/b")
	wantError(t, conn.Delete("/a", -1), zookeeper.ZNOTEMPTY, "delete", "/a")
	must(t, conn.Delete("/a/b", 0))
	must(t, conn.Delete("/a", -1))
	if names, stat, err := conn.Children("/"); err != nil || names != nil || stat.NumChildren() != 0 {
		t.Errorf("of a node without children: %#v, %+v, %v", names, stat, err)
	}
}

func TestACL(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	for _, none := range [][]zookeeper.ACL{nil, {}, {{Perms: 31, Scheme: "unheard of", Id: "x"}}, {{Perms: 31, Id: "anyone"}}, zookeeper.AuthACL(31)} {
		_, err := conn.Create("/a", "", 0, none)
		wantError(t, err, zookeeper.ZINVALIDACL, "create", "/a")
	}
	create(t, conn, "/a", "secret")
	wantError(t, conn.SetACL("/a", nil, -1), zookeeper.ZINVALIDACL, "setacl", "/a")
	// Bits that stand for nothing do no harm.
	must(t, conn.SetACL("/a", zookeeper.WorldACL(0xffffff00|zookeeper.PERM_ALL), -1))
	if acl, stat, err := conn.ACL("/a"); err != nil || !reflect.DeepEqual(acl, everybody) || stat.AVersion() != 1 {
		t.Errorf("%+v, %+v, %v", acl, stat, err)
	}
	digest := []zookeeper.ACL{
		{Perms: zookeeper.PERM_READ, Scheme: "digest", Id: "joe:enQcM3mIEHQx7IrPNStYBc0qfs8="},
		{Perms: zookeeper.PERM_ADMIN, Scheme: "world", Id: "anyone"},
	}
	must(t, conn.SetACL("/a", digest, -1))
	if acl, _, err := conn.ACL("/a"); err != nil || len(acl) != 2 {
		t.Errorf("%+v, %v", acl, err)
	}
	_, _, err := conn.Get("/a")
	wantError(t, err, zookeeper.ZNOAUTH, "get", "/a")
	must(t, conn.AddAuth("digest", "joe:passwd"))
	if data, _, err := conn.Get("/a"); err != nil || data != "secret" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := conn.Create("/joe", "", 0, zookeeper.AuthACL(zookeeper.PERM_ALL)); err != nil {
		t.Error(err)
	}
}

// Each of many clients adds to a number, and none overwrites what another has added.
func TestRetryChange(t *testing.T) {
	t.Parallel()
	s := shared(t)
	const clients, each = 4, 10
	var adding sync.WaitGroup
	for range clients {
		conn, _ := dial(t, s.Addr(), sessionTimeout)
		adding.Go(func() {
			for range each {
				err := conn.RetryChange("/n", 0, everybody, func(old string, stat *zookeeper.Stat) (string, error) {
					if (old == "") != (stat == nil) {
						return "", fmt.Errorf("%q, %+v", old, stat)
					}
					return old + "x", nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	adding.Wait()
	conn, _ := dial(t, s.Addr(), sessionTimeout)
	data, stat, err := conn.Get("/n")
	if err != nil || len(data) != clients*each {
		t.Errorf("%d additions, %v", len(data), err)
	}
	// The same value is not written again.
	must(t, conn.RetryChange("/n", 0, nil, func(old string, _ *zookeeper.Stat) (string, error) { return old, nil }))
	if now, err := conn.Exists("/n"); err != nil || now.Version() != stat.Version() {
		t.Errorf("%+v, %v", now, err)
	}
	// The node may go while it is changed, and then it is made.
	tries := 0
	err = conn.RetryChange("/n", 0, everybody, func(_ string, stat *zookeeper.Stat) (string, error) {
		if tries++; stat != nil {
			return "new", conn.Delete("/n", -1)
		}
		return "made", nil
	})
	if data, _, e := conn.Get("/n"); err != nil || e != nil || data != "made" || tries != 2 {
		t.Errorf("%q after %d tries, %v, %v", data, tries, err, e)
	}
	mine := errors.New("the caller's own")
	if err := conn.RetryChange("/other", 0, everybody, func(string, *zookeeper.Stat) (string, error) { return "", mine }); err != mine {
		t.Errorf("%v", err)
	}
	if stat, err := conn.Exists("/other"); stat != nil || err != nil {
		t.Errorf("it was made: %+v, %v", stat, err)
	}
}

// A path below a server's list is the root, for requests, events and errors.
func TestChroot(t *testing.T) {
	t.Parallel()
	s := shared(t)
	whole, _ := dial(t, s.Addr(), sessionTimeout)
	create(t, whole, "/app", "")
	conn, _ := dial(t, s.Addr()+"/app", sessionTimeout)
	path, err := conn.Create("/n-", "", zookeeper.SEQUENCE, everybody)
	if err != nil || path != "/n-0000000000" {
		t.Fatalf("%q, %v", path, err)
	}
	_, _, watch, err := conn.GetW(path)
	must(t, err)
	set(t, whole, "/app"+path, "x")
	if e := next(t, watch); e.Path != path || e.Type != zookeeper.EVENT_CHANGED {
		t.Errorf("%+v", e)
	}
	wantClosed(t, watch)
	_, _, err = conn.Get("/none")
	wantError(t, err, zookeeper.ZNONODE, "get", "/none")
	if names, _, err := conn.Children("/"); err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
}
