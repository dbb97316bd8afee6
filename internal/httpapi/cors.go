package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// cors decides which pages of other origins may read answers, and tells their browsers so
// (the WHATWG's Fetch standard, section 3.2). Pages may send GET and HEAD only, and no
// credentials. nil allows no origin.
type cors struct {
	// all: any origin may ask. Then the answers are the same for all origins.
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
	// No browser keeps the answer to a preflight for more than two hours.
	corsMaxAge = []string{"7200"}
)

// CheckOrigin returns what is wrong with a member of [Config]'s CORSOrigins. An origin that
// is not written as browsers send it would never match.
func CheckOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%q is no origin such as https://shop.example or http://localhost:3000, nor *", origin)
	}
	host, err := originHost(u.Hostname())
	if err != nil {
		return fmt.Errorf("%q: %w", origin, err)
	}
	want := u.Scheme + "://" + host
	if u.Port() != "" {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			return fmt.Errorf("%q: %s is no port", origin, u.Port())
		}
		if standard := map[string]uint64{"http": 80, "https": 443}; port != standard[u.Scheme] {
			want += ":" + strconv.FormatUint(port, 10)
		}
	}
	if origin != want {
		return fmt.Errorf("%q is not what browsers send, which is in lower case, without a slash at the end or anything behind it, and without the port that the scheme has by itself: want %s", origin, want)
	}
	return nil
}

// originHost returns a host as browsers write it in an origin.
func originHost(host string) (string, error) {
	host = strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		switch {
		case addr.Is4():
			return host, nil
		case addr.Is4In6(): // as two groups of hexadecimal digits
			b := addr.As16()
			return fmt.Sprintf("[::ffff:%x:%x]", uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15])), nil
		}
		return "[" + addr.String() + "]", nil
	}
	const known = "abcdefghijklmnopqrstuvwxyz0123456789-._"
	if rest := strings.Trim(host, known); rest != "" {
		return "", errors.New("a host is a name in ASCII (xn--… for other names) or an address, and there is no pattern for many of them: name each origin, or * for all")
	}
	if last := host[strings.LastIndexByte(host, '.')+1:]; last != "" && strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%s is no IPv4 address as browsers write it, such as 127.0.0.1", host)
	}
	return host, nil
}

// newCORS returns nil if no origin is allowed.
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

// varies reports whether answers differ by the origin that asks.
func (c *cors) varies() bool { return c != nil && !c.all }

// setHeader tells the browser that the page which asks may see the answer, if it may. A
// page that may not see the answer is answered all the same: the browser keeps the answer
// from the page, and programs other than browsers send any Origin they like.
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

// isPreflight reports whether r is a browser's question what a page may send.
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
