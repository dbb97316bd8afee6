// Package zookeeper is a ZooKeeper client with the exported API of
// github.com/Shopify/gozk. It is for programs that use that package and want to be rid
// of its leaks and panics. They change one line of their go.mod:
//
//	replace github.com/Shopify/gozk => /path/to/magellan/gozk
//
// A session is opened with [Dial] and ends with [Conn.Close], or when the servers let it
// expire. A connection that breaks is made again without the program's doing; what
// happens to the session meanwhile is told on the channel that Dial returns.
//
//	conn, session, err := zookeeper.Dial("localhost:2181", 5*time.Second)
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	if event := <-session; !event.Ok() {
//		return fmt.Errorf("connecting: %v", event)
//	}
//	data, stat, watch, err := conn.GetW("/config")
//
// # Watches
//
// GetW, ChildrenW and ExistsW return a channel that gets one [Event] at most and is
// closed then. The event is the change that the watch was set for, or the session's:
// when the connection breaks each watch channel gets the state STATE_CONNECTING, is
// closed, and the watch is gone. So a program sets its watches again once the session
// channel says STATE_CONNECTED, and reads again as it does so: what has changed
// meanwhile, no event tells. Close closes all channels without an event.
//
// # Where this differs
//
// README.md beside this file lists what is not as in the original, and why.
//
// # Concurrency
//
// A Conn may be used by any number of goroutines. Its functions wait for the server's
// answer, so what runs side by side is decided by the number of goroutines that ask.
// Each request costs one C call and no OS thread.
package zookeeper
