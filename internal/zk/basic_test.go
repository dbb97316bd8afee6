package zk_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

func TestBasics(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := open(t, zk.Config{}, zktest.Start(t))
	path, st, err := c.Create(ctx, "/a", []byte("hello"), zk.CreateOptions{})
	if err != nil || path != "/a" || st.DataLength != 5 || st.Czxid == 0 {
		t.Fatalf("Create: %q, %+v, %v", path, st, err)
	}
	data, got, err := c.Get(ctx, "/a")
	if err != nil || string(data) != "hello" || got != st {
		t.Fatalf("Get: %q, %+v, want %+v, %v", data, got, st, err)
	}
	if d := time.Since(got.Ctime); d < -time.Minute || d > time.Minute {
		t.Errorf("Ctime %v", got.Ctime)
	}
	if st, err = c.Set(ctx, "/a", []byte("bye"), st.Version); err != nil || st.Version != 1 {
		t.Fatalf("Set: %+v, %v", st, err)
	}
	if _, err := c.Set(ctx, "/a", nil, 0); !errors.Is(err, zk.ErrBadVersion) {
		t.Errorf("Set with an old version: %v", err)
	}
	if got, err := c.Exists(ctx, "/a"); err != nil || got != st {
		t.Errorf("Exists: %+v, want %+v, %v", got, st, err)
	}
	for _, name := range []string{"/a/x", "/a/y", "/a/é"} {
		if _, _, err := c.Create(ctx, name, nil, zk.CreateOptions{Mode: zk.Ephemeral}); err != nil {
			t.Fatal(err)
		}
	}
	names, st, err := c.Children(ctx, "/a")
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"x", "y", "é"}) || st.NumChildren != 3 || st.Cversion != 3 {
		t.Errorf("Children: %q, %+v, %v", names, st, err)
	}
	if names, _, err := c.Children(ctx, "/a/x"); err != nil || names == nil || len(names) != 0 {
		t.Errorf("Children of a leaf: %#v, %v", names, err)
	}
	if st, err := c.Exists(ctx, "/a/x"); err != nil || st.EphemeralOwner != c.SessionID() {
		t.Errorf("ephemeral: %+v, %v, session %#x", st, err, c.SessionID())
	}
	if err := c.Sync(ctx, "/"); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, "/a", zk.AnyVersion); !errors.Is(err, zk.ErrNotEmpty) {
		t.Errorf("Delete with children: %v", err)
	}
	if err := c.Delete(ctx, "/a/x", 7); !errors.Is(err, zk.ErrBadVersion) {
		t.Errorf("Delete with a wrong version: %v", err)
	}
	if err := c.Delete(ctx, "/a/x", 0); err != nil {
		t.Error(err)
	}
	_, err = c.Exists(ctx, "/a/x")
	var e *zk.Error
	if !errors.As(err, &e) || e.Op != "exists" || e.Path != "/a/x" || e.Code != zk.ErrNoNode {
		t.Errorf("Exists of nothing: %#v", err)
	}
	if _, _, err := c.Create(ctx, "/a", nil, zk.CreateOptions{}); !errors.Is(err, zk.ErrNodeExists) {
		t.Errorf("Create twice: %v", err)
	}
	if path, _, err := c.Create(ctx, "/a/", nil, zk.CreateOptions{Mode: zk.PersistentSequential}); err != nil || len(path) != len("/a/0000000000") {
		t.Errorf("Create sequential: %q, %v", path, err)
	}
}

// NULL and no bytes are two things, on the way there and back.
func TestNullAndEmpty(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := open(t, zk.Config{}, zktest.Start(t))
	for i, data := range [][]byte{nil, {}, {0}, bytes.Repeat([]byte("x"), 100_000)} {
		path := string([]byte{'/', 'a' + byte(i)})
		same := func(got []byte) bool { return bytes.Equal(got, data) && (got == nil) == (data == nil) }
		if _, _, err := c.Create(ctx, path, data, zk.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got, st, err := c.Get(ctx, path); err != nil || !same(got) || int(st.DataLength) != len(data) {
			t.Errorf("created with %d bytes (NULL %v): got %d (NULL %v), %v", len(data), data == nil, len(got), got == nil, err)
		}
		if _, err := c.Set(ctx, path, []byte("something else"), zk.AnyVersion); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Set(ctx, path, data, zk.AnyVersion); err != nil {
			t.Fatal(err)
		}
		if got, _, err := c.Get(ctx, path); err != nil || !same(got) {
			t.Errorf("set to %d bytes (NULL %v): got %d (NULL %v), %v", len(data), data == nil, len(got), got == nil, err)
		}
	}
}

func TestMulti(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := open(t, zk.Config{}, zktest.Start(t))
	create(t, c, "/a", []byte("1"))
	res, err := c.Multi(ctx,
		zk.CheckOp("/a", 0),
		zk.SetOp("/a", []byte("22"), 0),
		zk.CreateOp("/a/b", nil, zk.CreateOptions{}),
		zk.CreateOp("/a/s-", []byte{}, zk.CreateOptions{Mode: zk.PersistentSequential}),
		zk.DeleteOp("/a/b", 0))
	if err != nil {
		t.Fatal(err)
	}
	if res[1].Stat.DataLength != 2 || res[1].Stat.Version != 1 || res[2].Path != "/a/b" || res[3].Path != "/a/s-0000000001" {
		t.Errorf("results %+v", res)
	}
	if data, _, err := c.Get(ctx, "/a/s-0000000001"); err != nil || data == nil {
		t.Errorf("empty data of a multi: %v, %v", data, err)
	}
	res, err = c.Multi(ctx, zk.SetOp("/a", []byte("333"), 1), zk.DeleteOp("/nothing", 0), zk.DeleteOp("/a/b", 0))
	var e *zk.Error
	if !errors.As(err, &e) || e.Code != zk.ErrNoNode || e.Path != "/nothing" || e.Op != "delete" {
		t.Errorf("error %#v", err)
	}
	if len(res) != 3 || !errors.Is(res[0].Err, zk.ErrRolledBack) || !errors.Is(res[1].Err, zk.ErrNoNode) || !errors.Is(res[2].Err, zk.ErrRolledBack) {
		t.Errorf("results %+v", res)
	}
	if data, _, err := c.Get(ctx, "/a"); err != nil || string(data) != "22" {
		t.Errorf("after a failed multi: %q, %v", data, err)
	}
	if _, err := c.Multi(ctx); err != nil {
		t.Errorf("a multi of nothing: %v", err)
	}
	for _, op := range []zk.Op{{}, zk.CreateOp("/c", nil, zk.CreateOptions{Mode: zk.Container}), zk.DeleteOp("no slash", 0)} {
		if _, err := c.Multi(ctx, op); !errors.Is(err, zk.ErrBadArguments) {
			t.Errorf("%+v: %v", op, err)
		}
	}
}

func TestCreateModes(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := open(t, zk.Config{}, zktest.Start(t, zktest.WithJava("-Dzookeeper.extendedTypesEnabled=true")))
	for mode, ttl := range map[zk.CreateMode]time.Duration{
		zk.Persistent: 0, zk.Ephemeral: 0, zk.PersistentSequential: 0, zk.EphemeralSequential: 0, zk.Container: 0,
		zk.PersistentTTL: time.Hour, zk.PersistentSequentialTTL: time.Hour,
	} {
		path, st, err := c.Create(ctx, "/m", []byte("x"), zk.CreateOptions{Mode: mode, TTL: ttl})
		if err != nil || st.Czxid == 0 {
			t.Errorf("mode %d: %q, %+v, %v", mode, path, st, err)
			continue
		}
		if err := c.Delete(ctx, path, 0); err != nil {
			t.Error(err)
		}
	}
	for _, opt := range []zk.CreateOptions{{Mode: zk.PersistentTTL}, {TTL: time.Second}, {Mode: 7}, {Mode: -1},
		{Mode: zk.PersistentTTL, TTL: time.Nanosecond}, {ACL: []zk.ACL{{Perms: 32, Scheme: "world", ID: "anyone"}}}} {
		if _, _, err := c.Create(ctx, "/m", nil, opt); !errors.Is(err, zk.ErrBadArguments) {
			t.Errorf("%+v: %v", opt, err)
		}
	}
	if _, _, err := c.Create(ctx, "/m", nil, zk.CreateOptions{ACL: []zk.ACL{}}); !errors.Is(err, zk.ErrInvalidACL) {
		t.Errorf("with an empty ACL: %v", err)
	}
}

func TestACLAndAuth(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	owner := open(t, zk.Config{SessionTimeout: expirable, Auth: []zk.Credential{{Scheme: "digest", Data: "alice:secret"}}}, s)
	other := open(t, zk.Config{SessionTimeout: expirable}, s)
	if _, _, err := owner.Create(ctx, "/private", []byte("x"), zk.CreateOptions{ACL: zk.CreatorACL()}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Get(ctx, "/private"); !errors.Is(err, zk.ErrNoAuth) {
		t.Fatalf("a stranger reads: %v", err)
	}
	if _, _, err := owner.Get(ctx, "/private"); err != nil {
		t.Fatalf("with the credential: %v", err)
	}
	// On the next session, too, and before anything else.
	expire(t, s, owner)
	eventually(t, "another session can read", func() bool {
		_, _, err := owner.Get(ctx, "/private")
		if errors.Is(err, zk.ErrNoAuth) {
			t.Fatal("a request was sent before the credential")
		}
		return err == nil
	})
	acl := []zk.ACL{{Perms: zk.PermRead, Scheme: "world", ID: "anyone"}, {Perms: zk.PermAll, Scheme: "auth"}}
	if err := owner.SetACL(ctx, "/private", acl, 0); err != nil {
		t.Fatal(err)
	}
	got, st, err := owner.GetACL(ctx, "/private")
	if err != nil || st.Aversion != 1 || len(got) != 2 || got[0] != acl[0] || got[1].Scheme != "digest" || got[1].Perms != zk.PermAll {
		t.Errorf("GetACL: %+v, %+v, %v", got, st, err)
	}
	if err := owner.SetACL(ctx, "/private", nil, 0); !errors.Is(err, zk.ErrBadVersion) {
		t.Errorf("SetACL with an old version: %v", err)
	}
	if _, _, err := owner.Create(ctx, "/bad", nil, zk.CreateOptions{ACL: []zk.ACL{{Perms: zk.PermAll, Scheme: "nonsense", ID: "x"}}}); !errors.Is(err, zk.ErrInvalidACL) {
		t.Errorf("an unknown scheme: %v", err)
	}
}

// A credential the server refuses is told, not retried in silence.
func TestAuthFailed(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	var rec recorder
	c, err := zk.Open(rec.into(zk.Config{Servers: []string{s.Addr()}, Auth: []zk.Credential{{Scheme: "nonsense", Data: "x"}}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.WaitReady(testContext(t)); !errors.Is(err, zk.ErrAuthFailed) {
		t.Errorf("WaitReady: %v", err)
	}
	if _, _, err := c.Get(testContext(t), "/"); !errors.Is(err, zk.ErrAuthFailed) {
		t.Errorf("Get: %v", err)
	}
	if got := rec.states(); got != "auth failed 1" {
		t.Errorf("states: %s", got)
	}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for name, cfg := range map[string]zk.Config{
		"no server": {}, "no port": {Servers: []string{"a:"}}, "chroot": {Servers: []string{"a:1/b", "c:1"}},
		"port 0": {Servers: []string{"a:0"}}, "no host": {Servers: []string{":2181"}}, "timeout": {Servers: []string{"a:1"}, SessionTimeout: -time.Second},
		"auth": {Servers: []string{"a:1"}, Auth: []zk.Credential{{}}},
	} {
		if c, err := zk.Open(cfg); !errors.Is(err, zk.ErrBadArguments) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	c := open(t, zk.Config{}, zktest.Start(t))
	for _, path := range []string{"", "a", "/a/", "/a\x00b", "/a/../b", "/\xff"} {
		_, _, err1 := c.Get(ctx, path)
		_, err2 := c.Exists(ctx, path)
		_, _, err3 := c.Children(ctx, path)
		_, _, err4 := c.Create(ctx, path, nil, zk.CreateOptions{})
		_, err5 := c.Set(ctx, path, nil, 0)
		err6 := c.Delete(ctx, path, 0)
		err7 := c.Sync(ctx, path)
		err8 := c.RemoveWatch(ctx, path, zk.WatchAny)
		_, _, err9 := c.GetACL(ctx, path)
		err10 := c.SetACL(ctx, path, nil, 0)
		async := make(chan error, 3)
		c.GetAsync(path, true, func(_ []byte, _ zk.Stat, err error) { async <- err })
		c.ExistsAsync(path, true, func(_ zk.Stat, err error) { async <- err })
		c.ChildrenAsync(path, true, func(_ []string, _ zk.Stat, err error) { async <- err })
		for i, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, <-async, <-async, <-async} {
			var e *zk.Error
			if !errors.As(err, &e) || e.Code != zk.ErrBadArguments || e.Detail == "" {
				t.Errorf("%q, %d: %#v", path, i, err)
			}
		}
	}
	syncNow(t, c)
	if got := c.InFlight(); got != 0 {
		t.Errorf("%d calls in flight", got)
	}
}

// What is just short enough is stored and read whole; what is too long is
// refused here and disturbs nobody.
func TestSizes(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var rec recorder
	c := open(t, rec.into(zk.Config{}), zktest.Start(t))
	create(t, c, "/big", nil)
	const overhead = 8 + 4 + len("/big") + 4 + 4
	data := bytes.Repeat([]byte("0123456789abcdef"), zk.DefaultMaxRequest/16+1)
	if _, err := c.Set(ctx, "/big", data[:zk.DefaultMaxRequest-overhead+1], zk.AnyVersion); !errors.Is(err, zk.ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
	if _, err := c.Set(ctx, "/big", data[:zk.DefaultMaxRequest-overhead], zk.AnyVersion); err != nil {
		t.Errorf("as many as possible: %v", err)
	}
	if got, _, err := c.Get(ctx, "/big"); err != nil || !bytes.Equal(got, data[:zk.DefaultMaxRequest-overhead]) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, _, err := c.Create(ctx, "/big2", data, zk.CreateOptions{}); !errors.Is(err, zk.ErrTooLarge) {
		t.Errorf("create: %v", err)
	}
	if _, err := c.Multi(ctx, zk.SetOp("/big", data[:600_000], -1), zk.SetOp("/big", data[:600_000], -1)); !errors.Is(err, zk.ErrTooLarge) {
		t.Errorf("multi: %v", err)
	}
	if got := rec.states(); got != "ready 1" {
		t.Errorf("states: %s", got)
	}
}

// A list of children of more than a mebibyte.
func TestManyChildren(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := open(t, zk.Config{}, zktest.Start(t))
	create(t, c, "/d", nil)
	const n = 12_000
	var ops []zk.Op
	want := make([]string, n)
	for i := range n {
		want[i] = fmt.Sprintf("%0100d", i)
		ops = append(ops, zk.CreateOp("/d/"+want[i], nil, zk.CreateOptions{}))
		if len(ops) == 1000 {
			if _, err := c.Multi(ctx, ops...); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	names, st, err := c.Children(ctx, "/d")
	slices.Sort(names)
	if err != nil || st.NumChildren != n || !slices.Equal(names, want) {
		t.Errorf("%d names, %+v, %v", len(names), st, err)
	}
}
