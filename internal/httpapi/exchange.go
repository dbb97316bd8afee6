package httpapi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/discovery"
)

// exchange is one request and its answer, with all the memory they take.
//
// Each connection has one, which its requests use one after the other: HTTP/1
// has one request at a time on a connection, and net/http sends an answer's
// header before it reads the next request. So the buffers behind the header's
// strings may be written again by the connection's next request, and by nothing
// earlier. Giving an exchange back to a [sync.Pool] when the handler returns would
// be too early: the header is still to be sent, by then with another request's
// values. A request that came by another way than [Server.Serve], or by another
// protocol, gets an exchange of its own.
//
// It is the [http.ResponseWriter] its handlers write to.
type exchange struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	echo   echo.Context
	route  *route
	start  time.Time
	ctx    *lazyContext
	conn   *conn // nil where the request came by another way than Serve
	// depends has what the answer is made of; nil unless somebody waits for another.
	depends *dependencies
	waited  time.Duration // of the time since start
	name    string        // the path's parameter where there is no echo

	status int   // 0 until the header is written
	bytes  int64 // of the body, as far as it is sent
	gone   bool  // the client left; there is nobody to answer
	// cached counts answers that were come by as this one was; nil where nothing is
	// said of that.
	cached prometheus.Counter

	id   sequence
	body []byte // for the handler to compose an answer in

	zipped []byte // for send to compress it in
	line   []byte // for the access log

	// What the header's values are made of.
	etagBytes      [2 + 16]byte
	zippedTagBytes [2 + 16 + len("-gzip")]byte
	zxidBytes      [2 + 16]byte
	ageBytes       [20]byte
	idBytes        [16]byte
	etag           [1]string
	zippedTag      [1]string
	zxid           [1]string
	age            [1]string
	requestID      [1]string
}

var _ http.ResponseWriter = (*exchange)(nil)

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

var closeConnection = []string{"close"}

func (x *exchange) begin(w http.ResponseWriter, r *http.Request) {
	x.w, x.r = w, r
	x.route = x.server.elsewhere
	x.start = time.Now()
	x.status, x.bytes, x.gone, x.waited, x.cached = 0, 0, false, 0, nil
	if x.ctx == nil {
		x.ctx = new(lazyContext)
	}
	x.ctx.parent, x.ctx.deadline = r.Context(), x.start.Add(x.server.cfg.RequestTimeout)

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

// check refuses or answers what no route is to see.
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

// end is deferred: it answers for a handler that panicked, counts, and logs.
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
	x.w, x.r, x.echo = nil, nil, nil
	if cap(x.body) > maxKeptBody {
		x.body = nil
	}
	if cap(x.zipped) > maxKeptBody {
		x.zipped = nil
	}
	if abort {
		// An answer that is not whole must not look as if it were.
		panic(http.ErrAbortHandler)
	}
}

// logID copies the request's id: a log handler may keep what it gets.
func (x *exchange) logID() slog.Attr {
	return slog.String("request_id", strings.Clone(x.w.Header()["X-Request-Id"][0]))
}

// Header implements [http.ResponseWriter].
func (x *exchange) Header() http.Header { return x.w.Header() }

// WriteHeader implements [http.ResponseWriter].
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.w.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.w.Write(b)
	if x.r.Method != http.MethodHead { // of which net/http sends the header only
		x.bytes += int64(n)
	}
	return n, err
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// readOptions reads how fresh the client wants the answer.
func (x *exchange) readOptions() (opt discovery.ReadOptions) {
	if values := x.r.Header["Cache-Control"]; values != nil {
		opt = cacheControl(values)
	}
	if values := x.r.Header["X-Min-Zxid"]; values != nil {
		opt.MinZxid = minZxid(values)
	}
	return opt
}

// Content types, ready to stand in a header.
var (
	contentJSON    = []string{"application/json"}
	contentText    = []string{"text/plain; charset=utf-8"}
	contentProblem = []string{"application/problem+json"}
)

// answer sends what the Service answered.
func (x *exchange) answer(basis discovery.Basis, contentType []string, body []byte) error {
	x.rest(basis)
	return x.send(contentType, body)
}

// rest says what the answer rests on: the client in the header, and who waits for
// another answer.
func (x *exchange) rest(basis discovery.Basis) {
	x.depend(basis.Depends)
	x.setMeta(basis.Meta)
}

// depend tells who waits for another answer what this one depends on.
func (x *exchange) depend(d discovery.Depends) {
	if x.depends != nil {
		x.depends.on(d)
	}
}

// send sends a body under its ETag, or 304 where the client has it already. A body
// that is not short is compressed if the client takes that.
func (x *exchange) send(contentType []string, body []byte) error {
	x.etag[0] = view(appendETag(x.etagBytes[:0], body))
	if had, err := x.clientHas(x.etag[:]); had {
		return err
	}
	header := x.w.Header()
	header["Content-Type"] = contentType
	if len(body) > compressOver && acceptsGzip(x.r.Header["Accept-Encoding"]) {
		x.zipped = x.server.compressors.append(x.zipped[:0], body)
		body = x.zipped
		header["Content-Encoding"], header["Etag"] = encodingGzip, x.gzipTag(x.etag[0])
	}
	return x.write(http.StatusOK, body)
}

// sendKept is send for a body that is kept.
func (x *exchange) sendKept(contentType []string, r *rendering) error {
	if had, err := x.clientHas(r.etag); had {
		return err
	}
	return x.sendBody(contentType, r)
}

// sendBody is what sendKept does for a client that does not have the body: clientHas
// has been asked.
func (x *exchange) sendBody(contentType []string, r *rendering) error {
	header := x.w.Header()
	header["Content-Type"] = contentType
	body := r.body
	if len(body) > compressOver && acceptsGzip(x.r.Header["Accept-Encoding"]) {
		body = r.compressed()
		header["Content-Encoding"], header["Etag"] = encodingGzip, x.gzipTag(r.etag[0])
	}
	return x.write(http.StatusOK, body)
}

// clientHas sets the ETag of a body, and answers where the request names it: with
// 304, or with errUnchanged if the client waits for another.
//
// A client that has the body compressed has it, whatever it takes now, and the other
// way round: the ETag of the 304 is the one that it named.
func (x *exchange) clientHas(etag []string) (bool, error) {
	header := x.w.Header()
	header["Vary"], header["Etag"] = x.server.vary.encoded, etag
	named := x.r.Header["If-None-Match"]
	if named == nil || x.r.Method == http.MethodPost {
		return false, nil
	}
	if !matchesETag(named, etag[0]) {
		zipped := x.gzipTag(etag[0])
		if !matchesETag(named, zipped[0]) {
			return false, nil
		}
		header["Etag"] = zipped
	}
	if x.mayWait() {
		return true, errUnchanged
	}
	x.WriteHeader(http.StatusNotModified)
	return true, nil
}

// gzipTag returns the header value of the ETag that the compressed body has.
func (x *exchange) gzipTag(etag string) []string {
	x.zippedTag[0] = view(appendGzipTag(x.zippedTagBytes[:0], etag))
	return x.zippedTag[:]
}

// shortBody is what net/http finds the length of by itself; in bytes.
const shortBody = 2048

// write sends a whole body. A long one is given time by its length.
func (x *exchange) write(status int, body []byte) error {
	if len(body) > shortBody {
		x.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	x.WriteHeader(status)
	if x.r.Method == http.MethodHead && len(body) > shortBody {
		return nil
	}
	const piece = 1 << 20
	_, whole := x.w.(*recorder)
	for len(body) > piece && !whole {
		if _, err := x.Write(body[:piece]); err != nil {
			return x.leave(err)
		}
		body = body[piece:]
		deadline := time.Now().Add(x.server.cfg.WriteTimeout)
		if err := http.NewResponseController(x.w).SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return x.leave(err)
		}
	}
	if _, err := x.Write(body); err != nil {
		return x.leave(err)
	}
	return nil
}

// leave gives up on a client that does not take its answer.
func (x *exchange) leave(err error) error {
	x.gone = true
	x.server.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "client left", x.logID(), slog.Any("err", err))
	return nil
}

// cacheValues are the values of X-Cache by [discovery.CacheStatus].
var cacheValues = [...][]string{
	discovery.Hit:      {discovery.Hit.String()},
	discovery.Miss:     {discovery.Miss.String()},
	discovery.Updating: {discovery.Updating.String()},
	discovery.Stale:    {discovery.Stale.String()},
}

// youngAges are the values of Age that nearly all answers have.
var youngAges = func() (ages [64][]string) {
	for i := range ages {
		ages[i] = []string{strconv.Itoa(i)}
	}
	return ages
}()

// setMeta sets Age (whole seconds), X-Cache and X-Zxid (hexadecimal, as
// ZooKeeper's own tools write it; left out where there is none).
func (x *exchange) setMeta(meta discovery.Meta) {
	header := x.w.Header()
	header["X-Cache"] = cacheValues[meta.Cache]
	x.cached = x.route.metrics.answers[meta.Cache]
	if seconds := int64(max(meta.Age, 0) / time.Second); seconds < int64(len(youngAges)) {
		header["Age"] = youngAges[seconds]
	} else {
		x.age[0] = view(strconv.AppendInt(x.ageBytes[:0], seconds, 10))
		header["Age"] = x.age[:]
	}
	if meta.Zxid != 0 {
		x.zxid[0] = view(strconv.AppendUint(append(x.zxidBytes[:0], "0x"...), uint64(meta.Zxid), 16))
		header["X-Zxid"] = x.zxid[:]
	}
}

// appendETag appends a strong entity tag of body: its 64-bit XXH64 hash.
func appendETag(dst, body []byte) []byte {
	dst = append(dst, '"')
	dst = appendHex64(dst, xxhash.Sum64(body))
	return append(dst, '"')
}

func appendHex64(dst []byte, v uint64) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(v >> (56 - 8*i))
	}
	return hex.AppendEncode(dst, b[:])
}
