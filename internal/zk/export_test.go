package zk

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// Live counts what is alive in C.
func Live() (queues, handles, multis, chunks int64) {
	l := live()
	return l.queues, l.handles, l.multis, l.chunks
}

// Allocated returns the bytes C has allocated, but for the chunks of the queues,
// which are reused: a moment's traffic decides how many there are, and Live
// counts them.
func Allocated() (bytes int64, source string) {
	const chunk = 64<<10 + 256 // its header and the allocator's
	bytes, source = allocatedC()
	_, _, _, chunks := Live()
	return bytes - chunks*chunk, source
}

// GetW, ExistsW, ChildrenW and RemoveWatch are the Async methods for tests that wait
// for the answer.

// GetW is Get with a watch.
func (c *client) GetW(ctx context.Context, path string) ([]byte, Stat, error) {
	res, err := c.do(ctx, &request{op: opGet, path: path, a: flag(true)}, decodeData)
	return res.data, res.stat, err
}

// ExistsW is Exists with a watch, which is set also if the error is ErrNoNode.
func (c *client) ExistsW(ctx context.Context, path string) (Stat, error) {
	res, err := c.do(ctx, &request{op: opExists, path: path, a: flag(true)}, decodeStat)
	return res.stat, err
}

// ChildrenW is Children with a watch.
func (c *client) ChildrenW(ctx context.Context, path string) ([]string, Stat, error) {
	res, err := c.do(ctx, &request{op: opChildren, path: path, a: flag(true)}, decodeNames)
	return res.names, res.stat, err
}

// RemoveWatch removes watches, see RemoveWatchAsync.
func (c *client) RemoveWatch(ctx context.Context, path string, kind WatchKind) error {
	ch := make(chan error, 1)
	c.RemoveWatchAsync(path, kind, func(err error) { ch <- err })
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return c.ended(ctx, opRemoveWatch, path)
	}
}

// InFlight returns the calls that wait for an answer.
func (c *client) InFlight() int {
	c.callsMu.Lock()
	defer c.callsMu.Unlock()
	return len(c.calls)
}

func TestConstants(t *testing.T) {
	for name, c := range constantsC() {
		if c[0] != c[1] {
			t.Errorf("%s is %d, libzookeeper says %d", name, c[0], c[1])
		}
	}
}

// What servers and libzookeeper say of the end of a session, callers get as one
// of two codes, at which they can try again.
func TestCodeOf(t *testing.T) {
	c := new(client)
	for rc, want := range map[int32]Code{
		0: 0, int32(ErrNoNode): ErrNoNode, -12: ErrSessionExpired, int32(ErrSessionExpired): ErrSessionExpired,
		-118: ErrConnectionLoss, int32(ErrClosed): ErrConnectionLoss,
	} {
		if got := c.codeOf(rc); got != want {
			t.Errorf("%d is %v, not %v", rc, got, want)
		}
	}
	c.closing = true
	if got := c.codeOf(int32(ErrClosed)); got != ErrClosed {
		t.Errorf("while the client is being closed: %v", got)
	}
}

// CompleteVoid and CompleteMulti answer a request with a code of the server's, and
// return what the caller gets: for a multi the errors of the part and of the whole.
func (c *client) CompleteVoid(rc Code) error { return <-c.completeVoid(rc) }

func (c *client) CompleteMulti(part, rc Code) (ofPart, whole error) {
	r := <-c.completeMulti(part, rc)
	if len(r.ops) != 1 {
		return nil, r.err
	}
	return r.ops[0].Err, r.err
}

// ResolutionDelay is a delay as libzookeeper has it, in milliseconds.
var ResolutionDelay = resolutionDelay

// The codes that callers never get.
const (
	UnknownSession = unknownSession
	SessionMoved   = sessionMoved
)

// DropWhileOpening drops the client's handle in the moment in which it has been
// opened, as Close and the end of a session may, and calls then before the goroutine
// that opens it goes on: with the handle closed. It returns false if it came too late.
func (c *client) DropWhileOpening(then func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.handle
	for h == nil {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		h = c.handle
	}
	select {
	case <-h.opened:
		return false // what opens it may have gone on
	default:
	}
	_, before, _, _ := Live()
	c.detachLocked(h, ErrConnectionLoss)
	go c.closeHandle(h) // it ends after this, because it tells the dispatcher
	for _, now, _, _ := Live(); now == before; _, now, _, _ = Live() {
		time.Sleep(time.Millisecond)
	}
	then()
	return true
}

func TestCheckPath(t *testing.T) {
	for path, good := range map[string]bool{
		"": false, "/": true, "a": false, "/a": true, "/a/": false, "//": false, "/a//b": false, "/a\x00b": false,
		"/.": false, "/..": false, "/a/./b": false, "/a/../b": false, "/...": true, "/.a": true, "/a..": true,
		"/\x1f": false, "/\x7f": false, "/\xff": false, "/é": true, "/a b": true,
	} {
		if err := checkPath(opGet, path, false); (err == nil) != good {
			t.Errorf("%q: %v", path, err)
		}
	}
	for path, good := range map[string]bool{"/": true, "/a/": true, "/a//": false, "/a/.": true, "/./a": false} {
		if err := checkPath(opCreate, path, true); (err == nil) != good {
			t.Errorf("sequential %q: %v", path, err)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for v, good := range map[string]bool{"3.8.0": true, "3.6.0": true, "4.0": true, "3.5.9": false, "2.9.9": false, "": false, "x.y": false} {
		if err := checkVersion(v); (err == nil) != good {
			t.Errorf("%q: %v", v, err)
		}
	}
}
