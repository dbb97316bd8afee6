package zk

/*
#include <zookeeper/zookeeper.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"time"
)

// Stat is what ZooKeeper knows of a znode beside its data.
type Stat struct {
	Czxid          int64     // the transaction that created it
	Mzxid          int64     // the last one that changed its data
	Pzxid          int64     // the last one that added or removed a child
	Ctime, Mtime   time.Time // of Czxid and Mzxid, by the leader's clock
	EphemeralOwner int64     // the session it lives with, 0 for none
	Version        int32     // changes of the data
	Cversion       int32     // changes of the children
	Aversion       int32     // changes of the ACL
	DataLength     int32     // bytes
	NumChildren    int32
}

func statOf(s *C.struct_zk_stat) Stat {
	return Stat{
		Czxid:          int64(s.czxid),
		Mzxid:          int64(s.mzxid),
		Pzxid:          int64(s.pzxid),
		Ctime:          time.UnixMilli(int64(s.ctime)),
		Mtime:          time.UnixMilli(int64(s.mtime)),
		EphemeralOwner: int64(s.ephemeral_owner),
		Version:        int32(s.version),
		Cversion:       int32(s.cversion),
		Aversion:       int32(s.aversion),
		DataLength:     int32(s.data_length),
		NumChildren:    int32(s.num_children),
	}
}

// AnyVersion, given as a version, stands for whatever the znode has.
const AnyVersion int32 = -1

// CreateMode says how long a znode lives and how it is named.
type CreateMode int32

// The modes of libzookeeper's zookeeper.h, where they are variables; a test
// compares them.
const (
	Persistent              CreateMode = 0
	Ephemeral               CreateMode = 1
	PersistentSequential    CreateMode = 2
	EphemeralSequential     CreateMode = 3
	Container               CreateMode = 4
	PersistentTTL           CreateMode = 5
	PersistentSequentialTTL CreateMode = 6
)

func (m CreateMode) sequential() bool {
	return m == PersistentSequential || m == EphemeralSequential || m == PersistentSequentialTTL
}

func (m CreateMode) ttl() bool { return m == PersistentTTL || m == PersistentSequentialTTL }

// Perm is a set of permissions.
type Perm int32

// The permissions of zookeeper.h; a test compares them.
const (
	PermRead   Perm = 1
	PermWrite  Perm = 2
	PermCreate Perm = 4
	PermDelete Perm = 8
	PermAdmin  Perm = 16
	PermAll    Perm = 31
)

// ACL grants permissions to whoever the identity matches.
type ACL struct {
	Perms  Perm
	Scheme string // "world", "auth", "digest", "ip", …
	ID     string
}

// OpenACL lets everybody do everything: what a nil ACL stands for.
func OpenACL() []ACL { return []ACL{{PermAll, "world", "anyone"}} }

// CreatorACL lets the identities of the creating session do everything.
func CreatorACL() []ACL { return []ACL{{PermAll, "auth", ""}} }

// Credential is one identity, sent on every session.
type Credential struct {
	Scheme string // "digest"
	Data   string // "user:password" for digest
}

// CreateOptions of Create; the zero value is a persistent znode open to all.
type CreateOptions struct {
	Mode CreateMode
	ACL  []ACL         // nil: OpenACL; an empty one the server refuses
	TTL  time.Duration // for the TTL modes; the server must have them enabled
}

// WatchKind says which watches of a path are meant.
type WatchKind int32

const (
	// WatchChildren: set by ChildrenAsync.
	WatchChildren WatchKind = C.ZWATCHTYPE_CHILD
	// WatchData: set by GetAsync and ExistsAsync.
	WatchData WatchKind = C.ZWATCHTYPE_DATA
	// WatchAny: all of them.
	WatchAny WatchKind = C.ZWATCHTYPE_ANY
)

// WatchType says what fired a watch.
type WatchType int32

// The event types of zookeeper.h, where they are variables; a test compares
// them.
const (
	Created         WatchType = 1
	Deleted         WatchType = 2
	DataChanged     WatchType = 3
	ChildrenChanged WatchType = 4
	// WatchRemoved: the server has dropped the watch by itself.
	WatchRemoved WatchType = -2
)

// String returns the name of the constant.
func (t WatchType) String() string {
	switch t {
	case Created:
		return "Created"
	case Deleted:
		return "Deleted"
	case DataChanged:
		return "DataChanged"
	case ChildrenChanged:
		return "ChildrenChanged"
	case WatchRemoved:
		return "WatchRemoved"
	}
	return fmt.Sprintf("WatchType(%d)", int32(t))
}

// WatchEvent tells that a watch has fired. Watches are one-shot: all of the
// client's watches of this kind on this path are gone.
type WatchEvent struct {
	Path string
	Type WatchType
}

// State is what a Client can do at the moment.
type State int32

const (
	// Connecting: no session yet.
	Connecting State = iota
	// Ready: connected, and a sync has made the round trip since (but see
	// Config.Unproved).
	Ready
	// Disconnected: the session may still live; so may its watches.
	Disconnected
	// Expired: the session is gone, and all its watches and ephemeral znodes
	// with it. The client opens another session by itself; Ready is next.
	Expired
	// AuthFailed: the server refuses a credential. The client tries again,
	// slowly.
	AuthFailed
	// Closed: by Close. Final.
	Closed
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Ready:
		return "ready"
	case Disconnected:
		return "disconnected"
	case Expired:
		return "expired"
	case AuthFailed:
		return "auth failed"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("State(%d)", int32(s))
}

// SessionEvent tells that the state has changed.
type SessionEvent struct {
	State State
	// Session counts the client's ZooKeeper sessions from 1. A new number
	// means that no watch set under an older one will ever fire.
	Session uint64
	// SessionID is ZooKeeper's name for the session.
	SessionID int64
}

// WatchBudget is what the watches of one client may cost in total, summed by
// [WatchCost]. After a cut libzookeeper sends all of them in one request; above
// the server's default jute.maxbuffer the server cuts the connection again, and
// so on for ever.
const WatchBudget = 1_048_575 - 28

// WatchCost returns the bytes a watch on path takes in that request. To each watch of
// a client with a chroot the chroot's length is added.
func WatchCost(path string) int { return len(path) + 4 }
