package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"net/url"

	"magellan/internal/discovery"
)

// question is what somebody asks of a route, as far as the route's handler may know
// it. Whoever asks fills it in: an [exchange] from an HTTP request, a [stream] from
// one of its keys. A handler does not know which of them asks, and keeps nothing of
// the question.
type question struct {
	// ctx ends the answering: at the deadline, or when nobody wants the answer any
	// more.
	ctx context.Context
	// name is the last element of the path, percent-decoded. It is empty if the route
	// has no parameter there.
	name string
	// query has the query's parameters. All of them are parameters that the route
	// knows. nil: there are none.
	query url.Values
	// read is how fresh the answer must be.
	read discovery.ReadOptions
	// body is what was sent with the question; nil if the asker can send nothing.
	body requestBody
}

// requestBody is what is sent with a question.
type requestBody interface {
	// readBody appends the body to dst. It returns an error if the body is not JSON by
	// its own account, cannot be read, or has more than most bytes.
	readBody(dst *bytes.Buffer, most int64) error
}

// handler answers the questions of one route: it computes and renders, and writes
// nothing. Where it asks the Service it says so by [answer.rest], with an error too.
type handler func(*question, *answer) error

// single returns a query parameter that may be given once, "" if it is not given.
func (q *question) single(parameter string) (string, error) {
	return single(q.query, parameter)
}

// single returns a parameter that may be given once, "" if it is not given.
func single(values url.Values, parameter string) (string, error) {
	switch v := values[parameter]; len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	default:
		return "", badRequest(fmt.Sprintf("query parameter %q stands there %d times; want it once", parameter, len(v)))
	}
}
