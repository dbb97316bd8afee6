package cache

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"unsafe"

	"magellan/internal/discovery"
)

// maxKinds is how many keyed kinds a cache can have: an entry has 8 bits for the number
// of its kind.
const maxKinds = 1 << 8

// kind is a keyed kind as the cache sees it: a [discovery.Keyed] without its type of value.
// Entries of all kinds share the index, ristretto and the sessions.
//
// A value is a *T as an unsafe.Pointer. An interface would take twice the room in each
// record, and there may be millions. [AddKeyed] and [Keyed] are the only places that make
// such a pointer of a *T, or a *T of it.
type kind struct {
	c *Cache
	// number is the kind's place in Cache.kinds.
	number uint8
	// seed is the kind's own, so that equal names of two kinds have different hashes.
	seed maphash.Seed
	// name is the Kind of the topics.
	name string
	// dir is the znode that all of the kind's are below.
	dir      string
	path     func(name string) string
	nameOf   func(path string) (name string, ok bool)
	validate func(name string) error
	// children: things are made of which children their znodes have. revocable: a value is not
	// served once its znode may not be read.
	children, revocable bool
	decode              func(name string, data []byte, stat discovery.Stat) (unsafe.Pointer, error)
	// encode is nil if no snapshot keeps values. size is the memory of a value in bytes; nil
	// for hardly any.
	encode func(dst []byte, value unsafe.Pointer) []byte
	size   func(value unsafe.Pointer) int
	// equal compares two values that are not nil.
	equal func(a, b unsafe.Pointer) bool
	// describe tells operators what a value is.
	describe func(value unsafe.Pointer) string
	// errUnread is the answer where a znode exists and cannot be read. There is one for
	// all, because an answer from memory allocates nothing.
	errUnread error
}

// Keyed reads things of one kind. It is safe for concurrent use.
type Keyed[T any] struct{ k *kind }

var _ discovery.KeyedReader[int] = (*Keyed[int])(nil)

// AddKeyed has the cache mirror things of one kind, and returns the reader for them. It is
// to be called before [Cache.Start], and panics afterwards.
func AddKeyed[T any](c *Cache, d discovery.Keyed[T]) *Keyed[T] {
	c.mustNotBeStarted()
	if len(c.kinds) == maxKinds {
		panic("cache: too many keyed kinds")
	}
	if d.Equal == nil {
		d.Equal = func(a, b *T) bool { return reflect.DeepEqual(a, b) }
	}
	k := &kind{
		c: c, number: uint8(len(c.kinds)), seed: maphash.MakeSeed(),
		name: d.Kind, dir: d.Dir, path: d.Path, nameOf: d.Name, validate: d.Validate,
		children: d.Children, revocable: d.Revocable,
		decode: func(name string, data []byte, stat discovery.Stat) (unsafe.Pointer, error) {
			value, err := d.Decode(name, data, stat)
			return unsafe.Pointer(value), err
		},
		equal:     func(a, b unsafe.Pointer) bool { return d.Equal((*T)(a), (*T)(b)) },
		describe:  func(value unsafe.Pointer) string { return fmt.Sprintf("%+v", (*T)(value)) },
		errUnread: fmt.Errorf("%w: the %s's own znode exists and cannot be read; /admin/problems says why", discovery.ErrDenied, d.Kind),
	}
	if k.validate == nil {
		k.validate = discovery.ValidateName
	}
	if d.Encode != nil {
		k.encode = func(dst []byte, value unsafe.Pointer) []byte { return d.Encode(dst, (*T)(value)) }
	}
	if d.Size != nil {
		k.size = func(value unsafe.Pointer) int { return d.Size((*T)(value)) }
	}
	c.kinds = append(c.kinds, k)
	return &Keyed[T]{k}
}

// hash is what the index and ristretto find a thing by.
func (k *kind) hash(name string) uint64 { return maphash.String(k.seed, name) }

// topic is what the changes of a thing are published under.
func (k *kind) topic(name string) discovery.Topic {
	return discovery.Topic{Kind: k.name, Name: name}
}

// same reports whether two values are equal, either of which may be nil.
func (k *kind) same(a, b unsafe.Pointer) bool {
	return a == b || a != nil && b != nil && k.equal(a, b)
}

// kindAt returns the first kind that a path is of, and the name of the thing there.
func (c *Cache) kindAt(path string) (k *kind, name string) {
	for _, k := range c.kinds {
		if name, ok := k.nameOf(path); ok {
			return k, name
		}
	}
	return nil, ""
}

// kindOf returns the kind of an entry.
func (c *Cache) kindOf(e *entry) *kind { return c.kinds[e.kind()] }

// pathOf is the path of the znode that an entry is of.
func (c *Cache) pathOf(e *entry) string { return c.kindOf(e).path(e.name) }
