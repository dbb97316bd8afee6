package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// exchange is one HTTP request on one connection, with the memory that its question and
// its answer take.
//
// Each connection has one exchange, which its requests use one after the other: HTTP/1
// has one request at a time on a connection, and net/http sends an answer's header
// before it reads the next request. So the buffers behind the header's strings may be
// written again by the connection's next request, and by nothing earlier. Giving an
// exchange back to a [sync.Pool] when the handler returns would be too early: the
// header has not been sent yet, and would carry another request's values. A request that
// came by another way than [Server.Serve], or by another protocol, gets an exchange of
// its own.
type exchange struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	route  *route
	start  time.Time
	waited time.Duration // of the time since start
	ctx    *lazyContext
	conn   *conn // nil if the request came by another way than Serve

	question question
	answer   answer

	status int   // 0 until the header is written
	bytes  int64 // of the body, as far as it is sent
	gone   bool  // the client left; there is nobody to answer
	// cached counts the answers with the same X-Cache as this one; nil if it has none.
	cached prometheus.Counter

	id     sequence
	values headerValues
	zipped []byte // for writeAnswer to compress a body in
	line   []byte // for the access log
}

// maxKeptBody bounds the memory an idle connection holds, in bytes.
const maxKeptBody = 16 << 10

type contextKey struct{ name string }

// exchangeKey is where a connection's context has its exchange.
var exchangeKey = &contextKey{"exchange"}

func newExchange(s *Server, c *conn) *exchange {
	return &exchange{server: s, conn: c, id: sequence{next: randomID()}}
}

// exchangeFor returns the exchange of r's connection, or a new one.
func (s *Server) exchangeFor(r *http.Request) *exchange {
	if r.ProtoMajor == 1 {
		if x, ok := r.Context().Value(exchangeKey).(*exchange); ok && x.server == s {
			return x
		}
	}
	return newExchange(s, nil)
}

// begin prepares the exchange for a request, and sets the headers that every answer has.
func (x *exchange) begin(w http.ResponseWriter, r *http.Request) {
	x.w, x.r = w, r
	x.route = x.server.elsewhere
	x.start = time.Now()
	x.status, x.bytes, x.gone, x.waited, x.cached = 0, 0, false, 0, nil
	x.ctx = x.ctx.renewed(r.Context(), x.start.Add(x.server.cfg.RequestTimeout))

	header := w.Header()
	if x.conn != nil {
		x.conn.answering = true
		if x.conn.framing.doubtful(r) {
			header["Connection"] = closeConnection
		}
	}
	header["X-Request-Id"] = x.requestIDOf(r)
	if c := x.server.cors; c != nil {
		c.setHeader(header, r)
	}
	if x.server.vary.always != nil {
		header["Vary"] = x.server.vary.always
	}
	if x.server.drain.begun() {
		header["Connection"] = closeConnection
	}
}

// check refuses or answers a request that is not for a route.
func (x *exchange) check() error {
	if x.conn != nil {
		if err := x.conn.checkHead(x.r); err != nil {
			x.w.Header()["Connection"] = closeConnection
			return err
		}
	}
	if isPreflight(x.r) {
		return x.preflight()
	}
	if !x.server.hasRoute(rawPath(x.r.URL)) {
		return &requestError{kindNoRoute, ""}
	}
	return nil
}

// end is deferred. If the handler has panicked, end answers in its place. It counts and logs
// the request, and forgets it.
func (x *exchange) end() {
	abort := x.gone
	if p := recover(); p != nil {
		if abort = x.status != 0 || p == http.ErrAbortHandler; !abort {
			x.fail(fmt.Errorf("panic: %v", p))
		}
		if p != http.ErrAbortHandler {
			x.server.cfg.Logger.LogAttrs(context.Background(), slog.LevelError, "handler panicked",
				x.logID(), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
	}
	took := time.Since(x.start)
	if x.gone {
		x.status = statusClientGone
	}
	x.route.metrics.observe(x.status, took-x.waited)
	if x.cached != nil {
		x.cached.Inc()
	}
	if x.server.access != nil {
		x.logAccess(took)
	}
	if logger := x.server.cfg.Logger; logger.Enabled(context.Background(), slog.LevelDebug) {
		logger.LogAttrs(context.Background(), slog.LevelDebug, "request",
			x.logID(),
			slog.String("method", x.r.Method),
			slog.String("uri", x.r.RequestURI),
			slog.String("remote", x.r.RemoteAddr),
			slog.Int("status", x.status),
			slog.Int64("bytes", x.bytes),
			slog.Duration("took", took))
	}
	if x.ctx.end() {
		x.ctx = nil
	}
	x.w, x.r, x.question = nil, nil, question{}
	x.answer.reset(maxKeptBody)
	if cap(x.zipped) > maxKeptBody {
		x.zipped = nil
	}
	if abort {
		// net/http closes the connection. So the client sees that the answer is not whole.
		panic(http.ErrAbortHandler)
	}
}

// logID copies the request's id, because a log handler may keep what it gets.
func (x *exchange) logID() slog.Attr {
	return slog.String("request_id", strings.Clone(x.w.Header()["X-Request-Id"][0]))
}
