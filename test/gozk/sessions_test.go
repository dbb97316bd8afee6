package gozk_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	zookeeper "github.com/Shopify/gozk"

	"magellan/internal/zk/zktest"
)

// expire ends the Conn's session on the server.
func expire(t testing.TB, s *zktest.Server, conn *zookeeper.Conn) {
	t.Helper()
	id, password := credentials(t, conn.ClientId())
	must(t, s.Expire(id, password))
}

func TestDialErrors(t *testing.T) {
	for servers, want := range map[string]error{
		"": syscall.EINVAL, "no-port": syscall.EINVAL, "127.0.0.1:0": syscall.EINVAL, "127.0.0.1:99999": syscall.EINVAL, "127.0.0.1:2181/a/": syscall.EINVAL,
		"127.0.0.1:1,no-port": syscall.EINVAL, "[::1]": syscall.EINVAL, ":2181": syscall.EINVAL, ",": syscall.EINVAL, "no-such-host.invalid:2181": syscall.ENOENT,
	} {
		before := zookeeper.CountPendingWatches()
		conn, session, err := zookeeper.Dial(servers, sessionTimeout)
		if conn != nil || session != nil || !errors.Is(err, want) {
			t.Errorf("%q: %v, %v", servers, conn, err)
		}
		wantError(t, err, zookeeper.ZSYSTEMERROR, "dial", "")
		if err != nil && err.Error() != "zookeeper: dial: "+want.Error() {
			t.Errorf("%q: %v", servers, err)
		}
		if n := zookeeper.CountPendingWatches() - before; n != 0 {
			t.Errorf("%q left %d channels", servers, n)
		}
	}
}

// A server that answers nothing to who has not said who it is: programs do so once
// they are connected.
func TestServerThatWantsAuthentication(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t, zktest.WithLines("enforce.auth.enabled=true", "enforce.auth.schemes=digest"))
	conn, session := dial(t, s.Addr(), sessionTimeout)
	must(t, conn.AddAuth("digest", "joe:passwd"))
	create(t, conn, "/a", "x")
	wantQuiet(t, session)
}

// An IPv6 address stands with brackets or without.
func TestIPv6(t *testing.T) {
	t.Parallel()
	s := shared(t)
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	l.Close()
	p := proxyAt(t, "[::1]:0", s.server)
	_, port, err := net.SplitHostPort(p.Listen)
	must(t, err)
	for _, at := range []string{"[::1]:" + port, "::1:" + port} {
		conn, _ := dial(t, at+s.root, sessionTimeout)
		if got, err := conn.CurrentServer(); err != nil || got != "[::1]:"+port {
			t.Errorf("%s: connected to %q, %v", at, got, err)
		}
	}
}

// Nobody listens there: requests fail, no event comes, and Close is quick.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.Close()
	conn, session, err := zookeeper.Dial(l.Addr().String(), sessionTimeout)
	must(t, err)
	wantAll(t, conn, "/a", zookeeper.ZCONNECTIONLOSS)
	wantQuiet(t, session)
	if at, err := conn.CurrentServer(); at != "" || err == nil || conn.ConnectedServer() != "" {
		t.Errorf("connected to %q (%q), %v", at, conn.ConnectedServer(), err)
	}
	if b, err := conn.ClientId().Save(); err != nil || string(b) != strings.Repeat("\x00", 24) {
		t.Errorf("a session without a server: %q, %v", b, err)
	}
	must(t, conn.Close())
	wantClosed(t, session)
}

// A timeout of nothing is one.
func TestZeroTimeout(t *testing.T) {
	t.Parallel()
	conn, _, err := zookeeper.Dial(shared(t).Addr(), 0)
	must(t, err)
	eventually(t, "a request timed out", func() bool {
		_, _, err := conn.Get("/")
		return zookeeper.IsError(err, zookeeper.ZOPERATIONTIMEOUT)
	})
	must(t, conn.Close())
}

// A session outlives its Conn's process, by Save and Redial.
func TestRedial(t *testing.T) {
	t.Parallel()
	s := shared(t)
	p := through(t, s.server)
	first, session := dial(t, s.behind(p.Listen), expirable)
	_, err := first.Create("/mine", "", zookeeper.EPHEMERAL, everybody)
	must(t, err)
	saved, err := first.ClientId().Save()
	must(t, err)
	p.Stop() // the first one's process has died
	wantState(t, session, zookeeper.STATE_CONNECTING)

	id, err := zookeeper.LoadClientId(saved)
	must(t, err)
	second, session, err := zookeeper.Redial(s.Addr(), expirable, id)
	must(t, err)
	if !reflect.DeepEqual(second.ClientId(), id) {
		t.Error("before it is connected, ClientId is not that of Redial")
	}
	wantState(t, session, zookeeper.STATE_CONNECTED)
	stat, err := second.Exists("/mine")
	if err != nil || stat == nil || !reflect.DeepEqual(second.ClientId(), id) {
		t.Fatalf("%+v, %v", stat, err)
	}
	// The saved id is the server's number, the highest byte first.
	if owner, _ := credentials(t, id); stat.EphemeralOwner() != owner {
		t.Errorf("the session is %#x for the server, and was saved as %#x", stat.EphemeralOwner(), owner)
	}
	must(t, second.Close())

	third, session, err := zookeeper.Redial(s.Addr(), expirable, id)
	must(t, err)
	wantState(t, session, zookeeper.STATE_EXPIRED_SESSION)
	wantAll(t, third, "/a", zookeeper.ZINVALIDSTATE)
	must(t, third.Close())

	for _, none := range []*zookeeper.ClientId{nil, {}} {
		fourth, session, err := zookeeper.Redial(s.Addr(), expirable, none)
		must(t, err)
		wantState(t, session, zookeeper.STATE_CONNECTED)
		if stat, err := fourth.Exists("/mine"); err != nil || stat != nil {
			t.Errorf("an ephemeral node of a closed session: %+v, %v", stat, err)
		}
		must(t, fourth.Close())
	}
}

// Close waits for the answers that are on their way, and gives them to who waits.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	conn, _ := dial(t, s.Addr(), sessionTimeout)
	create(t, conn, "/a", "x")
	must(t, s.Pause())
	answers := make(chan error, len(requests))
	for _, r := range requests[:6] { // those that only read
		go func() {
			_, err := r.ask(conn, "/a")
			answers <- err
		}()
	}
	time.Sleep(100 * time.Millisecond) // so that they are on their way: if not, the test sees less
	closed := make(chan error, 1)
	go func() { closed <- conn.Close() }()
	select {
	case err := <-closed:
		t.Errorf("Close has not waited: %v", err)
	case err := <-answers:
		t.Errorf("a paused server has answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	must(t, s.Resume())
	for range 6 {
		if err := <-answers; err != nil && !zookeeper.IsError(err, zookeeper.ZCLOSING) { // it came too late
			t.Error(err)
		}
	}
	must(t, <-closed)
}

// A Conn that is closed between two connections ends its session nevertheless. On a
// machine that stands still for longer than Close waits it does not: so one of some will
// do. Their sessions would live for longer than this test otherwise.
func TestCloseBetweenConnections(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t, zktest.WithLines("maxSessionTimeout=3600000"))
	p := through(t, s.Addr())
	other, _ := dial(t, s.Addr(), sessionTimeout)
	for range 10 {
		// libzookeeper waits for a sixtieth of this before it connects again.
		conn, session := dial(t, p.Listen, 40*time.Second)
		path, err := conn.Create("/mine-", "", zookeeper.EPHEMERAL|zookeeper.SEQUENCE, everybody)
		must(t, err)
		cut(t, p)
		wantState(t, session, zookeeper.STATE_CONNECTING)
		must(t, conn.Close())
		for range 100 { // the server does it in its own time
			if stat, err := other.Exists(path); stat == nil && err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Error("ten sessions live on")
}

// SetServers moves the session to another server, and tells where it is.
func TestSetServers(t *testing.T) {
	t.Parallel()
	s := shared(t)
	a, b := through(t, s.server), through(t, s.server)
	conn, session := dial(t, s.behind(a.Listen), sessionTimeout)
	id := conn.ClientId()
	conn.SetServersResolutionDelay(time.Second)
	for _, bad := range []string{"", "no-port", "x y:1"} {
		conn.SetServers(bad) // is logged
	}
	for _, to := range []string{b.Listen, a.Listen} {
		conn.SetServers(to)
		wantState(t, session, zookeeper.STATE_CONNECTING)
		wantState(t, session, zookeeper.STATE_CONNECTED)
		if at, err := conn.CurrentServer(); err != nil || at != to || conn.ConnectedServer() != to {
			t.Errorf("connected to %q (%q), %v, not to %s", at, conn.ConnectedServer(), err, to)
		}
	}
	if !reflect.DeepEqual(conn.ClientId(), id) {
		t.Error("it is another session")
	}
	a.Stop()
	wantState(t, session, zookeeper.STATE_CONNECTING)
	if at, err := conn.CurrentServer(); err == nil || conn.ConnectedServer() != a.Listen {
		t.Errorf("without a connection: %q, %v, %q", at, err, conn.ConnectedServer())
	}
}

// SetLogLevel decides what is written to the standard error, here of a process that
// loses its connection.
func TestSetLogLevel(t *testing.T) {
	if os.Getenv("GOZK_LOG_LEVEL") != "" {
		if level, err := strconv.Atoi(os.Getenv("GOZK_LOG_LEVEL")); err == nil {
			zookeeper.SetLogLevel(level)
		}
		s := shared(t)
		p := through(t, s.server)
		conn, session := dial(t, s.behind(p.Listen), sessionTimeout)
		p.Stop()
		wantState(t, session, zookeeper.STATE_CONNECTING)
		must(t, conn.Close())
		return
	}
	t.Parallel()
	s := shared(t)
	for level, want := range map[string]struct{ some, none []string }{
		"default": {nil, []string{"level="}}, "0": {nil, []string{"level="}},
		"1": {[]string{"level=ERROR"}, []string{"level=WARN", "level=INFO"}},
		"2": {[]string{"level=ERROR", "zookeeper: disconnected"}, []string{"level=INFO"}},
		"3": {[]string{"level=ERROR", "zookeeper: disconnected", "zookeeper: ready"}, nil},
	} {
		child := exec.Command(os.Args[0], "-test.run=^TestSetLogLevel$", "-test.v")
		child.Env = append(os.Environ(), "GOZK_LOG_LEVEL="+level, sharedServer+"="+s.server)
		var out, log strings.Builder
		child.Stdout, child.Stderr = &out, &log
		if err := child.Run(); err != nil {
			t.Fatalf("%v\n%s%s", err, out.String(), log.String())
		}
		for _, some := range want.some {
			if !strings.Contains(log.String(), some) {
				t.Errorf("level %s: no %q in\n%s", level, some, log.String())
			}
		}
		for _, none := range want.none {
			if strings.Contains(log.String(), none) {
				t.Errorf("level %s: %q in\n%s", level, none, log.String())
			}
		}
	}
}
