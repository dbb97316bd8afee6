package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// cors answers browsers that ask for pages of other origins (the WHATWG's Fetch
// standard, section 3.2). Pages may read, by GET and HEAD, and nothing else; no
// credentials are taken. nil allows no origin.
type cors struct {
	// all: any origin may ask, so that answers are the same for all of them.
	all bool
	// allowed has the header value for each origin.
	allowed map[string][]string
}

// Header values of a preflight, and of answers that pages may read.
var (
	corsAny     = []string{"*"}
	corsMethods = []string{"GET, HEAD"}
	corsHeaders = []string{"Cache-Control, If-None-Match, Last-Event-ID, Prefer, X-Min-Zxid, X-Request-Id"}
	corsExposed = []string{"Age, Content-Encoding, Delta-Base, ETag, Preference-Applied, Retry-After, X-Cache, X-Request-Id, X-Zxid"}
	// Two hours are the most that browsers take.
	corsMaxAge = []string{"7200"}
)

// CheckOrigin says what is wrong with a member of [Config]'s CORSOrigins.
func CheckOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return fmt.Errorf("%q is no origin such as https://shop.example or http://localhost:3000, nor *", origin)
	case origin != u.Scheme+"://"+strings.ToLower(u.Host):
		return fmt.Errorf("%q is more than an origin, or not in lower case: want %s://%s", origin, u.Scheme, strings.ToLower(u.Host))
	case u.Scheme == "http" && u.Port() == "80" || u.Scheme == "https" && u.Port() == "443":
		return fmt.Errorf("%q: browsers leave out the port that is the scheme's own: want %s://%s", origin, u.Scheme, u.Hostname())
	}
	return nil
}

// newCORS returns nil where no origin is allowed.
func newCORS(origins []string) (*cors, error) {
	if len(origins) == 0 {
		return nil, nil
	}
	c := &cors{allowed: make(map[string][]string, len(origins))}
	for _, origin := range origins {
		if err := CheckOrigin(origin); err != nil {
			return nil, fmt.Errorf("httpapi: Config.CORSOrigins: %w", err)
		}
		c.all = c.all || origin == "*"
		c.allowed[origin] = []string{origin}
	}
	return c, nil
}

// allow returns the value of Access-Control-Allow-Origin for a request's origin,
// nil if it may not ask.
func (c *cors) allow(origin string) []string {
	switch {
	case c == nil:
		return nil
	case c.all:
		return corsAny
	}
	return c.allowed[origin]
}

// varies reports whether answers are other ones for other origins.
func (c *cors) varies() bool { return c != nil && !c.all }

// setHeader lets the page that asks, if it may, see the answer. What it is not to
// see it is answered all the same: other programs send what they like, and it is the
// browser that keeps the answer from the page.
func (c *cors) setHeader(header http.Header, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return
	}
	origin := ""
	if values := r.Header["Origin"]; values != nil {
		origin = values[0]
	}
	if allowed := c.allow(origin); allowed != nil {
		header["Access-Control-Allow-Origin"] = allowed
		header["Access-Control-Expose-Headers"] = corsExposed
	}
}

// isPreflight reports whether a browser asks what a page may send.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header["Origin"] != nil && r.Header["Access-Control-Request-Method"] != nil
}

// preflight answers a browser that asks what a page may send.
func (x *exchange) preflight() error {
	c := x.server.cors
	origin, method := x.r.Header["Origin"][0], x.r.Header["Access-Control-Request-Method"][0]
	allowed := c.allow(origin)
	switch {
	case c == nil:
		return &requestError{kindOrigin, "pages of other origins may not ask this server; magellan serve --cors-origin lets them"}
	case allowed == nil:
		return &requestError{kindOrigin, fmt.Sprintf("%q is not among the origins whose pages may ask this server, which --cors-origin names", origin)}
	case method != http.MethodGet && method != http.MethodHead:
		return &requestError{kindOrigin, fmt.Sprintf("pages of other origins may send GET and HEAD, not %q", method)}
	}
	header := x.w.Header()
	header["Access-Control-Allow-Origin"] = allowed
	header["Access-Control-Allow-Methods"] = corsMethods
	header["Access-Control-Allow-Headers"] = corsHeaders
	header["Access-Control-Max-Age"] = corsMaxAge
	x.WriteHeader(http.StatusNoContent)
	return nil
}
