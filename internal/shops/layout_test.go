package shops

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"

	"magellan/internal/discovery"
)

func TestLayoutPaths(t *testing.T) {
	l := Layout{Root: "/magellan", ShopBuckets: 4096}
	root := Layout{Root: "/"}
	for _, test := range []struct{ got, want string }{
		{l.RegionsDir(), "/magellan/regions"},
		{l.DatacentersDir(), "/magellan/datacenters"},
		{l.BadCitizensDir(), "/magellan/bad-citizens"},
		{l.ShopsDir(), "/magellan/shops"},
		{l.Region("us-east1"), "/magellan/regions/us-east1"},
		{l.Datacenter("ash1"), "/magellan/datacenters/ash1"},
		{l.BadCitizenList("fraud"), "/magellan/bad-citizens/fraud"},
		// FNV-1a 32 of "a" is 0xe40c292c.
		{l.Shop("a"), "/magellan/shops/92c/a"},
		{Layout{Root: "/x/y", ShopBuckets: 1 << 16}.Shop("a"), "/x/y/shops/292c/a"},
		{Layout{Root: "/x", ShopBuckets: 16}.Shop("a"), "/x/shops/c/a"},
		{Layout{Root: "/x", ShopBuckets: 17}.Shop("a"), fmt.Sprintf("/x/shops/%02x/a", 0xe40c292c%17)},
		{Layout{Root: "/x", ShopBuckets: 1}.Shop("a"), "/x/shops/0/a"},
		{Layout{Root: "/x"}.Shop("a"), "/x/shops/a"},
		{root.Shop("a"), "/shops/a"},
		{root.RegionsDir(), "/regions"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

func TestLayoutBucketDirs(t *testing.T) {
	for _, test := range []struct {
		buckets     int
		first, last string
	}{
		{0, "/m/shops", "/m/shops"},
		{1, "/m/shops/0", "/m/shops/0"},
		{16, "/m/shops/0", "/m/shops/f"},
		{17, "/m/shops/00", "/m/shops/10"},
		{256, "/m/shops/00", "/m/shops/ff"},
		{257, "/m/shops/000", "/m/shops/100"},
		{4096, "/m/shops/000", "/m/shops/fff"},
		{65536, "/m/shops/0000", "/m/shops/ffff"},
	} {
		dirs := slices.Collect(Layout{Root: "/m", ShopBuckets: test.buckets}.ShopBucketDirs())
		if len(dirs) != max(1, test.buckets) || dirs[0] != test.first || dirs[len(dirs)-1] != test.last {
			t.Errorf("%d buckets: %d directories from %s to %s, want from %s to %s",
				test.buckets, len(dirs), dirs[0], dirs[len(dirs)-1], test.first, test.last)
		}
		if !slices.IsSorted(dirs) {
			t.Errorf("%d buckets: not in order", test.buckets)
		}
	}
}

func TestLayoutShopNameRefusesWhatShopNeverReturns(t *testing.T) {
	l := Layout{Root: "/m", ShopBuckets: 4096}
	for _, path := range []string{
		"", "/", "/m", "/m/shops", "/m/shops/", "/m/shops/92c", "/m/shops/92c/",
		"/m/shops/92d/a",      // another bucket
		"/m/shops/92C/a",      // not as Shop writes it
		"/m/shops/092c/a",     // neither
		"/m/shops/a",          // flat
		"/m/shops/92c/a/b",    // too deep
		"/n/shops/92c/a",      // another root
		"/m/shopsx/92c/a",     //
		"/m/shops/92c/\x00",   //
		"/m/datacenters/92c/", //
	} {
		if name, ok := l.ShopName(path); ok {
			t.Errorf("ShopName(%q) = %q, want none", path, name)
		}
	}
	if name, ok := (Layout{Root: "/m"}).ShopName("/m/shops/92c/a"); ok {
		t.Errorf("a flat layout found %q in a bucket", name)
	}
}

func TestLayoutValidate(t *testing.T) {
	for _, l := range []Layout{
		{DefaultRoot, DefaultShopBuckets}, {"/", 0}, {"/a/b/c", 1}, {"/a", 65536},
	} {
		if err := l.Validate(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, test := range []struct {
		layout Layout
		says   string
	}{
		{Layout{}, "slash"},
		{Layout{Root: "magellan"}, "slash"},
		{Layout{Root: "/magellan/"}, "empty"},
		{Layout{Root: "//a"}, "empty"},
		{Layout{Root: "/a/../b"}, "relative"},
		{Layout{Root: "/a", ShopBuckets: -1}, "-1"},
		{Layout{Root: "/a", ShopBuckets: 65537}, "65537"},
	} {
		if err := test.layout.Validate(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: error %v, want one that says %q", test.layout, err, test.says)
		}
	}
}

func FuzzLayout(f *testing.F) {
	f.Add("/magellan", 4096, "42")
	f.Add("/", 0, "a")
	f.Add("/a/b", 17, "東京")
	f.Add("/a", 1, "..")
	f.Fuzz(func(t *testing.T, root string, buckets int, name string) {
		l := Layout{Root: root, ShopBuckets: buckets}
		if l.Validate() != nil {
			return
		}
		// Whatever string is taken for a path: if it has a shop, it is the shop's.
		if found, ok := l.ShopName(name); ok && l.Shop(found) != name {
			t.Fatalf("ShopName(%q) = %q, whose path is %q", name, found, l.Shop(found))
		}
		if discovery.ValidateName(name) != nil {
			return
		}
		path := l.Shop(name)
		if found, ok := l.ShopName(path); !ok || found != name {
			t.Fatalf("ShopName(%q) = %q, %v, want %q", path, found, ok, name)
		}
		for element := range strings.SplitSeq(path[1:], "/") {
			if err := discovery.ValidateName(element); err != nil {
				t.Fatalf("%q: %v", path, err)
			}
		}
		if buckets == 0 {
			return
		}
		h := fnv.New32a()
		h.Write([]byte(name))
		bucket := fmt.Sprintf("%0*x", len(fmt.Sprintf("%x", buckets-1)), h.Sum32()%uint32(buckets))
		if want := l.ShopsDir() + "/" + bucket + "/" + name; path != want {
			t.Fatalf("Shop(%q) = %q, want %q", name, path, want)
		}
	})
}

func BenchmarkLayoutShop(b *testing.B) {
	l := Layout{Root: DefaultRoot, ShopBuckets: DefaultShopBuckets}
	b.ReportAllocs()
	for b.Loop() {
		l.Shop("1234567")
	}
}
