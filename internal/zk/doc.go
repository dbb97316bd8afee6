// Package zk is a ZooKeeper client on the asynchronous half of
// libzookeeper_mt.
//
// It is for programs that keep many reads and watches in flight and must know how
// current their data is: internal/cache is built on it. It is not a recipe library
// (no locks, no elections) and it caches nothing.
//
// # How it works
//
// A [Client] owns one libzookeeper handle at a time, that is one session. One C call
// queues a request. Its completion runs on libzookeeper's completion thread and copies
// the answer into the client's queue (callback.c). Each Client has one goroutine, the
// dispatcher, which takes everything that is in the queue with one C call. The
// dispatcher waits in Go's netpoller, on an eventfd. So no OS thread is blocked for a
// request or for a client, and C never calls Go.
//
// The dispatcher delivers answers, watch events and session events, in the order in
// which libzookeeper delivered them. So when the answer to a Sync arrives, every watch
// event for a change before that sync has arrived. The functions given to [Config] and
// to the Async methods run on the dispatcher. They must not block, and must not call
// Close or the methods that take a context. They may call the Async methods.
//
// # Watches
//
// libzookeeper has one-shot watches only. All watches of a client go to its one
// [Config].OnWatch. libzookeeper has the same watcher for all paths, and keeps one
// entry per path and kind, however often the watch is set. Go keeps no table at all. A
// watch that is set twice fires once. After a cut libzookeeper sets the watches again by
// itself, and the server fires those whose znode has changed meanwhile. There is no
// event for a znode that was created and deleted again meanwhile. Keep the sum of
// [WatchCost] below [WatchBudget], or no reconnect will ever succeed.
//
// # Sessions
//
// When a session expires, the client opens another one, with a backoff. The new session
// is [Ready] only after a sync. Reads are monotonic only within one session: compare
// zxids across sessions.
//
// # Lost transactions
//
// A server refuses a session that has seen a transaction which the server has not.
// A follower that lags behind does so for a moment, and libzookeeper goes to another
// server. After a restore from a backup, or with an empty data directory, all servers
// do so for good: see refused.go. The client detects and reports this ([Client.Refused],
// the log, metrics). Once it has lasted for [Config].LostAfter, the client opens another
// session. If more transactions are written than were lost before the client is back,
// the server accepts the session as if nothing had happened, and the client cannot
// detect the loss.
//
// # What is not done
//
// If the number of addresses is even, the distribution's libzookeeper may try only half
// of them after it has lost its server (ZOOKEEPER-2466). build/native.sh fixes that.
// libzookeeper checks no host names in TLS certificates, leaks the names of the
// certificate files once for each TLS session, and has no persistent watches.
//
// # Memory
//
// A completion's context is a number and not a pointer, and the C memory of a Multi
// belongs to the handle. So a completion that never fires leaks nothing. TestNoLeaks
// checks that. go test -asan ./internal/zk runs all tests under the address and the leak
// sanitizer, libzookeeper included.
//
// # Concurrency
//
// All methods of a Client may be called by any number of goroutines.
package zk
