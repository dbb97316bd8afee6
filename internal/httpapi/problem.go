package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// problem is a problem document (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Rejected has, for a placement, the reason why each datacenter cannot take the shop.
	Rejected []rejection `json:"rejected,omitempty"`
}

type rejection struct {
	Datacenter string `json:"datacenter"`
	Region     string `json:"region"`
	Reason     string `json:"reason"`
}

// problemKind is what problems of one type have in common. Types are stable:
// clients compare them.
type problemKind struct {
	name, title string
	status      int
	retryAfter  string // seconds; empty if trying again does not help
	// answers: the problem is an answer about the data, so it has meta data.
	answers bool
}

// problemTypePrefix and a kind's name make the problem's type, which is a URN.
const problemTypePrefix = "urn:magellan:problem:"

// statusClientGone is the status in the metrics and the log if the client has left before the
// answer. It is never sent. nginx uses the same number for that.
const statusClientGone = 499

var (
	kindNotFound     = &problemKind{name: "not-found", title: "Not found", status: http.StatusNotFound, answers: true}
	kindInvalidName  = &problemKind{name: "invalid-name", title: "Invalid name", status: http.StatusBadRequest}
	kindBadRequest   = &problemKind{name: "invalid-request", title: "Invalid request", status: http.StatusBadRequest}
	kindBadData      = &problemKind{name: "unreadable-record", title: "Unreadable record", status: http.StatusBadGateway, answers: true}
	kindNoCapacity   = &problemKind{name: "no-capacity", title: "No capacity", status: http.StatusConflict, answers: true}
	kindZxid         = &problemKind{name: "zxid-not-reached", title: "Transaction not reached", status: http.StatusPreconditionFailed}
	kindUnavailable  = &problemKind{name: "unavailable", title: "ZooKeeper unavailable", status: http.StatusServiceUnavailable, retryAfter: "5"}
	kindUnread       = &problemKind{name: "unread-record", title: "Record never read", status: http.StatusServiceUnavailable, retryAfter: "5"}
	kindOverloaded   = &problemKind{name: "overloaded", title: "Overloaded", status: http.StatusServiceUnavailable, retryAfter: "1"}
	kindTimeout      = &problemKind{name: "timeout", title: "Timed out", status: http.StatusGatewayTimeout, retryAfter: "1"}
	kindNotReady     = &problemKind{name: "not-ready", title: "Not ready", status: http.StatusServiceUnavailable, retryAfter: "1"}
	kindDraining     = &problemKind{name: "shutting-down", title: "Shutting down", status: http.StatusServiceUnavailable}
	kindNoRoute      = &problemKind{name: "no-such-route", title: "No such route", status: http.StatusNotFound}
	kindNotServed    = &problemKind{name: "not-served", title: "Not served here", status: http.StatusNotImplemented}
	kindForbidden    = &problemKind{name: "forbidden", title: "Forbidden", status: http.StatusForbidden}
	kindMethod       = &problemKind{name: "method-not-allowed", title: "Method not allowed", status: http.StatusMethodNotAllowed}
	kindSlowBody     = &problemKind{name: "slow-body", title: "Request body too slow", status: http.StatusRequestTimeout}
	kindBodyTooLarge = &problemKind{name: "body-too-large", title: "Request body too large", status: http.StatusRequestEntityTooLarge}
	kindMediaType    = &problemKind{name: "unsupported-media-type", title: "Unsupported media type", status: http.StatusUnsupportedMediaType}
	kindOrigin       = &problemKind{name: "origin-not-allowed", title: "Origin not allowed", status: http.StatusForbidden}
	// Most of these are found by net/http: see [conn].
	kindHeadTooLarge   = &problemKind{name: "header-too-large", title: "Request header too large", status: http.StatusRequestHeaderFieldsTooLarge}
	kindTransferCoding = &problemKind{name: "unknown-transfer-coding", title: "Unknown transfer coding", status: http.StatusNotImplemented}
	kindVersion        = &problemKind{name: "unsupported-version", title: "Unsupported HTTP version", status: http.StatusHTTPVersionNotSupported}
	kindExpectation    = &problemKind{name: "expectation-failed", title: "Expectation failed", status: http.StatusExpectationFailed}
	kindInternal       = &problemKind{name: "internal", title: "Internal error", status: http.StatusInternalServerError}
)

// allKinds are the kinds that openapi.json has to name.
var allKinds = [...]*problemKind{
	kindNotFound, kindInvalidName, kindBadRequest, kindBadData, kindNoCapacity, kindZxid,
	kindUnavailable, kindUnread, kindOverloaded, kindTimeout, kindNotReady, kindDraining, kindNoRoute,
	kindNotServed, kindForbidden, kindMethod, kindSlowBody, kindBodyTooLarge, kindMediaType, kindOrigin,
	kindHeadTooLarge, kindTransferCoding, kindVersion, kindExpectation, kindInternal,
}

// requestError is an error that this package has found.
type requestError struct {
	kind   *problemKind
	detail string
}

// Error implements error.
func (e *requestError) Error() string { return e.detail }

func badRequest(detail string) error { return &requestError{kindBadRequest, detail} }

// placementError is a placement that has failed, with the reasons.
type placementError struct {
	error
	rejected []shops.Rejection
}

// Unwrap returns the error itself.
func (e *placementError) Unwrap() error { return e.error }

// kindOf is the one place where an error becomes a status.
//
// ErrNoCapacity is a conflict (409) and not an unavailable service (503), for two reasons:
// asking again changes nothing until somebody adds capacity, and a load balancer must not
// take the replica for broken.
func kindOf(err error) *problemKind {
	var ours *requestError
	var echos *echo.HTTPError
	switch {
	case errors.As(err, &ours):
		return ours.kind
	case errors.Is(err, discovery.ErrNotFound):
		return kindNotFound
	case errors.Is(err, discovery.ErrForbidden):
		return kindForbidden
	case errors.Is(err, discovery.ErrInvalidName):
		return kindInvalidName
	case errors.Is(err, discovery.ErrInvalidRequest):
		return kindBadRequest
	case errors.Is(err, discovery.ErrBadData):
		return kindBadData
	case errors.Is(err, shops.ErrNoCapacity):
		return kindNoCapacity
	case errors.Is(err, discovery.ErrZxidNotReached):
		return kindZxid
	case errors.Is(err, discovery.ErrOverloaded):
		return kindOverloaded
	case errors.Is(err, discovery.ErrUnread):
		return kindUnread
	case errors.Is(err, discovery.ErrUnavailable), errors.Is(err, context.Canceled):
		return kindUnavailable // also if the deadline has passed as well: this kind tells more
	case errors.Is(err, context.DeadlineExceeded):
		return kindTimeout
	case errors.As(err, &echos) && echos.Code == http.StatusNotFound:
		return kindNoRoute
	case errors.As(err, &echos) && echos.Code == http.StatusMethodNotAllowed:
		return kindMethod
	default:
		return kindInternal
	}
}

func (s *Server) timeoutDetail() string {
	return fmt.Sprintf("ZooKeeper did not answer within %v; what is in memory is answered at once, unless no-cache, max-age or X-Min-Zxid asks for more",
		s.cfg.RequestTimeout)
}

// document returns the problem document of one case of the kind.
func (k *problemKind) document(detail string, rejected []rejection) []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(problem{
		Type: problemTypePrefix + k.name, Title: k.title, Status: k.status,
		Detail: strings.ToValidUTF8(detail, "\uFFFD"), Rejected: rejected,
	}); err != nil {
		panic(err) // strings and numbers always encode
	}
	return body.Bytes()
}

// explain makes a the problem document of err. If the problem is an answer about the data,
// what a rests on stays: that a shop does not exist is known as of some age, too.
func (s *Server) explain(a *answer, err error, requestID string) *problemKind {
	kind := kindOf(err)
	detail := err.Error()
	switch kind {
	case kindTimeout:
		detail = s.timeoutDetail()
	case kindInternal:
		s.cfg.Logger.LogAttrs(context.Background(), slog.LevelError, "request failed",
			slog.String("request_id", strings.Clone(requestID)), slog.Any("err", err))
		detail = "this is a bug in magellan; the log has more under this request's X-Request-Id"
	}
	var rejected []rejection
	var placement *placementError
	if errors.As(err, &placement) {
		for _, r := range placement.rejected {
			rejected = append(rejected, rejection{r.Datacenter, r.Region, string(r.Reason)})
		}
	}
	a.status, a.contentType, a.kept = kind.status, contentProblem, nil
	a.body = kind.document(detail, rejected)
	a.hash = hashOf(a.body)
	a.rests = a.rests && kind.answers
	return kind
}
