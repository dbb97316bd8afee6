package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"magellan/internal/discovery"
)

// This file is the sink of net/http: how an answer is written to the connection that the
// request came by.

// serve asks the handler of the request's route, and writes the answer.
func (x *exchange) serve() error {
	if err := x.route.handle(&x.question, &x.answer); err != nil {
		return err
	}
	if wait := x.mayWait(); wait > 0 && x.unchanged() {
		return x.longPoll(wait)
	}
	return x.writeAnswer()
}

// unchanged reports whether the client has the answer already: the request names its ETag, its
// version as the one to tell the changes since, or its index.
func (x *exchange) unchanged() bool {
	a := &x.answer
	return x.namedTag() != nil || a.follows && a.since == a.hash || a.index != 0 && a.known >= a.index
}

// namedTag returns that ETag of the answer's body which the request names in
// If-None-Match, or stands for what it names in its body; nil if it names none.
//
// A client that has the body compressed has the body, even if it does not take compressed
// bodies any more, and the other way round.
func (x *exchange) namedTag() []string {
	if x.answer.has {
		return x.values.etag(x.answer.hash)
	}
	named := x.r.Header["If-None-Match"]
	if named == nil || x.r.Method == http.MethodPost {
		return nil
	}
	if etag := x.values.etag(x.answer.hash); matchesETag(named, etag[0]) {
		return etag
	}
	if zipped := x.values.gzipTag(x.answer.hash); matchesETag(named, zipped[0]) {
		return zipped
	}
	return nil
}

// writeAnswer writes the answer under its ETag, or 304 if the client has it already.
func (x *exchange) writeAnswer() error {
	a := &x.answer
	header := x.w.Header()
	x.setBasis()
	header["Vary"] = x.server.vary.encoded
	if a.negotiated {
		header["Vary"] = append(slices.Clip(header["Vary"]), "Accept")
	}
	if named := x.namedTag(); named != nil {
		header["Etag"] = named
		x.WriteHeader(http.StatusNotModified)
		return nil
	}
	header["Etag"] = x.values.etag(a.hash)
	header["Content-Type"] = a.contentType
	if a.noSniff {
		header["X-Content-Type-Options"] = noSniff
	}
	body, kept := a.body, (*rendering)(nil)
	if a.kept != nil {
		kept = a.kept.rendered()
		body = kept.body
		if kept.isDelta {
			header["Delta-Base"] = []string{formatETag(kept.from)}
		}
	}
	if len(body) > compressOver && acceptsGzip(x.r.Header["Accept-Encoding"]) {
		if kept != nil {
			body = kept.compressed()
		} else {
			x.zipped = x.server.compressors.append(x.zipped[:0], body)
			body = x.zipped
		}
		header["Content-Encoding"], header["Etag"] = encodingGzip, x.values.gzipTag(a.hash)
	}
	return x.writeBody(http.StatusOK, body)
}

// fail writes the problem document of err. If the client has left, nothing is written.
func (x *exchange) fail(err error) {
	if err == errHungUp || errors.Is(err, context.Canceled) && x.r.Context().Err() != nil {
		x.gone = true
		return
	}
	header := x.w.Header()
	switch kindOf(err) {
	case kindNoRoute:
		err = &requestError{kindNoRoute, "this API has no such path; /openapi.json lists what there is"}
	case kindMethod:
		err = &requestError{kindMethod, x.r.Method + " is not among this path's methods: " + header.Get("Allow")}
	}
	kind := x.server.explain(&x.answer, err, header["X-Request-Id"][0])
	x.setBasis()
	header["Content-Type"] = x.answer.contentType
	retryAfter := kind.retryAfter
	if kind == kindDraining {
		retryAfter = x.server.drain.retryAfter()
	}
	if retryAfter != "" {
		header["Retry-After"] = []string{retryAfter}
	}
	_ = x.writeBody(x.answer.status, x.answer.body)
}

// setBasis sets the headers that tell how well the answer is known: Age, X-Cache and,
// if it was made from a transaction, X-Zxid.
func (x *exchange) setBasis() {
	a := &x.answer
	header := x.w.Header()
	if a.noStore {
		header["Cache-Control"] = noStore
	}
	if !a.rests {
		return
	}
	header["X-Cache"] = cacheValues[a.basis.Cache]
	x.cached = x.route.metrics.answers[a.basis.Cache]
	header["Age"] = x.values.age(a.basis.Age)
	if a.basis.Zxid != 0 {
		header["X-Zxid"] = x.values.zxid(a.basis.Zxid)
	}
	if a.index != 0 {
		// Consul's spelling, which is also Go's. The last contact is in milliseconds.
		header["X-Consul-Index"] = []string{strconv.FormatUint(uint64(a.index), 10)}
		header["X-Consul-Knownleader"] = []string{strconv.FormatBool(a.basis.Cache != discovery.Stale)}
		header["X-Consul-Lastcontact"] = []string{strconv.FormatInt(a.basis.Age.Milliseconds(), 10)}
	}
}

// shortBody is the length, in bytes, up to which net/http sets Content-Length by itself.
const shortBody = 2048

// writeBody sends a whole body. The longer it is, the more time the client has to take it.
func (x *exchange) writeBody(status int, body []byte) error {
	if len(body) > shortBody {
		x.w.Header()["Content-Length"] = x.values.length(len(body))
	}
	x.WriteHeader(status)
	if x.r.Method == http.MethodHead && len(body) > shortBody {
		return nil
	}
	onePiece := x.conn != nil && len(body) > onePieceFrom && len(body) <= onePieceTo
	const piece = 1 << 20
	for len(body) > piece {
		if _, err := x.Write(body[:piece]); err != nil {
			return x.leave(err)
		}
		body = body[piece:]
		deadline := time.Now().Add(x.server.cfg.WriteTimeout)
		if err := http.NewResponseController(x.w).SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return x.leave(err)
		}
	}
	write := func() error {
		_, err := x.Write(body)
		return err
	}
	var err error
	if onePiece {
		err = x.conn.inOnePiece(len(body), write)
	} else {
		err = write()
	}
	if err != nil {
		return x.leave(err)
	}
	return nil
}

// leave gives up on a client that does not take the answer.
func (x *exchange) leave(err error) error {
	x.gone = true
	x.server.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "client left", x.logID(), slog.Any("err", err))
	return nil
}
