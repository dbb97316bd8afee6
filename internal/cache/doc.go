// Package cache keeps znodes in memory, decoded and true. It knows no domain: what a cache
// mirrors is described to it in the words of internal/discovery.
//
// There are three ways to mirror something:
//
//   - [AddKeyed]: things that are found by a key and may be many. Each is one znode and one
//     entry, which is read when somebody asks for it and may be evicted.
//   - [AddView]: directories whose children are held all of them, and one value that is made
//     of them as a whole, such as a table of all routes.
//   - [AddTree]: directories that come and go, in one another, with a value for each. All of
//     them are held.
//
// Two forces act on an entry, and they are kept apart:
//
//   - ristretto decides what stays. The cache tells it of an entry once, when the entry has
//     first been read, and of its use once a second; ristretto evicts or rejects entries.
//     It never holds a value, because two quick Sets of one key can keep the older one.
//   - ZooKeeper's watches decide what is true. An entry is a pointer that stays the same,
//     while the immutable record that it points at is replaced. A record is vouched for by
//     the epoch (one ZooKeeper session) in which its watch was set.
//
// All watches are spread over as many sessions as they need, those of directories and their
// children included: the watches of one session must fit into the one request by which
// libzookeeper sets them again after a reconnect (zk.WatchBudget).
//
// What callers may rely on:
//
//   - A value is one that ZooKeeper held no longer than Meta.Age ago. Age counts from the
//     issue of the session's last completed sync.
//   - A key never goes back in time: reads of one session are monotonic, a new session syncs
//     before it reads, and a key that was evicted is read again only by a session that has
//     synced since. If ZooKeeper was restored from a backup, the cache accepts the older
//     values after a minute: ZooKeeper's servers then refuse the old sessions, and zk.Client
//     opens others (zk.Refusal).
//   - At most one read per znode is in flight; waiting callers share it.
//   - Absence is kept like a value, under an exists watch. What exists and cannot be read is
//     never taken for absent; see fault.go.
//   - A state that has a given transaction in it is answered from memory only if the session
//     is known to be as far; see zxid.go.
//   - A change that is announced and not read yet is Updating. While ZooKeeper is away the
//     last known values are served as Stale. When it is back, entries whose watch is lost are
//     read again: those that somebody watches first, then the most used, and a bounded number
//     at a time.
//
// Around that stand a snapshot on disk for a start without ZooKeeper, a guard that takes the
// sudden loss of most of a directory for an accident, and an audit that counts what was
// vouched for and is not so.
//
// No watch can tell of one kind of change: a server sends no event for a znode to a session
// that may not read it at that moment. The cache finds such a change when somebody asks for a
// fresh answer, and otherwise by the audit: within a minute in a directory, in its turn if it
// is of an entry. Until then it serves the value before as if it were true. See check.go.
//
// [New] makes a [Cache], AddKeyed, AddView and AddTree tell it what to mirror, and [Cache.Start]
// begins. A Cache and its readers are safe for concurrent use.
package cache
