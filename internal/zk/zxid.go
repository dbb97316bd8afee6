package zk

import "sync/atomic"

// progress is how far the session has come: up to which transaction its answers
// show the znodes, and its watch events tell of changes. Each answer's header has
// the newest transaction of its server, see zxid.c.
//
// Events come before the answers that show their transactions, but for a server
// that is about to close a connection: it drops the watches first and the socket
// last, and an answer in between shows what no event will tell of any more. Such
// an answer is the last one on its connection, as good as always. So what it shows
// counts for events once another request, issued after it, has been answered on
// the same connection.
//
// It is the session's, and begins anew with each: ZooKeeper may have lost
// transactions that an earlier session has seen.
type progress struct {
	// handle is the number of the session's handle. Of the dispatcher alone.
	handle uint64
	// connection counts connections and cuts: a request and its answer are of one
	// connection if the number is the same.
	connection atomic.Int32
	// newest was shown on any connection, shown on this one or settled before.
	newest, shown, settled atomic.Int64
}

// saw notes the transaction of an answer, on the dispatcher.
func (p *progress) saw(zxid int64) {
	if zxid > p.shown.Load() {
		p.shown.Store(zxid)
	}
	if zxid > p.newest.Load() {
		p.newest.Store(zxid)
	}
}

// issued returns what answered wants to know of a request that is being issued.
// The order is that of reconnected, the other way round: what an earlier
// connection has shown never goes with the number of a later one.
func (p *progress) issued() (connection int32, shown int64) {
	connection = p.connection.Load()
	return connection, p.shown.Load()
}

// answered notes that a request was answered, on the dispatcher.
func (p *progress) answered(connection int32, shown int64) {
	if connection == p.connection.Load() && shown > p.settled.Load() {
		p.settled.Store(shown)
	}
}

// connected notes a new connection of a handle, on the dispatcher.
func (p *progress) connected(handle uint64) (connection int32) {
	if p.handle != handle {
		p.handle = handle
		p.newest.Store(0)
		p.settled.Store(0)
	}
	return p.reconnected()
}

// reconnected notes a cut or a new connection, on the dispatcher.
func (p *progress) reconnected() (connection int32) {
	p.shown.Store(p.settled.Load())
	return p.connection.Add(1)
}

// Zxid returns the newest transaction that an answer has shown, which what is read
// after that is as new as. It never goes back but with a new session, which begins
// with 0. It is 0 before the first answer, and always where libzookeeper is linked as a shared library, which keeps it to itself.
func (c *client) Zxid() int64 { return c.progress.newest.Load() }

// SettledZxid returns a transaction up to which all watch events have been given
// to OnWatch: the newest that was known when a request was issued that has been
// answered since. It lags behind Zxid by a round trip or, where nothing is asked,
// by the heartbeat. It goes back, and is 0, where Zxid does and is.
func (c *client) SettledZxid() int64 { return c.progress.settled.Load() }
