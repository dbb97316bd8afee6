package zk_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// open returns a Ready client that is closed with the test.
func open(t testing.TB, cfg zk.Config, servers ...*zktest.Server) *zk.Client {
	t.Helper()
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.Addr())
	}
	c, err := zk.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBasics(t *testing.T) {
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
