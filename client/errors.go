package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

var (
	// ErrNotFound is the kind of an error that says: ZooKeeper does not have it. Nothing else
	// is of this kind, and in particular not that nothing is known.
	ErrNotFound = errors.New("not found")
	// ErrUnreachable is the kind of an error of a server that has not answered.
	ErrUnreachable = errors.New("no server has answered")
	// ErrClosed is what a follower has to say that was closed before it knew anything.
	ErrClosed = errors.New("the follower is closed")
)

// problemTypes begins all types of a magellan's problems.
const problemTypes = "urn:magellan:problem:"

// statusNotServed is no fault of the moment: the server does not serve things of that kind.
const statusNotServed = http.StatusNotImplemented

// passing are the statuses below 500 of problems that may pass, or that another server may not
// have.
var passing = map[int]bool{
	http.StatusRequestTimeout: true, http.StatusPreconditionFailed: true, http.StatusTooManyRequests: true,
}

// Problem is why a server has not given an answer (RFC 9457).
type Problem struct {
	// Server is the URL of the server, without a password.
	Server string `json:"-"`
	// Type is a URN, urn:magellan:problem:KIND. Kinds are stable, and openapi.json lists them.
	Type string
	// Title says what the kind is, and Detail what is wrong with this request.
	Title, Detail string
	// Status is the HTTP status.
	Status int
	// Rejected has the reasons why no datacenter can take a shop, if that was asked.
	Rejected []Rejection
}

// Error is the detail.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Is reports whether the problem is of this kind, which can be [ErrNotFound].
func (p *Problem) Is(kind error) bool {
	return kind == ErrNotFound && p.Type == problemTypes+"not-found"
}

// parseProblem reads a problem of magellan; ok is false if it is none.
func parseProblem(from server, body []byte) (p *Problem, ok bool) {
	p = &Problem{}
	if json.Unmarshal(body, p) != nil || !strings.HasPrefix(p.Type, problemTypes) {
		return nil, false
	}
	p.Server = from.name
	return p, true
}

// unreachable is a server that has not answered.
type unreachable struct {
	what  string // with the server
	cause error
}

func (e *unreachable) Error() string        { return fmt.Sprintf("%s: %v", e.what, e.cause) }
func (e *unreachable) Unwrap() error        { return e.cause }
func (e *unreachable) Is(target error) bool { return target == ErrUnreachable }

// foreign is an answer that is none of magellan.
type foreign struct{ server, status string }

// Is reports whether it is that of a proxy which could not reach a magellan.
func (e *foreign) Is(target error) bool {
	return target == ErrUnreachable && (strings.HasPrefix(e.status, "502 ") || strings.HasPrefix(e.status, "503 ") || strings.HasPrefix(e.status, "504 "))
}

func (e *foreign) Error() string {
	return fmt.Sprintf("%s answered %s, not as magellan does: check its URL, and what is in between", e.server, e.status)
}

// ended is a stream that its server has ended in order.
type ended struct{ server, reason, detail string }

func (e *ended) Error() string {
	return fmt.Sprintf("%s has ended the stream: %s: %s", e.server, e.reason, e.detail)
}

// failures are those of all servers that were asked.
type failures []error

func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the failures.
func (f failures) Unwrap() []error { return f }

// ErrUnknown is the kind of an error of a follower that knows nothing so far.
var ErrUnknown = errors.New("nothing is known so far")

// unknown is why a follower knows nothing.
type unknown struct{ why error }

func (e *unknown) Error() string {
	if e.why == nil {
		return ErrUnknown.Error()
	}
	return ErrUnknown.Error() + ": " + e.why.Error()
}

func (e *unknown) Is(target error) bool { return target == ErrUnknown }
func (e *unknown) Unwrap() error        { return e.why }

// staleAfter is from which age on an answer is doubted: as long as a server knows the answer, its
// age is a few seconds.
const staleAfter = 30 * time.Second

// stale returns the doubt in an answer that a server has not known to be true for so long; nil if
// there is none.
func stale(server string, cache Cache, age time.Duration) error {
	if cache != Stale && age < staleAfter {
		return nil
	}
	return fmt.Errorf("%s last knew the answer to be true %v ago", server, age.Round(time.Second))
}
