package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// authorized passes on the requests that have the token, as a bearer token or as the
// password of basic authentication. If token is empty, it passes on the requests whose
// Host header is localhost, an IP address or the host of listen.
func (s *Server) authorized(token, listen string) echo.MiddlewareFunc {
	own, _, _ := net.SplitHostPort(listen)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		if token == "" {
			return func(c echo.Context) error {
				if host := c.Request().Host; !local(host) && !strings.EqualFold(hostname(host), own) {
					return echo.NewHTTPError(http.StatusMisdirectedRequest, fmt.Sprintf(
						"without an admin token only localhost and IP addresses are answered, not %.100q: use one of these, or set a token", host))
				}
				return next(c)
			}
		}
		want := sha256.Sum256([]byte(token))
		return func(c echo.Context) error {
			// Digests have one length, so that the time of the comparison does not tell
			// the length of the token.
			got := sha256.Sum256([]byte(presented(c.Request())))
			if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
				return next(c)
			}
			h := c.Response().Header()
			h.Add(echo.HeaderWWWAuthenticate, `Bearer realm="magellan admin"`)
			h.Add(echo.HeaderWWWAuthenticate, `Basic realm="magellan admin", charset="UTF-8"`)
			return echo.NewHTTPError(http.StatusUnauthorized,
				"this address wants the admin token: send it as \"Authorization: Bearer TOKEN\", or as the password in the URL")
		}
	}
}

// local reports whether a Host header is localhost, an IP address or empty. No browser
// sends an empty one. The owner of any other name can make it resolve to this server's
// address (DNS rebinding). A page that an operator's browser has loaded from that name
// and this server are then the same origin for the browser.
func local(host string) bool {
	name := strings.ToLower(hostname(host))
	return name == "" || net.ParseIP(strings.Trim(name, "[]")) != nil || name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// hostname returns a Host header without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// presented returns the token of a request, or an empty string.
func presented(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	const bearer = "Bearer "
	h := r.Header.Get(echo.HeaderAuthorization)
	if len(h) > len(bearer) && strings.EqualFold(h[:len(bearer)], bearer) {
		return h[len(bearer):]
	}
	return ""
}
