package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// route is one path of the API.
type route struct {
	metrics *routeMetrics
	// params are the names of the path's parameters, in order.
	handle func(*exchange) error
}

// addRoutes is the list of all routes, the paths as openapi.json has them. Where
// GET is, there is HEAD.
func (s *Server) addRoutes() {
	for _, r := range []struct {
		method, path string
		handle       func(*exchange) error
	}{
		{http.MethodGet, "/v1/shops/{shop}", s.getShop},
		{http.MethodPost, "/v1/shops/lookup", s.lookupShops},
		{http.MethodGet, "/v1/placement", s.getPlacement},
		{http.MethodGet, "/v1/regions", s.getRegions},
		{http.MethodGet, "/v1/regions/{region}", s.getRegion},
		{http.MethodGet, "/v1/datacenters", s.getDatacenters},
		{http.MethodGet, "/v1/datacenters/{datacenter}", s.getDatacenter},
		{http.MethodGet, "/v1/bad-citizens", s.getBadCitizens},
		{http.MethodGet, "/v1/bad-citizens/{ip}", s.getBadCitizen},
		{http.MethodGet, "/healthz", s.getHealth},
		{http.MethodGet, "/readyz", s.getReadiness},
		{http.MethodGet, "/openapi.json", s.getOpenAPI},
	} {
		route := &route{metrics: s.metrics.route(r.path), handle: r.handle}
		path := strings.NewReplacer("{", ":", "}", "").Replace(r.path)
		handler := func(c echo.Context) error {
			x := exchangeOf(c)
			x.route, x.echo = route, c
			return route.handle(x)
		}
		s.echo.Add(r.method, path, handler)
		if r.method == http.MethodGet {
			s.echo.Add(http.MethodHead, path, handler)
		}
	}
}

// exchangeOf returns the exchange that ServeHTTP put under Echo's context.
func exchangeOf(c echo.Context) *exchange { return c.Response().Writer.(*exchange) }

// param returns the path's only parameter, percent-decoded once.
//
// Echo routes by the path as it was sent where decoding and encoding it again
// gives something else, and by the decoded path otherwise; net/url says which
// by RawPath. A name decoded twice would be another shop's.
func (x *exchange) param() (string, error) {
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
