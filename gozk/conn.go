package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/Shopify/gozk/internal/zk"
)

// Conn is one session with a ZooKeeper ensemble. A connection that breaks is made again,
// with the same session; a session that has ended is not followed by another one. A Conn
// must be closed. It may be used by any number of goroutines.
type Conn struct {
	client  *zk.Client
	session *session
	watches watches

	// mu keeps Close waiting: who waits for an answer holds it for reading.
	mu     sync.RWMutex
	closed bool

	server atomic.Pointer[string] // the last connection's
}

// Dial opens a session and returns at once; the first event on the channel is that of
// the state STATE_CONNECTED, once a server has accepted the session.
//
// servers are those of one ensemble, such as "zk1:2181,zk2:2181,zk3:2181". They are tried
// in random order. A path behind the last one, such as "zk1:2181,zk2:2181/app", is the
// node that the Conn takes for the root.
//
// recvTimeout is asked for as the session's timeout, which the servers may change. Of
// less than a millisecond it means that nothing is waited for: each request ends with
// ZOPERATIONTIMEOUT.
//
// The channel gets an event for each change of the session's state. It holds the newest
// 32 of them, and is closed by Close.
//
// The error is an [*Error] with ZSYSTEMERROR: EINVAL for servers that cannot be read,
// ENOENT for a name that cannot be resolved, EMFILE if the process has too many open
// files, or 4,096 Conns. What is wrong is logged, see SetLogLevel.
func Dial(servers string, recvTimeout time.Duration) (*Conn, <-chan Event, error) {
	return dial(servers, recvTimeout, nil)
}

// Redial is Dial for a session that there is already: that of another Conn, of this
// process or an earlier one. If the servers do not know it any more, the first event says
// STATE_EXPIRED_SESSION. A nil clientId, or one from before a session, is Dial.
func Redial(servers string, recvTimeout time.Duration, clientId *ClientId) (*Conn, <-chan Event, error) {
	if clientId == nil || clientId.session.ID == 0 {
		return dial(servers, recvTimeout, nil)
	}
	resume := clientId.session
	return dial(servers, recvTimeout, &resume)
}

func dial(servers string, timeout time.Duration, resume *zk.Session) (*Conn, <-chan Event, error) {
	conn := &Conn{session: newSession()}
	conn.watches.paths = map[string]*watched{}
	conn.watches.forget = func(path string) { conn.client.ForgetWatch(path, zk.WatchAny) }
	// The function OnSession may be called before Open has returned.
	opened := make(chan struct{})
	list, err := serverList(servers)
	cfg := zk.Config{
		Servers:        []string{list},
		SessionTimeout: min(timeout.Truncate(time.Millisecond), 24*time.Hour),
		OneSession:     true,
		Unproved:       true,
		Resume:         resume,
		Heartbeat:      -1,
		// What is too long, the server says, by closing the connection.
		MaxRequest: math.MaxInt32,
		OnWatch:    func(e zk.WatchEvent) { conn.watches.fire(e) },
		OnSession: func(e zk.SessionEvent) {
			if e.State != zk.Closed { // Close needs no telling, and an Open that fails waits for it
				<-opened
				conn.onSession(e)
			}
		},
		Logger: logger,
	}
	if cfg.SessionTimeout <= 0 {
		cfg.SessionTimeout = zk.ZeroTimeout
	}
	if err == nil {
		conn.client, err = zk.Open(cfg)
	}
	close(opened)
	if err != nil {
		logger.Error("zookeeper: dial: no session was opened", slog.Any("error", err))
		conn.session.close()
		e := errorOf("dial", "", err).(*Error)
		if e.Code != ZSYSTEMERROR {
			e.Code, e.SystemError = ZSYSTEMERROR, syscall.EINVAL
		}
		return nil, nil, e
	}
	return conn, conn.session.events, nil
}

// serverList returns servers as zk has them. Here each needs a port, which zk would give
// the default one, and an IPv6 address may stand without brackets: what follows the last
// colon is the port.
func serverList(servers string) (string, error) {
	hosts, chroot, hasChroot := strings.Cut(servers, "/")
	list := strings.Split(hosts, ",")
	for i, server := range list {
		server = strings.TrimSpace(server)
		colon := strings.LastIndexByte(server, ':')
		switch {
		case server == "":
			continue
		case colon < 0 || strings.HasSuffix(server, "]"):
			return "", &zk.Error{Op: "servers", Code: zk.ErrBadArguments, Detail: fmt.Sprintf("server %q has no port: write HOST:PORT", server)}
		case strings.Contains(server[:colon], ":") && server[0] != '[':
			server = net.JoinHostPort(server[:colon], server[colon+1:])
		}
		list[i] = server
	}
	hosts = strings.Join(list, ",")
	if hasChroot {
		hosts += "/" + chroot
	}
	return hosts, nil
}

// onSession tells the program of a change of the state, on the dispatcher.
func (conn *Conn) onSession(e zk.SessionEvent) {
	state := STATE_CONNECTED
	switch e.State {
	case zk.Ready:
		server := conn.client.ConnectedServer()
		conn.server.Store(&server)
	case zk.Disconnected:
		state = STATE_CONNECTING
	case zk.Expired:
		state = STATE_EXPIRED_SESSION
	case zk.AuthFailed:
		state = STATE_AUTH_FAILED
	}
	if state != STATE_CONNECTED {
		conn.watches.cut(Event{Type: EVENT_SESSION, State: state})
	}
	conn.session.tell(state)
}

// Close waits until the requests on their way are answered, ends the session, and with
// it its ephemeral nodes, and closes all channels. All requests that follow, and Close
// itself, return ZCLOSING. If the servers are silent, requests on their way end after two
// thirds of the session's timeout, and without any Close takes eleven seconds at most.
func (conn *Conn) Close() error {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.closed {
		return &Error{Op: "close", Code: ZCLOSING}
	}
	conn.closed = true
	conn.waitConnected()
	err := conn.client.Close()
	conn.watches.close()
	conn.session.close()
	return errorOf("close", "", err)
}

// closeGrace is how long Close waits for a connection to tell the servers by that the
// session has ended. Otherwise they keep it, with its ephemeral nodes, until it expires.
const closeGrace = time.Second

// waitConnected waits until a session that is between two connections has one.
func (conn *Conn) waitConnected() {
	if conn.client.State() == zk.Disconnected {
		ctx, cancel := context.WithTimeout(noDeadline, closeGrace)
		defer cancel()
		_ = conn.client.WaitReady(ctx) // without a connection nothing can be told
	}
}

// begin must come before a request and end after it. The error is ZCLOSING.
func (conn *Conn) begin(op, path string) error {
	conn.mu.RLock()
	if conn.closed {
		conn.mu.RUnlock()
		return &Error{Op: op, Path: path, Code: ZCLOSING}
	}
	return nil
}

func (conn *Conn) end() { conn.mu.RUnlock() }

// ClientId returns what names the session, for [Redial]. Before the first event it names
// none, but that of Redial.
func (conn *Conn) ClientId() *ClientId {
	id, password := conn.client.SessionCredentials()
	return &ClientId{zk.Session{ID: id, Password: [16]byte(password)}}
}

// AddAuth gives the session an identity: cert as scheme has it, such as "digest" and
// "user:password". It is sent on each connection of the session. If the server refuses
// it, that is ZAUTHFAILED, and the end of the session. After ZCONNECTIONLOSS the identity
// is sent with the next connection.
func (conn *Conn) AddAuth(scheme, cert string) error {
	if err := conn.begin("addauth", ""); err != nil {
		return err
	}
	defer conn.end()
	return errorOf("addauth", "", conn.client.AddAuth(noDeadline, zk.Credential{Scheme: scheme, Data: cert}))
}

// SetServers replaces the servers. If the connected one is not among them, the connection
// breaks, and the session goes on with one that is. What cannot be read is logged and
// changes nothing.
func (conn *Conn) SetServers(servers string) {
	list, err := serverList(servers)
	if err == nil {
		err = conn.client.SetServers(list)
	}
	if err != nil && !errors.Is(err, zk.ErrClosed) {
		logger.Error("zookeeper: the servers were not set", slog.Any("error", err))
	}
}

// SetServersResolutionDelay sets how often the servers' names are resolved again, so that
// servers that have moved are found. 0 and less is never. Unless it is called, they are
// every ten seconds.
func (conn *Conn) SetServersResolutionDelay(delay time.Duration) {
	if delay <= 0 {
		delay = -1
	}
	conn.client.SetResolutionDelay(delay)
}

// ConnectedServer returns the address and port of the connected server or, between two
// connections, of the last one that was. It is empty if there was none.
func (conn *Conn) ConnectedServer() string {
	if server := conn.client.ConnectedServer(); server != "" {
		return server
	}
	if last := conn.server.Load(); last != nil {
		return *last
	}
	return ""
}

// errNotConnected is what CurrentServer says between two connections.
var errNotConnected = errors.New("not currently connected or unable to resolve peer")

// CurrentServer returns the address and port of the connected server. It is an error if
// there is none.
func (conn *Conn) CurrentServer() (string, error) {
	if server := conn.client.ConnectedServer(); server != "" {
		return server, nil
	}
	return "", errNotConnected
}
