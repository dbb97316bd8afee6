package znodes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"magellan/internal/discovery"
	"magellan/internal/znodes"
	"magellan/internal/znodes/znodestest"
)

func TestSubtrees(t *testing.T) {
	for _, tt := range []struct {
		shown string
		path  string
		want  error
	}{
		{"/a", "/a", nil},
		{"/a", "/a/b/c", nil},
		{"/a", "/ab", discovery.ErrForbidden},
		{"/a", "/", discovery.ErrForbidden},
		{"/a", "/a/../b", discovery.ErrInvalidName},
		{"/a", "/a/", discovery.ErrInvalidName},
		{"/a", "/a//b", discovery.ErrInvalidName},
		{"/a", "", discovery.ErrInvalidName},
		{"/a", "a", discovery.ErrInvalidName},
		{"/a", "/a/\x00", discovery.ErrInvalidName},
		{"/a", "/a/" + strings.Repeat("x", 300), nil},
		{"/a", "/a/" + strings.Repeat("x", 5000), discovery.ErrInvalidName},
		{"/", "/", nil},
		{"/", "/a", nil},
		{"/a,/b/c", "/b/c/d", nil},
		{"/a,/b/c", "/b", discovery.ErrForbidden},
	} {
		s := znodestest.New().Service(strings.Split(tt.shown, ",")...)
		if err := s.Check(tt.path); !errors.Is(err, tt.want) {
			t.Errorf("%q of %s: %v, want %v", tt.path, tt.shown, err, tt.want)
		}
		if _, _, err := s.Data(t.Context(), tt.path, discovery.ReadOptions{}); tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("reading %q of %s: %v, want %v", tt.path, tt.shown, err, tt.want)
		}
		// What is not shown is not read from memory either: no event is of it.
		kind := znodes.Bytes(strings.Split(tt.shown, ","))
		if _, ok := kind.Name(tt.path); ok != (tt.want == nil) {
			t.Errorf("an event of %q with %s: %v", tt.path, tt.shown, ok)
		}
	}
}

// TestDecode: what the cache counts for a value follows its length, and no value keeps the bytes
// that it was made of.
func TestDecode(t *testing.T) {
	kind := znodes.Bytes(nil)
	was := 0
	for _, data := range [][]byte{nil, {}, []byte("abc"), make([]byte, 1<<20)} {
		d, err := kind.Decode("/a", data, discovery.Stat{Czxid: 1, Mzxid: 2, Version: 3, Aversion: 4, Owner: 5})
		if err != nil || (d.Bytes == nil) != (data == nil) || string(d.Bytes) != string(data) {
			t.Fatalf("%q became %q, %v", data, d.Bytes, err)
		}
		if len(data) > 0 {
			data[0]++
			if d.Bytes[0] == data[0] {
				t.Error("the value keeps the bytes")
			}
		}
		if is := kind.Size(d); is < len(data) || is > 2*len(data)+500 || is < was {
			t.Errorf("%d bytes count as %d", len(data), is)
		} else {
			was = is
		}
	}
	lists := znodes.Children(nil)
	for _, tt := range []struct {
		data string
		want []string
	}{
		{"", nil},
		{"a/", []string{"a"}},
		{"a/b c/é/", []string{"a", "b c", "é"}},
	} {
		l, err := lists.Decode("/a", []byte(tt.data), discovery.Stat{})
		if err != nil || !slices.Equal(l.Names, tt.want) {
			t.Errorf("%q became %q, %v", tt.data, l.Names, err)
		}
		if lists.Size(l) < len(tt.data)+16*len(tt.want) {
			t.Errorf("%q counts as %d", tt.data, lists.Size(l))
		}
	}
}

// TestOneIncarnation: if a znode is deleted and created between the read of its bytes and that of its
// children, both are read again.
func TestOneIncarnation(t *testing.T) {
	tree := znodestest.New()
	s := tree.Service("/")
	tree.Set("/a", []byte("old"))
	tree.Set("/a/child", nil)
	reads := 0
	tree.BeforeRead = func(_ string, children bool) {
		if reads++; children && reads == 2 {
			tree.Delete("/a/child")
			tree.Delete("/a")
			tree.Set("/a", []byte("new"))
		}
	}
	z, basis, err := s.Znode(t.Context(), "/a", discovery.ReadOptions{})
	if err != nil || string(z.Bytes) != "new" || len(z.Names) != 0 || z.Data.Czxid != z.List.Czxid {
		t.Errorf("%+v, %v", z, err)
	}
	if basis.Zxid != z.Mzxid || basis.Topics[0].Name != "/a" || basis.Topics[1].Name != "/a" || basis.Topics[0] == basis.Topics[1] {
		t.Errorf("basis %+v", basis)
	}

	reads = 0
	tree.BeforeRead = func(_ string, children bool) {
		if reads++; children && reads == 2 {
			tree.Delete("/a")
		}
	}
	if _, _, err := s.Znode(t.Context(), "/a", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrNotFound) || reads != 3 {
		t.Errorf("deleted in between: %v after %d reads", err, reads)
	}

	tree.BeforeRead = func(_ string, children bool) {
		if children {
			tree.Delete("/b")
		}
		tree.Set("/b", nil)
	}
	if _, _, err := s.Znode(t.Context(), "/b", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("deleted and created all the time: %v", err)
	}
}

// TestErrors: what is not known is no answer, and what may not be read is forbidden, whichever of
// the two reads finds out.
func TestErrors(t *testing.T) {
	tree := znodestest.New()
	s := tree.Service("/")
	tree.Set("/a", []byte("x"))
	both := func(ctx context.Context, want error, when string) {
		t.Helper()
		_, _, err := s.Data(ctx, "/a", discovery.ReadOptions{})
		_, _, also := s.Znode(ctx, "/a", discovery.ReadOptions{})
		if !errors.Is(err, want) || !errors.Is(also, want) {
			t.Errorf("%s: %v and %v, want %v", when, err, also, want)
		}
	}
	both(t.Context(), nil, "at first")
	tree.Deny("/a", true)
	both(t.Context(), discovery.ErrForbidden, "denied")
	tree.Deny("/a", false)
	tree.BeforeRead = func(path string, children bool) { tree.Deny("/a", children) }
	if _, _, err := s.Znode(t.Context(), "/a", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrForbidden) {
		t.Errorf("denied between the reads: %v", err)
	}
	tree.BeforeRead = nil
	tree.Deny("/a", false)
	tree.SetErr(fmt.Errorf("%w: away", discovery.ErrUnavailable), discovery.Meta{})
	both(t.Context(), discovery.ErrUnavailable, "ZooKeeper is away")
	tree.SetErr(nil, discovery.Meta{Cache: discovery.Stale, Age: 1})
	if z, basis, err := s.Znode(t.Context(), "/a", discovery.ReadOptions{}); err != nil || basis.Cache != discovery.Stale || string(z.Bytes) != "x" {
		t.Errorf("stale: %+v, %v, %v", z, basis, err)
	}
	if _, err := znodes.New(znodes.Config{}); err == nil {
		t.Error("an empty Config has no error")
	}
}

// TestHiddenChild: the bytes tell which transaction was the last one of the children. If the list that
// is held is older, it is read again, unless ZooKeeper is away.
func TestHiddenChild(t *testing.T) {
	tree := znodestest.New()
	s := tree.Service("/")
	tree.Set("/a/one", nil)
	tree.Keep("/a")
	tree.Set("/a/two", nil)
	z, basis, err := s.Znode(t.Context(), "/a", discovery.ReadOptions{})
	if err != nil || !slices.Equal(z.Names, []string{"one", "two"}) {
		t.Errorf("%+v, %+v, %v", z, basis, err)
	}
	tree.SetErr(nil, discovery.Meta{Cache: discovery.Stale})
	z, basis, err = s.Znode(t.Context(), "/a", discovery.ReadOptions{})
	if err != nil || !slices.Equal(z.Names, []string{"one"}) || basis.Cache != discovery.Stale {
		t.Errorf("while ZooKeeper is away: %+v, %+v, %v", z, basis, err)
	}
}

// TestDeniedSince: the children are denied after the bytes were read. The bytes are read again, so that
// they are not shown any more.
func TestDeniedSince(t *testing.T) {
	tree := znodestest.New()
	s := tree.Service("/")
	tree.Set("/a", []byte("secret"))
	reads := 0
	tree.BeforeRead = func(_ string, children bool) {
		if reads++; children {
			tree.Deny("/a", true)
		}
	}
	if _, _, err := s.Znode(t.Context(), "/a", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrForbidden) || reads != 3 {
		t.Errorf("%v after %d reads", err, reads)
	}
}

// TestEqual: what ZooKeeper announces is a change, and what it does not announce is none, or the audit
// would take it for a missed event.
func TestEqual(t *testing.T) {
	value := func() *znodes.Data {
		return &znodes.Data{Bytes: []byte{}, Czxid: 1, Mzxid: 2, Ctime: 3, Mtime: 4, Owner: 5, Version: 6, Aversion: 7, Pzxid: 8}
	}
	for name, tt := range map[string]struct {
		change func(*znodes.Data)
		equal  bool
	}{
		"nothing":     {func(*znodes.Data) {}, true},
		"bytes":       {func(d *znodes.Data) { d.Bytes = []byte("x") }, false},
		"no bytes":    {func(d *znodes.Data) { d.Bytes = nil }, false},
		"created":     {func(d *znodes.Data) { d.Czxid++ }, false},
		"written":     {func(d *znodes.Data) { d.Mzxid++ }, false},
		"ctime":       {func(d *znodes.Data) { d.Ctime++ }, false},
		"mtime":       {func(d *znodes.Data) { d.Mtime++ }, false},
		"owner":       {func(d *znodes.Data) { d.Owner++ }, false},
		"version":     {func(d *znodes.Data) { d.Version++ }, false},
		"permissions": {func(d *znodes.Data) { d.Aversion++ }, true},
		"children":    {func(d *znodes.Data) { d.Pzxid++ }, true},
	} {
		is := value()
		tt.change(is)
		if got := znodes.Bytes(nil).Equal(value(), is); got != tt.equal {
			t.Errorf("%s: %v, want %v", name, got, tt.equal)
		}
	}
}
