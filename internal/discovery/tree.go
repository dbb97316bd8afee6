package discovery

import "context"

// Tree describes a znode below which directories come and go: each service of a registry is
// a directory of its instances, and directories may stand in directories. A value of its own
// is made of each directory. Directories are named by their path below the tree: "" is the
// tree's own znode, and others are such as "web/cart".
//
// T is the value of one record, which is a znode that is no directory, and S the value of a
// directory. All functions are called from several goroutines at once.
type Tree[T, S any] struct {
	// Name is used in messages and in the labels of metrics.
	Name string
	// Path is the path of the tree's own znode. It need not exist.
	Path string
	// MaxDepth is how many elements a directory's path may have, and MaxDirectories how
	// many directories are followed. What is beyond them is a problem of its znode.
	MaxDepth, MaxDirectories int
	// Inside says what the children of a directory are.
	Inside func(dir string) Inside
	// Decode makes a value of a record. It must not keep the bytes. If the error is a
	// [*PartialError], the value that is returned with it is served all the same.
	Decode func(dir, name string, data []byte, stat Stat) (T, error)
	// Build makes the value of a directory, which is never changed afterwards. was is the
	// value before it, nil for the first. A record that could never be read is no member,
	// and the doubts tell of it.
	Build func(dir string, m Members[T], was *S) *S
	// Zxid returns the newest transaction that a directory's value has in it.
	Zxid func(value *S) int64
	// Changes returns the topics under which the change from one value of a directory to
	// the next is published. was is nil for a directory that has come into being, and is
	// for one that does not exist any more.
	Changes func(dir string, was, is *S) []Topic
}

// Inside says what the children of a directory of a [Tree] are.
type Inside uint8

const (
	// Mixed: a child is read. It is a record if its bytes parse. Otherwise it is a
	// directory, unless it is ephemeral, because an ephemeral znode has no children.
	Mixed Inside = iota
	// Records: a child is read, and is a record.
	Records
	// Names: a child is a record that is made of its name only. Its bytes are not read.
	Names
	// Directories: a child is a directory. Its bytes are not read.
	Directories
	// Nothing: the directory is no part of the tree.
	Nothing
)

// TreeReader reads the values of a [Tree].
//
// Implementations are safe for concurrent use. Doubts about single records are part of a
// value, and Meta says how well all the rest of the value is known. Errors are those of
// [KeyedReader]: [ErrNotFound] says that ZooKeeper has no such directory, with the meta data
// of that knowledge, and [ErrBadData] that the znode is neither a directory nor a record.
type TreeReader[S any] interface {
	// Get returns the value of one directory. It allocates nothing for a value that is in
	// memory.
	Get(ctx context.Context, dir string, opt ReadOptions) (*S, Meta, error)
	// All returns the values of all directories, ordered by their paths, and how well all
	// of them are known.
	All(ctx context.Context, opt ReadOptions) ([]DirectoryValue[S], Meta, error)
}

// DirectoryValue is the value of one directory of a [Tree].
type DirectoryValue[S any] struct {
	Dir   string
	Value *S
}
