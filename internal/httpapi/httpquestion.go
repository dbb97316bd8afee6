package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"magellan/internal/discovery"
)

// readQuestion makes the question of the request. The request's body is not read before the
// handler asks for it.
func (x *exchange) readQuestion(c echo.Context) error {
	q := &x.question
	q.ctx, q.body, q.read = x.ctx, x, readOptions(x.r.Header)
	if x.route.negotiates {
		q.accept, q.uri = x.r.Header["Accept"], "http://"+x.r.Host+x.r.URL.EscapedPath()
	}
	if raw := x.r.URL.RawQuery; raw != "" && !x.route.anyQuery {
		values, err := parseQuery(raw, x.route.query)
		if err != nil {
			return err
		}
		q.query = values
	}
	if x.route.named {
		name, err := pathName(x.r.URL, c)
		if err != nil {
			return err
		}
		q.name = name
	}
	return nil
}

// readOptions reads from a request's header how fresh the answer must be.
func readOptions(header http.Header) (opt discovery.ReadOptions) {
	if values := header["Cache-Control"]; values != nil {
		opt = cacheControl(values)
	}
	if values := header["X-Min-Zxid"]; values != nil {
		opt.MinZxid = minZxid(values)
	}
	return opt
}

// pathName returns the path's only parameter, percent-decoded once. It is empty in the path of a
// route's root.
//
// Echo routes by the path as it was sent if decoding and encoding it again gives
// something else, and by the decoded path otherwise. net/url tells by RawPath which of
// the two it is. A name that is decoded twice would be another shop's.
func pathName(u *url.URL, c echo.Context) (string, error) {
	values := c.ParamValues()
	if len(values) == 0 {
		return "", nil
	}
	value := values[0]
	if u.RawPath == "" {
		return value, nil
	}
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return "", badRequest("the path's last element is not percent-encoded as a URL wants it: " + err.Error())
	}
	return decoded, nil
}

// parseQuery parses a query. It refuses parameters that are not in known: if "exclude" is
// misspelled, the shop must not be placed in a datacenter that was to be excluded.
func parseQuery(raw string, known []string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the query cannot be parsed: " + err.Error())
	}
	for name := range values {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, badRequest(fmt.Sprintf("unknown query parameter %q: this path takes none", name))
			}
			return nil, badRequest(fmt.Sprintf("unknown query parameter %q; known here: %s", name, strings.Join(known, ", ")))
		}
	}
	return values, nil
}
