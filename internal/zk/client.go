package zk

/*
#include <stdlib.h>
#include "shim.h"

#cgo noescape zk_submit
#cgo nocallback zk_submit
#cgo noescape zk_take
#cgo nocallback zk_take
#cgo noescape zk_post
#cgo nocallback zk_post
*/
import "C"

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Defaults of Config.
const (
	DefaultSessionTimeout = 10 * time.Second
	DefaultHeartbeat      = time.Second
	// DefaultResolutionDelay spares the name servers: libzookeeper's own default is to
	// resolve all names on each pass of its I/O loop.
	DefaultResolutionDelay = 10 * time.Second
	// ZeroTimeout as a session timeout has libzookeeper wait for nothing: each request
	// ends with ErrOperationTimeout, though the server may have got it.
	ZeroTimeout time.Duration = -1
	// DefaultMaxRequest is the server's default jute.maxbuffer.
	DefaultMaxRequest = 1_048_575
)

// closeTimeout is how long Close may take. zookeeper_close alone may take 4.5 s.
const closeTimeout = 10 * time.Second

// Config of a Client. Only Servers is required.
type Config struct {
	// Servers are tried in random order, see ParseServers. If a chroot follows the last
	// one, all paths are below that znode, also those of errors and events.
	Servers []string
	// SessionTimeout is requested from the server, which may grant less or more.
	// libzookeeper closes a silent connection after two thirds of it. 0 is
	// DefaultSessionTimeout, ZeroTimeout is none at all.
	SessionTimeout time.Duration
	// OneSession is for programs that open another client themselves when a session
	// has ended, because its end tells them something. The client's first session is its
	// only one: after Expired or AuthFailed all requests end with ErrInvalidState, and
	// only Close is left. Open then resolves the servers' names before it returns.
	OneSession bool
	// Unproved makes the client Ready once a server has accepted the session, and not
	// only after a sync: for programs that add their credentials then, with servers that
	// answer nothing before. Such a server may have no quorum.
	Unproved bool
	// Resume, unless nil, is a session to take over: that of another client, of this
	// process or an earlier one. If the servers do not know it any more, it has expired.
	Resume *Session
	// ResolutionDelay is how often the servers' names are resolved again, so that a
	// server that has moved is found. 0 is DefaultResolutionDelay, negative is never.
	ResolutionDelay time.Duration
	// Auth is sent on every session, before anything else.
	Auth []Credential
	// TLS, unless nil, encrypts the connections.
	TLS *TLS
	// Heartbeat is the interval of the syncs that advance VerifiedAt if the caller
	// sends none. 0 is DefaultHeartbeat, negative is none.
	Heartbeat time.Duration
	// MaxRequest is the longest request in bytes that the servers accept, their
	// jute.maxbuffer. 0 is DefaultMaxRequest.
	MaxRequest int
	// OnWatch gets all watch events, in order. It runs on the dispatcher and
	// must not block. It may be called for a watch whose request has failed.
	OnWatch func(WatchEvent)
	// OnSession gets all changes of the state, in order with the watch events.
	// It runs on the dispatcher and must not block.
	OnSession func(SessionEvent)
	// LostAfter is how long the servers must refuse the session, because they have
	// lost transactions that it has seen, before the client opens another one; see
	// "Lost transactions" above. 0 is DefaultLostAfter, negative is never.
	LostAfter time.Duration
	// Logger gets changes of the state, and at debug level libzookeeper's own
	// warnings. nil: nothing is logged.
	Logger *slog.Logger
	// Observer is told what metrics want to know. It may be shared by any number of
	// Clients. nil: nobody is told.
	Observer Observer
}

// Session is what names a session, and lets a client take it over.
type Session struct {
	ID       int64
	Password [16]byte
}

// TLS names PEM files. libzookeeper needs all of CA, Cert and Key, accepts no commas in
// their names, and does not check the server's host name.
type TLS struct {
	CA, Cert, Key string
	// Password of the key; empty if it has none.
	Password string
}

func (t *TLS) arg() (string, error) {
	if t == nil {
		return "", nil
	}
	if C.zk_has_tls() == 0 {
		return "", &Error{Op: "open", Code: ErrNoTLS,
			Detail: "link with a libzookeeper_mt that was configured with OpenSSL"}
	}
	parts := []string{t.CA, t.Cert, t.Key, t.Password}
	for i, name := range []string{"CA", "Cert", "Key", "Password"} {
		if strings.ContainsAny(parts[i], ",\x00") {
			return "", &Error{Op: "open", Code: ErrBadArguments, Detail: "TLS " + name + " must not contain a comma or NUL"}
		}
		if i == 3 {
			break
		}
		f, err := os.Open(parts[i])
		if err != nil {
			return "", &Error{Op: "open", Code: ErrBadArguments, Detail: "TLS " + name + ": " + err.Error()}
		}
		f.Close()
	}
	if t.Password == "" {
		parts = parts[:3]
	}
	return strings.Join(parts, ","), nil
}

// Version returns the version of libzookeeper this was built against.
func Version() string { return C.GoString(C.zk_header_version()) }

// HasTLS reports whether this process was linked with a libzookeeper that can
// do TLS.
func HasTLS() bool { return C.zk_has_tls() != 0 }

// Client is one connection to a ZooKeeper ensemble, kept up across cuts,
// expired sessions and changes of the server list.
type Client struct {
	// The goroutines of a client refer only to the inner client, so that a Client that
	// was dropped without Close can be detected, see invariants_on.go.
	*client
}

type client struct {
	cfg      Config
	log      *slog.Logger
	observer Observer
	tls      string
	chroot   string // empty for none
	opener   openerNote

	queue  *C.zk_queue
	wakeup *os.File // the queue's eventfd

	// mu prevents that handle is closed during a call of C, see type handle. Requests
	// hold it for reading. Who replaces the handle holds it for writing.
	mu      sync.RWMutex
	handle  *handle
	gone    Code // why there is no handle
	closing bool
	freed   bool // the queue is gone
	auth    []Credential
	servers []string

	resolutionDelay atomic.Int32 // as libzookeeper has it, in milliseconds

	callsMu sync.Mutex
	calls   map[uint64]call
	lastID  uint64
	stopped bool // the dispatcher answers no more calls

	stateMu   sync.Mutex
	state     State
	session   uint64
	sessionID int64
	password  [16]byte
	changed   chan struct{} // closed and replaced with each change of the state

	verified atomic.Int64 // nanoseconds since started; 0 is never
	started  time.Time
	progress progress
	doubt    atomic.Pointer[doubt] // see refused.go; nil: none

	// Of the dispatcher alone.
	silent bool // after Closed only errors are delivered

	beatMu       sync.Mutex
	beat         *time.Timer
	beatInFlight atomic.Bool

	resume     *Session // for the next handle; of the goroutine that opens handles
	lastHandle atomic.Uint64
	backoff    atomic.Int64       // nanoseconds
	retry      chan time.Duration // the session is gone: open another one after this long
	background sync.WaitGroup     // goroutines that open and close handles
	quit       chan struct{}      // closed by Close
	done       chan struct{}      // closed when nothing is left
}

// Open returns a Client at once. The Client connects in the background, see
// [Client.WaitReady]. Open fails only for a Config that can never work.
func Open(cfg Config) (*Client, error) {
	if err := checkVersion(Version()); err != nil {
		return nil, err
	}
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = DefaultSessionTimeout
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.MaxRequest == 0 {
		cfg.MaxRequest = DefaultMaxRequest
	}
	if cfg.LostAfter == 0 {
		cfg.LostAfter = DefaultLostAfter
	}
	if cfg.ResolutionDelay == 0 {
		cfg.ResolutionDelay = DefaultResolutionDelay
	}
	bad := func(format string, args ...any) error {
		return &Error{Op: "open", Code: ErrBadArguments, Detail: fmt.Sprintf(format, args...)}
	}
	if cfg.SessionTimeout != ZeroTimeout && (cfg.SessionTimeout < time.Millisecond || cfg.SessionTimeout > time.Hour*24) {
		return nil, bad("session timeout %v is not between 1 ms and 24 h", cfg.SessionTimeout)
	}
	servers, chroot, err := ParseServers(cfg.Servers...)
	if err != nil {
		return nil, err
	}
	for _, a := range cfg.Auth {
		if err := checkCredential(a); err != nil {
			return nil, err
		}
	}
	if cfg.Resume != nil && cfg.Resume.ID == 0 {
		return nil, bad("the session to resume has the id 0, which no session has")
	}
	tls, err := cfg.TLS.arg()
	if err != nil {
		return nil, err
	}
	c := &client{
		cfg:      cfg,
		log:      cfg.Logger,
		observer: cfg.Observer,
		tls:      tls,
		gone:     ErrConnectionLoss,
		auth:     slices.Clone(cfg.Auth),
		servers:  servers,
		chroot:   chroot,
		calls:    make(map[uint64]call),
		changed:  make(chan struct{}),
		started:  time.Now(),
		retry:    make(chan time.Duration, 1),
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.observer == nil {
		c.observer = nobody{}
	}
	if c.queue = C.zk_queue_new(); c.queue == nil {
		return nil, &Error{Op: "open", Code: ErrSystem, Errno: syscall.EMFILE, Detail: "eventfd: no file descriptor left; raise the limit (ulimit -n)"}
	}
	c.wakeup = os.NewFile(uintptr(C.zk_queue_fd(c.queue)), "zookeeper-events")
	c.observer.Add(Clients, 1)
	if r := cfg.Resume; r != nil {
		c.resume = r
		c.session, c.sessionID, c.password = 1, r.ID, r.Password
	}
	c.resolutionDelay.Store(int32(resolutionDelay(cfg.ResolutionDelay)))
	go c.dispatch()
	if cfg.OneSession {
		if err := c.openHandle(); err != nil {
			_ = c.Close() // there is no handle that could be slow
			return nil, err
		}
	} else {
		c.background.Add(1)
		go c.keepSession()
	}
	outer := &Client{c}
	noteOpener(outer)
	return outer, nil
}

// Close closes the session and frees all resources. Calls in flight end with ErrClosed:
// the functions of Async calls are called with it on the dispatcher, before Close
// returns. A paused server delays Close by a second or two. After ten seconds Close
// returns an error, and the rest is done in the background. Close may be called twice.
// It must not be called from a callback.
func (c *client) Close() error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.gone = ErrClosed
	h := c.handle
	mine := c.detachLocked(h, ErrClosed)
	c.mu.Unlock()
	if first {
		c.forgetOpener()
		c.endDoubt()
		close(c.quit)
		c.stopBeat()
		if mine {
			go c.closeHandle(h)
		}
		c.wakeDispatcher(wakeClosing, 0)
		go c.finish()
	}
	select {
	case <-c.done:
		return nil
	case <-time.After(closeTimeout):
		return &Error{Op: "close", Code: ErrOperationTimeout,
			Detail: "libzookeeper is still closing its handle (a name server or a TLS peer that does not answer?); it goes on in the background"}
	}
}

// finish waits until no handle is left that could put records into the queue. Then it
// stops the dispatcher.
func (c *client) finish() {
	c.background.Wait()
	c.wakeDispatcher(wakeStop, 0)
}

// State returns the present state.
func (c *client) State() State {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	return c.state
}

// SessionID returns ZooKeeper's name for the present or last session, 0 before
// the first.
func (c *client) SessionID() int64 {
	id, _ := c.SessionCredentials()
	return id
}

// SessionCredentials returns the id and the password of the present or last
// session; see Config.Resume for what they are good for.
func (c *client) SessionCredentials() (id int64, password []byte) {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	return c.sessionID, slices.Clone(c.password[:])
}

// VerifiedAt returns the time at which the newest completed sync was issued, by the
// caller or by the heartbeat. All watch events that came before its answer have been
// delivered, so what was read and watched was true at that time. Reads do not count,
// because a follower may lag. VerifiedAt is zero before the first sync, and never goes
// back.
func (c *client) VerifiedAt() time.Time {
	if n := c.verified.Load(); n != 0 {
		return c.started.Add(time.Duration(n))
	}
	return time.Time{}
}

// WaitReady returns nil when the client is Ready. Otherwise it returns the reason why
// the client will not be Ready soon: the context's error, ErrAuthFailed, ErrClosed or,
// if it has one session only, ErrSessionExpired.
func (c *client) WaitReady(ctx context.Context) error {
	for {
		c.stateMu.Lock()
		state, changed := c.state, c.changed
		c.stateMu.Unlock()
		switch state {
		case Ready:
			return nil
		case AuthFailed:
			return &Error{Op: "connect", Code: ErrAuthFailed, Detail: "check the credentials' schemes"}
		case Expired:
			if c.cfg.OneSession {
				return &Error{Op: "connect", Code: ErrSessionExpired}
			}
		case Closed:
			return &Error{Op: "connect", Code: ErrClosed}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("zookeeper: connect to %s: %w", strings.Join(c.Servers(), ","), context.Cause(ctx))
		}
	}
}

// Servers returns the servers' addresses, without the chroot.
func (c *client) Servers() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.servers)
}

func checkCredential(a Credential) error {
	if a.Scheme == "" || strings.IndexByte(a.Scheme, 0) >= 0 {
		return &Error{Op: "add auth", Code: ErrBadArguments, Detail: "the scheme must not be empty or hold a NUL; digest is the usual one"}
	}
	return nil
}

func checkVersion(v string) error {
	major, rest, _ := strings.Cut(v, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil || a < minMajor || a == minMajor && b < minMinor {
		return &Error{Op: "open", Code: ErrUnimplemented,
			Detail: fmt.Sprintf("libzookeeper_mt %s is too old: %d.%d.0 or newer is needed", v, minMajor, minMinor)}
	}
	return nil
}
