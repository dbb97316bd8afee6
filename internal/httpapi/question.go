package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"net/url"

	"magellan/internal/discovery"
)

// question is what an asker asks of a route, as far as the route's handler may know it. The
// asker fills it in: an [exchange] from an HTTP request, a [stream] from one of its keys. The
// handler does not know which of them asks. It keeps nothing of the question after it has
// returned.
type question struct {
	// ctx ends at the deadline of the answer, or if the asker has gone.
	ctx context.Context
	// name is the last element of the path, percent-decoded. It is empty if the route
	// has no parameter there.
	name string
	// query has the parameters of the query, which are all parameters of the route. It is nil
	// if there are none.
	query url.Values
	// read is how fresh the answer must be.
	read discovery.ReadOptions
	// accept has the values of the header Accept, and uri the URI that was asked for without
	// its query, for answers that depend on them. A stream has neither.
	accept []string
	uri    string
	// body is the body that was sent with the question; nil if the asker sends none.
	body requestBody
}

// requestBody is a body that is sent with a question.
type requestBody interface {
	// readBody appends the body to dst. It returns an error if the body is declared to be
	// something else than JSON, if it cannot be read, or if it has more than most bytes.
	readBody(dst *bytes.Buffer, most int64) error
}

// handler answers the questions of one route. It computes and renders the answer, and writes
// nothing to the client. If it asks the Service it calls [answer.rest], even if it then returns
// an error.
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
