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

// Layout says which path each znode has. The zero value is not valid; see [DefaultRoot] and
// [DefaultShopBuckets].
type Layout struct {
	// Root is the path below which all znodes are. It is absolute and has no trailing
	// slash. "/" is the root of ZooKeeper, or of the chroot.
	Root string
	// ShopBuckets is the number of directories over which the shops are spread, so that
	// none of them has more children than one ZooKeeper answer can list. It is at most
	// 65,536. With 0 the layout is flat: all shops are children of [Layout.ShopsDir].
	//
	// The number must be the one with which the shops were written.
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

// Region is the path of a region's znode. Like the methods below it does not check the name:
// callers must check names from outside with [discovery.ValidateName] first.
func (l Layout) Region(name string) string { return l.RegionsDir() + "/" + name }

// Datacenter is the path of a datacenter's znode.
func (l Layout) Datacenter(name string) string { return l.DatacentersDir() + "/" + name }

// BadCitizenList is the path of a bad-citizen list.
func (l Layout) BadCitizenList(name string) string { return l.BadCitizensDir() + "/" + name }

// Shop is the path of a shop's znode. The bucket is the 32-bit FNV-1a hash of the name modulo
// ShopBuckets. It is written in as many hexadecimal digits as the last bucket needs: three
// for 4096 buckets.
func (l Layout) Shop(name string) string {
	if l.ShopBuckets == 0 {
		return l.prefix() + "/shops/" + name
	}
	var digits [8]byte
	return l.prefix() + "/shops/" + string(l.appendBucket(digits[:0], l.bucket(name))) + "/" + name
}

// ShopBucketDirs yields the parents of the shops' znodes in order: every bucket, or ShopsDir
// alone if the layout is flat.
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

// ShopName is the inverse of [Layout.Shop]. It returns false for a path that Shop does not
// return for any valid name, such as one in the wrong bucket.
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

// prefix is the start of every path: Root, or nothing if Root is "/".
func (l Layout) prefix() string {
	if l.Root == "/" {
		return ""
	}
	return l.Root
}

func (l Layout) dir(name string) string { return l.prefix() + name }

// bucket is the number of a shop's bucket. It computes 32-bit FNV-1a itself, because hash/fnv
// allocates.
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
