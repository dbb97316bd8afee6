package gozk_test

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	zookeeper "github.com/Shopify/gozk"
	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// patience bounds each wait; it is never measured.
const patience = 2 * time.Minute

// sessionTimeout outlives what a busy machine does to a server.
const sessionTimeout = time.Minute

// expirable is the timeout of a session that a test ends on the server. A server that
// takes the client's new connection in the moment in which the session ends keeps it
// and is silent, and the client notices after two thirds of this.
const expirable = 20 * time.Second

// everybody may do everything.
var everybody = zookeeper.WorldACL(zookeeper.PERM_ALL)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until cond is true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

// dial returns a Conn that is connected, and its session's channel. It is closed with
// the test.
func dial(t testing.TB, servers string, timeout time.Duration) (*zookeeper.Conn, <-chan zookeeper.Event) {
	t.Helper()
	conn, session, err := zookeeper.Dial(servers, timeout)
	must(t, err)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil && !zookeeper.IsError(err, zookeeper.ZCLOSING) {
			t.Error(err)
		}
	})
	wantState(t, session, zookeeper.STATE_CONNECTED)
	return conn, session
}

// next returns the next event of a channel, the zero one if it is closed.
func next(t testing.TB, ch <-chan zookeeper.Event) zookeeper.Event {
	t.Helper()
	select {
	case e := <-ch:
		return e
	case <-time.After(patience):
		t.Fatalf("no event after %v", patience)
		panic("unreachable")
	}
}

// wantState fails unless the next event is the session's, of that state.
func wantState(t testing.TB, ch <-chan zookeeper.Event, state int) {
	t.Helper()
	want := zookeeper.Event{Type: zookeeper.EVENT_SESSION, State: state}
	if e := next(t, ch); e != want {
		t.Fatalf("got %v (%+v), want %v", e, e, want)
	}
}

// wantClosed fails unless the channel is closed and has no event left.
func wantClosed(t testing.TB, ch <-chan zookeeper.Event) {
	t.Helper()
	select {
	case e, open := <-ch:
		if open {
			t.Fatalf("got %v, want a closed channel", e)
		}
	case <-time.After(patience):
		t.Fatal("the channel is not closed")
	}
}

// wantQuiet fails if the channel has an event already, or is closed.
func wantQuiet(t testing.TB, ch <-chan zookeeper.Event) {
	t.Helper()
	select {
	case e, open := <-ch:
		t.Fatalf("got %v (open: %v), want nothing", e, open)
	default:
	}
}

// wantError fails unless err is of the code, the function and the path.
func wantError(t testing.TB, err error, code zookeeper.ErrorCode, op, path string) {
	t.Helper()
	e, ok := err.(*zookeeper.Error)
	if !ok || e.Code != code || e.Op != op || e.Path != path {
		t.Errorf("got %v (%#v), want code %v (%d) of %s %q", err, err, code, code, op, path)
	}
}

// wantCode fails unless err has the code.
func wantCode(t testing.TB, err error, code zookeeper.ErrorCode) {
	t.Helper()
	if !zookeeper.IsError(err, code) {
		t.Errorf("got %v, want %v", err, code)
	}
}

// through returns a proxy before the server, whose connections can be cut.
func through(t testing.TB, server string) *toxiproxy.Proxy {
	t.Helper()
	return proxyAt(t, "127.0.0.1:0", server)
}

// proxyAt returns a proxy that listens at an address of its own.
func proxyAt(t testing.TB, at, server string) *toxiproxy.Proxy {
	t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.New(io.Discard)), "zk", at, server)
	must(t, p.Start())
	t.Cleanup(p.Stop)
	return p
}

// cut ends the proxy's connections, and lets new ones come.
func cut(t testing.TB, p *toxiproxy.Proxy) {
	t.Helper()
	p.Stop()
	must(t, p.Start())
}

// credentials takes a saved session apart.
func credentials(t testing.TB, id *zookeeper.ClientId) (session int64, password []byte) {
	t.Helper()
	b, err := id.Save()
	must(t, err)
	return int64(binary.BigEndian.Uint64(b)), b[8:]
}

// create creates a node that everybody may use.
func create(t testing.TB, conn *zookeeper.Conn, path, value string) {
	t.Helper()
	if _, err := conn.Create(path, value, 0, everybody); err != nil {
		t.Fatal(err)
	}
}

// set changes a node's data, whatever its version is.
func set(t testing.TB, conn *zookeeper.Conn, path, value string) {
	t.Helper()
	if _, err := conn.Set(path, value, -1); err != nil {
		t.Fatal(err)
	}
}
