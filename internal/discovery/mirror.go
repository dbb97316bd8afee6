package discovery

import (
	"context"
	"time"
)

// A domain uses these types to describe what it reads: where the znodes are and what their
// bytes mean. internal/cache takes such a description, mirrors the znodes in memory, and
// gives the domain a reader of them. Neither of the two imports the other.

// Stat is what a decoder gets of a znode besides its name and its bytes. A snapshot keeps
// Mzxid only, so that a restart decodes the same value from the same bytes. In all that a
// snapshot may bring back, and in directories, the other fields are 0.
type Stat struct {
	// Mzxid is the transaction that wrote the bytes.
	Mzxid int64
	// Czxid is the transaction that created the znode, and Pzxid the last one that created or
	// deleted a child of it.
	Czxid, Pzxid int64
	// Ctime and Mtime are the times of Czxid and Mzxid by the leader's clock, in milliseconds
	// of Unix time.
	Ctime, Mtime int64
	// Owner is the session that the znode ends with, 0 for none. ZooKeeper gives containers,
	// and znodes that end after a time, numbers that are no session's.
	Owner int64
	// Version, Cversion and Aversion count the changes of the bytes, of which children there
	// are, and of the permissions.
	Version, Cversion, Aversion int32
	// NumChildren is how many children there are.
	NumChildren int32
}

// Keyed describes one kind of thing of which there may be millions. Each thing has a znode
// of its own, whose path follows from the thing's name. The cache reads such a znode when a
// caller asks for the thing, and evicts the thing when it needs the memory for others.
//
// All functions are called from several goroutines at once.
type Keyed[T any] struct {
	// Kind names the kind in the singular, such as "printer". It is the Kind of the
	// [Topic] under which changes are published, and part of messages.
	Kind string
	// Dir is the path of the znode below which all znodes of the kind are.
	Dir string
	// Path returns the path of the znode of a thing. The cache calls it only for names
	// that Validate accepts.
	Path func(name string) string
	// Validate returns an error that wraps [ErrInvalidName] if no thing can have the name.
	// nil is [ValidateName].
	Validate func(name string) error
	// Name is the inverse of Path. ok is false for a path that Path does not return for
	// any valid name.
	Name func(path string) (name string, ok bool)
	// Decode makes a value of a znode's bytes. It must not keep the bytes. Values are
	// shared and must never be changed. A decoder that returns the same pointer for
	// equal values saves memory.
	Decode func(name string, data []byte, stat Stat) (*T, error)
	// Encode appends bytes from which Decode makes an equal value. A snapshot keeps
	// these bytes, because the cache does not hold the znode's own bytes in memory. nil: no
	// snapshot can keep things of this kind, and a cache that has one refuses it.
	Encode func(dst []byte, value *T) []byte
	// Equal reports whether two values say the same. It may leave out what changes without an
	// event of ZooKeeper. nil is [reflect.DeepEqual].
	Equal func(a, b *T) bool
	// Size returns how much memory a value takes, in bytes. nil: hardly any, because equal
	// values are shared.
	Size func(value *T) int
	// Children: a thing is made of which children its znode has, in place of its bytes. Decode
	// gets their names, ordered, each with a slash behind it, and the zxid of an answer is the
	// znode's Pzxid. ZooKeeper does not announce that such a znode comes into being, so that
	// [ErrNotFound] is never more than [Stale]: ask for the znode's bytes, and if they are
	// there, ask with Fresh.
	Children bool
	// Revocable: a value is not served any more once it is found that the znode may not be
	// read. Otherwise it is served for as long as the same transaction wrote the znode. A
	// znode that may not be read is no problem for operators.
	Revocable bool
}

// Read is what [KeyedReader.GetMany] has found out about one thing.
type Read[T any] struct {
	// Value is nil if Err is not.
	Value *T
	Meta  Meta
	// Err is nil, or what Get would have returned for this thing.
	Err error
}

// KeyedReader reads things of one kind by their names.
//
// Implementations are safe for concurrent use. A call returns as soon as ctx ends, with
// ctx's error; a read that the call has started goes on for other callers. Meta is filled
// in on [ErrNotFound] as well, because that a thing does not exist is an answer too.
//
// Errors are [ErrNotFound], [ErrInvalidName], [ErrBadData], [ErrUnread], [ErrZxidNotReached],
// [ErrUnavailable] and [ErrOverloaded], or wrap one of them. If [ValidateName] refuses a
// name, the reader returns that error and does not ask ZooKeeper.
type KeyedReader[T any] interface {
	// Get returns one thing. It allocates nothing for a thing that is in memory.
	Get(ctx context.Context, name string, opt ReadOptions) (*T, Meta, error)
	// GetMany reads many things at once, the i-th into out[i]; len(out) must be at
	// least len(names). It allocates nothing for things that are in memory.
	GetMany(ctx context.Context, names []string, opt ReadOptions, out []Read[T])
}

// Directory describes a znode whose children the cache holds all of them, each with its
// value. Answers may depend on which children there are as well as on their values.
//
// All functions are called from several goroutines at once.
type Directory[T any] struct {
	// Path is the path of the znode whose children are held.
	Path string
	// Decode makes a value of a child's bytes. It must not keep the bytes. If the error
	// is a [*PartialError], the value that is returned with it is served all the same.
	Decode func(name string, data []byte, stat Stat) (T, error)
	// Entries returns the number of entries that a child's value has. If a child loses
	// too many entries at once, or a directory too many children, the cache takes the loss
	// for an accident and goes on serving what was lost. A nil Entries means that values
	// have no entries.
	Entries func(value T) int
}

// Members returns the children of the directory at the time of a moment.
func (d *Directory[T]) Members(m Moment) Members[T] {
	held := m.Held[d.Path]
	all := Members[T]{Zxid: held.Zxid, Doubts: held.Doubts, Directories: held.Directories, Absent: held.Absent}
	if len(held.Values) > 0 {
		all.Values = make([]T, len(held.Values))
		for i, value := range held.Values {
			all.Values[i] = value.(T)
		}
	}
	return all
}

// Members are the children of one directory at one time.
type Members[T any] struct {
	// Values are not ordered.
	Values []T
	// Zxid is the newest transaction that has changed a child or has changed which
	// children there are.
	Zxid int64
	// Doubts are about the children by name, and about which children there are.
	Doubts Doubts
	// Directories is how many children are directories, in a [Tree].
	Directories int
	// Absent: the directory itself does not exist.
	Absent bool
}

// AnyDirectory is a [Directory] of any type of value.
type AnyDirectory interface {
	// Dir is the directory's path.
	Dir() string
	// DecodeAny is Decode.
	DecodeAny(name string, data []byte, stat Stat) (any, error)
	// CountEntries is Entries; 0 if values have no entries.
	CountEntries(value any) int
}

// Dir implements [AnyDirectory].
func (d *Directory[T]) Dir() string { return d.Path }

// DecodeAny implements [AnyDirectory].
func (d *Directory[T]) DecodeAny(name string, data []byte, stat Stat) (any, error) {
	return d.Decode(name, data, stat)
}

// CountEntries implements [AnyDirectory].
func (d *Directory[T]) CountEntries(value any) int {
	if d.Entries == nil {
		return 0
	}
	return d.Entries(value.(T))
}

// PartialError says that a value could be made of a part of the bytes. That value is
// served, and the error becomes a problem of the znode.
type PartialError struct{ Err error }

// Error returns the text of Err.
func (e *PartialError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *PartialError) Unwrap() error { return e.Err }

// Moment is what the directories of a view contained at one time.
type Moment struct {
	// Now is that time by the wall clock.
	Now time.Time
	// Held has the contents of each directory, by its path. [Directory.Members] reads it.
	Held map[string]Held
}

// Held is what the cache held of one directory.
type Held struct {
	Values      []any
	Zxid        int64
	Doubts      Doubts
	Directories int
	Absent      bool
}

// View describes a value that is made of one or several directories as a whole. A new
// value is made whenever one of the directories has changed.
type View[S any] struct {
	// Name is used in messages and in the labels of metrics.
	Name string
	// Directories are what the value is made of.
	Directories []AnyDirectory
	// Build makes the value, which is never changed afterwards. was is the value before
	// it, nil for the first value. Build is called by one goroutine at a time.
	Build func(m Moment, was *S) *S
	// Zxid returns the newest transaction that the value has in it.
	Zxid func(value *S) int64
	// Changes returns the topics under which the change from one value to the next is
	// published; was is nil for the first value.
	Changes func(was, is *S) []Topic
	// Essential says that a start waits until the children of the view's directories have
	// been listed, because without these lists there is hardly any answer.
	Essential bool
}

// ViewReader reads the value of a view.
//
// Implementations are safe for concurrent use. Doubts about single members are part of the
// value, and Meta says how well all the rest of the value is known. Errors are those of
// [KeyedReader].
type ViewReader[S any] interface {
	Get(ctx context.Context, opt ReadOptions) (*S, Meta, error)
}

// Watcher notifies observers of changes. A client that watches first, then reads, and waits
// if it has read nothing new, misses no change that a read would have shown.
type Watcher interface {
	// Watch notifies o of changes of t until the Watch is stopped.
	Watch(t Topic, o Observer) *Watch
}
