// Package zk is a ZooKeeper client on the asynchronous half of
// libzookeeper_mt.
//
// It is for programs that keep many reads and watches in flight and must know
// what they may believe: internal/cache is built on it. It is not a recipe
// library (no locks, no elections) and it caches nothing.
//
// # How it works
//
// A [Client] owns one libzookeeper handle at a time, that is one session. A
// request is one C call that queues it; its completion, on libzookeeper's
// completion thread, copies the answer into the client's queue (callback.c), and
// one goroutine per Client, the dispatcher, takes all that has gathered with
// one C call. It waits in Go's netpoller, on an eventfd: no OS thread is parked
// for a request, none for a client, and C never calls Go.
//
// Everything is delivered by the dispatcher, in the order in which libzookeeper
// delivered it: answers, watch events, session events. So when the answer to a
// Sync arrives, every watch event for a change before that sync has arrived.
// The functions given to [Config] and to the Async methods run there: they must
// not block and must not call Close or the methods that take a context; the
// Async methods they may call.
//
// # Watches
//
// libzookeeper has one-shot watches only. All watches of a client go to its one
// [Config].OnWatch: libzookeeper sees the same watcher for all paths, keeps one
// entry per path and kind however often it is set, and Go keeps no table at
// all. Setting a watch twice fires it once. After a cut libzookeeper sets the
// watches again by itself, and the server fires those whose znode has changed
// meanwhile; what was created and deleted again meanwhile is not told. Keep the
// sum of [WatchCost] below [WatchBudget], or no reconnect will ever succeed.
//
// # Sessions
//
// When a session expires the client opens another one, with a backoff; only
// after a sync is it [Ready]. Reads are monotonic within one session only:
// compare zxids across sessions.
//
// # Lost transactions
//
// A server refuses a session that has seen a transaction which the server has not.
// A follower that lags behind does so for a moment, and libzookeeper goes to another
// server. After a restore from a backup, or with an empty data directory, all servers
// do so for good: see refused.go. The client notices it, says so ([Client.Refused],
// the log, metrics), and opens another session once that has lasted for
// [Config].LostAfter. What it cannot notice is a loss of fewer transactions than are
// written before it is back: the server then takes the session as if nothing had been.
//
// # What is not done
//
// Of an even number of addresses the distribution's libzookeeper may try only half
// once it has lost its server (ZOOKEEPER-2466); build/native.sh mends that.
// libzookeeper checks no host names in TLS certificates, leaks the names of the
// certificate files once for each TLS session, and has no persistent watches.
//
// # Memory
//
// A completion's context is a number, not a pointer to something, and what a
// Multi keeps in C belongs to the handle: a completion that never fires leaks
// nothing. TestNoLeaks watches that; go test -asan ./internal/zk has the address
// and the leak sanitizer watch all tests, libzookeeper included.
//
// # Concurrency
//
// All methods of a Client may be called by any number of goroutines.
package zk
