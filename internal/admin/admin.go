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

// DefaultListen is the address that the examples of net/http/pprof use.
const DefaultListen = "127.0.0.1:6060"

const (
	readTimeout = 10 * time.Second
	// writeTimeout is how long an answer may take. If a request asks for a number of
	// seconds, its handler has these in addition, see [Server.deadline].
	writeTimeout = time.Minute
	idleTimeout  = 2 * time.Minute
	maxHeader    = 64 << 10
	// maxBody bounds a request's body. jeprof sends all addresses of a large dump in one.
	maxBody = 4 << 20
)

// ErrNoToken is returned by [New] if Config has no token and other machines can reach
// the address.
var ErrNoToken = errors.New("profiles and metrics are not for everybody")

// errEnding is the cause with which Shutdown cancels the contexts of requests.
var errEnding = fmt.Errorf("the process is about to end: %w", context.Canceled)

// Config of a [Server].
type Config struct {
	// Listen is host:port. With port 0 the system chooses a free port, see
	// [Server.Addr]. Empty is DefaultListen.
	Listen string
	// Token must be in every request: as "Authorization: Bearer TOKEN", or as the
	// password of basic authentication with any user name, for tools that have only
	// that (go tool pprof, browsers). If it is empty, requests need no token, and New
	// refuses a Listen that is not a loopback address.
	Token string
	// Gatherer returns the metrics. Required.
	Gatherer prometheus.Gatherer
	// Routes are served beside the server's own.
	Routes []Route
	// Logger gets each request at debug level, and failures as warnings. nil is
	// slog.Default().
	Logger *slog.Logger
}

// Route is a handler to be served beside the server's own.
type Route struct {
	// Methods are the HTTP methods of the route.
	Methods []string
	// Path is an absolute path. A path that ends in "*" matches everything below. If
	// several match, the longest is chosen.
	Path string
	// About describes the route on the index page, in a few words. Routes without it
	// are not listed.
	About string
	// Handler gets the request with its path unchanged. [WriteJSON] and [WriteProblem]
	// write answers in the server's own form.
	Handler http.Handler
}

// Server is the operators' server. See [New].
type Server struct {
	log      *slog.Logger
	listener net.Listener
	http     *http.Server
}

// New checks cfg and listens. The server answers once [Server.Serve] is called. Call
// [Server.Shutdown] also if Serve was never called.
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
	// A name is resolved only once, so that the address that is checked is the one
	// that the server listens on.
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
	// A profile of the next 30 seconds must not delay the shutdown by 30 seconds. The
	// handlers' contexts end, and the handlers answer with what they have.
	ctx, cancel := context.WithCancelCause(context.Background())
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	s.http.RegisterOnShutdown(func() { cancel(errEnding) })
	if s.listener, err = net.ListenTCP("tcp", addr); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return s, nil
}

// Addr returns the address that the server listens on. If Config.Listen has port 0, the
// port is the one that the system chose.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers requests until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Shutdown stops listening, cancels the contexts of the requests in flight and waits
// for their answers. If ctx ends first, it closes their connections and returns ctx's
// error. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.listener.Close() // needed if Serve was never called
	if err != nil {
		return fmt.Errorf("admin: requests were cut off: %w", err)
	}
	return nil
}

// handler builds the router and the index page, both from one list of routes.
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

// logged logs each request, at debug level because operators' tools ask often.
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

// deadline bounds the body of a request. If the request asks for a number of seconds,
// deadline adds them to the write timeout. The handlers of net/http/pprof do that
// themselves. Other handlers need not.
func (s *Server) deadline(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if asked, err := time.ParseDuration(c.QueryParam("seconds") + "s"); err == nil && asked > 0 {
			// An error means that the connection has no deadlines, so none needs to be moved.
			_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(writeTimeout + asked))
		}
		r := c.Request()
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxBody)
		return next(c)
	}
}
