// Package cache keeps decoded znodes in memory and true.
//
// Two forces act on an entry, and they are kept apart:
//
//   - ristretto decides what stays. It is told of an entry once, when the entry
//     is first read, and of its use once a second; afterwards it only evicts or
//     rejects it. It never holds a value: two quick Sets of one key can keep the
//     older one.
//   - ZooKeeper's watches decide what is true. An entry is a pointer that stays
//     the same while the immutable record it points at is replaced; a record is
//     vouched for by the epoch (one ZooKeeper session) its watch was set in.
//
// Regions, datacenters and bad-citizen lists are few and shared by every
// answer: they are pinned, outside ristretto, on the first session as far as that has
// room for their watches. Shops come and go under a bound in bytes. Both are spread
// over as many sessions as their watches need, because the watches of one session must fit into the one request by
// which libzookeeper sets them again after a reconnect (zk.WatchBudget).
//
// What callers may rely on:
//
//   - A value is one that ZooKeeper held no longer than Meta.Age ago. Age counts
//     from the issue of the session's last completed sync.
//   - A key never goes back in time: reads of one session are monotonic, a new
//     session syncs before it reads, and a key that was evicted is read again
//     only by a session that has synced since. Only where ZooKeeper itself has,
//     as after a restore from a backup, it follows, after a minute: its servers
//     then refuse the old sessions, and zk.Client opens others (zk.Refusal).
//   - At most one read per znode is in flight; waiting callers share it.
//   - Absence is kept like a value, under an exists watch. What exists and cannot be
//     read is never taken for absent; see fault.go.
//   - A state that has a given transaction in it is answered from memory only if
//     the session is known to be as far; see zxid.go.
//   - A change that is announced and not read yet is Updating. While ZooKeeper is away
//     the last known values are served as Stale; when it is back, entries whose watch
//     is lost are read again: those that somebody watches first, then the most used,
//     and a bounded number at a time.
//
// Around that stand a snapshot on disk for a start without ZooKeeper, a guard that
// takes the sudden loss of most of a pinned set for an accident, and an audit that
// counts what was vouched for and is not so.
//
// What no watch can tell: a server sends no event for a znode to a session that
// may not read it at that moment. Such a change is found by who asks for a fresh
// answer, and by the audit: within a minute where it is of a pinned set, in its turn
// where it is of a shop. Until then the value before is served as if it were true.
// See check.go.
//
// A [Cache] satisfies shops.Reader and is safe for concurrent use.
package cache
