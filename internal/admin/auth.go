package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// authorized lets requests through that bring the token, as a bearer token or
// as the password of basic authentication. An empty token lets all through.
func (s *Server) authorized(token string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		if token == "" {
			return next
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
