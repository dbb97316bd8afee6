package zookeeper

import (
	"sync"
	"sync/atomic"

	"github.com/Shopify/gozk/internal/zk"
)

// pending is what CountPendingWatches returns.
var pending atomic.Int64

// CountPendingWatches returns how many channels of all Conns are open: one for each
// session and one for each watch that has not fired. It is for tests, and for finding
// out who sets watches for ever.
func CountPendingWatches() int { return int(pending.Load()) }

// watches are the watch channels of a Conn. libzookeeper has one entry for each path and
// kind, however often the watch is set, and zk tells of each event once. So all channels
// of a path and kind are fired together.
type watches struct {
	// forget removes a path's watches from libzookeeper.
	forget func(path string)

	mu     sync.Mutex
	closed bool // by Close: no channel is added any more
	paths  map[string]*watched
}

// watched are the channels of one path.
type watched struct {
	// channels by kind: of what GetW and ExistsW watch, and of what ChildrenW watches.
	channels [2][]chan Event
	// asking counts the requests on their way that set a watch.
	asking int
	// forgotten says that the path was to be forgotten while a request was on its way.
	forgotten bool
}

// The kinds, as indices of watched.channels.
const (
	ofData = iota
	ofChildren
)

// ask notes a request that sets a watch. Each must be followed by one answered.
func (w *watches) ask(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.paths[path]
	if of == nil {
		of = new(watched)
		w.paths[path] = of
	}
	of.asking++
}

// answered notes the answer to a request that sets a watch, on the dispatcher. It returns
// the watch's channel, or nil if none was set.
func (w *watches) answered(path string, kind int, set bool) <-chan Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.paths[path]
	of.asking--
	if !set || w.closed {
		w.tidy(path, of)
		return nil
	}
	ch := make(chan Event, 1)
	of.channels[kind] = append(of.channels[kind], ch)
	pending.Add(1)
	return ch
}

// tidy drops the entry of a path that has nothing any more. If an earlier watch had to
// be forgotten meanwhile, it is now. mu is held.
func (w *watches) tidy(path string, of *watched) {
	if of.asking > 0 || len(of.channels[ofData])+len(of.channels[ofChildren]) > 0 {
		return
	}
	if of.forgotten && !w.closed {
		w.forget(path)
	}
	delete(w.paths, path)
}

// fire sends an event to the channels of its path and kind, on the dispatcher.
func (w *watches) fire(e zk.WatchEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.paths[e.Path]
	if of == nil {
		return // a request that failed had set the watch
	}
	kinds := []int{ofData, ofChildren}
	switch e.Type {
	case zk.Created, zk.DataChanged:
		kinds = kinds[:1]
	case zk.ChildrenChanged:
		kinds = kinds[1:]
	}
	for _, kind := range kinds {
		of.end(kind, &Event{Type: int(e.Type), Path: e.Path, State: STATE_CONNECTED})
	}
	w.tidy(e.Path, of)
}

// cut sends an event of the session to all channels, on the dispatcher: the watches are
// gone, for the program. libzookeeper would set them on the next connection again.
func (w *watches) cut(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, of := range w.paths {
		of.end(ofData, &e)
		of.end(ofChildren, &e)
		// A request on its way may have set a watch again on the next connection
		// already, and only its answer tells.
		of.forgotten = true
		w.tidy(path, of)
	}
}

// close closes all channels without an event.
func (w *watches) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for path, of := range w.paths {
		of.end(ofData, nil)
		of.end(ofChildren, nil)
		w.tidy(path, of)
	}
}

// end closes the channels of a kind. They get e first, unless it is nil; each has room
// for it, because it is the only one.
func (of *watched) end(kind int, e *Event) {
	// Who has got an event finds its channel no longer counted.
	pending.Add(-int64(len(of.channels[kind])))
	for _, ch := range of.channels[kind] {
		if e != nil {
			ch <- *e
		}
		close(ch)
	}
	of.channels[kind] = nil
}
