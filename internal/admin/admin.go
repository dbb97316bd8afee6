package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// DefaultListen is where operators look first, as net/http/pprof's examples do.
const DefaultListen = "127.0.0.1:6060"

const (
	readTimeout = 10 * time.Second
	// writeTimeout is how long an answer may take. Handlers that work for a
	// requested number of seconds get those on top, see [Server.deadline].
	writeTimeout = time.Minute
	idleTimeout  = 2 * time.Minute
	maxHeader    = 64 << 10
	// maxBody is what jeprof sends to have all addresses of a large dump named.
	maxBody = 4 << 20
)

// ErrNoToken is returned by [New] where everybody could look in.
var ErrNoToken = errors.New("profiles and metrics are not for everybody")

// errEnding is why the contexts of requests end in Shutdown.
var errEnding = fmt.Errorf("the process is about to end: %w", context.Canceled)

// Config says what the server shows and to whom.
type Config struct {
	// Listen is host:port. Port 0 takes a free one, see [Server.Addr]. Empty
	// means DefaultListen.
	Listen string
	// Token is what every request must bring: as "Authorization: Bearer TOKEN",
	// or as the password of basic authentication under any user name, for tools
	// that know nothing else (go tool pprof, browsers). Empty lets everybody
	// in, and is refused unless Listen is a loopback address.
	Token string
	// Gatherer gives the metrics. Required.
	Gatherer prometheus.Gatherer
	// Routes are served beside the server's own.
	Routes []Route
	// Logger gets each request at debug level, and what goes wrong. nil means
	// slog.Default().
	Logger *slog.Logger
}

// Route is a handler to be served beside the server's own.
type Route struct {
	// Methods are the HTTP methods it takes.
	Methods []string
	// Path is an absolute path. Ending in "*" it takes everything below. A
	// longer path wins over a shorter one that ends in "*".
	Path string
	// About says in a few words what it does; the index page shows it.
	About string
	// Handler gets the request with its path unchanged. [WriteJSON] and [WriteProblem]
	// answer as the server does.
	Handler http.Handler
}

// Server is the operators' server. See [New].
type Server struct {
	log      *slog.Logger
	listener net.Listener
	http     *http.Server
}

// New checks cfg and listens. It does not answer before [Server.Serve]; a
// Server that is never served must be given up with [Server.Shutdown].
func New(cfg Config) (*Server, error) {
	if cfg.Gatherer == nil {
		return nil, errors.New("admin: Config.Gatherer is nil")
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	// Resolved once: what is checked is what is listened on.
	addr, err := net.ResolveTCPAddr("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if cfg.Token == "" && !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("admin: %w: %q can be reached from other machines: "+
			"set a token, or listen on a loopback address such as %s", ErrNoToken, cfg.Listen, DefaultListen)
	}
	s := &Server{log: cfg.Logger}
	s.http = &http.Server{
		// A page in an operator's browser may not post to a loopback address.
		Handler:           http.NewCrossOriginProtection().Handler(s.handler(cfg)),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	// A profile of the next 30 seconds must not hold up the end for so long:
	// the handlers see their context end and answer with what they have.
	ctx, cancel := context.WithCancelCause(context.Background())
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	s.http.RegisterOnShutdown(func() { cancel(errEnding) })
	if s.listener, err = net.ListenTCP("tcp", addr); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return s, nil
}

// Addr is the address listened on, with the port the system chose for port 0.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers requests until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Shutdown stops listening, tells profiles under way to end, and waits for the
// requests in flight. When ctx ends first it cuts them off and returns ctx's
// error. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.listener.Close() // where Serve never had it
	if err != nil {
		return fmt.Errorf("admin: requests were cut off: %w", err)
	}
	return nil
}

// handler builds the routes. Index page and router come from the same list.
func (s *Server) handler(cfg Config) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = s.writeProblem
	e.Use(s.logged, s.authorized(cfg.Token, cfg.Listen), s.deadline)

	get := []string{http.MethodGet, http.MethodHead}
	getPost := []string{http.MethodGet, http.MethodHead, http.MethodPost}
	routes := append([]Route{
		{get, "/metrics", "metrics, for Prometheus", promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
			ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
			ErrorHandling: promhttp.ContinueOnError, // half of the metrics is better than none
		})},
		{get, "/debug/pprof", "", http.RedirectHandler("/debug/pprof/", http.StatusMovedPermanently)},
		{getPost, "/debug/pprof/*", "profiles of Go: heap, goroutine, allocs, block, mutex, threadcreate", http.HandlerFunc(pprof.Index)},
		{getPost, "/debug/pprof/profile", "CPU profile of Go and C, ?seconds=30", http.HandlerFunc(pprof.Profile)},
		{getPost, "/debug/pprof/trace", "execution trace of Go, ?seconds=1", http.HandlerFunc(pprof.Trace)},
		{get, "/debug/pprof/cmdline", "the command line", http.HandlerFunc(pprof.Cmdline)},
		{getPost, "/debug/pprof/symbol", "program counters to function names", http.HandlerFunc(pprof.Symbol)},
	}, cfg.Routes...)
	routes = append(routes, Route{get, "/", "this page", indexHandler(routes)})
	for _, r := range routes {
		e.Match(r.Methods, r.Path, echo.WrapHandler(r.Handler))
	}
	return e
}

// logged logs each request at debug level: operators' tools scrape often.
func (s *Server) logged(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		if err := next(c); err != nil {
			c.Error(err) // written now, so that its status is known
		}
		r := c.Request()
		s.log.Debug("admin request", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr,
			"status", c.Response().Status, "bytes", c.Response().Size, "duration", time.Since(start))
		return nil
	}
}

// deadline gives a handler that was asked to work for some seconds those
// seconds on top of the write timeout, and bounds the body. The handlers of
// net/http/pprof move the deadline themselves; others need not.
func (s *Server) deadline(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if asked, err := time.ParseDuration(c.QueryParam("seconds") + "s"); err == nil && asked > 0 {
			// An error means a connection that cannot have deadlines: nothing is lost.
			_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(writeTimeout + asked))
		}
		r := c.Request()
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxBody)
		return next(c)
	}
}
