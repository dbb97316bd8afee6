package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// query parses the request's query, whose parameters may only be those named in
// known: a typing error in "exclude" must not place a shop where it must not go.
func (x *exchange) query(known ...string) (url.Values, error) {
	values, err := url.ParseQuery(x.r.URL.RawQuery)
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

// single returns a parameter that may stand there once, "" if it does not.
func single(values url.Values, name string) (string, error) {
	switch v := values[name]; len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	default:
		return "", badRequest(fmt.Sprintf("query parameter %q stands there %d times; want it once", name, len(v)))
	}
}
