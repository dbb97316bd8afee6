package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// route is one path of the API.
type route struct {
	path    string
	metrics *routeMetrics
	handle  func(*exchange) error
	// waits: the answer says what it depends on, so that a client can wait for another.
	waits bool
	// bare: it takes no query parameter.
	bare bool
}

// addRoutes is the list of all routes, the paths as openapi.json has them. Where
// GET is, there is HEAD.
//
// A query parameter that is not known is refused wherever the answer is about data: who
// asks for /v1/regions?format=text, or for a shop with ?max-age=5, believes that it
// counts. /healthz and its like take any: nothing depends on it there.
func (s *Server) addRoutes() {
	for _, r := range []struct {
		method, path string
		handle       func(*exchange) error
		waits, bare  bool
	}{
		{http.MethodGet, "/v1/shops/{shop}", s.getShop, true, true},
		{http.MethodPost, "/v1/shops/lookup", s.lookupShops, false, true},
		{http.MethodGet, "/v1/placement", s.getPlacement, true, false},
		{http.MethodGet, "/v1/regions", s.getRegions, true, true},
		{http.MethodGet, "/v1/regions/{region}", s.getRegion, true, true},
		{http.MethodGet, "/v1/datacenters", s.getDatacenters, true, true},
		{http.MethodGet, "/v1/datacenters/{datacenter}", s.getDatacenter, true, true},
		{http.MethodGet, "/v1/bad-citizens", s.getBadCitizens, true, false},
		{http.MethodGet, "/v1/bad-citizens/{ip}", s.getBadCitizen, true, true},
		{http.MethodGet, "/v1/watch", s.watch, false, false},
		{http.MethodGet, "/healthz", s.getHealth, false, false},
		{http.MethodGet, "/readyz", s.getReadiness, false, false},
		{http.MethodGet, "/openapi.json", s.getOpenAPI, false, false},
	} {
		route := &route{path: r.path, metrics: s.metrics.route(r.path), handle: r.handle, waits: r.waits, bare: r.bare}
		if r.waits {
			s.watched[r.path] = route
		}
		s.slashes = max(s.slashes, strings.Count(r.path, "/"))
		path := strings.NewReplacer("{", ":", "}", "").Replace(r.path)
		handler := func(c echo.Context) error {
			x := exchangeOf(c)
			x.route, x.echo = route, c
			if route.bare && x.r.URL.RawQuery != "" {
				if _, err := x.query(); err != nil {
					return err
				}
			}
			err := route.handle(x)
			if err == errUnchanged {
				err = x.longPoll()
			}
			return err
		}
		s.echo.Add(r.method, path, handler)
		if r.method == http.MethodGet {
			s.echo.Add(http.MethodHead, path, handler)
		}
	}
}

// hasRoute reports whether a path may be a route's, by its slashes. Echo would take
// "42/" and "42/x" for names, where the path's last element is a parameter; a slash
// in a name is written %2F.
func (s *Server) hasRoute(path string) bool {
	return !strings.HasSuffix(path, "/") && strings.Count(path, "/") <= s.slashes && !strings.Contains(path, "//")
}

// rawPath is the path of u as Echo takes it.
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.Path
}

// exchangeOf returns the exchange that ServeHTTP put under Echo's context.
func exchangeOf(c echo.Context) *exchange { return c.Response().Writer.(*exchange) }

// param returns the path's only parameter, percent-decoded once.
//
// Echo routes by the path as it was sent where decoding and encoding it again
// gives something else, and by the decoded path otherwise; net/url says which
// by RawPath. A name decoded twice would be another shop's.
func (x *exchange) param() (string, error) {
	if x.echo == nil {
		return x.name, nil
	}
	value := x.echo.ParamValues()[0]
	if x.r.URL.RawPath == "" {
		return value, nil
	}
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return "", badRequest("the path's last element is not percent-encoded as a URL wants it: " + err.Error())
	}
	return decoded, nil
}
