package znodes

import (
	"bytes"
	"reflect"
	"strings"

	"magellan/internal/discovery"
)

// The kinds of the topics on which answers depend.
const (
	bytesKind    = "znode"
	childrenKind = "list of children"
)

// What values take in memory, in bytes.
var (
	dataBytes   = int(reflect.TypeFor[Data]().Size())
	listBytes   = int(reflect.TypeFor[List]().Size())
	stringBytes = int(reflect.TypeFor[string]().Size())
)

// Data is what a znode holds. It is never changed, because all who ask share it.
type Data struct {
	discovery.Memoized
	// Bytes is nil if the znode holds none: ZooKeeper tells that from a znode that holds an
	// empty string.
	Bytes []byte
	// Czxid and Mzxid are the transactions that created the znode and that wrote its bytes,
	// and Ctime and Mtime their times in milliseconds of Unix time.
	Czxid, Mzxid, Ctime, Mtime int64
	// Owner is the session that the znode ends with, 0 for none.
	Owner int64
	// Version counts how often the bytes were written.
	Version int32
	// Aversion counts the changes of the znode's permissions, and Pzxid is the last transaction
	// that created or deleted a child, both as of when the bytes were read: nothing announces
	// to whoever watches the bytes that the two have changed.
	Aversion int32
	Pzxid    int64
}

// equal reports whether two values hold the same and tell the same, as far as ZooKeeper announces
// changes.
func equal(a, b *Data) bool {
	return bytes.Equal(a.Bytes, b.Bytes) && (a.Bytes == nil) == (b.Bytes == nil) &&
		a.Czxid == b.Czxid && a.Mzxid == b.Mzxid && a.Ctime == b.Ctime && a.Mtime == b.Mtime && a.Owner == b.Owner && a.Version == b.Version
}

// String is what operators see at /admin/cache, where the bytes may be secret.
func (d *Data) String() string { return "a znode's bytes" }

// List is which children a znode has. It is never changed, because all who ask share it.
type List struct {
	// Names are ordered.
	Names []string
	// Czxid is the transaction that created the znode, and Pzxid the last one that created or
	// deleted a child.
	Czxid, Pzxid int64
	// Cversion counts the children that were created and deleted.
	Cversion int32
}

// String is what operators see at /admin/cache.
func (l *List) String() string { return "the names of a znode's children" }

// Bytes describes the bytes of all znodes in the subtrees. The name of a thing is its path.
func Bytes(shown Subtrees) discovery.Keyed[Data] {
	return discovery.Keyed[Data]{
		Kind: bytesKind, Dir: "/", Path: path, Name: shown.name, Validate: discovery.ValidatePath,
		Decode: func(_ string, data []byte, st discovery.Stat) (*Data, error) {
			d := &Data{Czxid: st.Czxid, Mzxid: st.Mzxid, Ctime: st.Ctime, Mtime: st.Mtime, Owner: st.Owner, Version: st.Version, Aversion: st.Aversion, Pzxid: st.Pzxid}
			if data != nil {
				d.Bytes = append(make([]byte, 0, len(data)), data...)
			}
			return d, nil
		},
		Equal: equal,
		// Whoever renders the bytes may keep them compressed as well.
		Size:      func(d *Data) int { return dataBytes + 2*cap(d.Bytes) },
		Revocable: true,
	}
}

// Children describes which children the znodes in the subtrees have.
func Children(shown Subtrees) discovery.Keyed[List] {
	return discovery.Keyed[List]{
		Kind: childrenKind, Dir: "/", Path: path, Name: shown.name, Validate: discovery.ValidatePath,
		Decode: func(_ string, data []byte, st discovery.Stat) (*List, error) {
			l := &List{Czxid: st.Czxid, Pzxid: st.Pzxid, Cversion: st.Cversion}
			// One string has all names.
			if all := strings.TrimSuffix(string(data), "/"); all != "" {
				l.Names = strings.Split(all, "/")
			}
			return l, nil
		},
		Size: func(l *List) int {
			size := listBytes + cap(l.Names)*stringBytes
			for _, name := range l.Names {
				size += len(name) + 1
			}
			return size
		},
		Children:  true,
		Revocable: true,
	}
}

func path(name string) string { return name }

// Subtrees are the paths of the znodes that are shown, each with all that is below it.
type Subtrees []string

// Have reports whether a path is in one of the subtrees.
func (s Subtrees) Have(path string) bool {
	for _, dir := range s {
		if discovery.Below(path, dir) {
			return true
		}
	}
	return false
}

// name is the inverse of path.
func (s Subtrees) name(path string) (string, bool) {
	return path, s.Have(path) && discovery.ValidatePath(path) == nil
}
