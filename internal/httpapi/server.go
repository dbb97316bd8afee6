package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/services"
	"magellan/internal/shops"
	"magellan/internal/znodes"
)

// Defaults of [Config].
const (
	DefaultRequestTimeout    = 5 * time.Second
	DefaultReadHeaderTimeout = 10 * time.Second
	DefaultReadTimeout       = 30 * time.Second
	DefaultWriteTimeout      = 30 * time.Second
	DefaultIdleTimeout       = 2 * time.Minute
	DefaultMaxHeaderBytes    = 16 << 10
	DefaultMaxWait           = 5 * time.Minute
	DefaultMaxPolls          = 100_000
	DefaultMaxStreams        = 10_000
	DefaultMaxStreamKeys     = 500
	DefaultMaxWatchedKeys    = 250_000
	DefaultHeartbeat         = 15 * time.Second
	DefaultSlowReader        = 10 * time.Second
	DefaultConsulDatacenter  = "dc1" // as of Consul
)

// Config configures a [Server].
type Config struct {
	// Service answers the questions about shops, Services those about services, and Znodes
	// those about any znode. One of them is required; what the others would answer is refused.
	// They must outlive the Server.
	Service  *shops.Service
	Services *services.Registry
	Znodes   *znodes.Service
	// ConsulDatacenter is the name of the datacenter in answers to clients of Consul. Empty is
	// DefaultConsulDatacenter.
	ConsulDatacenter string
	// Ready returns nil if /readyz has to answer 200, and otherwise the reason why not. It is
	// called for every request of /readyz and must return at once. nil: always ready.
	Ready func() error
	// Logger gets requests at debug level, and internal errors at error level. nil discards
	// both. AccessLog gets requests only.
	Logger *slog.Logger
	// Registerer gets the metrics. nil: nobody can read them.
	Registerer prometheus.Registerer

	// RequestTimeout bounds how long a request waits for an answer that is not in memory.
	// After that time the answer is 504. 0 is DefaultRequestTimeout.
	RequestTimeout time.Duration
	// ReadHeaderTimeout bounds how long a client may take to send the request's header, and
	// ReadTimeout how long for the whole request. 0 is the default of that name.
	ReadHeaderTimeout, ReadTimeout time.Duration
	// WriteTimeout bounds how long a client may take to receive an answer, or the next MiB of
	// a long answer. 0 is DefaultWriteTimeout.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request. 0 is
	// DefaultIdleTimeout.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds a request's line and header, in bytes, with the empty line at
	// their end. It must be more than 4096. The answer to a longer one is 431. 0 is
	// DefaultMaxHeaderBytes.
	MaxHeaderBytes int
	// MaxConns is how many connections may be open at the same time. Further ones are closed
	// when they come. The bound leaves file descriptors to operators' connections and to those
	// that the answers come from. 0 is no bound.
	MaxConns int
	// MaxWait bounds how long a long poll waits, whatever its client prefers. 0 is
	// DefaultMaxWait.
	MaxWait time.Duration
	// MaxPolls is how many long polls may wait at the same time. Further ones are refused. 0
	// is DefaultMaxPolls.
	MaxPolls int
	// MaxStreams is how many streams may be open at the same time. Further ones are refused.
	// MaxStreamKeys is how many answers one stream may watch, and MaxWatchedKeys how many all
	// streams together may watch: a placement takes 800 bytes, and is computed again whenever
	// the topology changes. 0 is the default of that name.
	MaxStreams, MaxStreamKeys, MaxWatchedKeys int
	// Heartbeat is how often a stream sends a sign of life, and how often a long poll checks
	// that its client is still there. 0 is DefaultHeartbeat.
	Heartbeat time.Duration
	// SlowReader is how long a stream may stay unread before its client is cut off. 0 is
	// DefaultSlowReader.
	SlowReader time.Duration
	// CORSOrigins are the origins whose pages may read answers, by GET and HEAD, as browsers
	// write them: https://shop.example, http://localhost:3000, or * for all. See
	// [CheckOrigin]. Empty: none.
	CORSOrigins []string
	// AccessLog gets a line for each request that has ended, in AccessFormat. nil: there is
	// no such log. One goroutine writes it. Shutdown ends that goroutine, so Shutdown must be
	// called even if Serve is not. Requests do not wait for the log: if lines come faster than
	// it takes them, 1 MiB of them waits, and further lines are dropped and counted.
	AccessLog    io.Writer
	AccessFormat AccessFormat
	// TrustedProxies are the addresses of the proxies whose X-Forwarded-For and Forwarded are
	// believed: these headers name the client whose request a proxy passes on.
	TrustedProxies []netip.Prefix
	// TrustUnix: everybody who connects to a unix socket is a trusted proxy too. Such a peer
	// has no address. The permissions of the socket's directory decide who may connect.
	TrustUnix bool
	// DrainDelay is how long [Server.Shutdown] goes on serving before it stops accepting
	// connections. Meanwhile /readyz fails, and clients are told to close their connections.
	// The delay has to be longer than load balancers take to notice, and longer than busy
	// clients wait between two requests. The ends of long polls and of streams are spread over
	// it. 0 is no delay.
	DrainDelay time.Duration
}

// withDefaults validates c and fills in what is zero.
func (c Config) withDefaults() (Config, error) {
	if c.Service == nil && c.Services == nil && c.Znodes == nil {
		return c, errors.New("httpapi: Config.Service, Config.Services and Config.Znodes are nil")
	}
	if c.DrainDelay < 0 {
		return c, fmt.Errorf("httpapi: Config.DrainDelay is %v: want a duration, or 0 for none", c.DrainDelay)
	}
	for _, d := range []struct {
		name    string
		value   *time.Duration
		usually time.Duration
	}{
		{"RequestTimeout", &c.RequestTimeout, DefaultRequestTimeout},
		{"ReadHeaderTimeout", &c.ReadHeaderTimeout, DefaultReadHeaderTimeout},
		{"ReadTimeout", &c.ReadTimeout, DefaultReadTimeout},
		{"WriteTimeout", &c.WriteTimeout, DefaultWriteTimeout},
		{"IdleTimeout", &c.IdleTimeout, DefaultIdleTimeout},
		{"MaxWait", &c.MaxWait, DefaultMaxWait},
		{"Heartbeat", &c.Heartbeat, DefaultHeartbeat},
		{"SlowReader", &c.SlowReader, DefaultSlowReader},
	} {
		if *d.value < 0 {
			return c, fmt.Errorf("httpapi: Config.%s is %v: want a duration, or 0 for %v", d.name, *d.value, d.usually)
		}
		if *d.value == 0 {
			*d.value = d.usually
		}
	}
	for _, n := range []struct {
		name    string
		value   *int
		usually int
	}{
		{"MaxHeaderBytes", &c.MaxHeaderBytes, DefaultMaxHeaderBytes},
		{"MaxConns", &c.MaxConns, math.MaxInt},
		{"MaxPolls", &c.MaxPolls, DefaultMaxPolls},
		{"MaxStreams", &c.MaxStreams, DefaultMaxStreams},
		{"MaxStreamKeys", &c.MaxStreamKeys, DefaultMaxStreamKeys},
		{"MaxWatchedKeys", &c.MaxWatchedKeys, DefaultMaxWatchedKeys},
	} {
		if *n.value < 0 {
			return c, fmt.Errorf("httpapi: Config.%s is %d: want a positive number, or 0 for %d", n.name, *n.value, n.usually)
		}
		if *n.value == 0 {
			*n.value = n.usually
		}
	}
	if c.MaxHeaderBytes <= readAhead { // net/http would take its own bound, a MiB
		return c, fmt.Errorf("httpapi: Config.MaxHeaderBytes is %d: want more than %d", c.MaxHeaderBytes, readAhead)
	}
	if c.ConsulDatacenter == "" {
		c.ConsulDatacenter = DefaultConsulDatacenter
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Server serves the API. Use [New].
type Server struct {
	cfg      Config
	service  *shops.Service     // nil: shops are not served
	services *services.Registry // nil: services are not served
	znodes   *znodes.Service    // nil: znodes are not shown
	echo     *echo.Echo
	http     *http.Server
	metrics  *metrics
	// elsewhere is the route, for metrics and the log, of requests that no route takes.
	elsewhere *route

	drain        drain
	shutdownOnce sync.Once
	conns        atomic.Int64 // the open ones
	// goodbyeTime and accessLast are the constants of these names, except in tests.
	goodbyeTime, accessLast time.Duration
	// waiting counts the long polls that wait, the streams that are open, and their keys.
	waiting struct{ polls, streams, keys atomic.Int64 }
	cors    *cors
	// vary has the values of Vary: always is that of every answer, encoded that of answers
	// that may be compressed.
	vary struct{ always, encoded []string }

	compressors compressors
	shared      sharedQuestions
	access      *accessLog // nil: none
	proxies     proxies
	// shallow are the starts of the paths whose last element is a name without slashes.
	shallow []string
	// roots are the paths that end with a slash.
	roots []string
	// watched are the routes whose answers can be watched, by path.
	watched map[string]*route

	badCitizens [len(badCitizensFormats)]badCitizensVersions
	topology    renderCache[topologyKey]
	// memoWork is held while a body is compressed that is kept with a service or a znode.
	memoWork sync.Mutex
}

// New returns a Server that does not serve yet. The error tells what is wrong with cfg.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, service: cfg.Service, services: cfg.Services, znodes: cfg.Znodes, echo: echo.New(), watched: make(map[string]*route), compressors: newCompressors(), goodbyeTime: goodbyeTime, accessLast: accessLast}
	s.drain.init()
	s.shared.init()
	s.proxies = proxies{cfg.TrustedProxies, cfg.TrustUnix}
	if s.metrics, err = newMetrics(s, cfg.Registerer); err != nil {
		return nil, err
	}
	if s.cors, err = newCORS(cfg.CORSOrigins); err != nil {
		return nil, err
	}
	s.vary.encoded = []string{"Accept-Encoding"}
	if s.cors.varies() {
		s.vary.always, s.vary.encoded = []string{"Origin"}, []string{"Origin, Accept-Encoding"}
	}
	for i := range s.badCitizens {
		s.badCitizens[i].format = &badCitizensFormats[i]
	}
	s.elsewhere = &route{path: otherRoute, metrics: s.metrics.route(otherRoute)}
	if s.access, err = newAccessLog(cfg.AccessLog, cfg.AccessFormat, cfg.Logger); err != nil {
		return nil, err
	}
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) { exchangeOf(c).fail(err) }
	s.addRoutes()
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes - readAhead,
		// The path * does not exist, so OPTIONS * gets the same answer as other methods.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, exchangeKey, newExchange(s, ours(c)))
		},
		ConnState: s.connState,
	}
	return s, nil
}

// connState closes a new connection if there are too many, and notes when an answer is
// complete.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.conns.Add(1) > int64(s.cfg.MaxConns) {
			_ = c.Close() // net/http then calls connState with StateClosed, as for any other
		}
	case http.StateIdle:
		if c := ours(c); c != nil {
			c.answering = false
		}
	case http.StateClosed: // a hijacked connection does not come here: refuseHTTP2 counts it
		s.conns.Add(-1)
	}
}

// Handler returns the Server's routes without its timeouts, for use in another http.Server.
func (s *Server) Handler() http.Handler { return s }

// ServeHTTP implements [http.Handler]. What is done for every request is here, in
// exchange.begin and in exchange.end. A stack of middleware would cost each request more time
// than the whole answer takes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isHTTP2(r) {
		s.refuseHTTP2(w)
		return
	}
	x := s.exchangeFor(r)
	x.begin(w, r)
	defer x.end()
	if err := x.check(); err != nil {
		x.fail(err)
	} else if x.status == 0 {
		s.echo.ServeHTTP(x, r)
	}
}

// Serve answers the requests that come in on l, until [Server.Shutdown] is called. Then it
// closes l and returns nil. Serve may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(listener{l, s}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %v: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown ends the Server without dropping a request. First /readyz fails, and every answer
// asks its client to close the connection. The waits for changes end one group after the
// other, and no new wait may begin. After Config.DrainDelay no connection is accepted any
// more. Shutdown returns when the last request has been answered. If ctx ends before that,
// the requests that are left are cut off, and the error is ctx's. If Shutdown is called again,
// at the same time or later, that call waits as well.
//
// No request is dropped only if DrainDelay is long enough. When the listener and the idle
// connections are closed, the kernel resets a connection that is being established, and one
// on which a request is being sent. A program cannot prevent that, so clients must have left
// by then.
func (s *Server) Shutdown(ctx context.Context) error {
	s.shutdownOnce.Do(func() { s.drain.run(ctx, s.cfg.DrainDelay) })
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("httpapi: requests were cut off: %w", err), s.http.Close())
	}
	if s.access != nil {
		err = errors.Join(err, s.access.close(ctx, s.accessLast))
	}
	return err
}
