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

// authorized lets requests through that bring the token, as a bearer token or
// as the password of basic authentication. An empty token lets all through who
// ask for the address listened on by a name of this machine's.
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
			// Digests are compared, so that not even the length shows in the time.
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

// local reports whether a Host header names an IP address or localhost, or nothing,
// which no browser sends. Any other name may be that of a page in an operator's
// browser whose owner has it lead here (DNS rebinding): to the browser that page and
// this server are the same origin.
func local(host string) bool {
	name := strings.ToLower(hostname(host))
	return name == "" || net.ParseIP(strings.Trim(name, "[]")) != nil || name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// hostname is a Host header without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// presented returns the token a request brings, empty for none.
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
