package shops

import (
	"fmt"
	"iter"
	"math/bits"
	"strings"

	"magellan/internal/discovery"
)

// Defaults of [Layout].
const (
	DefaultRoot        = "/magellan"
	DefaultShopBuckets = 4096
)

// maxShopBuckets keeps the children of one bucket directory, and of the
// directory of buckets, far below ZooKeeper's limit of 1 MiB per answer.
const maxShopBuckets = 1 << 16

// Layout says at which path each znode stands. The zero value is not valid;
// see [DefaultRoot] and [DefaultShopBuckets].
type Layout struct {
	// Root is the path under which everything stands: absolute, without a
	// trailing slash. "/" is the root of ZooKeeper (or of the chroot).
	Root string
	// ShopBuckets is the number of directories the shops are spread over, so
	// that none has more children than one ZooKeeper answer can list. 0 is
	// flat: all shops are children of [Layout.ShopsDir]. At most 65,536.
	//
	// It belongs to the data: whoever reads must use the number that was used
	// to write.
	ShopBuckets int
}

// Validate returns an error that says which field is wrong and why.
func (l Layout) Validate() error {
	if l.ShopBuckets < 0 || l.ShopBuckets > maxShopBuckets {
		return fmt.Errorf("shop buckets: %d is not between 0 (flat) and %d", l.ShopBuckets, maxShopBuckets)
	}
	if l.Root == "/" {
		return nil
	}
	if !strings.HasPrefix(l.Root, "/") {
		return fmt.Errorf("root: %q does not start with a slash", l.Root)
	}
	for element := range strings.SplitSeq(l.Root[1:], "/") {
		if err := discovery.ValidateName(element); err != nil {
			return fmt.Errorf("root: %q: %w", l.Root, err)
		}
	}
	return nil
}

// RegionsDir is the parent of the regions' znodes.
func (l Layout) RegionsDir() string { return l.dir("/regions") }

// DatacentersDir is the parent of the datacenters' znodes.
func (l Layout) DatacentersDir() string { return l.dir("/datacenters") }

// BadCitizensDir is the parent of the bad-citizen lists.
func (l Layout) BadCitizensDir() string { return l.dir("/bad-citizens") }

// ShopsDir is the parent of the shops, or of their buckets.
func (l Layout) ShopsDir() string { return l.dir("/shops") }

// Region is the path of a region's znode. Like its siblings it takes the name
// as it is: names from outside go through [discovery.ValidateName] first.
func (l Layout) Region(name string) string { return l.RegionsDir() + "/" + name }

// Datacenter is the path of a datacenter's znode.
func (l Layout) Datacenter(name string) string { return l.DatacentersDir() + "/" + name }

// BadCitizenList is the path of a bad-citizen list.
func (l Layout) BadCitizenList(name string) string { return l.BadCitizensDir() + "/" + name }

// Shop is the path of a shop's znode. The bucket is the 32-bit FNV-1a hash of
// the name modulo ShopBuckets, in hexadecimal digits, as many as the last
// bucket needs: three for 4096 buckets.
func (l Layout) Shop(name string) string {
	if l.ShopBuckets == 0 {
		return l.prefix() + "/shops/" + name
	}
	var digits [8]byte
	return l.prefix() + "/shops/" + string(l.appendBucket(digits[:0], l.bucket(name))) + "/" + name
}

// ShopBucketDirs yields the parents of the shops' znodes in order: every
// bucket, or ShopsDir alone where the layout is flat.
func (l Layout) ShopBucketDirs() iter.Seq[string] {
	return func(yield func(string) bool) {
		if l.ShopBuckets == 0 {
			yield(l.ShopsDir())
			return
		}
		var digits [8]byte
		for bucket := range uint32(l.ShopBuckets) {
			if !yield(l.ShopsDir() + "/" + string(l.appendBucket(digits[:0], bucket))) {
				return
			}
		}
	}
}

// ShopName is the inverse of [Layout.Shop]. It reports false for every path
// that Shop returns for no valid name: a shop in a wrong bucket is never found.
func (l Layout) ShopName(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, l.prefix()+"/shops/")
	if !ok {
		return "", false
	}
	name := rest
	if l.ShopBuckets != 0 {
		var bucket string
		if bucket, name, ok = strings.Cut(rest, "/"); !ok {
			return "", false
		}
		var digits [8]byte
		if bucket != string(l.appendBucket(digits[:0], l.bucket(name))) {
			return "", false
		}
	}
	return name, discovery.ValidateName(name) == nil
}

// prefix is what every path starts with: Root, or nothing where Root is "/".
func (l Layout) prefix() string {
	if l.Root == "/" {
		return ""
	}
	return l.Root
}

func (l Layout) dir(name string) string { return l.prefix() + name }

// bucket hashes with 32-bit FNV-1a, by hand because hash/fnv allocates.
func (l Layout) bucket(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h % uint32(l.ShopBuckets)
}

func (l Layout) appendBucket(dst []byte, bucket uint32) []byte {
	width := max(1, (bits.Len(uint(l.ShopBuckets-1))+3)/4)
	for shift := 4 * (width - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[bucket>>shift&15])
	}
	return dst
}
